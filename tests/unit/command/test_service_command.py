"""`turnout run -- COMMAND`: what is refused before anything, and what the playbook is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from turnout.cli import cli
from turnout.command import service_command
from turnout.errors import TurnoutError

NAME = "20261130-093612-a1b2@app1"
RECORD = {
    "release_id": "1.0.0-abc", "color": "blue", "service": "shop", "actor": "ann", "begun_at": 0.0, "detach": False,
    "shown": ["bin/manage", "shell"], "timeout_s": 60,
}  # fmt: skip


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the playbook would have got; it says that the command ran, and ended with 4."""
    seen: list[dict[str, Any]] = []

    def play(options: Sequence[str], variables: dict[str, Any]) -> dict[str, Any]:
        seen.append({"options": list(options), **variables})
        return {"record": {**RECORD, "rc": 4}, "running": False, "host": "app1", "argv": ["ssh"], "output": "said\n"}

    monkeypatch.setattr(service_command, "_play", play)
    monkeypatch.setattr(service_command.Attached, "run", lambda _self: {"rc": 4, "result": "exit-code"})
    return seen


def invoke(*words: str) -> Any:
    return CliRunner().invoke(cli, ["run", *words])


def test_all_words_behind_the_dashes_are_the_commands_and_the_exit_code_is_its_own(
    played: list[dict[str, Any]],
) -> None:
    result = invoke(
        "-i", "inventories/x", "--host", "app2", "-e", "a=b", "--", "bin/manage", "--host", "--", "-e", "$A"
    )
    assert result.exit_code == 4
    (given,) = played
    assert given["options"] == ["-i", "inventories/x", "-e", "a=b"]
    assert json.loads(given["command_words"]) == ["bin/manage", "--host", "--", "-e", "$A"]
    assert (given["command_named"], given["command_timeout_s"], given["command_detach"]) == ("app2", 3600, False)
    assert service_command.PLAYBOOK == "turnout.ops.run"


def test_a_detached_one_prints_its_name_alone(played: list[dict[str, Any]]) -> None:
    result = invoke("--detach", "--", "bin/manage")
    assert result.exit_code == 0
    assert result.output == f"{played[0]['command_id']}@app1\n"


def test_one_that_has_ended_is_told_with_its_output(played: list[dict[str, Any]]) -> None:
    result = invoke("--show", NAME)
    assert (result.exit_code, played[0]["command_named"]) == (0, "app1")
    assert "command  bin/manage shell" in result.output
    assert result.output.endswith("said\n")
    assert invoke("--attach", NAME).exit_code == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "run-words"),
        (("bin/manage", "shell"), "run-words"),
        (("--",), "run-words"),
        (("--show", NAME, "--", "bin/manage"), "run-words"),
        (("--show", NAME, "--stop", NAME), "run-words"),
        (("--show", "20261130-093612-a1b2"), "run-id"),
        (("--show", "app1"), "run-id"),
        (("-K", "--", "bin/manage"), "run-asks"),
        (("--check", "--", "bin/manage"), "run-check"),
        (("-vvv", "--", "bin/manage"), "run-asks"),
        (("--", ""), "run-words"),
        (("--", "bin/manage shell"), "run-words"),
        (("--", "bin/manage", "dump", "|", "gzip"), "run-words"),
        (("--", "bin/manage", "dump", ">", "file"), "run-words"),
        (("--", "A=1", "bin/manage"), "run-words"),
        (("--", "cd", "/"), "run-words"),
        (("--", "../bin/manage"), "run-words"),
        (("--", "@bin/manage"), "run-words"),
    ],
)
def test_it_is_refused_before_anything(words: Sequence[str], code: str, played: list[dict[str, Any]]) -> None:
    result = invoke(*words)
    assert isinstance(result.exception, TurnoutError), result.output
    assert result.exception.code == code
    assert played == []


def test_the_words_of_a_shell_are_fine_for_a_shell(played: list[dict[str, Any]]) -> None:
    assert invoke("--", "/bin/sh", "-c", 'echo "$DATABASE_URL" | wc -c; cd /').exit_code == 4
    assert json.loads(played[0]["command_words"])[2] == 'echo "$DATABASE_URL" | wc -c; cd /'
