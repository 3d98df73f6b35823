"""Where a QEMU machine lives on disk: its directory, the incarnations in it, and its snapshots beside it."""

import asyncio
import shutil
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from eventvm.durable import sync_directory
from eventvm.observation import Instant
from eventvm.providers.identity import Identity
from eventvm.providers.rundir import LOCK, RunDirectories, taken, write_durably
from eventvm.spec import Spec

MACHINE = "machine.json"
KEPT = 2
"""Incarnations whose files are kept: the one that lives, and the one before."""
LOOK_AGAIN_SECONDS = 0.005

Kind = TypeVar("Kind", bound=Struct)


class Made(Struct, frozen=True):
    """What a machine was made of; the spec is the one that it boots by."""

    name: str
    spec: Spec
    owner: str = ""
    """The file of the log that it belongs to; empty where nobody said."""


class Vmm(Struct, frozen=True):
    """The QEMU process of an incarnation, as its bridge has written it down."""

    pid: int
    start: int
    boot: str
    bridge: int

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.start, self.boot)


class Secret(Struct, frozen=True):
    """What an incarnation authenticates its exit code with."""

    key: str
    nonce: str


class Exited(Struct, frozen=True):
    """An exit code, as the guest told it."""

    incarnation: int
    code: int
    via: str
    nonce: str
    mac: str
    at: Instant


class Ended(Struct, frozen=True):
    """How QEMU went, as its bridge saw it."""

    reason: str
    status: int | None
    at: Instant


class Run:
    """One incarnation of a machine: a directory that its bridge writes into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.incarnation = int(path.name)

    def vmm(self) -> Vmm | None:
        """Give the process that was launched; None before it is certain that it stays."""
        return _read(self.path / "vmm.json", Vmm)

    def ended(self) -> Ended | None:
        return _read(self.path / "end.json", Ended)

    def exited(self) -> Exited | None:
        return _read(self.path / "exit.json", Exited)

    def secret(self) -> Secret | None:
        return _read(self.path / "key", Secret)

    def rung(self) -> str:
        """Name the last rung of the ladder that somebody set foot on; empty where nobody asked it to stop."""
        file = self.path / "rung"
        return file.read_text() if file.exists() else ""

    def step_on(self, rung: str) -> None:
        """Write down what is about to be done to end it."""
        write_durably(self.path / "rung", rung.encode())


class Place:
    """One machine on disk, a pure function of its id."""

    def __init__(self, root: Path, id: str) -> None:  # noqa: A002  # the word of the domain
        self.id = id
        self._machines = machines(root)
        self.path = self._machines.of(id)
        self.lock = self.path / LOCK
        self.captures = root / "snapshots" / id

    # --- the machine

    def made(self) -> Made | None:
        """Give what it was made of; None where it is not there."""
        return _read(self.path / MACHINE, Made)

    def make(self, made: Made) -> None:
        """Be there from now on; what is there already stays."""
        self._machines.make(self.id, {MACHINE: msgspec.json.encode(made)})

    def amend(self, made: Made) -> None:
        write_durably(self.path / MACHINE, msgspec.json.encode(made))

    def remove(self) -> None:
        self._machines.remove(self.id)

    # --- incarnations

    def last(self) -> Run | None:
        """Give the newest incarnation that was launched."""
        return next((run for run in self._runs() if run.vmm() is not None), None)

    def fresh(self, incarnation: int) -> Run:
        """Make room for an incarnation; what a failed launch has left there goes, and what is long past."""
        run = Run(self.path / str(incarnation))
        shutil.rmtree(run.path, ignore_errors=True)
        for old in self._runs()[KEPT - 1 :]:
            shutil.rmtree(old.path, ignore_errors=True)
        run.path.mkdir(mode=0o700)
        return run

    def _runs(self) -> list[Run]:
        names = (path for path in self.path.glob("[0-9]*") if path.name.isdigit())
        return sorted((Run(path) for path in names), key=lambda run: -run.incarnation)

    # --- who is at work

    def attended(self) -> bool:
        """Say whether a bridge is beside it."""
        return taken(self.lock)

    async def settled(self, seconds: float) -> Run | None:
        """Wait until the newest incarnation is neither being launched nor being written down; give it.

        Raises TimeoutError where that goes on.
        """
        async with asyncio.timeout(seconds):
            while self.attended():
                run = self.last()
                vmm = None if run is None else run.vmm()
                if run is not None and vmm is not None and run.ended() is None and vmm.identity.lives():
                    return run
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return self.last()

    # --- snapshots

    def capture(self, snapshot: str) -> Path:
        """Name the directory of a snapshot, whatever the snapshot is called."""
        return self.captures / quote(snapshot, safe="")

    def snapshots(self) -> tuple[str, ...]:
        """Name the snapshots that are whole, in the order of their making."""
        found = [path for path in self.captures.glob("[!.]*") if (path / MACHINE).exists()]
        return tuple(unquote(path.name) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns))

    def captured(self, snapshot: str) -> Made | None:
        """Give what the machine of a snapshot was made of."""
        return _read(self.capture(snapshot) / MACHINE, Made)

    def begin_capture(self, snapshot: str) -> Path:
        """Make a directory that a snapshot is gathered in; it counts once it is kept."""
        begun = self.captures / f".{quote(snapshot, safe='')}"
        shutil.rmtree(begun, ignore_errors=True)
        for path in (self.captures.parent, self.captures, begun):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return begun

    def keep_capture(self, snapshot: str, begun: Path, made: Made) -> int:
        """Keep a snapshot that is whole, durably, and give its size."""
        write_durably(begun / MACHINE, msgspec.json.encode(made))
        size = sum(file.stat().st_size for file in begun.iterdir())
        shutil.rmtree(self.capture(snapshot), ignore_errors=True)
        begun.rename(self.capture(snapshot))
        sync_directory(self.captures)
        return size

    def forget(self, snapshot: str) -> None:
        """Delete a snapshot; the directory of the last one goes with it."""
        shutil.rmtree(self.capture(snapshot), ignore_errors=True)
        if self.captures.exists() and not any(self.captures.iterdir()):
            self.captures.rmdir()


def machines(root: Path) -> RunDirectories:
    """Give the directories of all machines below a root."""
    return RunDirectories(root / "machines")


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
