"""`vm`, the default: a virtual machine with its usage ledger, forgiving to its operator."""

from eventvm.lifecycle import Lifecycle
from eventvm.tables import (
    ANY,
    Arrow,
    Ask,
    Effect,
    Fact,
    Look,
    Nothing,
    Refuse,
    Step,
    closes,
    ensures,
    keeps,
    opens,
    reopens,
)

COMPUTE, STORAGE, SNAPSHOT = "compute", "storage", "snapshot.storage"
KEEP = (keeps(COMPUTE), keeps(STORAGE))
GONE = Refuse("not_found")
FORCE = Refuse("force_required")
DIED = Fact("machine.exited", again=True)
REPAIRED = Fact("machine.reconciled")

LAUNCH, KILL, CAPTURE = Effect("launch"), Effect("kill"), Effect("capture")
RESTORE, FORGET = Effect("restore"), Effect("forget")
REMOVE = Look(
    alive=Refuse("still_answers"),
    gone=Effect("remove"),
    unknown=Ask("attested_gone", yes=Fact("machine.destroyed"), no=Refuse("inconclusive")),
)
REMOVE_LOST = Look(
    alive=REMOVE.alive, gone=Ask("compute_open", yes=DIED, no=Effect("remove")), unknown=REMOVE.unknown
)

