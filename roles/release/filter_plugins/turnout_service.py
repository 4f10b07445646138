"""Filters that turn the service file and a manifest into what the roles write to hosts.

Those whose result holds secrets say so; their results belong into parameters with `no_log` only.
"""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleFilterError
from turnout.errors import TurnoutError
from turnout.inventory_check import ADDRESS_VARIABLES, KNOWN_GROUPS
from turnout.release.manifest import from_dict
from turnout.release.schema import SchemaState, pending, runs_on, state_after
from turnout.service import load
from turnout.service.commands import argv
from turnout.service.environment import env_text, migrate_env_text
from turnout.service.units import drop_ins, unit_names


def _load(value, inventory_dir):
    try:
        return load(value, base_dir=Path(inventory_dir))
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None


def _manifest(value):
    try:
        return from_dict(value)
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None


def turnout_service(value, inventory_dir="."):
    """Return the service with its defaults. HOLDS SECRETS."""
    return _load(value, inventory_dir).full()


def turnout_view(value, inventory_dir="."):
    """Return the service with its defaults and without secrets."""
    return _load(value, inventory_dir).public()


def turnout_env_text(value, color, version, inventory_dir="."):
    """Return the text of a color's environment file. HOLDS SECRETS."""
    return env_text(_load(value, inventory_dir), color, version)


def turnout_migrate_env_text(value, color, version, inventory_dir="."):
    """Return the text of a color's environment file for the migrator, '' without one. HOLDS SECRETS."""
    service = _load(value, inventory_dir)
    return migrate_env_text(service, color, version) if service.migrate is not None else ""


def turnout_drop_ins(value, color, manifest=None, inventory_dir="."):
    """Return the drop-ins of a color's units: path below /etc/systemd/system to text."""
    service = _load(value, inventory_dir)
    return drop_ins(service, color, _manifest(manifest).layout(f"/opt/{service.name}/{color}") if manifest else None)


def turnout_layout(manifest, base):
    """Return how processes see a release that is laid in the folder `base`: {folder, root, environment}."""
    return _manifest(manifest).layout(base).as_dict()


def turnout_unit_names(value, color, process, inventory_dir="."):
    """Return the names of the units of a process in a color."""
    return unit_names(_load(value, inventory_dir), color, process)


def turnout_argv(command, release_dir):
    """Return a command of the service file as words for systemd-run, its program inside `release_dir`."""
    return argv(command, release_dir)


def turnout_addresses(hostvars, groups):
    """Return, of every host that Turnout works with, the variables that say where it is reached."""
    hosts = {host for group in KNOWN_GROUPS for host in groups.get(group, ())}
    return {
        host: {name: hostvars[host][name] for name in ADDRESS_VARIABLES if name in hostvars[host]}
        for host in sorted(hosts)
    }


def turnout_release_id(manifest):
    """Return what a release is called on a host."""
    return _manifest(manifest).release_id


def _state(value):
    return SchemaState(int(value["version"]), int(value.get("last_contract", 0)))


def turnout_runs_on(manifest, state):
    """Tell whether a release runs on a schema state {version, last_contract}."""
    return runs_on(_manifest(manifest).schema, _state(state))


def turnout_pending(manifest, state):
    """Return the release's migrations that a schema state lacks."""
    return [migration.as_dict() for migration in pending(_manifest(manifest), _state(state))]


def turnout_schema_after(manifest, state):
    """Return the schema state once the release's migrations are applied."""
    after = state_after(_manifest(manifest), _state(state))
    return {"version": after.version, "last_contract": after.last_contract}


class FilterModule:
    """The filters of this role."""

    def filters(self):
        """Return the filters by name."""
        return {
            function.__name__: function
            for function in (
                turnout_service,
                turnout_view,
                turnout_env_text,
                turnout_migrate_env_text,
                turnout_drop_ins,
                turnout_layout,
                turnout_unit_names,
                turnout_argv,
                turnout_addresses,
                turnout_release_id,
                turnout_runs_on,
                turnout_pending,
                turnout_schema_after,
            )
        }
