"""Strategies for every value that a type of ours may take, from what msgspec knows of it."""

from hypothesis import strategies as st
from msgspec import inspect

from eventvm.observation import Observed
from eventvm.spec import Secret

INTEGERS = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMED = st.text(min_size=1)
EITHER = {
    Observed: st.builds(Observed, code=INTEGERS) | st.builds(Observed, signal=st.text()),
    Secret: st.builds(Secret, env=NAMED) | st.builds(Secret, file=NAMED),
}
"""Types that hold one of two fields."""


def values(kind):
    """A strategy for all values of a type, from what msgspec knows of it."""
    match kind:
        case inspect.StructType(cls=cls) if cls in EITHER:
            made = EITHER[cls]
        case inspect.StructType(cls=cls, fields=fields):
            made = st.builds(cls, **{field.name: values(field.type) for field in fields})
        case inspect.UnionType(types=types):
            made = st.one_of([values(one) for one in types])
        case inspect.LiteralType(values=words):
            made = st.sampled_from(words)
        case inspect.DictType(key_type=key, value_type=value):
            made = st.dictionaries(values(key), values(value), max_size=2)
        case inspect.VarTupleType(item_type=item):
            made = st.lists(values(item), max_size=2).map(tuple)
        case _:
            made = PLAIN[type(kind)]
    return made


PLAIN = {
    inspect.IntType: INTEGERS,
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.StrType: st.text(),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.AnyType: JSON,
}
