"""Other programs that the controller needs: those of this Python's environment come first, activated or not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def beside(name: str) -> str | None:
    """Return the path of a program beside this Python or else on PATH, None where there is none."""
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else shutil.which(name)
