"""The program of the drill host is no package of the controller: it is found where the role keeps it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles" / "drill" / "files"))
