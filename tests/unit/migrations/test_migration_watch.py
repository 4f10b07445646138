"""While migrations run a person sees each line that tells of one, and a sign at least every 30 s; never a secret."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import migration_watch as watch
from turnout.checklist import addresses

ROOT = Path(__file__).resolve().parents[3]
SECRET = "s3cr3t-word"

# Django's pace: the name of a migration, and its OK when it is done; a line on standard error, and what tells of none.
TOOL = f"""#!/bin/sh
echo 'Running migrations:'
printf '  Applying users.0001_initial...'; sleep 0.2; echo ' OK'
echo 'NOTICE: {SECRET}' >&2
printf '  Applying shop.0002_{SECRET}...'; sleep 4; echo ' OK'
printf '  Applying shop.0003_c...'
"""


def tool(folder: Path, more: str = "echo ' OK'") -> list[str]:
    path = folder / "tool"
    path.write_text(TOOL + more)
    return ["/bin/sh", str(path)]


def test_each_line_is_told_when_the_tool_writes_it_and_quiet_times_are_counted(tmp_path: Path) -> None:
    heard: list[str] = []

    def hear(line: str) -> bool:
        heard.append(line)
        return "Applying" in line

    code, out, err = watch.run(
        tool(tmp_path), 60, hear, lambda spent_s, unfinished: heard.append(f"{spent_s >= 1} {unfinished}"), quiet_s=1
    )
    assert (code, err) == (0, f"NOTICE: {SECRET}\n")
    assert [line for line in heard if line in out.splitlines()] == out.splitlines()
    # Between the end of one migration and that of the next.
    first, second = (heard.index(f"  Applying {name}... OK") for name in ("users.0001_initial", f"shop.0002_{SECRET}"))
    assert f"True   Applying shop.0002_{SECRET}..." in heard[first:second]


def test_a_command_that_does_not_end_is_given_up_at_its_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        watch.run(["/bin/sleep", "60"], 0.5, lambda _: False, lambda *_: None)
    assert time.monotonic() - began < 30


def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, whose unit is a process of this user's."""
    migrate = importlib.import_module("ansible_collections.turnout.ops.plugins.modules.migrate")
    monkeypatch.setattr(migrate, "in_unit", lambda _unit, command, _layout, _properties: shlex.split(command))
    return migrate


def params(folder: Path, command: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "service": "shop", "user": "nobody", "up_command": shlex.join(command), "timeout_s": 60, "tool": "django",
        "progress": str(folder / "lines"), "environment_file_text": f"API_KEY={SECRET}\n", "tool_command": "",
        "layout": {"environment": {}}, "version_command": "true", "listed": {"order": "list", "migrations": []},
        **changes,
    }  # fmt: skip


def test_the_file_of_what_is_told_has_no_secret_is_root_s_alone_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate = module(monkeypatch)
    command = tool(
        tmp_path, f"sleep 0.3; echo ' OK'; cp {tmp_path}/lines {tmp_path}/seen; stat -c %a {tmp_path}/lines\n"
    )
    done = migrate.apply_pending(params(tmp_path, command), "", [(SECRET, "API_KEY")])
    lines = ["Applying users.0001_initial... OK", "Applying shop.0002_[API_KEY]... OK"]
    assert (tmp_path / "seen").read_text().splitlines()[:2] == lines
    assert done["message"].splitlines() == [*lines, "Applying shop.0003_c... OK"]
    assert SECRET not in str(done)
    assert "600" in done["output"].splitlines()
    assert not (tmp_path / "lines").exists()


def test_a_sign_says_how_long_it_takes_and_what_it_is_at(tmp_path: Path) -> None:
    told = watch.Watch(
        str(tmp_path / "lines"), lambda text: text.replace(SECRET, "[API_KEY]"), 3600, watch.asks({}, "nobody")
    )
    told.quiet(95.4, "")
    told.quiet(125.4, "something else")
    assert (tmp_path / "lines").read_text().splitlines() == [
        "95 s of at most 3600 s (service.migrate.timeout_s)",
        "125 s of at most 3600 s (service.migrate.timeout_s)",
    ]
    told.quiet(155.4, f"  Applying shop.0003_{SECRET}...")
    assert (tmp_path / "lines").read_text().splitlines()[-1] == (
        "155 s of at most 3600 s (service.migrate.timeout_s); Applying shop.0003_[API_KEY]..."
    )


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({"DATABASE_URL": "postgres://u@h/d"}, "postgresql://u@h/d"),
        ({"X": "1", "DB": "postgresql+psycopg://u@h/d"}, "postgresql://u@h/d"),
        ({"DB": "pgsql://u@h/d"}, "postgresql://u@h/d"),
        ({"DB": "PostGIS://u@h/d"}, "postgresql://u@h/d"),
        ({"DB": "jdbc:postgresql://h/d"}, "postgresql://h/d"),
        ({"DB": "pgx5://u@h/d"}, "postgresql://u@h/d"),
        ({"DB": "pgsql:host=h;dbname=d"}, None),
        ({"PGHOST": "h", "PGPASSWORD": "p"}, ""),
        ({"PGOPTIONS": "-c x=1"}, None),
        ({"DATABASE_URL": "mysql://u@h/d"}, None),
    ],
)
def test_postgresql_is_asked_where_the_migrations_have_its_address(
    environment: dict[str, str], address: str | None
) -> None:
    asked = watch.asks(environment, "shop-migrate")
    assert (asked[0], asked[2]) == (address, "shop-migrate")
    assert all(name.startswith("PG") for name in asked[1])


