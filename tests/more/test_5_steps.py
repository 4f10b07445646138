"""Commands of a release and directories that stay, on the lab: in order, put back, after the promotion, killed."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from harness import APPS, EDGES, Run, Turnout, refused, until

SHARED = {"path": "media", "hosts": "each"}
SAYS = "/bin/sh -c 'echo {} ${{TURNOUT_COLOR}} >> media/log'"


@pytest.fixture(scope="module", autouse=True)
def laid(turnout: Turnout) -> None:
    """Lay the program on the hosts."""
    run = turnout.playbook("site", "--tags", "service_host")
    assert run.rc == 0, run.tail


@pytest.fixture(autouse=True)
def log(turnout: Turnout) -> None:
    """Begin each test with 1.0.0 in service and nothing in the log that commands write."""
    turnout.ensure("1.0.0")
    for host in APPS:
        turnout.ssh(host, "rm -f /var/lib/sample/media/log")


def command(name: str, when: str, run: str = "", **more: Any) -> dict[str, Any]:
    """Return a command that writes its name and its color into the log, as does what undoes it."""
    return {"name": name, "when": when, "run": run or SAYS.format(name), "undo": SAYS.format(f"un{name}"), **more}


def deploy(turnout: Turnout, *commands: dict[str, Any]) -> Run:
    """Deploy 1.1.0 with these commands."""
    return turnout.deploy("1.1.0", *with_commands(turnout, *commands))


def with_commands(turnout: Turnout, *commands: dict[str, Any]) -> tuple[str, ...]:
    """Return the options that declare commands, and a directory for their log."""
    return turnout.with_service(commands=list(commands), directories=[SHARED])


def said(turnout: Turnout, host: str) -> list[str]:
    """Return what commands wrote on a host."""
    return turnout.ssh(host, "cat /var/lib/sample/media/log 2>/dev/null", check=False).splitlines()


def test_commands_run_at_their_moments_and_a_rollback_undoes_them(turnout: Turnout) -> None:
    asked = "/usr/bin/python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:${PORT}/api/health/\")'"
    commands = (
        command("start", "before_start", hosts="every"),
        command("answers", "before_traffic", asked, hosts="every"),
        command("warm", "before_traffic"),
        command("after", "after_promotion"),
        command("soft", "before_traffic", "/bin/false", undo=None, may_fail=True),
    )
    run = deploy(turnout, *commands)
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.1.0"
    assert "soft (/bin/false) ended with exit code 1" in run.out
    color = turnout.edge(EDGES[0])["stable"]
    assert said(turnout, APPS[0]) == [f"start {color}", f"warm {color}", f"after {color}"]
    assert said(turnout, APPS[1]) == [f"start {color}"]
    journal = turnout.ssh(EDGES[0], "tail -n 80 /var/lib/turnout/journal.jsonl")
    assert journal.count('"name": "warm"') + journal.count('"name":"warm"') == 2
    owner = turnout.ssh(APPS[0], f"stat -c '%U %a' /var/lib/sample/media; ls /opt/sample/{color}/media")
    assert owner.split() == ["sample", "750"], "on the host the release's own place is empty"
    seen = turnout.turnout("run", "--", "/bin/cat", "media/log")
    assert f"warm {color}" in seen

    back = turnout.rollback(*with_commands(turnout, *commands))
    assert back.rc == 0, back.tail
    assert turnout.in_service() == "1.0.0"
    assert said(turnout, APPS[0])[3:] == [f"un{name} {color}" for name in ("after", "warm", "answers", "start")]
    assert said(turnout, APPS[1])[1:] == [f"un{name} {color}" for name in ("answers", "start")]
    again = turnout.rollback(*with_commands(turnout, *commands))
    assert again.rc == 0, again.tail
    assert len(said(turnout, APPS[0])) == 7, "undone once"


def test_a_command_that_fails_before_traffic_puts_the_release_back(turnout: Turnout) -> None:
    fails = "/bin/sh -c 'echo half >> media/log; echo no such index; exit 3'"
    run = deploy(turnout, command("start", "before_start"), command("index", "before_traffic", fails))
    refused(run, "index (/bin/sh -c", "ended with exit code 3", "no such index", "turnout run --show")
    assert turnout.in_service() == "1.0.0"
    names = [line.split()[0] for line in said(turnout, APPS[0])]
    assert names == ["start", "half", "unindex", "unstart"]
    assert not turnout.ssh(APPS[0], "ls /var/lib/turnout-slots/sample/*.steps.json", check=False)


def test_a_command_that_fails_after_the_promotion_leaves_the_release(turnout: Turnout) -> None:
    run = deploy(turnout, command("bad", "after_promotion", "/bin/false"), command("more", "after_promotion"))
    assert run.rc == 2, run.tail
    assert "error[command-after]: 1.1.0 is in service and stays there" in run.out, run.tail
    assert "bad (/bin/false) ended with exit code 1" in run.out
    assert turnout.in_service() == "1.1.0"
    assert not turnout.edge(EDGES[0])["lock"]["held"]
    assert [line.split()[0] for line in said(turnout, APPS[0])] == ["more"]


def test_a_program_that_is_not_there_is_told_before_anything_is_touched(turnout: Turnout) -> None:
    run = deploy(turnout, command("none", "before_traffic", "bin/nothing"))
    refused(run, "there is no program", "service.commands[0].run")
    assert said(turnout, APPS[0]) == []


def test_its_time_limit_ends_it(turnout: Turnout) -> None:
    run = deploy(turnout, command("slow", "before_start", "/bin/sleep 4321", timeout_s=3))
    refused(run, "slow (/bin/sleep 4321) was ended after 3 s", "timeout_s")
    assert turnout.in_service() == "1.0.0"


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_is_put_back_with_what_its_command_did(turnout: Turnout, what: signal.Signals) -> None:
    slow = "/bin/sh -c 'echo half >> media/log; exec sleep 4321'"
    options = with_commands(turnout, command("start", "before_start"), command("slow", "before_traffic", slow))
    process = turnout.start("deploy", "-e", "release=1.1.0", *options)
    until(process, "5/7")
    deadline = time.monotonic() + 90
    while "half" not in said(turnout, APPS[0]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    turnout.kill(process, what)
    process.communicate(timeout=180)
    deadline = time.monotonic() + 90
    while [line.split()[0] for line in said(turnout, APPS[0])] != ["start", "half", "unslow", "unstart"]:
        assert time.monotonic() < deadline, said(turnout, APPS[0])
        time.sleep(1)
    deadline = time.monotonic() + 60
    while turnout.edge(EDGES[0])["lock"]["held"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert turnout.in_service() == "1.0.0"
    assert not turnout.ssh(APPS[0], "pgrep -af 'sleep 4321' | grep -v pgrep", check=False)


def test_check_names_the_commands_and_runs_none(turnout: Turnout) -> None:
    options = with_commands(turnout, command("start", "before_start"))
    run = turnout.deploy("1.1.0", *options, "--check")
    assert run.rc == 0, run.tail
    assert "commands: start (before_start, on one host)" in run.out
    assert said(turnout, APPS[0]) == []


def test_a_directory_without_a_word_on_two_hosts_and_one_that_is_not_mounted_are_refused(turnout: Turnout) -> None:
    run = turnout.deploy("1.1.0", *turnout.with_service(directories=[{"path": "media"}]))
    refused(run, "service.directories[0].hosts")
    mounted = [{"path": "elsewhere", "hosts": "shared_file_system"}]
    refused(turnout.deploy("1.1.0", *turnout.with_service(directories=mounted)), "own disk")
