"""`python -I -S DIRECTORY CONTROL LOCK`: this package by itself, for it needs nothing else of eventvm."""

import sys
from importlib import import_module
from pathlib import Path

sys.path[:] = [*sys.path[1:], str(Path(__file__).absolute().parent.parent)]
import_module(f"{Path(__file__).absolute().parent.name}.program").main()
