"""What each command does, refuses and says, on an edge in memory."""

from __future__ import annotations

import json

import pytest
from edge_model import (
    MAP,
    ModelEdge,
    edge_between,
    edge_confirmed,
    edge_in_flight,
    edge_with_stable,
    hand_over,
    release,
    state_of,
)
from turnout_edge.errors import Trouble
from turnout_edge.watch import Watch


def refused(edge: ModelEdge, words: str, **named: object) -> Trouble:
    """Run a command that must be refused, and check that it changed nothing."""
    before = dict(edge.disk.data), edge.proxy.green
    with pytest.raises(Trouble) as seen:
        edge.run(words, **named)  # type: ignore[arg-type]
    assert (dict(edge.disk.data), edge.proxy.green) == before, "a refusal must change nothing"
    assert seen.value.observed and seen.value.expected and seen.value.remedy
    return seen.value


def test_first_release_gets_nobody_until_it_is_moved() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.run("prepare --run A --color blue", release=release("1.0.0"))
    assert edge.shares() == {"blue": 0, "green": 10_000}
    edge.run("move --run A --share-bp 10000")
    assert edge.shares() == {"blue": 10_000, "green": 0}
    edge.run("ready --run A --color blue")
    result = edge.run("confirm --run A")
    assert result["after"] == {"stable": "blue", "previous": None, "candidate": None, "share_bp": 0, "green_bp": 0}
    assert edge.shares() == {"blue": 10_000, "green": 0}


def test_first_release_takes_no_part_of_the_traffic() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.run("prepare --run A --color green", release=release("1.0.0"))
    for share_bp in (1, 500, 9_999):
        assert refused(edge, f"move --run A --share-bp {share_bp}").code == "first-release"
    assert edge.run("move --run A --share-bp 0")["changed"] is False
    assert edge.run("move --run A --share-bp 10000")["changed"] is True


def test_rollback_of_a_first_release_is_nothing_and_no_error() -> None:
    edge = ModelEdge()
    assert edge.run("rollback")["action"] == "nothing"
    edge.run("lock take --run A")
    edge.run("prepare --run A --color blue", release=release("1.0.0"))
    edge.run("move --run A --share-bp 10000")
    result = edge.run("rollback --run A")
    assert (result["action"], result["changed"]) == ("nothing", False)
    edge.run("settle --run A")
    assert state_of(edge).candidate is None
    assert edge.agrees()


@pytest.mark.parametrize("color", ["blue", "green"])
def test_candidate_gets_exactly_its_share(color: str) -> None:
    edge = edge_with_stable()
    if color == "blue":
        edge.run("prepare --run A --color green", release=release("1.1.0"))
        edge.run("move --run A --share-bp 10000")
        hand_over(edge, "green")
    edge.run(f"prepare --run A --color {color}", release=release("1.2.0"))
    for share in (1, 500, 2500, 10_000, 0):
        edge.run(f"move --run A --share-bp {share}")
        assert edge.shares()[color] == share
        assert edge.disk.data[MAP] == b"green %d\n" % edge.shares()["green"]


def test_prepare_again_updates_the_record() -> None:
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=release("1.1.0", complete=False))
    assert refused(edge, "move --run A --share-bp 500").code == "candidate-incomplete"
    edge.run("prepare --run A --color green", release=release("1.1.0"))
    assert edge.run("prepare --run A --color green", release=release("1.1.0"))["changed"] is False
    edge.run("move --run A --share-bp 500")


def test_prepare_refuses_the_color_that_serves() -> None:
    assert refused(edge_with_stable(), "prepare --run A --color blue", release=release("2")).code == "color-serves"


def test_prepare_refuses_another_release_over_a_candidate_with_users() -> None:
    edge = edge_in_flight()
    assert refused(edge, "prepare --run A --color green", release=release("1.2.0")).code == "candidate-serves"


def test_prepare_refuses_while_haproxy_holds_another_share() -> None:
    edge = edge_with_stable()
    edge.proxy.green = 300
    fault = refused(edge, "prepare --run A --color green", release=release("1.1.0"))
    assert fault.code == "disagrees"
    assert "turnout-edge apply" in fault.remedy
    edge.run("apply")
    edge.run("prepare --run A --color green", release=release("1.1.0"))


@pytest.mark.parametrize("record", [{}, {"release": "1"}, {"release": 1, "complete": True}, {"complete": True}])
def test_prepare_refuses_a_record_that_is_none(record: dict[str, object]) -> None:
    fault = refused(edge_with_stable(), "prepare --run A --color green", release=record)
    assert (fault.code, fault.exit_code) == ("release-record", 2)


