"""Backups that are restored: drills that pass, and each way of being broken turning one red with its cause named."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import Any

import pytest
from drill_bed import PLACE, Bed, make_bed
from harness import Run, Turnout
from turnout.drill.parse import FIELDS, from_object
from turnout.lab import store
from turnout.lab.topology import host_named


@pytest.fixture(scope="module")
def bed(turnout: Turnout) -> Bed:
    """Return the lab with a fresh full backup, by the playbook, and the plan of a drill."""
    if turnout.in_service() is None:
        turnout.ensure("1.0.0")
    return make_bed(turnout)


def record_of(turnout: Turnout, run: Run) -> dict[str, Any]:
    """Return the last drill in the ledger, read as strictly as the reports read it."""
    ledger = [entry for entry in turnout.edge("edge1")["ledger"] if entry.get("kind") == "drill"]
    assert ledger, run.tail
    record = {key: ledger[-1][key] for key in FIELDS}
    from_object(record)
    return record


def told(measured: dict[str, Any]) -> str:
    """Return every cause and failed check of a drill as one text."""
    assert measured["ended"] is not None
    wrong = [f"{check['name']}: {check['detail']}" for check in measured["checks"] if check["outcome"] != "pass"]
    return " | ".join(measured["causes"] + wrong)


def timelines(bed: Bed) -> set[str]:
    """Return the timelines of which the repository holds WAL or a history, by their eight digits."""
    held = bed.turnout.ssh("data1", "sudo -u postgres pgbackrest --stanza=sample repo-ls archive/sample/17-1")
    found = set(re.findall(r"^[0-9A-F]{8}(?=[0-9A-F]{8}|\.history)", held, re.MULTILINE))
    assert found, held
    return found


def test_a_drill_restores_what_the_repository_held_and_leaves_nothing(bed: Bed) -> None:
    before = timelines(bed)
    run = bed.turnout.playbook("restore_drill")
    assert run.rc == 0, run.tail
    record = record_of(bed.turnout, run)
    assert record["verdict"] == "pass"
    # The lab archives every ten seconds at the latest; a busy machine may take as long again to store a segment.
    assert 0 <= record["rpo"]["seconds"] < 40, record["rpo"]
    assert record["failure"]["heartbeat"] - record["recovered"]["heartbeat"] == record["rpo"]["heartbeats"]
    assert sum(phase["seconds"] for phase in record["phases"]) == pytest.approx(record["rto_seconds"], rel=0.01)
    assert {check["name"] for check in record["checks"]} >= {"target_reached", "smoke", "worker", "amcheck", "redis"}
    bed.nothing_left()
    assert timelines(bed) == before


def test_calls_of_the_restored_service_to_the_outside_are_blocked_and_counted(bed: Bed) -> None:
    # A worker that wants to send mail: it resolves a name, then connects to an address, and lives on.
    program = (
        "import socket,time\n"
        "for ask in (lambda: socket.getaddrinfo('mail.example.org', 25),"
        " lambda: socket.create_connection(('203.0.113.7', 25), 2)):\n"
        "    try: ask()\n"
        "    except OSError: pass\n"
        "time.sleep(60)"
    )
    service = {
        **bed.plan["service"],
        "workers": {"mail": {"argv": ["/usr/bin/python3", "-c", program], "variables": {}}},
    }
    measured = bed.drill(service=service, worker_settle_s=3.0)
    assert told(measured) == ""
    assert measured["egress_blocked"] >= 2


# What a database of a real service has in it: ways out. `leave` tries three of them and returns those that were open.
WAYS_OUT = """
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE EXTENSION IF NOT EXISTS dblink;
CREATE SERVER drill_out FOREIGN DATA WRAPPER postgres_fdw
  OPTIONS (host '{data1}', dbname 'sample', connect_timeout '3');
CREATE USER MAPPING FOR PUBLIC SERVER drill_out OPTIONS (user 'sample_app', password 'wrong');
CREATE FOREIGN TABLE drill_far (id int) SERVER drill_out OPTIONS (table_name 'tasks');
CREATE FUNCTION drill_leave() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  way text; said text := '';
BEGIN
  BEGIN
    PERFORM 1 FROM drill_far LIMIT 1;
    said := 'foreign table';
  EXCEPTION WHEN OTHERS THEN
    IF SQLERRM ~ 'authentication|pg_hba' THEN said := 'foreign table: ' || SQLERRM; END IF;
  END;
  FOREACH way IN ARRAY ARRAY['host={data1}', 'host=data1', 'host=/run/postgresql', 'host=/tmp'] LOOP
    BEGIN
      PERFORM dblink_connect(way, way || ' dbname=sample connect_timeout=3');
      said := said || ' ' || way;
    EXCEPTION WHEN OTHERS THEN
      IF SQLERRM ~ 'authentication|pg_hba' THEN said := said || ' ' || way || ': ' || SQLERRM; END IF;
    END;
  END LOOP;
  RETURN said;
