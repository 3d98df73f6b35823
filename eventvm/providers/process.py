"""Any command as a machine: a shim owns the process, outlives the engine, and writes down how it ended.

Everything that is known of a machine is in its run directory, which is found from the machine's id alone. The
shim holds the directory's lock as long as anything of the machine runs, so no two engines start one machine,
and a recycled pid is never taken for it.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from eventvm.clock import Clock
from eventvm.errors import EventvmError
from eventvm.observation import End, Observation, unknown
from eventvm.provider import Target, Unclear
from eventvm.providers import cgroups, sandbox
from eventvm.providers.cgroups import Cgroups
from eventvm.providers.process_files import HALTED, MARK, Life, Made, Sight, look
from eventvm.providers.process_hints import Hints
from eventvm.providers.process_logs import Stream, follow
from eventvm.providers.rundir import (
    LOCK,
    RunDirectories,
    belongs_elsewhere,
    state_directory,
    take,
    write_durably,
)
from eventvm.providers.secret import SecretMissing, scrubbed, values
from eventvm.spec import Spec

SHIM = Path(__file__).with_name("process_shim.py")
GRACE_SECONDS = 10.0
"""How long a stop asks before it kills, where the spec does not say."""
KILL_SECONDS = 5.0
"""How long what was killed may take to be gone, beside the shim's own patience."""
SETTLE_SECONDS = 10.0
"""How long a command waits for a machine that is on its way up or down."""
GLANCE_SECONDS = 0.5
"""How long a probe waits for the same."""
STEP_SECONDS = 0.005
LOG_BYTES = 8 << 20
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What a process gets of the engine's own environment."""


class Failed(EventvmError):
    """What was asked of a process could not be done."""