@pytest.mark.parametrize("share", [-1, 10_001])
def test_move_refuses_a_share_that_is_none(share: int) -> None:
    assert refused(edge_in_flight(0), f"move --run A --share-bp {share}").code == "share"


def test_move_refuses_when_a_server_is_down_unless_it_is_named() -> None:
    edge = edge_in_flight(0)
    edge.proxy.statuses["sample-green"]["app2"] = "DOWN"
    fault = refused(edge, "move --run A --share-bp 500")
    assert fault.code == "candidate-down"
    assert "app2 DOWN" in fault.observed
    edge.run("move --run A --share-bp 500 --allow-down app2")
    assert refused(edge, "move --run A --share-bp 900 --allow-down app9").code == "unknown-server"


def test_move_refuses_when_no_server_is_up_whoever_is_named() -> None:
    edge = edge_in_flight(0)
    edge.proxy.statuses["sample-green"] = {"app1": "DOWN", "app2": "DOWN"}
    assert refused(edge, "move --run A --share-bp 500 --allow-down app1,app2").code == "candidate-down"


@pytest.mark.parametrize("status", ["MAINT", "DRAIN", "NOLB", "DOWN 1/2", "no check"])
def test_move_counts_only_servers_that_a_check_found_up(status: str) -> None:
    edge = edge_in_flight(0)
    edge.proxy.statuses["sample-green"]["app1"] = status
    assert refused(edge, "move --run A --share-bp 500").code == "candidate-down"


def test_move_down_needs_no_healthy_candidate() -> None:
    edge = edge_in_flight(2500)
    edge.proxy.statuses["sample-green"] = {"app1": "DOWN", "app2": "DOWN"}
    edge.run("move --run A --share-bp 0")
    assert edge.shares()["green"] == 0


def test_move_compares_before_it_sets() -> None:
    edge = edge_in_flight(500)
    assert refused(edge, "move --run A --share-bp 2500 --expect-share 0").code == "share-differs"
    edge.proxy.green = 400
    assert refused(edge, "move --run A --share-bp 2500 --expect-share 500").code == "disagrees"
    edge.proxy.green = 500
    assert edge.run("move --run A --share-bp 2500 --expect-share 500")["changed"] is True
    assert edge.run("move --run A --share-bp 2500 --expect-share 2500")["changed"] is False


def test_move_refuses_a_schema_that_the_candidate_does_not_know() -> None:
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=release("1.1.0", low=3))
    edge.run("schema --run A --version 2 --last-contract 0")
    assert refused(edge, "move --run A --share-bp 500").code == "candidate-schema"
    edge.run("schema --run A --version 3 --last-contract 0")
    edge.run("move --run A --share-bp 500")


def test_move_without_haproxy_changes_nothing() -> None:
    edge = edge_in_flight(500)
    edge.proxy.running = False
    fault = refused(edge, "move --run A --share-bp 2500")
    assert (fault.code, fault.exit_code) == ("haproxy", 3)


def test_move_that_haproxy_does_not_obey_is_put_back() -> None:
    edge = edge_in_flight(500)
    edge.proxy.deaf = True
    with pytest.raises(Trouble) as seen:
        edge.run("move --run A --share-bp 2500")
    assert seen.value.exit_code == 5
    assert "everything is put back" in seen.value.observed
    assert edge.agrees()
    assert edge.shares()["green"] == 500


def test_move_arms_the_lease_in_the_same_call() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 500 --lease-s 7")
    lease = edge.run("show")["lease"]
    assert (lease["armed"], lease["run"], lease["lease_s"]) == (True, "A", 7.0)


@pytest.mark.parametrize(
    "command",
    [
        "move --share-bp 500",
        "ready --color green",
        "confirm",
        "commit",
        "settle",
        "forget --color blue --reason x",
        "schema --version 1 --last-contract 0",
    ],
)
def test_nothing_moves_without_the_lock(command: str) -> None:
    edge = edge_in_flight(0)
    assert refused(edge, f"{command} --run B").exit_code == 4
    assert refused(edge, command).code == "no-run"


def test_a_word_for_another_color_is_told_which_one_the_candidate_is() -> None:
    assert "the candidate is green" in refused(edge_in_flight(10_000), "ready --run A --color blue").observed
    assert "the candidate is none" in refused(edge_with_stable(), "ready --run A --color green").observed


def test_confirm_needs_all_of_the_traffic() -> None:
    assert refused(edge_in_flight(2500), "confirm --run A").code == "share-not-whole"
    assert refused(edge_in_flight(2500), "ready --run A --color green").code == "share-not-whole"
    assert refused(edge_in_flight(10_000), "ready --run A --color blue").code == "no-candidate"


