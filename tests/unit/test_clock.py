"""The clock of a host: ids that sort by the time of their making."""

from uuid import RFC_4122, UUID

from eventvm.clock import Clock


class Set(Clock):
    """A clock whose wall time somebody sets."""

    def __init__(self, wall):
        self.now_ns = wall

    def wall(self):
        return self.now_ns


def test_ids_sort_in_the_order_of_their_making():
    """Thousands within one millisecond, and when the wall clock was set back."""
    clock = Set(1_700_000_000_000_000_000)
    made = [clock.id() for _ in range(5_000)]
    clock.now_ns -= 3_600_000_000_000
    made += [clock.id() for _ in range(10)]
    clock.now_ns += 7_200_000_000_000
    made.append(clock.id())
    assert made == sorted(set(made))


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond():
    """The first 48 bits are the time, and nobody can guess the last 62."""
    clock = Set(1_700_000_000_123_000_000)
    ids = [UUID(clock.id()) for _ in range(100)]
    assert {(one.version, one.variant, one.int >> 80) for one in ids} == {(7, RFC_4122, 1_700_000_000_123)}
    assert len({one.int & (1 << 62) - 1 for one in ids}) == 100
