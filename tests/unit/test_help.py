"""Every verb teaches: a sentence, its options, and an example that works."""

# ruff: noqa: SLF001  # argparse tells of its verbs nowhere else
import argparse
import shlex
from importlib import import_module

import pytest
from verbs import VERBS

from eventvm import cli
from eventvm.cli import parser

KNOWN = pytest.mark.parametrize("path", VERBS, ids=lambda path: " ".join(path) or "eventvm")


def example(one):
    """Give the words of the example, up to where the shell takes over."""
    label, _, command = one.epilog.partition(": ")
    assert label == "example"
    words = shlex.split(command, comments=True)
    return words[: next((at for at, word in enumerate(words) if word in ("|", ">", "&&")), len(words))]


@KNOWN
def test_a_verb_says_what_it_does_and_shows_an_example_that_parses(path):
    """The example is one of its own: it begins with the words that lead there."""
    one = VERBS[path]
    assert one.description
    assert one.description.endswith(".")
    words = example(one)
    assert tuple(words[: len(path) + 1]) == ("eventvm", *path)
    options = parser().parse_args(words[1:])
    assert callable(options.run)


@KNOWN
def test_each_option_and_argument_says_what_it_is_for(path):
    """One that is not explained is as good as not there."""
    for action in VERBS[path]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, (path, action.option_strings or action.dest)


def test_each_verb_has_a_line_in_the_help_of_its_group():
    """So that whoever reads from the top finds it."""
    for one in VERBS.values():
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert {told.dest for told in action._choices_actions if told.help} == set(action.choices)


@pytest.mark.parametrize("module", cli.VERBS)
def test_each_module_describes_the_verbs_that_it_is_imported_for(module):
    """One that stands in no row would not be found by its name."""
    verbs = argparse.ArgumentParser().add_subparsers()
    import_module(f"eventvm.cli.{module}").describe(verbs)
    assert tuple(verbs.choices) == cli.VERBS[module]
