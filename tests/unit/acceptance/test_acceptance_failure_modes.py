"""The pack `failure-modes` against a real server: tables of transitions, writers at once, and moments of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from desk import CLOCK, CYCLE, TOGETHER, Desk, declaration
from desk_bed import ask, laid, repeated
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.moments import changes, moments, variables
from turnout.acceptance.outcome import Outcome
from turnout.faults import FaultsError

WHOLE: dict[str, Any] = {"life_cycles": [CYCLE], "together": [TOGETHER], "clock": CLOCK}
ORDER = "POST /orders/${order_id}"


def asked(desk: Desk, folder: Path, hooks: Hooks | None = None, **parts: Any) -> Outcome:
    return ask(desk, folder, declaration("failure-modes", failure_modes=parts), hooks)


@dataclass(frozen=True)
class Mutant:
    name: str
    part: str
    operation: str
    field: str
    what: str
    shows: str
    """What stands in what the requests get when they are repeated."""


MUTANTS = [
    Mutant("reopened after archive", "life_cycles", f"{ORDER}/reopen", "order: reopen in archived",
           "forbidden by the table, and answered 200", '"state": "open"'),
    Mutant("completed cannot be reopened", "life_cycles", f"{ORDER}/reopen", "order: reopen in done",
           "allowed by the table, and answered 409", "HTTP/1.1 409"),
    Mutant("refused and done", "life_cycles", f"{ORDER}/complete", "order: complete in canceled",
           "answered 409, and the state reads done; the table says canceled", '"state": "done"'),
    Mutant("forbidden crashes", "life_cycles", f"{ORDER}/cancel", "order: cancel in done",
           "forbidden by the table, and answered 500", "HTTP/1.1 500"),
    Mutant("reopens as canceled", "life_cycles", f"{ORDER}/reopen", "order: reopen in done",
           "answered 200, and the state reads canceled; the table says open", '"state": "canceled"'),
    Mutant("second cancel is lost", "life_cycles", f"{ORDER}/cancel", "order: cancel in open",
           "answered 200, and the state reads open; the table says canceled", '"state": "open"'),
    Mutant("update lost", "together", "PATCH /orders/${order_id}", "note and place: at once",
           r"PATCH /orders/\$\{order_id\} was accepted, and /(note|place) is another", "null"),
    Mutant("midnight in UTC", "clock", "GET /today", "clock: Europe/Berlin, midnight", "/date is 2027-06-14",
           '"date": "2027-06-14"'.replace("/date", "date")),
    Mutant("a day is 24 hours", "clock", "GET /today", "clock: Europe/Berlin, the day on which the clocks go back",
           "/tomorrow is 2028-10-29", "2028-10-29"),
    Mutant("standard time all year", "clock", "GET /today", "clock: America/New_York, midnight", "/date is", "200"),
    Mutant("29 February crashes", "clock", "GET /today", "clock: Europe/Berlin, 29 February", "answered 500", "500"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mutant_is_caught_and_its_requests_repeat_it(desk: Desk, tmp_path: Path, mutant: Mutant) -> None:
    desk.mutants = frozenset({mutant.name})
    part = WHOLE[mutant.part]
    if mutant.name == "second cancel is lost":
        part = [{**CYCLE, "walks": 20}]
    outcome = asked(desk, tmp_path, **{mutant.part: part})
    assert outcome.verdict == "fail"
    found = [one for one in outcome.findings if (one.operation, one.field) == (mutant.operation, mutant.field)]
    assert found, [(one.operation, one.field, one.what) for one in outcome.findings]
    assert re.search(mutant.what, found[0].what), found
    assert re.search(mutant.shows, repeated(found[0], outcome)), found[0].curl


def test_the_sound_application_passes_each_time(desk: Desk, tmp_path: Path) -> None:
    for number in range(10):
        one = {**CLOCK, "zones": CLOCK["zones"][number % 3 :][:1]}
        declared = declaration("failure-modes", failure_modes={**WHOLE, "clock": one}, seed=number)
        outcome = ask(desk, tmp_path, declared)
        assert (outcome.verdict, outcome.findings, outcome.unknown) == ("pass", (), ())


def test_the_same_seed_walks_the_same(desk: Desk, tmp_path: Path) -> None:
    first, second = (asked(desk, tmp_path, life_cycles=[CYCLE]).requests for _ in range(2))
    assert first == second


def test_without_a_clock_time_is_not_known(desk: Desk, tmp_path: Path) -> None:
    for clock, why in ((None, "failure_modes.clock"), ({**CLOCK, "header": None}, "--clock COMMAND")):
        outcome = asked(desk, tmp_path, clock=clock)
        assert (outcome.verdict, outcome.findings) == ("not known", ())
        assert why in outcome.unknown[0].why
    outcome = asked(desk, tmp_path, Hooks(clock="false"), clock={**CLOCK, "header": None})
    assert "the command of --clock: it ended with 1" in outcome.unknown[0].why


def test_a_command_sets_the_clock(desk: Desk, tmp_path: Path) -> None:
    script = tmp_path / "clock.sh"
    script.write_text(f'echo "$TURNOUT_NOW" >> {tmp_path}/clock\n')
    due = {"request": "GET /health", "at": "/status", "equals": "ok"}
    clock = {"zones": ["Europe/Berlin"], "asks": [due]}
    outcome = asked(desk, tmp_path, Hooks(clock=f"sh {script}"), clock=clock)
    assert outcome.verdict == "pass"
    assert "2028-03-26T01:00:00Z" in (tmp_path / "clock").read_text().split()


def test_what_cannot_be_read_is_not_known(desk: Desk, tmp_path: Path) -> None:
    outcome = asked(
        desk, tmp_path,
        life_cycles=[{**CYCLE, "read": {"request": "GET /nowhere"}}, {**CYCLE, "begin": "done", "name": "other"}],
        together=[{**TOGETHER, "writes": [{"request": "POST /nowhere", "leaves": [{"at": "/a", "equals": 1}]}] * 2}],
    )  # fmt: skip
    assert outcome.verdict == "not known"
    assert [one.why for one in outcome.unknown][:3] == [
        "its state cannot be read: GET /nowhere: answered 404",
        "an object that was just made does not read done: correct begin or read",
        "no writer was accepted (answered 404)",
    ]


def test_moments_are_those_of_the_zone() -> None:
    said = dict(moments("Europe/Berlin"))
    assert said["the clocks go forward"] == datetime(2028, 3, 26, 1, tzinfo=UTC)
    assert said["the clocks go back"] == datetime(2028, 10, 29, 1, tzinfo=UTC)
    assert variables(said["before end of February in a leap year"], "Europe/Berlin")["date"] == "2028-02-29"
    assert list(changes(ZoneInfo("Asia/Kathmandu"), 2028)) == []
    assert variables(datetime(2027, 1, 31, 12, tzinfo=UTC), "UTC")["next_month"] == "2027-02-28"
    assert variables(datetime(2027, 12, 31, 12, tzinfo=UTC), "UTC")["next_month"] == "2028-01-31"


@pytest.mark.parametrize(
    ("changed", "field", "remedy"),
    [
        ({"life_cycles": [{**CYCLE, "begin": "new"}]}, "life_cycles[0].begin", "add `new: {}` to allowed"),
        (
            {"life_cycles": [{**CYCLE, "allowed": {"open": {"comple": "open"}}}]},
            "life_cycles[0].allowed.open.comple",
            "rename it to complete",
        ),
        (
            {"life_cycles": [{**CYCLE, "allowed": {"open": {}, "far": {}}}]},
            "life_cycles[0].allowed.far",
            "remove it",
        ),
        ({"together": [{**TOGETHER, "writes": [{"request": "POST /a"}]}]}, "together[0].writes", "write the request"),
        ({"together": [{**TOGETHER, "read": None}]}, "together[0].read", "add `read"),
        ({"clock": {**CLOCK, "zones": ["Europe/Berln"]}}, "clock.zones[0]", "write Europe/Berlin"),
        ({"clock": {**CLOCK, "asks": [{**CLOCK["asks"][0], "equals": "${dat}"}]}}, "clock.asks[0].equals", "${date}"),
    ],
)
def test_what_is_wrong_is_told_with_field_and_remedy(
    tmp_path: Path, changed: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(FaultsError) as caught:
        laid(tmp_path, declaration("failure-modes", failure_modes=changed))
    told = {fault.path: fault.remedy for fault in caught.value.faults}
    assert remedy in told[f"acceptance.failure_modes.{field}"], told
