"""The files of a new repository: rendered and checked in memory, then written all or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError
from turnout.init import vault
from turnout.init.answers import PURPOSES, WITH_SECRET_KEY, Answers, Host, check
from turnout.inventory_check import check as check_inventory
from turnout.key_docs import schema
from turnout.routes import SEGMENT
from turnout.service import load
from turnout.service.model import Service

VAULT_PASSWORD = PurePosixPath(".vault-password")
_IN_ROOT = {
    "ansible.cfg": "ansible.cfg",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore",
    "ci/check.yml": "check.yml",
}
_IN_INVENTORY = {
    "hosts.yml": "hosts.yml",
    "group_vars/all/service.yml": "service.yml",
    "group_vars/all/site.yml": "site.yml",
    "group_vars/all/backup.yml": "backup.yml",
    "group_vars/all/recovery.yml": "recovery.yml",
    "slos/api-availability.yml": "slo.yml",
    "slos/api-latency.yml": "slo-latency.yml",
}
_SCHEMA = "service.schema.json"  # named in the template of the service file
_ROUTE = re.compile(f"(?:/{SEGMENT})+")
_PRIVATE, _PUBLIC = 0o600, 0o644


@dataclass(frozen=True)
class File:
    """One file to write."""

    content: str
    mode: int = _PUBLIC


def render(answers: Answers) -> dict[PurePosixPath, File]:
    """Return the files by their path in the repository. Raises FaultsError for answers that cannot be right."""
    check(answers)
    values = _values(answers)
    place = PurePosixPath("inventories", answers.environment)
    made = {PurePosixPath(path): File(_fill(name, values)) for path, name in _IN_ROOT.items()}
    made[PurePosixPath(_SCHEMA)] = File(json.dumps(schema(Service, "service"), indent=2, ensure_ascii=False) + "\n")
    like = {"service.yml": f"like-{answers.like}.yml"} if answers.like else {}
    made |= {place / path: File(_fill(like.get(name, name), values)) for path, name in _IN_INVENTORY.items()}
    variables = place / "group_vars" / "all"
    example = {**values, "example": True, "secret": str, "key": str}
    made[variables / "vault.yml.example"] = File(_fill("vault.yml", example))
    password = vault.draw()
    made[VAULT_PASSWORD] = File(password + "\n", _PRIVATE)
    if values["postgres"] or values["redis"] or values["secret_key"]:
        plain = _fill("vault.yml", {**values, "example": False, "secret": vault.draw, "key": vault.draw_key})
        made[variables / "vault.yml"] = File(vault.encrypt(plain, password))
    _check(made, place, answers)
    return made


def write(folder: Path, made: Mapping[PurePosixPath, File]) -> None:
    """Write the files; where one of them is there already or cannot be written, nothing is left of the others."""
    refuse_present(folder, made)
    written: list[Path] = []
    try:
        for path, file in sorted(made.items()):
            target = folder / path
            for parent in reversed(target.parents):
                if not parent.exists():
                    parent.mkdir()
                    written.append(parent)
            written.append(target)
            target.touch(mode=file.mode, exist_ok=False)
            target.write_text(file.content, encoding="utf-8")
    except OSError as error:
        for each in reversed(written):
            _remove(each)
        raise _unwritable(folder, error) from error


def always(environment: str) -> list[PurePosixPath]:
    """Return the files that are made whatever is answered, but for the inventory's name."""
    place = PurePosixPath("inventories", environment)
    in_root = [*map(PurePosixPath, (*_IN_ROOT, _SCHEMA)), VAULT_PASSWORD]
    return [*in_root, *(place / path for path in (*_IN_INVENTORY, "group_vars/all/vault.yml.example"))]


def refuse_present(folder: Path, paths: Iterable[PurePosixPath]) -> None:
    """Raise TurnoutError where one of the files is in the folder already."""
    try:
        present = [path for path in paths if (folder / path).exists() or (folder / path).is_symlink()]
    except OSError as error:
        raise _unwritable(folder, error) from error
    if present:
        raise TurnoutError(
            "init-present",
            observed=f"{folder} has {', '.join(map(str, sorted(present)))} already",
            expected="a folder without these files: nothing of yours is replaced, and nothing was changed",
            remedy='name another folder; a further inventory of the same service: see "A second '
            'inventory" in docs/setup.md',
        )


