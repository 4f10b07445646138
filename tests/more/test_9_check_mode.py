"""`--check` of every playbook, on hosts with a release in service and backups: it ends well and changes nothing.

Options that would run a part of a story are refused on the same hosts.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import snapshot
from harness import APPS, EDGES, ROOT, Run, Turnout, refused

HOSTS = (*EDGES, *APPS, "data1", "mon1")
# Files that hosts keep, with owner, mode, time and size; the units as they run; what the database server has. Not what
# timers of the hosts write for themselves (the reaper's and the peers' own notes), nor the lock of the edge's program.
FILES = (
    "find /etc /usr/local /opt /var/lib/turnout* /var/lib/postgresql/turnout-restore /etc/systemd/system"
    " -not -path '*/__pycache__*' -not -name '*.pyc' -not -path /var/lib/turnout/flock"
    " -printf '%p %u %m %s %T@ %l\\n' 2>/dev/null | sort -u"
)
UNITS = (
    "systemctl list-unit-files --no-legend --plain 'sample-*' 'turnout-*' 'haproxy*' 'postgresql*' 'redis*';"
    " systemctl show --property=Id,InvocationID,ActiveState 'sample-*.service' haproxy 'postgresql@*' redis-server"
)
DATABASE = "cd / && sudo -u postgres psql -Atc 'SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles'"
LEDGER = "turnout-edge ledger --tail 100000; turnout-edge journal --tail 100000"

# Every playbook, what it is told, and what it says that it would do. mon1 is a controller, for the schedule.
SAID: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alert_drill": ((), ("would make", "HostDown (page)")),
    "acceptance": (
        ("-e", "release=1.1.0"),
        ("1.1.0 is asked contract, compatible, access", "with 1.0.0", "would restore the backup of data1 on mon1"),
    ),
    "backup": (("-e", "type=full"), ("would take a backup of type full of data1 into each repository",)),
    "check": ((), ("fit together",)),
    "checklist": (("-e", "release=1.1.0"), ("not configured",)),
    "deploy": (
        ("-e", "release=1.1.0"),
        (
            "sample 1.1.0 with configuration ", " goes to ", "would lay 1.1.0-",
            "in service: 1.0.0 with configuration ", "PENDING, as the edges have it on record",
            "5 %, 25 %, 100 % of the traffic, by the clock",
            "and promote it; 1.0.0 with configuration ", " would stay warm for a rollback",
        ),
    ),
    "doors": ((), ("Who may come in",)),
    "exposure": ((), ()),
    "migration_check": (
        ("-e", "release=1.1.0"),
        ("would rehearse the migrations of 1.1.0-", "on mon1, on an empty database", "in service: 1.0.0-"),
    ),
    "recovery_report": ((), ("Release gate", "page: ")),
    "rehearse_rollback": (
        ("-e", "failing=1.2.0", "-e", "good=1.1.0"),
        ("would release 1.2.0, which must go back by itself, then 1.1.0",),
    ),
    "restore": (
        ("-e", "target=time", "-e", 'at="2026-01-31 02:50:00+00:00"', "-e", "confirm=sample"),
        (
            "would restore PostgreSQL as of time 2026-01-31 02:50:00+00:00 from repository 1",
            "would then put what it restored into the place of what serves",
        ),
    ),
    "restore_drill": (
        (),
        ("would restore the backup of data1 from repository 1 (latest)", "on mon1 with Redis", "start 1.0.0-"),
    ),
    "restore_redis": ((), ("would restore Redis as of the latest", "would leave it beside what serves")),
    "rollback": ((), ("serves",)),
    "schedule": (("-e", '{"schedule_needs": []}'), ("Lay the units", "Make a folder for each job's output")),
    "site": ((), ()),
    "status": ((), ("lock",)),
    "trace": ((), ("haproxy",)),
    "unlock": ((), ("no lock is held: nothing to do",)),
    "watch": ((), ("Lay the guard's unit",)),
}  # fmt: skip
# Those of a run that changes nothing: none of a keeper, and none that a later run reads.
OF_THE_RUN = {"events.jsonl", "playbook.pid", "phase", "ended", "checklist.json", "recovery.html"}


@pytest.fixture(scope="module")
def ready(turnout: Turnout) -> Turnout:
    """Return the lab with 1.0.0 in service, and a backup of it."""
    turnout.ensure("1.0.0")
    run = turnout.playbook("backup", "-e", "type=full")
    assert run.rc == 0, run.tail
    return turnout


@pytest.fixture
def inventory(tmp_path: Path) -> tuple[str, ...]:
    """Return the options for an inventory in which mon1 is a controller."""
    (tmp_path / "hosts.yml").write_text("controller: {hosts: {mon1: {}}}\n")
    return "-i", "inventories/lab", "-i", str(tmp_path / "hosts.yml")


def all_of(turnout: Turnout) -> dict[str, Any]:
    """Return all that a run with --check must leave as it was."""
    found: dict[str, Any] = {host: turnout.ssh(host, f"{FILES}; {UNITS}", check=False).splitlines() for host in HOSTS}
    found["database"] = turnout.ssh("data1", DATABASE).split()
    found["ledgers"] = [turnout.ssh(name, LEDGER, check=False).splitlines() for name in EDGES]
    return {**found, **snapshot(turnout)}


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what differs, for each place."""
    found = {}
    for place, one in before.items():
        other = after[place]
        if one != other:
            lines = isinstance(one, list) and all(isinstance(line, str) for line in one)
            found[place] = sorted(set(one) ^ set(other))[:20] if lines else (one, other)
    return found


