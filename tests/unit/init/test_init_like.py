"""`turnout init --like FRAMEWORK`: its service file passes every static check, and the framework's page shows it."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from init_command import init, made
from turnout.faults import FaultsError
from turnout.init.answers import FRAMEWORKS
from turnout.release import options
from turnout.service import load

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
PAGES = ROOT / "docs" / "applications"
HOSTS = ("--service", "shop", "--edge", "edge1=10.0.0.11", "--api", "app1=10.0.0.21")
WHOLE = (*HOSTS, "--worker", "app1", "--postgres", "data1=10.0.0.31", "--redis", "data1")
SHAPES = {"whole": WHOLE, "API alone": HOSTS, "databases of their own": (*HOSTS, "--worker", "app1")}


def text_of(folder: Path, name: str = "service.yml") -> str:
    return (folder / "inventories/production/group_vars/all" / name).read_text()


def service(folder: Path) -> Any:
    return yaml.safe_load(text_of(folder))["service"]


def ansible(folder: Path, program: str, *words: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [BIN / program, *words], cwd=folder, env={**kept, "XDG_STATE_HOME": str(folder / ".state")},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_it_wrote_passes_every_static_check_at_once(tmp_path: Path, framework: str, shape: str) -> None:
    folder = made(tmp_path / "ops", "--like", framework, *SHAPES[shape])
    assert "fit together" in ansible(folder, "ansible-playbook", "turnout.ops.check")
    found = service(folder)
    assert ("workers" in found) is (shape != "API alone")
    assert found["migrate"]["tool"]
    assert "=" not in found["api"]["command"].split()[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_frameworks_page_shows_what_is_written(tmp_path: Path, framework: str) -> None:
    page = (PAGES / f"{framework}.md").read_text()
    (typed,) = re.findall(r"^    (turnout init (?:[^\n]*\\\n)*[^\n]*)$", page, re.MULTILINE)
    program, command, _, *words = typed.replace("\\\n", " ").split()
    assert (program, command) == ("turnout", "init")
    assert ["--like", framework] == words[:2]
    written = text_of(made(tmp_path / "ops", *words))
    block = re.findall(r"^```yaml\n(service:\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    application = written[
        written.index("    keep: 5\n") + len("    keep: 5\n") : written.index("  # What keeps a user on")
    ]
    assert block == ["service:\n" + application]
    shown = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "filled-in", block[0]))["service"]
    own = {"name": "shop", "releases": {"source": "/srv/releases", "allowed_signers": "allowed_signers"}}
    assert load({**own, **shown}, base_dir=tmp_path).migrate


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_frameworks_page_builds_a_release_that_asks_for_the_variables_that_are_set(
    tmp_path: Path, framework: str
) -> None:
    """For all of them: the checklist refuses a release that does not ask for one."""
    page = (PAGES / f"{framework}.md").read_text()
    (settings,) = re.findall(r"^```yaml\n(name: .*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "turnout-release.yml").write_text(settings)
    asked = options.read_options(tmp_path)
    assert asked.migrations
    set_there = service(made(tmp_path / "ops", "--like", framework, *WHOLE))["environment"]
    assert sorted(asked.environment) == sorted(set_there)


def test_a_secret_key_is_drawn_of_32_bytes_and_stands_nowhere_in_plain(tmp_path: Path) -> None:
    keys = []
    for framework in ("django", "rails", "laravel", "python"):
        folder = made(tmp_path / framework, "--like", framework, *HOSTS)
        vault = folder / "inventories/production/group_vars/all/vault.yml"
        key = yaml.safe_load(ansible(folder, "ansible-vault", "view", str(vault)))["vault_secret_key"]
        assert len(base64.b64decode(key, validate=True)) == 32
        assert yaml.safe_load(text_of(folder, "vault.yml.example"))["vault_secret_key"] == ""
        assert not [path for path in folder.rglob("*") if path.is_file() and key in path.read_text()]
        keys.append(key)
    assert len(set(keys)) == len(keys)
    assert service(tmp_path / "laravel")["environment"]["APP_KEY"] == "base64:{{ vault_secret_key }}"
    assert not (
        made(tmp_path / "go", "--like", "go", *HOSTS) / "inventories/production/group_vars/all/vault.yml"
    ).exists()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_given_goes_before_what_the_framework_has(tmp_path: Path, framework: str) -> None:
    given = ("--api-command", "bin/a", "--health", "/h", "--worker-command", "bin/w", "--scheduler-command", "bin/s")
    found = service(made(tmp_path / "ops", "--like", framework.upper(), *WHOLE, *given))
    assert [one["command"] for one in (found["api"], found["workers"]["jobs"], found["scheduler"])] == [
        "bin/a",
        "bin/w",
        "bin/s",
    ]
    assert found["api"]["health"]["path"] == found["smoke"][0]["path"] == "/h"


@pytest.mark.parametrize(
    ("framework", "application", "tasks"),
    [("django", "shop_eu.wsgi", "shop_eu"), ("python", "shop_eu:app", "shop_eu.tasks")],
)
def test_a_service_with_a_hyphen_is_a_module_with_an_underscore(
    tmp_path: Path, framework: str, application: str, tasks: str
) -> None:
    folder = made(tmp_path / "ops", "--like", framework, "--service", "shop-eu", *WHOLE[2:])
    assert f" {application} " in service(folder)["api"]["command"]
    assert f" -A {tasks} worker " in service(folder)["workers"]["jobs"]["command"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--like", "djngo"), ["--like"]),
        (("--like", "django", "--migrate-up", "bin/up"), ["--migrate-up"]),
        (("--like", "django", "--migrate-version", "bin/version"), ["--migrate-version"]),
        (("--like", "django", "--api-command", "{{ x }}", "--health", "up"), ["--api-command", "--health"]),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(
    tmp_path: Path, words: tuple[str, ...], told: list[str]
) -> None:
    done = init(tmp_path / "ops", *words, *HOSTS)
    assert isinstance(done.exception, FaultsError), done.output
    assert sorted(fault.path for fault in done.exception.faults) == told
    assert all(fault.expected and fault.remedy for fault in done.exception.faults)
    assert not (tmp_path / "ops").exists()
