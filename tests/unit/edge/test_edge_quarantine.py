"""Back, and quarantined because: one command under one lock, and whoever dies in between leaves it in quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from edge_model import Crash, ModelEdge, edge_confirmed, edge_in_flight, edge_with_stable, release, state_of
from turnout_edge.errors import Trouble

RECORD = {**release("1.1.0"), "sha256": "ab" * 32, "release_id": "1.1.0-abababababab"}
WHY = "5xx"


def flying() -> ModelEdge:
    """An edge whose candidate 1.1.0, of run A, has a quarter of the users."""
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=RECORD)
    edge.run("move --run A --share-bp 2500 --lease-s 10")
    return edge


def confirmed() -> ModelEdge:
    edge = flying()
    edge.run("move --run A --share-bp 10000")
    edge.run("ready --run A --color green")
    edge.run("confirm --run A")
    return edge


def held(edge: ModelEdge) -> dict[str, Any]:
    found: dict[str, Any] = edge.run("show")["quarantine"]
    return found


def entries(edge: ModelEdge) -> list[dict[str, Any]]:
    return [line for line in edge.ledger.tail(100) if line["kind"] == "quarantine"]


WAYS: dict[str, tuple[Callable[[], ModelEdge], str]] = {
    "a run's own verdict": (flying, "rollback --put-back --run A"),
    "a person's word": (flying, "rollback"),
    "a page after confirm": (confirmed, "rollback"),
    "a run's own after confirm": (confirmed, "rollback --put-back --run A"),
}


@pytest.mark.parametrize("name", WAYS)
def test_going_back_and_quarantine_are_one_command(name: str) -> None:
    make, words = WAYS[name]
    edge = make()
    result = edge.run(words, quarantine=WHY)
    assert (result["changed"], result["quarantined"]) == (True, True)
    assert "1.1.0 is in quarantine" in result["message"]
    assert edge.shares() == {"blue": 10_000, "green": 0}
    (entry,) = held(edge).values()
    assert {key: entry[key] for key in ("kind", "release", "release_id", "sha256", "why")} == {
        "kind": "quarantine",
        "release": "1.1.0",
        "release_id": RECORD["release_id"],
        "sha256": RECORD["sha256"],
        "why": WHY,
    }
    assert entry["run"] == result["run"]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_whoever_dies_in_between_leaves_the_release_in_quarantine(name: str, when: str) -> None:
    make, words = WAYS[name]
    edge = make()
    edge.fuse.set(None)
    edge.run(words, quarantine=WHY)
    steps = edge.fuse.steps
    assert steps >= 6
    for step in range(1, steps + 1):
        edge = make()
        before = edge.shares()
        edge.fuse.set(step, when)
        with pytest.raises(Crash):
            edge.run(words, quarantine=WHY)
        edge.fuse.set(None)
        edge.power_cut()
        if held(edge):
            continue
        assert step == 1, f"died at step {step} of {steps}, out of quarantine"
        assert edge.shares() == before, "users were moved, and nothing tells why"
        assert edge.load_state() == make().load_state()


def test_a_second_verdict_of_the_same_run_is_no_second_entry() -> None:
    edge = flying()
    edge.run("rollback --put-back --run A", quarantine="the guard: 5xx")
    result = edge.run("rollback --put-back --run A", quarantine="the judge")
    assert (result["quarantined"], result["changed"]) == (True, False)
    assert [entry["why"] for entry in entries(edge)] == ["the guard: 5xx"]


def test_the_keepers_put_back_neither_undoes_nor_doubles_it() -> None:
    edge = flying()
    edge.run("rollback --put-back --run A", quarantine=WHY)
    ledger = edge.ledger.tail(100)
    edge.run("rollback --put-back --run A")
    edge.run("settle --run A")
    assert edge.run("rollback --put-back --run A")["action"] == "nothing"
    assert edge.ledger.tail(100) == ledger
    assert list(held(edge)) == [RECORD["sha256"]]


def test_a_verdict_after_the_lease_took_the_users_back_is_on_record_too() -> None:
    edge = flying()
    edge.run("rollback")
    result = edge.run("rollback --put-back --run A", quarantine=WHY)
    assert result["quarantined"] is True
    assert list(held(edge)) == [RECORD["sha256"]]

    edge = confirmed()
    edge.run("rollback")
    result = edge.run("rollback --put-back --run A", quarantine=WHY)
    assert (result["action"], result["quarantined"]) == ("nothing", True)
    assert list(held(edge)) == [RECORD["sha256"]]


def test_a_verdict_is_never_about_another_runs_release() -> None:
    edge = flying()
    edge.run("lock break")
    result = edge.run("rollback --put-back --run B", quarantine=WHY)
    assert (result["action"], result["quarantined"]) == ("nothing", False)
    assert entries(edge) == []

    edge = edge_confirmed()
    edge.run("lock release --run A")
    result = edge.run("rollback --put-back --run B", quarantine=WHY)
    assert entries(edge) == []


def test_a_runs_verdict_holds_where_it_may_not_go_back() -> None:
    edge = flying()
    edge.run("lock take --run B --break --ttl-s 60")
    with pytest.raises(Trouble) as seen:
        edge.run("rollback --put-back --run A", quarantine=WHY)
    assert seen.value.exit_code == 4
    assert seen.value.facts["quarantined"] is True
    assert edge.shares()["green"] == 2500
    assert list(held(edge)) == [RECORD["sha256"]]


def test_a_page_that_may_not_go_back_quarantines_nothing() -> None:
    edge = confirmed()
    edge.proxy.statuses["sample-blue"] = {"app1": "DOWN", "app2": "DOWN"}
    with pytest.raises(Trouble):
        edge.run("rollback", quarantine=WHY)
    assert entries(edge) == []


def test_a_ledger_that_cannot_be_written_keeps_nobody_from_going_back() -> None:
    edge = flying()
    append = edge.ledger.append

    def full(line: dict[str, Any]) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    edge.ledger.append = full  # type: ignore[method-assign]
    result = edge.run("rollback --put-back --run A", quarantine=WHY)
    edge.ledger.append = append  # type: ignore[method-assign]
    assert edge.shares()["green"] == 0
    assert result["quarantined"] is False
    assert "NOT in quarantine" in result["warnings"][0]


def test_asking_what_would_be_enters_nothing_and_a_reason_is_needed() -> None:
    edge = flying()
    edge.run("rollback --dry-run", quarantine=WHY)
    assert entries(edge) == []
    with pytest.raises(Trouble) as seen:
        edge.run("rollback", quarantine=" ")
    assert seen.value.exit_code == 2


def test_a_person_lets_it_go_again_and_a_later_verdict_holds_anew() -> None:
    edge = flying()
    edge.run("rollback --put-back --run A", quarantine=WHY)
    edge.run("ledger --run B", json=json.dumps({"kind": "again", "sha256": RECORD["sha256"], "reason": "the queue"}))
    assert held(edge) == {}
    edge.run("lock take --run B --break")
    edge.run("prepare --run B --color green", release=RECORD)
    edge.run("move --run B --share-bp 500")
    edge.run("rollback --put-back --run B", quarantine="again 5xx")
    assert [entry["why"] for entry in held(edge).values()] == ["again 5xx"]
    assert state_of(edge).share_bp == 0


def test_without_a_verdict_nothing_is_quarantined() -> None:
    edge = edge_in_flight(2500)
    assert edge.run("rollback")["quarantined"] is False
    assert entries(edge) == []
