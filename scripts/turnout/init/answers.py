"""What a new repository must be told, and what is wrong with it. Pure: nothing is read or written here."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from turnout.counts import counted
from turnout.faults import Fault, FaultsError, shown
from turnout.inventory_check import KNOWN_GROUPS
from turnout.service.values import NAME

# Group -> what its hosts do, as it is written above the group.
PURPOSES = {
    "edge": "HAProxy and turnout-edge: where users come in. Two, so that one may fail.",
    "api": "Run the service's API, in both colors. The first one runs the migrations.",
    "worker": "Run the workers; the first one runs the scheduler. The same hosts as api, or others.",
    "postgres": "PostgreSQL: one host, no replicas are set up.",
    "redis": "Redis: one host.",
    "monitoring": "Prometheus and Alertmanager.",
    "drill": "Where restores land when they are rehearsed: a host with room for the whole database.",
}
# Framework -> the path that answers once a process of it can serve: its own, or what docs/applications advises.
FRAMEWORKS = {
    "django": "/healthz", "go": "/healthz", "laravel": "/up", "node": "/healthz", "python": "/healthz", "rails": "/up",
}  # fmt: skip
WITH_SECRET_KEY = ("django", "laravel", "python", "rails")
ONE_HOST = ("postgres", "redis", "monitoring", "drill")
HOST_FORM = "NAME=ADDRESS such as app1=10.0.0.21, a full DNS name, or the name of a host that was named before"
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# No name in DNS ends in a number: such a text is an address with a slip in it.
_NUMBERS = re.compile(r"(^|\.)[0-9]+$")
_FOLDER = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
# What Ansible would take for a template of its own.
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")
_RESERVED_NAMES = frozenset({*KNOWN_GROUPS, "controller", "all", "ungrouped", "localhost"})


@dataclass(frozen=True)
class Host:
    """A host and where Ansible reaches it; without an address its own name says it."""

    name: str
    address: str = ""

    @property
    def reached_at(self) -> str:
        """Return the address, or the name that stands for it."""
        return self.address or self.name


@dataclass(frozen=True)
class Answers:
    """All that is asked. Empty texts and groups stand for what the team does not have."""

    service: str
    api_command: str
    health: str
    groups: Mapping[str, tuple[Host, ...]]
    environment: str = "production"
    user: str = "deploy"
    releases: str = "/srv/releases"
    worker_command: str = ""
    scheduler_command: str = ""
    migrate_up: str = ""
    migrate_version: str = ""
    deploy_from: tuple[str, ...] = ()
    like: str = ""


def name_fault(text: str) -> str:
    """Return what a service's name should be, or nothing where it is one."""
    fits = re.fullmatch(NAME, text)
    return "" if fits else "1 to 31 lower-case letters, digits and inner hyphens, a letter first, such as shop"


def source_fault(text: str) -> str:
    """Return what a place of releases should be, or nothing where it is one."""
    fits = re.fullmatch(r"(/|s3://[^@\s/]+|https?://[^@\s/]+)[^\s@?#]*", text) and not _TEMPLATE.search(text)
    return "" if fits else "an absolute folder, https://host/path or s3://bucket/prefix"


def path_fault(text: str) -> str:
    """Return what a health path should be, or nothing where it is one."""
    fits = re.fullmatch(r"/[^\s]*", text) and not _TEMPLATE.search(text)
    return "" if fits else "a path that begins with / and has no blank, such as /health"


def command_fault(text: str) -> str:
    """Return what a command should be, or nothing where it may be one; the service check looks closer."""
    if not text.strip():
        return "a command as in systemd's ExecStart, such as bin/api --port ${PORT}"
    return "a command without {{, {% and {#, which Ansible would take for templates" if _TEMPLATE.search(text) else ""


def user_fault(text: str) -> str:
    """Return what a login's name should be, or nothing where it is one."""
    return "" if _USER.fullmatch(text) else "the name of a user on the hosts, such as deploy"


def environment_fault(text: str) -> str:
    """Return what an inventory's name should be, or nothing where it is one."""
    return "" if _FOLDER.fullmatch(text) else "lower-case letters, digits, - and _, such as production"