def test_confirm_makes_the_old_release_the_way_back() -> None:
    edge = edge_confirmed()
    state = state_of(edge)
    assert (state.stable, state.previous, state.candidate) == ("green", "blue", None)
    assert edge.shares()["green"] == 10_000
    assert edge.run("confirm --run A --color green")["changed"] is False
    assert refused(edge, "confirm --run A --color blue").code == "no-candidate"


def test_the_lease_is_kept_until_the_last_word() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 10000 --lease-s 7")
    edge.run("ready --run A --color green")
    assert edge.run("show")["lease"]["lease_s"] == 7
    edge.run("confirm --run A")
    assert edge.run("show")["lease"]["armed"] is True
    edge.run("commit --run A")
    assert edge.run("show")["lease"] == {"armed": False}
    assert edge.run("commit --run A")["changed"] is False


def test_a_run_that_never_armed_a_lease_gets_one_with_its_first_word() -> None:
    edge = edge_in_flight(10_000)
    assert edge.run("show")["lease"] == {"armed": False}
    edge.run("ready --run A --color green")
    assert edge.run("show")["lease"]["lease_s"] == 10


def test_no_word_is_skipped() -> None:
    fault = refused(edge_in_flight(10_000), "confirm --run A")
    assert fault.code == "not-ready"
    assert "turnout-edge ready --color green --run A" in fault.remedy
    assert refused(edge_between("ready"), "commit --run A").code == "not-confirmed"
    edge = edge_between("ready")
    edge.run("lock take --run B --break")
    assert refused(edge, "confirm --run B").code == "not-ready"
    assert refused(edge_confirmed(), "commit --run B").exit_code == 4


def test_each_word_may_be_said_twice() -> None:
    edge = edge_between("ready")
    assert edge.run("ready --run A --color green")["changed"] is False
    edge.run("confirm --run A --color green")
    assert edge.run("ready --run A --color green")["changed"] is False
    assert edge.run("confirm --run A --color green")["changed"] is False
    edge.run("commit --run A")
    assert edge.run("confirm --run A --color green")["changed"] is False
    assert edge.run("show")["lease"] == {"armed": False}


def test_a_run_that_finds_its_color_stable_already_confirms_nothing_and_arms_no_lease() -> None:
    edge = edge_confirmed()
    edge.run("lock release --run A")
    edge.run("lock take --run B")
    assert edge.run("confirm --run B --color green")["changed"] is False
    assert edge.load_lease()["armed"] is False


def test_a_share_that_moves_takes_the_first_word_back() -> None:
    edge = edge_between("ready")
    edge.run("move --run A --share-bp 9000")
    edge.run("move --run A --share-bp 10000")
    assert refused(edge, "confirm --run A").code == "not-ready"


def test_ready_is_refused_where_haproxy_holds_another_share() -> None:
    edge = edge_in_flight(10_000)
    edge.proxy.green = 400
    assert refused(edge, "ready --run A --color green").code == "disagrees"


def test_the_moment_since_which_users_get_what_they_get() -> None:
    edge = edge_in_flight(0)
    edge.time.advance(60)
    edge.run("move --run A --share-bp 10000")
    moved = edge.clock.stamp()
    edge.time.advance(60)
    hand_over(edge, "green")
    assert state_of(edge).since == moved
    edge.time.advance(60)
    edge.run("rollback")
    assert state_of(edge).since == edge.clock.stamp()


def test_settle_drops_the_candidate_and_restores_the_displaced() -> None:
    edge = edge_confirmed()
    edge.run("prepare --run A --color blue", release=release("1.2.0"))
    assert state_of(edge).previous is None
    edge.run("rollback --run A")
    edge.run("settle --run A --previous-restored")
    state = state_of(edge)
    assert (state.stable, state.previous, state.release_name("blue")) == ("green", "blue", "1.0.0")
    assert edge.run("settle --run A")["changed"] is False


def test_settle_names_no_way_back_that_was_not_restored() -> None:
    edge = edge_confirmed()
    edge.run("prepare --run A --color blue", release=release("1.2.0"))
    edge.run("rollback --run A")
    edge.run("settle --run A")
    state = state_of(edge)
    assert (state.stable, state.previous, state.candidate, state.displaced) == ("green", None, None, None)
    assert state.releases["blue"] is None


def test_settle_refuses_while_the_candidate_has_users() -> None:
    assert refused(edge_in_flight(500), "settle --run A").code == "candidate-serves"


def test_settle_refuses_to_restore_what_was_not_displaced() -> None:
    assert refused(edge_in_flight(0), "settle --run A --previous-restored").code == "nothing-displaced"


