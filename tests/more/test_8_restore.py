"""The bad day itself: the service's database restored for real, and back in service. Each prints how long it took."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time

import psycopg
import pytest
from drill_bed import Bed, make_bed
from harness import BIN, ROOT, Run, Turnout
from turnout.lab.topology import host_named


@pytest.fixture(scope="module")
def bed(turnout: Turnout) -> Bed:
    """Return the lab with 1.0.0 in service, a table that people care for, and a full backup."""
    turnout.ensure("1.0.0")

    def cared_for(bed: Bed) -> None:
        bed.sql("DROP TABLE IF EXISTS after_the_accident, precious")
        bed.sql("CREATE TABLE precious AS SELECT generate_series(1, 1000) AS id")

    return make_bed(turnout, before_backup=cared_for)


GONE_S = 60.0  # an absence is not followed for longer


class Absence:
    """Asks PostgreSQL twenty times a second, as the service's own user, and knows for how long it did not answer."""

    def __init__(self, turnout: Turnout) -> None:
        self._password = (turnout.lab.state_dir / "secrets" / "postgres_app").read_text().strip()
        self._reach = f"host={turnout.address('data1')} dbname=sample user=sample_app connect_timeout=1"
        self.longest_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        last = time.monotonic()
        gone = False
        # An absence that has begun is followed to its end: the playbook may know of it before a connection succeeds.
        while not self._stopped.wait(0.05) or (gone and time.monotonic() - last < GONE_S):
            try:
                with psycopg.connect(self._reach, password=self._password) as connection:
                    connection.execute("SELECT 1")
            except psycopg.Error:
                gone = True
                continue
            now = time.monotonic()
            self.longest_s, last, gone = max(self.longest_s, now - last), now, False

    def __enter__(self) -> Absence:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=GONE_S + 5)


def restored(bed: Bed, *options: str) -> tuple[Run, Absence]:
    """Restore and cut over; see that it went well and that the service works on it."""
    with Absence(bed.turnout) as absence:
        run = bed.turnout.playbook("restore", *options, "-e", "confirm=sample")
    assert run.rc == 0, run.tail
    said = re.search(r"PostgreSQL was away for at most ([0-9.]+) s", run.out)
    assert said is not None, run.tail
    assert float(said[1]) < 15
    print(
        f"{' '.join(options)}: {run.seconds:.1f} s in all, PostgreSQL away for at most {said[1]} s,"
        f" seen from outside {absence.longest_s:.1f} s"
    )
    # The playbook counts from its order to stop until its order to start has ended; clients miss less than that.
    assert 0.1 < absence.longest_s <= float(said[1]) + 0.5
    serves(bed.turnout)
    return run, absence


def beside(bed: Bed, *options: str) -> re.Match[str]:
    """Restore beside the server in service; return the socket and the name of the place."""
    run = bed.turnout.playbook("restore", *options)
    assert run.rc == 0, run.tail
    place = re.search(r"on socket (/run/turnout-drill/(\S+));", run.out)
    assert place is not None, run.tail
    return place


def serves(turnout: Turnout) -> None:
    """See the service answer from its database, through an edge."""
    edge = turnout.address("edge1")
    deadline = time.monotonic() + 30
    while True:
        done = subprocess.run(
            ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"http://{edge}/api/tasks/"],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        if done.stdout == "200":
            return
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.5)


def test_a_dropped_table_is_back_as_it_was_before(bed: Bed) -> None:
    """Time target: the rows from before the accident, none from after it; the old data is kept aside."""
    bed.sql("INSERT INTO precious VALUES (1001)")
    time.sleep(1.5)
    before = bed.sql("SELECT now()")
    time.sleep(1.5)
    bed.sql("DROP TABLE precious")
    bed.sql("CREATE TABLE after_the_accident ()")
    bed.archived()
    run, absence = restored(bed, "-e", "target=time", "-e", f'at="{before}"')
    assert bed.sql("SELECT count(*) FROM precious") == "1001"
    assert bed.sql("SELECT to_regclass('after_the_accident') IS NULL") == "t"
    assert absence.longest_s < 15
    kept = re.search(r"the old data lies in (\S+);", run.out)
    assert kept is not None, run.tail
    assert "PG_VERSION" in bed.turnout.ssh("data1", f"ls {kept[1]}")
    bed.turnout.ssh("data1", f"rm -rf {kept[1]}")


