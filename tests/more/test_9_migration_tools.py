"""The migration tools themselves, on SQLite: what they print is what is read, from an empty database to a failure.

They come from PyPI and npm into a throw-away folder; the lab is not used. What they printed once is in
tests/unit/migrations/test_migration_state.py, which asks no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import migration_state
from turnout.migrations.find import Found, find
from turnout.migrations.tools import TOOLS

INSTALL_LIMIT_S, COMMAND_LIMIT_S = 600, 120


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment with the tools that PyPI has."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_LIMIT_S)
    packages = ["alembic==1.20.1", "django==6.1.3", "yoyo-migrations==9.0.0", "setuptools"]
    subprocess.run([folder / "bin/pip", "install", "-q", *packages], check=True, timeout=INSTALL_LIMIT_S)
    return folder / "bin"


@pytest.fixture(scope="module")
def dbmate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return dbmate's program, as npm has it."""
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run(["npm", "install", "--silent", "dbmate@2.36.0"], cwd=folder, check=True, timeout=INSTALL_LIMIT_S)
    return next(folder.glob("node_modules/@dbmate/*/bin/dbmate"))


@pytest.fixture(scope="module")
def typeorm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which npm laid TypeORM and a driver without compiled parts."""
    folder = tmp_path_factory.mktemp("typeorm")
    packages = ["typeorm@0.3.31", "reflect-metadata@0.2.2", "sql.js@1.14.1"]
    subprocess.run(["npm", "install", "--silent", *packages], cwd=folder, check=True, timeout=INSTALL_LIMIT_S)
    return folder


class Tool:
    """A tool as a service file names it, called in a folder of its own."""

    def __init__(self, name: str, command: str, folder: Path, **environment: str) -> None:
        self.name, self.command, self.folder = name, command, folder
        self.environment: Mapping[str, str] = {**os.environ, **environment}

    def run(self, word: str) -> subprocess.CompletedProcess[str]:
        """Run one of its own commands: `up`, `version`, `down`."""
        return subprocess.run(
            [*self.command.split(), *TOOLS[self.name][word].split()], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False,
        )  # fmt: skip

    def state(self, found: Found) -> dict[str, Any]:
        """Return where its database is in a release's list."""
        done = self.run("version")
        seen = migration_state.read(self.name, done.returncode, done.stdout, done.stderr)
        listed = [{"id": one.id, "version": one.version, "after": list(one.after)} for one in found.migrations]
        placed: dict[str, Any] = migration_state.place(seen, {"order": found.order, "migrations": listed})
        return placed


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())


def test_dbmate(dbmate: Path, tmp_path: Path) -> None:
    write(
        tmp_path, {"m/20200101000000_a.sql": "-- migrate:up\ncreate table a(x int);\n-- migrate:down\ndrop table a;\n"}
    )
    tool = Tool("dbmate", f"{dbmate} -d m", tmp_path, DATABASE_URL="sqlite:x.db")
    goes_through(tool, tmp_path / "m")
    write(tmp_path, {"m/20200102000000_b.sql": "-- migrate:up\ncreat table b(x int);\n-- migrate:down\n"})
    assert fails(tool, tmp_path / "m") == ("20200102000000_b", 'Error: near "creat": syntax error')


TYPEORM = """
    module.exports = class {name} {{
      name = '{name}'
      async up (runner) {{ await runner.query('{up}') }}
      async down (runner) {{ await runner.query('DROP TABLE x') }}
    }}
"""


def test_typeorm(typeorm: Path) -> None:
    source = """
        const { DataSource } = require('typeorm')
        const at = { type: 'sqljs', location: __dirname + '/x.db', autoSave: true }
        module.exports = new DataSource({ ...at, migrations: [__dirname + '/m/*.js'] })
        """
    first = textwrap.dedent(TYPEORM).format(name="A1700000000000", up="create table a(x int)")
    write(typeorm, {"source.js": source, "m/1700000000000-A.js": first})
    tool = Tool("typeorm", "node node_modules/typeorm/cli.js -d source.js", typeorm)
    goes_through(tool, typeorm / "m")
    broken = textwrap.dedent(TYPEORM).format(name="B1700000100000", up="creat table b(x int)")
    write(typeorm, {"m/1700000100000-B.js": broken})
    assert fails(tool, typeorm / "m") == ("1700000100000-B", 'QueryFailedError: near "creat": syntax error')


