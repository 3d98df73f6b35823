"""`hcsshim`: five phases; to stop is to end, and a failed start leaves only the way out."""

from eventvm.lifecycle import Lifecycle
from eventvm.tables import ANY, Arrow, Effect, Fact, Nothing, Refuse, Step, closes, ensures, keeps, opens

COMPUTE, STORAGE = "compute", "storage"
KEEP = (keeps(COMPUTE), keeps(STORAGE))
OVER = (closes(COMPUTE, "stop-user"), closes(STORAGE, "vm-rm"))
CRASHED = (closes(COMPUTE, "stop-crash"), closes(STORAGE, "vm-rm"))

CLOSE = (Step("disconnect"), Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"))
ENDED = dict.fromkeys(("stop", "destroy", "destroy_forced"), Nothing())
NEVER_STARTED = dict.fromkeys(("stop", "destroy", "destroy_forced"), Effect("close"))
TERMINATED = dict.fromkeys(("stop", "destroy", "destroy_forced"), Effect("terminate"))

hcsshim = Lifecycle(
    name="hcsshim",
    initial="not_created",
    phases=("not_created", "created", "running", "terminated", "invalid"),
    settled=("not_created", "created", "running", "terminated", "invalid"),
    ends=("terminated",),
    frees=("not_created",),
    faulty=("invalid",),
    active=("running",),
    titles={
        "not_created": "NotCreated",
        "created": "Created",
        "running": "Running",
        "terminated": "Terminated",
        "invalid": "Invalid",
    },
    counts={COMPUTE: ("running",), STORAGE: ("created", "running", "invalid")},
    may_count={COMPUTE: ("invalid",)},
    effects={
        "create": (Step("create", "machine.created", "machine.create_failed", "exists"),),
        "launch": (Step("start", "machine.started", "machine.start_failed", "alive"),),
        "close": CLOSE,
        "terminate": (Step("stop", shows="gone"), *CLOSE),
    },
    rows={
        ANY: {
            "create": Refuse("already_exists"),
            "attest": Fact("machine.attested"),
            "correct": Fact("ledger.corrected"),
        },
        "not_created": {"create": Effect("create"), "attest": Refuse("not_found"), **ENDED},
        "created": {"start": Effect("launch"), **NEVER_STARTED},
        "running": {"start": Nothing(), "use": Nothing(), **TERMINATED},
        "invalid": {**TERMINATED},
        "terminated": {"correct": Fact("ledger.corrected"), **ENDED},
    },
    arrows={
        "not_created": {
            "machine.created": Arrow("created", (opens(STORAGE),)),
            "machine.create_failed": Arrow(),
        },
        "created": {
            "machine.started": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.start_failed": Arrow("invalid", (keeps(STORAGE),)),
            "machine.destroyed": Arrow("terminated", OVER),
            "machine.destroy_failed": Arrow("invalid", KEEP),
        },
        "running": {
            "machine.exited": Arrow("terminated", CRASHED),
            "machine.destroyed": Arrow("terminated", OVER),
            "machine.destroy_failed": Arrow("invalid", KEEP),
        },
        "invalid": {
            "machine.exited": Arrow("terminated", CRASHED),
            "machine.reconciled": Arrow("running", (ensures(COMPUTE), keeps(STORAGE))),
            "machine.destroyed": Arrow("terminated", OVER),
            "machine.destroy_failed": Arrow("invalid", KEEP),
        },
    },
    found={
        "running": {"gone": Fact("machine.exited")},
        "invalid": {"gone": Fact("machine.exited"), "alive": Fact("machine.reconciled")},
    },
)
