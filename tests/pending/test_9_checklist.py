"""The checklist on the lab: each check passes, fails for real, and is not known, while users are served.

One run of checklist.yml looks at everything, so that several causes are made at once and each row is asserted; what
must not move does not (the last test counts requests).
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from drill_bed import make_bed
from harness import EDGES, ROOT, Run, Turnout
from turnout.lab.topology import host_named

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


def test_everything_passes_on_a_healthy_lab(on_1_0_0: Turnout) -> None:
    run, rows = look(on_1_0_0)
    wrong = {name: row for name, row in rows.items() if row["verdict"] not in ("pass", "not configured")}
    assert wrong == {}
    assert run.rc == 0, run.tail
    passed = {row["check"] for row in rows.values() if row["verdict"] == "pass"}
    assert {
        "disk", "memory", "clock", "environment", "rollback-target", "postgres", "postgres-connections",
        "postgres-transactions", "redis", "redis-memory", "redis-persistence", "queue", "outgoing", "certificate", "s3",
        "alerts", "migrations-kind",
    } <= passed  # fmt: skip
    assert "1 expand" in rows["migrations-kind"]["evidence"]


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
    return "REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /etc/redis/*.conf | tail -1 | tr -d '\"') redis-cli"


def test_what_is_wrong_for_real_fails_and_all_of_it_is_shown(on_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = on_1_0_0
    window = {"name": "now", "zone": "Europe/Berlin", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    option = changed(
        tmp_path,
        hosts={**CHECKLIST["hosts"], "paths": ["/", "/srv/small"], "disk_free_mb": 100},
        certificates=[{"name": "old", "file": "/root/old.pem", "group": "edge"}],
        queues=[{"name": "stuck", "layout": "list", "keys": ["test:stuck"], "time_field": "at", "max_depth": 5,
                 "max_oldest_s": 60, "max_drain_s": 60}],
        outgoing=[{"name": "away", "url": "http://{{ lab_subnet }}.41:9/health"},
                  {"name": "sick", "url": "http://{{ lab_subnet }}.41:9090/no-such-page"}],
        postgres={"pool": 100},
        freeze=[window],
        environment={"extra": []},
        restore={},
        forge={"kind": "gitea", "url": "http://127.0.0.1:9", "repository": "team/shop", "token": "hunter2-token"},
        migrations={"allowed": []},
    )  # fmt: skip
    with (
        turnout.forgotten_transaction(), a_full_disk(turnout), an_expired_certificate(turnout),
        a_clock_that_is_off(turnout),
        a_filled_queue(turnout),
    ):  # fmt: skip
        run, rows = look(turnout, "-e", option, "-vvv")
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
        "restore-proof": "unknown",
        "ci": "unknown",
        "branch-policy@main": "unknown",
        "migrations-reviewed": "unknown",
        "migrations-linted@0002_task_priority": "fail",
        "migrations-rehearsed": "fail",
        "postgres@app1": "pass",
        "redis@app1": "pass",
    }
    assert verdicts(rows, *expected) == expected
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
        .replace("{{ redis_password }}@", "wrong-password@")
        .replace("postgres_passwords.app", "lab_name")
    )
    wrong = tmp_path / "service.yml"
    wrong.write_text(text)
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
    on_1_0_0: Turnout, tmp_path: Path
) -> None:
    turnout = on_1_0_0
    run = rehearse(turnout, "1.1.0")
    assert run.rc == 0, run.tail
    entry = [one for one in turnout.edge("edge1")["ledger"] if one["kind"] == "migration-rehearsal"][-1]
    assert entry["verdict"] == "pass"
    option = changed(tmp_path, migrations={"copy": False})
    _, rows = look(turnout, "-e", option)
    assert verdicts(rows, "migrations-rehearsed") == {"migrations-rehearsed": "pass"}


def test_a_lock_on_a_busy_table_is_caught_with_its_duration(on_1_0_0: Turnout, tmp_path: Path) -> None:
    turnout = on_1_0_0
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


def test_a_down_script_that_restores_nothing_and_one_that_breaks_the_old_version_are_caught(on_1_0_0: Turnout) -> None:
    turnout = on_1_0_0
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
