"""Which cases the fault matrix has, and in which order."""

from __future__ import annotations

from collections import Counter

import pytest
from faults.cases import FAULT, FAULTS, RANDOM_MOMENTS, Timeline, cases, chosen, estimate_s, moments, parsed, within
from faults.inflict import Infliction
from hypothesis import given
from hypothesis import strategies as st

LINES = {
    "deploy": Timeline((("1/7 check | a #1", 0.0), ("2/7 lock | b #1", 2.0), ("6/7 move | b #1", 12.5)), 30.0),
    "rollback": Timeline((("1/3 traffic | move #1", 0.0), ("3/3 record | settle #1", 2.5)), 5.0),
}


def test_every_moment_is_cut_off_once_in_a_round_and_by_every_fault_in_all_rounds() -> None:
    tasks = sum(len(line.moments) for line in LINES.values())
    first = cases(LINES, 1)
    assert len(first) == tasks + RANDOM_MOMENTS
    assert len({(case.action, case.moment) for case in first}) == len(first)
    every = cases(LINES, 1, len(FAULTS))
    assert len(every) == len(first) * len(FAULTS)
    combined = Counter((case.action, case.moment, case.fault) for case in every)
    assert set(combined.values()) == {1}


def test_the_names_of_cases_are_unique_and_the_first_rounds_stay_the_same_when_there_are_more() -> None:
    every = cases(LINES, 1, len(FAULTS))
    assert len({case.name for case in every}) == len(every)
    assert every[: len(cases(LINES, 1))] == cases(LINES, 1)


def test_a_seed_gives_the_same_cases_again_and_another_seed_gives_others() -> None:
    assert cases(LINES, 7, 2) == cases(LINES, 7, 2)
    assert cases(LINES, 7) != cases(LINES, 8)


def test_every_beginning_of_the_order_is_a_spread_sample_of_the_faults() -> None:
    for length in (18, 36, 90):
        counts = Counter(case.fault for case in cases(LINES, 3)[:length])
        assert len(counts) == len(FAULTS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_fault_of_a_host_names_one_of_its_hosts_and_all_of_them_are_hit() -> None:
    hit = {fault.name: set() for fault in FAULTS}
    for case in cases(LINES, 1, len(FAULTS)):
        hit[case.fault].add(case.host)
    for fault in FAULTS:
        assert hit[fault.name] == (set(fault.hosts) or {""}), fault.name


@given(st.floats(0, 30))
def test_a_drawn_moment_is_the_last_task_before_it_and_the_time_since(at_s: float) -> None:
    line = LINES["deploy"]
    moment = line.drawn(at_s)
    assert line.at_s(moment) == pytest.approx(at_s, abs=0.001)
    later = [since for key, since in line.moments if since > dict(line.moments)[moment.key]]
    assert not later or at_s < min(later) + 0.001


def test_random_moments_fall_on_both_actions_and_all_over_them() -> None:
    drawn = [(action, moment) for action, moment in moments(LINES, 1) if moment.drawn]
    assert Counter(action for action, _ in drawn) == {"deploy": RANDOM_MOMENTS // 2, "rollback": RANDOM_MOMENTS // 2}
    at = sorted(LINES["deploy"].at_s(moment) for action, moment in drawn if action == "deploy")
    assert at[0] < 5
    assert at[-1] > 25


def test_a_filter_takes_the_cases_whose_name_has_every_part_of_it() -> None:
    every = cases(LINES, 1, len(FAULTS))
    found = chosen(every, "Deploy ; edge-frozen ; 6/7")
    assert found
    assert all(case.action == "deploy" and case.fault == "edge-frozen" and "6/7" in case.name for case in found)
    assert chosen(every, "") == every
    assert chosen(every, found[0].name) == [found[0]]
    assert chosen(every, "no such thing") == []


def test_a_budget_takes_a_beginning_of_the_order_that_fits_and_never_nothing() -> None:
    every = cases(LINES, 1)
    some = within(every, 600, LINES)
    assert some == every[: len(some)]
    assert 600 - 150 < sum(estimate_s(case, LINES) for case in some) <= 600
    assert len(within(every, 1, LINES)) == 1


def test_an_estimate_counts_how_long_the_fault_lasts() -> None:
    def of(fault: str) -> float:
        return estimate_s(next(case for case in cases(LINES, 1, len(FAULTS)) if case.fault == fault), LINES)

    assert of("asleep") > 60
    assert of("asleep") > of("ctrl-c") + 40


@pytest.mark.parametrize("name", sorted(FAULT))
def test_every_fault_of_the_table_can_be_put_in(name: str) -> None:
    assert callable(getattr(Infliction, "_" + name.replace("-", "_")))


def test_a_reboot_says_in_its_name_how_it_is_done() -> None:
    ways = {case.name.split(" / ")[1] for case in cases(LINES, 1, len(FAULTS)) if case.fault == "edge-rebooted"}
    assert {way.partition(" ")[2].partition(" ")[2] for way in ways} == {"in order", "power cut"}


def test_the_name_of_a_case_is_enough_to_run_it_again_anywhere() -> None:
    for case in cases(LINES, 1, len(FAULTS)):
        again = parsed(case.name)
        assert again.name == case.name
        assert (again.action, again.fault, again.host, again.moment) == (
            case.action,
            case.fault,
            case.host,
            case.moment,
        )
        assert again.orderly == case.orderly or not case.fault.endswith("rebooted")


def test_a_name_from_a_lab_that_was_on_the_other_color_names_the_same_moment() -> None:
    names = [f"deploy / ctrl-c / 6/7 traffic | Have every edge ready: {color} #1" for color in ("blue", "green")]
    assert {parsed(name).moment.key for name in names} == {"6/7 traffic | Have every edge ready: COLOR #1"}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "deploy",
        "deploy / no-such-fault / x",
        "restore / ctrl-c / x",
        "deploy / edge-frozen / x",
        "deploy / edge-frozen app1 / x",
        "deploy / ctrl-c edge1 / x",
    ],
)
def test_what_is_no_name_of_a_case_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parsed(wrong)
