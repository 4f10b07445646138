"""Tables for a terminal."""

from __future__ import annotations

import pytest
from ansible_collections.turnout.ops.plugins.filter.restore import restore_lines
from turnout import tables
from turnout.counts import counted
from turnout.drill.measured import told


def test_columns_are_as_wide_as_what_they_hold() -> None:
    rows = [("name", "s", "why"), ("edge1", 7, "up"), ("e", 12.5, "")]
    assert tables.lines(rows, right=(1,)) == ["name      s  why", "edge1     7  up", "e      12.5"]


def test_a_long_cell_is_wrapped_and_a_word_that_is_too_long_is_cut() -> None:
    rows = [("what", "why"), ("a b c", "x" * 7)]
    assert tables.lines(rows, most=(3, 5), ruled=True) == [
        "wha  why", "t", "---  -----", "a b  xxxxx", "c    xx"
    ]  # fmt: skip


def test_what_looks_like_markup_is_text() -> None:
    rows = [("a", "b"), ("[bold]x[/bold]", ":smile: [/]"), ("line\nbreak", "\x1b[31m")]
    shown = tables.lines(rows)
    assert "[bold]x[/bold]" in shown[1]
    assert ":smile: [/]" in shown[1]
    assert shown[2].startswith("line break")
    assert "\x1b" not in "".join(shown)


def test_wide_signs_are_counted_as_the_terminal_does() -> None:
    assert tables.lines([("日本", "x"), ("a", "y")]) == ["日本  x", "a     y"]


@pytest.mark.parametrize("columns", ["60", "80", "120", "200"])
@pytest.mark.parametrize("length", [1, 19, 20, 21, 22, 60])
def test_no_two_cells_run_together_whatever_they_hold_and_however_wide_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, length: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name, long = "n" * length, "p" * length
    checks = [{"name": name, "outcome": "pass", "seconds": 12345.678, "detail": "seen"}]
    record = {
        "id": "d", "mode": "latest", "verdict": "pass", "causes": [], "rto_seconds": 1.0, "egress_blocked": None,
        "rpo": {"seconds": 1.0, "heartbeats": 1, "wal_bytes": 0}, "checks": checks,
        "phases": [{"name": long, "seconds": 1e9, "source": "measured"}],
    }  # fmt: skip
    said = told(record, None)
    assert "  RPO 1.0 s (1 heartbeat, 0 bytes of WAL)" in said
    assert said[-2].split() == [long, "1000000000.00", "s", "measured"]
    assert said[-1].split() == ["check", name, "pass", "12345.68", "s", "seen"]
    measured = {
        "notes": {"subscriptions": 1}, "recovered": None, "began_s": 0.0, "marks": [(long, 1e9)],
        "egress_blocked": None, "checks": checks,
    }  # fmt: skip
    said = restore_lines(measured)
    assert "  it has 1 enabled subscription, to receive once it serves" in said
    assert said[1].split() == [long, "1000000000.00", "s"]
    assert said[-1].split() == ["check", name, "pass", "seen"]


@pytest.mark.parametrize(("number", "words"), [(0, "0 drills"), (1, "1 drill"), (2, "2 drills"), (1000, "1000 drills")])
def test_a_count_has_its_noun_in_number(number: int, words: str) -> None:
    assert counted(number, "drill") == words
    assert counted(number, "process", "processes") == words.replace("drills", "processes").replace("drill", "process")