def test_a_bad_migration_is_undone_by_the_restore_point_before_its_release(bed: Bed) -> None:
    """Every deploy names a point: what its migration destroyed is there again, though it was deployed twice."""
    # A version of its own in every run: its points are not those that an earlier run left.
    turnout, version = bed.turnout, f"1.1.7-r{int(time.time())}"
    turnout.publish(version, "slow-migration=0.1")
    run = turnout.playbook("backup", "-e", "type=full")
    assert run.rc == 0, run.tail
    bed.sql("INSERT INTO precious VALUES (2000)")
    run = turnout.deploy(version)
    assert run.rc == 0, run.tail
    bed.sql("UPDATE precious SET id = 0")
    # The old version first: the data goes back to where it ran. Somebody tries the new one once more.
    for act in (turnout.rollback, lambda: turnout.deploy(version), turnout.rollback):
        run = act()
        assert run.rc == 0, run.tail
    bed.archived()
    points = turnout.ssh("data1", "cd / && sudo -u postgres pgbackrest --stanza=sample repo-ls turnout/points").split()
    mine = sorted(name for name in points if name.startswith(f"before-{version}-"))
    assert len(mine) >= 2, points
    run, _ = restored(bed, "-e", "target=release", "-e", f"before={version}")
    assert f"to the restore point {mine[-2].removesuffix('.json')} of " in run.out, run.tail
    assert bed.sql("SELECT max(id) FROM precious") == "2000"
    assert bed.sql("SELECT count(*) FROM precious WHERE id = 0") == "0"
    # The old server's segment lies in the archive with all that was restored away; that of the new is not there yet.
    place = beside(bed)
    psql = f"cd / && sudo -u postgres psql -XAt -h {place[1]} -d sample"
    assert bed.send("data1", psql, "SELECT count(*), max(id) FROM precious WHERE id IN (0, 2000)").strip() == "1|2000"
    turnout.ssh("data1", f"turnout-drill remove {place[2]}")
    turnout.ssh("data1", "rm -rf /var/lib/postgresql/17/main.before-*")


def test_a_release_that_nobody_deployed_and_one_in_doubt_change_nothing(bed: Bed) -> None:
    """A name that begins so is another release's; two points that fit are told, with their times."""
    before = bed.sql("SELECT pg_postmaster_start_time()")
    run = bed.turnout.playbook("restore", "-e", "target=release", "-e", "before=1.1", "-e", "confirm=sample")
    assert run.rc != 0
    assert "knows no restore point" in run.tail
    for name in ("before-7.7.7-0a1b2c3d4e5f-20260101T000000-a-1", "before-7.7.7-0a1b2c3d4e5f-20260102T000000-a-1"):
        record = {"name": name, "lsn": "0/3000000", "at": "2026-01-02T00:00:00Z"}
        bed.send(
            "data1",
            f"cd / && sudo -u postgres pgbackrest --stanza=sample --raw repo-put turnout/points/{name}.json",
            json.dumps(record),
        )
    run = bed.turnout.playbook("restore", "-e", "target=release", "-e", "before=7.7.7", "-e", "confirm=sample")
    assert run.rc != 0
    assert "is not certain" in run.tail
    assert "before-7.7.7-0a1b2c3d4e5f-20260102T000000-a-1 of 2026-01-" in run.tail
    assert "-e target=point -e point=before-7.7.7-0a1b2c3d4e5f-20260101T000000-a-1" in run.tail
    assert bed.sql("SELECT pg_postmaster_start_time()") == before


# Runs turnout-drill's cut over on the host with one step of it failing, or being its last.
INJECT = """
import os, signal, sys
sys.path.insert(0, "/usr/local/lib/turnout-drill")
from turnout_drill import cli, cutover
from turnout_drill.shell import ProgramError
how, at = sys.argv[1], int(sys.argv[2])
done = 0
def before(owner, name, error):
    real = getattr(owner, name)
    def step(*arguments):
        global done
        done += 1
        if done == at and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if done == at:
            raise error
        return real(*arguments)
    setattr(owner, name, step)
before(cutover.Server, "stop", ProgramError("systemctl: timed out"))
before(cutover, "_rename", OSError(5, "Input/output error"))
before(cutover.Server, "start", ProgramError("systemctl ended with code 1"))
sys.exit(cli.main(["cutover"]))
"""


def test_a_cut_over_that_fails_or_is_killed_at_any_step_is_put_back_or_mended_by_a_second(bed: Bed) -> None:
    """Its steps: stop, old aside, restored in, start. A real server, a real restore, one fault after the other."""
    turnout = bed.turnout
    name = beside(bed)[2]
    plan = {
        "store": "postgres", "id": name, "directory": "/var/lib/postgresql/turnout-restore", "version": "17",
        "cluster": "main", "port": 5432,
    }  # fmt: skip
    bed.sql("INSERT INTO precious VALUES (4000)")  # what tells the old data from the restored
    bed.send("data1", "cat > /root/inject.py", INJECT)

    def cut_over(how: str, at: int) -> str:
        return bed.send("data1", f"python3 /root/inject.py {how} {at} 2>&1; true", json.dumps(plan))

    def old_serves() -> bool:
        return bed.sql("SELECT count(*) FROM precious WHERE id = 4000") == "1"

    for at in (1, 2, 3, 4):
        said = cut_over("fail", at)
        assert ("nothing was changed" if at == 1 else "the old one was put back and answers") in said, said
        assert old_serves(), (at, said)
    # Killed, and a second one that fails later: from the middle of the first back to the old.
    for at, later in ((2, 4), (3, 3), (4, 2)):
        cut_over("kill", at)
        assert "half cut over" in turnout.ssh("data1", "turnout-drill list")
        said = cut_over("fail", later)
        assert "the old one was put back and answers" in said, (at, said)
        assert old_serves(), (at, said)
    cut_over("kill", 4)
    run = turnout.playbook("restore", "-e", f"restored={name}", "-e", "confirm=sample")
    assert run.rc == 0, run.tail
    assert not old_serves()
    serves(turnout)
    turnout.ssh("data1", "rm -rf /root/inject.py /var/lib/postgresql/17/main.before-*")
    run = turnout.playbook("restore", "-e", f"restored={name}", "-e", "confirm=sample")
    assert run.rc != 0
    assert "there is no validated restore" in run.tail


