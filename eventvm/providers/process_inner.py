"""The first process of a sandbox: runs the command, and tells outside how it really ended.

Run by bubblewrap as `python -I -S process_inner.py FAILED STATUS COMMAND...`. Bubblewrap itself tells an end
by a signal as 128 and its number, which a command may return as well; what is written to STATUS is the
kernel's own word. FAILED hears why a command could not be run, and is closed once it runs.
"""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Run the command, pass SIGTERM on to it, reap whatever else ends, and end with it."""
    failed, status = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(failed, False)  # noqa: FBT003  # the name of the standard library
    os.set_inheritable(status, False)  # noqa: FBT003
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    command = os.fork()
    if command == 0:
        become(sys.argv[3:], failed)
    signal.signal(signal.SIGTERM, lambda *_: ask(command))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.write(status, b"up ")
    os.close(failed)
    ended, waited = os.wait()
    while ended != command:
        ended, waited = os.wait()
    os.write(status, f"{waited}".encode())


def ask(command: int) -> None:
    """Pass SIGTERM on; a command that has just ended needs not be asked."""
    with suppress(ProcessLookupError):
        os.kill(command, signal.SIGTERM)


def become(argv: list[str], failed: int) -> None:
    """Turn into the command; where that fails, the reason goes down the pipe."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # the interpreter has set these for itself
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # a command is no shell's line
    except OSError as problem:
        os.write(failed, f"cannot run {argv[0]}: {problem.strerror}".encode(errors="replace"))
    finally:
        os._exit(127)


if __name__ == "__main__":
    main()
