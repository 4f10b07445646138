"""Jobs installed as timers and under cron, heard of when they fail; and backup, expiry, drill and deploy at once."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drill_bed import Bed, make_bed
from harness import BIN, EDGES, Run, Turnout, refused
from test_7_schedule import Jobs


@pytest.fixture
def controller(turnout: Turnout, tmp_path: Path) -> Iterator[tuple[Turnout, tuple[str, ...]]]:
    """Make mon1 a controller for one test; whatever was scheduled is gone afterwards."""
    hosts = tmp_path / "hosts.yml"
    turnout.ssh("mon1", "rm -rf /opt/turnout")
    hosts.write_text("controller: {hosts: {mon1: {}}}\n")
    options = ("-i", "inventories/lab", "-i", str(hosts))
    yield turnout, options
    turnout.ssh("mon1", "rm -rf /opt/turnout")
    run = turnout.playbook("schedule", *options, "-e", '{"schedule_jobs": []}')
    assert run.rc == 0, run.tail
    for host in ("mon1", "data1"):
        assert turnout.ssh(host, "ls /etc/turnout/schedule") == ""
        assert "turnout-scheduled" not in turnout.ssh(host, "systemctl list-timers --all; ls /etc/cron.d")


def changed(run: Run) -> list[str]:
    """Return the lines of a run that tell of a change."""
    assert run.rc == 0, run.tail
    return [line for line in run.out.splitlines() if line.rstrip().endswith("changed")]


def alerts(turnout: Turnout) -> list[dict[str, Any]]:
    """Return the alerts about the job of this test that Alertmanager holds."""
    asked = "filter=alertname%3DScheduledJobFailed&filter=job_name%3Dprobe"
    address = f"http://{turnout.address('mon1')}:9093/api/v2/alerts?{asked}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def test_jobs_are_installed_once_run_alone_and_tell_when_they_fail(
    controller: tuple[Turnout, tuple[str, ...]],
) -> None:
    turnout, inventory = controller
    # Jobs that would find nothing to run are not installed.
    run = turnout.playbook("schedule", *inventory)
    refused(
        run,
        "schedule-missing",
        "mon1 does not have /opt/turnout, /opt/turnout/.venv/bin/ansible-playbook, /opt/turnout/inventories/lab",
    )
    assert turnout.ssh("mon1", "ls /etc/turnout/schedule 2>/dev/null || true") == ""
    # The place of the project is enough here: of its jobs none runs in this test.
    place = "/opt/turnout/.venv/bin"
    turnout.ssh(
        "mon1", f"mkdir -p {place} /opt/turnout/inventories/lab && install -m 755 /bin/true {place}/ansible-playbook"
    )
    probe = {"command": ["test", "-e", "/run/probe"], "directory": "/", "at": {"every_min": 1}}
    more = [{"name": "probe", "hosts": "controller", **probe}]
    options = (*inventory, "-e", json.dumps({"schedule_more_jobs": more}))
    assert changed(turnout.playbook("schedule", *options))
    assert changed(turnout.playbook("schedule", *options)) == []

    timers = turnout.ssh("mon1", "systemctl list-timers --no-legend 'turnout-scheduled-*'")
    for name in ("backup-full", "backup-diff", "backup-incr", "drill-latest", "drill-random", "recovery-report"):
        assert f"turnout-scheduled-{name}.timer" in timers
    assert "turnout-scheduled-heartbeat.timer" in turnout.ssh("data1", "systemctl list-timers --no-legend")
    units = "/etc/systemd/system/turnout-scheduled-*"
    assert turnout.ssh("mon1", f"systemd-analyze verify {units} 2>&1 | grep turnout-scheduled || true") == ""

    # What the timer starts fails, and Alertmanager hears of it.
    assert "turnout-scheduled-probe.service" in turnout.ssh("mon1", "systemctl list-timers 'turnout-scheduled-probe*'")
    turnout.ssh("mon1", "systemctl start turnout-scheduled-probe.service", check=False)
    assert "failed" in turnout.ssh("mon1", "systemctl is-failed turnout-scheduled-probe.service", check=False)
    deadline = time.monotonic() + 30
    while not alerts(turnout) and time.monotonic() < deadline:
        time.sleep(0.5)
    (alert,) = alerts(turnout)
    assert (alert["labels"]["job_name"], alert["labels"]["host"]) == ("probe", "mon1")
    assert alert["annotations"]["summary"] == "probe failed: it ended with exit code 1"
    assert "/var/lib/turnout-scheduled/probe/log/" in alert["annotations"]["action"]
    turnout.ssh("mon1", "systemctl stop turnout-scheduled-probe.timer; touch /run/probe; turnout-scheduled probe")
    deadline = time.monotonic() + 30
    while alerts(turnout) and time.monotonic() < deadline:
        time.sleep(1)
    assert alerts(turnout) == []
    turnout.ssh("mon1", "rm /run/probe; systemctl start turnout-scheduled-probe.timer")

    # Under cron the same jobs, and nothing of systemd's is left.
    assert changed(turnout.playbook("schedule", *options, "-e", "schedule_with=cron"))
    assert changed(turnout.playbook("schedule", *options, "-e", "schedule_with=cron")) == []
    table = turnout.ssh("mon1", "cat /etc/cron.d/turnout-scheduled")
    assert "root /usr/local/sbin/turnout-scheduled drill-latest" in table
    assert "turnout-scheduled" not in turnout.ssh("mon1", "systemctl list-timers --all --no-legend")
    assert turnout.ssh("mon1", f"ls {units} 2>/dev/null || true") == ""
    assert "postgres /usr/local/sbin/turnout-scheduled heartbeat" in turnout.ssh(
        "data1", "cat /etc/cron.d/turnout-scheduled"
    )


def locks(turnout: Turnout, name: str, since: int) -> list[dict[str, Any]]:
    """Return what the journal of an edge says of its lock, after line `since`."""
    lines = json.loads(turnout.ssh(name, "turnout-edge journal --tail 500"))["lines"]
    return [one for one in lines if one["seq"] > since and str(one["action"]).startswith("lock-")]


def test_backup_expiry_drill_and_deploy_at_the_same_time_run_one_after_the_other(
    on_1_0_0: Turnout, tmp_path: Path
) -> None:
    bed = make_bed(on_1_0_0)
    labels = {one["label"] for one in backups(bed)}
    jobs = Jobs(on_1_0_0, tmp_path)
    commands = {
        "backup": f"{BIN}/ansible-playbook turnout.ops.backup -e type=diff",
        "expiry": f"{BIN}/ansible postgres -b --become-user postgres -a 'pgbackrest --stanza=sample expire'",
        "drill": f"{BIN}/ansible-playbook turnout.ops.restore_drill",
    }
    names = list(commands)
    order_file = tmp_path / "order"
    for name, command in commands.items():
        say = f"echo $TURNOUT_RUN {{}} >> {order_file}"
        jobs.lay(name, f"{say.format('begin')}; {command}; code=$?; {say.format('end')}; exit $code")
    before = {
        name: json.loads(on_1_0_0.ssh(name, "turnout-edge journal --tail 1"))["lines"][-1]["seq"] for name in EDGES
    }
    running = [jobs.start(name) for name in names]
    deploy = on_1_0_0.start("deploy", "-e", "release=1.1.0")
    said = deploy.communicate(timeout=600)[0]
    ended = [process.communicate(timeout=600)[0] for process in running]

    # Each waited for the others, and ran.
    assert [process.returncode for process in running] == [0, 0, 0], (ended, [jobs.log(name)[-3000:] for name in names])
    order = [line.split() for line in order_file.read_text().splitlines()]
    assert [what for _, what in order] == ["begin", "end"] * 3
    assert all(order[i][0] == order[i + 1][0] for i in (0, 2, 4)), order
    assert len({run for run, _ in order}) == 3
    assert any("waiting for the lock of the edges" in jobs.log(name) for name in names)
    # The deploy either came to its turn, or was refused with who holds the lock.
    if deploy.returncode:
        assert "scheduled" in said[said.rfind("First cause") :]
        assert on_1_0_0.in_service() == "1.0.0"
    else:
        assert on_1_0_0.in_service() == "1.1.0"
    # And by the edges' own journals nobody ever took the lock from a living holder.
    for name in EDGES:
        seen = locks(on_1_0_0, name, before[name])
        assert [one["action"] for one in seen] == ["lock-taken", "lock-released"] * (len(seen) // 2)
        assert all(one.get("took_over") is None for one in seen)
        assert not on_1_0_0.edge(name)["lock"]["held"]
    # Nothing is lost: there is a new backup, the full one that it leans on was not expired, and a drill restores it.
    found = {one["label"]: one for one in backups(bed)}
    (new,) = set(found) - labels
    assert found[new]["reference"]
    assert set(found[new]["reference"]) <= set(found)
    assert not any(one["error"] for one in found.values())
    run = on_1_0_0.playbook("restore_drill")
    assert run.rc == 0, run.tail


def backups(bed: Bed) -> list[dict[str, Any]]:
    """Return what the repository says of its backups."""
    (stanza,) = json.loads(bed.turnout.ssh("data1", "cd / && sudo -u postgres pgbackrest --output=json info"))
    found: list[dict[str, Any]] = stanza["backup"]
    return found
