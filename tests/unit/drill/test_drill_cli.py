"""`turnout drill`: what a person and a program read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from drill_examples import F, drill
from turnout.drill.cli import drill as command
from turnout.drill.record import Check, Outcome, line
from turnout.errors import TurnoutError

TODAY = (datetime.now(UTC) - F).days
LEDGER_HEAD = {"ts": "2026-03-01T03:01:00.000Z", "seq": 7, "run": "r1", "actor": "cron"}
TARGETS = "recovery: {rpo_s: 60, rto_s: 600, max_age_s: 172800, detect_s: 60, decide_s: 300}\n"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    (tmp_path / "recovery.yml").write_text(TARGETS)
    records = [drill(TODAY - n) for n in (5, 4, 3, 2)]
    broken = drill(TODAY - 6, checks=(Check("rows", Outcome.FAIL, 0.1, "table | gone"),), seconds={"smoke": None})
    path = tmp_path / "drills.jsonl"
    path.write_text("".join(line(one) + "\n" for one in [*records, broken]))
    return path


def run(path: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        command, [words[0], str(path), "-i", str(path.parent / "recovery.yml"), *words[1:]], catch_exceptions=False
    )
    return done.exit_code, done.output


def test_the_table_tells_targets_phases_history_and_why(history: Path) -> None:
    code, out = run(history, "report")
    assert code == 0
    for word in [
        "RPO",
        "12.5 s",
        "RTO",
        "6 min 41 s",
        "declared",
        "copy",
        "Worst case: RTO",
        "5 drills: 4 pass, 1 fail",
    ]:
        assert word in out
    assert "check rows failed: table | gone" in out
    rows = out.splitlines()
    assert any(row.split()[-1] == "met" for row in rows if row.startswith("RPO"))


def test_json_has_the_same_and_the_whole_history(history: Path) -> None:
    _, out = run(history, "report", "--json")
    said = json.loads(out)
    assert said["rpo_s"] == {"count": 5, "p50": 12.5, "p95": 12.5, "max": 12.5}
    assert said["rto_s"]["count"] == 4
    assert sum(one["last_s"] for one in said["phases"]) == pytest.approx(said["rto_s"]["max"])
    assert said["drills"] == {"pass": 4, "fail": 1, "inconclusive": 0}
    assert len(said["history"]) == 5
    assert said["prediction_error"]["count"] == 3


def test_the_document_is_generated_and_its_tables_hold_any_text(history: Path) -> None:
    doc = history.parent / "docs" / "recovery-objectives.md"
    assert run(history, "report", "--doc", str(doc))[0] == 0
    text = doc.read_text()
    assert text.startswith("# Recovery objectives\n")
    for table_row in [row for row in text.splitlines() if row.startswith("|")]:
        assert table_row.endswith("|")
    assert "turnout drill report" in text
    assert "| RTO |" in text


def test_an_empty_history_is_a_report_too(history: Path) -> None:
    history.write_text("")
    code, out = run(history, "report", "--doc", str(history.parent / "d.md"))
    assert code == 0
    assert "no drill has run" in out
    assert "No drill has run yet." in (history.parent / "d.md").read_text()


def test_the_gate_opens_fails_or_does_not_know_by_exit_code(history: Path) -> None:
    now = datetime.now(UTC)
    at = now - timedelta(hours=1)
    young = drill(TODAY, started=at, ended=at)
    history.write_text(line(young) + "\n")
    code, out = run(history, "gate")
    assert (code, "open" in out) == (0, True)
    history.write_text(line(drill(TODAY - 9)) + "\n")
    code, out = run(history, "gate")
    assert (code, "closed" in out, "max_age_s" in out) == (1, True, True)
    history.unlink()
    code, out = run(history, "gate")
    assert code == 3
    assert f"there is no {history}" in out
    code, out = run(history, "gate", "--json")
    assert json.loads(out)["outcome"] == "unknown"


def test_a_ledger_is_read_and_its_other_entries_passed_over(history: Path) -> None:
    entry = json.loads(line(drill(TODAY - 1)))
    release = {"kind": "release", "release": "1.2.0"}
    history.write_text("".join(json.dumps({**LEDGER_HEAD, **one}) + "\n" for one in (release, entry)))
    _, out = run(history, "report", "--json")
    assert [one["id"] for one in json.loads(out)["history"]] == [entry["id"]]


def test_a_misspelt_kind_is_not_passed_over(history: Path) -> None:
    history.write_text(line(drill(TODAY)).replace('"kind":"drill"', '"kind":"dril"') + "\n")
    with pytest.raises(TurnoutError, match="field kind"):
        run(history, "report")


def test_a_place_that_cannot_be_written_is_told(history: Path) -> None:
    with pytest.raises(TurnoutError, match="blocked"):
        (history.parent / "blocked").write_text("")
        run(history, "report", "--doc", str(history.parent / "blocked" / "x.md"))
