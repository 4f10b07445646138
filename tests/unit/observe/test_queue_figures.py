"""The program that tells how queues stand, with a real Redis: what it writes, and what it does not know."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis_server
import yaml
from turnout.checklist import config as checklist_config
from turnout.checklist.queue_questions import questions
from turnout.service import load as load_service

ROOT = Path(__file__).parents[3]
SERVICE = {
    **yaml.safe_load((ROOT / "examples/tiny_service/service.yml").read_text())["service"],
    "releases": {"source": "/srv/releases", "allowed_signers": "allowed_signers"},
}
PASSWORD = "never-shown-anywhere"


@pytest.fixture(scope="module")
def server():
    with redis_server.running() as client:
        yield client


@pytest.fixture
def laid(tmp_path):
    """The program and its modules, as the role lays them."""
    role = yaml.safe_load((ROOT / "roles/queue_figures/tasks/install.yml").read_text())
    (names,) = [task["loop"] for task in role if task["name"] == "Lay what reads queues"]
    modules = tmp_path / "lib/ansible_collections/turnout/ops/plugins/module_utils"
    modules.mkdir(parents=True)
    for name in names:
        shutil.copy(ROOT / "plugins/module_utils" / name, modules)
    shutil.copy(ROOT / "roles/queue_figures/files/turnout_queue_figures.py", tmp_path / "lib")
    return tmp_path


def look(laid, queues):
    settings = {"every_s": 15, "textfile": str(laid / "queues.prom"), "queues": queues}
    (laid / "queues.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-IS", laid / "lib/turnout_queue_figures.py", laid / "queues.json", "once"],
        capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (laid / "queues.prom").read_text()
    figures = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=False).returncode == 0
    return figures, done.stderr


def asked(port, *queues):
    """Return what the role would lay for these entries of checklist.queues."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    service = load_service({**SERVICE, "environment": {"REDIS_URL": url}}, base_dir=ROOT)
    return questions(checklist_config.load({"queues": list(queues)}, service=service, base_dir=ROOT))


LIST = {"name": "mails", "layout": "list", "keys": ["q:mails"], "retry_keys": ["q:later"], "dead_keys": ["q:dead"],
        "time_field": "at", "max_depth": 5, "max_oldest_s": 60.0, "max_dead": 0}  # fmt: skip


def without_password(queues):
    return {
        name: {**one, "arguments": {**one["arguments"], "url": one["arguments"]["url"].replace(f":{PASSWORD}@", "")}}
        for name, one in queues.items()
    }


def test_depth_oldest_retries_dead_letters_and_limits_are_written(server, laid):
    server.flushall()
    port = server.connection_pool.connection_kwargs["port"]
    seconds, micros = server.time()
    now = seconds + micros / 1e6
    for age in (90, 30, 10):
        server.lpush("q:mails", json.dumps({"at": now - age}))
    server.zadd("q:later", {"a": 1, "b": 2})
    server.lpush("q:dead", "x")
    figures, said = look(laid, without_password(asked(port, LIST)))
    assert said == ""
    assert figures['turnout_queue_jobs{queue="mails"}'] == 3
    assert 89 < figures['turnout_queue_oldest_seconds{queue="mails"}'] < 150
    assert figures['turnout_queue_retry_jobs{queue="mails"}'] == 2
    assert figures['turnout_queue_dead_jobs{queue="mails"}'] == 1
    assert figures['turnout_queue_limit{queue="mails",of="jobs"}'] == 5
    assert figures['turnout_queue_limit{queue="mails",of="oldest"}'] == 60
    assert figures['turnout_queue_limit{queue="mails",of="dead"}'] == 0
    assert figures['turnout_queue_looked_timestamp_seconds{queue="mails"}'] > 1e9


def test_a_queue_that_cannot_be_looked_at_has_no_figures_and_the_others_have(server, laid):
    server.flushall()
    server.set("q:odd", "no list")
    port = server.connection_pool.connection_kwargs["port"]
    odd = {**LIST, "name": "odd", "keys": ["q:odd"]}
    figures, said = look(laid, without_password(asked(port, LIST, odd)))
    assert figures['turnout_queue_jobs{queue="mails"}'] == 0
    assert 'turnout_queue_jobs{queue="odd"}' not in figures
    assert figures['turnout_queue_looked_timestamp_seconds{queue="odd"}'] == 0
    assert "queue odd: error" in said


def test_a_password_that_is_refused_is_told_and_shown_nowhere(server, laid):
    port = server.connection_pool.connection_kwargs["port"]
    queues = asked(port, LIST)
    assert PASSWORD in queues["mails"]["arguments"]["url"]
    figures, said = look(laid, queues)
    assert "queue mails: " in said
    assert PASSWORD not in said + (laid / "queues.prom").read_text()
    assert not [name for name in figures if name.startswith("turnout_queue_jobs")]


def test_without_an_address_of_redis_nothing_is_asked():
    read = load_service({**SERVICE, "environment": {}}, base_dir=ROOT)
    assert questions(checklist_config.load({"queues": [LIST]}, service=read, base_dir=ROOT)) == {}


def test_the_role_asks_for_every_module_that_the_program_needs():
    role = yaml.safe_load((ROOT / "roles/queue_figures/tasks/install.yml").read_text())
    (names,) = [task["loop"] for task in role if task["name"] == "Lay what reads queues"]
    needed, left = set(), {"queues.py", "answers.py"}
    while left:
        name = left.pop()
        needed.add(name)
        text = (ROOT / "plugins/module_utils" / name).read_text()
        for one, several in re.findall(
            r"^from ansible_collections\.turnout\.ops\.plugins\.module_utils(?:\.(\w+))? import (.+)$", text, re.M
        ):
            found = {f"{one}.py"} if one else {f"{word.strip()}.py" for word in several.split(",")}
            left |= found - needed
    assert set(names) == needed
