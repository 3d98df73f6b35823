"""What the run directory of a process tells of it: who runs, how it ended, or that nobody can tell yet.

The shim's lock says whether anything lives; `started.json` says who, and `exit.json` how it ended. Each file
appears whole. Both carry the nonce of the launch that they belong to, so that an old end is never taken for
the end of a later life.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from eventvm.clock import boot_id
from eventvm.observation import Absent, End, Evidence, Instant, Manner, Observation, Observed, unknown
from eventvm.providers.identity import DEAD, Identity, carrying
from eventvm.providers.rundir import LOCK, taken
from eventvm.spec import Spec

T = TypeVar("T")

WITNESS = "shim"
"""The source of all evidence of what runs, and of how it ended."""

HALTED = "T"
"""The state of a process that somebody has sent SIGSTOP."""

MARK = "EVENTVM_LAUNCH"
"""The variable by which what a launch has left running is found when its shim is gone."""


class Made(Struct, frozen=True, gc=False):
    """`machine.json`: what the directory was made for."""

    id: str
    name: str
    spec: Spec
    owner: str = ""
    """The file of the log that it belongs to; empty where that is in memory."""


class Life(Struct, frozen=True, gc=False):
    """`started.json`: one launch of a machine."""

    nonce: str
    incarnation: int
    shim: Identity
    process: Identity


class Exit(Struct, frozen=True, gc=False):
    """`exit.json`: how one launch ended, by a code or by a signal."""

    nonce: str
    at: Instant
    code: int | None = None
    signal: str | None = None
    asked: str = ""
    """What had been done to end it: nothing, `asked` or `killed`."""
    left: int = 0
    """Processes that the kernel would not let go of."""
    lost: int = 0
    """Bytes of its logs that could not be written."""
    out_of_memory: bool = False
    """Whether the kernel killed in it because the memory that it may use was over."""

    @property
    def manner(self) -> Manner:
        """Name the rung that ended it; what nobody asked for is graceful only with code 0."""
        if self.asked == "killed":
            return "killed"
        told = self.asked and (self.code is not None or self.signal == "SIGTERM")
        return "graceful" if told or self.code == 0 else "crashed"

    def told(self) -> Iterator[str]:
        """Say what there is to know beside the end itself."""
        if self.out_of_memory:
            yield "the memory that it may use was over"
        if self.left:
            yield f"{self.left} processes would not end"
        if self.lost:
            yield f"{self.lost} bytes of logs were lost"

    @property
    def end(self) -> End:
        rung = RUNGS[self.asked] if self.manner in ("graceful", "killed") else ""
        return End(self.manner, Observed(self.code, self.signal), rung)


LOST = End("lost", Absent())
RUNGS = {"": "", "asked": "signal", "killed": "kill"}
"""The rungs of the ladder, by what the shim had done."""


class Sight(Struct, frozen=True):
    """One look into a run directory."""

    made: Made | None = None
    """None where there is no machine."""
    held: bool = False
    life: Life | None = None
    exit: Exit | None = None
    remains: tuple[Identity, ...] = ()
    """What a life whose shim is gone has left running."""
    paused: bool = False

    @property
    def alive(self) -> bool:
        """Say whether the process runs, and its own shim holds it and can tell how it ends."""
        if not self.held or self.exit is not None or self.life is None:
            return False
        return self.life.shim.state() not in ("", *DEAD, HALTED) and self.life.process.lives()

    @property
    def between(self) -> bool:
        """Say whether it is on its way up or down, so that a later look may tell more."""
        return (self.held and not self.alive) or bool(self.remains)

    @property
    def end(self) -> End | None:
        """How the last life ended; None where there was none, or it goes on."""
        if self.life is None or self.held:
            return None
        return self.exit.end if self.exit is not None else LOST

    def observation(self, source: str) -> Observation:
        """Say what was seen, as a probe does."""
        if self.made is None:
            return Observation("gone", Evidence(source), exists=False, snapshots=())
        if self.between:
            return unknown(source, self._why())
        seen = Evidence(
            WITNESS, incarnation=self.life.incarnation if self.life is not None else 0,
            when=self.exit.at if self.exit is not None else None,
        )  # fmt: skip
        return Observation(
            "alive" if self.alive else "gone", seen, exists=True, paused=self.paused,
            name=self.made.name, snapshots=(), end=self.end, detail=self._detail(),
        )  # fmt: skip

    def _why(self) -> str:
        if self.life is not None and self.life.shim.state() == HALTED:
            return f"its shim is halted, and nobody hears how it is: kill -CONT {self.life.shim.pid}"
        if self.remains:
            pids = ", ".join(str(one.pid) for one in self.remains)
            return f"its shim is gone, and something of it still runs: {pids}"
        return "it is on its way up or down"

    def _detail(self) -> str:
        if self.end == LOST:
            return "its shim is gone and nobody saw the end"
        return "; ".join(self.exit.told()) if self.exit is not None else ""


def look(path: Path) -> Sight:
    """Read what a run directory tells; raises where a file cannot be read or makes no sense."""
    made = _read(path / "machine.json", Made)
    held = taken(path / LOCK)
    life = _read(path / "started.json", Life)
    ended = _read(path / "exit.json", Exit)
    if life is None or ended is None or ended.nonce != life.nonce:
        ended = None
    if held or taken(path / LOCK):
        paused = life is not None and life.process.state() == HALTED
        return Sight(made, held=True, life=life, exit=ended, paused=paused)
    remains = _remains(life) if life is not None and ended is None else ()
    return Sight(made, life=life, exit=ended, remains=remains)


def _remains(life: Life) -> tuple[Identity, ...]:
    """Find what still runs of a life whose shim is gone; nothing does that began before this boot."""
    if life.process.boot_id != boot_id():
        return ()
    own = [life.process] if life.process.lives() else []
    return tuple({*own, *carrying(f"{MARK}={life.nonce}".encode())})


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as problem:
        raise ValueError(f"{path.name} makes no sense: {problem}") from problem