END $$;
CREATE SUBSCRIPTION drill_subscribed CONNECTION 'host={data1} dbname=sample user=sample_app'
  PUBLICATION nobody WITH (connect = false, slot_name = 'nobody');
ALTER SUBSCRIPTION drill_subscribed ENABLE;
"""
NO_WAYS_OUT = """
ALTER SUBSCRIPTION drill_subscribed DISABLE;
ALTER SUBSCRIPTION drill_subscribed SET (slot_name = NONE);
DROP SUBSCRIPTION drill_subscribed;
DROP FUNCTION drill_leave; DROP FOREIGN TABLE drill_far; DROP SERVER drill_out CASCADE;
DROP EXTENSION dblink; DROP EXTENSION postgres_fdw;
"""


def test_subscriptions_foreign_tables_and_dblink_of_a_drill_do_not_reach_production(bed: Bed) -> None:
    """Production sees nobody come from the drill host; each attempt is counted; the drill passes."""
    turnout = bed.turnout
    log = "/var/log/postgresql/postgresql-17-main.log"
    # The one question that a drill asks of production, before: what comes later is not the drill's own.
    declared = json.loads(bed.send("mon1", "turnout-drill declare", json.dumps(bed.plan["primary"])))
    bed.sql(WAYS_OUT.format(data1=turnout.address("data1")))
    try:
        bed.archived()
        declared |= json.loads(bed.send("mon1", "turnout-drill declare", json.dumps(bed.plan["primary"])))
        bed.sql("ALTER SYSTEM SET log_connections = on;", "postgres")
        bed.sql("SELECT pg_reload_conf(), pg_sleep(0.5)", "postgres")
        begin = int(turnout.ssh("data1", f"stat -c %s {log}"))
        measured = bed.drill(
            failure=declared,
            checks={"no_way_out": "SELECT said FROM (SELECT drill_leave() AS said) x WHERE said <> ''"},
        )
        # It is there to be seen: somebody who does come.
        bed.send("mon1", "turnout-drill declare", json.dumps(bed.plan["primary"]))
        came = turnout.ssh("data1", f"tail -c +{begin + 1} {log} | grep 'connection received'")
    finally:
        bed.sql(NO_WAYS_OUT)
        bed.sql("ALTER SYSTEM RESET log_connections;", "postgres")
        bed.sql("SELECT pg_reload_conf()", "postgres")
    assert told(measured) == ""
    assert came.count(f"host={turnout.address('mon1')} ") == 1, came
    blocked = measured["notes"]["blocked"]
    assert blocked["database"] >= 3, blocked  # two by address, and one that asked for a name
    assert blocked["sockets"] >= 1, blocked
    assert measured["egress_blocked"] >= sum((blocked["database"], blocked["sockets"]))
    assert measured["notes"]["subscriptions"] == 1
    checks = {check["name"] for check in measured["checks"]}
    assert checks >= {"cut_off", "archive_off", "no_way_out", "repository_read_only", "smoke", "worker"}
    bed.archived()


def test_a_random_point_and_the_longest_chain_are_restored_too(bed: Bed) -> None:
    measured = bed.drill(mode="random")
    assert told(measured) == ""
    assert measured["notes"]["target"]["type"] == "lsn"
    measured = bed.drill(mode="longest_chain")
    assert told(measured) == ""


def test_a_full_disaster_needs_the_repository_and_the_store_alone(bed: Bed) -> None:
    """The release too is fetched, verified and laid after the failure, and counts in the RTO."""
    run = bed.turnout.playbook("restore_drill", "-e", "mode=disaster", "-e", "release=1.0.0")
    assert run.rc == 0, run.tail
    record = record_of(bed.turnout, run)
    assert (record["mode"], record["verdict"]) == ("disaster", "pass")
    usual = [entry for entry in bed.turnout.edge("edge1")["ledger"] if entry.get("mode") == "latest"]
    assert usual, "the test of a usual drill runs before"
    whole, part = (
        {phase["name"]: phase["seconds"] for phase in drill["phases"]}
        for drill in (record, next(drill for drill in reversed(usual) if drill["verdict"] == "pass"))
    )
    assert whole["provision"] > part["provision"]
    run = bed.turnout.playbook("restore_drill", "-e", "mode=disaster")
    assert run.rc != 0
    assert "release=VERSION" in run.tail
    bed.nothing_left()


def test_a_missing_wal_segment_is_named(bed: Bed) -> None:
    key = _middle_segment(bed)
    with bed.object_changed(key, lambda _: None):
        assert f"WAL segment {key.rsplit('/', 1)[1][:24]} is missing" in told(bed.drill())


def test_a_corrupted_wal_segment_is_named(bed: Bed) -> None:
    key = _middle_segment(bed)
    with bed.object_changed(key, _damage):
        said = told(bed.drill())
    assert "target_reached: replay ended at" in said or "start: " in said, said
    assert key.rsplit("/", 1)[1][:24] in said, said


def _middle_segment(bed: Bed) -> str:
    """Return the key of a segment after the last backup that has segments after it."""
    info = json.loads(bed.turnout.ssh("data1", "cd / && sudo -u postgres pgbackrest --output=json info"))
    last = info[0]["backup"][-1]["archive"]["stop"]
    bed.archived()
    bed.archived()
    return next(key for key in bed.keys("archive/sample/17-1/") if key.rsplit("/", 1)[1][:24] > last)


def _damage(body: bytes) -> bytes:
    """Turn bytes in the middle over."""
    middle = len(body) // 2
    return body[:middle] + bytes(byte ^ 0xFF for byte in body[middle : middle + 64]) + body[middle + 64 :]


def test_an_archive_that_is_broken_is_named_however_little_is_lost_yet(bed: Bed) -> None:
    bed.sql("ALTER SYSTEM SET archive_command = '/bin/false';", "postgres")
    try:
        bed.sql("SELECT pg_reload_conf(), pg_sleep(0.5), pg_switch_wal()", "postgres")
        deadline = time.monotonic() + 30
        while bed.sql("SELECT failed_count > 0 FROM pg_stat_archiver", "postgres") != "t":
            assert time.monotonic() < deadline, "archiving goes on"
            time.sleep(0.5)
        assert "archiving: the primary could not archive" in told(bed.drill())
        # An hour of it is more than may be lost: as here, where next to nothing may be.
        run = bed.turnout.playbook("restore_drill", "-e", "drill_rpo_target_s=0.001")
        assert run.rc != 0, run.tail
        assert "check rpo_target failed" in run.tail
        assert "the target is 0.001 s" in run.tail
    finally:
        bed.sql("ALTER SYSTEM RESET archive_command;", "postgres")
        bed.sql("SELECT pg_reload_conf(), pg_stat_reset_shared('archiver')", "postgres")
    bed.archived()
    assert told(bed.drill()) == ""


def test_a_changed_collation_is_named(bed: Bed) -> None:
    """As after an upgrade of the system's locales: indexes on text may be in another order than their server thinks."""
    bed.sql("UPDATE pg_collation SET collversion = '0.1' WHERE collname = 'und-x-icu'")
    try:
        bed.archived()
        said = told(bed.drill())
        assert "collations: " in said
        assert "und-x-icu in sample" in said
    finally:
        bed.sql('ALTER COLLATION pg_catalog."und-x-icu" REFRESH VERSION')
        bed.archived()