def test_the_host_knows_an_address_of_postgresql_by_what_the_controller_knows_it_by() -> None:
    """The host's modules stand alone: the same words stand in both."""
    assert watch.ADDRESS == addresses.POSTGRES


# --- the time-out ----------------------------------------------------------------------------------------------------


class Failed(Exception):
    """What the module ends with."""


def failing(migrate: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a module with these parameters fails with."""

    def fail_json(**words: Any) -> None:
        raise Failed(json.dumps(words))

    fake = types.SimpleNamespace(params=given, check_mode=False, fail_json=fail_json)
    with pytest.raises(Failed) as caught:
        migrate.migrate(fake, "")
    return dict(json.loads(str(caught.value)))


LISTED = {
    "order": "list",
    "migrations": [{"id": f"shop.{name}", "version": n} for n, name in ((1, "0001_a"), (2, "0002_b"))],
}


def test_a_reached_time_out_names_its_key_the_state_afterwards_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate = module(monkeypatch)
    version = tmp_path / "version"
    version.write_text(
        f"echo '[X]  shop.0001_a'; test -e {tmp_path}/up && echo '[X]  shop.0002_b' || echo '[ ]  shop.0002_b'"
    )
    # systemd ends the command at RuntimeMaxSec.
    command = tool(tmp_path, f"touch {tmp_path}/up; sleep 4; exit 1")
    given = params(tmp_path, command, timeout_s=4, version_command=f"/bin/sh {version}", listed=LISTED)
    said = failing(migrate, given)
    lines = said["msg"].splitlines()
    assert lines[0] == (
        f"`{given['up_command']}` was ended after 4 s, before it was done; expected: that it ends within 4 s "
        "(service.migrate.timeout_s); its last lines:"
    )
    assert lines[-2] == "the database is at shop.0002_b now"
    assert lines[-1].startswith("to mend: raise service.migrate.timeout_s; mend the migration")
    assert (said["before"], said["after"], said["changed"]) == (1, 2, True)
    assert SECRET not in said["msg"]


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        ("canceling statement due to statement timeout", "migrate_statement_timeout_s"),
        ("canceling statement due to lock timeout", "migrate_lock_timeout_s"),
    ],
)
def test_a_statement_s_own_bound_is_named_where_it_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, variable: str
) -> None:
    migrate = module(monkeypatch)
    command = ["/bin/sh", "-c", f"echo 'ERROR: {words}' >&2; exit 1"]
    given = params(tmp_path, command, tool="", version_command="echo shop.0001_a", listed=LISTED)
    lines = failing(migrate, given)["msg"].splitlines()
    assert lines[0] == f"ERROR: {words}"
    assert re.match(rf"to mend: .*{variable}", lines[-1])


# --- the screen ------------------------------------------------------------------------------------------------------

MODULE = """#!/usr/bin/python
import json, os, time
given = json.loads(r\"\"\"<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>\"\"\")
lines = ["1/u a (12ms)", "2/u b (9s)", "3/u c (1ms)"]
with open(given["progress"], "w") as told:
    for line in lines[:2]:
        print(line, file=told, flush=True)
        deadline = time.monotonic() + 60
        while not os.path.exists(given["progress"].rpartition("/")[0] + "/seen-" + line[:1]):
            assert time.monotonic() < deadline, line + " is not on the screen"
            time.sleep(0.1)
os.unlink(given["progress"])
print(json.dumps({"changed": True, "message": "\\n".join(lines)}))
"""


def test_lines_are_on_the_screen_while_the_task_runs_and_none_is_shown_twice(tmp_path: Path) -> None:
    plugins = tmp_path / "ansible_collections/turnout/ops/plugins"
    for kind, text in (
        ("modules", MODULE),
        ("action", (ROOT / "plugins/action/migrate.py").read_text().replace("/run/turnout", str(tmp_path))),
    ):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "migrate.py").write_text(text)
    (plugins / "callback").mkdir()
    (plugins / "callback/turnout.py").write_text((ROOT / "plugins/callback/turnout.py").read_text())
    tasks = [{"name": "Migrate", "turnout.ops.migrate": {"service": "shop", "up_command": "up"}}]
    play = {"hosts": "app1", "connection": "local", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "ansible.cfg").write_text("[defaults]\nstdout_callback = turnout.ops.turnout\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "ANSIBLE_"))}
    env |= {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    env |= {"ANSIBLE_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    env |= {"ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    names = ["app1: 1/u a (12ms)", "app1: 2/u b (9s)", "app1: 3/u c (1ms)"]
    text = ""
    with subprocess.Popen(
        [program, "-i", "app1,", str(tmp_path / "play.yml")], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            text += line
            if line.strip() in names:  # the module goes on when its line was seen
                (tmp_path / f"seen-{line.strip()[6]}").touch()
    assert process.returncode == 0, text
    assert [text.count(name) for name in names] == [1, 1, 1], text
    (record,) = tmp_path.glob("turnout/runs/*/events.jsonl")
    (said,) = [event for line in record.read_text().splitlines() if (event := json.loads(line))["event"] == "said"]
    assert said["message"].splitlines() == [name.removeprefix("app1: ") for name in names]
