"""Every lock that is taken grows the fencing number, and no damage to a file makes it fall."""

from __future__ import annotations

import json

import pytest
from edge_model import Crash, ModelEdge, edge_confirmed, edge_in_flight, edge_with_stable
from turnout_edge.errors import Trouble
from turnout_edge.watch import Watch

LOCK = "/state/lock.json"
FENCE = "/state/fence"


def test_every_lock_that_is_taken_grows_the_number() -> None:
    edge = ModelEdge()
    assert edge.run("show")["lock"]["fence"] == 0
    numbers = []
    for run in ("A", "B", "C"):
        numbers.append(edge.run(f"lock take --run {run}")["fence"])
        edge.run(f"lock release --run {run}")
    assert numbers == [1, 2, 3]
    assert edge.run("show")["lock"]["fence"] == 3


def test_the_holder_keeps_its_number_when_it_takes_its_lock_again() -> None:
    edge = ModelEdge()
    first = edge.run("lock take --run A")
    edge.run("beat --run A")
    again = edge.run("lock take --run A")
    assert (first["fence"], again["fence"], again["changed"]) == (1, 1, False)
    assert edge.run("show")["lock"]["fence"] == 1


def test_a_run_is_raised_to_the_number_it_has_elsewhere() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    assert edge.run("lock take --run A --fence 7")["fence"] == 7
    assert edge.run("lock take --run A --fence 4")["fence"] == 7, "it never falls"
    assert edge.run("show")["lock"]["fence"] == 7
    edge.run("lock release --run A")
    assert edge.run("lock take --run B")["fence"] == 8
    edge.run("lock release --run B")
    assert edge.run("lock take --run C --fence 20")["fence"] == 20


