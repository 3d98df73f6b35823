"""`python -m eventvm`, and the `eventvm` command."""

import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no words, where nothing has to be left in good order yet

from eventvm.cli import main

if __name__ == "__main__":
    main()
