"""`plugin`: fourteen phases and 41 edges, moved by the application; Uninstalled may be left again."""

from eventvm.lifecycle import Lifecycle
from eventvm.retry import Backoff, Deadline, Recovery
from eventvm.tables import ANY, Arrow, Fact, Refuse, closes

COMPUTE = "compute"
CRASHED = (closes(COMPUTE, "stop-crash"),)

MOVES: dict[str, tuple[str, ...]] = {
    "Uninstalled": ("Installing",),
    "Installing": ("Installed", "Failed"),
    "Installed": ("Building", "Validating", "Uninstalling", "Stopped"),
    "Building": ("Validating", "BuildFailed", "Failed"),
    "BuildFailed": ("Building", "Failed", "Uninstalling"),
    "Validating": ("Starting", "Failed", "Installed"),
    "Starting": ("Running", "Failed", "Degraded"),
    "Running": ("Stopping", "Degraded", "Failed", "Recovering", "Validating"),
    "Degraded": ("Recovering", "Stopping", "Failed"),
    "Recovering": ("Validating", "Failed"),
    "Stopping": ("Stopped", "Failed"),
    "Stopped": ("Validating", "Starting", "Uninstalling", "Installed"),
    "Failed": ("Validating", "Building", "Uninstalling", "Installed"),
    "Uninstalling": ("Uninstalled", "Failed"),
}
LASTS = {
    "Installing": 600.0, "Building": 1800.0, "Validating": 300.0, "Starting": 300.0, "Stopping": 300.0,
    "Uninstalling": 600.0,
}  # fmt: skip
"""How many seconds a phase in flight may last."""
IN_FLIGHT = ("Installing", "Building", "Validating", "Starting", "Uninstalling")

plugin = Lifecycle(
    name="plugin",
    initial="Uninstalled",
    phases=tuple(MOVES),
    settled=("Running", "Stopped", "Failed", "BuildFailed", "Uninstalled"),
    ends=("Uninstalled",),
    frees=("Uninstalled",),
    faulty=("Failed", "BuildFailed", "Recovering"),
    active=("Running", "Degraded"),
    history=50,
    recovery=Recovery(
        policy="on-failure",
        backoff=Backoff(first_seconds=2.0, cap_seconds=30.0, attempts=3),
        crashes=5,
        window_seconds=300.0,
        phase="Recovering",
        path=("Validating", "Starting", "Running"),
        gives_up="Failed",
    ),
    deadlines={phase: Deadline(seconds, "Failed") for phase, seconds in LASTS.items()},
    counts={COMPUTE: ("Running", "Degraded")},
    moves=MOVES,
    needs={"Building": "dev", "BuildFailed": "dev"},
    rows={
        ANY: {
            "create": Refuse("already_exists"),
            "force": Fact("machine.forced"),
            "attest": Fact("machine.attested"),
            "correct": Fact("ledger.corrected"),
            "advance_retry": Fact("machine.retry_advanced"),
            "reset_retry": Fact("machine.retry_reset"),
        },
        "Uninstalled": {"create": Fact("machine.created")},
    },
    arrows={
        "Uninstalled": {"machine.created": Arrow("Uninstalled")},
        "Running": {"machine.exited": Arrow("Recovering", CRASHED)},
        "Degraded": {"machine.exited": Arrow("Recovering", CRASHED)},
        "Stopping": {"machine.exited": Arrow("Stopped")},
        **{phase: {"machine.exited": Arrow("Failed")} for phase in IN_FLIGHT},
    },
    found={
        phase: {"gone": Fact("machine.exited")} for phase in ("Running", "Degraded", "Stopping", *IN_FLIGHT)
    },
)
