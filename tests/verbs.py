"""The verbs of the command line, as its parser has them."""

# ruff: noqa: SLF001  # argparse tells of its verbs nowhere else
import argparse

from eventvm.cli import parser


def described(one, path=()):
    """Give every verb and group, by the words that lead to it."""
    yield path, one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from described(below, (*path, name))


def group(one):
    return any(isinstance(action, argparse._SubParsersAction) for action in one._actions)


VERBS = dict(described(parser()))
LEAVES = [" ".join(path) for path, one in VERBS.items() if not group(one)]
"""The verbs that do something: all but the groups."""
