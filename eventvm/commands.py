"""Wishes, in the imperative: what may be asked of a machine, as a tagged union of frozen values."""

from typing import Any, ClassVar

from msgspec import Struct

from eventvm.observation import Instant, Liveness
from eventvm.spec import Restart, Spec


class Wish(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every command carries."""

    verb: ClassVar[str] = ""
    reason: str = ""
    """Why it is wished, verbatim; required where something is forced."""

    @property
    def row(self) -> str:
        """The name of this wish in a lifecycle's table; a forced variant has a row of its own."""
        return self.verb


class Create(Wish, frozen=True, gc=False, tag="create"):
    """Begin a life under a free name."""

    verb = "create"
    name: str
    lifecycle: str
    """The digest of the definition that this machine will live under."""
    spec: Spec = Spec()
    phase: str = ""
    """The phase that it is known to be in already, when its state is imported."""

    @property
    def row(self) -> str:
        if self.spec.restore_from is None:
            return "create"
        return "create_resumed" if self.spec.restore_from.resume_immediately else "create_restored"


class Clone(Wish, frozen=True, gc=False, tag="clone"):
    """Begin a life as a copy of another machine's snapshot, and run at once."""

    verb = "clone"
    name: str
    lifecycle: str
    source: str
    """The id of the machine that the snapshot was taken of."""
    snapshot: str
    spec: Spec = Spec()


class Start(Wish, frozen=True, gc=False, tag="start"):
    """Run the machine."""

    verb = "start"


class Stop(Wish, frozen=True, gc=False, tag="stop"):
    """End the machine's process; what it stores stays."""

    verb = "stop"


class Pause(Wish, frozen=True, gc=False, tag="pause"):
    """Hold the machine still without ending it."""

    verb = "pause"


class Resume(Wish, frozen=True, gc=False, tag="resume"):
    """Let a paused machine go on."""

    verb = "resume"


class Hibernate(Wish, frozen=True, gc=False, tag="hibernate"):
    """Take a snapshot, and end the process once the snapshot is durable."""

    verb = "hibernate"
    snapshot: str


class Snapshot(Wish, frozen=True, gc=False, tag="snapshot"):
    """Capture the machine's state under a name that is unique for this machine."""

    verb = "snapshot"
    snapshot: str


class DeleteSnapshot(Wish, frozen=True, gc=False, tag="delete_snapshot"):
    """Delete one snapshot, also of a machine whose life is over."""

    verb = "delete_snapshot"
    snapshot: str


class Restore(Wish, frozen=True, gc=False, tag="restore"):
    """Put the machine back to a snapshot, in a new shape if one is given; labels and the like stay."""

    verb = "restore"
    snapshot: str
    spec: Spec | None = None


class Rename(Wish, frozen=True, gc=False, tag="rename"):
    """Give the machine another name and free the old one."""

    verb = "rename"
    name: str


class Destroy(Wish, frozen=True, gc=False, tag="destroy"):
    """End the machine's life; its records stay for ever."""

    verb = "destroy"
    force: bool = False

    @property
    def row(self) -> str:
        return "destroy_forced" if self.force else "destroy"


class Complete(Wish, frozen=True, gc=False, tag="complete"):
    """Record that the command inside the machine ended with an authenticated exit code."""

    verb = "complete"
    code: int


class Transition(Wish, frozen=True, gc=False, tag="transition"):
    """Record a move that the application made, along one of the lifecycle's edges."""

    verb = "transition"
    to: str
    data: Any = None


class Force(Wish, frozen=True, gc=False, tag="force"):
    """Set the phase against the lifecycle's edges; it needs a reason and is marked in every view."""

    verb = "force"
    to: str


class Use(Wish, frozen=True, gc=False, tag="use"):
    """Ask whether the machine may be used (exec, stats, update); it never changes anything."""

    verb = "use"
    what: str = "exec"


class Attest(Wish, frozen=True, gc=False, tag="attest"):
    """Record what a person saw of the machine, and settle phase and ledger by it."""

    verb = "attest"
    liveness: Liveness
    at: Instant | None = None
    """When it was so; None for now."""


class AdvanceRetry(Wish, frozen=True, gc=False, tag="advance_retry"):
    """Count one more attempt and double the backoff."""

    verb = "advance_retry"


class ResetRetry(Wish, frozen=True, gc=False, tag="reset_retry"):
    """Forget the attempts, as a person's retry does."""

    verb = "reset_retry"


class Amend(Wish, frozen=True, gc=False, tag="amend"):
    """Change what is said of the machine beside its shape; what is not named stays as it is."""

    verb = "amend"
    labels: dict[str, str | None] = {}
    """Labels to set, and with null those to take away."""
    restart: Restart | None = None
    ttl_seconds: int | None = None
    """How long it may live from now on; 0: for ever."""
    dev: bool | None = None
    disabled: bool | None = None


class Correct(Wish, frozen=True, gc=False, tag="correct"):
    """Correct one entry of the ledger by naming it; the entry itself stays for ever."""

    verb = "correct"
    position: int
    """The position of the record that the entry follows from."""
    meter: str
    edge: str
    """`start` or `stop`."""
    at: Instant
    """When it truly was. To take an interval back whole, move its stop to its start."""
    subject: str = ""
    """The snapshot's name, empty for the machine itself."""


Command = (
    Create | Clone | Start | Stop | Pause | Resume | Hibernate | Snapshot | DeleteSnapshot | Restore
    | Rename | Destroy | Complete | Transition | Force | Use | Attest | AdvanceRetry | ResetRetry | Amend
    | Correct
)  # fmt: skip