def test_rollback_takes_the_candidates_users_back() -> None:
    edge = edge_in_flight(2500)
    result = edge.run("rollback")
    assert (result["action"], result["moved"], result["changed"]) == ("candidate", True, True)
    assert edge.shares() == {"blue": 10_000, "green": 0}
    assert state_of(edge).candidate == "green", "settle drops it, when workers are back"
    assert edge.ledger.tail(5)[-1]["from"] == {"color": "green", "release": "1.1.0"}


def test_rollback_twice_is_once() -> None:
    edge = edge_in_flight(2500)
    edge.run("rollback")
    before = dict(edge.disk.data)
    result = edge.run("rollback")
    assert result["changed"] is False
    assert edge.disk.data == before


def test_rollback_after_confirm_goes_to_the_previous_and_no_further() -> None:
    edge = edge_confirmed()
    result = edge.run("rollback")
    assert result["action"] == "previous"
    assert edge.shares() == {"blue": 10_000, "green": 0}
    state = state_of(edge)
    assert (state.stable, state.previous) == ("blue", None)
    assert state.rolled_back is not None
    assert (state.rolled_back["color"], state.rolled_back["release"]) == ("green", "1.1.0")
    assert edge.run("rollback")["action"] == "nothing"


def test_second_rollback_after_a_settled_one_asks_for_a_word() -> None:
    edge = edge_confirmed()
    edge.run("prepare --run A --color blue", release=release("1.2.0"))
    edge.run("move --run A --share-bp 500")
    edge.run("rollback --run A")
    edge.run("settle --run A --previous-restored")
    result = edge.run("rollback")
    assert result["action"] == "nothing"
    assert "--further" in result["message"]
    assert edge.shares()["green"] == 10_000
    assert edge.run("rollback --further")["action"] == "previous"
    assert edge.shares()["blue"] == 10_000


def test_rollback_takes_the_lock_over_and_the_old_holder_can_move_no_more() -> None:
    edge = edge_in_flight(500)
    result = edge.run("rollback")
    assert result["took_over"]["run"] == "A"
    fault = refused(edge, "move --run A --share-bp 2500")
    assert fault.exit_code == 4
    assert "taken over by rollback-" in fault.observed
    assert refused(edge, "beat --run A").exit_code == 4
    assert edge.run("show")["lock"]["held"] is False, "a rollback that a person typed leaves no lock behind"


def test_rollback_of_a_named_run_keeps_the_lock_for_it() -> None:
    edge = edge_in_flight(500)
    edge.run("rollback --run R")
    assert edge.run("show")["lock"]["run"] == "R"
    assert edge.run("rollback --run R")["changed"] is False
    edge.run("settle --run R")
    edge.run("lock release --run R")


def test_rollback_of_a_prepared_candidate_fences_its_run_off() -> None:
    edge = edge_in_flight(0)
    result = edge.run("rollback")
    assert (result["action"], result["moved"], result["changed"]) == ("candidate", False, True)
    assert refused(edge, "move --run A --share-bp 500").exit_code == 4


def test_rollback_refuses_a_target_that_is_down() -> None:
    edge = edge_in_flight(500)
    edge.proxy.statuses["sample-blue"] = {"app1": "DOWN", "app2": "MAINT"}
    fault = refused(edge, "rollback")
    assert (fault.code, fault.exit_code) == ("target-down", 3)
    assert "--force" in fault.remedy
    result = edge.run("rollback --force", reason="blue answers, the check is wrong")
    assert result["forced"] is True
    assert edge.ledger.tail(1)[0]["reason"] == "blue answers, the check is wrong"


def test_rollback_needs_only_one_server_of_the_target() -> None:
    edge = edge_in_flight(500)
    edge.proxy.statuses["sample-blue"]["app1"] = "DOWN"
    assert edge.run("rollback")["moved"] is True


def test_rollback_force_needs_a_reason() -> None:
    assert refused(edge_in_flight(500), "rollback --force").code == "reason"


def test_rollback_refuses_a_target_that_was_never_whole() -> None:
    edge = ModelEdge()
    edge.run("adopt --color blue", release=release("0.9", complete=False))
    edge.run("lock take --run A")
    edge.run("prepare --run A --color green", release=release("1.0.0"))
    edge.run("move --run A --share-bp 500")
    assert refused(edge, "rollback").code == "target-incomplete"


