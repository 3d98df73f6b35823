"""Where a log's file lies: at a path that can name one, and on a disk of this host."""

import os
import re
from pathlib import Path

from eventvm import limits
from eventvm.errors import BadInput, LogUnavailable, NetworkFilesystem

INSIST = "EVENTVM_NETWORK_FILESYSTEM"
"""The environment variable that says `allow` where somebody knows better."""

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "9p", "afs", "ceph", "glusterfs", "lustre", "orangefs",
    "beegfs", "gpfs", "davfs", "vboxsf", "prl_fs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph",
    "fuse.ceph-fuse", "fuse.davfs2", "fuse.rclone", "fuse.s3fs", "fuse.goofys", "fuse.gcsfuse",
    "fuse.mount-s3", "fuse.blobfuse2", "fuse.juicefs", "fuse.moosefs", "fuse.smbnetfs", "fuse.gvfsd-fuse",
    "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs",
})  # fmt: skip
"""File systems whose locks and mapped memory another host does not see, or not in time."""


def file_at(given: str | Path) -> Path:
    """Give the path of a file that is there or may come to be; refuse what can name none."""
    path = Path(limits.path(str(given)))
    try:
        if not path.name or path.is_dir():
            is_one = " but a directory" if path.is_dir() else ""
            raise BadInput(f"{str(given)!r} names no file{is_one}")
        if not path.parent.is_dir():
            raise BadInput(f"the directory {path.parent} does not exist; create it first")
    except OSError as problem:
        raise LogUnavailable(f"{path} cannot be looked at: {problem.strerror}") from problem
    return path


def refuse_network(path: Path) -> None:
    """Refuse a file on another host's disk, unless somebody insists; where nobody can tell, it is taken."""
    if os.environ.get(INSIST) == "allow":
        return
    try:
        kind = kind_of(path.resolve(), MOUNTS.read_text(errors="surrogateescape"))
    except OSError:
        return
    if kind in REMOTE:
        raise NetworkFilesystem(
            f"{path} lies on a network file system ({kind}), where SQLite's log is not safe"
        )


def kind_of(path: Path, mounts: str) -> str:
    """Name the type of the file system that a path lies on, by the text of a mountinfo; empty if none fits.

    Of several mounts on one place the last one is seen.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        place, found = _mount(line)
        if place is not None and path.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), found
    return kind


def _mount(line: str) -> tuple[Path | None, str]:
    """Read where a line of mountinfo mounts what: fields up to a lone dash, then the type."""
    left, dash, right = line.partition(" - ")
    fields, kind = left.split(" "), right.split(" ")[0]
    if not dash or len(fields) < 5:  # noqa: PLR2004  # id, parent, device, root, place
        return None, ""
    return Path(re.sub(r"\\([0-7]{3})", lambda odd: chr(int(odd[1], 8)), fields[4])), kind