def test_yoyo(python: Path, tmp_path: Path) -> None:
    step = 'from yoyo import step\n__depends__ = {%s}\nsteps = [step("%s")]\n'
    write(tmp_path, {
        "m/20210501_01_AbCdE-a.py": step % ("", "create table a(x int)"),
        "m/20210501_02_aaaaa-b.py": step % ('"20210501_01_AbCdE-a"', "create table b(x int)"),
        "yoyo.ini": "[DEFAULT]\nsources = m\ndatabase = sqlite:///x.db\n",
    })  # fmt: skip
    tool = Tool("yoyo", f"{python}/yoyo", tmp_path)
    goes_through(tool, tmp_path / "m")
    write(tmp_path, {"m/20210502_01_bbbbb-c.py": step % ('"20210501_02_aaaaa-b"', "creat table c(x int)")})
    name, first = fails(tool, tmp_path / "m")
    assert (name, "creat" in first) == ("20210502_01_bbbbb-c", True)


ALEMBIC = """
    from alembic import op
    import sqlalchemy as sa
    revision = "{0}"
    down_revision = {1}
    def upgrade():
        {2}
    def downgrade():
        op.drop_table("{0}")
"""


def test_alembic(python: Path, tmp_path: Path) -> None:
    subprocess.run([python / "alembic", "init", "m"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    ini = tmp_path / "alembic.ini"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", "sqlite:///x.db"))

    def revision(name: str, down: str, up: str) -> None:
        write(tmp_path, {f"m/versions/{name}_x.py": textwrap.dedent(ALEMBIC).format(name, down, up)})

    table = 'op.create_table("{}", sa.Column("x", sa.Integer()))'
    for name, down in (("ff1", "None"), ("aa2", '"ff1"'), ("cc3", '"ff1"'), ("bb4", '("aa2", "cc3")')):
        revision(name, down, table.format(name) if name != "bb4" else "pass")
    tool = Tool("alembic", f"{python}/alembic", tmp_path)
    goes_through(tool, tmp_path / "m")
    revision("dd5", '"bb4"', 'op.execute("creat table e(x int)")')
    name, first = fails(tool, tmp_path / "m")
    assert (name, first.startswith('sqlite3.OperationalError: near "creat"')) == ("dd5", True)
    subprocess.run([python / "alembic", "stamp", "--purge", "ff1"], cwd=tmp_path, check=True, timeout=60)
    assert tool.state(find(tmp_path / "m"))["pending"] == ["aa2", "cc3", "bb4", "dd5"]


DJANGO = """
    from django.db import migrations, models
    class Migration(migrations.Migration):
        dependencies = [{}]
        operations = [{}]
"""


def test_django(python: Path, tmp_path: Path) -> None:
    subprocess.run([python / "django-admin", "startproject", "s", "."], cwd=tmp_path, check=True, timeout=60)
    settings = tmp_path / "s/settings.py"
    settings.write_text(settings.read_text() + "\nINSTALLED_APPS = ['users', 'shop']\n")
    (tmp_path / "s/urls.py").write_text("urlpatterns = []\n")

    def migration(path: str, after: str, operation: str) -> None:
        text = textwrap.dedent(DJANGO).format(after, operation)
        write(tmp_path, {f"{path}.py": text, f"{path.partition('/')[0]}/migrations/__init__.py": ""})

    create = "migrations.CreateModel('{}', [('id', models.AutoField(primary_key=True))])"
    migration("users/migrations/0001_initial", "", create.format("A"))
    migration("shop/migrations/0001_initial", "('users', '__first__')", create.format("B"))
    migration("users/migrations/0002_c", "('users', '0001_initial'), ('shop', '0001_initial')", create.format("C"))
    tool = Tool("django", f"{python}/python manage.py", tmp_path)
    goes_through(tool, tmp_path)
    migration("shop/migrations/0002_d", "('shop', '0001_initial')", "migrations.RunSQL('creat table d(x int)')")
    name, first = fails(tool, tmp_path)
    assert (name, first.startswith('sqlite3.OperationalError: near "creat"')) == ("shop.0002_d", True)


def goes_through(tool: Tool, folder: Path) -> None:
    """An empty database has nothing of the list, and after `up` all of it."""
    found = find(folder)
    ids = [one.id for one in found.migrations]
    before = tool.state(found)
    assert (before["version"], before["pending"], before["unlisted"]) == (0, ids, [])
    done = tool.run("up")
    assert done.returncode == 0, done.stdout + done.stderr
    after = tool.state(found)
    assert (after["version"], after["pending"]) == (found.migrations[-1].version, [])


def fails(tool: Tool, folder: Path) -> tuple[str, str]:
    """Apply one that fails; return what is pending then, and the first error."""
    done = tool.run("up")
    assert done.returncode
    (name,) = tool.state(find(folder))["pending"]
    return name, migration_state.first_error(done.stderr or done.stdout).splitlines()[0]