def networks_of(text: str) -> tuple[str, ...]:
    """Return addresses and networks that are written with commas between; ValueError tells which is none."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in found:
        ipaddress.ip_network(word, strict=False)
    return found


def hosts_of(text: str, known: Mapping[str, Host]) -> tuple[Host, ...]:
    """Return the hosts that a text names, with commas between. ValueError tells the first that is none.

    `known` are the hosts of other groups: their names alone are enough.
    """
    found: dict[str, Host] = {}
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        host = _host(word, {**known, **found})
        if host.name in found:
            raise ValueError(f"{host.name} is named twice")
        found[host.name] = host
    return tuple(found.values())


def readable_hosts(text: str, known: Mapping[str, Host]) -> Iterator[Host]:
    """Return the hosts of a text that can be read, whatever the others are."""
    for word in text.split(","):
        with contextlib.suppress(ValueError):
            yield from hosts_of(word, known)


def _host(word: str, known: Mapping[str, Host]) -> Host:
    name, equals, address = (part.strip() for part in word.partition("="))
    if _is_address(name) or (not equals and _NUMBERS.search(name) and "." in name):
        raise ValueError(f"{word} has no name")
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise ValueError(f"{word!r} is no name of a host")
    if name in _RESERVED_NAMES:
        raise ValueError(f"{name} is the name of a group")
    if equals and not (_is_address(address) or (_HOST.fullmatch(address) and not _NUMBERS.search(address))):
        raise ValueError(f"{address!r} is no address, for host {name}")
    if name in known:
        if address not in ("", known[name].address):
            raise ValueError(f"{name} has the address {known[name].reached_at} already")
        return known[name]
    if not address and "." not in name:
        raise ValueError(f"{name} has no address")
    return Host(name, address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def framework_fault(text: str) -> str:
    """Return what a framework's name should be, or nothing where it is one."""
    return "" if text in FRAMEWORKS else f"one of {', '.join(FRAMEWORKS)}"


def check(answers: Answers) -> None:
    """Raise FaultsError with everything that is wrong or missing."""
    faults = [*_texts(answers), *_groups(answers)]
    if faults:
        raise FaultsError("init-invalid", "what the repository is to be made of", faults)


def _texts(answers: Answers) -> Iterator[Fault]:
    rows = [
        ("--service", answers.service, name_fault),
        ("--environment", answers.environment, environment_fault),
        ("--user", answers.user, user_fault),
        ("--health", answers.health, path_fault),
        ("--releases", answers.releases, source_fault),
    ]
    if answers.like:
        rows.append(("--like", answers.like, framework_fault))
    if answers.api_command or not answers.like:
        rows.append(("--api-command", answers.api_command, command_fault))
    for option in ("worker_command", "scheduler_command", "migrate_up", "migrate_version"):
        if getattr(answers, option):
            rows.append((f"--{option.replace('_', '-')}", getattr(answers, option), command_fault))
    for option, value, fault in rows:
        expected = fault(value)
        if expected:
            yield Fault(option, shown(value or None), expected, f"give {option} ... (see turnout init --help)")


def _groups(answers: Answers) -> Iterator[Fault]:
    for group in ("edge", "api"):
        if not answers.groups.get(group):
            yield Fault(f"--{group}", "no host", HOST_FORM, f"give --{group} NAME=ADDRESS, once for each host")
    for group in ONE_HOST:
        if len(answers.groups.get(group, ())) > 1:
            yield Fault(f"--{group}", counted(len(answers.groups[group]), "host"), "one host", f"give --{group} once")
    workers = bool(answers.groups.get("worker"))
    commands = bool(answers.worker_command or answers.scheduler_command)
    if workers and not commands and not answers.like:
        yield Fault("--worker-command", "nothing", "what the worker hosts run", "give --worker-command, or no --worker")
    if commands and not workers:
        yield Fault("--worker", "no host", HOST_FORM, "give --worker NAME=ADDRESS, or no command for it")
    if answers.like and (answers.migrate_up or answers.migrate_version):
        option = "--migrate-up" if answers.migrate_up else "--migrate-version"
        remedy = f"leave {option} out, and change migrate in the service file that is written"
        yield Fault(option, "a command beside --like", "the framework's own migration tool", remedy)
    elif bool(answers.migrate_up) != bool(answers.migrate_version):
        lacks = "--migrate-version" if answers.migrate_up else "--migrate-up"
        yield Fault(lacks, "nothing", "both commands of the migrations, or none", f"give {lacks}")
