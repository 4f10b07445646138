"""Whatever a hand, a full disk or a power cut left in HAProxy's map or in a file: `rollback` goes back.

Everything here runs against a real HAProxy and real files, in the program as it is laid on an edge.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_edge import RealEdge
from turnout_edge.edge import Config, Edge
from turnout_edge.haproxy import HAProxy
from turnout_edge.watch import Watch

SHARE_BP = 2500
SMALL = ("lock.json", "lease.json", "state.json", "fence")
GROWING = ("journal.jsonl", "ledger.jsonl")
AGAIN = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEdge]:
    """A real HAProxy, and beside it the files of an edge whose candidate has a quarter of the users."""
    edge = RealEdge(tmp_path_factory.mktemp("edge"))
    try:
        edge.start()
        edge.bring_up()
        edge.do("move", "--run", "A", "--share-bp", str(SHARE_BP), "--lease-s", "600")
        edge.do("ledger", "--run", "A", "--json", '{"kind": "release", "release": "1.0.0", "sha256": "ab"}')
        edge.do("ledger", "--run", "A", "--json", '{"kind": "quarantine", "release": "0.9.0", "sha256": "cd"}')
        edge.do("journal", "--run", "A", "--event", "start", "--action", "deploy")
        shutil.copytree(edge.state_dir, edge.folder / "kept")
        yield edge
    finally:
        edge.stop()


@pytest.fixture
def edge(running: RealEdge) -> RealEdge:
    return renewed(running)


def tell(edge: RealEdge, command: str) -> str:
    """Say something to HAProxy's socket, as a hand does."""
    return HAProxy(str(edge.folder / "admin.sock"), str(edge.map)).ask(command)


def renewed(edge: RealEdge) -> RealEdge:
    """Bring files and map back to where each test begins."""
    shutil.rmtree(edge.state_dir)
    shutil.copytree(edge.folder / "kept", edge.state_dir)
    if edge.map.is_dir():
        shutil.rmtree(edge.map)
    edge.map.write_text(f"green {SHARE_BP}\n")
    tell(edge, f"clear map {edge.map}")
    tell(edge, f"add map {edge.map} green {SHARE_BP}")
    return edge


def put(path: Path, content: bytes | None) -> None:
    """Put bytes, or a folder, where a file was."""
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
        (path / "something").write_text("in it")
    else:
        path.write_bytes(content)


def in_place(edge: RealEdge) -> None:
    """Check that nobody is on the candidate: in HAProxy, exactly, and on the disk."""
    entries = [line.split(" ", 1)[1] for line in tell(edge, f"show map {edge.map}").splitlines() if line]
    assert entries == ["green 0"]
    assert edge.map.read_text() == "green 0\n"
    assert json.loads((edge.state_dir / "state.json").read_bytes())["share_bp"] == 0
    assert edge.get()[1] == "blue "


def goes_back(edge: RealEdge) -> dict[str, Any]:
    """Roll back; it must succeed, and a second time have nothing to do."""
    answer = edge.ask("rollback")
    assert answer["ok"], answer
    in_place(edge)
    shown = edge.ask("show")
    assert shown["ok"], shown["error"]
    assert shown["agree"]
    assert edge.ask("rollback")["changed"] is False
    return answer


def the_watchdog_goes_on(edge: RealEdge, capsys: pytest.CaptureFixture[str], looks: int = 5) -> Watch:
    """Let the watchdog look some times; whatever it finds, it says each thing once."""
    capsys.readouterr()
    watch = Watch(Edge(Config.load(str(edge.config))))
    for _ in range(looks):
        watch.tick()
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(said) == len(set(said)), said
    assert "Traceback" not in "".join(said)
    return watch


