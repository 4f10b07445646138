"""Rotations of the database's and Redis's credentials on the lab, under load, and killed at every boundary.

TURNOUT_ROTATIONS says how many (20). No request fails; at the end the old logins are refused.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from conftest import SHORT_ANSWERS
from harness import EDGES, SERVICE_FILE, Run, Turnout, refused

ROTATIONS = int(os.environ.get("TURNOUT_ROTATIONS", "20"))
RATE = float(os.environ.get("TURNOUT_ROTATION_RATE", "300"))
WARM_S = 45
PAIRS = {"database": ("sample_app_a", "sample_app_b"), "queue": ("sample_a", "sample_b")}
RULES = "~* &* +@all -@admin -@dangerous +info +keys +sort +client|list"
# Asked on an application host: PostgreSQL lets nobody else in.
ASK = {
    "database": """
import os, psycopg
given = dict(host=os.environ["HOST"], user=os.environ["LOGIN"], password=os.environ["PASSWORD"])
try:
    psycopg.connect(dbname="sample", sslmode="require", **given).close()
    print("in")
except psycopg.OperationalError as error:
    print("out" if "permitted to log in" in str(error) or "authentication failed" in str(error) else error)
""",
    "queue": """
import os, redis
try:
    redis.Redis(os.environ["HOST"], username=os.environ["LOGIN"], password=os.environ["PASSWORD"]).ping()
    print("in")
except redis.AuthenticationError:
    print("out")
""",
}
# A run that dies here is gone on with: a task's name, as the playbook shows it.
BOUNDARIES = ("Rotate | 2/4", "Rotate | 3/4", "Rotate | 4/4")
PREPARE = "".join(
    f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN IN ROLE sample_app;"
    f" ALTER ROLE {name} SET idle_in_transaction_session_timeout = '60s';"
    for name in PAIRS["database"]
)


@dataclass
class Bed:
    """The lab with a service that declares its rotation, and the file of its logins."""

    turnout: Turnout
    folder: Path
    options: tuple[str, ...]
    seen: set[str] = field(default_factory=set)

    @property
    def file(self) -> Path:
        return self.folder / "group_vars" / "all" / "rotated.yml"

    def vault(self) -> VaultLib:
        return VaultLib([("default", VaultSecret((self.folder / "password").read_bytes()))])

    def logins(self) -> dict[str, Any]:
        """Return what the file has, and remember each password for the search at the end."""
        found = yaml.safe_load(self.vault().decrypt(self.file.read_bytes()))["rotated"]
        self.seen |= {one["password"] for one in found.values()}
        self.seen |= {one["next"]["password"] for one in found.values() if "next" in one}
        return dict(found)

    def rotate(self, *options: str) -> Run:
        run = self.turnout.playbook("rotate", *self.options, "-e", "canary=off", "-e", "lab_steady_s=3", *options)
        self.logins()
        return run

    def closed(self) -> Run:
        """Close the old logins, once the way back is cold."""
        time.sleep(WARM_S + 1)
        run = self.rotate("-e", "close=true", "-e", "end_sessions=true")
        assert run.rc == 0, run.tail
        return run

    def comes_in(self, name: str, login: dict[str, str]) -> bool:
        """Tell whether an application host is let in with a login."""
        data = self.turnout.address("data1")
        words = f"LOGIN={login['user']} PASSWORD={login['password']} HOST={data} python3 -c '{ASK[name]}'"
        said = self.turnout.ssh("app1", words, check=False).strip()
        assert said in ("in", "out"), said.replace(login["password"], "...")
        return said == "in"


@pytest.fixture(scope="module")
def bed(turnout: Turnout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    turnout.ensure("1.0.0")
    folder = tmp_path_factory.mktemp("rotation")
    (folder / "password").write_text("opens the file of this test")
    run = turnout.playbook("site", "--tags", "edge,postgres,redis")
    assert run.rc == 0, run.tail
    turnout.ssh("data1", f'cd / && sudo -u postgres psql -v ON_ERROR_STOP=1 -c "{PREPARE}"')
    (folder / "hosts.yml").write_text("all: {}\n")
    service = yaml.safe_load(SERVICE_FILE.read_text())["service"]
    database, queue = service["environment"]["DATABASE_URL"], service["environment"]["REDIS_URL"]
    login = "{{ rotated.%s.user }}:{{ rotated.%s.password }}"
    changed = turnout.with_service(
        environment={
            "DATABASE_URL": database.replace("sample_app:{{ postgres_passwords.app }}", login % (("database",) * 2)),
            "REDIS_URL": queue.replace("service:{{ redis_passwords.service }}", login % (("queue",) * 2)),
        },
        rotation={
            "database": {"postgres": list(PAIRS["database"]), "environment": ["DATABASE_URL"]},
            "queue": {"redis": list(PAIRS["queue"]), "rules": RULES, "environment": ["REDIS_URL"]},
        },
        warm_s=WARM_S,
    )
    options = (
        "-i", "inventories/lab", "-i", str(folder / "hosts.yml"), "--vault-password-file", str(folder / "password"),
        "-e", f"rotate_file={folder}/group_vars/all/rotated.yml", *changed,
    )  # fmt: skip
    made = Bed(turnout, folder, options)
    made.file.parent.mkdir(parents=True)
    secrets = turnout.lab.state_dir / "secrets"
    text = {
        "database": {"user": "sample_app", "password": (secrets / "postgres_app").read_text().strip()},
        "queue": {"user": "service", "password": (secrets / "redis_service").read_text().strip()},
    }
    made.file.write_bytes(made.vault().encrypt(yaml.safe_dump({"rotated": text})))
    yield made
    assert turnout.deploy("1.0.0").rc == 0  # with the lab's own logins


def sound(bed: Bed) -> None:
    """What serves answers with its own login; the file's current login is let in."""
    for name, login in bed.logins().items():
        assert bed.comes_in(name, login), name


