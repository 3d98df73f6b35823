"""Weigh the verbs that read a log: the most memory that each takes of one of a million records, and its time.

Two logs are read. One is of very many machines with a short life each, the other of ten with a very long
one. Each verb is a process of its own, as whoever types it would run it; what it prints is thrown away.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from msgspec import Struct

from benchmarks.__main__ import say
from benchmarks.fleets import fleet_at
from eventvm.lifecycle import encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.signing.keys import generate

RECORDS = 1_000_000
EACH = 25
"""Records of one machine, where there are very many."""
FEW = 10
THEN = "2023-12-30T00:00:00Z"
"""A time about half way through each log."""
VERBS = {
    "list": "list",
    "list --all": "list --all -o jsonl",
    "list --at --known-at": "list --all --at {then} --known-at {half}",
    "show": "show {name}",
    "show --at": "show {name} --at {then}",
    "history": "history {name}",
    "history --known-at": "history {name} --known-at {half}",
    "explain": "explain {name}",
    "explain --at --known-at": "explain {name} --at {then} --known-at {half}",
    "events": "events",
    "events -o jsonl": "events -o jsonl",
    "events NAME": "events {name}",
    "ledger show": "ledger show",
    "ledger show NAME": "ledger show {name}",
    "ledger intervals": "ledger intervals -o csv",
    "ledger totals": "ledger totals",
    "ledger totals --at --known-at": "ledger totals --at {then} --known-at {half}",
    "ledger totals --by label:team,month": "ledger totals --by label:team,month",
    "ledger totals NAME": "ledger totals {name}",
    "ledger diff": "ledger diff --known-at {half} --known-at now",
    "picture NAME": "picture {name}",
    "picture --prefix": "picture --all --prefix old-web-77",
    "log replay": "log replay",
    "log diff": "log diff {half} now",
    "log shadow": "log shadow --lifecycle {definition}",
    "log export": "log export",
    "log export --as cloudevents": "log export --as cloudevents",
    "log import": "log import {export} {imported}",
    "log verify": "log verify --key {key}",
    "log prove": "log prove {half}",
    "log checkpoint": "log checkpoint",
    "doctor": "doctor",
}
"""What each verb is asked."""
NO_LOG = ("log import",)
"""Verbs that take none."""
FAIR = (0, 1)
"""Exit codes: it was answered, or something was found."""

PEAK = """
import resource
from pathlib import Path

def kilobytes():
    status = Path("/proc/self/status")  # the other counter remembers the process that forked it
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.read_text().split("VmHWM:")[1].split()[0])
"""
"""How a program of its own tells what it has weighed at most."""
RUN = (
    PEAK
    + """
import sys
from eventvm.cli import main

try:
    main(sys.argv[2:])
finally:
    Path(sys.argv[1]).write_text(str(kilobytes()))
"""
)


class Weight(Struct, frozen=True):
    """What one verb took."""

    megabytes: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.megabytes:.0f} MB, {self.seconds:.1f} s"


class Scale:
    """A log, and what is asked of it."""

    def __init__(self, directory: Path, machines: int, records: int) -> None:
        self._directory = directory
        self._log, self._key = directory / "fleet.db", directory / "ops.key"
        generate(self._key, "ops")
        with get_context("spawn").Pool(1) as apart:  # this process stays small
            apart.apply(fleet_at, (self._log,), {"machines": machines, "records": records, "key": self._key})
        (directory / "vm.json").write_bytes(encode(LIFECYCLES["vm"]))
        self._words = {
            "name": "web-1", "then": THEN, "half": records // 2, "definition": directory / "vm.json",
            "export": directory / "fleet.jsonl", "imported": directory / "again.db",
            "key": directory / "ops.key.pub",
        }  # fmt: skip

    def weigh(self, verb: str) -> Weight:
        """Run a verb, and say what it took."""
        if verb == "log import":
            self._run("log export --to {export}", log=True)
        return self._run(VERBS[verb], log=verb not in NO_LOG)

    def _run(self, order: str, *, log: bool) -> Weight:
        words = [word.format(**self._words) for word in order.split()]
        peak = self._directory / "peak"
        where = ["--log", str(self._log)] if log else []
        began = time.perf_counter()
        done = subprocess.run(  # noqa: S603  # our own words
            [sys.executable, "-c", RUN, str(peak), *words, *where],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        assert done.returncode in FAIR, (words, done.stderr)
        return Weight(int(peak.read_text()) / 1024, seconds)


def main(given: Sequence[str] | None = None) -> int:
    """Make the logs, run every verb over both, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weigh", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS, help=f"of each log ({RECORDS:,})")
    parser.add_argument(
        "--only", metavar="VERB", action="append", choices=VERBS, help="weigh this one; repeatable"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path(gettempdir()), help="where: it takes 3 GB for a million"
    )
    options = parser.parse_args(given)
    with TemporaryDirectory(dir=options.directory) as wide, TemporaryDirectory(dir=options.directory) as long:
        many = max(options.records // EACH, FEW)
        say(f"| verb | {many:,} machines | {FEW} machines |\n|---|---|---|")
        scales = [
            Scale(Path(place), machines, options.records) for place, machines in ((wide, many), (long, FEW))
        ]
        for verb in options.only or VERBS:
            say(" | ".join((f"| `{verb}`", *(str(scale.weigh(verb)) for scale in scales))) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
