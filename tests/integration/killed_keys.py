"""A program that makes or rotates a key again and again, each time killed one step later.

It is called with `generate` or `rotate` and a directory; each time leaves what is there in a directory below.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from eventvm.signing.keys import generate, rotate

STEPS = ("open", "fdopen", "fsync", "rename", "unlink", "close")
"""All that a key's making asks of the file system."""


def killed_before(step: int) -> None:
    """Have this process die before it asks for the step of this number."""
    numbers = count(1)

    def counted(asked):
        def ask(*arguments, **options):
            if next(numbers) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return asked(*arguments, **options)

        return ask

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def main(verb: str, place: Path) -> None:
    """Kill it at every step, until one lives to the end."""
    for step in count(1):
        key = place / f"{step:02}" / "ops.key"
        key.parent.mkdir()
        if verb == "rotate":
            generate(key, "ops")
        if not (child := os.fork()):
            killed_before(step)
            generate(key, "ops") if verb == "generate" else rotate(key)
            os._exit(0)
        if not os.waitpid(child, 0)[1]:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
