"""Options that would run a part of a story are refused in one sentence, before anything is touched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from test_nothing_done import ALL, BIN, ROOT, inventory, is_refused, turnout

BACKUPS = {"backup_repositories": [{"path": "/b"}]}


def was_not_begun(folder: Path) -> None:
    """See that no task started: not one of the controller's, and none on a host."""
    (events,) = (folder / "state" / "turnout" / "runs").glob("*/events.jsonl")
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    assert not [row for row in rows if row["event"] in ("phase", "task", "doing", "unreachable")]
    assert (rows[-1]["event"], rows[-1]["how"]) == ("end", "failed")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("deploy", ["--start-at-task", "Record*"]),
        ("drill", ["--start-at-task", "Judge"]),
        ("restore", ["--step"]),
        ("watch", ["--step"]),
    ],
)
def test_a_story_is_not_begun_in_its_middle(tmp_path: Path, name: str, option: list[str]) -> None:
    inventory(tmp_path, *ALL, **BACKUPS)
    done = turnout(tmp_path, name, *option)
    is_refused(done, "story-cut", " ".join(option), f"take {' '.join(option)} away")
    was_not_begun(tmp_path)


# Facts of restores, and options of roles, are looked at whatever the tags say.
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("deploy", ["--tags", "x"]),
        ("restore", ["--tags", "always"]),
        ("migration-check", ["--skip-tags", "untagged"]),
        ("status", ["--tags", "always"]),
    ],
)
def test_tags_that_choose_none_of_a_story_begin_nothing(tmp_path: Path, name: str, option: list[str]) -> None:
    inventory(tmp_path, *ALL, **BACKUPS)
    done = turnout(tmp_path, name, *option)
    is_refused(done, "nothing-done", "NOT done: ", f"take {' '.join(option)} away")
    was_not_begun(tmp_path)


def test_tags_that_choose_all_of_a_story_cut_nothing(tmp_path: Path) -> None:
    inventory(tmp_path, *ALL)
    for option in (["--skip-tags", "x"], ["--tags", "untagged"], ["--tags", "all"]):
        done = turnout(tmp_path, "doors", *option)
        assert (done.returncode, " s  done" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (["deploy", "1.0.0", "--limit", "api1"], "left out of the release: edge1"),
        (
            ["deploy", "1.0.0", "--limit", "localhost,edge,api,worker"],
            "left out of the release: monitoring1, postgres1",
        ),
        (["rollback", "--limit", "edge1"], "left out of the rollback: api1, worker1"),
        (["restore", "--limit", "postgres1"], "left out of the restore: localhost"),
        (["restore-redis", "--limit", "redis1"], "left out of the restore redis: localhost"),
        (["drill", "--limit", "drill1"], "left out of the restore drill: localhost"),
        (["migration-check", "1.0.0", "--limit", "localhost,edge1"], "left out of the migration check: drill1"),
        (["backup", "--limit", "localhost,postgres1"], "left out of the backup: redis1"),
        (["checklist", "1.0.0", "--limit", "localhost,edge1"], "left out of the checklist: api1, monitoring1"),
        (["recovery-report", "--limit", "edge"], "left out of the recovery report: monitoring1"),
        (["schedule", "--limit", "postgres1"], "left out of the schedule: localhost"),
        (["rehearse-rollback", "--limit", "!edge2"], "left out of the rehearse rollback: edge2"),
    ],
)
def test_a_limit_that_leaves_hosts_out_of_a_story_is_refused(tmp_path: Path, words: list[str], left_out: str) -> None:
    path = inventory(tmp_path, *ALL, **BACKUPS)
    if words[-1] == "!edge2":
        content = yaml.safe_load(path.read_text())
        content["all"]["children"]["edge"]["hosts"]["edge2"] = {"ansible_host": "127.0.0.1", "ansible_port": 9}
        path.write_text(yaml.safe_dump(content))
    done = turnout(tmp_path, *words)
    code = {"drill": "restore-drill"}.get(words[0], words[0])
    is_refused(done, f"{code}-limited", left_out, f"take --limit {words[-1]} away: ansible-playbook turnout.ops.")
    was_not_begun(tmp_path)


def test_a_limit_that_leaves_nobody_out_cuts_nothing(tmp_path: Path) -> None:
    inventory(tmp_path, *ALL, **BACKUPS)
    done = turnout(tmp_path, "rollback", "--limit", "all")
    assert "-limited]" not in done.stdout
    assert "edge1 UNREACHABLE" in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["doors", "status", "unlock", "exposure", "watch"])
def test_what_stands_for_each_host_alone_may_be_limited(tmp_path: Path, name: str) -> None:
    inventory(tmp_path, *ALL)
    done = turnout(tmp_path, name, "--limit", "edge1")
    assert "-limited]" not in done.stdout
    assert "error[nothing-done]" not in done.stdout


def test_a_playbook_that_imports_a_story_is_held_to_it_and_its_own_plays_are_not(tmp_path: Path) -> None:
    inventory(tmp_path, *ALL)
    says = {"name": "Say", "ansible.builtin.debug": {"msg": "hello"}, "tags": "mine"}
    own = {
        "name": "Own | 1/2 | say",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [says, {**says, "tags": "x"}],
    }
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}

    def played(plays: list[object], *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "own.yml").write_text(yaml.safe_dump(plays))
        line = [BIN / "ansible-playbook", tmp_path / "own.yml", "-i", tmp_path / "hosts.yml", *options]
        return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)

    for option in (["--tags", "mine"], ["--start-at-task", "Say"]):
        done = played([own], *option)
        assert (done.returncode, "hello" in done.stdout) == (0, True), done.stdout + done.stderr
    is_refused(played([own, {"import_playbook": "turnout.ops.rollback"}], "--start-at-task", "Say"), "story-cut")
    is_refused(played([own, {"import_playbook": "turnout.ops.rollback"}], "--limit", "edge1"), "rollback-limited")
    # Tags that leave the whole of a story away, or take the whole of it, cut nothing.
    done = played([own, {"import_playbook": "turnout.ops.rollback"}], "--tags", "mine")
    assert (done.returncode, "hello" in done.stdout) == (0, True), done.stdout + done.stderr
    done = played([{"import_playbook": "turnout.ops.doors", "tags": "look"}], "--tags", "look")
    assert (done.returncode, " s  done" in done.stdout) == (0, True), done.stdout + done.stderr