vm = Lifecycle(
    name="vm",
    initial="absent",
    phases=("absent", "creating", "created", "running", "paused", "stopped", "error", "destroyed"),
    settled=("created", "running", "paused", "stopped", "error", "destroyed"),
    ends=("destroyed",),
    frees=("absent", "destroyed"),
    faulty=("error",),
    active=("running",),
    counts={
        COMPUTE: ("running", "paused"),
        STORAGE: ("created", "running", "paused", "stopped", "error"),
    },
    may_count={COMPUTE: ("error",)},
    effects={
        "create": (Step("create", "machine.created", "machine.create_failed", "exists"),),
        "clone": (
            Step("create", "machine.created", "machine.create_failed", "exists"),
            Step("restore", "machine.cloned", "machine.start_failed", "alive"),
        ),
        "launch": (Step("start", "machine.started", "machine.start_failed", "alive"),),
        "kill": (Step("stop", "machine.stopped", "machine.stop_failed", "gone"),),
        "pause": (Step("pause", "machine.paused", "machine.pause_failed", "paused"),),
        "resume": (Step("resume", "machine.resumed", "machine.resume_failed", "unpaused"),),
        "capture": (Step("snapshot", "machine.snapshotted", "machine.snapshot_failed", "snapshot"),),
        "hibernate": (
            Step("snapshot", "machine.snapshotted", "machine.snapshot_failed", "snapshot"),
            Step("stop", "machine.stopped", "machine.stop_failed", "gone"),
        ),
        "restore": (
            Step("stop", None, "machine.restore_failed", "gone"),
            Step("restore", "machine.restored", "machine.restore_lost", "relaunched"),
        ),
        "forget": (
            Step(
                "delete_snapshot", "machine.snapshot_deleted", "machine.snapshot_delete_failed", "no_snapshot"
            ),
        ),
        "remove": (Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),),
        "kill_and_remove": (
            Step("stop", shows="gone"),
            Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),
        ),
    },
    rows={
        ANY: {
            "create": Refuse("already_exists"),
            "clone": Refuse("already_exists"),
            "attest": Fact("machine.attested"),
            "correct": Fact("ledger.corrected"),
        },
        "absent": {
            "create": Effect("create"),
            "clone": Effect("clone"),
            "attest": GONE,
            **dict.fromkeys(("start", "stop", "destroy", "destroy_forced", "restore", "snapshot"), GONE),
        },
        "creating": {"destroy": FORCE, "destroy_forced": Effect("remove")},
        "created": {
            "start": Look(alive=REPAIRED, gone=LAUNCH),
            "stop": Nothing(),
            "snapshot": CAPTURE,
            "delete_snapshot": FORGET,
            "rename": Fact("machine.renamed"),
            "destroy": REMOVE,
            "destroy_forced": REMOVE,
        },
        "running": {
            "start": Look(alive=Nothing(), gone=DIED),
            "stop": KILL,
            "pause": Effect("pause"),
            "hibernate": Effect("hibernate"),
            "snapshot": CAPTURE,
            "delete_snapshot": FORGET,
            "restore": RESTORE,
            "rename": Fact("machine.renamed"),
            "use": Nothing(),
            "destroy": FORCE,
            "destroy_forced": Effect("kill_and_remove"),
        },
        "paused": {
            "resume": Effect("resume"),
            "stop": KILL,
            "snapshot": CAPTURE,
            "delete_snapshot": FORGET,
            "destroy": FORCE,
            "destroy_forced": Effect("kill_and_remove"),
        },
        "stopped": {
            "start": Look(alive=REPAIRED, gone=LAUNCH),
            "stop": Nothing(),
            "snapshot": CAPTURE,
            "delete_snapshot": FORGET,
            "restore": RESTORE,
            "rename": Fact("machine.renamed"),
            "destroy": REMOVE,
            "destroy_forced": REMOVE,
        },
        "error": {
            "start": Look(alive=REPAIRED, gone=Ask("compute_open", yes=DIED, no=LAUNCH)),
            "stop": KILL,
            "delete_snapshot": FORGET,
            "restore": RESTORE,
            "destroy": REMOVE_LOST,
            "destroy_forced": REMOVE_LOST,
        },
        "destroyed": {
            **dict.fromkeys(
                ("start", "stop", "pause", "resume", "hibernate", "snapshot", "restore", "rename", "use"),
                GONE,
            ),
            **dict.fromkeys(("destroy", "destroy_forced", "attest"), GONE),
            **dict.fromkeys(("create", "clone"), Refuse("already_exists")),
            "delete_snapshot": FORGET,
            "correct": Fact("ledger.corrected"),
        },
    },
    quarantine={
        "attest": Fact("machine.attested"),
        "correct": Fact("ledger.corrected"),
        "restore": RESTORE,
        "destroy": REMOVE,
        "destroy_forced": Look(alive=Effect("kill_and_remove"), gone=REMOVE.gone, unknown=REMOVE.unknown),
    },
    arrows={
        ANY: {
            "machine.snapshotted": Arrow(meters=(opens(SNAPSHOT, "snapshot"),)),
            "machine.snapshot_failed": Arrow(),
            "machine.snapshot_deleted": Arrow(meters=(closes(SNAPSHOT, "snap-rm"),)),
            "machine.snapshot_delete_failed": Arrow(),
            "machine.renamed": Arrow(),
        },
        "absent": {"machine.requested": Arrow("creating")},
        "creating": {
            "machine.created": Arrow("created", (opens(STORAGE),)),
            "machine.create_failed": Arrow("destroyed"),
            "machine.destroyed": Arrow("destroyed"),
            "machine.destroy_failed": Arrow("error"),
        },
        "created": {
            "machine.started": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.cloned": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.start_failed": Arrow("error", KEEP),
            "machine.reconciled": Arrow("running", (ensures(COMPUTE), keeps(STORAGE))),
            "machine.destroyed": Arrow(
                "destroyed", (closes(COMPUTE, "stop-crash"), closes(STORAGE, "vm-rm"))
            ),
            "machine.destroy_failed": Arrow("error", KEEP),
        },
        "running": {
            "machine.started": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.stopped": Arrow("stopped", (closes(COMPUTE, "stop-user"), keeps(STORAGE))),
            "machine.stop_failed": Arrow("error", KEEP),
            "machine.exited": Arrow("stopped", (closes(COMPUTE, "stop-crash"), keeps(STORAGE))),
            "machine.paused": Arrow("paused", KEEP),
            "machine.pause_failed": Arrow(),
            "machine.restored": Arrow("running", (reopens(COMPUTE, "restore"), reopens(STORAGE, "restore"))),
            "machine.restore_failed": Arrow(),
            "machine.restore_lost": Arrow(
                "error", (closes(COMPUTE, "restore"), keeps(STORAGE)), quarantine=True
            ),
            "machine.destroyed": Arrow("destroyed", (closes(COMPUTE, "stop-user"), closes(STORAGE, "vm-rm"))),
            "machine.destroy_failed": Arrow("error", KEEP),
        },
        "paused": {
            "machine.resumed": Arrow("running", KEEP),
            "machine.resume_failed": Arrow(),
            "machine.stopped": Arrow("stopped", (closes(COMPUTE, "stop-user"), keeps(STORAGE))),
            "machine.stop_failed": Arrow("error", KEEP),
            "machine.exited": Arrow("stopped", (closes(COMPUTE, "stop-crash"), keeps(STORAGE))),
            "machine.destroyed": Arrow("destroyed", (closes(COMPUTE, "stop-user"), closes(STORAGE, "vm-rm"))),
            "machine.destroy_failed": Arrow("error", KEEP),
        },
        "stopped": {
            "machine.started": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.start_failed": Arrow("error", KEEP),
            "machine.reconciled": Arrow("running", (ensures(COMPUTE), keeps(STORAGE))),
            "machine.restored": Arrow("running", (reopens(COMPUTE, "restore"), reopens(STORAGE, "restore"))),
            "machine.restore_failed": Arrow(),
            "machine.restore_lost": Arrow(
                "error", (closes(COMPUTE, "restore"), keeps(STORAGE)), quarantine=True
            ),
            "machine.destroyed": Arrow(
                "destroyed", (closes(COMPUTE, "stop-crash"), closes(STORAGE, "vm-rm"))
            ),
            "machine.destroy_failed": Arrow("error", KEEP),
        },
        "error": {
            "machine.started": Arrow("running", (opens(COMPUTE), keeps(STORAGE))),
            "machine.start_failed": Arrow("error", KEEP),
            "machine.stopped": Arrow("stopped", (closes(COMPUTE, "stop-user"), keeps(STORAGE))),
            "machine.stop_failed": Arrow("error", KEEP),
            "machine.exited": Arrow("stopped", (closes(COMPUTE, "stop-crash"), keeps(STORAGE))),
            "machine.reconciled": Arrow("running", (ensures(COMPUTE), keeps(STORAGE))),
            "machine.restored": Arrow("running", (reopens(COMPUTE, "restore"), reopens(STORAGE, "restore"))),
            "machine.restore_failed": Arrow(),
            "machine.restore_lost": Arrow(
                "error", (closes(COMPUTE, "restore"), keeps(STORAGE)), quarantine=True
            ),
            "machine.destroyed": Arrow(
                "destroyed", (closes(COMPUTE, "stop-crash"), closes(STORAGE, "vm-rm"))
            ),
            "machine.destroy_failed": Arrow("error", KEEP),
        },
        "destroyed": {
            "machine.snapshot_deleted": Arrow(meters=(closes(SNAPSHOT, "snap-rm"),)),
            "machine.snapshot_delete_failed": Arrow(),
        },
    },
    found={
        "created": {"alive": REPAIRED},
        "stopped": {"alive": REPAIRED},
        "running": {"gone": Fact("machine.exited")},
        "paused": {"gone": Fact("machine.exited")},
        "error": {
            "alive": REPAIRED,
            "gone": Ask("compute_open", yes=Fact("machine.exited"), no=Nothing()),
        },
    },
)
