"""A Debian kernel with a busybox root, and the guest side of the bridge as its first process."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from qemu_world import Guests, needs_qemu

from eventvm.observation import KILLED, Clean, End
from eventvm.providers.qemu import TINY

THOROUGH = os.environ.get("EVENTVM_THOROUGH") == "1"
KERNEL = os.environ.get("EVENTVM_LINUX_KERNEL", "")
PACKAGE = "linux-image-cloud-amd64"

pytestmark = [
    needs_qemu,
    pytest.mark.skipif(
        not (THOROUGH or KERNEL),
        reason="it downloads a kernel of 27 MB: EVENTVM_THOROUGH=1, or name one as EVENTVM_LINUX_KERNEL",
    ),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="apt install busybox-static"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt install gcc libc6-dev"),
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The kernel that is named, or else Debian's own, downloaded and never installed."""
    if KERNEL:
        return KERNEL
    directory = tmp_path_factory.mktemp("kernel")
    asked = ["apt-cache", "depends", "--important", PACKAGE]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    name = next(line.split()[1] for line in told.splitlines() if "Depends:" in line)
    subprocess.run(["apt-get", "download", name], check=True, cwd=directory, capture_output=True)
    (package,) = directory.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    return str(next((directory / "boot").glob("vmlinuz-*")))


@pytest.fixture(scope="module")
def initrd(tmp_path_factory):
    """A root of two programs: busybox, and the guest side of the bridge."""
    directory = tmp_path_factory.mktemp("initrd")
    guest = directory / "eventvm-guest"
    subprocess.run(["gcc", "-O2", "-static", "-o", guest, TINY.parent / "linux.c"], check=True)
    files = {"bin": b"", "bin/busybox": Path("/bin/busybox").read_bytes(), "init": guest.read_bytes()}
    archive = directory / "initrd.cpio"
    archive.write_bytes(
        b"".join(_entry(name, data) for name, data in files.items()) + _entry("TRAILER!!!", b"")
    )
    return str(archive)


def _entry(name: str, data: bytes) -> bytes:
    """One file or directory of a cpio archive, as the kernel unpacks it."""
    kind = 0o100755 if data else 0o040755
    fields = (1, kind, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


@pytest.fixture
async def linux(tmp_path, kernel, initrd):
    """Run a command as a Linux guest; what is left is cleared away after the test."""
    guests = Guests(tmp_path / "qemu")

    def running(command: str):
        boot_args = f"console=ttyS0 quiet panic=-1 no_timer_check -- /bin/busybox {command}"
        return guests.running(boot_args, kernel=kernel, initrd=initrd, memory=128 << 20)

    guests.linux = running
    yield guests
    await guests.clear()
    assert guests.left() == []


async def test_the_exit_code_of_a_command_in_linux_is_authenticated(linux):
    async with linux.linux("false") as target:
        seen = await linux.over(target)
        assert (seen.end, seen.evidence.verified) == (End("already_exited", Clean(1)), True)


async def test_a_command_in_linux_is_asked_to_stop_and_its_code_is_told(linux):
    """The command sees SIGTERM; busybox's sleep is ended by it, which counts as 128 and the signal."""
    async with linux.linux("sleep 1000") as target:
        end = await linux.provider.stop(target)
        assert end == End("graceful", Clean(128 + signal.SIGTERM), "power button")


async def test_linux_that_is_killed_has_no_code(linux):
    async with linux.linux("sleep 1000") as target:
        os.kill(linux.pid(target), signal.SIGKILL)
        assert (await linux.over(target)).end == KILLED
