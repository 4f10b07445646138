"""`turnout init`: what it writes passes every static check as it is, and what it must not do it does not."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.turnout.ops.plugins.filter.edge import latency_bounds, route_faults
from click.testing import CliRunner
from init_command import init, made
from jsonschema import Draft202012Validator
from turnout.cli import cli
from turnout.drill import objectives
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.init import repository
from turnout.init.answers import FRAMEWORKS
from turnout.key_docs import schema
from turnout.service.model import Service
from turnout.slo import parse

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
API = ("--api-command", "bin/api --port ${PORT}", "--health", "/up")
SMALLEST = ("--service", "tiny", "--edge", "web=192.0.2.1", "--api", "web", *API)
WORKERS = ("--worker", "app1", "--worker-command", "bin/worker")
MIGRATE = ("--migrate-up", "bin/migrate up", "--migrate-version", "bin/migrate version")
WHOLE = (
    "--service", "shop-eu", "--environment", "live", "--user", "root",
    "--edge", "edge1=192.0.2.11", "--edge", "edge2=192.0.2.12",
    "--api", "app1=192.0.2.21", "--api", "app2.example.org", *WORKERS, "--worker", "app2.example.org",
    "--scheduler-command", "bin/scheduler", "--postgres", "data1=2001:db8::31", "--redis", "data1",
    "--monitoring", "mon1=192.0.2.41", "--drill", "mon1", "--deploy-from", "10.0.0.0/24, 10.1.0.7", *API, *MIGRATE,
    "--releases", "s3://releases/shop",
)  # fmt: skip
MISREAD = "bin/api --note 'yes: #no' -x \"é\""
SHAPES: dict[str, tuple[str, ...]] = {
    "one host": SMALLEST,
    "two edges": (*SMALLEST, "--edge", "e2=192.0.2.2"),
    "workers": (*SMALLEST, "--worker", "app1=192.0.2.5", "--worker-command", "bin/worker"),
    "scheduler alone": (*SMALLEST, "--worker", "web", "--scheduler-command", "bin/scheduler"),
    "redis alone": (*SMALLEST, "--redis", "web"),
    "database without migrations": (*SMALLEST, "--postgres", "data=192.0.2.6"),
    "migrations on a database of their own": (*SMALLEST, *MIGRATE),
    "monitoring from nowhere": (*SMALLEST, "--monitoring", "mon=192.0.2.7"),
    "words that YAML could misread": (*SMALLEST[:-4], "--api-command", MISREAD, "--health", "/a#b:c"),
    "everything": WHOLE,
}  # fmt: skip
NOT_TURNOUTS = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"}


def inventory(folder: Path) -> Path:
    (place,) = (folder / "inventories").iterdir()
    return place


def variables(folder: Path, name: str) -> Any:
    return yaml.safe_load((inventory(folder) / "group_vars" / "all" / name).read_text())


def ansible(folder: Path, program: str, *words: str) -> str:
    """Run a program of Ansible in the repository; it must be well, and warn of nothing."""
    env = {name: value for name, value in os.environ.items() if name in NOT_TURNOUTS}
    done = subprocess.run(
        [BIN / program, *words], cwd=folder, env={**env, "XDG_STATE_HOME": str(folder / ".state")},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=sorted(SHAPES))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("init") / "ops", *SHAPES[request.param])


def test_what_it_wrote_passes_every_static_check_at_once(written: Path) -> None:
    listed = json.loads(ansible(written, "ansible-inventory", "--list"))
    assert listed["edge"]["hosts"]
    assert listed["api"]["hosts"]
    assert "fit together" in ansible(written, "ansible-playbook", "turnout.ops.check")
    playbooks = [f"turnout.ops.{name}" for name in ("check", "site", "deploy", "rollback", "status", "restore_drill")]
    ansible(written, "ansible-playbook", "--syntax-check", *playbooks)
    parse.check(parse.load(inventory(written) / "slos"))
    assert objectives.load(inventory(written)) == objectives.load(inventory(written) / "hosts.yml")
    assert "judge" not in variables(written, "service.yml")["service"] or (inventory(written) / "slos").is_dir()


def test_its_objectives_are_counted_by_the_edges_it_sets_up(written: Path) -> None:
    site = variables(written, "site.yml")
    assert site["edge_latency"] is True
    assert route_faults(site["edge_latency_routes"]) == []
    slos = parse.load(inventory(written) / "slos")
    assert {slo.kind.value for slo in slos.values()} == {"availability", "latency"}
    counted = {"turnout_edge_requests_total", "turnout_edge_request_duration_seconds_bucket"}
    assert {source.selector.metric for slo in slos.values() for source in slo.sources} == counted
    bounds = latency_bounds([1], inventory(written) / "slos", site["edge_latency_routes"])
    assert bounds == ["0.5", "1"], "the threshold is a bound"
    matchers = [m for slo in slos.values() for source in slo.sources for m in source.selector.matchers]
    left_out = [m.accepts("health") for m in matchers if m.label == "route"]
    assert left_out == ([False] * 4 if site["edge_latency_routes"] else []), "a health check is no user"


@pytest.mark.parametrize("shape", ["one host", "words that YAML could misread"])
def test_promtool_takes_the_rules_of_its_objectives_and_passes_their_tests(tmp_path: Path, shape: str) -> None:
    slos = inventory(made(tmp_path / "ops", *SHAPES[shape])) / "slos"
    done = CliRunner().invoke(cli, ["slo", "rules", str(slos), "--out", str(tmp_path / "rules"), "--test"])
    assert done.exit_code == 0, done.output + str(done.exception)


def test_a_drill_without_a_host_for_it_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *SMALLEST)
    with pytest.raises(AssertionError, match=r"error\[drill-host\]: no host is in the group drill"):
        ansible(folder, "ansible-playbook", "turnout.ops.restore_drill")


def test_the_linter_of_ansible_finds_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    done = subprocess.run(
        [BIN / "ansible-lint", "--offline", "--strict", "--profile=production", "--project-dir=.", "inventories", "ci"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_value_that_was_given_arrives(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *SHAPES["words that YAML could misread"])
    api = variables(folder, "service.yml")["service"]["api"]
    assert api["command"] == MISREAD
    assert api["health"]["path"] == "/a#b:c"


def test_hosts_stand_in_the_groups_that_they_were_given_to(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    listed = json.loads(ansible(folder, "ansible-inventory", "--list"))
    groups = {group: listed[group]["hosts"] for group in listed["all"]["children"] if group != "ungrouped"}
    assert groups == {
        "edge": ["edge1", "edge2"], "api": ["app1", "app2.example.org"], "worker": ["app1", "app2.example.org"],
        "postgres": ["data1"], "redis": ["data1"], "monitoring": ["mon1"], "drill": ["mon1"],
    }  # fmt: skip
    hosts = listed["_meta"]["hostvars"]
    assert hosts["data1"]["ansible_host"] == "2001:db8::31"
    assert "ansible_host" not in hosts["app2.example.org"]
    assert hosts["edge1"]["firewall_sources"] == {"prometheus": ["10.0.0.0/24", "10.1.0.7"]}


def test_addresses_of_the_data_follow_the_inventory(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    play = folder / "play.yml"
    play.write_text(
        "- hosts: app1\n  gather_facts: false\n  tasks:\n    - delegate_to: localhost\n      ansible.builtin.copy:\n"
        "        content: '{{ service | to_json }}'\n        mode: '0600'\n        dest: " + str(folder / "said.json")
    )
    ansible(folder, "ansible-playbook", str(play))
    service = json.loads((folder / "said.json").read_text())
    assert re.fullmatch(
        r"postgresql://shop_eu_app:[0-9a-f]{48}@\[2001:db8::31\]:5432/shop_eu\?sslmode=require",
        service["environment"]["DATABASE_URL"],
    )
    assert service["judge"]["prometheus"] == "http://192.0.2.41:9090"
    hosts = inventory(folder) / "hosts.yml"
    hosts.write_text(
        hosts.read_text().replace('"2001:db8::31"', '"2001:db8::31"\n          private_address: "2001:db8:1::31"')
    )
    ansible(folder, "ansible-playbook", str(play))
    service = json.loads((folder / "said.json").read_text())
    assert "@[2001:db8:1::31]:6379/0" in service["environment"]["REDIS_URL"]


# Secrets -----------------------------------------------------------------------------------------------------------


def test_secrets_are_drawn_encrypted_and_never_plain_on_the_disk(tmp_path: Path) -> None:
    folder, other = made(tmp_path / "ops", *WHOLE), made(tmp_path / "other", *WHOLE)
    vault = inventory(folder) / "group_vars" / "all" / "vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    password = folder / ".vault-password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert password.read_text() != (other / ".vault-password").read_text()
    plain = yaml.safe_load(ansible(folder, "ansible-vault", "view", str(vault)))
    drawn = [
        *plain["postgres_passwords"].values(),
        *plain["redis_passwords"].values(),
        plain["vault_backup_cipher_pass"],
    ]
    assert len(set(drawn)) == len(drawn) == 10
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in drawn)
    everything = "".join(
        path.read_text() for path in folder.rglob("*") if path.is_file() and path.name != ".vault-password"
    )
    assert not [secret for secret in [*drawn, password.read_text().strip()] if secret in everything]


def test_git_never_takes_the_password(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    (folder / "release.key").write_text("private")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "--all"], check=True)
    listed = subprocess.run(["git", "-C", str(folder), "ls-files"], capture_output=True, text=True, check=True).stdout
    assert "vault.yml" in listed
    assert ".vault-password" not in listed
    assert "release.key" not in listed


def test_the_example_names_every_secret_and_holds_none(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    example = variables(folder, "vault.yml.example")
    plain = yaml.safe_load(
        ansible(folder, "ansible-vault", "view", str(inventory(folder) / "group_vars" / "all" / "vault.yml"))
    )
    assert (
        set(example["postgres_passwords"])
        == set(plain["postgres_passwords"])
        == {"app", "migrate", "backup", "readonly"}
    )
    assert set(example["redis_passwords"]) == set(plain["redis_passwords"])
    assert set(example) == set(plain)
    flat = [value for group in example.values() for value in (group.values() if isinstance(group, dict) else [group])]
    assert set(flat) == {""}
    used = "".join(path.read_text() for path in (inventory(folder) / "group_vars" / "all").glob("*.yml"))
    named = set(re.findall(r"\{\{ (vault_[a-z_]+) \}\}", used))
    text = (inventory(folder) / "group_vars" / "all" / "vault.yml.example").read_text()
    assert named <= set(re.findall(r"vault_[a-z_]+", text)) | {"vault_"}


def test_an_editor_finds_the_schema_of_the_service_file_and_nothing_wrong_in_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    file = inventory(folder) / "group_vars" / "all" / "service.yml"
    named = re.findall(r"\$schema=(\S+)", file.read_text().splitlines()[0])
    written = json.loads((file.parent / named[0]).read_text())
    assert written == schema(Service, "service")
    assert [
        str(error.json_path) for error in Draft202012Validator(written).iter_errors(yaml.safe_load(file.read_text()))
    ] == []


# What the repository holds -----------------------------------------------------------------------------------------


def test_the_version_is_pinned_and_nothing_of_turnouts_code_is_copied(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *WHOLE)
    assert f"turnout=={version('turnout')}" in (folder / "requirements.txt").read_text().splitlines()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        ".gitignore", ".vault-password", "ansible.cfg", "ci/check.yml", "requirements.txt", "service.schema.json",
        "inventories/live/hosts.yml", "inventories/live/slos/api-availability.yml",
        "inventories/live/slos/api-latency.yml",
        *(f"inventories/live/group_vars/all/{name}" for name in (
            "backup.yml", "recovery.yml", "service.yml", "site.yml", "vault.yml", "vault.yml.example")),
    }  # fmt: skip


def role_variables() -> set[str]:
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    assert specs
    entries = [entry for spec in specs for entry in spec["argument_specs"].values()]
    return {name for entry in entries for name in entry.get("options") or {}}


def test_every_variable_is_one_that_a_role_has(written: Path) -> None:
    parts = ("service_hosts", "postgres", "redis", "edge", "monitoring", "node_exporter", "firewall")
    known = role_variables() | {f"manage_{part}" for part in parts}
    assert set(variables(written, "site.yml")) <= known
    assert set(variables(written, "backup.yml")) <= known


def test_settings_of_ansible_are_those_of_this_project_but_for_inventory_and_vault(tmp_path: Path) -> None:
    def settings(path: Path) -> set[str]:
        lines = path.read_text().splitlines()
        own = ("inventory =", "vault_password_file", "ignore_patterns")
        return {line for line in lines if line and not line.startswith(("#", *own))}

    assert settings(made(tmp_path / "ops", *SMALLEST) / "ansible.cfg") == settings(ROOT / "ansible.cfg")


def test_the_example_for_ci_runs_commands_that_there_are(tmp_path: Path) -> None:
    folder = made(tmp_path / "ops", *SMALLEST)
    jobs = yaml.safe_load((folder / "ci" / "check.yml").read_text())["jobs"]
    commands = [line.strip() for step in jobs["check"]["steps"] for line in step.get("run", "").splitlines()]
    ours = [line.split() for line in commands if line.startswith(("turnout ", "ansible-"))]
    assert len(ours) == 4
    for program, *words in ours:
        ansible(folder, program, *words)


# Refusals ----------------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["ansible.cfg", ".gitignore", "inventories/production/hosts.yml", ".vault-password"])
def test_a_folder_that_has_such_a_file_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    done = init(tmp_path, *SMALLEST)
    assert isinstance(done.exception, TurnoutError)
    assert done.exception.code == "init-present"
    assert name in done.exception.observed
    assert tree(tmp_path) == before


def test_a_link_that_leads_nowhere_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TurnoutError, match=r"ansible\.cfg"):
        raise init(tmp_path, *SMALLEST).exception or AssertionError
    assert not (tmp_path / "elsewhere").exists()


def test_other_files_do_not_matter_and_stay(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    made(tmp_path, *SMALLEST)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_where_it_cannot_write_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "inventories").write_text("a file where a folder belongs")
    done = init(tmp_path, *SMALLEST)
    assert isinstance(done.exception, TurnoutError)
    assert done.exception.code == "init-unwritable"
    assert tree(tmp_path) == {"inventories": b"a file where a folder belongs"}
    assert [path.name for path in tmp_path.iterdir()] == ["inventories"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), ["--service", "--edge", "--api", "--api-command", "--health"]),
        (SMALLEST[:2], ["--edge", "--api", "--api-command", "--health"]),
        ((*SMALLEST, "--service", "Shop"), ["--service"]),
        ((*SMALLEST, "--service", "../shop"), ["--service"]),
        ((*SMALLEST, "--environment", "../live"), ["--environment"]),
        ((*SMALLEST, "--user", "a b"), ["--user"]),
        ((*SMALLEST, "--health", "up"), ["--health"]),
        ((*SMALLEST, "--api-command", "bin/api {{ x }}"), ["--api-command"]),
        ((*SMALLEST, "--api-command", "bin/api ${NOBODY}"), ["service.api.command"]),
        ((*SMALLEST, "--worker", "web"), ["--worker-command"]),
        ((*SMALLEST, "--worker-command", "bin/worker"), ["--worker"]),
        ((*SMALLEST, "--migrate-up", "bin/up"), ["--migrate-version"]),
        ((*SMALLEST, "--releases", "build/releases"), ["--releases"]),
        ((*SMALLEST, "--releases", "https://me:word@example.org/x"), ["--releases"]),
        ((*SMALLEST, "--edge", "192.0.2.9"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2=not an address"), ["--edge"]),
        ((*SMALLEST, "--edge", "web"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2=10.0.0.300"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2=10.0.0"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2=app.7"), ["--edge"]),
        ((*SMALLEST, "--edge", "10.0.0.300"), ["--edge"]),
        ((*SMALLEST, "--edge", "worker=192.0.2.9"), ["--edge"]),
        ((*SMALLEST, "--edge", "e2=192.0.2.1"), ["hosts.e2.ansible_host"]),
        ((*SMALLEST, "--api", "web=192.0.2.9"), ["--api"]),
        ((*SMALLEST, "--postgres", "a=192.0.2.8,b=192.0.2.9"), ["--postgres"]),
        ((*SMALLEST, "--monitoring", "web", "--deploy-from", "10.0.0.0/99"), ["--deploy-from"]),
    ],
)
def test_answers_that_cannot_be_right_are_all_told_and_nothing_is_written(
    tmp_path: Path, words: tuple[str, ...], told: list[str]
) -> None:
    folder = tmp_path / "ops"
    done = init(folder, *words)
    assert isinstance(done.exception, FaultsError), done.output
    assert sorted(fault.path for fault in done.exception.faults) == sorted(told)
    assert all(fault.expected and fault.remedy for fault in done.exception.faults)
    assert not folder.exists()


@pytest.mark.parametrize("place", ["https://me:word@example.org/x", "https://host/x?token=word", "https://host/#word"])
def test_a_secret_in_an_address_is_not_shown(tmp_path: Path, place: str) -> None:
    done = init(tmp_path / "ops", *SMALLEST, "--releases", place)
    assert isinstance(done.exception, FaultsError)
    assert "word" not in str(done.exception)


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise PermissionError(13, "Permission denied", str(tmp_path / "ops"))

    monkeypatch.setattr(Path, "exists", refuse)
    done = init(tmp_path / "ops", *SMALLEST)
    assert isinstance(done.exception, TurnoutError)
    assert done.exception.code == "init-unwritable"


def test_names_that_yaml_would_take_for_other_values_are_names_in_the_inventory(tmp_path: Path) -> None:
    names = ["no", "1", "null", "true", "1e3", "0x1f", "12-12", "2024-01-01"]
    words = [word for number, name in enumerate(names) for word in ("--edge", f"{name}=192.0.2.{number + 10}")]
    folder = made(tmp_path, "--service", "tiny", *words, "--api", "no", "--api", "0x2f=192.0.2.40", *API)
    seen = json.loads(ansible(folder, "ansible-inventory", "--list"))
    assert seen["edge"]["hosts"] == names
    assert seen["api"]["hosts"] == ["no", "0x2f"]
    assert "fit together" in ansible(folder, "ansible-playbook", "turnout.ops.check")


def test_the_templates_of_the_wheel_are_all_used() -> None:
    there = {path.name for path in (ROOT / "scripts" / "turnout" / "init" / "templates").iterdir()}
    like = {f"like-{framework}.yml" for framework in FRAMEWORKS}
    used = {*repository._IN_ROOT.values(), *repository._IN_INVENTORY.values(), *like, "vault.yml"}
    assert there == {f"{name}.j2" for name in used}


# On a terminal -----------------------------------------------------------------------------------------------------


def typed(folder: Path, *lines: str) -> tuple[int, str]:
    """Type lines into `turnout init` on a terminal; return its exit code and all that was seen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(BIN / "turnout", ["turnout", "init", str(folder)])  # noqa: S606 - the child takes the terminal
    seen, waiting, deadline = "", list(lines), time.monotonic() + 60
    answered = 0
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
        elif waiting and len(seen) > answered and seen.endswith(": "):
            os.write(terminal, waiting.pop(0).encode() + b"\n")
            answered = len(seen)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_on_a_terminal_it_asks_few_questions_and_asks_again_after_a_wrong_answer(tmp_path: Path) -> None:
    folder = tmp_path / "shop-ops"
    code, seen = typed(
        folder, "", "192.0.2.1", "web=192.0.2.1", "web", "", "", "", "", "root", "bin/api", "up", "/up", "", "",
    )  # fmt: skip
    assert code == 0, seen
    assert "192.0.2.1 has no name" in seen
    assert "begins with /" in seen
    assert "Traceback" not in seen
    service = variables(folder, "service.yml")["service"]
    assert service["name"] == "shop"
    assert service["api"]["command"] == "bin/api"
    assert service["releases"]["source"] == "/srv/releases"
    assert "workers" not in service
    ansible(folder, "ansible-playbook", "turnout.ops.check")


def test_on_a_terminal_a_folder_that_is_taken_is_refused_before_a_question(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("mine")
    code, seen = typed(tmp_path)
    assert code == 2
    assert "error[init-present]" in seen
    assert "Name of the service" not in seen


def test_on_a_terminal_everything_can_be_said(tmp_path: Path) -> None:
    folder = tmp_path / "ops"
    code, seen = typed(
        folder, "shop", "e1=192.0.2.1, e2=192.0.2.2", "a1=192.0.2.3", "a1", "d1=192.0.2.4", "d1", "m1=192.0.2.5",
        "10.0.0.0/8", "m1", "", "bin/api", "/up", "bin/worker", "bin/migrate up", "bin/migrate version", "s3://b/p",
    )  # fmt: skip
    assert code == 0, seen
    assert "judge" in variables(folder, "service.yml")["service"]
    ansible(folder, "ansible-playbook", "turnout.ops.check")
    shutil.rmtree(folder)
