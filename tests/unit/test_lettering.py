"""Lettering: what words take on a terminal, and how columns are made to fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventvm.lettering import columns, cut, fitted, pad

WORDS = st.text(st.sampled_from("ab \u65e5\uff21\u0301\u05d0\U0001f680"), max_size=20)


@pytest.mark.parametrize(
    ("words", "wide"),
    [
        ("", 0),
        ("web-1", 5),
        ("\u65e5\u672c", 4),
        ("\uff21", 2),
        ("e\u0301", 1),
        ("\U0001f680", 2),
        ("\u05d0", 1),
    ],
)
def test_wide_letters_take_two_columns_and_marks_above_them_none(words, wide):
    """As terminals do."""
    assert columns(words) == wide


@given(WORDS, st.integers(1, 12))
def test_what_is_cut_fits_and_says_so(words, most):
    """What fits is left as it is; what does not ends in the mark, and begins as it did."""
    shown = cut(words, most, "~")
    assert columns(shown) <= most
    assert shown == words if columns(words) <= most else words.startswith(shown.removesuffix("~"))
    assert columns(pad(shown, most)) == most


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=6), st.integers(0, 200))
def test_the_widest_columns_give_first_and_no_more_than_is_needed(columns, room):
    """What does not give stays as it is; one column more would not have fitted."""
    widths, gives = [width for width, _ in columns], [yields for _, yields in columns]
    made = fitted(widths, gives, room, 10)
    assert all(
        new == old if not yields else new >= min(old, 10)
        for new, old, yields in zip(made, widths, gives, strict=True)
    )
    if sum(widths) <= room:
        assert made == widths
    elif sum(made) <= room and made != widths:
        level = max(new for new, old in zip(made, widths, strict=True) if new < old)
        assert sum(min(old, level + 1) if yields else old for old, yields in columns) > room