@pytest.mark.parametrize(
    ("version", "last_contract", "fits"), [(3, 0, True), (9, 5, True), (2, 0, False), (9, 6, False)]
)
def test_rollback_refuses_a_schema_that_the_target_cannot_run_on(version: int, last_contract: int, fits: bool) -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.run("prepare --run A --color blue", release=release("1.0.0", low=3, high=5))
    edge.run("move --run A --share-bp 10000")
    hand_over(edge, "blue")
    edge.run("prepare --run A --color green", release=release("1.1.0"))
    edge.run(f"schema --run A --version {version} --last-contract {last_contract}")
    edge.run("move --run A --share-bp 500")
    if fits:
        assert edge.run("rollback")["moved"] is True
        return
    fault = refused(edge, "rollback")
    assert fault.code == "target-schema"
    edge.run("rollback --force", reason="it only reads")
    assert edge.shares()["green"] == 0


def test_rollback_with_haproxy_away_is_written_to_disk() -> None:
    edge = edge_in_flight(2500)
    edge.proxy.running = False
    with pytest.raises(Trouble) as seen:
        edge.run("rollback")
    assert seen.value.exit_code == 6
    assert "WRITTEN TO DISK" in seen.value.observed
    assert seen.value.facts["changed"] is True
    edge.proxy.restart()
    assert edge.agrees()
    assert edge.shares()["green"] == 0
    assert edge.run("rollback")["moved"] is False


def test_rollback_that_haproxy_does_not_obey_is_on_disk_all_the_same() -> None:
    edge = edge_in_flight(2500)
    edge.proxy.deaf = True
    with pytest.raises(Trouble) as seen:
        edge.run("rollback")
    assert seen.value.exit_code == 6
    assert edge.disk_bp() == 0


def test_rollback_with_a_full_disk_moves_the_running_haproxy() -> None:
    edge = edge_in_flight(2500)
    edge.disk.fault = OSError(28, "No space left on device")
    with pytest.raises(Trouble) as seen:
        edge.run("rollback")
    assert seen.value.exit_code == 7
    assert edge.shares()["green"] == 0
    edge.disk.fault = None
    assert edge.run("rollback")["moved"] is True
    assert edge.agrees()


def test_rollback_with_neither_disk_nor_haproxy_says_so() -> None:
    edge = edge_in_flight(2500)
    edge.disk.fault = OSError(30, "Read-only file system")
    edge.proxy.running = False
    with pytest.raises(Trouble) as seen:
        edge.run("rollback")
    assert seen.value.exit_code == 1
    assert "NOTHING MOVED" in seen.value.observed


def test_move_with_a_full_disk_changes_nothing() -> None:
    edge = edge_in_flight(500)
    edge.disk.fault = OSError(28, "No space left on device")
    assert refused(edge, "move --run A --share-bp 2500").code == "disk"


def test_put_back_undoes_only_its_own_candidate() -> None:
    edge = edge_in_flight(2500)
    assert edge.run("rollback --put-back --run A")["action"] == "candidate"
    assert edge.shares()["green"] == 0

    edge = edge_in_flight(2500)
    edge.run("lock break")
    assert edge.run("rollback --put-back --run B")["action"] == "nothing"
    assert edge.shares()["green"] == 2500


def test_put_back_undoes_its_own_confirm_and_no_other() -> None:
    edge = edge_between()
    assert edge.run("rollback --put-back --run A")["action"] == "previous"
    assert edge.run("rollback --put-back --run A")["action"] == "nothing"
    edge = edge_between()
    assert edge.run("rollback --put-back --keep-confirmed --run A")["action"] == "nothing"
    assert state_of(edge).stable == "green"
    assert edge.run("show")["lease"] == {"armed": False}, "it was told that every edge has committed"
    assert edge.run("rollback --put-back --run A")["action"] == "nothing"
    edge = edge_confirmed()
    assert edge.run("rollback --put-back --run A")["action"] == "nothing", "what was committed stands"

    edge = edge_confirmed()
    edge.run("lock release --run A")
    edge.run("lock take --run B")
    assert edge.run("rollback --put-back --run B")["action"] == "nothing"
    assert edge.shares()["green"] == 10_000


def test_put_back_leaves_what_another_living_run_holds() -> None:
    edge = edge_in_flight(2500)
    edge.run("lock take --run B --break --ttl-s 60")
    assert refused(edge, "rollback --put-back --run A").exit_code == 4
    edge.time.advance(61)
    assert edge.run("rollback --put-back --run A")["action"] == "candidate"
    assert refused(edge, "rollback --put-back").exit_code == 2


def test_dry_run_tells_and_does_nothing() -> None:
    edge = edge_in_flight(500)
    before = dict(edge.disk.data), edge.proxy.green
    for words in ("move --run A --share-bp 2500", "rollback", "schema --run A --version 1 --last-contract 0"):
        result = edge.run(f"{words} --dry-run")
        assert (result["changed"], result["dry_run"]) == (True, True)
    assert (dict(edge.disk.data), edge.proxy.green) == before


