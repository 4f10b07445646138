"""Runbooks: each command in them can be run as it stands, and what could not is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from turnout import runbooks
from turnout.command.runbook import runbook
from turnout.errors import TurnoutError
from turnout.observe import load

NAMES = {
    "certificate", "database-outage", "dead-letters", "full-disk", "lost-edge", "push-provider-outage", "redis-outage",
    "restore", "rollback", "webhook-backlog",
}  # fmt: skip


def text_of(name: str) -> str:
    return (runbooks.PAGES / f"{name}.md").read_text()


def faults_of(name: str, old: str, new: str) -> list[str]:
    text = text_of(name)
    assert old in text
    return [fault.observed for fault in runbooks.check(runbooks.parse(name, text.replace(old, new)))]


def test_every_runbook_can_be_run_as_it_stands() -> None:
    assert set(runbooks.names()) == NAMES
    for name in NAMES:
        book = runbooks.load(name)
        assert [fault.as_dict() for fault in runbooks.check(book)] == []
        assert book.steps
        assert any(step.kind == "look" for step in book.steps)


@pytest.mark.parametrize(
    ("name", "old", "new", "observed"),
    [
        ("redis-outage", "turnout status", "turnout statsu", "turnout statsu"),
        ("redis-outage", "turnout status", "turnout status --quick", "--quick"),
        ("dead-letters", "list\n```", "list -e quue=QUEUE\n```", "-e quue"),
        ("restore", "restored=ID", "restore=ID", "-e restore"),
        ("restore", "turnout-drill remove ID", "turnout-drill delete ID", "turnout-drill delete"),
        ("rollback", "turnout-edge rollback", "turnout-edge rollback --now", "turnout-edge rollback --now"),
        ("rollback", "turnout-edge rollback", "turnout-edge rolback", "turnout-edge rolback"),
        ("rollback", "start-old: act, on api", "start-old: act, on apis", "apis"),
        ("rollback", "start-old: act", "start-old: do", "do"),
        ("rollback", "start-old: act, on api, at most 60 s", "start-old: act, on api", "# start-old: act, on api"),
        ("rollback", "at most 60 s", "at most 7200 s", "7200 s"),
        ("rollback", "systemctl start UNIT", "systemctl start UNITS", "UNITS"),
        ("rollback", "`ServerDown`", "`ServersDown`", "the alert ServersDown"),
        ("redis-outage", "systemctl start redis-server", "systemctl start redis", "the unit redis"),
        ("redis-outage", "systemctl start redis-server", "systemctl start 'haproxy*'", "systemctl start haproxy*"),
        ("redis-outage", "-u redis-server -n 50", "-u redisserver -n 50", "the unit redisserver"),
        ("redis-outage", "/var/lib/redis", "/var/lib/rediss", "the path /var/lib/rediss"),
        ("redis-outage", "free -m", "fre -m", "fre"),
        ("redis-outage", "free -m", "systemctl stop haproxy", "systemctl stop haproxy in a step that looks"),
        ("redis-outage", "free -m", "echo 'a", "echo 'a"),
        ("redis-outage", "see-redis: look", "see-redis: act", "act in First"),
        ("redis-outage", "start-redis: act", "start-redis: undo", "undo in Decide"),
        ("redis-outage", "see-service:", "see-redis:", "see-redis"),
        ("redis-outage", "60 s\nturnout status", "60 s\nansible-playbook turnout" ".ops.stts -e x=1",
         "ansible-playbook turnout" ".ops.stts"),
        ("lost-edge", "on controller, at most 60 s", "on edge, at most 60 s", "turnout, on edge"),
        ("lost-edge", "## Way back", "## Back", "sections: How it looks, First, Decide, Back"),
        ("lost-edge", "edge-watch.service\n", "edge-wach.service\n", "the unit turnout-edge-wach.service"),
        ("lost-edge", "\n## First", "\n" * 40 + "\n## First", "103 lines"),
        ("full-disk", "```sh\n# see-disk", "    df -h\n\n```sh\n# see-disk", "an indented block"),
    ],
)  # fmt: skip
def test_what_nobody_could_run_is_named(name: str, old: str, new: str, observed: str) -> None:
    assert observed in faults_of(name, old, new)


def test_tools_without_a_playbook_are_read_by_their_own_parser() -> None:
    ends = "turnout runbook list\n"
    page = text_of("redis-outage").replace("turnout status\n", ends)
    assert runbooks.check(runbooks.parse("redis-outage", page)) == []
    wrong = runbooks.parse("redis-outage", page.replace(ends, "turnout runbook list --wide\n"))
    assert [fault.expected for fault in runbooks.check(wrong)] == ["words that it takes"]


def test_what_stands_for_something_is_put_in_and_nothing_else() -> None:
    (step,) = [step for step in runbooks.load("restore").steps if step.name == "cut-over"]
    assert step.filled({"ID": "r-1", "SERVICE": "shop"}) == ["turnout restore -e restored=r-1 -e confirm=shop"]
    assert (step.kind, step.group, step.limit_s, step.section) == ("act", "controller", 900, "Decide")
    for bad in ({"ID": "r-1"}, {"ID": "r-1; reboot", "SERVICE": "shop"}, {"ID": "$(id)", "SERVICE": "shop"}):
        with pytest.raises(TurnoutError, match=r"step cut-over: (SERVICE is not given|ID is )"):
            step.filled(bad)


def test_a_person_lists_shows_and_checks(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "redis-outage" in run(runbook, ["list"]).output
    assert run(runbook, ["show", "rollback"]).output == text_of("rollback")
    told = json.loads(run(runbook, ["show", "rollback", "--format", "json"]).output)
    assert [step["name"] for step in told["steps"]][:2] == ["see-service", "go-back"]
    assert "ServerDown" in told["alerts"]
    assert run(runbook, ["check", "rollback"]).output.startswith("1 runbook with 6 steps: ")
    assert "turnout runbook show rollback" in str(run(runbook, ["show", "rolback"]).exception)
    assert "runbook-none" in str(run(runbook, ["check", "--folder", str(tmp_path)]).exception)
    (tmp_path / "own.md").write_text("# Own\n")
    assert "own.md:1" in str(run(runbook, ["check", "--folder", str(tmp_path)]).exception)


def test_an_alert_that_names_a_runbook_is_named_there() -> None:
    named = {alert.name: Path(alert.runbook).stem for alert in load.load().alerts if "runbooks/" in alert.runbook}
    assert len(named) >= 10
    assert {name: name in runbooks.load(book).alerts for name, book in named.items()} == dict.fromkeys(named, True)
