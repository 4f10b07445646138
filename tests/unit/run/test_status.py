"""The table of how a service stands says what each entry of the ledger is about."""

from __future__ import annotations

from typing import Any

from turnout.status import collect, render


def shown(**edge: Any) -> str:
    facts = {"service": "sample", "stable": "blue", "agree": True, "live": {"reachable": True}, **edge}
    return render(collect({"edge1": facts}, {}))


def test_a_drill_is_told_by_its_verdict_and_figures() -> None:
    entry = {
        "ts": "2026-11-29T03:00:00.000Z",
        "kind": "drill",
        "mode": "latest",
        "verdict": "pass",
        "rpo": {"seconds": 12.5, "heartbeats": 3, "wal_bytes": 9},
        "rto_seconds": 61.25,
        "run": "nightly",
    }
    text = shown(ledger=[entry])
    assert "drill  latest: pass, RPO 12.5 s, RTO 61.2 s  run nightly" in text
    assert "None" not in text


def test_a_drill_that_measured_nothing_is_told_without_figures() -> None:
    entry = {
        "ts": "t",
        "kind": "drill",
        "mode": "random",
        "verdict": "fail",
        "rpo": None,
        "rto_seconds": None,
        "run": "r",
    }
    text = shown(ledger=[entry])
    assert "drill  random: fail  run r" in text
    assert "None" not in text


def test_an_entry_about_no_release_names_none() -> None:
    assert "waiver  -  run r" in shown(ledger=[{"ts": "t", "kind": "waiver", "run": "r"}])


def test_migrations_whose_end_is_not_recorded_are_told() -> None:
    schema = {"version": 5, "last_contract": 2, "planned": {"version": 7, "last_contract": 7, "run": "A"}}
    assert "run A began migrations up to 7 (last contract 7); how they ended is not recorded" in shown(schema=schema)


def test_where_no_edge_answers_nothing_is_known() -> None:
    status = collect({"edge1": None}, {"app1": None})
    assert status["agree"] is None
    text = render(status)
    for row in ("lock        ", "unfinished  ", "ledger      "):
        assert f"{row}not known (no edge answered)" in text, text
    assert "what serves is not known" in text
    assert "do not agree" not in text


def test_a_unit_that_fails_is_told_with_its_last_lines() -> None:
    unit = {
        "active": "activating",
        "fault": "is activating (auto-restart, exit-code, exit code 1), started again 7 times",
    }
    units = {
        "sample-api@blue.service": {"active": "active", "fault": None, "lines": []},
        "sample-worker@blue.service": {**unit, "lines": ["no module named redis", "Failed with result 'exit-code'."]},
        "sample-worker@blue-2.service": unit,
    }
    status = collect({}, {"app1": {"units": units}, "app2": None})
    assert sorted(status["hosts"]["app1"]["failed"]) == ["sample-worker@blue-2.service", "sample-worker@blue.service"]
    lines = render(status).splitlines()
    at = lines.index(f"  !! sample-worker@blue on app1 FAILED: it {unit['fault']}; its last lines:")
    assert [line.strip() for line in lines[at + 1 : at + 3]] == [
        "no module named redis",
        "Failed with result 'exit-code'.",
    ]
    assert "       (read them there: journalctl -u sample-worker@blue-2.service -n 50)" in lines
    assert not any("sample-api@blue on app1 FAILED" in line for line in lines)


def test_a_command_that_runs_is_told_and_so_is_one_in_the_ledger() -> None:
    command = {"id": "20261130-093612-a1b2", "color": "blue", "actor": "ann", "shown": ["bin/manage", "shell"]}
    entry = {"ts": "t", "kind": "command", "release": "1.0.0-abc", "color": "blue", "run": "r", "id": "1@app1",
             "command": "bin/manage shell"}  # fmt: skip
    text = render(
        collect({"edge1": {"stable": "blue", "agree": True, "ledger": [entry]}}, {"app1": {"commands": [command]}})
    )
    assert "command 20261130-093612-a1b2@app1 runs in blue, by ann: bin/manage shell" in text
    assert "command  1.0.0-abc on blue: bin/manage shell; 1@app1" in text
