"""An edge in memory: disk, HAProxy and clock are models that can be broken at any step."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "roles" / "edge" / "files"))
sys.path.insert(0, str(Path(__file__).parent))
