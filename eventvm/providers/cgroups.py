"""Control groups: how much of the host's processors and memory a process may use, where we may say so.

Both generations are known. A group of ours lies below the nearest group of this process that we may write to
and that hands its controllers on: in the second generation no group that has processes itself does so.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from eventvm.spec import Spec

CONTROLLERS = ("cpu", "memory")
PERIOD_US = 100_000
HINT = "delegate a control group to this user: `systemd-run --user --scope`, or a service with Delegate=yes"

Settings = tuple[tuple[str, str], ...]


class Group(Struct, frozen=True):
    """One control group of a machine: what is written into its files, in this order."""

    path: Path
    settings: Settings
    optional: Settings = ()
    """What only some kernels have."""
    told_of_memory: str = ""
    """The file that counts what was killed because memory was over."""


class Cgroups:
    """The control groups that this process may make."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        """Look where the kernel tells of the groups of this process, and of where they are mounted."""
        self._proc = proc

    def objection(self, spec: Spec) -> str:
        """Say why this host cannot bound such a machine; empty where it can."""
        for controller in _needed(spec):
            if self._home(controller) is None:
                return f"bounded: this host lets nobody like us bound {controller}; {HINT}"
        return ""

    def groups(self, id_: str, spec: Spec) -> list[Group]:
        """Say which groups a machine is put into; those of one hierarchy are one."""
        found: dict[Path, Group] = {}
        for controller in _needed(spec):
            home = self._home(controller)
            if home is not None:
                path, second = home / f"eventvm-{id_}", _is_second(home)
                group = _SECOND[controller](path, spec) if second else _FIRST[controller](path, spec)
                found[path] = _joined(found.get(path), group)
        return list(found.values())

    def remains(self, id_: str) -> Iterator[Path]:
        """Find the groups of a machine that are still there."""
        for controller in CONTROLLERS:
            if (home := self._home(controller)) and (path := home / f"eventvm-{id_}").is_dir():
                yield path

    def _home(self, controller: str) -> Path | None:
        """Find the group that those of machines are to lie below."""
        for mount, own, second in self._hierarchies(controller):
            begin = mount / own.lstrip("/")
            for path in (begin, *begin.parents):
                if path.is_relative_to(mount) and _hands_on(path, controller, second=second):
                    return path
        return None

    def _hierarchies(self, controller: str) -> Iterator[tuple[Path, str, bool]]:
        """Give where a controller may be: the mount, our own group there, and whether it is of the second."""
        mounts = [line.split() for line in _lines(self._proc / "mounts")]
        for line in _lines(self._proc / "cgroup"):
            number, names, own = line.split(":", 2)
            for _, mount, kind, options, *_ in mounts:
                if kind == "cgroup2" and number == "0":
                    yield Path(mount), own, True
                elif kind == "cgroup" and controller in names.split(",") and controller in options.split(","):
                    yield Path(mount), own, False


def make(groups: list[Group]) -> None:
    """Make the groups and set their bounds; a group that cannot be bounded as it should be is an error."""
    for group in groups:
        _hand_on(group)
        group.path.mkdir(exist_ok=True)
        for file, value in group.settings:
            (group.path / file).write_text(value)
        for file, value in group.optional:
            with suppress(FileNotFoundError, PermissionError):
                (group.path / file).write_text(value)


def _hand_on(group: Group) -> None:
    """Let the parent of a group give it the controllers of its settings."""
    given = group.path.parent / "cgroup.subtree_control"
    wanted = {file.partition(".")[0] for file, _ in group.settings}
    if given.exists() and (missing := wanted - {*_words(given)}):
        given.write_text(" ".join(f"+{controller}" for controller in sorted(missing)))


def remove(paths: Iterator[Path]) -> None:
    """Remove groups; one that has processes still is left."""
    for path in paths:
        with suppress(OSError):
            path.rmdir()


def _needed(spec: Spec) -> tuple[str, ...]:
    if not spec.bounded:
        return ()
    return CONTROLLERS if spec.memory else ("cpu",)


def _is_second(path: Path) -> bool:
    return (path / "cgroup.controllers").exists()


def _hands_on(path: Path, controller: str, *, second: bool) -> bool:
    """Say whether groups made below this one have a controller, or can be given it."""
    if not (os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)):
        return False
    if not second or controller in _words(path / "cgroup.subtree_control"):
        return True
    free = not _words(path / "cgroup.procs") and os.access(path / "cgroup.subtree_control", os.W_OK)
    return free and controller in _words(path / "cgroup.controllers")


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _joined(one: Group | None, other: Group) -> Group:
    if one is None:
        return other
    return Group(
        one.path, one.settings + other.settings, one.optional + other.optional,
        one.told_of_memory or other.told_of_memory,
    )  # fmt: skip


def _second_cpu(path: Path, spec: Spec) -> Group:
    return Group(path, (("cpu.max", f"{spec.cpus * PERIOD_US} {PERIOD_US}"),))


def _second_memory(path: Path, spec: Spec) -> Group:
    most = (("memory.max", str(spec.memory)),)
    return Group(path, most, (("memory.swap.max", "0"),), told_of_memory="memory.events")


def _first_cpu(path: Path, spec: Spec) -> Group:
    quota = (("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(spec.cpus * PERIOD_US)))
    return Group(path, quota)


def _first_memory(path: Path, spec: Spec) -> Group:
    most = (("memory.limit_in_bytes", str(spec.memory)),)
    swap = (("memory.memsw.limit_in_bytes", str(spec.memory)),)
    return Group(path, most, swap, told_of_memory="memory.oom_control")


_SECOND = {"cpu": _second_cpu, "memory": _second_memory}
_FIRST = {"cpu": _first_cpu, "memory": _first_memory}
