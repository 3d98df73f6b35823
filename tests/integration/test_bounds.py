"""Bounds: what a bounded process may use, where the host lets us bound it; else it is refused by name."""

import os
from pathlib import Path

import pytest
from process_world import ended, made, said, spec, target

import eventvm
from eventvm import End, Process, errors
from eventvm.observation import Observed
from eventvm.providers import cgroups
from eventvm.providers.cgroups import Cgroups
from eventvm.providers.process_files import look

MIB = 1 << 20
GREEDY = ("sh", "-c", "a=x; while :; do a=$a$a; done")

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def left():
    """Name the control groups of machines that are still there, wherever they could be."""
    return [path for path in Path("/sys/fs/cgroup").rglob("eventvm-*") if path.name.endswith("-bounds")]


# --- on this host, whatever it allows -------------------------------------------------------------------


async def test_a_bounded_process_is_held_to_its_memory_or_is_refused_by_name(provider):
    """Never dropped in silence: what is taken is held, and the look afterwards says what was over."""
    job = target("m-bounds", *GREEDY, bounded=True, memory=32 * MIB)
    if why := provider.refuses(job.spec):
        assert why.startswith("bounded: this host lets nobody like us bound ")
        return
    await made(provider, job)
    await ended(provider, job.id)
    seen = await provider.probe(job)
    assert seen.end == End("crashed", Observed(signal="SIGKILL"))
    assert seen.detail == "the memory that it may use was over"
    assert left() == []


async def test_a_bounded_process_is_in_groups_of_its_own_until_it_ends(provider):
    """Its shim is not: that has to live to tell."""
    job = target("n-bounds", "sh", "-c", "echo ready; exec sleep 1000", bounded=True, cpus=2)
    if provider.refuses(job.spec):
        assert Cgroups().groups(job.id, job.spec) == []
        return
    await made(provider, job)
    await said(provider, job.id, b"ready")
    life = look(provider.directories.of(job.id)).life
    assert "eventvm-n-bounds" in groups_of(life.process.pid)
    assert "eventvm-n-bounds" not in groups_of(life.shim.pid)
    (group,) = {one.path for one in Cgroups().groups(job.id, job.spec)}
    quota = group / ("cpu.max" if (group / "cpu.max").exists() else "cpu.cfs_quota_us")
    assert quota.read_text().split()[0] == "200000"
    await provider.stop(job)
    assert left() == []


async def test_groups_that_a_killed_shim_has_left_go_with_the_machine(provider):
    job = target("o-bounds", bounded=True)
    if provider.refuses(job.spec):
        assert Cgroups().groups(job.id, job.spec) == []
        return
    await made(provider, job)
    life = look(provider.directories.of(job.id)).life
    life.shim.signal(9)
    assert await life.process.ended_within(20)
    assert left() != []
    await provider.destroy(job)
    assert left() == []


def groups_of(pid):
    return Path(f"/proc/{pid}/cgroup").read_text()


async def test_what_is_not_bounded_is_billed_and_put_nowhere(provider):
    job = await made(provider, target("p-bounds", cpus=2, memory=32 * MIB))
    assert left() == []
    assert await provider.stop(job) is not None


# --- on hosts of every kind -----------------------------------------------------------------------------


