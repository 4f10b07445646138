"""`turnout deploy 1.4.2` and its kin: one command for each playbook, thin over ansible-playbook."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from turnout import cli as face
from turnout.cli import cli
from turnout.command import run
from turnout.command.playbooks import ENTRIES, options_for
from turnout.errors import TurnoutError

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
BIN = Path(sys.executable).parent
TURNOUT = BIN / "turnout"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Return what would have been run; each ends with 7."""
    seen: list[tuple[str, list[str]]] = []

    def playbook(name: str, options: list[str]) -> int:
        seen.append((name, options))
        return 7

    monkeypatch.setattr(run, "playbook", playbook)
    return seen


def test_every_playbook_has_a_command_and_every_command_a_playbook() -> None:
    assert PLAYBOOKS
    assert sorted(entry.playbook for entry in ENTRIES.values()) == PLAYBOOKS


def test_deploy_passes_the_release_and_every_option_on_and_the_exit_code_back(ran: list[tuple[str, list[str]]]) -> None:
    line = "deploy 1.4.2 -i inventories/production -e resume=true --check -vv"
    assert CliRunner().invoke(cli, line.split()).exit_code == 7
    options = ["-i", "inventories/production", "-e", "resume=true", "--check", "-vv", "-e", "release=1.4.2"]
    assert ran == [("turnout.ops.deploy", options)]


# `run` runs its playbook too, and not with the words as they are: test_service_command.py.
@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {"run"}))
def test_every_command_runs_its_playbook(name: str, ran: list[tuple[str, list[str]]]) -> None:
    assert CliRunner().invoke(cli, [name, "-i", "lab"]).exit_code == 7
    assert ran == [(f"turnout.ops.{ENTRIES[name].playbook}", ["-i", "lab"])]


def test_a_drill_is_run_by_its_name_alone_and_with_run(ran: list[tuple[str, list[str]]]) -> None:
    for words in (["drill"], ["drill", "run"], ["drill", "-e", "mode=random"], ["drill", "run", "-e", "mode=random"]):
        assert CliRunner().invoke(cli, words).exit_code == 7
    assert [options for _, options in ran] == [[], [], ["-e", "mode=random"], ["-e", "mode=random"]]