def test_check_mode_says_what_it_would_do_and_changes_nothing(bed: Bed) -> None:
    before = bed.file.read_bytes()
    run = bed.rotate("--check")
    assert run.rc == 0, run.tail
    assert "gets a new password, is tried from every host" in run.out
    assert "done (--check: no host was changed)" in run.out
    assert bed.file.read_bytes() == before


def test_rotations_under_load_fail_no_request_and_the_old_logins_are_refused(bed: Bed) -> None:
    with bed.turnout.load(rate=RATE, seconds=300 * ROTATIONS, mix=SHORT_ANSWERS) as load:
        for number in range(ROTATIONS):
            old = bed.logins()
            run = bed.rotate(*(["-vvvv", "--diff"] if number == 0 else []))
            assert run.rc == 0, run.tail
            if number == 1:  # at first nothing of a pair was in service, that could be closed
                refused(bed.rotate("-e", "close=true"), "warm for another")
            new = bed.logins()
            assert {name: one["user"] for name, one in new.items()} == {
                name: pair[number % 2] for name, pair in PAIRS.items()
            }
            sound(bed)
            assert all(bed.comes_in(name, one) for name, one in old.items()), "the way back has them"
            bed.closed()
            sound(bed)
            if number:
                assert not any(bed.comes_in(name, one) for name, one in old.items())
            for secret in bed.seen:
                assert secret not in run.out
    assert load.report["failed"] == 0, load.report["failures"]
    for edge in EDGES:
        written = bed.turnout.ssh(edge, "cat /var/lib/turnout/*.json*")
        assert not any(secret in written for secret in bed.seen)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_run_that_is_killed_is_gone_on_with(bed: Bed, boundary: str) -> None:
    with bed.turnout.load(rate=RATE / 10, mix=SHORT_ANSWERS) as load:
        process = bed.turnout.start("rotate", *bed.options, "-e", "canary=off", "-e", "lab_steady_s=3")
        assert process.stdout is not None
        for line in process.stdout:
            if boundary.split("| ")[1] in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        sound(bed)
        made = {name: one.get("next") or one for name, one in bed.logins().items()}
        time.sleep(40)  # the lock of the dead run, and what its deploy may have begun, end by themselves
        run = bed.rotate()
        assert run.rc == 0, run.tail
        if boundary == "Rotate | 4/4":
            assert bed.logins() == made, "no third password"
        sound(bed)
        bed.closed()
    assert load.report["failed"] == 0, load.report["failures"]


def test_after_a_rollback_the_same_logins_are_released_again(bed: Bed) -> None:
    before = bed.logins()
    assert bed.rotate().rc == 0
    new = bed.logins()
    assert bed.turnout.rollback().rc == 0
    assert all(bed.comes_in(name, one) for name, one in (*before.items(), *new.items()))
    run = bed.rotate()
    assert run.rc == 0, run.tail
    assert bed.logins() == new
    bed.closed()
    assert bed.turnout.rollback().rc == 0, "nothing to go back to is no failure"
    sound(bed)
