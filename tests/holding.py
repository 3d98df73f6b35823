"""Another process that holds a log."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

HOLDER = Path(__file__).parent / "integration" / "held_engine.py"


@contextmanager
def holding(log, **how):
    """Let another process hold a log until this is left."""
    command = [sys.executable, "-W", "error", str(HOLDER), log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, **how) as one:
        assert one.stdout.readline() == b"open\n"
        yield one
        one.send_signal(signal.SIGINT)
