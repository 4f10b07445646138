"""The plan of a rehearsal, from the service file and both releases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ansible.errors import AnsibleFilterError
from turnout.checklist import config
from turnout.controller_action import plain
from turnout.errors import TurnoutError
from turnout.release.manifest import from_dict
from turnout.release.schema import SchemaState, pending
from turnout.service import directories, load, stand_ins
from turnout.service.environment import environment


def _whole(service, given, checklist, inventory_dir):
    """Return variables with libpq's own beside those that `checklist` names, and the addresses of Redis in parts."""
    service = replace(service, environment=given)
    try:
        asked = config.load(plain(checklist or {}), service=service, base_dir=Path(inventory_dir))
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None
    parts = {} if asked.postgres.variables is None else asked.postgres.target
    named = {name: parts[part] for name, part in stand_ins.VARIABLES.items() if parts.get(part)}
    return {**given, **named}, [] if asked.redis.variables is None else [asked.redis.url]


def migration_plan(value, inventory_dir, candidate, stable, options, *, checklist=None):
    """Return the plan as JSON text. HOLDS SECRETS."""
    try:
        service = load(value, base_dir=Path(inventory_dir))
        manifest = from_dict(candidate["manifest"])
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None
    if service.migrate is None:
        raise AnsibleFilterError("the service has no migrations: service.migrate is not set")
    base = int(options["base_version"])

    def release(one):
        if not one:
            return None
        manifest = from_dict(one["manifest"])
        layout = manifest.layout(f"/opt/{service.name}/releases/{one['id']}")
        paths = [directory.path for directory in service.directories]
        seen = dict(directories.binds(service.name, paths, layout.folder))
        return {
            "folder": layout.folder,
            "root": layout.root,
            "directories": [
                layout.root + seen.get(one, one) for one in (directories.source(service.name, path) for path in paths)
            ],
            "version": manifest.version,
            "environment": {**layout.environment, **environment(service, "blue", manifest.version, "migrate")},
            "api_environment": {**layout.environment, **environment(service, "blue", manifest.version, "api")},
        }

    given, redis = _whole(service, {**service.environment, **service.migrate.environment}, checklist, inventory_dir)
    own, _ = _whole(service, service.environment, checklist, inventory_dir)
    databases = stand_ins.databases(service.migrate.environment, service.migrate.user)
    databases += stand_ins.databases(given, service.migrate.user)
    databases += stand_ins.databases(own, service.user)
    if not databases:
        raise AnsibleFilterError(
            "no variable of the service holds an address of PostgreSQL; expected: one such as "
            "postgresql://user:password@host:5432/database, or its parts in variables of their own; to mend: "
            "service.environment or service.migrate.environment, or name the variables, as in "
            "checklist.postgres.variables: {host: DB_HOST, dbname: DB_NAME, user: DB_USER, password: DB_PASSWORD}"
        )
    plan = {
        **options,
        "user": service.user,
        "migrate_user": service.migrate.user,
        "databases": [one for at, one in enumerate(databases) if one not in databases[:at]],
        "redis_urls": list(dict.fromkeys([*stand_ins.redis_addresses(given), *redis])),
        "trusted": stand_ins.root_certificates(given),
        **(releases := {"candidate": release(candidate), "stable": release(stable)}),
        "directories": [path for one in releases.values() if one for path in one["directories"]],
        "up": service.migrate.up,
        "down": service.migrate.down,
        "version_command": service.migrate.version,
        "tool": service.migrate.tool or "",
        "listed": {"order": manifest.order, "migrations": manifest.as_dict()["migrations"]},
        "timeout_s": service.migrate.timeout_s,
        "pending": [one.id for one in pending(manifest, SchemaState(base))],
        "base_version": base,
        "ignore_tables": list(service.migrate.ignore_tables),
        "api": {
            "command": service.api.command,
            "port": service.api.ports["blue"],
            "health": {
                "path": service.api.health.path,
                "status": service.api.health.status,
                "deadline_s": service.api.health.deadline_s,
                "headers": service.api.health.sent,
            },
            "smoke": [
                {
                    "path": test.path,
                    "method": test.method,
                    "status": test.status,
                    "contains": test.contains,
                    "body": test.body,
                    "headers": dict(test.headers),
                }
                for test in service.smoke
            ],
        },
    }
    return json.dumps(plan)


def sql_files(folder):
    """Return {name: text} of the SQL files of a folder of the controller; empty where there is no such folder."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.sql"))}


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"migration_plan": migration_plan, "sql_files": sql_files}