@pytest.mark.parametrize("number", ["-1", "x", "1.5"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(Trouble) as seen:
        ModelEdge().run(f"lock take --run A --fence={number}")
    assert seen.value.exit_code == 2


def test_asking_what_would_be_grows_nothing() -> None:
    edge = ModelEdge()
    assert edge.run("lock take --run A --dry-run")["fence"] == 1
    assert edge.run("show")["lock"]["fence"] == 0


def test_a_lock_that_is_taken_over_or_broken_grows_it() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    assert edge.run("lock take --run B --break")["fence"] == 2
    edge.run("lock break")
    assert edge.run("lock take --run A")["fence"] == 3


def test_a_rollback_that_takes_the_lock_over_grows_it_and_says_so() -> None:
    edge = edge_in_flight(2500)
    assert edge.run("rollback --run R")["fence"] == 2
    assert edge.run("rollback --run R")["fence"] == 2, "it holds the lock: it keeps its number"
    assert edge.run("show")["lock"]["fence"] == 2


def test_a_run_that_goes_back_under_its_own_lock_keeps_its_number() -> None:
    edge = edge_in_flight(2500)
    assert edge.run("rollback --put-back --run A")["fence"] == 1


def test_a_rollback_that_a_person_types_grows_it_and_leaves_no_lock() -> None:
    edge = edge_confirmed()
    assert edge.run("rollback")["fence"] == 2
    assert edge.run("show")["lock"] | {"last": None} == {"held": False, "fence": 2, "last": None}


def test_the_watchdogs_way_back_grows_it() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    edge.time.advance(6)
    Watch(edge).tick()
    assert edge.shares()["green"] == 0
    assert edge.run("show")["lock"]["fence"] == 2


def test_a_playbook_that_finds_nothing_to_go_back_to_has_a_number_of_its_own() -> None:
    """It goes on to the processes of the hosts: an older run must not change them any more."""
    edge = edge_with_stable()
    result = edge.run("rollback --run R")
    assert (result["action"], result["changed"], result["fence"]) == ("nothing", False, 2)
    assert edge.run("show")["lock"]["run"] == "R"
    with pytest.raises(Trouble) as seen:
        edge.run("beat --run A")
    assert seen.value.exit_code == 4
    edge.run("lock release --run R")
    assert edge.run("rollback --run S --dry-run")["fence"] == 3
    assert edge.run("show")["lock"]["held"] is False


def test_a_person_who_finds_nothing_to_go_back_to_disturbs_nobody() -> None:
    edge = edge_with_stable()
    assert edge.run("rollback")["fence"] == 1
    assert edge.run("show")["lock"]["run"] == "A"


RUBBISH = [
    None,
    b"",
    b"\x00\x00",
    b"[]",
    b'{"holder": null, "last": null}\n',
    b'{"holder": null, "fence": "9"}',
    b"-3\n",
]


@pytest.mark.parametrize("rubbish", RUBBISH)
@pytest.mark.parametrize("paths", [[LOCK], [FENCE], [LOCK, FENCE]])
def test_the_number_survives_what_a_power_cut_or_a_hand_leaves(paths: list[str], rubbish: bytes | None) -> None:
    edge = ModelEdge()
    for run in ("A", "B"):
        edge.run(f"lock take --run {run} --fence 40")
        edge.run(f"lock release --run {run}")
    for path in paths:
        if rubbish is None:
            del edge.disk.data[path]
        else:
            edge.disk.data[path] = rubbish
    assert edge.run("show")["lock"]["fence"] == 41
    assert edge.run("lock take --run C")["fence"] == 42


def test_the_number_of_a_rollback_survives_in_the_journal_too() -> None:
    edge = edge_in_flight(2500)
    edge.run("rollback --run R")
    del edge.disk.data[LOCK], edge.disk.data[FENCE]
    assert edge.run("lock take --run C")["fence"] == 3


def test_a_lock_from_before_there_were_numbers_gets_one() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    old = json.loads(edge.disk.data[LOCK])
    del old["fence"], old["holder"]["fence"]
    edge.disk.data[LOCK] = json.dumps(old).encode()
    edge.disk.data["/state/journal.jsonl"] = b""
    del edge.disk.data[FENCE]
    edge.run("beat --run A")
    assert edge.run("show")["lock"]["fence"] == 0
    assert edge.run("lock take --run A")["fence"] == 1
    assert edge.run("rollback --run R")["fence"] == 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("words", ["lock take --run B --break", "lock take --run A --fence 9", "rollback --run R"])
def test_no_crash_gives_a_number_twice(words: str, step: int, when: str) -> None:
    edge = edge_in_flight(2500)
    edge.fuse.set(step, when)
    try:
        edge.run(words)
    except Crash:
        edge.fuse.set(None)
        edge.power_cut()
    edge.fuse.set(None)
    seen = edge.run("show")["lock"]["fence"]
    holder = edge.load_lock()["holder"]
    assert holder is None or holder["fence"] <= seen
    assert edge.run("lock take --run Z --break")["fence"] > seen


def test_a_disk_that_takes_nothing_keeps_no_rollback_from_its_number() -> None:
    edge = edge_in_flight(2500)
    edge.disk.fault = OSError(28, "No space left on device")
    with pytest.raises(Trouble) as seen:
        edge.run("rollback --run R")
    assert seen.value.exit_code == 7
    assert seen.value.facts["fence"] == 2


def test_a_run_raises_number_and_time_of_its_own_lock_and_of_no_other() -> None:
    """What a rollback does once it knows its hosts; one that slept since then raises nothing."""
    edge = edge_confirmed()
    edge.run("lock release --run A")
    edge.run("rollback --run R")
    assert edge.run("lock beat --run R --fence 9 --ttl-s 200")["fence"] == 9
    shown = edge.run("show")["lock"]
    assert (shown["fence"], shown["ttl_s"]) == (9, 200.0)
    assert edge.run("lock beat --run R --fence 4 --ttl-s 10")["fence"] == 9, "it never falls"
    edge.time.advance(199)
    with pytest.raises(Trouble):
        edge.run("lock take --run B")
    assert edge.run("show")["lock"] | {"age_s": 0, "beat_at": 0} == shown | {"age_s": 0, "beat_at": 0}
    edge.time.advance(2)
    edge.run("lock take --run B")
    with pytest.raises(Trouble) as seen:
        edge.run("lock beat --run R --fence 30")
    assert seen.value.exit_code == 4
    assert edge.run("show")["lock"]["fence"] == 10


@pytest.mark.parametrize("option", ["--fence=-1", "--fence=x", "--ttl-s=-1", "--ttl-s=inf", "--ttl-s=nan"])
def test_a_beat_with_a_number_that_is_none_is_refused(option: str) -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    with pytest.raises(Trouble) as seen:
        edge.run(f"lock beat --run A {option}")
    assert seen.value.exit_code == 2
