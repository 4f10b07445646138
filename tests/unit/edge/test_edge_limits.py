"""The edge's pure parts at their limits: the shape of files, ages, what peers said, counters."""

from __future__ import annotations

import copy
import json

import pytest
from edge_model import edge_confirmed, edge_in_flight, edge_with_stable, state_of
from turnout_edge.checks import schema_fault
from turnout_edge.errors import Trouble
from turnout_edge.haproxy import number, read_backend, read_server, share_in
from turnout_edge.lock import (
    describe_lock,
    fence_of,
    lease_has_run_out,
    lock_is_fresh,
    mark_age_s,
    parse_fence,
    read_fence,
)
from turnout_edge.metrics import epoch, label, overdue_s
from turnout_edge.peers import heard, read_object
from turnout_edge.shapes import (
    Unreadable,
    decode,
    decode_object,
    is_count,
    is_holder,
    is_last_holder,
    is_mark,
    is_number,
    lies_ahead,
    read_lease,
    read_lock,
)
from turnout_edge.state import choose_recovered, schema_range_fault
from turnout_edge.transitions import commit

MARK = {"wall": 1_800_000_000.0, "boot": 50.0, "boot_id": "b"}
HOLDER = {"run": "A", "owner": "o", "purpose": "deploy", "pid": 7, "ttl_s": 60, "taken": MARK, "beat": MARK}
LAST = {"run": "A", "owner": "o", "purpose": "deploy", "ended": "released", "ended_at": "t"}
LEASE = {"armed": True, "run": "A", "lease_s": 5.0, "renewed": MARK}
NOW = {"wall": 1_800_000_100.0, "boot": 150.0, "boot_id": "b"}


def at(boot: float, boot_id: str = "b", wall: float = 1_800_000_000.0) -> dict[str, object]:
    return {"wall": wall, "boot": boot, "boot_id": boot_id}


# Shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(0, True), (0.0, True), (1e9, True), (1e9 + 1, False), (-0.001, False), (0.5, True), (True, False),
     (False, False), ("1", False), (None, False), (float("nan"), False), (float("inf"), False)],
)  # fmt: skip
def test_a_number_is_finite_and_within_its_bounds(value: object, is_one: bool) -> None:
    assert is_number(value) is is_one


def test_a_number_may_have_bounds_of_its_use() -> None:
    assert is_number(2, least=2, most=3)
    assert is_number(3, least=2, most=3)
    assert not is_number(1.9, least=2, most=3)
    assert not is_number(3.1, least=2, most=3)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(0, True), (1, True), (2**63 - 1, True), (2**63, False), (-1, False), (True, False), (1.0, False), ("1", False)],
)
def test_a_count_is_a_whole_number_that_eight_bytes_hold(value: object, is_one: bool) -> None:
    assert is_count(value) is is_one
    assert read_fence(value) == (value if is_one else None)


OTHER = ("x", 7, None, [], {}, True, -1)


@pytest.mark.parametrize(
    ("check", "whole"), [(is_mark, MARK), (is_holder, HOLDER), (is_last_holder, LAST)], ids=["mark", "holder", "last"]
)
def test_a_value_with_one_part_missing_or_of_another_kind_is_none(check: object, whole: dict[str, object]) -> None:
    assert callable(check)
    assert check(whole) is True
    assert not any(check(value) for value in (None, [], "x", 7, {}))
    for key, sound in whole.items():
        assert not check({name: value for name, value in whole.items() if name != key}), key
        for other in OTHER:
            if type(other) is not type(sound) and not (isinstance(sound, float | int) and other == 7):
                if key == "pid" and isinstance(other, int):
                    continue
                assert not check({**whole, key: other}), (key, other)


def test_a_moment_is_within_what_a_person_can_be_shown() -> None:
    assert is_mark({**MARK, "wall": 250_000_000_000.0})
    assert not is_mark({**MARK, "wall": 250_000_000_001.0})
    assert not is_mark({**MARK, "wall": -1.0})
    assert is_mark({**MARK, "boot": 1e9})
    assert not is_mark({**MARK, "boot": 1e9 + 1})