def test_journal_holds_intent_and_result_with_the_whole_state() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 500 --phase canary")
    intent, result = edge.journal.tail(2)
    assert (intent["event"], intent["action"], intent["run"], intent["phase"]) == ("intent", "move", "A", "canary")
    assert intent["target"]["share_bp"] == 500
    assert (result["event"], result["state"]["share_bp"]) == ("result", 500)
    assert result["seq"] == intent["seq"] + 1


def test_runs_without_an_end_are_shown_as_unfinished() -> None:
    edge = edge_with_stable()
    edge.run("journal --run A --event start --action deploy")
    edge.run("journal --run B --event start --action deploy")
    edge.run("journal --run A --event intent --action lay --phase 2/7")
    edge.run("journal --run B --event end --action deploy")
    (left,) = edge.run("show")["unfinished"]
    assert (left["run"], left["last"]["action"], left["last"]["phase"]) == ("A", "lay", "2/7")


def left_behind() -> ModelEdge:
    """An edge whose run A died with a quarter of the users on its candidate."""
    edge = edge_in_flight(2500)
    edge.run("journal --run A --event start --action deploy")
    edge.run("lease arm --run A --lease-s 5")
    return edge


@pytest.mark.parametrize("words", ["rollback", "rollback --run R"])
def test_a_rollback_ends_the_dead_run_that_it_goes_back_from(words: str) -> None:
    edge = left_behind()
    edge.run(words)
    assert [run["run"] for run in edge.run("show")["unfinished"]] == []
    (end,) = [line for line in edge.journal.tail(50) if line["event"] == "end"]
    assert (end["run"], end["action"]) == ("A", "deploy")
    assert end["ended_by"] != "A"


def test_a_rollback_does_not_end_its_own_run() -> None:
    edge = left_behind()
    edge.run("journal --run rollback-7 --event start --action rollback")
    edge.run("rollback --run rollback-7")
    assert [run["run"] for run in edge.run("show")["unfinished"]] == ["rollback-7"]


def test_a_rollback_with_nothing_to_move_ends_the_dead_run_too() -> None:
    edge = edge_with_stable()
    edge.run("journal --run A --event start --action deploy")
    assert edge.run("rollback --run R")["action"] == "nothing"
    assert edge.run("show")["unfinished"] == []


def test_a_lease_that_ran_out_leaves_the_dead_run_for_a_person_to_see() -> None:
    edge = left_behind()
    edge.time.advance(6)
    Watch(edge).tick()
    assert edge.shares()["green"] == 0
    assert [run["run"] for run in edge.run("show")["unfinished"]] == ["A"]
    edge.run("rollback --run R")
    assert edge.run("show")["unfinished"] == []


def test_a_put_back_ends_no_other_run() -> None:
    edge = left_behind()
    edge.run("journal --run B --event start --action deploy")
    edge.run("rollback --put-back --run A")
    assert [run["run"] for run in edge.run("show")["unfinished"]] == ["A", "B"]


def with_contract_planned() -> ModelEdge:
    """An edge whose 1.1.0 serves and whose way back, 1.0.0, knows migrations up to 5; contract migration 7 began."""
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.run("prepare --run A --color blue", release=release("1.0.0", low=3, high=5))
    edge.run("move --run A --share-bp 10000")
    hand_over(edge, "blue")
    edge.run("schema --run A --version 5 --last-contract 2")
    edge.run("prepare --run A --color green", release=release("1.1.0", low=3, high=9))
    edge.run("move --run A --share-bp 10000")
    hand_over(edge, "green")
    edge.run("schema --run A --planned 7 --planned-contract 7")
    return edge


def test_a_rollback_to_a_release_that_a_planned_contract_migration_may_have_broken_is_refused() -> None:
    """The run died between the migration and its record: what it may have applied counts."""
    edge = with_contract_planned()
    edge.power_cut()
    fault = refused(edge, "rollback")
    assert fault.code == "target-schema"
    assert "contract migration 7 was begun by run A" in fault.observed
    assert "turnout-edge schema" in fault.remedy
    assert edge.run("show")["schema"]["planned"]["last_contract"] == 7
    assert edge.run("rollback --force", reason="nothing was applied: I looked")["forced"] is True


@pytest.mark.parametrize(("version", "last_contract", "fits"), [(5, 2, True), (6, 2, True), (7, 7, False)])
def test_the_truth_replaces_what_was_planned(version: int, last_contract: int, fits: bool) -> None:
    edge = with_contract_planned()
    edge.run(f"schema --run A --version {version} --last-contract {last_contract}")
    assert "planned" not in edge.run("show")["schema"]
    if fits:
        assert edge.run("rollback")["moved"] is True
    else:
        assert refused(edge, "rollback").code == "target-schema"


