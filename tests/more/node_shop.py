"""A shop of Vendure, from npm, as a team has it: the project in `shop/`, what npm laid, and releases of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("tests/unit", "tests/unit/rotation")]
from rotation_servers import postgres

BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/applications/node.md").read_text()
LIMIT_S = 900
# The tool of the migrations, as the page says; what Vendure asks for; what it writes into an empty database.
MIGRATE = {"tool": "typeorm", "command": "/usr/bin/node node_modules/typeorm/cli.js -d data-source.js"}
HEALTH = ("--health", "/health")
SETTINGS = {"ADMIN_PASSWORD": "an-admin", "VENDURE_DISABLE_TELEMETRY": "true"}
SEED = {"name": "seed", "run": "/usr/bin/node seed.js", "when": "before_start", "timeout_s": 120}

PASSWORD = "of-the-test"
ROLES = f"""
CREATE ROLE {{name}}_migrate LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE {{name}}_app LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE {{name}} OWNER {{name}}_migrate;
"""
RIGHTS = """
ALTER SCHEMA public OWNER TO {name}_migrate;
ALTER DEFAULT PRIVILEGES FOR ROLE {name}_migrate GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name}_app;
ALTER DEFAULT PRIVILEGES FOR ROLE {name}_migrate GRANT USAGE ON SEQUENCES TO {name}_app;
"""


def add_column(column: str, number: int) -> dict[str, str]:
    """Return a migration, file and text, that adds a column to the notes."""
    name = f"Add{column.title()}"
    text = f"""// turnout: kind=expand
module.exports = class {name}{number} {{
  name = '{name}{number}'
  async up (runner) {{ await runner.query('ALTER TABLE note ADD COLUMN {column} text') }}
  async down (runner) {{ await runner.query('ALTER TABLE note DROP COLUMN {column}') }}
}}
"""
    return {f"migrations/{number}-{name}.js": text}


def run(*words: str | Path, **more: Any) -> str:
    """Run a command to its end, which must be good; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=LIMIT_S, **more
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


class Shop:
    """The project's folder, with node_modules, and the variables that its processes get."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder = place, place / "shop"
        shutil.copytree(Path(__file__).parent / "shop", self.folder)
        (settings,) = re.findall(r"^```yaml\n(name: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        asks = yaml.safe_load(settings)
        asks["environment"] += list(SETTINGS)
        (self.folder / "turnout-release.yml").write_text(yaml.safe_dump(asks))
        (ignored,) = re.findall(r"^- `\.turnoutignore`: ((?:`[^`]+`(?:, )?)+)", PAGE, re.MULTILINE)
        (self.folder / ".turnoutignore").write_text("\n".join(re.findall(r"`([^`]+)`", ignored)) + "\n")
        npm = ("npm", "--silent", "--no-fund", "--no-audit", "--prefer-offline")
        run(*npm, "install", "--package-lock-only", cwd=self.folder)
        run(*npm, "ci", cwd=self.folder)
        run(*npm, "prune", "--omit=dev", cwd=self.folder)

    def first_migration(self, environment: Mapping[str, str]) -> Path:
        """Have TypeORM write the migration that an empty database needs; return its file."""
        words = (*MIGRATE["command"].split(), "migration:generate", "--outputJs", "--timestamp", "1700000000000")
        run(*words, "migrations/Initial", cwd=self.folder, env={**os.environ, **SETTINGS, **environment})
        return self.folder / "migrations/1700000000000-Initial.js"

    def variant(self, name: str, changes: Mapping[str, tuple[str, str]], files: Mapping[str, str]) -> Path:
        """Return a copy of the project with texts of files replaced and files added, node_modules shared."""
        folder = self.place / name / "shop"
        shutil.copytree(self.folder, folder, copy_function=os.link, symlinks=True, ignore=lambda *_: [".git"])
        texts = dict(files)
        for file, (old, new) in changes.items():
            text = (folder / file).read_text()
            assert text.count(old) == 1, (file, old)
            texts[file] = text.replace(old, new)
        for file, text in texts.items():
            (folder / file).unlink(missing_ok=True)  # it is the project's own file
            (folder / file).write_text(text)
        return folder


class Database:
    """A real PostgreSQL here, empty, with the roles that `turnout.ops.site` gives a service."""

    def __init__(self, data: Path, port: int, name: str) -> None:
        self._socket, self._port, self._name = data.parent, port, name
        for database, text in (("postgres", ROLES), (name, RIGHTS)):
            self.sql(text.format(name=name), database)

    @classmethod
    @contextmanager
    def started(cls, name: str = "shop") -> Iterator[Self]:
        """Start one for the time of the block, with the database of a service of that name."""
        with postgres() as (data, port):
            yield cls(data, port, name)

    def url(self, role: str) -> str:
        """Return the address for a role."""
        return f"postgresql://{role}:{PASSWORD}@127.0.0.1:{self._port}/{self._name}"

    def sql(self, text: str, database: str = "") -> list[str]:
        """Run SQL as the superuser, over the server's socket; return the lines that psql printed, unaligned."""
        as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.getuid() == 0 else ()
        at = ("-h", self._socket, "-p", str(self._port), "-U", "postgres", "-d", database or self._name)
        return run(*as_user, "psql", *at, "-XAtq", "-v", "ON_ERROR_STOP=1", input=text, cwd="/").splitlines()


def written_service(ops: Path) -> dict[str, Any]:
    """Return the service file that `turnout init --like node` writes, with what the team changes in it."""
    words = ("--service", "shop", "--edge", "edge1=10.0.0.11", "--api", "app1=10.0.0.21", "--worker", "app1")
    words = (*words, "--postgres", "data1=10.0.0.31", "--redis", "data1", *HEALTH)
    run(BIN / "turnout", "init", ops, "--like", "node", *words)
    written = (ops / "inventories/production/group_vars/all/service.yml").read_text()
    service: dict[str, Any] = yaml.safe_load(written)["service"]
    service["migrate"] |= MIGRATE
    service["environment"] |= SETTINGS
    return service


def words(command: str, environment: Mapping[str, str]) -> list[str]:
    """Return a command of the service file as systemd would start it."""
    for name, value in environment.items():
        command = command.replace(f"${{{name}}}", value)
    return shlex.split(command.replace("%%", "%"))
