"""Timers and the take-over in the service file: what may stand there, and what a release lays of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from service_examples import small
from turnout.faults import FaultsError
from turnout.service import Service
from turnout.service import load as load_service
from turnout.service.units import drop_ins

NIGHTLY = {"command": "bin/report --all", "on_calendar": "Mon..Fri 09:00 Europe/Berlin", "persistent": True}


def load(file: dict[str, Any]) -> Service:
    return load_service(file, base_dir=Path("/inventory"))


def told(file: dict[str, Any]) -> str:
    """Return the faults of a service file."""
    with pytest.raises(FaultsError) as error:
        load(file)
    return "\n".join(f"{one.path}: {one.observed}; {one.expected}; {one.remedy}" for one in error.value.faults)


def with_timers(**timers: Any) -> dict[str, Any]:
    return {**small(), "timers": timers}


def test_a_timer_is_a_process_of_its_own_name() -> None:
    laid = drop_ins(
        load(with_timers(nightly=NIGHTLY, **{"clean-up": {**NIGHTLY, "on_calendar": ["daily", "*:0/5"]}})), "blue"
    )
    text = laid["shop-timer-nightly@blue.service.d/turnout.conf"]
    assert "ExecStart=/opt/shop/blue/bin/report --all" in text
    assert "TimeoutStartSec=3600" in text and "X-Turnout-Drain=10" in text
    declared = json.loads(text.partition("X-Turnout-Timer=")[2].splitlines()[0])
    assert declared == {"on_calendar": [NIGHTLY["on_calendar"]], "persistent": True, "random_delay_s": 0}
    more = laid["shop-timer-clean-up@blue.service.d/turnout.conf"].partition("X-Turnout-Timer=")[2].splitlines()[0]
    assert json.loads(more)["on_calendar"] == ["daily", "*:0/5"]


@pytest.mark.parametrize(
    ("timers", "words"),
    [
        ({"nightly": {"command": "bin/report"}}, "service.timers.nightly.on_calendar: no such key"),
        ({"nightly": {**NIGHTLY, "on_calendar": []}}, "service.timers.nightly.on_calendar"),
        ({"nightly": {**NIGHTLY, "on_calendar": "daily\nExecStart=/bin/sh"}}, "a time of one line"),
        ({"nightly": {**NIGHTLY, "on_calendar": 5}}, "service.timers.nightly.on_calendar"),
        ({"my-worker": NIGHTLY}, "no word that is one of"),
        ({"Nightly": NIGHTLY}, "1 to 31 lower-case letters"),
        ({"a" * 32: NIGHTLY}, "1 to 31 lower-case letters"),
        ({"nightly": {**NIGHTLY, "command": "bin/report ${NOBODY}"}}, "service.timers.nightly.command: ${NOBODY}"),
        ({"nightly": {**NIGHTLY, "every": "1h"}}, "a key that Turnout does not know"),
        ("nightly", "service.timers"),
    ],
)
def test_what_is_no_timer_is_refused_where_it_stands(timers: Any, words: str) -> None:
    assert words in told({**small(), "timers": timers})


@pytest.mark.parametrize(
    ("takeover_s", "fault"), [(None, ""), (60, ""), (54, "at least 55 s"), (10, "45"), ("on", "number")]
)
def test_the_time_of_a_takeover_leaves_time_to_stop(takeover_s: object, fault: str) -> None:
    file = {**with_timers(nightly=NIGHTLY), "takeover_s": takeover_s}
    if not fault:
        assert load(file).takeover_s == takeover_s
        return
    assert fault in told(file) and "service.takeover_s" in told(file)


def test_the_public_form_shows_timers_as_plain_values() -> None:
    shown = load(with_timers(nightly=NIGHTLY)).public()["timers"]
    assert json.loads(json.dumps(shown))["nightly"]["on_calendar"] == [NIGHTLY["on_calendar"]]
