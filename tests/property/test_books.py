"""Bills, recomputed in another way: second by second, from what the machine itself said that it counted."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from eventvm import commands as c
from eventvm.bill import Asked, totals
from eventvm.errors import Refused
from eventvm.machine import blank
from eventvm.observation import Instant
from eventvm.past import Past
from eventvm.spec import Shape, Spec
from eventvm.testing import Life
from eventvm.windows import Window

SECOND = 1_000_000_000
SHAPES = {name: Spec(cpus=cpus, memory=cpus << 20, storage=cpus << 30) for name, cpus in (("s", 1), ("l", 7))}
WISHES = st.sampled_from([
    c.Start(), c.Stop(), c.Pause(), c.Resume(), c.Snapshot("a"), c.Snapshot("b"), c.DeleteSnapshot("a"),
    c.Restore("a"), c.Restore("a", SHAPES["s"]), c.Restore("b", SHAPES["l"]), c.Hibernate("a"), c.Destroy(),
    c.Amend(labels={"team": "a"}), c.Amend(labels={"team": "b"}), c.Amend(labels={"team": None}),
    "dies", "found alive",
])  # fmt: skip
STEPS = st.lists(st.tuples(st.integers(0, 50), WISHES, st.sampled_from(["ok", "ok", "fail"])), max_size=25)
BEGUN = 1_700_000_000


class Book:
    """A life, and beside it what each of its seconds was."""

    def __init__(self) -> None:
        self.life = Life("vm", Spec(cpus=2, memory=4, storage=8))
        self.life.probe = "gone"
        self.life.create()
        self.seconds: list[tuple[int, tuple[str, str, Shape, str]]] = []
        """Each second that counted, by the wall: its meter, subject, shape and team."""
        self.known: list[int] = []
        """How many records there were at each second."""

    def pass_(self, seconds: int) -> None:
        for _ in range(seconds):
            machine, at = self.life.machine, self.life.now.wall // SECOND
            team = machine.spec.labels.get("team", "")
            self.seconds += [(at, (one.meter, one.subject, one.shape, team)) for one in machine.open]
            self.known.append(len(self.life.records))
            self.life.tick(1)

    def do(self, wish: object, how: str) -> None:
        life = self.life
        life.world = {} if how == "ok" else dict.fromkeys(("start", "stop", "snapshot", "restore"), how)
        try:
            if isinstance(wish, str):
                life.see({"dies": "gone", "found alive": "alive"}[wish])
            else:
                life.send(wish)
        except Refused:
            pass
        finally:
            life.world = {}


def lived(steps):
    book = Book()
    for seconds, wish, how in steps:
        book.pass_(seconds)
        book.do(wish, how)
    book.pass_(3)
    return book


def past(life, known=None):
    made = Past(blank(life.machine.id, life.rules))
    for record in life.records[:known]:
        made.apply(record)
    return made


def billed(life, **asked):
    """What the ledger bills, by whatever is told apart."""
    keys = ("meter", "subject", "shape", "label:team")
    sums = totals([past(life)], Asked(**{"as_of": life.now, "keys": keys} | asked))
    return {
        (line.meter, line.subject, line.shape, line.labels[0]): one.ns // SECOND
        for line, one in sums.items()
        if one.ns
    }


@given(STEPS, st.integers(0, 300), st.integers(0, 300))
def test_totals_equal_a_count_of_the_seconds(steps, begin, length):
    """In any window, told apart by meter, snapshot, shape and label."""
    book = lived(steps)
    begin += BEGUN
    counted = Counter(what for at, what in book.seconds if begin <= at < begin + length)
    window = Window(begin * SECOND, (begin + length) * SECOND)
    assert billed(book.life, window=window) == dict(counted)


@given(STEPS)
def test_amounts_equal_a_sum_over_the_seconds(steps):
    """Each second adds its shape."""
    book = lived(steps)
    sums = totals([past(book.life)], Asked(as_of=book.life.now, keys=()))
    whole = sums.popitem()[1]
    shapes = [shape for _, (_, _, shape, _) in book.seconds]
    assert whole.ns == len(shapes) * SECOND
    assert whole.milli_cpu_ns == sum(shape.milli_cpus for shape in shapes) * SECOND
    assert whole.memory_byte_ns == sum(shape.memory for shape in shapes) * SECOND
    assert whole.storage_byte_ns == sum(shape.storage for shape in shapes) * SECOND


@given(STEPS, st.integers(0, 200))
@settings(max_examples=50)
def test_a_bill_as_of_an_instant_is_the_bill_that_was_drawn_up_then(steps, after):
    """Where no news came late, what was so by then and what was known by then is the same."""
    book = lived(steps)
    after = min(after, len(book.known) - 1)
    then = Instant((BEGUN + after) * SECOND, 0, "")
    by_then = Counter(what for at, what in book.seconds if at < BEGUN + after)
    assert billed(book.life, as_of=then, cut=True) == dict(by_then)


@given(STEPS, st.integers(0, 200))
@settings(max_examples=50)
def test_a_machine_as_of_an_instant_is_the_machine_that_was_there_then(steps, after):
    """Where no news came late, the cut is the prefix of the records that there were."""
    book = lived(steps)
    after = min(after, len(book.known) - 1)
    made = Past(blank(book.life.machine.id, book.life.rules), (BEGUN + after) * SECOND)
    for record in book.life.records:
        made.apply(record)
    assert made.machine == past(book.life, book.known[after]).machine