# HAProxy's map ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "commands",
    [
        ["add map M green 0"],
        ["add map M green 9000"],
        ["add map M green 9000", "add map M green 0", "add map M green 7"],
        ["add map M green -5"],
        ["add map M green 99999999999999999999"],
        ["add map M blue 300", "add map M grey 5"],
        ["add map M gre\\ en 5"],
        ["add map M green\\ x 5"],
        ["del map M green", "add map M green 020"],
        ["del map M green"],
        ["clear map M", "add map M Green 10000"],
    ],
    ids="; ".join,
)
def test_what_a_hand_put_into_the_running_map_stops_no_rollback(edge: RealEdge, commands: list[str]) -> None:
    for command in commands:
        assert "unable" not in tell(edge, command.replace(" M ", f" {edge.map} ").replace("map M", f"map {edge.map}"))
    answer = edge.ask("rollback")
    assert answer["ok"], answer
    lines = [line.split(" ", 1)[1] for line in tell(edge, f"show map {edge.map}").splitlines() if line]
    assert [line for line in lines if line == "green" or line.startswith("green ")] == ["green 0"]
    assert edge.get()[1] == "blue "
    assert edge.ask("show")["agree"]


def test_users_never_leave_their_color_while_several_entries_become_one(edge: RealEdge) -> None:
    """The running share is set before anything is taken away: no moment falls back on the map's default."""
    tell(edge, f"add map {edge.map} green 10000")
    seen: list[str] = []
    proxy = HAProxy(str(edge.folder / "admin.sock"), str(edge.map))
    ask = proxy.ask

    def watched(command: str) -> str:
        answer = ask(command)
        seen.append(ask(f"show map {edge.map}"))
        return answer

    proxy.ask = watched  # type: ignore[method-assign]
    proxy.set_green_bp(10_000)
    assert seen
    assert all("green " in shown for shown in seen), "a moment without any share"
    assert proxy.green_bp() == 10_000


MAP_COMMANDS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.sampled_from(["green", "blue", "green\\ x", "Green", "#"]), st.integers(-9, 20_000)
        ),
        st.tuples(st.just("set"), st.just("green"), st.integers(-9, 20_000)),
        st.tuples(st.just("del"), st.just("green"), st.just(0)),
    ),
    max_size=6,
)


@given(commands=MAP_COMMANDS)
@AGAIN
def test_whatever_is_done_to_the_running_map_a_rollback_ends_in_one_exact_entry(
    running: RealEdge, commands: list[tuple[str, str, int]]
) -> None:
    edge = renewed(running)
    for verb, key, value in commands:
        tell(edge, f"{verb} map {edge.map} {key}" + ("" if verb == "del" else f" {value}"))
    answer = edge.ask("rollback")
    assert answer["ok"], answer
    lines = [line.split(" ", 1)[1] for line in tell(edge, f"show map {edge.map}").splitlines() if line]
    assert [line for line in lines if line.startswith("green ")] == ["green 0"]
    assert edge.ask("show")["agree"]


def test_the_watchdog_mends_a_map_with_several_entries(edge: RealEdge, capsys: pytest.CaptureFixture[str]) -> None:
    tell(edge, f"add map {edge.map} green 9000")
    the_watchdog_goes_on(edge, capsys, looks=6)
    assert HAProxy(str(edge.folder / "admin.sock"), str(edge.map)).green_bp() == SHARE_BP
    assert edge.ask("show")["agree"]


@pytest.mark.parametrize(
    "content",
    [b"green 2500\ngreen 0\n", b"", b"green\n", b"green abc\n", b"\x00\xff\n", b"blue 5\n", b"# nothing\n", None],
    ids=repr,
)
def test_rubbish_in_the_map_file_stops_no_rollback(edge: RealEdge, content: bytes | None) -> None:
    put(edge.map, content)
    goes_back(edge)


