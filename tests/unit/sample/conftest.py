"""Makes the sample service's own code importable: the package `sample` and the module `build`."""

import sys
from pathlib import Path

SERVICE = Path(__file__).resolve().parents[3] / "examples" / "sample_service"
sys.path[:0] = [str(SERVICE), str(SERVICE / "lib")]