class Process:
    """Machines that are processes of this host."""

    name = "process"
    unsupported = ("snapshot",)
    honours = (
        "command", "directory", "environment", "secrets", "sandbox", "bounded", "stop_grace_seconds"
    )  # fmt: skip

    def __init__(
        self, directory: str | Path | None = None, *, log_bytes: int = LOG_BYTES, clock: Clock | None = None,
        owner: str = "", cgroups: Cgroups | None = None,
    ) -> None:  # fmt: skip
        """Keep machines below a directory of this user's own; nothing is made before the first machine.

        Several logs may share the directory: each is the `owner` of its machines, by the path of its file.
        """
        root = Path(directory) if directory is not None else state_directory() / "processes"
        self.directories = RunDirectories(root.absolute())
        self._log_bytes = log_bytes
        self._owner = owner
        self._boot_id = (clock or Clock()).boot_id
        self._cgroups = cgroups or Cgroups()
        self._hints: set[Hints] = set()

    # --- the port

    def refuses(self, spec: Spec) -> str:
        """Say which field a process cannot have."""
        if sys.platform != "linux":
            return "processes as machines need Linux"
        for complaint in (_command, _directory, _environment, _sandbox, self._cgroups.objection):
            if why := complaint(spec):
                return why
        return ""

    async def create_with_spec(self, target: Target, spec: Spec) -> None:
        if why := self.refuses(spec):
            raise Failed(why)
        made = msgspec.json.encode(Made(target.id, target.name, spec, self._owner))
        await asyncio.to_thread(self.directories.make, target.id, {"machine.json": made})

    async def create(self, target: Target) -> None:
        await self.create_with_spec(target, target.spec)

    async def start(self, target: Target) -> None:
        """Launch it, and return when it runs its own program; whoever has the lock first launches."""
        path = self.directories.of(target.id)
        order, told_secrets = self._order(target)
        while not (sight := await self._settled(path)).alive:
            _check(sight)
            if (lock := take(path / LOCK)) is not None:
                try:
                    self._bound(target)
                    told = await launch(path, lock, order)
                finally:
                    os.close(lock)
                if told != "started":
                    raise Failed(scrubbed(told or "the shim ended without a word", told_secrets))
                break  # and not look again: what ran for a moment only is not to run twice
        for hints in self._hints:
            hints.watch(target.id)

    async def stop(self, target: Target) -> End | None:
        """Ask, wait for the grace, then kill; what is gone tells how it ended."""
        grace = target.spec.stop_grace_seconds
        return await self._end(target.id, GRACE_SECONDS if grace is None else grace)

    async def snapshot(self, target: Target, snapshot: str) -> int:
        """Never asked for: it is declared as unsupported."""
        raise Failed("a process cannot be captured")

    async def destroy(self, target: Target) -> End | None:
        """Kill what runs and remove the directory, with the logs in it."""
        path = self.directories.of(target.id)
        end = await self._end(target.id, 0.0)
        if path.is_dir():
            lock = take(path / LOCK)
            if lock is None:
                raise Unclear("somebody starts it at the same time")
            try:
                self._unbind(target.id)
                await asyncio.to_thread(self.directories.remove, target.id)
            finally:
                os.close(lock)
        return end

    async def probe(self, target: Target) -> Observation:
        try:
            sight = await self._settled(self.directories.of(target.id), GLANCE_SECONDS)
        except (OSError, ValueError) as problem:
            return unknown(self.name, str(problem))
        return sight.observation(self.name)

    async def pause(self, target: Target) -> None:
        await self._hold(target, "pause", paused=True)

    async def resume(self, target: Target) -> None:
        await self._hold(target, "resume", paused=False)

    async def rename(self, target: Target, name: str) -> None:
        path = self.directories.of(target.id)
        made = _check(look(path))
        data = msgspec.json.encode(replace(made, name=name))
        await asyncio.to_thread(write_durably, path / "machine.json", data)

    async def events(self) -> AsyncIterator[str]:
        """Hint at each machine that has ended, those that did before anybody listened first."""
        hints = Hints(self.directories)
        self._hints.add(hints)
        try:
            async for id_ in hints.follow():
                yield id_
        finally:
            self._hints.discard(hints)
            hints.close()

    async def discover(self) -> AsyncIterator[str]:
        for id_ in self.directories.ids():
            if not belongs_elsewhere(self._owner_of(id_), self._owner):
                yield id_

    def _owner_of(self, id_: str) -> str:
        """Name the log that a machine belongs to; empty where that cannot be read."""
        try:
            made = look(self.directories.of(id_)).made
        except (OSError, ValueError):
            return ""
        return made.owner if made is not None else ""

    async def recall(self, id: str) -> Spec | None:  # noqa: A002  # the word of the domain
        made = look(self.directories.of(id)).made
        return made.spec if made is not None else None

    # --- its logs

    def log(self, id: str, stream: Stream = "stdout") -> Path:  # noqa: A002  # the word of the domain
        """Name the file that takes a machine's output; one that is full becomes the same name with `.1`."""
        return self.directories.of(id) / f"{stream}.log"

    def follow(self, id: str, stream: Stream = "stdout") -> AsyncIterator[bytes]:  # noqa: A002
        """Give what a machine writes, from the beginning of its present log until it is gone."""
        return follow(self.directories.of(id), stream)

    # --- how

    async def _settled(self, path: Path, seconds: float = SETTLE_SECONDS) -> Sight:
        """Look, and look again for a while where the machine is on its way up or down."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (sight := look(path)).between:
            if loop.time() - begun > (min(seconds, GLANCE_SECONDS) if sight.remains else seconds):
                break
            await asyncio.sleep(STEP_SECONDS)
        return sight

    def _bound(self, target: Target) -> None:
        """Make the control groups; what the host allowed at the creation it may refuse by now."""
        if why := self._cgroups.objection(target.spec):
            raise Failed(why)
        try:
            cgroups.make(self._cgroups.groups(target.id, target.spec))
        except OSError as problem:
            raise Failed(f"bounded: {problem.filename}: {problem.strerror}") from problem

    def _unbind(self, id_: str) -> None:
        """Remove the control groups that a shim could not, because it was killed."""
        made = look(self.directories.of(id_)).made
        if made is not None and made.spec.bounded:
            cgroups.remove(self._cgroups.remains(id_))

    def _order(self, target: Target) -> tuple[bytes, list[str]]:
        """Write what the shim is to do, and give the secret values in it beside."""
        kept = values(target.spec.secrets)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        nonce = secrets.token_hex(8)
        groups = self._cgroups.groups(target.id, target.spec)
        directory = target.spec.directory or "/"
        inside = target.spec.sandbox
        order = {
            "argv": target.spec.command,
            "env": {**inherited, **target.spec.environment, **kept, MARK: nonce},
            "directory": directory,
            "sandbox": sandbox.argv(inside, directory, self.directories.root) if inside else (),
            "groups": [str(one.path) for one in groups],
            "told_of_memory": [str(one.path / one.told_of_memory) for one in groups if one.told_of_memory],
            "incarnation": target.incarnation,
            "nonce": nonce,
            "boot_id": self._boot_id,
            "log_bytes": self._log_bytes,
        }
        return msgspec.json.encode(order), list(kept.values())

    async def _end(self, id_: str, grace: float) -> End | None:
        """Climb the ladder until nothing of the machine runs, and say how it ended."""
        path = self.directories.of(id_)
        _wake(path)
        sight = await self._settled(path)
        if sight.alive:
            assert sight.life is not None
            await _ladder(path, sight.life, grace)
            sight = await self._settled(path)
        for one in sight.remains:
            one.signal(signal.SIGKILL)
        for one in sight.remains:
            if not await one.ended_within(KILL_SECONDS):
                raise Failed(f"process {one.pid} is still there after SIGKILL")
        if sight.held:
            raise Unclear("it is on its way up or down, and has not arrived")
        return sight.end

    async def _hold(self, target: Target, verb: str, *, paused: bool) -> None:
        path = self.directories.of(target.id)
        _wake(path)
        sight = await self._settled(path)
        if not sight.alive or sight.life is None:
            raise Failed("there is no process to hold")
        _say(path, verb, sight.life)
        until = asyncio.get_running_loop().time() + KILL_SECONDS
        while (sight := look(path)).alive and sight.paused is not paused:
            if asyncio.get_running_loop().time() > until:
                raise Unclear(f"it did not {verb} within {KILL_SECONDS:g} s")
            await asyncio.sleep(STEP_SECONDS)
        if not sight.alive:
            raise Failed("it has ended")


async def launch(path: Path, lock: int, order: bytes) -> str:
    """Run a shim that inherits the lock, and give what it says; the order never touches a disk or an argv."""
    told, tell = os.pipe()
    given = os.memfd_create("order")
    try:
        os.write(given, order)
        os.lseek(given, 0, os.SEEK_SET)
        with subprocess.Popen(  # noqa: ASYNC220, S603  # it forks and ends at once, and leaves nobody's child
            [sys.executable, "-I", "-S", str(SHIM), str(path), str(lock)],
            stdin=given, stdout=tell, stderr=subprocess.DEVNULL, pass_fds=(lock,), env={}, cwd="/",
        ) as shim:  # fmt: skip
            os.close(tell)
            tell = -1
            try:
                return await _heard(told)
            except BaseException:
                shim.kill()
                raise
    finally:
        for descriptor in (told, tell, given):
            if descriptor >= 0:
                os.close(descriptor)


async def _heard(pipe: int) -> str:
    """Read a pipe to its end."""
    loop = asyncio.get_running_loop()
    heard, over = bytearray(), loop.create_future()

    def more() -> None:
        data = os.read(pipe, 4096)
        heard.extend(data)
        if not data and not over.done():
            over.set_result(None)

    loop.add_reader(pipe, more)
    try:
        await over
    finally:
        loop.remove_reader(pipe)
    return heard.decode(errors="replace")


async def _ladder(path: Path, life: Life, grace: float) -> None:
    """Ask, then kill; give up where even that leaves something running."""
    if grace > 0:
        _say(path, "ask", life, f"{grace:g}")
        if await life.shim.ended_within(grace):
            return
    _say(path, "kill", life)
    if not await life.shim.ended_within(KILL_SECONDS + KILL_SECONDS):
        raise Failed("something of it is still there after SIGKILL")


def _say(path: Path, verb: str, life: Life, more: str = "") -> None:
    """Tell the shim of one life what to do; a shim that has just ended needs not be told."""
    try:
        control = os.open(path / "control", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as problem:
        if not life.shim.lives():
            return
        raise Failed(f"its shim does not listen: {problem.strerror}") from problem
    try:
        os.write(control, f"{verb} {life.nonce} {more}\n".encode())
    finally:
        os.close(control)


def _wake(path: Path) -> None:
    """Let a shim go on that somebody has halted, so that it hears what is asked of it."""
    if (life := look(path).life) is not None and life.shim.state() == HALTED:
        life.shim.signal(signal.SIGCONT)


def _check(sight: Sight) -> Made:
    """Refuse to go on with a machine that is not there, or that nobody can tell of."""
    if sight.made is None:
        raise Failed("it has no run directory; it was never made, or is destroyed")
    if sight.between:
        raise Unclear(sight.observation("process").detail)
    return sight.made


# --- what a spec must be --------------------------------------------------------------------------------


def _command(spec: Spec) -> str:
    return "" if any(spec.command[:1]) else "command: a process needs a program to run"


def _sandbox(spec: Spec) -> str:
    return sandbox.objection(spec.sandbox) if spec.sandbox else ""


def _directory(spec: Spec) -> str:
    if spec.directory and not (os.path.isabs(spec.directory) and Path(spec.directory).is_dir()):  # noqa: PTH117
        return f"directory: {spec.directory} is no absolute path of a directory"
    return ""


def _environment(spec: Spec) -> str:
    twice = sorted(set(spec.environment) & set(spec.secrets))
    return f"secrets: {', '.join(twice)} is in the environment too" if twice else ""


__all__ = ["Failed", "Process", "SecretMissing"]
