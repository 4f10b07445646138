"""Format numbers: older files are read, newer ones refused by name, and neither keeps users from going back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from edge_model import STATE_DIR, ModelEdge, edge_in_flight
from hypothesis import given
from hypothesis import strategies as st
from turnout_edge import version
from turnout_edge.cli import main
from turnout_edge.errors import Trouble
from turnout_edge.peers import heard, told
from turnout_edge.shapes import FORMAT, format_of, read_lease, read_lock
from turnout_edge.state import NewerFormat, State
from turnout_edge.watch import Watch

WHOLE_FILES = ("state.json", "lock.json", "lease.json")
RECORDS = (*WHOLE_FILES, "journal.jsonl")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def path(name: str) -> str:
    return f"{STATE_DIR}/{name}"


def released() -> ModelEdge:
    """An edge on which blue is stable and green has a quarter of the users, under a lease."""
    world = edge_in_flight(0)
    world.run("move --run A --share-bp 2500 --lease-s 10")
    world.run("ledger --run A", json='{"kind": "release", "release": "1.0.0"}')
    return world


def refused(world: ModelEdge, words: str) -> dict[str, Any]:
    """Run a command that must be refused; return the error."""
    with pytest.raises(Trouble) as seen:
        world.run(words)
    return seen.value.as_json()


def numbered(world: ModelEdge, name: str, number: object, /, **more: Any) -> None:
    """Give a file (the last line of a growing one) another format number; None takes it away."""
    head, _, last = world.disk.data[path(name)].rstrip(b"\n").rpartition(b"\n")
    if not name.endswith(".jsonl"):
        head, last = b"", world.disk.data[path(name)]
    data = {**json.loads(last), **more, "format": number}
    if number is None:
        del data["format"]
    world.disk.data[path(name)] = (head + b"\n" if head else b"") + json.dumps(data).encode() + b"\n"


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_written_says_its_format(name: str) -> None:
    last = released().files.data[path(name)].splitlines()
    line = json.loads(last[-1] if name.endswith(".jsonl") else b"".join(last))
    assert line["format"] == FORMAT


@pytest.mark.parametrize("name", [*RECORDS, "ledger.jsonl"])
def test_a_file_without_a_number_is_read_as_format_1(name: str) -> None:
    world = released()
    numbered(world, name, None)
    shown = world.run("show")
    assert shown["newer"] == []
    assert shown["candidate"] == "green"
    assert shown["lock"]["run"] == "A"
    assert world.run("move --run A --share-bp 5000")["changed"]


@pytest.mark.parametrize("name", [*RECORDS, "ledger.jsonl"])
@pytest.mark.parametrize("command", ["lock", "move"])
def test_a_newer_file_is_refused_by_name_with_the_remedy(name: str, command: str) -> None:
    world = released()
    numbered(world, name, FORMAT + 1, unheard_of=True)
    before = dict(world.disk.data)
    error = refused(world, "lock take --run A" if command == "lock" else "move --run A --share-bp 5000")
    assert error["code"] == "newer-format"
    assert f"{path(name)} (format {FORMAT + 1})" in error["observed"]
    assert f"format {FORMAT}" in error["expected"]
    assert "turnout.ops.site --tags edge" in error["remedy"]
    assert world.disk.data == before


@pytest.mark.parametrize("name", [*RECORDS, "ledger.jsonl"])
def test_nothing_newer_keeps_a_person_from_going_back(name: str) -> None:
    world = released()
    numbered(world, name, FORMAT + 1, unheard_of={"deep": [1]})
    result = world.run("rollback")
    assert result["changed"]
    assert world.proxy.green == 0
    assert any(path(name) in warning for warning in result["warnings"])
    assert "recovered" not in result["message"]


def test_the_way_back_of_a_newer_state_that_lost_its_shape_is_found_in_the_journal() -> None:
    world = released()
    numbered(world, "state.json", FORMAT + 1, stable={"color": "blue"})
    result = world.run("rollback")
    assert world.proxy.green == 0
    assert "recovered from the journal" in result["message"]


@pytest.mark.parametrize("name", [*RECORDS, "ledger.jsonl"])
def test_nothing_newer_keeps_the_watchdog_from_taking_users_back(name: str) -> None:
    world = released()
    numbered(world, name, FORMAT + 1)
    world.time.advance(11)
    watch = Watch(world)
    for _ in range(4):
        watch.tick()
    assert world.proxy.green == 0


def test_the_watchdog_mends_a_share_also_by_a_newer_state() -> None:
    world = released()
    numbered(world, "state.json", FORMAT + 1)
    world.proxy.green = 9000
    watch = Watch(world)
    for _ in range(8):
        watch.tick()
    assert world.proxy.green == 2500


def test_show_names_what_is_newer() -> None:
    world = released()
    numbered(world, "lease.json", FORMAT + 1)
    numbered(world, "journal.jsonl", FORMAT + 6)
    shown = world.run("show")
    assert shown["newer"] == [
        {"path": path("lease.json"), "format": FORMAT + 1},
        {"path": path("journal.jsonl"), "format": FORMAT + 6},
    ]


def test_a_format_that_a_person_wrote_into_a_line_is_not_the_line_s() -> None:
    world = released()
    world.run("ledger --run A", json='{"kind": "note", "format": 9, "about": {"format": 7}}')
    world.run("journal --run A --event note", json='{"format": 9}')
    assert world.run("show")["newer"] == []


def test_a_newer_state_is_not_recovered_over() -> None:
    world = released()
    numbered(world, "state.json", FORMAT + 1)
    assert refused(world, "recover")["code"] == "newer-format"


def test_recorded_states_name_their_format_too() -> None:
    state = State("sample").as_json()
    assert State.from_json({key: value for key, value in state.items() if key != "format"}) == State("sample")
    with pytest.raises(NewerFormat, match="format 2"):
        State.from_json({**state, "format": 2})
    assert State.from_json({**state, "format": 2, "more": 1}, newer=True) == State("sample")


def test_a_peer_that_speaks_a_newer_format_is_not_heard() -> None:
    said = told(State("sample"), {"armed": False}, 100.0)
    assert said["format"] == FORMAT
    raw = {"peers": {"edge2": {"boot": 100.0, "said": said}}}
    assert heard(json.dumps(raw).encode(), "edge2", "sample", 100.0) == said
    raw["peers"]["edge2"]["said"] = {key: value for key, value in said.items() if key != "format"}
    assert heard(json.dumps(raw).encode(), "edge2", "sample", 100.0) is not None
    raw["peers"]["edge2"]["said"] = {**said, "format": FORMAT + 1}
    assert heard(json.dumps(raw).encode(), "edge2", "sample", 100.0) is None


@given(JSON)
def test_the_format_of_anything_is_a_whole_number_or_unknown(value: Any) -> None:
    found = format_of({"format": value})
    assert found is None or (isinstance(found, int) and not isinstance(found, bool) and found >= 1)
    assert format_of(value) == 1 or isinstance(value, dict)


@given(st.integers(FORMAT, 99), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_newer_lock_or_lease_is_the_safe_case_whatever_it_holds(number: int, more: dict[str, Any]) -> None:
    raw = json.dumps({**more, "format": number}).encode()
    lease = read_lease(raw)
    assert lease["armed"] in (True, False)
    assert lease["armed"] is True or more.get("armed") is False
    lock = read_lock(raw)
    assert "format" not in lock
    assert lock["holder"] is None or lock["holder"] == more["holder"]


@given(st.sampled_from([*RECORDS, "ledger.jsonl"]), JSON, st.dictionaries(st.text(max_size=8), JSON, max_size=3))
def test_any_number_in_any_file_leaves_the_way_back_open(name: str, number: Any, more: dict[str, Any]) -> None:
    world = released()
    kept = {key: value for key, value in more.items() if key not in json.loads(world.disk.data[path("state.json")])}
    numbered(world, name, number, **kept)
    world.run("rollback")
    assert world.proxy.green == 0


def test_the_program_says_its_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "VERSION", "0.3.0")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"turnout-edge 0.3.0 (protocol {version.PROTOCOL}, formats up to {FORMAT})\n"
    world = ModelEdge()
    assert world.run("show")["program"] == {"version": "0.3.0", "protocol": version.PROTOCOL}
    monkeypatch.setattr(version, "VERSION", "")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("turnout-edge, laid from a checkout without a version")