def ended_well(turnout: Turnout, run: Run) -> None:
    assert run.rc == 0, run.tail
    assert "done (--check: no host was changed)" in run.out
    assert "Traceback" not in run.out
    left = {path.name for path in turnout.folder(run).iterdir() if not path.name.startswith("ledger-")}
    assert left <= OF_THE_RUN


def test_every_playbook_is_looked_at() -> None:
    names = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    # tests/unit/forge has forge_policy's --check, against a forge; `turnout run` refuses it (tests/unit/command), and
    # test_5_rotation.py has that of rotate, on a service that declares one; tests/unit has those of dead_letters and
    # logs_scan.
    assert names - {"forge_policy", "run", "rotate", "dead_letters", "logs_scan"} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_it_ends_well_says_what_it_would_do_and_changes_nothing(
    ready: Turnout, inventory: tuple[str, ...], name: str
) -> None:
    options, words = SAID[name]
    if name == "trace":
        with urllib.request.urlopen(f"http://{ready.address(EDGES[0])}/api/health/", timeout=10) as answer:
            options = ("-e", f"id={answer.headers['X-Request-ID']}")
    # A lab on which 1.1.0 served before has its migration.
    schema = ready.edge(EDGES[0])["schema"]["version"]
    pending = "would migrate nothing" if schema >= 2 else "would name a restore point and apply 0002_task_priority"
    before = all_of(ready)
    run = ready.playbook(name, "--check", *inventory, *options)
    ended_well(ready, run)
    for word in words:
        assert word.replace("PENDING", pending) in run.out, run.tail
    assert differences(before, all_of(ready)) == {}


def test_what_would_be_refused_is_refused_with_check_too(ready: Turnout) -> None:
    before = all_of(ready)
    refused(ready.playbook("deploy", "--check", "-e", "release=9.9.9"), "9.9.9")
    refused(ready.playbook("deploy", "--check"), "error[release-unnamed]")
    refused(ready.playbook("restore", "--check", "-e", "confirm=other"), "error[restore-asked]")
    for name in ("restore", "restore_redis"):
        run = ready.playbook(name, "--check", "-e", "restored=nothing-here", "-e", "confirm=sample")
        refused(run, "error[restore-unknown]", "nothing-here", "turnout-drill list")
    refused(ready.playbook("restore_drill", "--check", "-e", "mode=never"), "error[drill-asked]")
    for host in EDGES:
        ready.ssh(host, "turnout-edge lock take --run other --owner ann@laptop --purpose deploy --ttl-s 60")
    held = all_of(ready)
    refused(ready.playbook("deploy", "--check", "-e", "release=1.1.0"), "ann@laptop")
    run = ready.playbook("unlock", "--check", "-e", "break_glass=test")
    assert (run.rc, "would release the lock of run other" in run.out) == (0, True), run.tail
    assert differences(held, all_of(ready)) == {}
    for host in EDGES:
        ready.ssh(host, "turnout-edge --run other lock release")
    for seen in (before, after := all_of(ready)):
        # The lock of this test is on the record of the edges.
        for place in (*EDGES, "ledgers", "edges"):
            seen.pop(place)
    assert differences(before, after) == {}


def test_a_part_of_a_story_is_refused_before_anything_is_touched(ready: Turnout) -> None:
    before = all_of(ready)
    for options, words in (
        (("--limit", "app1"), ("error[deploy-limited]", "left out of the release: app2, data1, edge1, edge2, mon1")),
        (("--limit", "localhost,edge,api,worker"), ("error[deploy-limited]", "left out of the release: data1, mon1")),
        (("--start-at-task", "Confirm the candidate"), ("error[story-cut]",)),
        (("--step",), ("error[story-cut]",)),
    ):
        refused(ready.playbook("deploy", "-e", "release=1.1.0", *options), *words)
    run = ready.playbook("deploy", "-e", "release=1.1.0", "--tags", "always")
    assert (run.rc, "error[nothing-done]" in run.out) == (2, True), run.tail
    assert differences(before, all_of(ready)) == {}


def test_a_rollback_says_where_it_would_go_and_stays(ready: Turnout) -> None:
    ready.ensure("1.1.0")
    before = all_of(ready)
    run = ready.playbook("rollback", "--check")
    ended_well(ready, run)
    assert json.dumps(ready.edge(EDGES[0])["releases"]).count("1.0.0") > 0
    assert "1.0.0" in run.out[run.out.rfind("3/3 record") :], run.tail
    assert differences(before, all_of(ready)) == {}
    again = ready.playbook("deploy", "--check", "-e", "release=1.1.0")
    ended_well(ready, again)
    assert "is in service already" in again.out
    assert differences(before, all_of(ready)) == {}
