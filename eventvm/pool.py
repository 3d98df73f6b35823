"""A warm pool: machines that run before anybody asks for them, and are handed over by a rename.

The pool keeps no state of its own. Its members are the living machines whose names begin with its prefix, so
it is the same pool after a restart, and a machine leaves it by the event that gives it a customer's name.
"""

from datetime import timedelta

from msgspec import Struct

from eventvm.engine import Engine, Handle
from eventvm.errors import BadInput, EventvmError
from eventvm.spec import Spec


class Mould(Struct, frozen=True):
    """What the machines of one pool have in common."""

    image: str
    version: str
    cpus: int
    memory: int
    """Bytes."""

    @property
    def prefix(self) -> str:
        """Give what the names of the pool's members begin with."""
        return f"warm/{self.image}/{self.version}/{self.cpus}/{self.memory}/"


class Depth(Struct, frozen=True):
    """How many machines wait, and for how long at most."""

    minimum: int = 1
    maximum: int = 8
    age: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum:
            message = f"a pool needs 0 <= minimum <= maximum, not {self.minimum} and {self.maximum}"
            raise BadInput(message)


class WarmPool:
    """Machines of one mould, ahead of demand."""

    def __init__(
        self,
        engine: Engine,
        mould: Mould,
        spec: Spec,
        *,
        depth: Depth | None = None,
        lifecycle: str = "microvm",
    ) -> None:
        if (spec.cpus, spec.memory) != (mould.cpus, mould.memory):
            raise BadInput("the spec of a pool's machines must have the cpus and the memory of its mould")
        self._engine = engine
        self._spec = spec
        self._lifecycle = lifecycle
        self._taken: set[str] = set()
        self.mould = mould
        self.depth = depth or Depth()

    async def members(self) -> list[Handle]:
        """List the machines that wait, oldest first."""
        warm = self._engine.every(lifecycle=self._lifecycle, prefix=self.mould.prefix, ended=False)
        return [one async for one in warm if self._waits(one)]

    def _waits(self, machine: Handle) -> bool:
        """Say whether nobody has taken a machine, nor is about to."""
        warm = machine.name.startswith(self.mould.prefix) and not machine.terminal
        return warm and machine.id not in self._taken

    async def fill(self) -> int:
        """Start machines until the minimum waits, and say how many that took."""
        missing = self.depth.minimum - len(await self.members())
        for _ in range(missing):
            machine = await self._engine.create(
                f"{self.mould.prefix}{self._engine.clock.id()}", self._spec, lifecycle=self._lifecycle
            )
            await machine.start()
        return max(missing, 0)

    async def evict(self) -> int:
        """Destroy what has waited too long or is more than the maximum, oldest first; say how many."""
        members = await self.members()
        surplus = len(members) - self.depth.maximum
        gone = [one for at, one in enumerate(members) if at < surplus or self._is_old(one)]
        for machine in gone:
            await self._discard(machine, "evicted from its pool")
        return len(gone)

    async def acquire(self, name: str) -> Handle:
        """Hand a machine over under a new name: a warm one that is proven alive, else a cold one."""
        for machine in await self.members():
            if not self._waits(machine):
                continue
            self._taken.add(machine.id)
            try:
                if await self._is_fit(machine):
                    await machine.rename(name)
                    return machine
                await self._discard(machine, "unfit when it was asked for")
            finally:
                self._taken.discard(machine.id)
        cold = await self._engine.create(name, self._spec, lifecycle=self._lifecycle)
        await cold.start()
        return cold

    async def _is_fit(self, machine: Handle) -> bool:
        """Look at the machine itself: only one that is alive, and young enough, is handed over."""
        try:
            await machine.reconcile()
        except EventvmError:
            return False
        return machine.active and not self._is_old(machine)

    def _is_old(self, machine: Handle) -> bool:
        made_ms = int(machine.id[:8] + machine.id[9:13], 16)
        return self._engine.clock.wall() // 1_000_000 - made_ms > self.depth.age / timedelta(milliseconds=1)

    @staticmethod
    async def _discard(machine: Handle, reason: str) -> None:
        if not machine.terminal:
            await machine.destroy(force=True, reason=reason)
