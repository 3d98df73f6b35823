#!/usr/bin/env python3
"""Draw docs/screens/*.svg: the commands of docs/tour.md, run on the log of a bad day.

Nothing in them is made up: each command runs in a pseudo-terminal, and its bytes are what is drawn.
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape

import anyio

import eventvm
from eventvm import Simulated, Spec
from eventvm.providers.simulated import Script

SCREENS = Path(__file__).with_name("screens")
COLUMNS = 120
SHOWN = {
    "demo": ("eventvm demo", 24),
    "list": ("eventvm list", 0),
    "show": ("eventvm show mail-1", 0),
    "explain": ("eventvm explain web-1", 0),
    "picture": ("eventvm picture web-1", 0),
    "fleet": ("eventvm picture --all", 0),
    "doctor": ("eventvm doctor --quiet", 0),
    "lifecycle": ("eventvm lifecycle show vm --phase error", 0),
}
"""For each screen: the command, and how many of its lines are shown; 0 for all."""
PICTURES = {"web-1": "eventvm picture web-1 --svg", "day": "eventvm picture --all --svg"}

WIDE, HIGH, BAR = 8.4, 19, 34
LIGHT = (
    "rect { fill: #ffffff; stroke: #d0d7de }", "text { fill: #1f2328 }", ".bar { fill: #f6f8fa }",
    ".b { font-weight: 700 }", ".d { fill: #6e7781 }", ".r { fill: #cf222e }", ".g { fill: #1a7f37 }",
    ".y { fill: #9a6700 }", ".u { fill: #0550ae }", ".c { fill: #1b7c83 }", "circle { fill: #d0d7de }",
)  # fmt: skip
DARK = (
    "rect { fill: #0d1117; stroke: #3d444d }", "text { fill: #e6edf3 }", ".bar { fill: #151b23 }",
    ".d { fill: #8b949e }", ".r { fill: #ff7b72 }", ".g { fill: #3fb950 }", ".y { fill: #d29922 }",
    ".u { fill: #79c0ff }", ".c { fill: #56d4dd }", "circle { fill: #3d444d }",
)  # fmt: skip
STYLE = "\n".join((
    *(f".screen {rule}" for rule in LIGHT), "@media screen and (prefers-color-scheme: dark) {",
    *(f".screen {rule}" for rule in DARK), "}",
))  # fmt: skip
FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
INKS = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "34": "u", "36": "c"}
RUN = re.compile("\x1b\\[([0-9;]*)m|([^\x1b]+)")


def drawn(command: str, lines: list[str]) -> str:
    """Draw lines with their colours as the screen of a terminal, each run of letters at its column."""
    columns = max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in lines)
    width, height = WIDE * max(columns, 60) + 32, HIGH * len(lines) + BAR + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="screen" viewBox="0 0 {width:.0f} {height}"',
        f'role="img" font-family="{FONT}" font-size="14">',
        f"<title>{escape(command)}</title><style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>',
        f'<rect class="bar" x="0.5" y="0.5" width="{width - 1:.0f}" height="{BAR}" rx="8"/>',
        *(f'<circle cx="{18 + 18 * at}" cy="{BAR / 2}" r="5"/>' for at in range(3)),
        f'<text class="d" x="78" y="{BAR / 2 + 5}">{escape(command)}</text>',
    ]
    for at, line in enumerate(lines, start=1):
        parts.extend(_runs(line, BAR + 8 + HIGH * at))
    return "\n".join((*parts, "</svg>\n"))


def _runs(line: str, y: float) -> Iterator[str]:
    column, kind = 0, ""
    for codes, words in RUN.findall(line):
        if not words:
            kind = " ".join(INKS[code] for code in codes.split(";") if code in INKS)
            continue
        if words.strip():
            place = f'x="{16 + WIDE * column:.1f}" y="{y}" textLength="{WIDE * len(words):.1f}"'
            yield f'<text class="{kind}" {place} xml:space="preserve">{escape(words)}</text>'
        column += len(words)


# --- the day --------------------------------------------------------------------------------------------


def ran(command: str, log: Path) -> list[str]:
    """Run a command in a pseudo-terminal, and give the lines that it showed."""
    master, terminal = pty.openpty()
    environment = {**os.environ, "EVENTVM_URL": str(log), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    order = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(order, stdout=terminal, env=environment, cwd=log.parent):  # noqa: S603  # commands of our own
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # Linux says so when the other end is closed
            while some := os.read(master, 65536):
                shown += some
    os.close(master)
    return shown.decode().rstrip().replace("\r", "").split("\n")


async def worsen(log: Path) -> None:
    """Let the day go on: one more stop fails, and an engine ends before it knows what became of a start."""
    world = Simulated()
    async with eventvm.open(log, providers=[world], actor="ops", grace_seconds=0) as engine:
        mail = await engine.create("mail-1", Spec(provider="simulated"))
        await mail.start()
        world.script("mail-1", "stop", Script("fail", message="the hypervisor did not answer"))
        with suppress(eventvm.EventvmError):
            await mail.stop(reason="maintenance")
        queue = await engine.create("queue-1", Spec(provider="simulated"))
        world.script("queue-1", "start", "lost")
        await queue.start(wait=False)


def main() -> None:
    """Live the day, and draw what its commands show."""
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="day-") as directory:
        log = Path(directory) / "fleet.db"
        told = ran(f"eventvm demo --file {log.name}", log)
        anyio.run(worsen, log)
        for name, (command, most) in SHOWN.items():
            lines = told if name == "demo" else ran(command, log)
            lines = [line.replace(str(log), log.name) for line in lines]
            (SCREENS / f"{name}.svg").write_text(
                drawn(command, lines[: most or len(lines)]), encoding="utf-8"
            )
        for name, command in PICTURES.items():
            ran(f"{command} {SCREENS / name}.svg", log)
    sys.stdout.write(f"{SCREENS}: {len(SHOWN) + len(PICTURES)} drawn\n")


if __name__ == "__main__":
    main()
