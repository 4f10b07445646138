"""`rollback.yml` on hosts that are this machine: real `units`, a real fence, edges and systemctl that keep files.

Each host is a folder, and its Python is a script there that says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NEW, OLD = "20261130T020000-laptop-9", "20261130T010000-laptop-1"

EDGE = """#!/usr/bin/python
import json, os
GIVEN = r'''<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>'''
given = json.loads(GIVEN)
path = os.environ["HOST"] + "/edge.json"
state = json.load(open(path))
state["asked"].append({key: value for key, value in given.items() if not key.startswith("_")})
result = {"ok": True, "changed": False, "rc": 0, "message": "", "run": given.get("run")}
if given["command"] == "rollback":
    state["fence"] += 1
    state["holder"] = given["run"]
    result |= {"fence": state["fence"], "before": {"candidate": None}, "candidate_release": None, "displaced": None,
        "after": {"stable": "blue", "previous": None, "candidate": None}, "releases": {"blue": None, "green": None}}
    state["holder"] = state.get("overtaken_by") or given["run"]
elif given["command"] == "lock_beat":
    if state["holder"] != given["run"]:
        result = {"failed": True, "rc": 4, "error": {"code": "lock", "observed": "held by run " + state["holder"]}}
    else:
        state["fence"] = max(state["fence"], int(given["fence"]))
json.dump(state, open(path, "w"))
print(json.dumps(result))
"""
SYSTEMCTL = """#!/usr/bin/env python3
import os, sys
words = [word for word in sys.argv[1:] if not word.startswith("--")]
host = os.environ["HOST"]
open(host + "/log", "a").write(" ".join(words) + "\\n") if words[0] != "show" else None
path = host + "/units/" + words[-1]
if words[0] == "show":
    print("ActiveState=" + ("active" if os.path.exists(path) else "inactive") + "\\nMainPID=4711\\nJob=")
elif words[0] in ("start", "restart"):
    open(path, "w").close()
elif words[0] == "stop" and os.path.exists(host + "/stubborn"):
    sys.exit("it does not obey")
elif words[0] == "stop" and os.path.exists(path):
    os.unlink(path)
elif words[0] == "enable":
    os.makedirs(host + "/etc/systemd/system/multi-user.target.wants", exist_ok=True)
