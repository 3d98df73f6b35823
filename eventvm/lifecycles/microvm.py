"""`microvm`: strict and not idempotent; to stop is to pause, and the process stays alive."""

from eventvm.lifecycle import Lifecycle
from eventvm.tables import (
    ANY,
    Answer,
    Arrow,
    Ask,
    Effect,
    Fact,
    Nothing,
    Refuse,
    Step,
    closes,
    ensures,
    keeps,
    opens,
)

COMPUTE, STORAGE, SNAPSHOT = "compute", "storage", "snapshot.storage"
COUNTED = (ensures(COMPUTE), keeps(STORAGE))
KEEP = (keeps(COMPUTE), keeps(STORAGE))
OVER = (closes(COMPUTE, "stop"), closes(STORAGE, "vm-rm"))

CREATE = Step("create", "machine.created", "machine.create_failed", "exists")
RESUME = Step("resume", "machine.resumed", "machine.resume_failed", "unpaused")

CREATES = ("create", "create_restored", "create_resumed")
LIVING: dict[str, Answer] = {
    "snapshot": Effect("capture"),
    "delete_snapshot": Effect("forget"),
    "destroy": Effect("remove"),
    "destroy_forced": Ask("attested_gone", yes=Fact("machine.destroyed"), no=Effect("remove")),
    "rename": Effect("rename"),
}
ABSENT = ("start", "stop", "snapshot", "destroy", "destroy_forced", "rename", "attest")

microvm = Lifecycle(
    name="microvm",
    initial="absent",
    phases=("absent", "created", "running", "stopped", "destroyed"),
    settled=("created", "running", "stopped", "destroyed"),
    ends=("destroyed",),
    frees=("absent",),
    active=("running",),
    counts={COMPUTE: ("running", "stopped"), STORAGE: ("created", "running", "stopped")},
    effects={
        "create": (CREATE,),
        "create_restored": (Step("create", "machine.restored", "machine.create_failed", "exists"),),
        "create_resumed": (Step("create", "machine.cloned", "machine.create_failed", "exists"),),
        "launch": (Step("start", "machine.started", "machine.start_failed", "alive"),),
        "pause": (Step("pause", "machine.stopped", "machine.stop_failed", "paused"),),
        "resume": (RESUME,),
        "capture": (Step("snapshot", "machine.snapshotted", "machine.snapshot_failed", "snapshot"),),
        "forget": (
            Step(
                "delete_snapshot", "machine.snapshot_deleted", "machine.snapshot_delete_failed", "no_snapshot"
            ),
        ),
        "rename": (Step("rename", "machine.renamed", "machine.rename_failed", "renamed"),),
        "remove": (Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),),
    },
    rows={
        ANY: {
            **dict.fromkeys(CREATES, Refuse("already_exists")),
            "attest": Fact("machine.attested"),
            "correct": Fact("ledger.corrected"),
        },
        "absent": {
            **{verb: Effect(verb) for verb in CREATES},
            **dict.fromkeys(ABSENT, Refuse("not_found")),
        },
        "created": {**LIVING, "start": Effect("launch")},
        "running": {**LIVING, "stop": Effect("pause"), "use": Nothing()},
        "stopped": {**LIVING, "start": Effect("resume")},
        "destroyed": {
            **dict.fromkeys(CREATES, Refuse("already_exists")),
            "rename": Refuse(to="renamed"),
            "delete_snapshot": Effect("forget"),
            "correct": Fact("ledger.corrected"),
        },
    },
    arrows={
        ANY: {
            "machine.snapshotted": Arrow(meters=(opens(SNAPSHOT, "snapshot"),)),
            "machine.snapshot_failed": Arrow(),
            "machine.snapshot_deleted": Arrow(meters=(closes(SNAPSHOT, "snap-rm"),)),
            "machine.snapshot_delete_failed": Arrow(),
            "machine.renamed": Arrow(),
            "machine.rename_failed": Arrow(),
            "machine.destroy_failed": Arrow(),
        },
        "absent": {
            "machine.created": Arrow("created", (opens(STORAGE),)),
            "machine.restored": Arrow("stopped", (opens(COMPUTE, "restore"), opens(STORAGE, "restore"))),
            "machine.cloned": Arrow("running", (opens(COMPUTE, "clone"), opens(STORAGE, "clone"))),
            "machine.create_failed": Arrow(),
        },
        "created": {
            "machine.started": Arrow("running", COUNTED),
            "machine.start_failed": Arrow(),
            "machine.reconciled": Arrow("running", COUNTED),
            "machine.destroyed": Arrow("destroyed", OVER),
        },
        "running": {
            "machine.stopped": Arrow("stopped", KEEP),
            "machine.stop_failed": Arrow(),
            "machine.destroyed": Arrow("destroyed", OVER),
        },
        "stopped": {
            "machine.resumed": Arrow("running", KEEP),
            "machine.resume_failed": Arrow(),
            "machine.destroyed": Arrow("destroyed", OVER),
        },
        "destroyed": {
            "machine.snapshot_deleted": Arrow(meters=(closes(SNAPSHOT, "snap-rm"),)),
            "machine.snapshot_delete_failed": Arrow(),
        },
    },
    found={
        "created": {"alive": Fact("machine.reconciled")},
        "running": {"gone": Fact("machine.destroyed")},
        "stopped": {"gone": Fact("machine.destroyed")},
    },
)