def test_what_a_file_holds_is_read_up_to_four_megabytes() -> None:
    room = 4_000_000 - 2
    assert decode(b'"' + b"x" * room + b'"') == "x" * room
    with pytest.raises(Unreadable, match="more than 4000000 bytes"):
        decode(b'"' + b"x" * (room + 1) + b'"')


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\\ud800"', b"[" * 100_000])
def test_what_cannot_be_read_or_written_again_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(raw)


def test_an_object_is_an_object() -> None:
    assert decode_object(b'{"a": 1}') == {"a": 1}
    for raw in (b"[]", b"1", b"null", b'"x"'):
        with pytest.raises(Unreadable, match="not a JSON object"):
            decode_object(raw)


def test_of_a_lock_what_is_sound_is_kept() -> None:
    whole = {"holder": HOLDER, "last": LAST, "fence": 3}
    assert read_lock(json.dumps(whole).encode()) == whole
    assert read_lock(json.dumps({**whole, "holder": {}}).encode()) == {**whole, "holder": None}
    assert read_lock(json.dumps({**whole, "last": {}}).encode()) == {**whole, "last": None}
    for raw in (None, b"", b"[]", b"{"):
        assert read_lock(raw) == {"holder": None, "last": None}


def test_a_lease_that_cannot_be_read_is_over_and_one_that_is_not_there_is_not_armed() -> None:
    assert read_lease(None) == {"armed": False}
    assert read_lease(b'{"armed": false, "x": 1}') == {"armed": False, "x": 1}
    assert read_lease(json.dumps(LEASE).encode()) == LEASE
    assert read_lease(json.dumps({**LEASE, "lease_s": 86_400}).encode())["lease_s"] == 86_400
    for change in (
        {"armed": 1}, {"armed": None}, {"run": 7}, {"lease_s": 86_401}, {"lease_s": -1}, {"lease_s": True},
        {"renewed": None}, {"renewed": {**MARK, "boot": "x"}},
    ):  # fmt: skip
        assert read_lease(json.dumps({**LEASE, **change}).encode()) == {"armed": True}, change
    for raw in (b"", b"{", b"[]"):
        assert read_lease(raw) == {"armed": True}


# Ages --------------------------------------------------------------------------------------------------------------


def test_a_moment_lies_ahead_by_more_than_a_second_of_this_boot() -> None:
    assert not lies_ahead(at(51.0), at(50.0))
    assert lies_ahead(at(51.001), at(50.0))
    assert not lies_ahead(at(99.0, "other"), at(50.0))


def test_the_age_of_a_moment() -> None:
    assert mark_age_s(at(50.0), at(62.5)) == 12.5
    assert mark_age_s(at(50.5), at(50.0)) == 0.0
    # After a reboot: by the wall clock, and no younger than the machine is up.
    assert mark_age_s(at(5000.0, "old", wall=1000.0), at(20.0, wall=1300.0)) == 300.0
    assert mark_age_s(at(5000.0, "old", wall=1290.0), at(20.0, wall=1300.0)) == 20.0


def test_a_lock_is_fresh_to_the_end_of_its_time() -> None:
    assert lock_is_fresh(HOLDER, at(110.0))
    assert not lock_is_fresh(HOLDER, at(110.001))
    assert lock_is_fresh(HOLDER, at(49.0))
    assert not lock_is_fresh(HOLDER, at(48.9)), "its sign of life is still to come"


def test_a_lease_runs_out_when_its_time_is_over() -> None:
    assert not lease_has_run_out(LEASE, at(55.0))
    assert lease_has_run_out(LEASE, at(55.001))
    assert lease_has_run_out(LEASE, at(51.0, "rebooted"))
    assert lease_has_run_out(LEASE, at(48.9))
    assert lease_has_run_out({"armed": True}, NOW)
    assert not lease_has_run_out({**LEASE, "armed": False}, NOW)
    assert not lease_has_run_out({}, NOW)


def test_for_how_long_a_lease_has_been_over() -> None:
    assert overdue_s(LEASE, at(55.0)) == 0
    assert overdue_s(LEASE, at(60.5)) == 5.5
    for lacking in ("renewed", "lease_s"):
        broken = {key: value for key, value in LEASE.items() if key != lacking}
        if lacking == "renewed":
            assert overdue_s(broken, NOW) == 150.0


def test_the_fence_is_a_number_of_at_most_eighteen_digits() -> None:
    assert parse_fence(b"12\n") == 12
    assert parse_fence(b"9" * 18) == int("9" * 18)
    for raw in (b"9" * 19, b"", None, b"-1", b"1.5", b"x", b"1 2"):
        assert parse_fence(raw) is None


def test_the_number_of_a_run_is_its_own_or_the_next() -> None:
    lock = {"fence": 7, "holder": {**HOLDER, "fence": 5}}
    assert fence_of(lock, "A") == 5
    assert fence_of(lock, "B") == 8
    assert fence_of({"fence": 7, "holder": None}, "A") == 8
    assert fence_of({"fence": 7, "holder": HOLDER}, "A") == 8


def test_a_lock_is_described_for_a_person() -> None:
    assert describe_lock({"holder": HOLDER}, at(62.4)) == (
        "held by run A (deploy, o, pid 7), last sign of life 12 s ago, time to live 60 s"
    )
    assert (
        describe_lock({"holder": None, "last": LAST}, NOW) == "nobody holds it; run A (o) held it last: released at t"
    )
    assert describe_lock({"holder": None}, NOW) == "nobody holds it"


# Peers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "is_heard"), [(50.0, True), (53.0, True), (53.001, False), (49.0, True), (48.999, False)]
)
def test_a_peer_is_heard_for_three_seconds_and_never_from_the_future(now: float, is_heard: bool) -> None:
    said = {"service": "shop", "stable": "blue"}
    raw = json.dumps({"peers": {"edge2": {"boot": 50.0, "said": said}}}).encode()
    assert heard(raw, "edge2", "shop", now) == (said if is_heard else None)
    assert heard(raw, "edge3", "shop", 50.0) is None
    assert heard(raw, "edge2", "other", 50.0) is None