"""


# A host that was asked two minutes ago: a rollback that long has at least one full minute in it.
SCHEDULE = """#!/usr/bin/python
import json, time
now = time.time() - 120
found = [{"name": "report (@every 5m)", "due": now + 30}, {"name": "later (@every 1h)", "due": now + 3600}]
print(json.dumps({"changed": False, "answers": {"due": {"ok": True, "data": {"now": now, "entries": found}}}}))
"""


class Hosts:
    """Two edges and two application hosts."""

    limit_s = 120.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collection = folder / "collections/ansible_collections/turnout/ops"
        (self.collection / "plugins/modules").mkdir(parents=True)
        for path in ("roles", "playbooks", "meta", "galaxy.yml"):
            (self.collection / path).symlink_to(ROOT / path)
        for path in (ROOT / "plugins").iterdir():
            if path.name != "modules":
                (self.collection / "plugins" / path.name).symlink_to(path)
        for path in (ROOT / "plugins/modules").iterdir():
            if path.name not in ("edge.py", "units.py"):
                (self.collection / "plugins/modules" / path.name).symlink_to(path)
        (self.collection / "plugins/modules/edge.py").write_text(EDGE)
        units = (ROOT / "plugins/modules/units.py").read_text()
        units = units.replace('ROOT = "/"', 'ROOT = os.environ["HOST"]')
        units = units.replace('"/etc/systemd/system"', 'ROOT + "/etc/systemd/system"')
        units = units.replace('QUIESCED_DIR = "/run/turnout"', 'QUIESCED_DIR = ROOT + "/run/turnout"')
        (self.collection / "plugins/modules/units.py").write_text(units)
        for name in ("edge1", "edge2", "app1", "app2"):
            self.lay(name)
        host = {"ansible_connection": "local", "ansible_become": False, "ansible_pipelining": True}
        groups = {"edge": ("edge1", "edge2"), "api": ("app1", "app2"), "worker": ("app1", "app2")}
        hosts = {
            group: {
                "hosts": {name: {**host, "ansible_python_interpreter": f"{folder}/{name}/python"} for name in names}
            }
            for group, names in groups.items()
        }
        self.service = {
            "name": "shop",
            "api": {"drain_s": 7},
            "workers": {"mails": {"drain_s": 200}, "jobs": {"instances": 2}},
        }
        (folder / "hosts.yml").write_text(json.dumps({**hosts, "all": {"vars": {"service": self.service}}}))
        (folder / "run.yml").write_text(PLAY.format(tasks=ROOT / "playbooks/tasks/rollback_processes.yml"))

    def lay(self, name: str) -> None:
        folder = self.folder / name
        (folder / "units").mkdir(parents=True)
        (folder / "usr/local/lib").mkdir(parents=True)
        (folder / "usr/local/lib/turnout-host").symlink_to(ROOT / "roles/service_host/files")
        (folder / "bin").mkdir()
        for program, text in (
            ("bin/systemctl", SYSTEMCTL),
            ("python", f'#!/bin/sh\nHOST={folder} PATH={folder}/bin:$PATH exec {sys.executable} "$@"\n'),
        ):
            (folder / program).write_text(text)
            (folder / program).chmod(0o755)
        (folder / "etc/systemd/system").mkdir(parents=True)
        if name.startswith("app"):
            for process in ("api", "worker", "scheduler"):
                place = folder / f"etc/systemd/system/shop-{process}@blue.service.d"
                place.mkdir()
                (place / "turnout.conf").write_text("[Service]\n")
        self.edge(name, fence=1)

    def edge(self, name: str, **state: Any) -> None:
        (self.folder / name / "edge.json").write_text(json.dumps({"holder": "", "asked": [], **state}))

    def counts(self, name: str, fence: int) -> None:
        path = self.folder / name / "var/lib/turnout-slots/shop/fence.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"fence": fence, "run": OLD}))

    def counted(self, name: str) -> int:
        path = self.folder / name
        kept = path / ("edge.json" if name.startswith("edge") else "var/lib/turnout-slots/shop/fence.json")
        return int(json.loads(kept.read_text())["fence"])

    def home(self, name: str) -> None:
        for host in ("app1", "app2", "edge1", "edge2"):
            path = self.folder / host / "var/lib/turnout-homes/shop.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"host": name, "fence": 1, "run": OLD}))

    def runs(self, name: str) -> set[str]:
        return {path.name for path in (self.folder / name / "units").iterdir()}

    def rollback(self, *words: str, code: int = 0) -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("TURNOUT_", "ANSIBLE_"))}
        env |= {
            "XDG_STATE_HOME": str(self.folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"), "TURNOUT_RUN": NEW,
            "ANSIBLE_HOME": str(self.folder / "ansible"),
        }  # fmt: skip
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.folder / "hosts.yml"),
             str(self.folder / "run.yml"), *words],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=self.limit_s, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == bool(code), said
        assert "Traceback" not in said, said
        return said


PLAY = """
- name: Rollback | 1/2 | traffic
  hosts: edge
  gather_facts: false
  tasks:
    - turnout.ops.edge: {{command: rollback, run: "{{{{ rollback_run | default(run_id) }}}}"}}
      register: rollback_edge
  vars: &vars
    run_id: "{{{{ lookup('ansible.builtin.env', 'TURNOUT_RUN') }}}}"
    run_actor: ann
    run_owner: ann@laptop
    run_pid: 7
- name: Rollback | 2/2 | workers and scheduler
  hosts: edge:api:worker
  gather_facts: false
  vars: *vars
  module_defaults:
    group/turnout.ops.fenced:
      service: "{{{{ service.name }}}}"
      run: "{{{{ rollback_as }}}}"
      fence: "{{{{ run_fence }}}}"
  tasks:
    - ansible.builtin.import_tasks: {tasks}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def test_a_rollback_counts_on_from_the_hosts_where_its_edges_are_behind_them(hosts: Hosts) -> None:
    """Another edge answered the last rollbacks, and is down now."""
    hosts.counts("app1", 8)
    hosts.rollback()
    assert {name: hosts.counted(name) for name in ("app1", "app2", "edge1", "edge2")} == {
        "app1": 9, "app2": 9, "edge1": 9, "edge2": 9,
    }  # fmt: skip
    assert hosts.runs("app1") == {"shop-api@blue.service", "shop-worker@blue.service", "shop-scheduler@blue.service"}


def test_its_lock_lives_as_long_as_the_service_may_drain(hosts: Hosts) -> None:
    hosts.rollback()
    asked = json.loads((hosts.folder / "edge1/edge.json").read_text())["asked"]
    (beat,) = (one for one in asked if one["command"] == "lock_beat")
    assert float(beat["ttl_s"]) == 60 + 2 * 7 + 2 * 200 + 10  # all kinds drain at the same time
    assert int(beat["fence"]) == 2, "an edge that is not behind keeps its number"


def test_a_put_back_never_counts_on_from_a_run_that_overtook_it(hosts: Hosts) -> None:
    hosts.counts("app1", 8)
    said = hosts.rollback("-e", f"rollback_run={NEW} rollback_reason=why", code=2)
    assert f"was overtaken by run {OLD} (fence 8)" in said
    assert hosts.counted("app1") == 8
    assert hosts.runs("app1") == set()