def test_a_reload_with_two_lines_in_the_map_file_stops_no_rollback(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    try:
        edge.start()
        edge.bring_up()
        edge.do("move", "--run", "A", "--share-bp", str(SHARE_BP))
        edge.map.write_text("green 2500\ngreen 10000\n")
        edge.reload()
        assert len([line for line in tell(edge, f"show map {edge.map}").splitlines() if line]) == 2
        goes_back(edge)
    finally:
        edge.stop()


# The files ----------------------------------------------------------------------------------------------------------

RUBBISH: dict[str, bytes | None] = {
    "empty": b"",
    "nothing but zeros": b"\x00" * 4096,
    "binary": bytes(range(256)) * 8,
    "half": b'{"holder": {"run": "A"',
    "a number": b"5",
    "null": b"null",
    "a list": b"[1, 2]",
    "an empty object": b"{}",
    "other keys": b'{"x": 1}',
    "deep": b"[" * 200_000,
    "deep and closed": b"[" * 900 + b"]" * 900,
    "huge": b'{"holder": "' + b"x" * 8_000_000 + b'"}',
    "a number without end": b'{"armed": true, "lease_s": 1e999, "share_bp": ' + b"9" * 5000 + b"}",
    "not a number": b'{"armed": true, "lease_s": NaN, "renewed": NaN, "holder": NaN}',
    "half a character": b'{"armed": true, "run": "\\ud800", "holder": {"run": "\\ud800"}}',
    "wrong types": b'{"armed": 1, "run": [], "holder": [], "last": 5, "format": 1, "releases": []}',
    "a folder": None,
}


@pytest.mark.parametrize("name", [*SMALL, *GROWING])
@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_in_a_file_stops_neither_rollback_nor_watchdog(
    edge: RealEdge, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(edge.state_dir / name, RUBBISH[kind])
    watch = the_watchdog_goes_on(edge, capsys)
    assert edge.ask("show").get("error", {}).get("code") in (None, "state-corrupt", "state-missing")
    goes_back(edge)
    for _ in range(3):
        watch.tick()
    in_place(edge)


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_in_every_file_but_the_journal_stops_no_rollback(edge: RealEdge, kind: str) -> None:
    for name in (*SMALL, "ledger.jsonl"):
        put(edge.state_dir / name, RUBBISH[kind])
    assert "recovered from the journal" in goes_back(edge)["message"]


@pytest.mark.parametrize("kind", RUBBISH)
def test_where_state_and_journal_are_both_lost_a_rollback_says_what_to_type(edge: RealEdge, kind: str) -> None:
    for name in ("state.json", "journal.jsonl"):
        put(edge.state_dir / name, RUBBISH[kind])
    answer = edge.ask("rollback")
    assert not answer["ok"]
    assert answer["error"]["code"] in ("state-corrupt", "state-missing")
    assert "turnout-edge adopt --color" in answer["error"]["remedy"]
    assert "--force" in answer["error"]["remedy"]
    record = json.dumps({"release": "1.0.0", "complete": True})
    assert edge.ask("adopt", "--color", "blue", "--release", record, "--force", "--reason", "the disk")["ok"]
    in_place(edge)


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_lock_that_cannot_be_read_is_nobodys(edge: RealEdge, kind: str) -> None:
    put(edge.state_dir / "lock.json", RUBBISH[kind])
    assert edge.ask("show")["lock"]["held"] is False
    taken = edge.ask("lock", "take", "--run", "B", "--purpose", "deploy")
    assert taken["ok"], taken
    assert edge.ask("show")["lock"]["run"] == "B"


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_lease_that_cannot_be_read_is_armed_and_over(
    edge: RealEdge, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(edge.state_dir / "lease.json", RUBBISH[kind])
    the_watchdog_goes_on(edge, capsys, looks=2)
    in_place(edge)


def test_a_lease_that_runs_out_finds_a_damaged_state_and_goes_back(
    edge: RealEdge, capsys: pytest.CaptureFixture[str]
) -> None:
    put(edge.state_dir / "lease.json", b"")
    put(edge.state_dir / "state.json", b"{")
    the_watchdog_goes_on(edge, capsys, looks=2)
    in_place(edge)


def test_a_moment_that_is_still_to_come_keeps_neither_lock_nor_lease(
    edge: RealEdge, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, keys in (("lock.json", ("holder", "beat")), ("lease.json", ("renewed",))):
        path = edge.state_dir / name
        whole = json.loads(path.read_bytes())
        mark = whole
        for key in keys:
            mark = mark[key]
        mark["boot"] += 1e6
        path.write_text(json.dumps(whole))
    assert edge.ask("lock", "take", "--run", "B")["ok"], "a beat from the future keeps the lock for ever"
    the_watchdog_goes_on(edge, capsys, looks=2)
    in_place(edge)


@pytest.mark.parametrize("name", ["flock", "watch.flock", ".state.json.turnout-new", ".lock.json.turnout-new"])
def test_a_folder_where_the_program_keeps_a_file_stops_no_rollback(edge: RealEdge, name: str) -> None:
    path = edge.state_dir / name
    path.unlink(missing_ok=True)
    path.mkdir()
    goes_back(edge)


@pytest.mark.parametrize("name", [*SMALL, *GROWING])
def test_a_pipe_where_a_file_was_holds_nothing_up(edge: RealEdge, name: str) -> None:
    path = edge.state_dir / name
    path.unlink()
    os.mkfifo(path)
    began = time.monotonic()
    goes_back(edge)
    assert time.monotonic() - began < 5


# Any bytes, and any JSON ---------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        "holder", "last", "run", "owner", "pid", "purpose", "ttl_s", "taken", "beat", "wall", "boot", "boot_id",
        "armed", "lease_s", "renewed", "fence", "format", "service", "stable", "previous", "candidate", "share_bp",
        "displaced", "declared_by", "confirmed_by", "releases", "schema", "rolled_back", "undone", "blue", "green",
        "release", "complete", "min", "max", "version", "last_contract", "event", "action", "state", "target", "seq",
        "ts", "kind", "sha256", "from", "to", "color", "at", "ended", "ended_at", "handover", "stage", "planned",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["A", "blue", "green", "sample", "start", "end", "result", "intent", "quarantine", "again"]),
    st.text(max_size=8),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=8),
        st.dictionaries(st.text(max_size=3), inner),
    ),
    max_leaves=20,
)


