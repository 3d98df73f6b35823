"""What a machine should be: one typed value, fixed at creation and recorded whole."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Restart = Literal["", "never", "on-failure", "always"]
"""When a machine that ended by itself is run again; empty: as its lifecycle has it."""


class Shape(Struct, frozen=True, gc=False):
    """The amounts that are billed: thousandths of a CPU, and bytes."""

    milli_cpus: int = 0
    memory: int = 0
    storage: int = 0


class Interface(Struct, frozen=True, gc=False, omit_defaults=True):
    """One network interface of the guest and the host device behind it."""

    id: str
    host_device: str
    mac: str = ""


class Drive(Struct, frozen=True, gc=False, omit_defaults=True):
    """One block device beside the root file system."""

    id: str
    path: str
    read_only: bool = False


class RateLimit(Struct, frozen=True, gc=False, omit_defaults=True):
    """A token bucket for one device: bytes and operations a second."""

    device: str
    bytes_per_second: int = 0
    operations_per_second: int = 0


class RestoreFrom(Struct, frozen=True, gc=False, omit_defaults=True):
    """Begin from another machine's snapshot; the fields of a cold boot are then ignored."""

    machine: str
    snapshot: str
    resume_immediately: bool = False
    network_overrides: tuple[Interface, ...] = ()


class Secret(Struct, frozen=True, gc=False, omit_defaults=True):
    """A secret by reference, never its value: an environment variable of the host, or a file there."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            message = "a secret is named by either `env` or `file`"
            raise ValueError(message)


class Sandbox(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a process may reach of its host: files to read, and no file, process or network to change."""

    writable: tuple[str, ...] = ()
    """Files and directories that it may write to."""
    hidden: tuple[str, ...] = ()
    """Directories that it sees empty, beside those that no sandbox shows."""
    network: bool = False
    """Whether it is on the host's network; else it is on none."""


class Spec(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What a machine should be; a field that the provider cannot honour is refused by name."""

    provider: str = ""
    """Who carries out its effects; empty for a machine that only reports its own moves."""
    cpus: int = 1
    memory: int = 0
    """Bytes."""
    storage: int = 0
    """Bytes."""
    command: tuple[str, ...] = ()
    """What is run, where the machine is a process: the program and its arguments, never a shell's line."""
    directory: str = ""
    """Where it is run."""
    environment: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    """Environment variables whose values are read at each start from where they are kept, never recorded."""
    sandbox: Sandbox | None = None
    """What it may reach of its host, where it is a process; None: all that its user may."""
    bounded: bool = False
    """Whether cpus and memory are the most that it may use; else they are billed, and no bound."""
    stop_grace_seconds: float | None = None
    """How long a stop asks before it kills; None: as long as the provider finds right."""
    kernel: str = ""
    initrd: str = ""
    rootfs: str = ""
    boot_args: str = ""
    network: tuple[Interface, ...] = ()
    drives: tuple[Drive, ...] = ()
    vsock: int | None = None
    """The guest's context id on the vsock, where it has one."""
    rate_limits: tuple[RateLimit, ...] = ()
    restore_from: RestoreFrom | None = None
    labels: dict[str, str] = {}
    restart: Restart = ""
    """When the supervisor runs it again; what a command has stopped stays stopped."""
    ttl_seconds: int = 0
    """How long it may live from its creation on; 0: for ever."""
    dev: bool = False
    """A machine under development, which may be built from source."""
    disabled: bool = False
    """A machine that its host is not to run."""

    @property
    def shape(self) -> Shape:
        """The part of it that is billed."""
        return Shape(self.cpus * 1000, self.memory, self.storage)


SAID = ("labels", "restart", "ttl_seconds", "dev", "disabled")
"""What is said of a machine beside its shape: it is there from the creation on, and only amended."""


def reshaped(spec: Spec, shape: Spec) -> Spec:
    """Put a machine into a new shape; what is said of it stays."""
    return replace(shape, **{field: getattr(spec, field) for field in SAID})


BILLED = ("cpus", "memory", "storage")
BOOKKEEPING = ("provider", *SAID, *BILLED)
"""The fields that every provider takes, because they ask nothing of the world."""


def demanded(spec: Spec) -> tuple[str, ...]:
    """Name the fields that ask something of the provider."""
    plain = Spec()
    return tuple(
        name
        for name in spec.__struct_fields__
        if name not in BOOKKEEPING and getattr(spec, name) != getattr(plain, name)
    )