def test_a_restore_beside_the_server_in_service_reaches_neither_it_nor_its_data(bed: Bed) -> None:
    """They share a host: the socket in service, and the credentials of the backups, are not there for the restored."""
    place = beside(bed)
    ways = (
        "host=/run/postgresql",
        "host=/var/run/postgresql",
        f"host={bed.turnout.address('data1')}",
        "host=127.0.0.1",
    )
    psql = f"sudo -u postgres psql -X -A -t -h {place[1]} -d sample"
    bed.send("data1", f"cd / && {psql}", "CREATE EXTENSION IF NOT EXISTS dblink")
    for way in ways:
        said = bed.send(
            "data1", f"cd / && {psql} 2>&1; true", f"SELECT dblink_connect('{way} dbname=sample connect_timeout=3')"
        )
        assert "ERROR" in said, (way, said)
        assert "authentication" not in said, (way, said)
    for path in ("/etc/pgbackrest/pgbackrest.conf", f"/var/lib/postgresql/turnout-restore/{place[2]}/pgbackrest.conf"):
        said = bed.send("data1", f"cd / && {psql} 2>&1; true", f"SELECT pg_read_file('{path}')")
        assert "Permission denied" in said, said
    said = bed.send("data1", f"cd / && {psql} 2>&1; true", "COPY (SELECT 1) TO '/var/lib/postgresql/17/main/written'")
    assert "Read-only file system" in said, said
    bed.turnout.ssh("data1", f"turnout-drill remove {place[2]}")


def test_two_restores_with_the_same_target_give_the_same_data(bed: Bed) -> None:
    """Beside the old cluster both times, and compared as logical dumps; then thrown away."""
    before = bed.sql("SELECT now()")
    time.sleep(1.5)
    bed.sql("INSERT INTO precious VALUES (2500)")
    bed.archived()
    sums = []
    for _ in range(2):
        place = beside(bed, "-e", "target=time", "-e", f'at="{before}"')
        # pg_dump puts a random word around what it writes, against injection.
        dump = f"sudo -u postgres pg_dump -h {place[1]} sample | grep -v 'restrict '"
        sums.append(bed.turnout.ssh("data1", f"set -o pipefail; cd / && {dump} | sha256sum"))
        bed.turnout.ssh("data1", f"turnout-drill remove {place[2]}")
    assert sums[0] == sums[1]
    bed.sql("DELETE FROM precious WHERE id = 2500")


def test_a_wrong_confirmation_and_a_point_that_nobody_knows_change_nothing(bed: Bed) -> None:
    before = bed.sql("SELECT pg_postmaster_start_time()")
    run = bed.turnout.playbook("restore", "-e", "target=latest", "-e", "confirm=another")
    assert run.rc != 0
    assert "confirm=sample" in run.tail
    run = bed.turnout.playbook("restore", "-e", "target=point", "-e", "point=never-made", "-e", "confirm=sample")
    assert run.rc != 0
    assert "no restore point" in run.tail
    assert bed.sql("SELECT pg_postmaster_start_time()") == before


def test_a_new_host_takes_the_place_of_a_primary_that_is_gone(bed: Bed) -> None:
    """The machine with the database and all on it is gone; an empty one with its name gets the data back."""
    turnout = bed.turnout
    run = turnout.playbook("backup", "-e", "type=full")
    assert run.rc == 0, run.tail
    bed.sql("INSERT INTO precious VALUES (3000)")
    bed.archived()
    turnout.hosts.kill(host_named("data1"))
    container = turnout.lab.container(host_named("data1"))
    subprocess.run(["podman", "rm", "--force", "--volumes", container], check=True, capture_output=True)
    began = time.monotonic()
    subprocess.run([str(BIN / "turnout"), "lab", "up"], check=True, cwd=ROOT, env=turnout.env(), capture_output=True)
    run = turnout.playbook("site", "--limit", "data1")
    assert run.rc == 0, run.tail
    restored(bed, "-e", "target=latest")
    print(f"a new host serves {time.monotonic() - began:.1f} s after it was there, empty")
    assert bed.sql("SELECT max(id) FROM precious") == "3000"
    # What it writes from now on is backed up as before.
    run = turnout.playbook("backup", "-e", "type=full")
    assert run.rc == 0, run.tail
    bed.archived()
