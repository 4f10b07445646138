"""Where nothing was done, or nothing is known, a command says so and its exit code is not 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_missing_groups import ROOT, SERVICE

BIN = Path(sys.executable).parent
ALL = ("edge", "api", "worker", "postgres", "redis", "monitoring", "drill")


def inventory(folder: Path, *groups: str, port: int = 9, **variables: object) -> Path:
    """Write an inventory with one host for each group, which nobody reaches."""
    host = {"ansible_host": "127.0.0.1", "ansible_port": port, "ansible_user": "nobody"}
    children = {group: {"hosts": {f"{group}1": host}} for group in groups}
    content = {"all": {"children": children, "vars": {"service": SERVICE, **variables}}}
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def turnout(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `turnout` in a checkout's own settings, with the inventory of `folder`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TURNOUT_"))}
    env |= {"XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment}
    line = [str(BIN / "turnout"), words[0], "-i", str(folder / "hosts.yml"), *words[1:]]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def is_refused(done: subprocess.CompletedProcess[str], code: str, *told: str) -> None:
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert f"error[{code}]" in output
    assert "expected: " in output
    assert "to mend: " in output
    assert " s  done" not in output
    assert "Traceback" not in output
    for words in told:
        assert words in output, output


@pytest.mark.parametrize("name", ["rollback", "status", "doors", "site"])
def test_outside_of_an_operations_repository_nothing_is_begun(tmp_path: Path, name: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "TURNOUT_"))}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [BIN / "turnout", name], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    is_refused(done, "no-repository", f"no ansible.cfg in {tmp_path}", "-i INVENTORY")
    assert not (tmp_path / "state").exists()


def test_a_users_own_settings_name_an_inventory_too(tmp_path: Path) -> None:
    inventory(tmp_path, "edge")
    (tmp_path / ".ansible.cfg").write_text(f"[defaults]\ninventory = {tmp_path}/hosts.yml\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "TURNOUT_"))}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    line = [BIN / "turnout", "doors", "--list-hosts"]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, "edge1" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["restore-redis", "--limit", "monitoring1"], "--limit monitoring1"),
        (["backup", "--limit", "monitoring1"], "--limit monitoring1"),
        (["check", "--limit", "api1"], "--limit api1"),
        (["rollback", "--tags", "x"], "--tags x"),
        (["backup", "--tags", "x"], "--tags x"),
        (["check", "--tags", "x"], "--tags x"),
    ],
)
def test_a_run_without_any_task_is_not_done(tmp_path: Path, words: list[str], told: str) -> None:
    inventory(tmp_path, *ALL, backup_repositories=[{"path": "/b"}])
    done = turnout(tmp_path, *words)
    is_refused(done, "nothing-done", "NOT done: ", told)
    (events,) = (tmp_path / "state" / "turnout" / "runs").glob("*/events.jsonl")
    assert json.loads(events.read_text().splitlines()[-1])["how"] == "failed"  # and counts in no time left


@pytest.mark.parametrize("name", ["unlock", "watch"])
def test_a_misspelt_group_is_not_done(tmp_path: Path, name: str) -> None:
    inventory(tmp_path, "egde", "api")
    is_refused(turnout(tmp_path, name), "nothing-done", "is in edge", str(tmp_path / "hosts.yml"))
    bare = [BIN / "ansible-playbook", f"turnout.ops.{name}", "-i", tmp_path / "hosts.yml"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(bare, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    is_refused(done, "nothing-done", "is in edge")


def test_a_rollback_without_edges_says_so(tmp_path: Path) -> None:
    inventory(tmp_path, "egde", "api")
    is_refused(turnout(tmp_path, "rollback"), "rollback-edge", "no traffic was moved")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["restore", "-e", "restore_host=nobody"], "restore-host"),
        (["restore", "-e", "restore_host=nobody", "-e", "restored=X", "-e", "confirm=shop"], "restore-host"),
        (["drill", "-e", "drill_host=nobody"], "drill-host"),
        (["migration-check", "1.0.0", "-e", "migration_check_host=nobody"], "migration-check-host"),
    ],
)
def test_a_host_that_nobody_knows_is_refused(tmp_path: Path, words: list[str], code: str) -> None:
    inventory(tmp_path, *ALL, backup_repositories=[{"path": "/b"}])
    is_refused(turnout(tmp_path, *words), code, "nobody, which is no host of the inventory", "drill1")


def test_a_playbook_of_a_teams_own_may_be_for_the_controller_alone(tmp_path: Path) -> None:
    task = {"name": "Say", "ansible.builtin.debug": {"msg": "hello"}}
    (tmp_path / "own.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    inventory(tmp_path, "edge")
    line = [BIN / "ansible-playbook", tmp_path / "own.yml", "-i", tmp_path / "hosts.yml"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, " s  done" in done.stdout) == (0, True), done.stdout


def test_a_status_that_no_edge_told_is_not_known(tmp_path: Path) -> None:
    inventory(tmp_path, "edge", "api")
    done = turnout(tmp_path, "status")
    is_refused(done, "status-unanswered", "lock        not known (no edge answered)")
    as_json = turnout(tmp_path, "status", "-e", "format=json")
    assert as_json.returncode != 0
    assert json.loads(as_json.stdout)["agree"] is None
    assert "error[status-unanswered]" in as_json.stderr


def test_a_status_without_its_edges_says_so(tmp_path: Path) -> None:
    inventory(tmp_path, "edge", "api")
    done = turnout(tmp_path, "status", "--limit", "api1")
    is_refused(done, "status-unanswered", "--limit")
    assert "has no attribute" not in done.stdout
    inventory(tmp_path, "egde", "api")
    is_refused(turnout(tmp_path, "status"), "status-unanswered")


def test_json_stands_alone_and_the_cause_goes_to_stderr(tmp_path: Path) -> None:
    inventory(tmp_path, *ALL)
    done = turnout(tmp_path, "checklist", "1.0.0", "-e", "format=json")
    assert done.returncode != 0
    assert done.stdout.strip() == ""
    assert "First cause" in done.stderr
    assert "NOT done   events: " in done.stderr


@pytest.mark.parametrize(
    ("groups", "code", "told"),
    [
        (("edge", "api", "drill", "postgres"), "backup-repositories", "where backups go"),
        (("edge", "api", "drill"), "backup-host", "the database's host"),
    ],
)
def test_a_drill_of_nothing_says_what_is_missing(tmp_path: Path, groups: tuple[str, ...], code: str, told: str) -> None:
    inventory(tmp_path, *groups)
    is_refused(turnout(tmp_path, "drill"), code, told)


def test_a_host_that_a_task_is_delegated_to_is_named(tmp_path: Path) -> None:
    inventory(tmp_path, "edge")
    ask = {"name": "Ask", "ansible.builtin.ping": {}, "delegate_to": "{{ groups.edge[0] }}"}
    (tmp_path / "own.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [ask]}]))
    line = [BIN / "ansible-playbook", tmp_path / "own.yml", "-i", tmp_path / "hosts.yml"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    told = done.stdout[done.stdout.rfind("First cause") :]
    assert "edge1 (asked for localhost) could not be reached" in told, done.stdout
    assert "ansible edge1 -m ping" in told


def test_a_variable_that_is_missing_is_told_with_where_it_belongs(tmp_path: Path) -> None:
    path = inventory(tmp_path, "edge", "api")
    content = yaml.safe_load(path.read_text())
    content["all"]["vars"] = {}
    path.write_text(yaml.safe_dump(content))
    done = turnout(tmp_path, "check")
    assert "'service' is undefined" in done.stdout
    assert f"to mend: set it in {tmp_path}/group_vars/all (secrets: vault.yml)" in done.stdout, done.stdout


def test_a_release_to_a_part_of_the_hosts_is_refused_before_there_is_a_keeper(tmp_path: Path) -> None:
    inventory(tmp_path, "edge", "api")
    done = turnout(tmp_path, "deploy", "1.0.0", "--limit", "api1")
    is_refused(done, "deploy-limited", "left out of the release: edge1")
    assert done.stdout.count("error[") == 2, done.stdout  # as it comes, and as the first cause
    assert not list((tmp_path / "state").rglob("keeper.json"))


def test_a_phase_that_no_host_is_left_for_is_not_told(tmp_path: Path) -> None:
    inventory(tmp_path, "edge", "api")
    play = {"gather_facts": False, "any_errors_fatal": True}
    fails = {"name": "Fail", "ansible.builtin.fail": {"msg": "broken"}}
    works = {"name": "Work", "ansible.builtin.debug": {"msg": "hello"}}
    (tmp_path / "own.yml").write_text(
        yaml.safe_dump([
            {**play, "name": "Own | 1/3 | look", "hosts": "edge:localhost", "tasks": [fails]},
            {**play, "name": "Own | 2/3 | lay", "hosts": "deploying", "tasks": [works]},
            {**play, "name": "Own | 3/3 | move", "hosts": "deploying", "tasks": [works]},
        ])
    )  # fmt: skip
    line = [BIN / "ansible-playbook", tmp_path / "own.yml", "-i", tmp_path / "hosts.yml"]
    for progress in ("line", "plain"):
        state = tmp_path / progress
        env = {**os.environ, "XDG_STATE_HOME": str(state), "TURNOUT_PROGRESS": progress}
        done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode != 0
        assert "lay" not in done.stdout
        (events,) = state.rglob("events.jsonl")
        assert [
            row["phase"] for row in map(json.loads, events.read_text().splitlines()) if row["event"] == "phase"
        ] == ["1/3 look"]


@pytest.mark.parametrize("closed", ["pipe", "full"])
def test_an_output_that_nobody_reads_any_more_neither_stops_a_playbook_nor_shows_a_traceback(
    tmp_path: Path, closed: str
) -> None:
    """`turnout doors | head`, a terminal that is gone, a log on a disk that is full: the work goes on."""
    inventory(tmp_path, *ALL)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TURNOUT_"))}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    if closed == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [BIN / "turnout", "doors", "-i", tmp_path / "hosts.yml"],
        cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed for plugin" not in done.stderr
    ended = [path.read_text() for path in (tmp_path / "state").rglob("ended")]
    assert ended == ["ok"]