def test_a_corrupted_block_in_the_backup_is_named(bed: Bed) -> None:
    files = [key for key in bed.keys("backup/sample/2") if "/pg_data/" in key]
    newest = max(key.split("/")[3] for key in files)
    client = store.load(bed.turnout.lab).client()
    largest = max(
        (key for key in files if f"/{newest}/" in key),
        key=lambda key: client.head_object(Bucket="backups", Key=key)["ContentLength"],
    )
    with bed.object_changed(largest, _damage):
        assert "restore: the backup" in told(bed.drill())


def test_a_dropped_table_and_a_violated_invariant_are_named(bed: Bed) -> None:
    bed.sql("CREATE TABLE drill_probe (n int); INSERT INTO drill_probe VALUES (-1); CREATE TABLE drill_gone ()")
    bed.sql("DROP TABLE drill_gone")
    bed.archived()
    checks = {
        "numbers_are_positive": "SELECT n FROM drill_probe WHERE n < 0;",
        "table_is_there": "SELECT 1 FROM drill_gone WHERE false",
    }
    try:
        said = told(bed.drill(checks=checks))
    finally:
        bed.sql("DROP TABLE drill_probe")
    assert 'numbers_are_positive: 1 row violates it, first {"n": -1}' in said
    assert "table_is_there: psql ended with code 3: psql:<stdin>" in said
    assert 'relation "drill_gone" does not exist' in said


