"""The checklist on the lab: each check passes, fails for real, and is not known, while users are served.

One run of checklist.yml looks at everything, so that several causes are made at once and each row is asserted; what
must not move does not (the last test counts requests).
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drill_bed import make_bed
from harness import EDGES, ROOT, Run, Turnout
from turnout.lab.topology import host_named

sys.path.insert(0, str(ROOT / "tests" / "unit" / "forge"))

import forge_server
from forge_server import FakeForge, forge

__all__ = ["forge"]

CHECKLIST = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/checklist.yml").read_text())["checklist"]


def look(turnout: Turnout, *options: str, release: str = "1.1.0") -> tuple[Run, dict[str, dict[str, Any]]]:
    """Go through the checklist; return the run and every row by `check@subject`."""
    run = turnout.playbook("checklist", "-e", f"release={release}", "-e", "format=json", *options)
    assert "Traceback" not in run.out, run.tail
    assert "\n}" in run.out, run.tail
    text = run.out[run.out.index("{\n") : run.out.rindex("\n}") + 2]
    rows = json.loads(text)["results"]
    return run, {row["check"] + ("@" + row["subject"] if row["subject"] else ""): row for row in rows}


def changed(tmp_path: Path, **parts: Any) -> str:
    """Return the option that sets the lab's own checklist with parts replaced; templates in it stay templates."""
    file = tmp_path / f"checklist-{time.monotonic_ns()}.yml"
    file.write_text(yaml.safe_dump({"checklist": {**CHECKLIST, **parts}}))
    return f"@{file}"


def verdicts(rows: dict[str, dict[str, Any]], *names: str) -> dict[str, str]:
    return {name: rows[name]["verdict"] for name in names}


# One migration of our own that no test applies, so that it is pending whatever ran on this lab before.
MINE = "0003_mine"
PENDING = "1.1.60"


@pytest.fixture(scope="module")
def pending_release(turnout: Turnout) -> str:
    """Publish a release with a pending migration that squawk finds fault with; return its version."""
    release_with(turnout, PENDING, "CREATE INDEX tasks_by_title ON tasks (title);", "DROP INDEX tasks_by_title;")
    return PENDING


@pytest.fixture(scope="module")
def lost_exporter(turnout: Turnout) -> Iterator[str]:
    """Stop the exporter of a host: a minute later its page fires. Meanwhile other tests run."""
    turnout.ssh("edge2", "systemctl stop prometheus-node-exporter")
    yield "edge2"
    turnout.ssh("edge2", "systemctl start prometheus-node-exporter")


def migration_of(turnout: Turnout, version: str) -> dict[str, Any]:
    """Return what a release's manifest says of our own migration."""
    manifest = yaml.safe_load((Path(turnout.source) / f"sample-{version}.release.yml").read_text())
    return next(one for one in manifest["migrations"] if one["id"] == MINE)


def reviewed(turnout: Turnout, folder: Path, version: str) -> dict[str, str]:
    """Let somebody sign that our own migration was reviewed; return what the checklist needs to know."""
    folder.mkdir()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    (folder / "reviewers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    said = folder / MINE
    said.write_text(f"reviewed migration {MINE} sha256 {migration_of(turnout, version)['sha256']}\n")
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "turnout-migration-review", "-f", str(key), str(said)]
    subprocess.run(sign, check=True, capture_output=True)
    return {"reviewers": str(folder / "reviewers"), "statements": str(folder)}


def slo(folder: Path, name: str, target: float, good: str, total: str) -> None:
    """Write an objective."""
    folder.mkdir(exist_ok=True)
    source = {"metricSource": {"type": "Prometheus", "spec": {"query": good}}}
    whole = {"metricSource": {"type": "Prometheus", "spec": {"query": total}}}
    written = {
        "apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": name, "displayName": name},
        "spec": {
            "service": "sample", "budgetingMethod": "Occurrences", "objectives": [{"target": target}],
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "indicator": {
                "metadata": {"name": name}, "spec": {"ratioMetric": {"counter": True, "good": source, "total": whole}},
            },
        },
    }  # fmt: skip
    (folder / f"{name}.yml").write_text(yaml.safe_dump(written))


