"""The report: one line for each claim, and the same as JSON."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.harness import Claim, Result, filesystem

PEERS = ("eventsourcing", "eventsource-py", "umadb", "dbos", "python-statemachine", "transitions", "uvloop")
WAYS = {"higher": "at least", "lower": "at most"}


class Report(Struct):
    """All that a run came to."""

    machine: str
    claims: list[Result]


def machine(directory: Path) -> str:
    """Describe what everything was measured on."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores "
        f"({platform.machine()}), {filesystem(directory)}, load {load}"
    )


def versions(claims: list[Claim]) -> str:
    """Name the peers that are installed and their versions, where a claim needs any."""
    if not any(claim.needs for claim in claims):
        return ""
    return ", ".join(f"{name} {found}" for name in PEERS if (found := _version(name)))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def line(result: Result) -> str:
    """Write a claim down in one line."""
    head = f"{result.verdict:7} {result.name:21}"
    if result.measured is None:
        return f"{head} {result.why}: {result.sentence}"
    goal = f"{WAYS[result.better]} {amount(result.target, _scale(result))}"
    spread = f"({amount(result.lowest, '')} to {amount(result.highest, '')})"
    beside = "".join(f"; {name} {amount(value, result.unit)}" for name, value in result.beside.items())
    measured = amount(result.measured, _scale(result))
    return f"{head} {measured:>8} {spread:18} {goal:15} {', '.join(_raw(result))}{beside}"


def _scale(result: Result) -> str:
    """Give the unit of what is judged: a ratio has none."""
    return result.unit if result.theirs is None else "x"


def _raw(result: Result) -> Iterator[str]:
    for side, value in zip(result.sides, (result.ours, result.theirs), strict=True):
        if value is not None:
            yield f"{side} {amount(value, result.unit)}"


def amount(value: float | None, unit: str) -> str:
    """Write a figure with three digits that say something, and its unit."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4  # noqa: PLR2004
    apart = "" if unit in ("", "x") or unit.startswith("/") else " "
    return f"{value:,.{digits}f}{apart}{unit}"


def listed(result: Result) -> str:
    """Write down what a claim says, before it is measured."""
    return f"{result.name:21} {WAYS[result.better]} {amount(result.target, '')}: {result.sentence}"


def written(report: Report) -> bytes:
    """Give a report as JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