def test_a_rollback_that_slept_while_another_run_took_over_touches_nothing(hosts: Hosts) -> None:
    hosts.counts("app1", 8)
    hosts.edge("edge2", fence=1, overtaken_by="another")
    said = hosts.rollback(code=2)
    assert "rollback-overtaken" in said and "held by run another" in said
    assert hosts.counted("app1") == 8
    assert hosts.runs("app1") | hosts.runs("app2") == set()


def test_a_rollback_waits_for_no_gap_and_names_what_fell_into_its_own(hosts: Hosts) -> None:
    for host in ("app1", "app2"):
        place = hosts.folder / host / "etc/systemd/system/shop-scheduler@green.service.d"
        place.mkdir()
        (place / "turnout.conf").write_text("[Service]\n")
    (hosts.folder / "app1/units/shop-scheduler@green.service").touch()
    probe = hosts.collection / "plugins/modules/probe.py"
    probe.unlink()
    probe.write_text(SCHEDULE)
    schedule = {"due": ["* * * * *"], "shown_by": "asynq", "gap_s": 3600, "wait_s": 3600}
    said = hosts.rollback("-e", json.dumps({"service": hosts.service | {"scheduler": schedule}}))
    told = said.partition("due while no scheduler ran: ")[2]
    assert "* * * * * at " in told and "report (@every 5m) at " in told
    assert "enqueue these by hand, unless the scheduler catches up" in said
    assert "shop-scheduler@blue.service" in hosts.runs("app1")


def test_web_processes_come_back_with_the_api_and_end_their_long_connections_before_they_are_stopped(
    hosts: Hosts,
) -> None:
    names = ("api", "web-admin", "web-events")
    for host in ("app1", "app2"):
        for name in names:
            for color in ("blue", "green"):
                place = hosts.folder / host / f"etc/systemd/system/shop-{name}@{color}.service.d"
                place.mkdir(exist_ok=True)
                quiesce = "X-Turnout-Quiesce=SIGUSR1\n" if name == "web-events" else ""
                (place / "turnout.conf").write_text(f"[Service]\n{quiesce}")
            (hosts.folder / host / f"units/shop-{name}@green.service").touch()
    web = {"admin": {"drain_s": 40}, "events": {"long": {"end": "close", "within_s": 50}}}
    hosts.rollback("-e", json.dumps({"service": hosts.service | {"web": web}}))
    for host in ("app1", "app2"):
        assert hosts.runs(host) >= {f"shop-{name}@blue.service" for name in names}
        assert not any("@green" in unit for unit in hosts.runs(host))
        log = (hosts.folder / host / "log").read_text().splitlines()
        told = "kill shop-web-events@green.service"
        assert [line for line in log if line.startswith("kill")] == [told]
        assert log.index("start shop-web-admin@blue.service") < log.index(told)
        assert all(log.index(told) < log.index(f"stop shop-{name}@green.service") for name in names)
    asked = json.loads((hosts.folder / "edge1/edge.json").read_text())["asked"]
    (beat,) = (one for one in asked if one["command"] == "lock_beat")
    assert float(beat["ttl_s"]) == 60 + 2 * 50 + 2 * 200 + 10


def test_a_schedule_that_cannot_be_read_ends_no_rollback(hosts: Hosts) -> None:
    (hosts.folder / "app1/units/shop-scheduler@green.service").touch()
    hosts.rollback("-e", json.dumps({"service": hosts.service | {"scheduler": {"due": ["soon"], "shown_by": "asynq"}}}))
    assert "shop-scheduler@blue.service" in hosts.runs("app1")


def test_a_home_that_answers_is_seen_stopped_before_another_starts_the_scheduler(hosts: Hosts) -> None:
    hosts.home("app1")
    (hosts.folder / "app1/units/shop-scheduler@blue.service").touch()
    hosts.rollback("-e", "scheduler_home=app2", "-e", "break_glass='app1 is slow'")
    assert "shop-scheduler@blue.service" in hosts.runs("app2")
    assert "shop-scheduler@blue.service" not in hosts.runs("app1")


def test_no_other_scheduler_starts_where_the_home_does_not_stop_its_own(hosts: Hosts) -> None:
    hosts.home("app1")
    (hosts.folder / "app1/units/shop-scheduler@blue.service").touch()
    (hosts.folder / "app1/stubborn").touch()
    said = hosts.rollback("-e", "scheduler_home=app2", "-e", "break_glass='app1 is slow'", code=2)
    assert "shop-scheduler@blue.service: systemctl stop said: it does not obey" in said
    assert "no scheduler was started" in said
    assert "shop-scheduler@blue.service" not in hosts.runs("app2")
    assert json.loads((hosts.folder / "app2/var/lib/turnout-homes/shop.json").read_text())["host"] == "app1"
