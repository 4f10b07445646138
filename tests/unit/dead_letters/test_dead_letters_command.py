"""What a person asks for, and what is told: by variables of the playbook, and by the playbook itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from asynq_tasks import Tasks
from hypothesis import given
from hypothesis import strategies as st
from turnout import dead_letters
from turnout.checklist import config as checklist_config
from turnout.errors import TurnoutError
from turnout.service import load

ROOT = Path(__file__).parents[3]
SERVICE: dict[str, Any] = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    "workers": {"jobs": {"command": "bin/worker"}},
}
QUEUES = [
    {"name": "mails", "layout": "asynq", "queues": ["mails"], "max_oldest_s": 30, "redact": ["to"]},
    {"name": "plain", "layout": "list", "keys": ["jobs"], "dead_keys": ["jobs:dead"], "type_field": "kind"},
    {"name": "seen", "layout": "prometheus", "queries": {"depth": "x"}},
]


def configured(tmp_path: Path, queues: list[dict[str, Any]] | None = None) -> Any:
    service = load({**SERVICE, "environment": {"REDIS_URL": "redis://:canary-pass@127.0.0.1:1/0"}}, base_dir=tmp_path)
    return checklist_config.load(
        {"queues": QUEUES if queues is None else queues, "prometheus": {"url": "http://127.0.0.1:1"}},
        service=service, base_dir=tmp_path,
    )  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return configured(tmp_path)


def test_what_is_declared_is_what_a_host_is_asked(config: Any) -> None:
    asked = dead_letters.question(
        {"do": "replay", "queue": "mails", "group": "AB12CD34", "reason": "mended", "rate": "5"}, config, check=False
    )
    (queue,) = asked["queues"]
    assert queue["arguments"]["select"] == {"group": "ab12cd34", "ids": [], "older_s": None, "newer_s": None}
    assert queue["arguments"]["pace"] == {
        "rate": 5.0, "batch": 50, "stop_at": 0.1, "settle_s": 120.0, "max_delay_s": 30.0
    }  # fmt: skip
    assert queue["arguments"]["redact"] == ["to"]
    assert [one["name"] for one in dead_letters.question({}, config, check=False)["queues"]] == ["mails", "plain"]


@pytest.mark.parametrize(
    ("asked", "code", "word"),
    [
        ({"do": "repaly"}, "word", "turnout dead-letters replay"),
        ({"do": "replay", "queue": "mails"}, "selection", "-e everything=true"),
        ({"do": "drop", "queue": "mails", "everything": "true"}, "reason", "reason="),
        ({"do": "replay", "everything": "true", "reason": "x"}, "queue", "-e queue=NAME"),
        ({"queue": "mail"}, "queue", "-e queue=mails"),
        ({"queue": "seen"}, "queue", "one of: mails, plain"),
        ({"group": "the great one"}, "group", "8 hexadecimal digits"),
        ({"older_s": "an hour"}, "number", "-e older_s=NUMBER"),
        ({"rate": "nan"}, "number", "0.01"),
        ({"stop_at": "7"}, "number", "from 0 to 1"),
        ({"sets": "dead,live"}, "sets", "-e sets=dead,retry"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_mends_it(
    config: Any, asked: dict[str, str], code: str, word: str
) -> None:
    with pytest.raises(TurnoutError) as refused:
        dead_letters.question(asked, config, check=False)
    assert refused.value.code == f"dead-letters-{code}"
    assert word in str(refused.value)
    assert "canary-pass" not in str(refused.value)


@given(st.dictionaries(st.sampled_from(["do", "queue", "group", "ids", "older_s", "rate", "sets", "most"]), st.text()))
def test_any_text_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, asked: dict[str, str]) -> None:
    config = configured(tmp_path_factory.getbasetemp())
    try:
        assert dead_letters.question(asked, config, check=False)["queues"]
    except TurnoutError as error:
        assert error.code.startswith("dead-letters-")


def test_without_a_queue_in_redis_it_says_where_one_is_declared(tmp_path: Path) -> None:
    with pytest.raises(TurnoutError, match="names no queue"):
        dead_letters.question({}, configured(tmp_path, QUEUES[2:]), check=False)


def test_lists_that_name_no_dead_letters_are_told(tmp_path: Path) -> None:
    plain = configured(tmp_path, [{"name": "plain", "layout": "list", "keys": ["jobs"]}])
    with pytest.raises(TurnoutError) as refused:
        dead_letters.question({}, plain, check=False)
    assert "dead_keys" in refused.value.remedy


def test_the_ledger_keeps_counts_and_no_payload() -> None:
    told = {"mails": {"selected": 3, "moved": 3, "done": 3, "ended": "done", "letters": [{"payload": "private"}]}}
    entry = dead_letters.entry("replay", "mended", told, state="ended")
    assert entry["queues"] == {"mails": {"selected": 3, "moved": 3, "done": 3, "ended": "done"}}


class Team:
    """An inventory of one host, this one, with the queue in the Redis of this test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        service = {**SERVICE, "environment": {"REDIS_URL": url}}
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
        hosts = {"all": {"vars": {"service": service, "checklist": {"queues": QUEUES[:2]}},
                         "children": {"worker": {"hosts": {"here": host}}}}}  # fmt: skip
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def asks(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type `turnout dead-letters`."""
        command = [
            str(Path(sys.executable).parent / "turnout"),
            "dead-letters",
            *words,
            "-i",
            str(self.folder / "hosts.yml"),
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("server", ["redis"], indirect=True)  # it takes long
def test_a_person_lists_replays_and_drops(client: redis.Redis, url: str, tmp_path: Path) -> None:
    team, tasks = Team(tmp_path, url), Tasks(client)
    for number in range(3):
        tasks.archive(f"t{number}", "mail:send", '{"to": "anna", "n": 1}', f"refused {number}", 1000.0 + number)
    listed = team.asks("list", "-vvv")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "mails: 3 dead letters" in listed.stdout
    assert "refused #" in listed.stdout
    shown = team.asks("show", "-e", "queue=mails", "-e", "format=json")
    told = json.loads(shown.stdout)["queues"]["mails"]
    assert json.loads(told["letters"][0]["payload"]) == {"to": "(hidden)", "n": 1}
    group = told["groups"][0]["group"]
    without = team.asks("replay", "-e", "queue=mails", "-e", f"group={group}")
    assert without.returncode != 0
    assert "without a reason" in without.stdout + without.stderr
    checked = team.asks("drop", "-e", "queue=mails", "-e", "everything=true", "--check")
    assert "would drop 3 dead letters" in checked.stdout, checked.stdout + checked.stderr
    words = ("-e", "queue=mails", "-e", f"group={group}", "-e", "reason='the mail server is back'", "-e", "settle_s=3")
    replayed = team.asks("replay", *words)
    assert replayed.returncode != 0, "nobody works at them here"
    sent = re.search(r"([12]) sent again", replayed.stdout)
    assert sent, "what the objective lets in before the first is taken: " + replayed.stdout + replayed.stderr
    assert "jobs are not taken from the queue for 3 s" in replayed.stdout + replayed.stderr
    assert client.llen(tasks.key + "pending") == int(sent[1])
    client.delete(tasks.key + "pending")
    for name in client.zrange(tasks.key + "archived", 0, -1):
        client.zrem(tasks.key + "archived", name)
    nothing = team.asks("drop", *words)
    assert nothing.returncode != 0
    assert "selects no dead letter" in nothing.stdout + nothing.stderr
    tasks.archive("t9", "mail:send", "{}", "refused 9", 1009.0)
    dropped = team.asks("drop", *words)
    assert dropped.returncode == 0, dropped.stdout + dropped.stderr
    assert "mails: dropped 1 of 1 dead letter of 1" in dropped.stdout
    assert client.zcard(tasks.key + "archived") == 0
    for run in (dropped, listed, shown, without, checked, replayed, nothing):
        assert "Traceback" not in run.stdout + run.stderr
