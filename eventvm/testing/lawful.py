"""An engine that is held to the laws when it is left."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from eventvm.clock import Clock
from eventvm.engine import Engine
from eventvm.lifecycle import Lifecycle
from eventvm.logs import open_log
from eventvm.machine import Machine
from eventvm.provider import Provider
from eventvm.testing.laws import check_engine
from eventvm.testing.witness import Witness, durable


@asynccontextmanager
async def lawful(
    url: str | Path = "memory:", *, providers: Iterable[Provider] = (), lifecycles: Iterable[Lifecycle] = (),
    clock: Clock | None = None, **options: Any,
) -> AsyncIterator[tuple[Engine, Witness]]:  # fmt: skip
    """Open an engine and the simulated world that it works on; a block that ends well checks the laws."""
    clock = clock or Clock()
    async with open_log(url, clock=clock.wall) as log:

        async def asked(id_: str) -> Machine | None:
            return await durable(log, id_)

        witness = Witness(clock, asked)
        async with Engine(log, [witness, *providers], lifecycles, clock=clock, **options).running() as engine:
            yield engine, witness
            await check_engine(engine)
            assert not witness.violations, f"intent before effect: {'; '.join(witness.violations)}"
