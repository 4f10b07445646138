"""What the suite's own report tells of a scenario that failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[3]


def suite() -> ModuleType:
    return load("suite_run", "run.py")


def first_fault(told: str) -> tuple[str, ...]:
    found: tuple[str, ...] = suite().first_fault(told)
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


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one page, in which the linters of texts run."""
    module = suite()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "links.py").write_text((ROOT / "tests" / "links.py").read_text())
    (tmp_path / "page.md").write_text("# A page\n\nIts [own heading](#a-page).\n")
    checks = [check for check in module.lint_checks() if check.name in ("spelling", "links")]
    assert len(checks) == 2
    monkeypatch.setattr(module, "lint_checks", lambda: checks)
    return tmp_path


def linted() -> list[str]:
    return [failure for result in sys.modules["suite_run"].lint() for failure in result.failures]


def test_a_page_that_is_right_passes_spelling_and_links(tree: Path) -> None:
    assert linted() == []


def test_a_misspelt_word_and_a_dead_link_fail(tree: Path) -> None:
    (tree / "page.md").write_text("# A page\n\nA recieved [link](gone.md).\n")
    spelling, links = linted()
    assert spelling.startswith("spelling: exit code")
    assert links.startswith("links: exit code")


def test_spelling_and_links_that_looked_at_nothing_fail(tree: Path) -> None:
    (tree / ".git" / "info" / "exclude").write_text("*\n")
    assert linted() == ["spelling: it looked at no file", "links: it looked at no file"]
