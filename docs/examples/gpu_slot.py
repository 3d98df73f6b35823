"""A lifecycle of your own: the slots of a GPU host, the jobs that hold them, and the bill.

The scheduler that hands out the slots is not shown. It tells eventvm what it did; eventvm keeps the record,
refuses what a slot cannot do, and counts the seconds. Run it: `python docs/examples/gpu_slot.py`
"""

from collections import Counter

import anyio
from msgspec import Struct

import eventvm
from eventvm import Handle, Lifecycle, errors
from eventvm.ledger import totals
from eventvm.tables import ANY, Arrow, Fact, Refuse, opens

gpu_slot = Lifecycle(
    name="gpu-slot",
    initial="absent",
    phases=("absent", "idle", "busy", "draining", "broken", "retired"),
    settled=("idle", "busy", "broken", "retired"),
    ends=("retired",),
    frees=("absent", "retired"),
    faulty=("broken",),
    active=("busy",),
    counts={
        "gpu": ("busy", "draining"),  # a job holds the GPU: its team pays
        "slot": ("idle", "busy", "draining"),  # the host can offer it
    },
    rows={
        ANY: {
            "create": Refuse("already_exists"),
            "force": Fact("machine.forced"),
            "correct": Fact("ledger.corrected"),
        },
        "absent": {"create": Fact("machine.created")},
        "retired": {"correct": Fact("ledger.corrected")},
    },
    arrows={"absent": {"machine.created": Arrow("idle", (opens("slot", "offered"),))}},
    moves={
        "idle": ("busy", "retired"),
        "busy": ("draining", "idle", "broken"),
        "draining": ("idle", "broken"),
        "broken": ("idle", "retired"),
    },
)


class Job(Struct, frozen=True):
    """What the scheduler tells with a move to busy."""

    id: int
    team: str
    priority: int = 0
    """Came later: jobs that were recorded without it read as 0."""


async def bill(slots: list[Handle]) -> Counter[tuple[str, str]]:
    """Charge each nanosecond on a GPU to the team whose job began it, and say how the job ended."""
    charged: Counter[tuple[str, str]] = Counter()
    for slot in slots:
        jobs = {change.position: change.data_as(Job) for change in await slot.history()}
        for interval in await slot.intervals():
            if interval.meter == "gpu":
                job = jobs[interval.start.position]
                how = interval.stop.reason if interval.stop else "goes on"
                charged[job.team if job else "nobody", how] += interval.ns
    return charged


async def work(one: Handle, other: Handle) -> None:
    """Let a day pass: three jobs on two slots, one of which breaks."""
    await one.transition_to("busy", "job 17", data=Job(17, "vision", priority=5))
    await other.transition_to("busy", "job 18", data={"id": 18, "team": "speech"})  # as an older release told
    for slot in (one, other):
        job = await slot.data(Job)
        print(f"{slot.name} is {slot.phase} with {job}")
    try:
        await one.transition_to("retired")
    except errors.InvalidTransition as refused:
        print(refused, "-", refused.hint)
    await anyio.sleep(0.05)
    await one.transition_to("draining", "job 17 is preempted")
    await one.transition_to("idle", "job 17 has let go")
    await other.transition_to("broken", "memory errors")
    await one.transition_to("busy", "job 19", data=Job(19, "speech"))
    await anyio.sleep(0.05)
    await one.transition_to("idle", "job 19 is done")


async def main() -> None:
    """Tell the story, and write the bill."""
    async with eventvm.open("memory:", lifecycles=[gpu_slot]) as engine:
        slots = [await engine.create(name, lifecycle="gpu-slot") for name in ("gpu-0", "gpu-1")]
        await work(*slots)
        for slot in slots:
            print(f"{slot.name}: {' -> '.join(change.to for change in await slot.history())}")
            for total in totals(await slot.intervals()):
                print(f"    {total.meter:<5} {total.ns / 1e9:.3f} s")
        for (team, how), ns in (await bill(slots)).items():
            print(f"{team} held a GPU for {ns / 1e9:.3f} s ({how})")


if __name__ == "__main__":
    anyio.run(main)
