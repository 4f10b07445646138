"""What the suite's own report tells of a scenario that failed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def first_fault(told: str) -> tuple[str, ...]:
    spec = importlib.util.spec_from_file_location("suite_run", ROOT / "tests" / "run.py")
    assert spec and spec.loader
    module = sys.modules["suite_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: tuple[str, ...] = module.first_fault(told)
    return found


BEGINNING = (
    "\x1b[31m\x1b[1mCRITICAL\x1b[0m 'molecule/default/molecule.yml' glob failed.  Exiting.\n" + "INFO going\n" * 60
)


def test_the_first_failure_is_told_and_not_what_every_scenario_begins_with() -> None:
    told = BEGINNING + "TASK [Take the lock]\n\x1b[31mfatal: [edge1]: FAILED! => the lock is held\x1b[0m\nPLAY RECAP\n"
    lines = first_fault(told)
    assert "fatal: [edge1]: FAILED! => the lock is held" in lines
    assert "TASK [Take the lock]" in lines
    assert not [line for line in lines if "glob failed" in line]


def test_where_nothing_is_known_as_a_failure_the_end_is_told() -> None:
    assert first_fault(BEGINNING + "the last line\n")[-1] == "the last line"