def _unwritable(folder: Path, error: OSError) -> TurnoutError:
    return TurnoutError(
        "init-unwritable",
        observed=f"{error.filename or folder}: {error.strerror}",
        expected="a folder that can be written; nothing was left in it",
        remedy="mend that, or name another folder",
    )


def _remove(path: Path) -> None:
    """Remove what was just made; what cannot be removed stays, beside the error that is told."""
    try:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return


def _values(answers: Answers) -> dict[str, Any]:
    """Return what the templates know."""
    first = {group: hosts[0] for group, hosts in answers.groups.items() if hosts}
    values = {key: value for key, value in asdict(answers).items() if key != "groups"}
    values["version"] = version("turnout")
    values["module"] = answers.service.replace("-", "_")
    values["has_workers"] = bool(answers.groups.get("worker"))
    values["secret_key"] = answers.like in WITH_SECRET_KEY
    values["deploy_from"] = list(answers.deploy_from)
    values |= {group: _address(first[group]) if group in first else "" for group in ("postgres", "redis", "monitoring")}
    values |= _addresses(values)
    # Checks of a load balancer are no users: the health path is a route of its own, where it can be one.
    health_route = answers.health != "/" and _ROUTE.fullmatch(answers.health) is not None
    values["health_route"] = health_route
    values["users"] = ['route!="health"'] if health_route else []
    named: set[str] = set()
    groups = []
    for group, purpose in PURPOSES.items():
        hosts = []
        for host in answers.groups.get(group, ()):
            hosts.append({"name": host.name, "address": host.address, "new": host.name not in named})
            named.add(host.name)
        if hosts:
            groups.append({"name": group, "purpose": purpose, "hosts": hosts})
    return {**values, "groups": groups}


def _addresses(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of the databases as they are written into YAML; without a host, what a team fills in."""

    def database(role: str) -> str:
        name = values["module"]
        login = f"{name}_{role}:{{{{ postgres_passwords.{role} }}}}"
        return _folded(f"postgresql://{login}@", f"{values['postgres']}:5432/{name}?sslmode=require")

    found = {"migrate_url": '"{{ vault_migrate_database_url }}"', "database_url": '"{{ vault_database_url }}"'}
    found["redis_url"] = '"{{ vault_redis_url }}"'
    if values["postgres"]:
        found |= {"migrate_url": database("migrate"), "database_url": database("app")}
    if values["redis"]:
        found["redis_url"] = _folded("redis://service:{{ redis_passwords.service }}@", f"{values['redis']}:6379/0")
    return found


def _folded(first: str, then: str) -> str:
    return f'"{first}\\\n        {then}"'


def _address(host: Host) -> str:
    """Return where other hosts reach a host, as a template: right also when private_address is added later."""
    address = f"{{{{ hostvars['{host.name}'].private_address | default('{host.reached_at}') }}}}"
    return f"[{address}]" if ":" in host.reached_at else address


def _fill(name: str, values: Mapping[str, Any]) -> str:
    # Ansible's own templates stay as they are, so ours have other signs.
    environment = jinja2.Environment(  # noqa: S701 - YAML, not HTML; every value is quoted by the filter q
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("turnout.init"),
    )
    environment.filters["q"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(f"{name}.j2").render(values)


def _check(made: Mapping[PurePosixPath, File], place: PurePosixPath, answers: Answers) -> None:
    """Hold the service file and the inventory to what every deploy holds them to."""
    # What Ansible fills in later is something there, and no fault.
    content = re.sub(r"\{\{.*?\}\}", "filled-in", made[place / "group_vars" / "all" / "service.yml"].content)
    service = yaml.safe_load(content)["service"]
    faults: list[Fault] = []
    try:
        load(service, base_dir=Path(place))
    except FaultsError as error:
        faults += error.faults
    groups = {group: [host.name for host in hosts] for group, hosts in answers.groups.items() if hosts}
    hosts = {host.name: {"ansible_host": host.address} for group in answers.groups.values() for host in group}
    faults += check_inventory(groups, hosts, service)
    if faults:
        raise FaultsError("init-invalid", "what the repository is to be made of", faults)