def test_everything_passes_on_a_healthy_lab(on_1_0_0: Turnout, pending_release: str, tmp_path: Path) -> None:
    """With everything configured but what needs a drill, a rehearsal or a forge: those have tests of their own."""
    total = 'http_request_duration_seconds_count{job="sample-api",path="/api/tasks/"}'
    slo(tmp_path / "slos", "half", 0.5, total.replace("_count{", "_bucket{").replace("}", ',le="+Inf"}'), total)
    with on_1_0_0.load(rate=20, seconds=8, mix="tasks=1") as load:
        load.process.wait(timeout=60)
    time.sleep(3)
    signed = reviewed(on_1_0_0, tmp_path / "reviews", pending_release)
    window = {"name": "past", "zone": "UTC", "from": "2020-01-01 00:00", "to": "2020-01-02 00:00"}
    option = changed(
        tmp_path,
        slos={"folder": str(tmp_path / "slos")},
        freeze=[window],
        migrations={"allowed": ["require-concurrent-index-creation"], **signed},
        waivers=[waiver(check="migrations-rehearsed", release=pending_release)],
    )  # fmt: skip
    run, rows = look(on_1_0_0, "-e", option, release=pending_release)
    wrong = {name: row for name, row in rows.items() if row["verdict"] not in ("pass", "not configured")}
    assert set(wrong) == {"migrations-rehearsed"}, wrong
    assert run.rc == 0, run.tail
    passed = {row["check"] for row in rows.values() if row["verdict"] == "pass"}
    assert {
        "disk", "memory", "clock", "environment", "rollback-target", "postgres", "postgres-connections",
        "postgres-transactions", "redis", "redis-memory", "redis-persistence", "queue", "outgoing", "certificate", "s3",
        "alerts", "migrations-kind", "slo-budget", "freeze", "migrations-reviewed", "migrations-linted", "reachable",
        "postgres-replication", "postgres-disk",
    } <= passed  # fmt: skip
    assert " expand, 0 contract" in rows["migrations-kind"]["evidence"]


def put(turnout: Turnout, host: str, path: str, text: str) -> None:
    """Lay a small program on a host."""
    content = base64.b64encode(text.encode()).decode()
    turnout.ssh(host, f"echo {content} | base64 -d >{path} && chmod 755 {path}")


@contextlib.contextmanager
def a_full_disk(turnout: Turnout) -> Iterator[None]:
    turnout.ssh("app2", "mkdir -p /srv/small && mount -t tmpfs -o size=4m tmpfs /srv/small")
    try:
        yield
    finally:
        turnout.ssh("app2", "umount /srv/small")


@contextlib.contextmanager
def an_expired_certificate(turnout: Turnout) -> Iterator[None]:
    days = "-not_before 20200101000000Z -not_after 20200201000000Z"
    make = f"openssl req -x509 -newkey ed25519 -nodes -subj /CN=old -keyout /root/old.key -out /root/old.pem {days}"
    turnout.ssh("edge1", make + " 2>/dev/null")
    try:
        yield
    finally:
        turnout.ssh("edge1", "rm -f /root/old.key /root/old.pem")


@contextlib.contextmanager
def a_clock_that_is_off(turnout: Turnout) -> Iterator[None]:
    """Let `date`, which the checklist asks, tell a time that is a minute ahead: a container has no clock of its own."""
    put(turnout, "mon1", "/usr/local/sbin/date", "#!/bin/sh\nexec /bin/date -d '+1 min' \"$@\"\n")
    try:
        yield
    finally:
        turnout.ssh("mon1", "rm -f /usr/local/sbin/date")


@contextlib.contextmanager
def a_filled_queue(turnout: Turnout) -> Iterator[None]:
    """Fill a queue that no worker takes from."""
    entry = json.dumps({"at": time.time() - 600}, separators=(",", ":")).replace('"', '\\"')
    put(turnout, "data1", "/root/fill", "".join(f'LPUSH test:stuck "{entry}"\n' for _ in range(6)))
    turnout.ssh("data1", f"{redis_cli()} </root/fill")
    try:
        yield
    finally:
        turnout.ssh("data1", f"echo DEL test:stuck | {redis_cli()}")


def redis_cli() -> str:
    return "REDISCLI_AUTH=$(cat /etc/redis/turnout-admin) redis-cli --user admin"


@contextlib.contextmanager
def a_variable_too_many(turnout: Turnout) -> Iterator[None]:
    """Let the environment that is laid on one host differ from the other's."""
    file = f"/etc/sample/{turnout.edge('edge1')['stable']}.env"
    turnout.ssh("app2", f"cp -p {file} /root/env.kept && echo FORGOTTEN=1 >>{file}")
    try:
        yield
    finally:
        turnout.ssh("app2", f"mv /root/env.kept {file}")


