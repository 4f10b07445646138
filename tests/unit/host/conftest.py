"""Make the package turnout_host importable, as it is on a host."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles/service_host/files"))
