"""`eventvm log`: what is done to a log as a whole."""

from typing import Any

from eventvm.cli import backup, difference, export, integrity, replay, shadow, tamper

GROUP = (
    replay,
    difference,
    shadow,
    export,
    tamper,
    backup,
)
"""The modules that describe further verbs of the group, in the order of the help."""


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "log",
        help="verify, replay, compare, export, back up: what is done to a log as a whole",
        description="What is done to a log as a whole. All but restore, import and sign leave it as it is.",
        epilog="example: eventvm log verify --log fleet.db",
    )
    asked = group.add_subparsers(dest="log_verb", metavar="VERB", required=True)
    for module in GROUP:
        module.describe(asked)
    for verb in asked.choices.values():
        verb.set_defaults(run=integrity.told(verb.get_default("run")))
