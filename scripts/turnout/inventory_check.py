"""Static checks of an inventory: what can be known before any host is asked. All faults are told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turnout.faults import Fault, nearest
from turnout.service.model import Service

REQUIRED_GROUPS = {"edge": "hosts that run HAProxy", "api": "hosts that run the API"}
# The groups that Turnout gives a meaning to; a group that is almost called like one is a typing error.
KNOWN_GROUPS = ("api", "drill", "edge", "monitoring", "postgres", "redis", "worker")
_OWN_GROUPS = frozenset({"all", "ungrouped"})


def check(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    service: Service | Mapping[str, Any] | object,
) -> list[Fault]:
    """Return what is wrong with the inventory for this service, an empty list when nothing is.

    `groups` maps a group's name to its hosts, as Ansible's `groups`; `hostvars` maps a host to at least its
    `ansible_host`. `service` may also be the unchecked mapping, so that both can be told together.
    """
    faults = [*_missing_groups(groups, service), *_likely_misspelt(groups)]
    return [*faults, *_addresses(groups, hostvars)]


def _missing_groups(groups: Mapping[str, Sequence[str]], service: object) -> list[Fault]:
    wanted = dict(REQUIRED_GROUPS)
    processes = _declared(service)
    if processes:
        wanted["worker"] = f"hosts that run the {' and the '.join(processes)} of the service file"
    return [
        Fault(
            f"groups.{name}",
            "a group without hosts" if name in groups else "no such group",
            what,
            f"add hosts to group {name} in the inventory"
            + (f", or remove {', '.join(processes)} from the service" if name == "worker" else ""),
        )
        for name, what in wanted.items()
        if not groups.get(name)
    ]


def _declared(service: object) -> list[str]:
    """Return which of the processes that run on worker hosts the service has."""
    if isinstance(service, Service):
        return [process for process in service.processes() if process != "api"]
    if isinstance(service, Mapping):
        return [process for process in ("worker", "scheduler") if service.get(process) is not None]
    return []


def _likely_misspelt(groups: Mapping[str, Sequence[str]]) -> Iterable[Fault]:
    for name in groups:
        likely = nearest(name, KNOWN_GROUPS)
        if name in KNOWN_GROUPS or name in _OWN_GROUPS or likely is None or groups.get(likely):
            continue
        yield Fault(f"groups.{name}", "a group that Turnout does not know", likely, f"rename it to {likely}")


def _addresses(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> Iterable[Fault]:
    members: dict[str, list[str]] = {}
    for group in KNOWN_GROUPS:
        for host in groups.get(group, ()):
            members.setdefault(host, []).append(group)
    owner: dict[str, str] = {}
    for host in sorted(members):
        address = hostvars.get(host, {}).get("ansible_host")
        where = f"hosts.{host}.ansible_host"
        if not address:
            yield Fault(
                where,
                f"no address, and the host is in {', '.join(members[host])}",
                "an address that the other hosts reach, such as 10.0.0.11",
                f"add ansible_host: ADDRESS to host {host} in the inventory",
            )
            continue
        first = owner.setdefault(str(address), host)
        if first != host:
            yield Fault(
                where,
                f"{address}, which host {first} has too",
                "an address of its own: two names for one host would be released to twice",
                f"correct ansible_host of {host} or of {first}",
            )
