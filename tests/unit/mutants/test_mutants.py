"""The runner of mutants: what it leaves out, what it counts, what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return load("mutants_run", "mutants/run.py")


def test_operators_of_annotations_are_left_out_and_those_of_code_are_not(run: ModuleType) -> None:
    source = "def f(a: int | None = 1 + 2) -> int | str:\n    b: int | None = a or 3\n    return 4 | b\n"
    places = run.annotations(source)
    assert (1, source.index("|")) in places
    assert (1, source.index("+")) not in places
    assert (2, source.splitlines()[1].index("|")) in places
    assert (3, source.splitlines()[2].index("|")) not in places


def test_every_target_and_its_tests_are_there(run: ModuleType) -> None:
    for target in run.TARGETS:
        for name in (*target.files, *target.tests):
            assert (ROOT / name).exists(), name


def test_an_equal_mutant_without_a_reason_is_refused(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "equal.yml").write_text("- {file: a.py, line: 'x = 1', becomes: 'x = 2', why: ' '}\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    with pytest.raises(ValueError, match="no reason"):
        run.known_equal()


def test_no_mutant_is_no_success(run: ModuleType) -> None:
    assert run.Score("edge").rate == 0.0
    assert run.Score("edge", made=10, killed=9, survivors=[object()]).rate == 0.9


def test_an_unknown_target_is_refused_with_those_that_there_are(
    run: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.chosen(["edges"])
    assert "keeper" in capsys.readouterr().err


def test_what_a_mutant_makes_of_a_line_is_read_from_its_difference(run: ModuleType) -> None:
    diff = "--- mutation diff ---\n--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 2\n"
    assert run.becomes(diff) == "return 2"


def test_an_equal_mutant_is_known_by_what_it_makes_of_the_line(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "equal.yml").write_text("- {file: a.py, line: 'x = 1', becomes: ['x = 2', 'x = 3'], why: unused}\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    known = run.known_equal()
    assert run.Mutant("a.py", "NumberReplacer", 1, "x = 1", "job", "x = 2").key in known
    assert run.Mutant("a.py", "NumberReplacer", 1, "x = 1", "job", "x = 0").key not in known