@pytest.mark.parametrize(
    "raw", [None, b"", b"[]", b"{", b'{"peers": []}', b'{"peers": {"e": 1}}', b'{"peers": {"e": {"boot": 50}}}',
            b'{"peers": {"e": {"boot": true, "said": {"service": "s"}}}}',
            b'{"peers": {"e": {"boot": "x", "said": {"service": "s"}}}}'],
)  # fmt: skip
def test_rubbish_in_the_file_of_peers_is_nobody_heard(raw: bytes | None) -> None:
    assert heard(raw, "e", "s", 1.0 if raw and b"true" in raw else 50.0) is None
    assert read_object(b"[" * 100_000) == {}


# HAProxy's words ---------------------------------------------------------------------------------------------------


def test_a_share_is_one_whole_number() -> None:
    assert share_in([("0x1", "2500")]) == 2500
    assert share_in([("0x1", "123456789")]) == 123456789
    for entries in (
        [], [("0x1", "1"), ("0x2", "1")], [("0x1", "1234567890")], [("0x1", "x")], [("0x1", "")], [("0x1", "-1")],
        [("0x1", "²")], [("0x1", "٣")],
    ):  # fmt: skip
        assert share_in(entries) is None


def test_a_counter_that_is_left_out_is_zero() -> None:
    assert [number(text) for text in ("12", "-3", "", None, "x", "1.5")] == [12, -3, 0, 0, 0, 0]


def test_a_backend_is_read_with_every_counter_from_its_column() -> None:
    columns = ["req_tot", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other", "econ", "eresp",
               "wretr", "wredis", "scur", "qcur"]  # fmt: skip
    row = {"status": "UP", **{name: str(index + 1) for index, name in enumerate(columns)}}
    up = read_server({"svname": "app1", "status": "UP", "check_status": "L7OK", "scur": "4"})
    unchecked = read_server({"svname": "app2", "status": "UP", "check_status": "INI"})
    down = read_server({})
    assert up == {
        "name": "app1", "status": "UP", "check": "L7OK", "up": True, "checked": True, "pending": False, "sessions": 4,
    }  # fmt: skip
    assert (unchecked["pending"], unchecked["checked"], unchecked["sessions"]) == (True, False, 0)
    assert (down["name"], down["up"], down["pending"]) == ("", False, False)
    backend = read_backend("b", row, [up, unchecked])
    keys = ["requests", *columns[1:9], "retries", "redispatches", "sessions", "queue"]
    assert {key: backend[key] for key in keys} == {key: index + 1 for index, key in enumerate(keys)}
    assert (backend["backend"], backend["status"], backend["up"], backend["all_up"]) == ("b", "UP", True, False)
    assert read_backend("b", row, [up])["all_up"] is True
    assert (read_backend("b", {}, [])["all_up"], read_backend("b", {}, [])["up"]) == (False, False)
    assert read_backend("b", {}, [down, up])["up"] is True
    assert read_backend("b", {}, [down])["up"] is False