def test_a_truncated_copy_of_redis_is_named(bed: Bed) -> None:
    key = max(key for key in bed.keys("turnout/redis/") if key.endswith("/dump.rdb"))
    with bed.object_changed(key, lambda body: body[: len(body) // 2]):
        assert "redis_copy: the copy of Redis is damaged: dump.rdb has" in told(bed.drill())


def test_an_upload_whose_version_is_missing_is_named(bed: Bed) -> None:
    listing = "/tmp/uploads.jsonl"  # noqa: S108 - on the lab's host
    entry = json.dumps({"key": "a.png", "version": "v1", "bytes": 1, "etag": "x"})
    bed.send("mon1", f"cat > {listing}", entry + "\n")
    both = "SELECT * FROM (VALUES ('a.png', 'v1'), ('a.png', 'v2')) refs (key, version)"
    said = told(bed.drill(uploads={"query": both, "listing": listing}))
    assert said == "uploads: 1 referenced versions are not in the bucket, first a.png in version v2"


def test_a_host_without_that_version_of_postgresql_is_refused(bed: Bed) -> None:
    bed.turnout.ssh("mon1", "mv /usr/lib/postgresql/17 /usr/lib/postgresql/16")
    try:
        said = told(bed.drill())
    finally:
        bed.turnout.ssh("mon1", "mv /usr/lib/postgresql/16 /usr/lib/postgresql/17")
    assert "the backup is of PostgreSQL 17, and this host has 16: install postgresql-17 here" in said


def test_a_disk_that_is_too_small_is_refused(bed: Bed) -> None:
    bed.turnout.ssh("mon1", "mkdir -p /mnt/small && mount -t tmpfs -o size=8m tmpfs /mnt/small")
    try:
        said = told(bed.drill(directory="/mnt/small"))
    finally:
        bed.turnout.ssh("mon1", "umount /mnt/small")
    assert "/mnt/small has" in said
    assert "set drill_directory to a larger disk" in said


def test_wrong_credentials_are_named(bed: Bed) -> None:
    options = {**bed.plan["repository_options"], "s3-key-secret": "wrong"}
    said = told(bed.drill(repository_options=options))
    assert "the repository cannot be read" in said
    assert "wrong" not in said


def test_credentials_that_could_write_are_refused(bed: Bed) -> None:
    writer = bed.turnout.s3["identities"]["writer"]
    options = {
        **bed.plan["repository_options"], "s3-key": writer["access_key"], "s3-key-secret": writer["secret_key"],
    }  # fmt: skip
    before = bed.keys("")
    said = told(bed.drill(repository_options=options))
    assert "the repository's credentials here can write" in said
    assert [key for key in bed.keys("") if "probe" in key] == []
    assert set(before) <= set(bed.keys(""))


def test_credentials_of_which_it_is_not_known_whether_they_can_delete_are_no_pass(bed: Bed) -> None:
    """The canary is gone: nothing was there to try a deletion on, and nobody says that it would have been denied."""
    key = "pgbackrest/backup/sample/turnout-canary"
    with bed.object_changed(key, lambda _: None):
        measured = bed.drill()
    said = told(measured)
    assert "whether the repository's credentials here can write is not known" in said
    assert "backup/sample/turnout-canary: it is not there; ansible-playbook turnout.ops.backup lays it" in said
    assert "nothing was restored" in said


def test_a_drill_ends_and_is_removed_when_its_controller_is_killed(bed: Bed) -> None:
    process = bed.turnout.start("restore_drill", "-e", "release=1.0.0")
    bed.restoring(process)
    bed.turnout.kill(process, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 90
    while "yes" in bed.turnout.ssh("mon1", f"ls {PLACE} | grep -q . && echo yes", check=False):
        assert time.monotonic() < deadline, "the drill outlived its controller and was not removed"
        time.sleep(0.5)
    # Its record waits on the drill host for the next drill to enter it.
    records = bed.turnout.ssh("mon1", "cat /var/lib/turnout-drill-records/*.json")
    assert '"mode": "latest"' in records


def test_a_drill_whose_host_dies_is_inconclusive_and_its_rest_is_reaped(bed: Bed) -> None:
    process = bed.turnout.start("restore_drill", "-e", "release=1.0.0")
    try:
        bed.restoring(process)
        bed.turnout.hosts.kill(host_named("mon1"))
        out = process.communicate(timeout=120)[0]
    finally:
        bed.turnout.hosts.start(host_named("mon1"))
    assert process.returncode != 0
    assert "inconclusive" in out, out[-3000:]
    record = record_of(bed.turnout, Run(process.returncode, out, 0.0))
    assert record["verdict"] == "inconclusive"
    assert f'remote host "{bed.turnout.address("mon1")}"' in record["causes"][0], record["causes"]
    deadline = time.monotonic() + 60
    while True:
        said = bed.turnout.ssh("mon1", f"ls {PLACE} && echo looked", check=False)
        if said.strip() == "looked":
            break
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
