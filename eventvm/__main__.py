"""`python -m eventvm`, and the `eventvm` command."""

from eventvm.cli import main

if __name__ == "__main__":
    main()
