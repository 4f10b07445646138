"""What squawk (PyPI: squawk-cli) finds in a migration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection

from turnout.beside import beside
from turnout.errors import TurnoutError

BOUNDED_BY_TURNOUT = ("require-lock-timeout", "require-statement-timeout")
"""Rules that ask for what the role `migrate` sets for every migration (PGOPTIONS), so that files need not."""
_LIMIT_S = 30


def program() -> str:
    """Return the path of squawk: beside this Python, or on PATH. Raises `TurnoutError`."""
    found = beside("squawk")
    if found is None:
        raise TurnoutError(
            "squawk-missing",
            observed="there is no program squawk on the controller",
            expected="the linter of migrations",
            remedy="pip install squawk-cli",
        )
    return found


def findings(text: str, *, allowed: Collection[str], in_transaction: bool = True) -> list[str]:
    """Return what squawk finds beyond the allowed rules, as `line: rule: message`. Raises `TurnoutError`."""
    command = [program(), "--reporter", "json", "--stdin-filepath", "migration.sql"]
    if in_transaction:
        command.append("--assume-in-transaction")
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        found = json.loads(done.stdout or "[]")
    except (subprocess.TimeoutExpired, ValueError, OSError) as error:
        raise TurnoutError(
            "squawk-failed",
            observed=f"squawk gave no list of findings ({type(error).__name__})",
            expected="its findings as JSON",
            remedy="run squawk on the file by hand; pip install --upgrade squawk-cli",
        ) from None
    passed = {*allowed, *BOUNDED_BY_TURNOUT}
    return [
        f"line {int(one['line']) + 1}: {one['rule_name']}: {one['message']}"
        for one in found
        if one["rule_name"] not in passed
    ]
