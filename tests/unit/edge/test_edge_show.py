"""What a person is shown, word for word, what a command prints where, and how often the watchdog does what."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_model import ModelClock, ModelEdge, edge_between, edge_in_flight, edge_with_stable
from turnout_edge import cli, follow, watch
from turnout_edge.edge import Config, Edge
from turnout_edge.show import describe_entry, show_lease, show_lock, table
from turnout_edge.store import Files
from turnout_edge.watch import Watch

HEALTHY = "app1 UP L7OK, app2 UP L7OK"


def shown(edge: ModelEdge, **changes: Any) -> list[str]:
    return table({**edge.run("show"), "host": "host1", **changes}).splitlines()


def test_an_edge_in_the_middle_of_a_release() -> None:
    edge = edge_in_flight(2500)
    edge.run("lease arm --run A --lease-s 5")
    edge.time.advance(2)
    edge.run("ledger --run A", json='{"kind": "release", "release": "1.1.0"}')
    assert shown(edge) == [
        "sample on host1",
        "",
        f"  blue      75 %  stable    1.0.0         {HEALTHY}",
        f"  green     25 %  candidate 1.1.0         {HEALTHY}",
        "",
        "  HAProxy, map file and state agree: yes",
        "  lock: run A (deploy, tester), sign of life 2 s ago",
        "  lease: 3 s left",
        "  2027-01-15T08:00:02.000Z  release  1.1.0  tester",
    ]


def test_an_edge_whose_haproxy_is_away_and_whose_run_is_gone() -> None:
    edge = edge_in_flight(2500)
    edge.run("lease arm --run A --lease-s 5")
    edge.proxy.running = False
    edge.time.advance(102)
    assert shown(edge)[2:9] == [
        "  blue      75 %  stable    1.0.0         HAProxy does not answer",
        "  green     25 %  candidate 1.1.0         HAProxy does not answer",
        "",
        "  HAProxy, map file and state agree: NO",
        "    green: wanted 2500, on disk 2500, in HAProxy /admin.sock: No such file or directory"
        "  (turnout-edge apply, or rollback)",
        "  lock: run A (deploy, tester), sign of life 102 s ago, STALE",
        "  lease: 0 s left",
    ]
    edge = edge_in_flight(2500)
    edge.proxy.green = 7
    assert "    green: wanted 2500, on disk 2500, in HAProxy 7  (turnout-edge apply, or rollback)" in shown(edge)


def test_an_edge_on_which_nothing_was_released() -> None:
    assert shown(ModelEdge())[2:] == [
        f"  blue     100 %  -         -             {HEALTHY}",
        f"  green      0 %  -         -             {HEALTHY}",
        "",
        "  HAProxy, map file and state agree: yes",
        "  lock: free",
        "  lease: not armed",
    ]


def test_an_edge_in_doubt_and_what_does_not_run_beside_it() -> None:
    unfinished = [{"run": "A", "action": "deploy", "actor": "bea", "last": {"action": "move", "ts": "t"}}]
    ledger = [{"ts": f"t{n}", "kind": "drill", "mode": "latest", "verdict": "pass", "actor": "x"} for n in range(6)]
    peers = {"edge2": None, "edge3": {"stable": "green", "release": "1.1.0"}}
    rows = shown(edge_between("confirmed"), watch=False, peers=peers, unfinished=unfinished, ledger=ledger)
    assert rows[2:4] == [
        f"  blue       0 %  previous  1.0.0         {HEALTHY}",
        f"  green    100 %  stable    1.1.0         {HEALTHY}",
    ]
    assert rows[6:] == [
        "  lock: run A (deploy, tester), sign of life 0 s ago",
        "  lease: 5 s left",
        "  in doubt: run A did not say its last word here; this edge is confirmed",
        "  peer edge2: NOT HEARD (systemctl status turnout-edge-peers)",
        "  peer edge3: green (1.1.0)",
        "  watchdog: DOES NOT RUN (systemctl start turnout-edge-watch)",
        "  unfinished: run A (deploy, bea), last move at t",
        *[f"  t{n}  drill  latest: pass  x" for n in range(1, 6)],
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "rollback", "from": {"release": "2"}, "to": {"release": "1"}}, "2 -> 1"),
        ({"kind": "rollback", "from": {}, "to": None}, "? -> ?"),
        ({"kind": "drill", "mode": "time", "verdict": "fail"}, "time: fail"),
        ({"kind": "release", "release": "1.1.0"}, "1.1.0"),
        ({"kind": "note"}, ""),
    ],
)
def test_what_an_entry_is_about(entry: dict[str, Any], words: str) -> None:
    assert describe_entry(entry) == words


def test_ages_are_shown_to_a_tenth_of_a_second() -> None:
    edge = edge_with_stable()
    edge.run("beat --run A")
    edge.run("lease arm --run A --lease-s 5")
    edge.time.advance(1.26)
    now = edge.time.mark()
    lock = show_lock(edge.load_lock(), now)
    assert (lock["held"], lock["run"], lock["age_s"], lock["fresh"], lock["fence"]) == (True, "A", 1.3, True, 1)
    assert lock["beat_at"] == "2027-01-15T08:00:00.000Z" == lock["taken_at"]
    assert "taken" not in lock
    assert show_lease(edge.load_lease(), now) == {
        "armed": True, "run": "A", "lease_s": 5.0, "left_s": 3.7, "expired": False,
    }  # fmt: skip
    edge.time.advance(10)
    lease = show_lease(edge.load_lease(), edge.time.mark())
    assert (lease["left_s"], lease["expired"]) == (0.0, True)
    assert show_lease({"armed": True}, now)["left_s"] == 0.0
    assert show_lease({"armed": False}, now) == {"armed": False}
    edge.run("lock release --run A")
    assert show_lock(edge.load_lock(), now)["held"] is False


def test_show_tells_ten_lines_of_each_book_unless_told_otherwise() -> None:
    edge = edge_with_stable()
    for number in range(30):
        edge.run("ledger --run A", json=json.dumps({"kind": "note", "number": number}))
    assert [entry["number"] for entry in edge.run("show")["ledger"]] == list(range(20, 30))
    assert len(edge.run("show --tail 3")["ledger"]) == 3
    assert edge.run("show --tail 0")["ledger"] == []


# What is printed ---------------------------------------------------------------------------------------------------

DONE = (0, {"ok": True, "action": "move"}, "moved")


@pytest.mark.parametrize(
    ("words", "answer", "printed"),
    [
        ("move", DONE, ('{"ok": true, "action": "move"}\n', "moved\n")),
        ("move --quiet", DONE, ('{"ok": true, "action": "move"}\n', "")),
        ("move --human", DONE, ("moved\n", "")),
        ("move --human", (3, {"ok": False}, "refused"), ("", "refused\n")),
        ("move", (3, {"ok": False}, "refused"), ('{"ok": false}\n', "refused\n")),
        ("show", (0, {"action": "show"}, "a table"), ('{"action": "show"}\n', "")),
        ("beat", (0, {"action": "beat"}, ""), ('{"action": "beat"}\n', "")),
        ("watch", (0, {}, ""), ("", "")),
    ],
)
def test_an_answer_goes_to_the_program_and_its_words_to_the_person(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    answer: Any,
    printed: tuple[str, str],
) -> None:
    monkeypatch.setattr(cli, "answer_to", lambda _words: answer)
    assert cli.main(words.split()) == answer[0]
    assert capsys.readouterr() == printed


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (([], 2), (["-h"], 0), (["--help"], 0), (["help"], 0)):
        assert cli.main(words) == code
        assert "turnout-edge" in capsys.readouterr().out


def test_a_fault_that_nobody_foresaw_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_words: list[str]) -> Any:
        raise RuntimeError("its own")

    monkeypatch.setattr(cli, "execute", broken)
    code, result, text = cli.answer_to(["show"])
    assert (code, result["ok"], result["changed"], result["error"]["code"]) == (1, False, False, "internal")
    assert "RuntimeError: its own (in broken, line " in text


# The watchdog's turns ----------------------------------------------------------------------------------------------


def test_the_watchdog_does_each_of_its_works_in_its_turn() -> None:
    one = Watch(ModelEdge())
    turns: dict[str, list[int]] = {}
    for name in ("look", "tell", "measure", "prune"):
        setattr(one, name, lambda name=name: turns.setdefault(name, []).append(one.polls))
    for _ in range(14_401):
        one.tick()
    assert turns["look"] == list(range(1, 14_402))
    assert turns["tell"] == list(range(4, 14_402, 4))
    assert turns["measure"] == list(range(1, 14_402, 20))
    assert turns["prune"] == [1, 14_401]
    assert (watch.WATCH_POLL_S, follow.SAY_EVERY_S, follow.LOOK_EVERY_S, follow.AGAIN_AFTER_S) == (0.25, 1.0, 0.1, 1.0)


def test_the_watchdog_looks_for_drift_at_every_second_look_and_for_doubt_at_the_others() -> None:
    one = Watch(ModelEdge())
    turns: list[str] = []
    one.look_for_drift = lambda: turns.append("drift")  # type: ignore[method-assign]
    one.is_in_doubt = lambda: bool(turns.append("doubt"))  # type: ignore[method-assign, func-returns-value]
    for _ in range(6):
        one.tick()
    assert turns == ["doubt", "drift"] * 3


def test_the_watchdog_says_each_thing_once_and_remembers_a_hundred(capsys: pytest.CaptureFixture[str]) -> None:
    one = Watch(ModelEdge())
    for _ in range(2):
        for number in range(100):
            one.say(f"thing {number}")
        one.say("")
    assert capsys.readouterr().err.splitlines() == [f"thing {number}" for number in range(100)]
    one.say("thing 100")
    one.say("thing 0")
    assert capsys.readouterr().err.splitlines() == ["thing 100", "thing 0"]


def test_the_watchdog_waits_more_than_five_seconds_for_its_peers() -> None:
    one = Watch(ModelEdge())
    edge: Any = one.edge
    assert one.has_waited("A", over=True) is False
    edge.time.advance(5.0)
    assert one.has_waited("A", over=True) is False
    edge.time.advance(0.1)
    assert one.has_waited("A", over=True) is True
    assert one.has_waited("B", over=True) is False, "another run's lease"
    edge.time.advance(5.1)
    assert one.has_waited("B", over=False) is False
    assert one.has_waited("B", over=True) is False, "it was renewed in between"
    assert watch.words([None]) == "not heard"
    assert watch.words([]) == "none"


@pytest.fixture
def on_disk(tmp_path: Path) -> Edge:
    config = {
        "service": "sample", "socket": "/none", "map": str(tmp_path / "share.map"), "state_dir": str(tmp_path),
        "backends": {"blue": "sample-blue", "green": "sample-green"}, "require_watch": True,
    }  # fmt: skip
    return Edge(Config(config), Files(), ModelClock())


@pytest.fixture
def hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watchdog_tells_systemd_that_it_lives_and_ends_when_it_is_told_to(
    on_disk: Edge, hears: socket.socket, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    looks: list[bool] = []

    def tick(_one: Watch) -> None:
        looks.append(on_disk.watch_is_alive())
        if len(looks) == 3:
            os.kill(os.getpid(), number)

    slept: list[float] = []
    monkeypatch.setattr(Watch, "tick", tick)
    monkeypatch.setattr(watch.time, "sleep", slept.append)
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert watch.run_watch(on_disk) == 0
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert looks == [True] * 3
    assert slept == [0.25] * 3
    assert [hears.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
    assert on_disk.watch_is_alive() is False
    assert Path(on_disk.watch_path()).stat().st_mode & 0o777 == 0o600


def test_a_second_watchdog_is_refused(on_disk: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Path(on_disk.watch_path()).open("w") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            assert watch.run_watch(on_disk) == 3
            assert on_disk.watch_is_alive() is True
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert "a watchdog runs already" in capsys.readouterr().err


def test_a_systemd_that_does_not_hear_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    watch.notify("READY=1")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    watch.notify("READY=1")
    assert "systemd does not hear" in capsys.readouterr().err
    name = f"turnout-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        watch.notify("WATCHDOG=1")
        assert listener.recv(100) == b"WATCHDOG=1"
        for _ in range(2_000):
            watch.notify("WATCHDOG=1")  # nobody reads: its room is full long before
    assert capsys.readouterr().err == ""


def test_a_peer_is_told_every_second_and_a_change_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[float] = []

    def said(_config: Any) -> dict[str, Any]:
        return {"service": "sample", "stable": "green" if len(looks) >= 14 else "blue", "age_s": len(looks)}

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 30:
            raise InterruptedError

    monkeypatch.setattr(follow, "said_here", said)
    monkeypatch.setattr(follow.time, "sleep", sleep)
    monkeypatch.setattr(follow.time, "monotonic", lambda: len(looks) / 10)
    with pytest.raises(InterruptedError):
        follow.run_peer(ModelEdge().config, keep_on=True)
    assert [json.loads(line)["age_s"] for line in capsys.readouterr().out.splitlines()] == [0, 10, 14, 24]
    assert looks == [0.1] * 30
