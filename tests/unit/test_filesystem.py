"""Where a file lies is read from the kernel's own list of mounts, as it was recorded on such hosts."""

from pathlib import Path

import pytest

from eventvm.errors import NetworkFilesystem
from eventvm.logs import filesystem, open_log, restore

NFS = """\
22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
95 28 0:44 / /home rw,relatime shared:49 - nfs4 filer:/export/home rw,vers=4.2,hard,proto=tcp
96 95 0:45 / /home/local rw,relatime shared:50 master:2 propagate_from:2 - xfs /dev/sdb1 rw
97 28 0:46 / /mnt/two\\040words rw,relatime - cifs //server/share rw
98 28 0:47 / /mnt/far rw,nosuid,nodev,relatime - fuse.sshfs me@there:/ rw,user_id=0
99 28 0:48 / /mnt/near rw,nosuid,nodev,relatime - fuse.mergerfs pool rw,user_id=0
100 28 0:49 / /homely rw,relatime - btrfs /dev/sdc rw
101 28 0:50 / /mnt/over rw,relatime - ext4 /dev/sdd rw
102 101 0:51 / /mnt/over rw,relatime - 9p host rw,trans=virtio
a line that is none
"""

PLACES = {
    "/var/fleet.db": "ext4", "/home/me/fleet.db": "nfs4", "/home/local/fleet.db": "xfs",
    "/mnt/two words/fleet.db": "cifs", "/mnt/far/a/b/fleet.db": "fuse.sshfs", "/mnt/near/x": "fuse.mergerfs",
    "/homely/fleet.db": "btrfs", "/mnt/over/fleet.db": "9p", "/sys/x": "sysfs",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_the_nearest_mount_above_a_path_is_its_file_system(place):
    """Of two on one place the later one; a name that only begins alike is another place."""
    assert filesystem.kind_of(Path(place), NFS) == PLACES[place]


def test_where_nothing_is_known_nothing_is_said():
    """A list that cannot be read refuses nobody."""
    assert filesystem.kind_of(Path("/x"), "") == filesystem.kind_of(Path("/x"), "nonsense\n - \n") == ""


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Let the kernel say that this directory is mounted so."""

    def mount(kind):
        table = tmp_path / "mountinfo"
        table.write_text(
            f"1 1 0:1 / / rw - ext4 disk rw\n2 1 0:2 / {tmp_path.resolve()} rw - {kind} there rw\n"
        )
        monkeypatch.setattr(filesystem, "MOUNTS", table)
        return tmp_path / "log.db"

    return mount


@pytest.mark.parametrize("kind", sorted(filesystem.REMOTE))
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_log_on_another_hosts_disk_is_refused_untouched(mounted, kind, read_only):
    """With a sentence that names the file system, and a way to insist."""
    path = mounted(kind)
    with pytest.raises(NetworkFilesystem, match=kind) as refused:
        async with open_log(path, read_only=read_only):
            pass
    assert "EVENTVM_NETWORK_FILESYSTEM=allow" in refused.value.hint
    assert [one.name for one in path.parent.iterdir()] == ["mountinfo"]


async def test_a_log_is_not_restored_to_another_hosts_disk(mounted, tmp_path_factory):
    """Nobody could open it there; a backup may lie there, and is restored from there."""
    near = tmp_path_factory.mktemp("near")
    async with open_log(near / "log.db") as log:
        far = mounted("nfs4")
        await log.backup(far)
    with pytest.raises(NetworkFilesystem):
        await restore(far, far.with_name("new.db"))
    assert not far.with_name("new.db").exists()
    await restore(far, near / "new.db")


async def test_who_insists_is_believed(mounted, monkeypatch):
    """By just the word that the hint names."""
    path = mounted("nfs4")
    monkeypatch.setenv(filesystem.INSIST, "yes")
    with pytest.raises(NetworkFilesystem):
        async with open_log(path):
            pass
    monkeypatch.setenv(filesystem.INSIST, "allow")
    async with open_log(path) as log:
        assert log.tree.size == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk"])
async def test_a_log_on_a_disk_of_this_host_is_taken(mounted, kind):
    async with open_log(mounted(kind)) as log:
        assert log.tree.size == 0


async def test_where_there_is_no_list_of_mounts_a_log_is_taken(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "nowhere")
    async with open_log(tmp_path / "log.db") as log:
        assert log.tree.size == 0


async def test_a_link_does_not_hide_where_a_file_lies(mounted, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "link"
    link.symlink_to(mounted("nfs").parent)
    with pytest.raises(NetworkFilesystem):
        async with open_log(link / "log.db"):
            pass
