"""The playbook's own tasks, at a real PostgreSQL and Redis: new logins made, tried and adopted, the old ones closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql
from ansible_collections.turnout.ops.plugins.module_utils.rotated_postgres import open_login
from rotation_servers import REDIS, RedisServer, postgres

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PAIRS = {"database": ["shop_a", "shop_b"], "queue": ["queue_a", "queue_b"]}
pytestmark = pytest.mark.skipif(not REDIS.exists() or os.geteuid() != 0, reason="needs Redis, and root")


def play(state: str, steps: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Return a play that has looked, and does what the playbook does next."""
    read = {
        "state": "read",
        "service": "{{ service | turnout.ops.service_json }}",
        "inventory_dir": "{{ inventory_dir }}",
    }
    secret = {"state": "secrets", "credentials": "{{ rotate_read.credentials }}"}
    ask = {
        "kind": "{{ item.value.kind }}", "state": "look", "pair": "{{ item.value.pair }}", "port": "{{ redis_port }}",
        "logins": "{{ rotate_secret.secrets[item.key] | to_json }}",
        "data_directory": "{{ checklist.postgres.data_directory }}",
    }  # fmt: skip
    return [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"rotate_plan": {"steps": steps, "back": [], "version": "1", **more}},
            "tasks": [
                {"turnout.ops.rotation": {**read, "file": "{{ rotate_file }}"}, "register": "rotate_read"},
                {
                    "turnout.ops.rotation": {**secret, "file": "{{ rotate_file }}"}, "register": "rotate_secret",
                    "no_log": True,
                },
                {
                    "turnout.ops.login_pair": ask, "register": "rotate_looked",
                    "loop": "{{ rotate_read.credentials | dict2items }}", "loop_control": {"label": "{{ item.key }}"},
                },
                {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks" / f"rotate_{state}.yml")},
            ],
        }
    ]  # fmt: skip


def played(folder: Path, what: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "play.yml").write_text(json.dumps(what))
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    words = ["-i", str(folder / "hosts.yml"), "-vvv", "--vault-password-file", str(folder / "password")]
    return subprocess.run(
        [str(BIN / "ansible-playbook"), str(folder / "play.yml"), *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_new_logins_are_made_tried_and_adopted_and_the_old_ones_closed(tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text("user default on nopass ~* &* +@all\n")
    server = RedisServer(tmp_path, f"aclfile {tmp_path}/users.acl")
    try:
        with postgres() as (data, port):
            psql = Psql(str(data))
            psql.run("CREATE ROLE shop; CREATE ROLE shop_a IN ROLE shop; CREATE ROLE shop_b IN ROLE shop;")
            open_login(psql, "shop_a", "old-password-1")
            server.client().acl_setuser(
                "queue_a", enabled=True, passwords=["+old-password-2"], keys=["*"], commands=["+@all"]
            )
            vault = VaultLib([("default", VaultSecret(b"opens it"))])
            (tmp_path / "password").write_text("opens it")
            file = tmp_path / "group_vars" / "all" / "rotated.yml"
            file.parent.mkdir(parents=True)
            old = {
                "database": {"user": "shop_a", "password": "old-password-1"},
                "queue": {"user": "queue_a", "password": "old-password-2"},
            }
            file.write_bytes(vault.encrypt(yaml.safe_dump({"rotated": old})))
            login = "{{ rotated.%s.user }}:{{ rotated.%s.password }}"
            service = {
                "name": "shop", "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
                "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
                "environment": {
                    "DATABASE_URL": f"postgresql://{login % ('database', 'database')}@127.0.0.1:{port}/postgres",
                    "REDIS_URL": f"redis://{login % ('queue', 'queue')}@127.0.0.1:{server.port}/0",
                },
                "rotation": {
                    "database": {"postgres": PAIRS["database"], "environment": ["DATABASE_URL"]},
                    "queue": {"redis": PAIRS["queue"], "rules": "~* +@all", "environment": ["REDIS_URL"]},
                },
            }  # fmt: skip
            (tmp_path / "signers").write_text("")
            groups = {name: {"hosts": {"localhost": {}}} for name in ("api", "postgres", "redis", "edge")}
            variables = {
                "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "service": service,
                "rotate_file": str(file), "redis_port": server.port, "rotate_drain_s": 1,
                "redis_users": {"admin": {"user": "", "password": ""}},
                "checklist": {"postgres": {"data_directory": str(data)}},
            }  # fmt: skip
            (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups, "vars": variables}}))

            begins = {"database": "shop_b", "queue": "queue_b"}
            steps = {name: {"kind": "begin", "user": user} for name, user in begins.items()}
            done = played(tmp_path, play("open", steps, begins=begins))
            assert done.returncode == 0, done.stdout[-6000:]
            new = yaml.safe_load(vault.decrypt(file.read_bytes()))["rotated"]
            assert {name: one["user"] for name, one in new.items()} == begins
            for one in (old, new):
                who = one["database"]
                words = f"host=127.0.0.1 port={port} dbname=postgres user={who['user']} password={who['password']}"
                psycopg.connect(words).close()
                assert server.client(one["queue"]["user"], one["queue"]["password"]).ping()
            out = done.stdout + done.stderr

            steps = {"database": {"kind": "close", "user": "shop_a"}, "queue": {"kind": "close", "user": "queue_a"}}
            who = old["database"]
            words = f"host=127.0.0.1 port={port} dbname=postgres user={who['user']} password={who['password']}"
            with psycopg.connect(words):
                done = played(tmp_path, play("close", steps))
                assert done.returncode == 2, done.stdout[-6000:]
                for said in ("rotate-sessions", "from 127.0.0.1", "-e end_sessions=true"):
                    assert said in done.stdout, done.stdout[-6000:]
            psycopg.connect(words).close()  # it was not closed
            out += done.stdout + done.stderr

            done = played(tmp_path, play("close", steps))
            assert done.returncode == 0, done.stdout[-6000:]
            roles = {
                one["rolname"]: one["rolcanlogin"] for one in psql.rows("SELECT rolname, rolcanlogin FROM pg_roles")
            }
            assert (roles["shop_a"], roles["shop_b"]) == (False, True)
            assert server.client().acl_getuser("queue_a")["enabled"] is False
            out += done.stdout + done.stderr
            for one in (*old.values(), *new.values()):
                assert one["password"] not in out
    finally:
        server.stop()