def test_a_misspelt_command_of_drill_runs_no_drill(ran: list[tuple[str, list[str]]]) -> None:
    result = CliRunner().invoke(cli, ["drill", "reprot", "ledger.jsonl"])
    assert isinstance(result.exception, TurnoutError)
    assert result.exception.remedy == "turnout drill --help"
    assert ran == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("deploy", "1.4.2 1.4.3"),
        ("deploy", "1.4.2 -e release=1.4.2"),
        ("deploy", "{{lookup('env','HOME')}}"),
        ("deploy", "canary=off"),
        ("rollback", "1.4.2"),
        ("status", "please"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_a_remedy(name: str, line: str) -> None:
    with pytest.raises(TurnoutError) as refused:
        options_for(name, line.split())
    assert refused.value.remedy


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_help_says_what_a_command_does_and_the_playbook_behind_it(name: str, ran: list[tuple[str, list[str]]]) -> None:
    words = ["drill", "run"] if name == "drill" else [name]
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert f"ansible-playbook turnout.ops.{ENTRIES[name].playbook}" in result.output
    assert ran == []


def test_variables_that_help_names_are_variables_of_the_playbook() -> None:
    for name, entry in ENTRIES.items():
        text = (ROOT / "playbooks" / f"{entry.playbook}.yml").read_text()
        for variable, _ in entry.variables:
            key = variable.strip("'").partition("=")[0]
            assert key in text, (name, key)


def test_the_page_of_commands_lists_every_one() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for name, entry in ENTRIES.items():
        assert f"| `turnout {name}{entry.word and ' ' + entry.word.upper()}` | `{entry.full_name}`: " in page, name


def test_version_names_the_package_the_collection_and_ansible() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    ours = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    lines = result.output.splitlines()
    assert lines[0] == f"turnout {version('turnout')}"
    assert lines[1].startswith(f"collection turnout.ops {ours} (")
    assert lines[2] == f"ansible-core {version('ansible-core')}"


def completions(*words: str) -> list[str]:
    """Return what bash's completion gets for a line whose last word is to be completed."""
    line = " ".join(["turnout", *words])
    env = {**os.environ, "_TURNOUT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    done = subprocess.run([TURNOUT], env=env, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return [row.partition(",")[2] for row in done.stdout.splitlines()]


def test_the_shell_completes_commands_and_options() -> None:
    assert completions("re") == [
        "recovery-report", "rehearse-rollback", "release", "restore", "restore-redis"
    ]  # fmt: skip
    assert "--vault-password-file" in completions("deploy", "1.4.2", "--va")
    assert "report" in completions("drill", "re")
    for words in (("drill", "--li"), ("drill", "-e", "mode=random", "--li"), ("drill", "run", "--li")):
        assert {"--limit", "--list-hosts"} <= set(completions(*words)), words
    assert completions("drill", "gate", "--js") == ["--json"]


def test_a_folders_own_ansible_cfg_and_program_are_used(tmp_path: Path) -> None:
    """It runs where the person is, and Ansible's exit code is its own."""
    (tmp_path / "ansible.cfg").write_text("[defaults]\ninventory = hosts.yml\n[inventory]\nunparsed_is_failed = true\n")
    (tmp_path / "hosts.yml").write_text("edge: {hosts: {edge1: {ansible_connection: local}}}\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TURNOUT_"))}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state")}
    command = [TURNOUT, "status", "--list-hosts"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "edge1" in done.stdout
    bare = [BIN / "ansible-playbook", "turnout.ops.status"]
    for options in (["-i", "absent.yml"], ["-e", "@absent.yml"], ["--no-such-option"], ["--syntax-check"]):
        codes = {
            subprocess.run([*words, *options], cwd=tmp_path, env=env, capture_output=True, check=False).returncode
            for words in (command[:-1], bare)
        }
        assert len(codes) == 1, options


def test_without_ansible_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TurnoutError) as missing:
        run.program()
    assert "pip install" in missing.value.remedy
    found = tmp_path / "ansible-playbook"
    found.write_text("")
    found.chmod(found.stat().st_mode | stat.S_IXUSR)
    assert run.program() == str(found)


def bare_folder(folder: Path) -> dict[str, str]:
    """Return the environment for a run in a folder with one host, of this machine."""
    (folder / "ansible.cfg").write_text("[defaults]\ninventory = hosts.yml\n")
    (folder / "hosts.yml").write_text("edge: {hosts: {edge1: {ansible_connection: local}}}\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TURNOUT_"))}
    return env | {"XDG_STATE_HOME": str(folder / "state")}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_ends_nothing(tmp_path: Path, closed: str) -> None:
    for words in ("status --list-hosts", "init", "slo check absent"):
        done = subprocess.run(
            ["bash", "-c", f"{TURNOUT} {words} {closed}"],
            cwd=tmp_path, env=bare_folder(tmp_path), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == (0 if words.startswith("status") else 2), done.stdout + done.stderr


@pytest.mark.parametrize("given", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "xx_YY.UTF-8"}, {"LC_TIME": "xx_YY"}])
def test_ansible_starts_in_a_locale_that_it_would_refuse(tmp_path: Path, given: dict[str, str]) -> None:
    env = {name: value for name, value in bare_folder(tmp_path).items() if not name.startswith(("LC_", "LANG"))}
    done = subprocess.run([TURNOUT, "status", "--list-hosts"], cwd=tmp_path, env=env | given, capture_output=True,
                          text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_locale_that_serves_is_left_as_it_is() -> None:
    assert "LC_ALL" not in run.environment_of({"LANG": "C.UTF-8"})
    assert run.environment_of({"LC_ALL": "C.UTF-8", "LANG": "C"})["LC_ALL"] == "C.UTF-8"
    assert run.environment_of({"LC_ALL": "C", "LANG": "C.UTF-8"})["LC_ALL"] == "C.UTF-8"


def test_a_file_that_cannot_be_read_or_written_is_told_by_whatever_command_met_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr(face, "cli", fail)
    with pytest.raises(SystemExit) as ended:
        face.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "error[file-fault]: /some/file: Permission denied" in told
    assert "to mend:" in told
