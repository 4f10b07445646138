"""The way back where a review found it stopped: rubbish in the map file, a backend that is gone, words, a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from edge_model import (
    MAP,
    STATE_DIR,
    ModelEdge,
    ModelFiles,
    edge_confirmed,
    edge_in_flight,
    edge_with_stable,
    release,
    state_of,
)
from turnout_edge.errors import EXIT_LIVE_ONLY, EXIT_PUT_BACK, Trouble
from turnout_edge.haproxy import number, older_workers
from turnout_edge.journal import encode_line, parse_line
from turnout_edge.state import parse_map
from turnout_edge.watch import Watch

DIGITS = "1" * 5000  # more than Python makes a number of
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def look(edge: ModelEdge, looks: int = 8) -> None:
    """Let the watchdog look some times."""
    watch = Watch(edge)
    for _ in range(looks):
        watch.tick()
        edge.time.advance(0.25)


def edge_on_a_lease() -> ModelEdge:
    """Return an edge whose candidate has a quarter of the users for five seconds."""
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=release("1.1.0"))
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    return edge


# -- rubbish in the map file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [f"green {DIGITS}\n", f"green {'0' * 5000}1\n", "green 1" + "0" * 9 + "\n"])
def test_a_number_of_any_length_in_the_map_file_is_no_share(text: str) -> None:
    assert parse_map(text) is None


def test_digits_without_end_in_the_map_file_stop_no_rollback() -> None:
    edge = edge_in_flight(2500)
    edge.disk.data[MAP] = f"green {DIGITS}\n".encode()
    assert edge.run("rollback")["ok"] is True
    assert edge.shares()["green"] == 0
    assert edge.agrees()


def test_digits_without_end_in_the_map_file_stop_no_watchdog() -> None:
    edge = edge_on_a_lease()
    edge.disk.data[MAP] = f"green {DIGITS}\n".encode()
    look(edge)
    assert edge.agrees()
    edge.disk.data[MAP] = f"green {DIGITS}\n".encode()
    edge.time.advance(60)
    look(edge)
    assert edge.shares()["green"] == 0
    assert edge.agrees()


@pytest.mark.parametrize("text", [DIGITS, "--5", "²", "-", "1-", ""])
def test_what_is_no_number_of_haproxys_counts_as_zero(text: str) -> None:
    assert number(text) == 0


def test_a_line_without_a_pid_is_no_older_worker() -> None:
    assert older_workers(f"# old workers\nnone yet\n{DIGITS} worker\n734 worker\n") == [734]


# -- a backend that is gone ------------------------------------------------------------------------------------------


def test_a_candidate_whose_backend_is_gone_is_left_all_the_same() -> None:
    edge = edge_in_flight(2500)
    del edge.proxy.statuses["sample-green"]
    edge.run("rollback")
    assert edge.shares()["green"] == 0
    assert edge.agrees()


def test_a_lease_that_runs_out_leaves_a_candidate_whose_backend_is_gone() -> None:
    edge = edge_on_a_lease()
    del edge.proxy.statuses["sample-green"]
    edge.time.advance(60)
    look(edge)
    assert edge.shares()["green"] == 0


def test_where_the_targets_backend_is_gone_the_refusal_says_how_to_go_back_all_the_same() -> None:
    edge = edge_in_flight(2500)
    del edge.proxy.statuses["sample-blue"]
    with pytest.raises(Trouble) as caught:
        edge.run("rollback")
    assert caught.value.code == "unknown-backend"
    assert "sample-blue" in caught.value.observed
    assert 'rollback --force --reason "..."' in caught.value.remedy
    assert edge.shares()["green"] == 2500
    edge.run("rollback --force", reason="it serves under another name")
    assert edge.shares()["green"] == 0


def test_users_move_to_a_candidate_only_while_both_backends_are_there() -> None:
    edge = edge_in_flight(0)
    del edge.proxy.statuses["sample-blue"]
    with pytest.raises(Trouble) as caught:
        edge.run("move --run A --share-bp 2500")
    assert caught.value.code == "unknown-backend"


# -- words that are no UTF-8 -----------------------------------------------------------------------------------------


def latin_1(text: str) -> str:
    """Return a word as Python gets it from a terminal that speaks Latin-1."""
    return os.fsdecode(text.encode("latin-1"))


def test_a_line_with_words_that_are_no_utf_8_can_be_written_and_read() -> None:
    assert parse_line(encode_line({"why": latin_1("défectueux")})) == {"why": "d?fectueux"}


@pytest.mark.parametrize("option", ["quarantine", "actor", "run", "phase", "reason"])
def test_words_that_are_no_utf_8_stop_no_rollback(option: str) -> None:
    edge = edge_in_flight(2500)
    result = edge.run("rollback --force" + ("" if option == "reason" else " --reason x"), **{option: latin_1("für")})
    assert result["warnings"] == []
    assert edge.shares()["green"] == 0
    assert edge.agrees()
    assert "taken over from run A" in result["message"]
    holder = edge.load_lock()["holder"]
    assert holder is None if option != "run" else holder["run"] == result["run"] == "f?r"
    assert edge.ledger.tail(1)[0]["kind"] == "rollback"
    if option == "quarantine":
        assert result["quarantined"] is True
        assert edge.ledger.tail(2)[0]["why"] == "f?r"


def test_words_that_are_no_utf_8_are_the_same_words_in_the_next_command() -> None:
    edge = ModelEdge()
    edge.run("lock take", run=latin_1("Jürgen"))
    edge.run("prepare --color blue", run=latin_1("Jürgen"), release=release("1.0.0"))
    assert state_of(edge).declared_by == "J?rgen"


def test_a_quarantine_that_fails_for_any_reason_stops_no_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_in_flight(2500)

    def fail(line: dict[str, Any]) -> None:
        if line["kind"] == "quarantine":
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed")

    monkeypatch.setattr(edge.ledger, "append", fail)
    result = edge.run("rollback", quarantine="it fails")
    assert edge.shares()["green"] == 0
    assert result["quarantined"] is False
    assert "NOT in quarantine" in result["warnings"][0]


@pytest.mark.parametrize("words", ["rollback", "rollback --run B"])
def test_a_lock_is_told_as_taken_over_only_where_it_was_written(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_in_flight(2500)
    fill(edge, monkeypatch, lambda path: path in (f"{STATE_DIR}/lock.json", f"{STATE_DIR}/fence"))
    result = edge.run(words)
    assert edge.shares()["green"] == 0
    assert "taken over" not in result["message"]
    assert result["took_over"] is None
    assert any("lock (No space left on device)" in text for text in result["warnings"])
    assert any("still run A's" in text for text in result["warnings"])
    assert edge.load_lock()["holder"]["run"] == "A"


def test_a_rollback_that_moves_nobody_tells_no_lock_that_it_could_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_with_stable()
    fill(edge, monkeypatch, lambda path: path in (f"{STATE_DIR}/lock.json", f"{STATE_DIR}/fence"))
    result = edge.run("rollback --run B")
    assert result["took_over"] is None
    assert any("lock (No space left on device)" in text for text in result["warnings"])


# -- a disk without room -------------------------------------------------------------------------------------------


def fill(edge: ModelEdge, monkeypatch: pytest.MonkeyPatch, full: Callable[[str], bool]) -> None:
    """Let no file be replaced of which `full` says so; lines can still be appended, as where inodes are out."""

    def replace(path: str, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
        if full(path):
            raise NO_SPACE
        ModelFiles.replace(edge.disk, path, data, mode, durable)

    monkeypatch.setattr(edge.disk, "replace", replace)


def test_the_watchdog_leaves_a_rollback_that_is_true_in_haproxy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_confirmed()
    edge.run("lock release --run A")
    fill(edge, monkeypatch, lambda path: True)
    with pytest.raises(Trouble) as caught:
        edge.run("rollback")
    assert caught.value.exit_code == EXIT_LIVE_ONLY
    assert edge.shares()["blue"] == 10_000
    look(edge)
    assert edge.shares()["blue"] == 10_000
    assert "taken over" not in caught.value.expected


def test_a_rollback_that_is_true_in_haproxy_only_says_how_it_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_confirmed()
    with monkeypatch.context() as full:
        fill(edge, full, lambda path: True)
        with pytest.raises(Trouble) as caught:
            edge.run("rollback")
    stop, again, start = (
        caught.value.remedy.index(words)
        for words in ("systemctl stop turnout-edge-watch", "turnout-edge rollback again", "systemctl start")
    )
    assert stop < again < start
    edge.run("rollback")  # the disk has room, and no watchdog looked between
    look(edge)
    assert edge.shares()["blue"] == 10_000
    assert edge.agrees()


def test_a_change_that_did_not_take_leaves_users_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_in_flight(2500)
    edge.proxy.green = 1000  # by a hand; a move without --expect-share is told to go on
    fill(edge, monkeypatch, lambda path: path == MAP)
    with pytest.raises(Trouble) as caught:
        edge.run("move --run A --share-bp 5000")
    assert caught.value.exit_code == EXIT_PUT_BACK
    assert edge.proxy.green == 1000
    assert "mend the disk" in caught.value.remedy
    assert "reload" not in caught.value.remedy, "it would read the share of a disk that may be behind"


@pytest.mark.parametrize("rubbish", [None, 10_001])
def test_a_change_that_did_not_take_puts_back_a_share_where_haproxy_had_none(
    rubbish: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = edge_in_flight(2500)
    edge.proxy.green = rubbish
    fill(edge, monkeypatch, lambda path: path == MAP)
    with pytest.raises(Trouble):
        edge.run("move --run A --share-bp 5000")
    assert edge.proxy.green == 2500
