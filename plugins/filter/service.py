"""Filters that turn the service file and a manifest into what the roles write to hosts.

Those whose result holds secrets say so; their results belong into parameters with `no_log` only.
"""

from __future__ import annotations

import json
from pathlib import Path

from ansible.errors import AnsibleFilterError
from turnout import service
from turnout.controller_action import plain
from turnout.errors import TurnoutError
from turnout.inventory_check import ADDRESS_VARIABLES, KNOWN_GROUPS
from turnout.release.manifest import from_dict
from turnout.service import commands, configuration, directories, environment, stand_ins, units


def _load(value, inventory_dir):
    try:
        return service.load(value, base_dir=Path(inventory_dir))
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None


def _manifest(value):
    try:
        return from_dict(value)
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None


def service_json(value):
    """Return the variable as the JSON text that tasks take, in which a date is not taken for a text. HOLDS SECRETS."""
    return service.as_json(plain(value))


def full(value, inventory_dir="."):
    """Return the service with its defaults. HOLDS SECRETS."""
    return _load(value, inventory_dir).full()


def env_text(value, color, version, inventory_dir="."):
    """Return the text of a color's environment file. HOLDS SECRETS."""
    return environment.env_text(_load(value, inventory_dir), color, version)


def released(value, inventory_dir="."):
    """Return what else is released of the service file, as JSON. HOLDS SECRETS."""
    whole = configuration.configuration(_load(value, inventory_dir))
    return json.dumps({name: one for name, one in whole.items() if not name.startswith(configuration.ENVIRONMENT)})


def configuration_id(values, key, inventory_dir="."):
    """Return the name of the configuration of services, as every host has its own, made with a key in hex."""
    return configuration.identity([_load(value, inventory_dir) for value in values], bytes.fromhex(key))


def stand_in_tls(value, inventory_dir="."):
    """Return {redis: whether an address of Redis asks for TLS, trusted: the files of root certificates it names}."""
    given = _load(value, inventory_dir).environment
    secure = any(one.startswith("rediss:") for one in stand_ins.redis_addresses(given))
    return {"redis": secure, "trusted": stand_ins.root_certificates(given)}


def migrate_env_text(value, color, version, inventory_dir="."):
    """Return the text of a color's environment file for the migrator, '' without one. HOLDS SECRETS."""
    read = _load(value, inventory_dir)
    return environment.migrate_env_text(read, color, version) if read.migrate is not None else ""


def drop_ins(value, color, manifest=None, inventory_dir=".", *, host=None, groups=None):
    """Return the drop-ins of a color's units: path below /etc/systemd/system to text.

    With `host` and the inventory's `groups` only the kinds of worker that run on that host have any.
    """
    read = _load(value, inventory_dir)
    laid = _manifest(manifest).layout(f"/opt/{read.name}/{color}") if manifest else None
    here = read.workers if host is None else worker_names(read.full(), host, groups)
    return units.drop_ins(
        read, color, laid, [one for one in read.processes() if one.kind != "worker" or one.name in here]
    )


def _workers(value):
    """Return a service's kinds of worker. A file of an earlier version is refused: its worker would be forgotten."""
    if value.get("worker"):
        remedy = service.Service.gone("worker", plain(value["worker"]))
        raise AnsibleFilterError(
            "error[service-invalid]: service.worker, a key of an earlier version; expected: service.workers, by name; "
            f"to mend: {remedy}"
        )
    return value.get("workers") or {}


def worker_names(value, host, groups):
    """Return the names of the kinds of worker that a service (as written, or read) has on a host."""
    return units.worker_names(_workers(value), host, groups)


def worker_jobs(value, groups):
    """Return what Prometheus scrapes of a service's workers: a job for each kind that has a metrics port."""
    workers = _workers(value)
    return [
        {
            "job": f"{value['name']}-worker-{name}", "group": "worker", "ports": worker["metrics_port"],
            "path": worker.get("metrics_path") or "/metrics", "instances": worker.get("instances") or 1,
            "hosts": [host for host in groups.get("worker", ()) if name in worker_names(value, host, groups)],
        }
        for name, worker in workers.items()
        if (worker or {}).get("metrics_port")
    ]  # fmt: skip


