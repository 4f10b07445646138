"""The texts that go in and out: map file, HAProxy's answers, journal lines, state file, edge.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edge_model import edge_confirmed, edge_in_flight, state_of
from hypothesis import given
from hypothesis import strategies as st
from turnout_edge.cli import find_command
from turnout_edge.edge import Config, config_faults
from turnout_edge.errors import Trouble
from turnout_edge.haproxy import older_workers, parse_stat, read_server
from turnout_edge.journal import Journal
from turnout_edge.state import State, format_map, parse_map
from turnout_edge.store import Files

SHOW_PROC = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
732             master          2 [failed: 0]   0d00h12m07s     3.0.11-1+deb13u5
# workers
811             worker          0               0d00h00m00s     3.0.11-1+deb13u5
# old workers
734             worker          2               0d00h12m07s     3.0.11-1+deb13u5
780             worker          1               0d00h01m07s     3.0.11-1+deb13u5
# programs

"""


@given(st.integers(0, 10_000))
def test_map_is_one_line_and_reads_back(green_bp: int) -> None:
    text = format_map(green_bp)
    assert text == f"green {green_bp}\n"
    assert parse_map(text) == green_bp


@pytest.mark.parametrize(
    "text",
    [
        "",
        "green",
        "green x\n",
        "green -1\n",
        "green 10001\n",
        "blue 5\n",
        "green 1\ngreen 2\n",
        "green 1 2\n",
        "green \u0661\n",
    ],
)
def test_map_with_anything_else_is_no_share(text: str) -> None:
    assert parse_map(text) is None


def test_map_may_have_comments() -> None:
    assert parse_map("# by hand\n\ngreen 25\n") == 25


def test_older_workers_are_those_from_before_a_reload() -> None:
    assert older_workers(SHOW_PROC) == [734, 780]
    assert older_workers("") == []


@pytest.mark.parametrize(
    ("status", "check", "up", "checked"),
    [
        ("UP", "L7OK", True, True),
        ("UP", "* L7OK", True, True),
        ("UP 1/2", "* L4CON", True, False),
        ("UP", "INI", True, False),
        ("no check", "", True, False),
        ("DOWN", "L4CON", False, False),
        ("DOWN 1/2", "L7OK", False, True),
        ("MAINT", "L7OK", False, True),
        ("MAINT (resolution)", "", False, False),
        ("DRAIN", "L7OK", False, True),
        ("NOLB", "L7OK", False, True),
    ],
)
def test_what_counts_as_up(status: str, check: str, up: bool, checked: bool) -> None:
    server = read_server({"svname": "app1", "status": status, "check_status": check})
    assert (server["up"], server["checked"]) == (up, checked)


def test_stat_without_its_header_is_nothing() -> None:
    assert parse_stat("Permission denied\n") == []


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=6), st.binary(max_size=40)
)
def test_torn_journal_is_repaired_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(Files(), str(path))
    for entry in entries:
        journal.append({"ts": "t", "detail": entry})
    torn = torn.replace(b"\n", b"")
    with path.open("ab") as stream:
        stream.write(torn)
    line = journal.append({"ts": "t", "event": "note"})
    lines = [json.loads(raw) for raw in path.read_bytes().splitlines()]
    assert lines[-1] == line
    assert [each["detail"] for each in lines if "detail" in each] == entries
    numbers = [each["seq"] for each in lines if "seq" in each]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_cut_of_a_journal_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(Files(), str(path))
    for number in range(3):
        journal.append({"ts": "t", "event": "start", "run": f"r{number}"})
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = journal.tail(10)
        assert [line["run"] for line in kept] == [f"r{number}" for number in range(len(kept))]
        assert len(journal.unfinished()) == len(kept)
        journal.append({"ts": "t", "event": "end", "run": "r0"})
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_long_journal_is_pruned_but_unfinished_runs_and_the_state_stay(tmp_path: Path) -> None:
    journal = Journal(Files(), str(tmp_path / "journal.jsonl"))
    journal.PRUNE_ABOVE_BYTES, journal.KEEP_BYTES = 20_000, 8_000  # type: ignore[misc]
    journal.append({"ts": "t", "event": "start", "run": "left", "action": "deploy"})
    journal.append({"ts": "t", "event": "result", "run": "left", "state": {"format": 1}})
    for number in range(300):
        journal.append({"ts": "t", "event": "note", "run": "done", "detail": "x" * 50, "number": number})
    before = journal.tail(1)[0]
    assert journal.prune() > 0
    assert (tmp_path / "journal.jsonl").stat().st_size < 9_000
    assert [run["run"] for run in journal.unfinished()] == ["left"]
    assert journal.holds_state()
    assert journal.tail(1)[0] == before
    assert journal.append({"ts": "t"})["seq"] == before["seq"] + 1
    assert journal.prune() == 0


def test_state_reads_back() -> None:
    for edge in (edge_in_flight(2500), edge_confirmed()):
        state = state_of(edge)
        assert State.from_json(json.loads(json.dumps(state.as_json()))) == state


@pytest.mark.parametrize(
    "change",
    [
        {"stable": "red"},
        {"share_bp": 10_001},
        {"share_bp": True},
        {"share_bp": "500"},
        {"candidate": None},
        {"candidate": "blue"},
        {"previous": "green"},
        {"releases": {"blue": None, "green": None}},
        {"releases": {}},
        {"format": 2},
        {"schema": {"version": "x", "last_contract": 0}},
    ],
)
def test_unsound_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        State.from_json({**state_of(edge_in_flight(2500)).as_json(), **change})


GOOD = {
    "service": "sample",
    "socket": "/s",
    "map": "/m",
    "backends": {"blue": "b", "green": "g"},
    "state_dir": "/d",
    "lease_s": 10,
}


@pytest.mark.parametrize(
    "change",
    [
        {"service": ""},
        {"socket": None},
        {"backends": {"blue": "b"}},
        {"lease_s": 0},
        {"lease_s": "10"},
        {"master": "/x"},
        {"backends": {"blue": "same", "green": "same"}},
    ],
)
def test_wrong_configuration_is_named(change: dict[str, object]) -> None:
    assert config_faults(GOOD) == []
    assert config_faults({**GOOD, **change})


def test_missing_or_broken_configuration_is_an_error_for_people(tmp_path: Path) -> None:
    path = tmp_path / "edge.json"
    for text in (None, "{", "[]"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(Trouble) as seen:
            Config.load(str(path))
        assert (seen.value.code, seen.value.exit_code) == ("config", 2)


@pytest.mark.parametrize(
    ("words", "command", "rest"),
    [
        (["rollback"], "rollback", []),
        (["--run", "x", "lock", "take", "--ttl-s", "5"], "lock take", ["--run", "x", "--ttl-s", "5"]),
        (["lock", "take", "--run", "x"], "lock take", ["--run", "x"]),
        (["--dry-run", "move", "--share-bp", "5"], "move", ["--dry-run", "--share-bp", "5"]),
        (["--run=x", "show"], "show", ["--run=x"]),
        (["lock"], "lock", []),
        ([], None, []),
    ],
)
def test_common_options_may_stand_before_or_after_the_command(
    words: list[str], command: str | None, rest: list[str]
) -> None:
    assert find_command(words) == (command, rest)
