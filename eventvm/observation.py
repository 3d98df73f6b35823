"""What the world was seen to be: instants, evidence, observations, and how a life ended."""

from typing import Literal

from msgspec import Struct

Liveness = Literal["alive", "gone", "unknown"]
Manner = Literal["graceful", "killed", "crashed", "already_exited", "lost"]


class Instant(Struct, frozen=True, gc=False):
    """One moment by three clocks: wall time, boot time, and the boot that the boot time belongs to."""

    wall: int
    """Nanoseconds since 1970 in UTC, as the host believed."""
    boot: int
    """Nanoseconds since the host's boot, suspended time included; it never goes back within a boot."""
    boot_id: str
    """Names the boot: boot times compare only within one."""

    def after(self, seconds: float) -> "Instant":
        """Give the moment that lies so much later, by all clocks."""
        ns = int(seconds * 1_000_000_000)
        return Instant(self.wall + ns, self.boot + ns, self.boot_id)

    def until(self, other: "Instant") -> int:
        """Count the nanoseconds to another moment: by boot time within a boot, else by wall time."""
        if self.boot_id == other.boot_id:
            return other.boot - self.boot
        return other.wall - self.wall


class Clean(Struct, frozen=True, gc=False, tag_field="kind", tag="clean", forbid_unknown_fields=True):
    """The machine ended by itself and its exit code was authenticated from inside."""

    code: int

    @property
    def terminal_state(self) -> str | None:
        return "clean"


class Forced(Struct, frozen=True, gc=False, tag_field="kind", tag="forced", forbid_unknown_fields=True):
    """No authenticated exit was seen; there is no exit code, and no field that could hold one."""

    @property
    def terminal_state(self) -> str | None:
        return "forced"


class Observed(
    Struct, frozen=True, gc=False, tag_field="kind", tag="observed", forbid_unknown_fields=True,
    omit_defaults=True,
):  # fmt: skip
    """The supervisor owned the process and saw it end: with a code, or by a signal, never both."""

    code: int | None = None
    signal: str | None = None

    def __post_init__(self) -> None:
        if (self.code is None) == (self.signal is None):
            message = "an observed end has either a code or a signal"
            raise ValueError(message)

    @property
    def terminal_state(self) -> str | None:
        return None


class Absent(Struct, frozen=True, gc=False, tag_field="kind", tag="absent", forbid_unknown_fields=True):
    """There was no exit to see: nothing ever ran, or its supervisor is gone too."""

    @property
    def terminal_state(self) -> str | None:
        return None


Termination = Clean | Forced | Observed | Absent


class End(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a life, or one incarnation of it, ended: the manner beside the termination."""

    manner: Manner
    termination: Termination
    rung: str = ""
    """The rung of the stop's ladder that ended it, as the provider calls it; empty where nobody was asked."""

    @property
    def terminal_state(self) -> str | None:
        """`clean`, `forced`, or None where the distinction does not apply."""
        return self.termination.terminal_state


KILLED = End("killed", Forced())
LOST = End("lost", Forced())
NEVER_RAN = End("graceful", Absent())


class Evidence(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where an observation comes from, and how far it can be trusted."""

    source: str
    """The witness: a provider's probe, a shim's exit file, a bridge, an operator."""
    verified: bool = False
    """Whether the witness authenticated what it says."""
    incarnation: int = 0
    """The boot of the machine that it speaks of; 0 when it cannot tell."""
    when: Instant | None = None
    """When it was so, where that is known better than by the time of looking."""


class Observation(Struct, frozen=True, gc=False, omit_defaults=True):
    """One look at one machine; None means that this look cannot tell."""

    liveness: Liveness
    evidence: Evidence
    exists: bool | None = None
    """Whether anything of the machine is there at all."""
    paused: bool | None = None
    name: str | None = None
    """The name that the provider knows it by, where it keeps one."""
    snapshots: tuple[str, ...] | None = None
    end: End | None = None
    """How it ended, where it is gone and somebody saw it."""
    generation: int = 0
    """The generation that the look was begun at; 0 when nobody said."""
    detail: str = ""
    """One sentence for people."""


def unknown(source: str, detail: str = "") -> Observation:
    """Make the observation of one that could not tell."""
    return Observation("unknown", Evidence(source), detail=detail)