# The schema --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"version": 3, "last_contract": 0}, None),
        ({"version": 2, "last_contract": 0}, "the schema is at migration 2, and it needs at least 3"),
        ({"version": 9, "last_contract": 5}, None),
        ({"version": 9, "last_contract": 6}, "contract migration 6 was applied, and it knows migrations up to 5"),
        ({"version": 9, "last_contract": 5, "planned": {"last_contract": 5, "run": "A"}}, None),
        ({"version": 9, "last_contract": 5, "planned": {"last_contract": 4, "run": "A"}}, None),
        ({"version": 9, "last_contract": 4}, None),
        ({"version": 4, "last_contract": 4}, None),
        (
            {"version": 9, "last_contract": 5, "planned": {"last_contract": 6, "run": "A"}},
            "contract migration 6 was begun by run A, how it ended is not recorded, and it knows migrations up to 5",
        ),
        (None, None),
    ],
)
def test_a_release_runs_on_the_schemas_it_knows(schema: dict[str, object] | None, fault: str | None) -> None:
    release = {"schema": {"min": 3, "max": 5}}
    assert schema_fault(copy.deepcopy(release), schema) == fault
    assert schema_fault(None, schema) is None
    assert schema_fault({}, schema) is None


@pytest.mark.parametrize(
    ("wanted", "sound"),
    [(None, True), ({"min": 0, "max": 9}, True), ({"min": 0, "max": 9, "x": 1}, True), ({"min": "0", "max": 9}, False),
     ({"min": 0, "max": 9.5}, False), ({"min": True, "max": 9}, False), ({"min": 0, "max": False}, False),
     ({"min": 0}, False), ({}, False), ([0, 9], False), ("0..9", False)],
)  # fmt: skip
def test_a_range_of_schemas_is_two_whole_numbers(wanted: object, sound: bool) -> None:
    assert (schema_range_fault(wanted) is None) is sound


def test_what_is_recovered_is_the_last_result_or_a_change_that_haproxy_shows() -> None:
    """The journal of another service says nothing, nor does a change that HAProxy does not hold."""
    blue = state_of(edge_with_stable())
    share = state_of(edge_in_flight(2500))
    result = {"event": "result", "state": blue.as_json()}
    intent = {"event": "intent", "target": share.as_json()}
    foreign = {"event": "intent", "target": share.but(service="another").as_json()}
    for lines, live_bp, found in (
        ([result, intent], 2500, share),
        ([result, intent], 0, blue),
        ([result, intent], None, blue),
        ([result, intent], 7, blue),
        ([intent], 7, None),
        ([intent], 2500, share),
        ([intent, result], 2500, blue),
        ([result, foreign], 2500, blue),
        ([foreign], 2500, None),
        ([{**result, "state": blue.but(service="another").as_json()}], 0, None),
        ([result, {"event": "intent", "target": blue.but(since="later").as_json()}], 0, blue),
        ([{"event": "result"}, {"event": "intent"}, {"event": "result", "state": {}}, result], 0, blue),
        ([], 0, None),
    ):
        assert choose_recovered(lines, live_bp, "sample") == found, (lines, live_bp)


# The last word -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("was_sure", [True, False])
@pytest.mark.parametrize("stage", [None, "ready", "confirmed", "committed", "back"])
def test_the_last_word_follows_the_second_and_only_grows_sure(stage: str | None, was_sure: bool, sure: bool) -> None:
    stamp = {"run": "A", "at": "t"}
    before = state_of(edge_confirmed())
    before = before.but(handover={**(before.handover or {}), "stage": stage, "sure": was_sure} if stage else None)
    if stage not in ("confirmed", "committed"):
        with pytest.raises(Trouble, match="went back from A" if stage == "back" else "it did not") as caught:
            commit(before, stamp, sure)
        assert caught.value.code == "not-confirmed"
        return
    after = commit(before, stamp, sure)
    assert after.word("A").stage == "committed"
    assert after.word("A").sure == (sure or (was_sure and stage == "committed"))
    assert (after is before) == (stage == "committed" and (was_sure or not sure))


# Metrics -----------------------------------------------------------------------------------------------------------


def test_stamps_and_labels_of_metrics() -> None:
    assert epoch("2027-01-15T08:00:00.123Z") == 1_800_000_000
    for stamp in (None, "", "yesterday", "2027-01-15"):
        assert epoch(stamp) == 0
    assert label('a"b\\c\nd') == 'a\\"b\\\\c\\nd'