@contextlib.contextmanager
def a_way_back_that_is_down(turnout: Turnout) -> Iterator[None]:
    """Stop the release in service on one host, and wait until HAProxy knows."""
    unit = f"sample-api@{turnout.edge('edge1')['stable']}"
    turnout.ssh("app2", f"systemctl stop {unit}")
    try:
        time.sleep(5)
        yield
    finally:
        turnout.ssh("app2", f"systemctl start {unit}")
        time.sleep(4)


@contextlib.contextmanager
def an_application_that_may_not_write(turnout: Turnout) -> Iterator[None]:
    as_postgres = "cd / && sudo -u postgres psql -q -c"
    turnout.ssh("data1", f"{as_postgres} 'ALTER ROLE sample_app SET default_transaction_read_only = on'")
    try:
        yield
    finally:
        turnout.ssh("data1", f"{as_postgres} 'ALTER ROLE sample_app RESET default_transaction_read_only'")


@pytest.mark.usefixtures("lost_exporter")
def test_what_is_wrong_for_real_fails_and_all_of_it_is_shown(
    on_1_0_0: Turnout, pending_release: str, tmp_path: Path
) -> None:
    turnout = on_1_0_0
    bucket = 'http_request_duration_seconds_bucket{job="sample-api",path="/api/tasks/",le="0.005"}'
    slo(tmp_path / "slos", "dream", 0.99999, bucket, bucket.replace("_bucket{", "_count{").replace(',le="0.005"', ""))
    slo(tmp_path / "slos", "nothing", 0.99, "no_such_good_total", "no_such_total")
    window = {"name": "now", "zone": "Europe/Berlin", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    option = changed(
        tmp_path,
        hosts={**CHECKLIST["hosts"], "paths": ["/", "/srv/small"], "disk_free_mb": 100, "memory_free_percent": 99.9},
        certificates=[{"name": "old", "file": "/root/old.pem", "group": "edge"}],
        queues=[{"name": "stuck", "layout": "list", "keys": ["test:stuck"], "time_field": "at", "max_depth": 5,
                 "max_oldest_s": 60, "max_drain_s": 60}],
        outgoing=[{"name": "away", "url": "http://{{ lab_subnet }}.41:9/health"},
                  {"name": "sick", "url": "http://{{ lab_subnet }}.41:9090/no-such-page"}],
        postgres={"pool": 100, "replicas": 1, "disk_free_percent": 99.9},
        slos={"folder": str(tmp_path / "slos")},
        s3={**CHECKLIST["s3"], "endpoint": "https://{{ lab_subnet }}.51:9"},
        freeze=[window],
        environment={"extra": []},
        restore={"max_age_s": 1, "rpo_s": 1, "rto_s": 1},
        forge={"kind": "gitea", "url": "http://127.0.0.1:9", "repository": "team/shop", "token": "hunter2-token"},
        migrations={"allowed": []},
    )  # fmt: skip
    with (
        turnout.forgotten_transaction(), a_full_disk(turnout), an_expired_certificate(turnout),
        a_clock_that_is_off(turnout),
        a_filled_queue(turnout), a_variable_too_many(turnout), a_way_back_that_is_down(turnout),
        an_application_that_may_not_write(turnout),
    ):  # fmt: skip
        run, rows = look(turnout, "-e", option, "-vvv", release=pending_release)
    assert run.rc != 0
    expected = {
        "disk@app2": "fail",
        "disk@app1": "pass",
        "clock@mon1": "fail",
        "clock@app1": "pass",
        "certificate@old on edge1": "fail",
        "certificate@old on edge2": "unknown",
        "queue@stuck": "fail",
        "outgoing@away from app1": "fail",
        "outgoing@sick from app1": "fail",
        "postgres-connections@data1": "fail",
        "postgres-transactions@data1": "fail",
        "freeze@now": "fail",
        "environment@inventory": "fail",
        "environment@app2": "fail",
        "memory@data1": "fail",
        "rollback-target@edge1": "fail",
        "postgres-replication@data1": "fail",
        "postgres-disk@data1": "fail",
        "s3": "fail",
        "slo-budget@dream": "fail",
        "slo-budget@nothing": "unknown",
        "ci": "unknown",
        "branch-policy@main": "unknown",
        "migrations-reviewed": "unknown",
        f"migrations-linted@{MINE}": "fail",
        "migrations-rehearsed": "fail",
        "postgres@app1": "fail",
        "redis@app1": "pass",
    }
    assert verdicts(rows, *expected) == expected
    assert rows["restore-proof"]["verdict"] in ("fail", "unknown"), "no drill, or one that is older than a second"
    assert "FORGOTTEN" in rows["environment@app2"]["evidence"]
    assert "app2" in rows["rollback-target@edge1"]["evidence"]
    assert "it takes no writes" in rows["postgres@app1"]["evidence"]
    assert "SHARE UPDATE EXCLUSIVE" in rows["postgres-transactions@data1"]["evidence"].upper().replace(
        "SHAREUPDATE", "SHARE UPDATE "
    ).replace("EXCLUSIVELOCK", "EXCLUSIVE")
    assert "6 waiting" in rows["queue@stuck"]["evidence"]
    assert "hunter2" not in run.out
    secrets_stay_hidden(turnout, run.out)


def secrets_stay_hidden(turnout: Turnout, text: str) -> None:
    """Assert that none of the lab's secrets is in what a run printed."""
    secrets = [path.read_text().split()[0] for path in (turnout.lab.state_dir / "secrets").iterdir()]
    secrets += [one["secret_key"] for one in turnout.s3["identities"].values()]
    assert len(secrets) >= 6
    assert [secret for secret in secrets if secret in text] == []


@contextlib.contextmanager
def frozen(turnout: Turnout) -> Iterator[None]:
    """Let PostgreSQL and Redis take connections and never answer; let one host tell no memory and no time."""
    put(turnout, "edge2", "/usr/local/sbin/date", "#!/bin/sh\n")
    turnout.ssh("edge2", "mount --bind /dev/null /proc/meminfo")
    turnout.ssh("data1", "systemctl kill -s STOP 'postgresql@*' redis-server")
    try:
        yield
    finally:
        turnout.ssh("data1", "systemctl kill -s CONT 'postgresql@*' redis-server")
        turnout.ssh("edge2", "umount /proc/meminfo; rm -f /usr/local/sbin/date")
        time.sleep(5)


def test_servers_that_hang_are_cut_at_the_limit_and_are_not_known(
    on_1_0_0: Turnout, pending_release: str, tmp_path: Path
) -> None:
    turnout = on_1_0_0
    with frozen(turnout):
        run, rows = look(turnout, "-e", changed(tmp_path, limit_s=4), release=pending_release)
    assert run.rc != 0
    expected = {
        "disk@edge2": "unknown",
        "memory@edge2": "unknown",
        "clock@edge2": "unknown",
        "postgres@app1": "unknown",
        "postgres-connections@data1": "unknown",
        "postgres-transactions@data1": "unknown",
        "postgres-replication@data1": "unknown",
        "postgres-disk@data1": "unknown",
        "redis@app1": "unknown",
        "redis-memory": "unknown",
        "redis-persistence": "unknown",
        "queue@jobs": "unknown",
        "migrations-kind": "unknown",
        "disk@data1": "pass",
        "clock@data1": "pass",
        "s3": "pass",
    }
    assert verdicts(rows, *expected) == expected


def test_hosts_that_are_away_leave_not_known_what_only_they_can_tell(
    on_1_0_0: Turnout, pending_release: str, tmp_path: Path
) -> None:
    turnout, hosts = on_1_0_0, on_1_0_0.hosts
    option = changed(tmp_path, restore={"max_age_s": 1, "rpo_s": 1, "rto_s": 1}, migrations={}, limit_s=4)
    away = ("edge1", "edge2", "app2")
    for name in away:
        hosts.pause(host_named(name))
    try:
        run, rows = look(turnout, "-e", option, release=pending_release)
    finally:
        for name in away:
            hosts.unpause(host_named(name))
        time.sleep(4)
    assert run.rc != 0
    expected = {f"reachable@{name}": "unknown" for name in away} | {
        "environment@app2": "unknown",
        "rollback-target@edge1": "unknown",
        "outgoing@figures from app2": "unknown",
        "outgoing@figures from app1": "pass",
        "certificate@store from edge1": "unknown",
        "restore-proof": "unknown",
        "migrations-rehearsed": "unknown",
        # No forge and no signed statement: that is known, and no review.
        f"migrations-reviewed@{MINE}": "fail",
    }
    assert verdicts(rows, *expected) == expected


def test_a_linter_that_takes_too_long_is_cut(on_1_0_0: Turnout, tmp_path: Path) -> None:
    many = range(60_000)
    up = "\n".join(f"ALTER TABLE tasks ADD COLUMN c{i} text;" for i in many)
    release_with(on_1_0_0, "1.1.66", up, "SELECT 1;")
    option = changed(tmp_path, migrations={}, limits={"migrations-linted": 0.5})
    run, rows = look(on_1_0_0, "-e", option, release="1.1.66")
    assert run.rc != 0
    assert verdicts(rows, "migrations-linted") == {"migrations-linted": "unknown"}
    assert "0.5 s" in rows["migrations-linted"]["evidence"]


@pytest.mark.parametrize("kind", ["gitea", "github"])
def test_the_forge_is_asked_for_the_release_s_own_commit(
    on_1_0_0: Turnout, forge: FakeForge, tmp_path: Path, kind: str
) -> None:
    """Its server speaks the documented API; the playbook, the role and the reading of the answers are the real ones."""
    turnout = on_1_0_0
    commit = yaml.safe_load((Path(turnout.source) / "sample-1.1.0.release.yml").read_text())["commit"]
    if kind == "gitea":
        api = "/api/v1/repos/team/shop"
        states = {"lint": "success", "test": "failure", "build": "pending", "scan": "skipped"}
        entries = [forge_server.status(f"CI / {name} (push)", state, key="status") for name, state in states.items()]
        forge.paged(f"{api}/commits/{commit}/statuses", entries)
        forge.on(f"{api}/branch_protections/main", forge_server.gitea_rule())
        forge.on(f"{api}/branch_protections/develop", forge_server.gitea_rule(required_approvals=0))
    else:
        api = "/repos/team/shop"
        runs = [
            forge_server.check_run("lint", "success", sha=commit),
            forge_server.check_run("test", "failure", sha=commit),
            forge_server.check_run("build", None, sha=commit, status="in_progress"),
            forge_server.check_run("scan", "skipped", sha=commit),
        ]  # fmt: skip
        forge.paged(f"{api}/commits/{commit}/check-runs", runs, "check_runs")
        forge.paged(f"{api}/commits/{commit}/status", [], "statuses", sha=commit, state="failure")
        forge.on(f"{api}/branches/main/protection", forge_server.github_protection())
        forge.on(f"{api}/branches/develop/protection", {"message": "Branch not protected"}, status=404)
    asked = {
        "kind": kind, "url": forge.base, "repository": "team/shop", "token": "hunter2-token",
        "required": ["lint", "test", "build", "scan", "contract"], "branches": ["main", "develop"],
    }  # fmt: skip
    run, rows = look(turnout, "-e", changed(tmp_path, forge=asked), "-vvv")
    assert run.rc != 0
    expected = {
        "ci@lint": "pass",
        "ci@test": "fail",
        "ci@build": "unknown",
        "ci@scan": "fail",
        "ci@contract": "fail",
        "branch-policy@develop": "fail",
    }
    assert verdicts(rows, *expected) == expected
    # The rule of main asks for fewer checks than the checklist: it lacks those, and nothing else.
    assert "required" in rows["branch-policy@main"]["evidence"]
    assert "hunter2" not in run.out
    enough = {**asked, "required": ["lint"], "branches": ["main"]}
    _, rows = look(turnout, "-e", changed(tmp_path, forge=enough))
    assert verdicts(rows, "ci@lint", "branch-policy@main") == {"ci@lint": "pass", "branch-policy@main": "pass"}


def test_a_contract_migration_that_the_way_back_cannot_bear_fails(on_1_0_0: Turnout) -> None:
    release_with(
        on_1_0_0,
        "1.1.65",
        "ALTER TABLE tasks DROP COLUMN notes;",
        "ALTER TABLE tasks ADD COLUMN notes text;",
        "contract",
    )
    run, rows = look(on_1_0_0, release="1.1.65")
    assert run.rc != 0
    assert verdicts(rows, "migrations-kind") == {"migrations-kind": "fail"}
    assert "1.0.0 needs" in rows["migrations-kind"]["evidence"]


def test_a_page_that_fires_fails_the_row_of_alerts(on_1_0_0: Turnout, lost_exporter: str) -> None:
    turnout = on_1_0_0
    deadline = time.monotonic() + 120
    while True:
        _, rows = look(turnout)
        if rows["alerts"]["verdict"] == "fail":
            break
        assert time.monotonic() < deadline, rows["alerts"]
    assert "HostDown" in rows["alerts"]["evidence"]
    turnout.ssh(lost_exporter, "systemctl start prometheus-node-exporter")
    deadline = time.monotonic() + 60
    while look(turnout)[1]["alerts"]["verdict"] != "pass":
        assert time.monotonic() < deadline, "the page goes on"


def test_the_proof_of_a_restore_fails_by_a_drill_that_failed_and_passes_by_one_that_passed(
    on_1_0_0: Turnout, tmp_path: Path
) -> None:
    turnout = on_1_0_0
    make_bed(turnout)
    option = changed(tmp_path, restore={"max_age_s": 3600, "rpo_s": 120, "rto_s": 900})
    assert turnout.playbook("restore_drill", "-e", "drill_rpo_target_s=0.001").rc != 0
    _, rows = look(turnout, "-e", option)
    assert verdicts(rows, "restore-proof") == {"restore-proof": "fail"}
    assert "rpo_target" in rows["restore-proof"]["evidence"]
    assert turnout.playbook("restore_drill").rc == 0
    _, rows = look(turnout, "-e", option)
    assert verdicts(rows, "restore-proof") == {"restore-proof": "pass"}
    _, rows = look(turnout, "-e", changed(tmp_path, restore={"max_age_s": 1, "rpo_s": 120, "rto_s": 900}))
    assert verdicts(rows, "restore-proof") == {"restore-proof": "fail"}


def test_what_gives_no_answer_is_not_known_and_holds_up_nobody(on_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = on_1_0_0
    option = changed(
        tmp_path,
        limit_s=3,
        s3={**CHECKLIST["s3"], "secret_key": "wrong"},
        outgoing=[{"name": "silent", "url": "http://{{ lab_subnet }}.99/health"}],
        certificates=[{"name": "silent", "address": "{{ lab_subnet }}.99:443"}],
    )
    hosts = turnout.hosts
    hosts.pause(host_named("mon1"))
    try:
        started = time.monotonic()
        run, rows = look(turnout, "-e", option)
        took_s = time.monotonic() - started
    finally:
        hosts.unpause(host_named("mon1"))
    assert run.rc != 0
    expected = {
        "reachable@mon1": "unknown",
        "alerts": "unknown",
        "s3": "unknown",
        "outgoing@silent from app1": "unknown",
        "certificate@silent from edge1": "unknown",
        "postgres@app1": "pass",
        "queue@jobs": "pass",
    }
    assert verdicts(rows, *expected) == expected
    assert took_s < 90


def test_a_stopped_redis_fails_and_a_wrong_password_is_not_known(on_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = on_1_0_0
    service = ROOT / "inventories/lab/group_vars/all/service.yml"
    text = (
        service.read_text()
        .replace("{{ redis_passwords.service }}@", "wrong-password@")
        .replace("postgres_passwords.app", "lab_name")
    )
    wrong = tmp_path / "service.yml"
    wrong.write_text(text + "checklist_redis_login: {user: checklist, password: wrong-password}\n")
    run, rows = look(turnout, "-e", f"@{wrong}")
    expected = {"redis@app1": "unknown", "redis-memory": "unknown", "queue@jobs": "unknown", "postgres@app1": "unknown"}
    assert verdicts(rows, *expected) == expected
    assert "WRONGPASS" in rows["redis@app1"]["evidence"]
    assert "28P01" in rows["postgres@app1"]["evidence"]
    assert "wrong-password" not in run.out
    turnout.ssh("data1", "systemctl stop redis-server")
    try:
        run, rows = look(turnout)
    finally:
        turnout.ssh("data1", "systemctl start redis-server")
    assert run.rc != 0
    expected = {
        "redis@app1": "fail",
        "redis@app2": "fail",
        "redis-memory": "fail",
        "redis-persistence": "fail",
        "queue@jobs": "fail",
    }
    assert verdicts(rows, *expected) == expected


def waiver(**changes: Any) -> dict[str, Any]:
    soon = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 3600))
    good = {
        "check": "freeze",
        "reason": "the fix must go out today",
        "who": "ada@example.org",
        "release": "1.1.0",
        "expires": soon,
    }
    return {**good, **changes}


def test_waivers_that_do_not_count_stop_the_release(untouched: Turnout, tmp_path: Path) -> None:
    window = {"name": "now", "zone": "UTC", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    written = [waiver(expires="2026-01-01T00:00:00+00:00"), waiver(release="1.0.9"), waiver(check="disk")]
    run = untouched.deploy("1.1.0", "-e", changed(tmp_path, freeze=[window], waivers=written))
    assert run.rc != 0
    last = run.out[run.out.rfind("First cause") :]
    for word in ("expired", "1.0.9", "FAIL freeze@now"):
        assert word in last, last
    run = untouched.playbook("checklist", "-e", "release=1.1.0", "-e", changed(tmp_path, waivers=[waiver(reason="")]))
    assert run.rc != 0
    assert "checklist.waivers[0].reason" in run.out


def test_three_failures_at_once_stop_a_deploy_before_it_touches_anything(untouched: Turnout, tmp_path: Path) -> None:
    window = {"name": "now", "zone": "UTC", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    outgoing = [{"name": "push", "url": "http://{{ lab_subnet }}.41:9/health"}]
    option = changed(tmp_path, freeze=[window], outgoing=outgoing, postgres={"pool": 100})
    run = untouched.deploy("1.1.0", "-e", option)
    assert run.rc != 0
    last = run.out[run.out.rfind("First cause") :]
    for words in ("FAIL freeze@now", "FAIL outgoing@push from app1", "FAIL postgres-connections@data1"):
        assert words in last, last


def test_a_waiver_lets_a_release_pass_and_is_in_the_ledger(on_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = on_1_0_0
    window = {"name": "now", "zone": "UTC", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    run = turnout.deploy("1.1.0", "-e", changed(tmp_path, freeze=[window], waivers=[waiver()]))
    assert run.rc == 0, run.tail
    assert "WAIVED" in run.out
    for edge in EDGES:
        entries = [entry for entry in turnout.edge(edge)["ledger"] if entry["kind"] == "waivers"]
        (kept,) = entries[-1]["waivers"]
        assert (kept["who"], kept["reason"], kept["check"]) == (
            "ada@example.org",
            "the fix must go out today",
            "freeze",
        )
        assert kept["covered"][0].startswith("freeze@now: fail")


# --- migrations, rehearsed ------------------------------------------------------------------------------------------


def rehearse(turnout: Turnout, release: str, *options: str) -> Run:
    return turnout.playbook("migration_check", "-e", f"release={release}", *options)


@pytest.fixture
def schema_of_1_0_0(on_1_0_0: Turnout) -> Turnout:
    """Take back the migrations that a later release has left, so that a rehearsal can begin where 1.0.0 does."""
    turnout = on_1_0_0
    turnout.publish("1.1.0")
    migrate = (
        "systemd-run --pipe --wait --quiet --collect -p EnvironmentFile=/etc/sample/{color}.migrate.env"
        " -p User=sample-migrate"
        " $(ls -d /opt/sample/releases/1.1.0-* | tail -1)/bin/migrate"
    ).format(color=turnout.edge("edge1")["stable"])
    while int(turnout.ssh("app1", f"{migrate} version").split()[-1]) > 1:
        turnout.ssh("app1", f"{migrate} down")
    say = "turnout-edge --run schema --actor test"
    for edge in EDGES:
        turnout.ssh(edge, f"{say} lock take --ttl-s 60 && {say} schema --version 1 --last-contract 0")
        turnout.ssh(edge, f"{say} lock release")
    return turnout


def sql(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


SEED = """INSERT INTO tasks (user_id, title) SELECT g % 2000 + 1, 'task ' || g FROM generate_series(1, 150000) AS g;"""


def release_with(turnout: Turnout, version: str, up: str, down: str, kind: str = "expand") -> None:
    """Publish a release of the sample with a migration of one's own beside its own ones."""
    if version in turnout.published():
        return
    source = turnout.work / "source" / version
    build = [str(ROOT / "examples/sample_service/build.py"), "--version", version, "--out", str(source)]
    done = subprocess.run(["python3", *build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    keys = json.loads(done.stdout)["environment"]
    sql(source / "migrations", "0003_mine.sql", f"-- turnout: kind={kind}\n{up}\n")
    sql(source / "migrations", "0003_mine.rollback.sql", f"{down}\n")
    out = turnout.work / "dist"
    turnout.turnout(
        "release", "build", str(source), "--name", "sample", "--version", version, "--migrations", "migrations",
        *(word for key in keys for word in ("--env-key", key)), "--key", str(turnout.signing_key), "--out", str(out),
    )  # fmt: skip
    turnout.turnout("release", "publish", str(out / f"sample-{version}.release.yml"), "--to", turnout.source)


def test_migrations_that_are_sound_pass_their_rehearsal_and_the_checklist_finds_it(
    schema_of_1_0_0: Turnout, tmp_path: Path
) -> None:
    turnout = schema_of_1_0_0
    run = rehearse(turnout, "1.1.0")
    assert run.rc == 0, run.tail
    entry = [one for one in turnout.edge("edge1")["ledger"] if one["kind"] == "migration-rehearsal"][-1]
    assert entry["verdict"] == "pass"
    option = changed(tmp_path, migrations={"copy": False})
    _, rows = look(turnout, "-e", option)
    assert verdicts(rows, "migrations-rehearsed") == {"migrations-rehearsed": "pass"}


def test_a_lock_on_a_busy_table_is_caught_with_its_duration(schema_of_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = schema_of_1_0_0
    sql(tmp_path / "seed", "tasks.sql", SEED)
    up = "ALTER TABLE tasks ADD COLUMN token text NOT NULL DEFAULT md5(random()::text);"
    release_with(turnout, "1.1.61", up, "ALTER TABLE tasks DROP COLUMN token;")
    run = rehearse(
        turnout,
        "1.1.61",
        "-e",
        f"migration_check_seed_dir={tmp_path / 'seed'}",
        "-e",
        '{"migration_check_busy": ["tasks"]}',
    )
    assert run.rc != 0, run.tail
    cause = run.out[run.out.rfind("First cause") :]
    assert "AccessExclusiveLock on the busy table tasks (150000 rows) for" in cause, cause
    entry = [one for one in turnout.edge("edge1")["ledger"] if one["kind"] == "migration-rehearsal"][-1]
    (lock,) = [one for one in entry["locks"] if one["table"] == "tasks" and one["mode"] == "AccessExclusiveLock"]
    assert lock["seconds"] > 0.2
    assert entry["figures"]["rewritten_rows"] == {"tasks": 150000}


def test_a_down_script_that_restores_nothing_and_one_that_breaks_the_old_version_are_caught(
    schema_of_1_0_0: Turnout,
) -> None:
    turnout = schema_of_1_0_0
    release_with(turnout, "1.1.62", "ALTER TABLE tasks ADD COLUMN extra text;", "SELECT 1;")
    run = rehearse(turnout, "1.1.62")
    assert run.rc != 0
    assert "the down script does not restore the schema" in run.out[run.out.rfind("First cause") :], run.tail
    release_with(
        turnout, "1.1.63", "ALTER TABLE tasks RENAME COLUMN notes TO remarks;",
        "ALTER TABLE tasks RENAME COLUMN remarks TO notes;",
    )  # fmt: skip
    run = rehearse(turnout, "1.1.63")
    assert run.rc != 0
    cause = run.out[run.out.rfind("First cause") :]
    assert "1.0.0, which is in service, breaks on the new schema: GET /api/tasks/" in cause, run.tail
    assert turnout.in_service() == "1.0.0"


def test_a_rehearsal_on_a_copy_from_the_latest_backup_meets_the_rows_of_users(
    on_1_0_0: Turnout, tmp_path: Path
) -> None:
    """What an empty database cannot show: a migration that one row of the real one violates."""
    bed = make_bed(on_1_0_0)
    up = "ALTER TABLE tasks ADD CONSTRAINT no_drafts CHECK (title NOT LIKE 'draft %');"
    release_with(on_1_0_0, "1.1.64", up, "ALTER TABLE tasks DROP CONSTRAINT no_drafts;")
    run = rehearse(on_1_0_0, "1.1.64", "-e", "copy=true")
    assert run.rc == 0, run.tail
    entry = [one for one in on_1_0_0.edge("edge1")["ledger"] if one["kind"] == "migration-rehearsal"][-1]
    assert (entry["verdict"], entry["release"]) == ("pass", "1.1.64")
    assert 0 < entry["at_s"] - entry["backup_s"] < 600
    bed.nothing_left()
    _, rows = look(on_1_0_0, "-e", changed(tmp_path, migrations={"copy": True}), release="1.1.64")
    assert verdicts(rows, "migrations-rehearsed") == {"migrations-rehearsed": "pass"}

    bed.sql("INSERT INTO tasks (user_id, title) VALUES (1, 'draft of a test')")
    try:
        bed.archived()
        run = rehearse(on_1_0_0, "1.1.64", "-e", "copy=true")
    finally:
        bed.sql("DELETE FROM tasks WHERE title = 'draft of a test'")
    assert run.rc != 0
    assert "no_drafts" in run.out[run.out.rfind("First cause") :], run.tail
    bed.nothing_left()


@pytest.mark.parametrize("at", ["restoring", "rehearsing"])
def test_a_controller_that_is_killed_leaves_nothing_of_the_copy(on_1_0_0: Turnout, at: str) -> None:
    bed = make_bed(on_1_0_0)
    up = "SELECT pg_sleep(120);" if at == "rehearsing" else "ALTER TABLE tasks ADD COLUMN late text;"
    version = {"restoring": "1.1.66", "rehearsing": "1.1.67"}[at]
    release_with(on_1_0_0, version, up, "SELECT 1;")
    process = on_1_0_0.start("migration_check", "-e", f"release={version}", "-e", "copy=true")
    bed.restoring(process)
    if at == "rehearsing":
        asleep = "pgrep -fc '[p]ostgres: .* SELECT$' || true"
        deadline = time.monotonic() + 120
        while int(on_1_0_0.ssh("mon1", asleep) or 0) == 0:
            assert process.poll() is None, process.communicate()[0][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
    on_1_0_0.kill(process, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 90
    while True:
        try:
            bed.nothing_left()
            break
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
