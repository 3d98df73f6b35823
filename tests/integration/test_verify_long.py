"""A long log is verified and proven in the memory that its machines need, not in that of its records.

EVENTVM_RECORDS says how many records it has; docs/tamper.md states what a million took.
"""

import asyncio
import json
import os
import subprocess
import sys

import eventvm
from benchmarks.weigh import PEAK
from eventvm import Lifecycle
from eventvm.clock import Clock
from eventvm.events import Transitioned
from eventvm.log import Append
from eventvm.logs import open_log
from eventvm.signing.keys import generate
from eventvm.tables import Arrow, Fact

RECORDS = int(os.environ.get("EVENTVM_RECORDS", "20000"))
EACH = 100
"""Records of one machine."""
MEGABYTES = 24
"""What a verification takes however long the log is: pages, and what Python keeps of them."""
BYTES_OF_A_MACHINE = 2000
LAMP = Lifecycle(
    name="lamp", initial="off", phases=("off", "on", "broken"), settled=("off", "on"), ends=("broken",),
    moves={"off": ("on", "broken"), "on": ("off", "broken")},
    rows={"off": {"create": Fact("machine.created")}},
    arrows={"off": {"machine.created": Arrow("off")}},
)  # fmt: skip
MEASURED = (
    PEAK
    + """
import anyio, json, sys, time
from eventvm.audit.proof import inclusion_proof
from eventvm.audit.standing import Standing
from eventvm.audit.verify import file_verified
from eventvm.signing.keys import trusted

async def main(path, keys):
    before, began = kilobytes(), time.monotonic()
    verdict = await file_verified(Path(path), keys=trusted(keys))
    verified, seconds = kilobytes(), time.monotonic() - began
    log = await Standing.open(Path(path))
    began = time.monotonic()
    await inclusion_proof(log, verdict.checkpoint.size // 2)
    proof_seconds = time.monotonic() - began
    await log.close()
    print(json.dumps({"records": verdict.checkpoint.size, "megabytes": (kilobytes() - before) / 1024,
                      "seconds": seconds, "proof_seconds": proof_seconds}))

anyio.run(main, *sys.argv[1:])
"""
)


def switches(clock):
    for at in range(EACH - 1):
        yield Transitioned(at=clock.now(), to="off" if at % 2 else "on")


async def written(path, key):
    """Write a log of many records, signed, and let an engine leave its kept view beside it."""
    async with eventvm.open(path, lifecycles=[LAMP], signing=key) as engine:
        first = await engine.create("lamp-0", lifecycle="lamp")
        created = (await engine.log.read(stream=first.id)).records[0].event
    clock = Clock()
    async with open_log(path, signing=key) as log:
        for at in range(1, RECORDS // EACH):
            name = f"lamp-{at}"
            born = Append(clock.id(), (type(created)(at=clock.now(), name=name, lifecycle=created.lifecycle),
                                       *switches(clock)), 0, claims=(name,))  # fmt: skip
            ticket = log.append(born)
            if at % 64 == 0:
                await ticket
    async with eventvm.open(path, lifecycles=[LAMP], signing=key) as engine:
        return engine.log.tree.size


def test_a_long_log_is_verified_in_the_memory_of_its_machines(tmp_path):
    """Whole, its key and its kept view included; and one of its records is proven."""
    key = tmp_path / "ops.key"
    generate(key, "ops")
    size = asyncio.run(written(tmp_path / "log.db", key))
    assert size > RECORDS - 2 * EACH
    measured = [sys.executable, "-c", MEASURED, str(tmp_path / "log.db"), f"{key}.pub"]
    done = subprocess.run(measured, check=True, capture_output=True, text=True, timeout=600)
    found = json.loads(done.stdout)
    print(found)  # noqa: T201  # for whoever asks for a million
    assert found["records"] == size
    assert found["megabytes"] < MEGABYTES + size // EACH * BYTES_OF_A_MACHINE / (1 << 20)