def test_what_is_planned_grows_only_and_says_nothing_twice() -> None:
    edge = with_contract_planned()
    assert edge.run("schema --run A --planned 7 --planned-contract 7")["changed"] is False
    edge.run("schema --run A --planned 6 --planned-contract 0")
    planned = edge.run("show")["schema"]["planned"]
    assert (planned["version"], planned["last_contract"]) == (7, 7)
    assert edge.run("show")["schema"]["version"] == 5


def test_a_plan_on_an_edge_that_knows_no_schema_is_the_bound() -> None:
    edge = edge_with_stable()
    edge.run("schema --run A --planned 4 --planned-contract 3")
    schema = edge.run("show")["schema"]
    assert (schema["version"], schema["last_contract"], schema["planned"]["last_contract"]) == (4, 0, 3)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--version 3",
        "--planned 3",
        "--planned 3 --planned-contract 4",
        "--version 3 --last-contract 0 --planned 4 --planned-contract 4",
        "--version 3 --planned-contract 1",
        "--planned -1 --planned-contract -1",
    ],
)
def test_a_schema_needs_one_sound_pair(words: str) -> None:
    fault = refused(edge_with_stable(), f"schema --run A {words}")
    assert (fault.code, fault.exit_code) == ("schema", 2)


def test_journal_keeps_what_it_is_given_apart_from_its_own_fields() -> None:
    edge = edge_with_stable()
    edge.run("journal --run A --event note --action x", json=json.dumps({"run": "forged", "state": {}}))
    line = edge.journal.tail(1)[0]
    assert (line["run"], line["detail"]) == ("A", {"run": "forged", "state": {}})


def test_ledger_entries_need_a_kind() -> None:
    edge = edge_with_stable()
    edge.run("ledger --run A", json='{"kind": "release", "release": "1.0.0"}')
    assert edge.run("ledger --tail 1")["lines"][0]["release"] == "1.0.0"
    assert refused(edge, "ledger --run A", json='{"release": "1.0.0"}').code == "ledger"


def test_a_release_is_in_quarantine_until_somebody_lets_it_go_again() -> None:
    edge = edge_with_stable()
    assert edge.run("show")["quarantine"] == {}
    edge.run("ledger --run A", json='{"kind": "quarantine", "release": "1.1.0", "sha256": "ab", "why": "5xx"}')
    edge.run("ledger --run A", json='{"kind": "release", "release": "1.0.0", "sha256": "cd"}')
    assert {sha: entry["why"] for sha, entry in edge.run("show")["quarantine"].items()} == {"ab": "5xx"}
    edge.run("ledger --run B", json='{"kind": "again", "sha256": "ab", "reason": "it was the queue"}')
    assert edge.run("show")["quarantine"] == {}
    edge.run("ledger --run B", json='{"kind": "quarantine", "release": "1.1.0", "sha256": "ab", "why": "again"}')
    assert list(edge.run("show")["quarantine"]) == ["ab"]


def test_show_tells_everything() -> None:
    edge = edge_in_flight(2500)
    shown = edge.run("show")
    assert shown["agree"] is True
    assert shown["serving"] == {"blue": 7500, "green": 2500}
    assert shown["live"] == {"green_bp": 2500, "reachable": True, "error": None}
    assert shown["lock"]["run"] == "A"
    blue = shown["backends"]["blue"]
    assert (blue["all_up"], blue["requests"], blue["hrsp_5xx"], blue["econ"], blue["sessions"]) == (True, 10, 1, 2, 3)
    assert shown["haproxy"] == {"version": "3.0.11", "pid": 7, "uptime_s": 5}


def test_show_works_with_haproxy_away() -> None:
    edge = edge_in_flight(2500)
    edge.proxy.running = False
    shown = edge.run("show")
    assert (shown["agree"], shown["backends"], shown["live"]["reachable"]) == (False, None, False)


def test_unknown_backend_is_an_error_that_names_those_there_are() -> None:
    edge = edge_in_flight(500)
    edge.proxy.backend_names = {"blue": "sample-blau", "green": "sample-green"}
    fault = refused(edge, "rollback")
    assert (fault.code, fault.exit_code) == ("unknown-backend", 2)
    assert "sample-blue" in fault.observed


def test_corrupt_state_is_told_and_recovered_from_the_journal() -> None:
    edge = edge_in_flight(2500)
    wanted = state_of(edge)
    edge.disk.data["/state/state.json"] = b'{"format": 1, "stab'
    fault = refused(edge, "move --run A --share-bp 5000")
    assert (fault.code, fault.exit_code) == ("state-corrupt", 2)
    assert "turnout-edge recover" in fault.remedy
    with pytest.raises(Trouble) as seen:
        edge.run("show")
    assert seen.value.facts["live"]["green_bp"] == 2500
    assert edge.run("recover")["agree"] is True
    assert state_of(edge) == wanted
    assert edge.run("recover")["changed"] is False


