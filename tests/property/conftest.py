"""The lives here are lived in the world of tests/simulation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "simulation"))