def web_ports(value):
    """Return the ports of a service's web processes in both colors."""
    return [int(port) for web in (value.get("web") or {}).values() for port in web["ports"].values()]


def web_jobs(value):
    """Return what Prometheus scrapes of a service's web processes: a job for each that has a metrics path."""
    return [
        {"job": f"{value['name']}-web-{name}", "group": "api", "ports": web["ports"], "path": web["metrics_path"]}
        for name, web in (value.get("web") or {}).items()
        if web.get("metrics_path")
    ]


def worker_ports(value, host=None, groups=None):
    """Return the metrics ports of a service's workers in both colors, of one host alone where it is given.

    Instance k of a kind has the declared port + k - 1.
    """
    workers = _workers(value)
    names = workers if host is None else worker_names(value, host, groups)
    return [
        int(port) + k
        for name in names
        for port in ((workers[name] or {}).get("metrics_port") or {}).values()
        for k in range(int(workers[name].get("instances") or 1))
    ]


def command_lines(service, base, manifest):
    """Return the commands of a release and what undoes them, as ExecStart= has them, by their keys."""
    folder = _manifest(manifest).layout(base).folder
    return {
        f"service.commands[{index}].{key}": commands.command_line(one[key], folder)
        for index, one in enumerate(service.get("commands") or ())
        for key in ("run", "undo")
        if one.get(key)
    }


def layout(manifest, base, service=None):
    """Return how processes see a release that is laid in the folder `base`: {folder, root, environment, properties}.

    With the public view of a `service` its directories are seen there, as they are and only to be read.
    """
    laid = _manifest(manifest).layout(base).as_dict()
    paths = [one["path"] for one in (service or {}).get("directories") or ()]
    bound = [
        f"-{there}:{seen}" for there, seen in directories.binds((service or {}).get("name"), paths, laid["folder"])
    ]
    if bound:
        seen = laid["properties"].get("BindReadOnlyPaths", "")
        laid["properties"] = {**laid["properties"], "BindReadOnlyPaths": " ".join(filter(None, [seen, *bound]))}
    return laid


def shared(service, manifest, base):
    """Return of each directory of the service where it lies, and what of a release in the folder `base` it covers."""
    laid, paths = _manifest(manifest).layout(base), [one["path"] for one in service.get("directories") or ()]
    seen = dict(directories.binds(service["name"], paths, laid.folder))
    there = [directories.source(service["name"], path) for path in paths]
    return [
        {
            "path": path,
            "source": one,
            "seen": seen.get(one, one),
            "covers": laid.root + seen[one] if one in seen else "",
        }
        for path, one in zip(paths, there, strict=True)
    ]


def argv(command, release_dir):
    """Return a command of the service file as words for systemd-run, its program inside `release_dir`."""
    return commands.argv(command, release_dir)


def addresses(hostvars, groups):
    """Return, of every host that Turnout works with, the variables that say where it is reached."""
    hosts = {host for group in KNOWN_GROUPS for host in groups.get(group, ())}
    return {
        host: {name: hostvars[host][name] for name in ADDRESS_VARIABLES if name in hostvars[host]}
        for host in sorted(hosts)
    }


class FilterModule:
    """The filters that read a service or a manifest."""

    def filters(self):
        """Return the filters by name."""
        return {
            "service": full,
            "service_json": service_json,
            "env_text": env_text,
            "migrate_env_text": migrate_env_text,
            "stand_in_tls": stand_in_tls,
            "configuration": released,
            "configuration_id": configuration_id,
            "drop_ins": drop_ins,
            "worker_names": worker_names,
            "worker_jobs": worker_jobs,
            "worker_ports": worker_ports,
            "web_ports": web_ports,
            "web_jobs": web_jobs,
            "layout": layout,
            "shared": shared,
            "command_lines": command_lines,
            "argv": argv,
            "addresses": addresses,
        }
