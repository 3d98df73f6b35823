"""What a command shows on a terminal, as the tests of every face ask for it."""

import os
import pty
import subprocess
from functools import partial


def shown_on_a_terminal(command, environment, **options):
    """Run a command on a terminal of its own, and give what it has shown there."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(command, stdout=theirs, env={**clean, **environment}, **options) as child:
        os.close(theirs)
        shown = b"".join(iter(partial(_read, ours), b""))
        assert child.wait(60) == 0
    os.close(ours)
    return shown


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