def changed_somewhere(value: Any, path: list[int], new: Any) -> Any:
    """Return a JSON value with one of its inner values replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    key = list(keys)[path[0] % len(keys)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = changed_somewhere(value[key], path[1:], new)  # type: ignore[index]
    return copy


def one_wrong(edge: RealEdge, name: str) -> Callable[[list[int], Any], bytes]:
    """Return how a file of the edge is written with one value in it replaced."""
    lines = (
        [json.loads(line) for line in (edge.folder / "kept" / name).read_bytes().splitlines() if line.strip()]
        if (name in GROWING)
        else [json.loads((edge.folder / "kept" / name).read_bytes())]
    )

    def write(path: list[int], new: Any) -> bytes:
        changed = changed_somewhere(lines, path, new)
        if name not in GROWING:
            return json.dumps(changed[0] if isinstance(changed, list) and changed else changed).encode()
        rows = changed if isinstance(changed, list) else [changed]
        return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)

    return write


def judged(edge: RealEdge, name: str) -> None:
    """Roll back with a damaged file: it goes back, or where the state itself is lost it says what to type."""
    watch = Watch(Edge(Config.load(str(edge.config))))
    for _ in range(2):
        watch.tick()
    shown = edge.ask("show")
    assert shown.get("error", {}).get("code") in (None, "state-corrupt", "state-missing", "service-differs"), shown
    answer = edge.ask("rollback")
    if name == "state.json" and answer["ok"] and answer["action"] == "nothing":
        return  # the damage reads as another sound state; nothing tells it from one that was meant
    if not answer["ok"]:
        assert name == "state.json", answer
        assert answer["error"]["code"] in ("target-incomplete", "target-schema", "service-differs"), answer
        assert answer["error"]["remedy"]
        return
    if name != "state.json":
        in_place(edge)
    assert edge.ask("rollback")["changed"] is False


@pytest.mark.parametrize("name", [*SMALL, *GROWING])
def test_any_bytes_in_a_file(running: RealEdge, name: str) -> None:
    @given(content=st.binary(max_size=300))
    @AGAIN
    def holds(content: bytes) -> None:
        edge = renewed(running)
        put(edge.state_dir / name, content)
        judged(edge, name)

    holds()


@pytest.mark.parametrize("name", [*SMALL, *GROWING])
def test_any_json_in_a_file(running: RealEdge, name: str) -> None:
    @given(content=JSON)
    @AGAIN
    def holds(content: Any) -> None:
        edge = renewed(running)
        put(edge.state_dir / name, json.dumps(content).encode())
        judged(edge, name)

    holds()


@pytest.mark.parametrize("name", [*SMALL, *GROWING])
def test_one_value_of_any_other_kind_in_a_file(running: RealEdge, name: str) -> None:
    write = one_wrong(running, name)

    @given(path=st.lists(st.integers(0, 30), min_size=1, max_size=6), new=JSON)
    @AGAIN
    def holds(path: list[int], new: Any) -> None:
        edge = renewed(running)
        put(edge.state_dir / name, write(path, new))
        judged(edge, name)

    holds()
