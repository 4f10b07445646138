"""promtool beside this Python: rules that were written are checked, and their unit tests run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from turnout.beside import beside
from turnout.errors import TurnoutError

_LIMIT_S = 300


def try_rules(
    folder: Path, rules: Iterable[Path], tests: Iterable[Path], *, code: str, expected: str, remedy: str
) -> None:
    """Check rules and run tests, files below `folder`; raises TurnoutError with what promtool said where they fail."""
    promtool = beside("promtool")
    if promtool is None:
        raise TurnoutError(
            "promtool-missing",
            observed="promtool is not on this machine",
            expected="promtool, which comes with Prometheus",
            remedy="apt-get install prometheus, or leave --test out",
        )
    for verb, files in (("check", rules), ("test", tests)):
        words = [promtool, verb, "rules", *map(str, files)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        if done.returncode != 0:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            observed = f"promtool {verb} rules failed:\n" + "\n".join(said[:40])
            raise TurnoutError(code, observed=observed, expected=expected, remedy=remedy)