class Host:
    """A host that exists as far as files go: where control groups are mounted, and where this process is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.proc.mkdir()
        self.cgroups = Cgroups(self.proc)

    def second(self, own: str, *groups: tuple[str, str, str, str]):
        """Have the second generation; of each group its controllers, those handed on, and its processes."""
        mount = self.root / "unified"
        self.tell(f"cgroup2 {mount} cgroup2 rw 0 0", f"0::{own}")
        for path, controllers, handed, processes in groups:
            group = mount / path
            group.mkdir(parents=True, exist_ok=True)
            (group / "cgroup.controllers").write_text(controllers)
            (group / "cgroup.subtree_control").write_text(handed)
            (group / "cgroup.procs").write_text(processes)
        return mount

    def first(self, number: int, controller: str, own: str):
        """Have one hierarchy of the first generation."""
        mount = self.root / controller
        (mount / own.lstrip("/")).mkdir(parents=True)
        (mount / own.lstrip("/") / "cgroup.procs").write_text("1\n")
        self.tell(f"cgroup {mount} cgroup rw,relatime,{controller} 0 0", f"{number}:{controller}:{own}")
        return mount

    def tell(self, mount: str, own: str):
        for name, line in (("mounts", mount), ("cgroup", own)):
            with (self.proc / name).open("a") as file:
                file.write(f"{line}\n")

    def groups(self, **more):
        return self.cgroups.groups("m1", spec(bounded=True, **more))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_host_without_control_groups_refuses_and_says_what_to_do(host):
    why = host.cgroups.objection(spec(bounded=True))
    assert why.startswith("bounded: this host lets nobody like us bound cpu; delegate a control group")
    assert host.cgroups.objection(spec()) == ""


def test_a_group_that_has_processes_hands_nothing_on_so_the_one_above_it_is_taken(host):
    """In the second generation: a service with a group of its own below the one that is delegated to it."""
    mount = host.second(
        "/ours/engine", ("ours/engine", "cpu memory", "", "7\n"), ("ours", "cpu memory", "cpu memory", "")
    )
    (group,) = host.groups(memory=64 * MIB, cpus=3)
    assert group.path == mount / "ours" / "eventvm-m1"
    assert group.settings == (("cpu.max", "300000 100000"), ("memory.max", str(64 * MIB)))
    assert group.told_of_memory == "memory.events"


def test_a_controller_is_handed_on_where_that_is_ours_to_say_and_not_before_it_is_needed(host):
    """A check at create changes nothing; the launch does."""
    mount = host.second("/ours", ("ours", "cpu memory pids", "", ""))
    assert host.cgroups.objection(spec(bounded=True, memory=MIB)) == ""
    handed = mount / "ours" / "cgroup.subtree_control"
    assert handed.read_text() == ""
    cgroups.make(host.groups(memory=MIB))
    assert handed.read_text() == "+cpu +memory"
    assert (mount / "ours" / "eventvm-m1" / "memory.max").read_text() == str(MIB)


def test_a_controller_that_nobody_hands_on_is_refused_by_its_name(host):
    host.second("/ours/engine", ("ours/engine", "cpu", "", "7\n"), ("ours", "cpu", "cpu", ""))
    assert host.cgroups.objection(spec(bounded=True)) == ""
    why = host.cgroups.objection(spec(bounded=True, memory=MIB))
    assert "nobody like us bound memory" in why


def test_a_group_that_is_not_ours_to_write_is_not_taken(host):
    mount = host.second("/ours", ("ours", "cpu", "cpu", ""))
    (mount / "ours" / "cgroup.procs").unlink()
    assert "bound cpu" in host.cgroups.objection(spec(bounded=True))


def test_no_group_above_the_mount_is_taken(host):
    """What lies outside of it is no control group, whatever is written there."""
    host.second("/ours", ("ours", "", "", "7\n"), ("", "", "", "7\n"))
    for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.controllers"):
        (host.root / name).write_text("cpu")
    assert "bound cpu" in host.cgroups.objection(spec(bounded=True))


def test_in_the_first_generation_each_controller_has_a_hierarchy_of_its_own(host):
    cpu, memory = host.first(3, "cpu", "/"), host.first(4, "memory", "/slice")
    one, other = host.groups(memory=64 * MIB, cpus=2)
    assert (one.path, other.path) == (cpu / "eventvm-m1", memory / "slice" / "eventvm-m1")
    assert ("cpu.cfs_quota_us", "200000") in one.settings
    assert other.settings == (("memory.limit_in_bytes", str(64 * MIB)),)


def test_a_host_of_both_generations_uses_each_for_what_it_has(host):
    host.second("/", ("", "memory", "memory", ""))
    host.first(3, "cpu", "/")
    assert [group.settings[-1][0] for group in host.groups(memory=MIB)] == ["cpu.cfs_quota_us", "memory.max"]


async def test_a_host_that_cannot_bound_refuses_at_create_and_nothing_is_written(directory, tmp_path):
    provider = Process(directory, cgroups=Cgroups(tmp_path))
    async with eventvm.open("memory:", providers=[provider]) as engine:
        size = engine.log.tree.size
        with pytest.raises(errors.Unsupported, match="bounded: this host lets nobody like us bound cpu"):
            await engine.create("job", spec(bounded=True))
        assert engine.log.tree.size == size


async def test_a_host_that_no_longer_bounds_fails_the_start_and_nothing_runs(directory, host, tmp_path):
    """The machine was made when it did, and runs without its bound at no time."""
    host.second("/ours", ("ours", "cpu", "cpu", ""))
    job = await made(Process(directory, cgroups=host.cgroups), target("m1", bounded=True), running=False)
    later = Process(directory, cgroups=Cgroups(tmp_path))
    with pytest.raises(errors.EventvmError, match="bounded: this host lets nobody like us bound cpu"):
        await later.start(job)
    assert (await later.probe(job)).liveness == "gone"


async def test_a_bound_that_cannot_be_set_fails_the_start_and_nothing_runs(directory, host):
    """What could be had at the creation is gone by now: no process runs without its bound."""
    mount = host.second("/ours", ("ours", "cpu", "cpu", ""))
    provider = Process(directory, cgroups=host.cgroups)
    job = await made(provider, target("m1", bounded=True), running=False)
    os.mkdir(mount / "ours" / "eventvm-m1")  # noqa: PTH102  # at once
    os.mkdir(mount / "ours" / "eventvm-m1" / "cpu.max")  # noqa: PTH102
    with pytest.raises(errors.EventvmError, match=r"bounded: .*cpu\.max"):
        await provider.start(job)
    assert (await provider.probe(job)).liveness == "gone"
