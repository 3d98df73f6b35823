"""A spec as QEMU's command line, and what of a spec cannot be honoured here."""

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from eventvm.spec import Drive, Interface, Spec

BINARY = "qemu-system-x86_64"
MIB = 1 << 20
MEMORY = 128 * MIB
"""What a guest gets whose spec does not say."""
ROOTFS = "rootfs"
USER = "user"
"""The host device of an interface that QEMU itself routes, without any privilege."""

_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,19}")
_SECRET = re.compile(r"[A-Za-z0-9_.-]{1,31}")
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


def uuid_of(id: str) -> str:  # noqa: A002  # the word of the domain
    """Give the UUID that QEMU is told, and says again when it is asked."""
    try:
        return str(UUID(id))
    except ValueError:
        return str(uuid5(NAMESPACE_OID, id))


# --- what cannot be honoured ------------------------------------------------------------------------------


def missing() -> Iterator[str]:
    """Say what is not installed."""
    if find_spec("qemu") is None or find_spec("qemu.qmp") is None:
        yield "the package qemu.qmp is missing: pip install 'eventvm[qemu]'"
    if shutil.which(BINARY) is None:
        yield f"{BINARY} is missing: apt install qemu-system-x86"


def objections(spec: Spec) -> Iterator[str]:
    """Say what cannot be honoured, each time naming the field."""
    yield from missing()
    if spec.memory % MIB:
        yield "memory: QEMU gives whole MiB"
    if not 1 <= spec.cpus <= 255:  # noqa: PLR2004  # what the machine type can have
        yield "cpus: from 1 to 255"
    if spec.restore_from is None:
        yield from _boot_objections(spec)
    yield from _device_objections(spec)
    for name in spec.secrets:
        if not _SECRET.fullmatch(name):
            yield f"secrets: {name!r} is no name of at most 31 letters, digits, _ . -"


def _boot_objections(spec: Spec) -> Iterator[str]:
    """Say what keeps it from a cold boot."""
    if not (spec.kernel or spec.rootfs or spec.drives):
        yield "kernel: there is nothing to boot, neither a kernel nor a drive"
    for field in ("kernel", "initrd", "rootfs"):
        path = getattr(spec, field)
        if path and not Path(path).is_file():
            yield f"{field}: there is no file {path}"
    for field in ("initrd", "boot_args"):
        if getattr(spec, field) and not spec.kernel:
            yield f"{field}: it goes with a kernel, and there is none"


def _device_objections(spec: Spec) -> Iterator[str]:
    drives = [drive.id for drive in spec.drives]
    yield from _id_objections("drives", drives)
    yield from _id_objections("network", [one.id for one in spec.network])
    yield from (f"drives: there is no {one.path}" for one in spec.drives if not Path(one.path).exists())
    yield from _network_objections(spec)
    limited = {ROOTFS, *drives} if spec.rootfs else {*drives}
    for limit in spec.rate_limits:
        if limit.device not in limited:
            yield f"rate_limits: {limit.device!r} is no drive, and only drives can be limited"
    if spec.vsock is not None and not Path("/dev/vhost-vsock").exists():
        yield "vsock: this host has no /dev/vhost-vsock; modprobe vhost_vsock may help"


def _id_objections(field: str, ids: list[str]) -> Iterator[str]:
    yield from (f"{field}: {id_!r} is no id for QEMU" for id_ in ids if not _DEVICE.fullmatch(id_))
    if len({*ids, ROOTFS}) <= len(ids):
        yield f"{field}: an id is there twice, or is {ROOTFS!r}"


def _network_objections(spec: Spec) -> Iterator[str]:
    for interface in _interfaces(spec):
        if interface.host_device != USER:
            yield f"network: {interface.id} names {interface.host_device!r}, and only {USER!r} can be had"
        if interface.mac and not _MAC.fullmatch(interface.mac):
            yield f"network: {interface.mac!r} is no MAC address"


def _interfaces(spec: Spec) -> tuple[Interface, ...]:
    overrides = spec.restore_from.network_overrides if spec.restore_from is not None else ()
    return (*spec.network, *overrides)


# --- the command line -------------------------------------------------------------------------------------


def argv(id: str, spec: Spec, accelerator: str, *, incoming: bool) -> list[str]:  # noqa: A002  # as above
    """Give the command line, but for the sockets, the secrets and whatever else is inherited."""
    return [
        shutil.which(BINARY) or BINARY,
        *("-machine", "q35", "-cpu", "max" if accelerator == "tcg" else "qemu64"),
        *("-accel", "tcg,tb-size=16" if accelerator == "tcg" else accelerator),
        *("-smp", str(spec.cpus), "-m", f"{(spec.memory or MEMORY) // MIB}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-S", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-uuid", uuid_of(id), "-name", f"guest={id}", "-device", "pvpanic"),
        *("-serial", "chardev:console", "-serial", "chardev:line"),
        *("-mon", "chardev=qmp,mode=control", "-mon", "chardev=probe,mode=control"),
        *("-mon", "chardev=watch,mode=control"),
        *_boot(spec),
        *_devices(spec),
        *(("-incoming", "defer") if incoming else ()),
    ]


def _boot(spec: Spec) -> Iterator[str]:
    for option, value in (("-kernel", spec.kernel), ("-initrd", spec.initrd), ("-append", spec.boot_args)):
        if value:
            yield from (option, value)


def _devices(spec: Spec) -> Iterator[str]:
    roots = (Drive(ROOTFS, spec.rootfs),) if spec.rootfs else ()
    for drive in (*roots, *spec.drives):
        yield from _drive(spec, drive)
    for interface in spec.network:
        yield from ("-netdev", f"user,id=net-{interface.id}")
        mac = f",mac={interface.mac}" if interface.mac else ""
        yield from ("-device", f"virtio-net-pci,netdev=net-{interface.id},romfile={mac}")
    if spec.vsock is not None:
        yield from ("-device", f"vhost-vsock-pci,guest-cid={spec.vsock}")


def _drive(spec: Spec, drive: Drive) -> Iterator[str]:
    """Give one drive, its format by its name and never by its content, which is the guest's."""
    form = "qcow2" if drive.path.endswith(".qcow2") else "raw"
    path = drive.path.replace(",", ",,")
    limits = "".join(
        f",throttling.{kind}-total={amount}"
        for limit in spec.rate_limits
        if limit.device == drive.id
        for kind, amount in (("bps", limit.bytes_per_second), ("iops", limit.operations_per_second))
        if amount
    )
    only = ",readonly=on" if drive.read_only else ""
    yield from ("-drive", f"file={path},id=drive-{drive.id},if=none,format={form}{only}{limits}")
    yield from ("-device", f"virtio-blk-pci,drive=drive-{drive.id},serial={drive.id}")


def writable(spec: Spec) -> tuple[str, ...]:
    """Name the drives that the guest may write to."""
    return (*((ROOTFS,) if spec.rootfs else ()), *(one.id for one in spec.drives if not one.read_only))
