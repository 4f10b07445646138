"""The migration tools whose own commands and outputs are known, so that nobody writes a wrapper for them.

What each of them prints is read on the hosts (`plugins/module_utils/migration_state.py`).
"""

from __future__ import annotations

TOOLS = {
    "golang-migrate": {"up": "up", "version": "version", "down": "down 1"},
    "goose": {"up": "up", "version": "version", "down": "down"},
    # What it dumps would go into the release, which is read-only.
    "dbmate": {"up": "--no-dump-schema migrate", "version": "status", "down": "--no-dump-schema rollback"},
    "alembic": {"up": "upgrade heads", "version": "current", "down": "downgrade -1"},
    "django": {"up": "migrate --noinput --no-color", "version": "showmigrations --plan --no-color"},
    "flyway": {"up": "migrate", "version": "info -outputType=json"},
    "knex": {"up": "migrate:latest", "version": "migrate:currentVersion", "down": "migrate:down"},
    "laravel": {
        "up": "migrate --force --no-ansi",
        "version": "migrate:status --no-ansi",
        "down": "migrate:rollback --step=1 --force --no-ansi",
    },
    "typeorm": {"up": "migration:run", "version": "migration:show", "down": "migration:revert"},
    "yoyo": {"up": "apply --batch", "version": "list --batch"},
    "rails": {"up": "db:migrate", "version": "db:migrate:status", "down": "db:rollback"},
}
"""What is added to the tool's command. Where `down` is absent, no command of the tool takes back just the last one."""