@pytest.mark.parametrize("left", [None, b"{", b"foreign"])
def test_a_rollback_goes_by_the_journal_where_the_state_is_lost(left: bytes | None) -> None:
    edge = edge_in_flight(2500)
    path = "/state/state.json"
    kept = edge.disk.data.pop(path)
    if left is not None:
        edge.disk.data[path] = kept.replace(b'"sample"', b'"another"') if left == b"foreign" else left
    assert "recovered from the journal" in edge.run("rollback")["message"]
    assert (state_of(edge).stable, edge.shares()) == ("blue", {"blue": 10_000, "green": 0})


def test_a_lock_can_be_given_back_where_the_state_cannot_be_read() -> None:
    edge = edge_in_flight(2500)
    edge.disk.data["/state/state.json"] = b"{"
    assert edge.run("lock release --run A")["message"] == "released"
    assert edge.load_lock()["holder"] is None


def test_a_lock_given_back_in_a_handover_whose_state_cannot_be_read_leaves_the_lease_to_end_it() -> None:
    edge = edge_in_flight(10_000)
    edge.run("lease arm --run A --lease-s 10")
    edge.run("ready --run A --color green")
    edge.disk.data["/state/state.json"] = b"{"
    edge.run("lock release --run A")
    assert edge.load_lease()["armed"] is True


def test_a_rollback_with_no_state_anywhere_says_what_to_type() -> None:
    edge = ModelEdge()
    edge.disk.data["/state/state.json"] = b"{"
    fault = refused(edge, "rollback")
    assert fault.code == "state-corrupt"
    assert "turnout-edge adopt --color blue|green" in fault.remedy


def test_lost_state_is_not_mistaken_for_a_fresh_edge() -> None:
    edge = edge_in_flight(2500)
    del edge.disk.data["/state/state.json"]
    assert refused(edge, "move --run A --share-bp 5000").code == "state-missing"
    edge.run("recover")
    assert edge.run("rollback")["moved"] is True


def test_recover_believes_haproxy_about_a_move_without_a_result() -> None:
    edge = edge_in_flight(500)
    edge.run("move --run A --share-bp 2500")
    lines = edge.disk.data["/state/journal.jsonl"].splitlines(keepends=True)
    edge.disk.data["/state/journal.jsonl"] = b"".join(lines[:-1])
    edge.disk.data["/state/state.json"] = b""
    edge.run("recover")
    assert state_of(edge).share_bp == 2500


def test_adopt_teaches_an_edge_that_knows_nothing() -> None:
    edge = ModelEdge()
    edge.disk.data[MAP] = b"green 10000\n"
    edge.proxy.green = 10_000
    edge.run("lock take --run A")
    fault = refused(edge, "prepare --run A --color blue", release=release("1"))
    assert "adopt" in fault.remedy
    edge.run("adopt --color green", release=release("1.0.0"))
    assert state_of(edge).stable == "green"
    assert edge.shares()["green"] == 10_000
    assert refused(edge, "adopt --color blue", release=release("2")).code == "already-known"


def test_apply_refuses_to_guess() -> None:
    edge = ModelEdge()
    edge.proxy.green = 10_000
    assert refused(edge, "apply").code == "no-state"


@pytest.mark.parametrize(
    "words", ["", "lock", "lock steal", "moves", "move", "move --share-bp five", "prepare --color red"]
)
def test_what_cannot_be_understood_is_a_usage_error(words: str) -> None:
    with pytest.raises(Trouble) as seen:
        ModelEdge().run(words)
    assert seen.value.exit_code == 2


def test_a_color_whose_login_is_closed_is_no_way_back_any_more() -> None:
    edge = edge_confirmed()
    before = state_of(edge)
    assert before.previous == "blue"
    result = edge.run("forget --run A --color blue", reason="its login is closed")
    assert (result["changed"], result["after"]["previous"]) == (True, None)
    assert "is no way back any more: its login is closed" in result["message"]
    assert edge.run("forget --run A --color blue --reason again")["changed"] is False
    assert edge.run("rollback")["action"] == "nothing"
    assert state_of(edge).stable == before.stable


def test_what_serves_or_is_released_is_not_forgotten() -> None:
    assert refused(edge_with_stable(), "forget --run A --color blue --reason x").code == "color-needed"
    assert refused(edge_in_flight(0), "forget --run A --color green --reason x").code == "color-needed"
