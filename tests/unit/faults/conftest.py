"""Makes the fault matrix importable as the package `faults`, and the load tools as `load`."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "lab")]
