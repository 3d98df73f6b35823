"""`cell`: lives once, and its end is told as audit needs it: clean or forced, succeeded or failed."""

from eventvm.lifecycle import Lifecycle
from eventvm.tables import ANY, Arrow, Ask, Effect, Fact, Nothing, Refuse, Step, closes, keeps, opens

COMPUTE = "compute"
DIED = Fact("machine.destroyed")
END = Effect("end")
END_FORCED = Ask("attested_gone", yes=DIED, no=END)
ABSENT = ("start", "stop", "destroy", "destroy_forced", "attest")

cell = Lifecycle(
    name="cell",
    initial="absent",
    phases=("absent", "pending", "started", "completed", "destroyed"),
    settled=("pending", "started", "completed", "destroyed"),
    ends=("destroyed",),
    frees=("absent", "destroyed"),
    active=("started",),
    counts={COMPUTE: ("started", "completed")},
    effects={
        "create": (Step("create", "machine.created", "machine.create_failed", "exists"),),
        "boot": (Step("start", "machine.started", "machine.destroyed", "alive"),),
        "end": (
            Step("stop", shows="gone"),
            Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),
        ),
    },
    rows={
        ANY: {
            "create": Refuse("already_exists"),
            "attest": Fact("machine.attested"),
            "correct": Fact("ledger.corrected"),
        },
        "absent": {"create": Effect("create"), **dict.fromkeys(ABSENT, Refuse("not_found"))},
        "pending": {"start": Effect("boot"), "destroy": END, "destroy_forced": END_FORCED},
        "started": {
            "complete": Fact("machine.completed"),
            "use": Nothing(),
            "destroy": END,
            "destroy_forced": END_FORCED,
        },
        "completed": {"destroy": END, "destroy_forced": END_FORCED},
        "destroyed": {"correct": Fact("ledger.corrected")},
    },
    arrows={
        "absent": {
            "machine.created": Arrow("pending"),
            "machine.create_failed": Arrow("destroyed"),
        },
        "pending": {
            "machine.started": Arrow("started", (opens(COMPUTE),)),
            "machine.reconciled": Arrow("started", (opens(COMPUTE),)),
            "machine.destroyed": Arrow("destroyed"),
            "machine.destroy_failed": Arrow(),
        },
        "started": {
            "machine.completed": Arrow("completed", (keeps(COMPUTE),)),
            "machine.destroyed": Arrow("destroyed", (closes(COMPUTE, "stop"),)),
            "machine.destroy_failed": Arrow(),
        },
        "completed": {
            "machine.destroyed": Arrow("destroyed", (closes(COMPUTE, "stop"),)),
            "machine.destroy_failed": Arrow(),
        },
    },
    found={
        "pending": {"alive": Fact("machine.reconciled")},
        "started": {"gone": DIED},
        "completed": {"gone": DIED},
    },
)
