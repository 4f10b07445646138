"""When a scheduler's entries are due: cron expressions, time zones, and the gap that its handover waits for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from turnout import due
from turnout.faults import FaultsError
from turnout.keys import Wrong
from turnout.service import load

ROOT = Path(__file__).parents[3]
SERVICE: dict[str, Any] = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    "scheduler": {"command": "bin/scheduler"},
}


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("0 9 * * 1-5", "2026-11-30 09:00", True),  # a Monday
        ("0 9 * * 1-5", "2026-11-29 09:00", False),
        ("0 9 * * 1-5", "2026-11-30 09:01", False),
        ("0 9 * * sun", "2026-11-29 09:00", True),
        ("0 9 * * 7", "2026-11-29 09:00", True),
        ("0 9 * * 5-7", "2026-11-29 09:00", True),
        ("*/5 * * * *", "2026-11-30 10:35", True),
        ("*/5 * * * *", "2026-11-30 10:36", False),
        ("10-50/20 * * * *", "2026-11-30 10:30", True),
        ("10-50/20 * * * *", "2026-11-30 10:40", False),
        ("5/20 * * * *", "2026-11-30 10:45", True),
        ("1,31 2,14 * nov,dec *", "2026-11-30 14:31", True),
        ("0 0 13 * 5", "2026-11-13 00:00", True),  # the 13th or a Friday
        ("0 0 13 * 5", "2026-11-20 00:00", True),
        ("0 0 13 * 5", "2026-11-21 00:00", False),
        ("0 0 */2 * 1", "2026-11-30 00:00", False),  # an even day after the first, and a Monday
        ("0 0 */2 * 1", "2026-11-23 00:00", True),
        ("0 0 ? * *", "2026-11-23 00:00", True),
        ("@hourly", "2026-11-30 10:00", True),
        ("@weekly", "2026-11-30 00:00", False),
    ],
)
def test_an_expression_means_what_crontab_says(text: str, moment: str, expected: bool) -> None:
    at = datetime.strptime(moment, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()
    assert due.within([text], "UTC", [], at, at + 59) == ([{"name": text, "due": at}] if expected else [])


@pytest.mark.parametrize(
    "text", ["60 * * * *", "* * * *", "* * * * * *", "a * * * *", "5-1 * * * *", "*/0 * * * *", "* * 0 * *",
             "* * * 13 *", "* * * * 8", "0 0 31 2 *", "@often", "", "1- * * * *", None, 5],
)  # fmt: skip
def test_what_is_no_expression_is_refused_with_its_place(text: Any) -> None:
    with pytest.raises(Wrong):
        due.cron(text)
    with pytest.raises(FaultsError) as caught:
        load({**SERVICE, "scheduler": {"command": "bin/s", "due": [text]}}, base_dir=Path("/i"))
    assert "service.scheduler.due[0]" in str(caught.value)


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(FaultsError, match=r"service\.scheduler\.zone"):
        load({**SERVICE, "scheduler": {"command": "bin/s", "zone": "Mars/Olympus"}}, base_dir=Path("/i"))


def test_times_are_those_of_the_zone_also_when_its_clock_changes() -> None:
    def at(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    begin, end = at("2026-03-28T00:00+00:00"), at("2026-03-30T00:00+00:00")
    found = due.within(["0 9 * * *"], "Europe/Berlin", [], begin, end)
    assert [one["due"] for one in found] == [at("2026-03-28T08:00+00:00"), at("2026-03-29T07:00+00:00")]
    assert due.within(["0 9 * * *"], "UTC", [], at("2026-03-28T09:00+00:00"), at("2026-03-28T09:00:05+00:00"))
    assert not due.within(["0 9 * * *"], "UTC", [], at("2026-03-28T09:00:01+00:00"), at("2026-03-28T09:00:59+00:00"))
    shown = [{"name": "report", "due": begin + 7.5}, {"name": "later", "due": begin + 60}]
    assert due.within([], "UTC", shown, begin, begin + 15) == [shown[0]]
    assert due.untold(shown, begin + 8) == []  # it may be at it
    assert due.untold(shown, begin + 10) == ["report"]
    assert due.told(shown[:1]) == "report at 00:00:07"


LOOKED_S = 22 * 3600  # from midnight in UTC


@pytest.mark.parametrize(
    ("text", "zone", "day", "expected"),
    [
        # The clock goes from 02:00 to 03:00: what would have run between runs at once, what runs often as ever.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["01:00"]),
        ("15,45 1-3 * * *", "Europe/Berlin", "2026-03-29", ["00:15", "00:45", "01:00", "01:15", "01:45"]),
        ("30 * 29 3 *", "Europe/Berlin", "2026-03-29", [f"{hour:02}:30" for hour in range(22)]),
        ("30 2 * * *", "America/New_York", "2026-03-08", ["07:00"]),
        # It goes back from 03:00 to 02:00: once, at the first of both times; what runs often runs in both hours.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:30"]),
        ("30 1 * * *", "America/New_York", "2026-11-01", ["05:30"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25", ["00:00", "00:30", "01:00", "01:30"]),
        # Half an hour, on Lord Howe Island.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["15:30"]),
    ],
)
def test_a_change_of_the_clock_is_met_as_by_debian_s_cron(text: str, zone: str, day: str, expected: list[str]) -> None:
    begin = datetime.fromisoformat(f"{day}T00:00+00:00").timestamp()
    found = due.within([text], zone, [], begin, begin + LOOKED_S)
    assert [f"{datetime.fromtimestamp(one['due'], UTC):%H:%M}" for one in found] == expected
    # Also where one looks for a minute at a time.
    minutes = [due.within([text], zone, [], at, at + 59) for at in range(int(begin), int(begin) + LOOKED_S, 60)]
    assert [f"{datetime.fromtimestamp(one['due'], UTC):%H:%M}" for two in minutes for one in two] == expected


def gap(folder: Path, scheduler: dict[str, Any]) -> dict[str, Any]:
    """Return what the action says of a host that is this machine."""
    asked = {"state": "gap", "service": "shop", "color": "blue", "scheduler": scheduler}
    tasks = [
        {"turnout.ops.due": asked, "register": "found"},
        {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(folder / "found.json")}},
    ]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    (folder / "play.yml").write_text(json.dumps([play]))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "ANSIBLE_"))}
    env |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    env |= {"ANSIBLE_STDOUT_CALLBACK": "default", "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(folder / "play.yml")],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((folder / "found.json").read_text()))


def test_a_release_goes_on_at_once_where_nothing_is_due(tmp_path: Path) -> None:
    later = datetime.fromtimestamp(time.time() + 7200, UTC)
    found = gap(tmp_path, {"due": [f"{later.minute} {later.hour} * * *"], "zone": "UTC", "gap_s": 15, "wait_s": 60})
    assert (found["due"], found["told"]) == ([], "")


def test_a_release_waits_for_a_gap_no_longer_than_it_may_and_says_what_is_due(tmp_path: Path) -> None:
    found = gap(tmp_path, {"due": ["* * * * *"], "zone": "UTC", "gap_s": 90, "wait_s": 3})
    assert found["waited_s"] <= 10
    assert found["told"].startswith(
        "no gap of 90 s within 3 s, so the scheduler changes color now; due meanwhile: * * * * * at"
    )
    assert found["due"]


def test_entries_that_cannot_be_read_are_told_and_stop_nothing(tmp_path: Path) -> None:
    found = gap(tmp_path, {"shown_by": "asynq", "due": [], "gap_s": 15, "wait_s": 60})
    assert found["told"] == "the schedule is not known (there is no /etc/shop/blue.env), so nothing was waited for"
