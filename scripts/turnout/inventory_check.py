"""Static checks of an inventory: what can be known before any host is asked. All faults are told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turnout.faults import Fault, nearest
from turnout.service.directories import source
from turnout.service.model import Service
from turnout.service.units import ordinary_hosts

REQUIRED_GROUPS = {"edge": "hosts that run HAProxy", "api": "hosts that run the API"}
# The groups that Turnout gives a meaning to; a group that is almost called like one is a typing error.
KNOWN_GROUPS = ("api", "drill", "edge", "monitoring", "postgres", "redis", "repository", "worker")
# What is read of each host's variables.
ADDRESS_VARIABLES = ("private_address", "ansible_host", "ansible_port")
_OWN_GROUPS = frozenset({"all", "ungrouped"})


def check(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    service: Service | Mapping[str, Any] | object,
) -> list[Fault]:
    """Return what is wrong with the inventory for this service, an empty list when nothing is.

    `groups` maps a group's name to its hosts, as Ansible's `groups`; `hostvars` maps a host to at least its
    `ADDRESS_VARIABLES`. `service` may also be the unchecked mapping, so that both can be told together.
    """
    faults = [*_missing_groups(groups, service), *_worker_groups(groups, service), *_likely_misspelt(groups)]
    if isinstance(service, Service):
        faults += _directories(groups, service)
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


def _directories(groups: Mapping[str, Sequence[str]], service: Service) -> Iterable[Fault]:
    """Yield where it is not said what a directory is on several hosts: a file that one writes is on that one alone."""
    hosts = sorted({*groups.get("api", ()), *groups.get("worker", ())})
    for index, one in enumerate(service.directories if len(hosts) > 1 else ()):
        if one.hosts is None:
            yield Fault(
                f"service.directories[{index}].hosts",
                f"nothing is said, and on each of {', '.join(hosts)} {one.path} is another directory",
                "hosts: shared_file_system, or each where they may differ",
                f"mount one file system at {source(service.name, one.path)} on each and write hosts: "
                "shared_file_system; or keep its files in an S3 bucket and remove the directory; or, for a cache, "
                "write hosts: each",
            )


def _worker_groups(groups: Mapping[str, Sequence[str]], service: object) -> Iterable[Fault]:
    """Yield what is wrong with the groups that kinds of worker name: each has hosts, all of them in `worker`."""
    if not isinstance(service, Service) or not groups.get("worker"):
        return
    below = "worker: {children: {%s: }}"
    ordinary = ordinary_hosts(service.full()["workers"], groups)
    for name, worker in service.workers.items():
        hosts, group = groups.get(worker.group or "worker", ()), worker.group
        if group and not hosts:
            yield Fault(
                f"service.workers.{name}.group",
                f"{group}, a group without hosts" if group in groups else f"{group}, no such group",
                "an inventory group below worker, whose hosts run this kind",
                f"add its hosts to the inventory: {below % group}",
            )
        away = [host for host in hosts if host not in groups["worker"]]
        if group and away:
            yield Fault(
                f"groups.{group}",
                f"{', '.join(away)} of it, named by service.workers.{name}, not in group worker",
                "hosts that are in group worker as well",
                f"put it below worker in the inventory: {below % group}",
            )
        if not group and not ordinary:
            yield Fault(
                f"service.workers.{name}",
                "no host: every host of group worker is in another kind's group",
                "a host of group worker that is in no other kind's group, or a group",
                f"add a host to group worker, or name a group: workers: {{{name}: {{group: worker}}}}",
            )
    first = groups["worker"][0]
    if service.scheduler is not None and ordinary and first not in ordinary:
        yield Fault(
            "groups.worker",
            f"{first} first, where the scheduler runs, and it is in the group of one kind of worker alone",
            f"a host first that runs every kind without a group, such as {ordinary[0]}",
            f"list {ordinary[0]} first in group worker",
        )


def _declared(service: object) -> list[str]:
    """Return which of the processes that run on worker hosts the service has."""
    if isinstance(service, Service):
        return [process.key for process in service.processes() if process.kind not in ("api", "web")]
    if isinstance(service, Mapping):
        workers = service.get("workers")
        named = [f"workers.{name}" for name in workers] if isinstance(workers, Mapping) else []
        single = ["scheduler"] if service.get("scheduler") is not None else []
        return [*named, *single, *(["timers"] if service.get("timers") else [])]
    return []


def _likely_misspelt(groups: Mapping[str, Sequence[str]]) -> Iterable[Fault]:
    for name in groups:
        likely = nearest(name, KNOWN_GROUPS)
        if name in KNOWN_GROUPS or name in _OWN_GROUPS or likely is None or groups.get(likely):
            continue
        yield Fault(f"groups.{name}", "a group that Turnout does not know", likely, f"rename it to {likely}")


def _addresses(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> Iterable[Fault]:
    told: set[str] = set()
    for group in KNOWN_GROUPS:
        owner: dict[tuple[str, str], str] = {}
        for host in groups.get(group, ()):
            variables = hostvars.get(host, {})
            address = _address(host, variables)
            where = f"hosts.{host}.ansible_host"
            if address is None:
                if host not in told:
                    yield Fault(
                        where,
                        f"no address, and the host is in group {group}",
                        "an address that the other hosts reach, such as 10.0.0.11",
                        f"add ansible_host: ADDRESS to host {host} in the inventory",
                    )
                told.add(host)
                continue
            # Behind one address with several SSH ports (port forwarding) there may be several hosts.
            first = owner.setdefault((address, str(variables.get("ansible_port", 22))), host)
            if first != host and where not in told:
                told.add(where)
                yield Fault(
                    where,
                    f"{address}, which host {first} of group {group} has too",
                    "an address of its own: one host under two names would be worked on twice at a time",
                    f"correct ansible_host of {host} or of {first}",
                )


def _address(host: str, variables: Mapping[str, Any]) -> str | None:
    """Return where a host is reached: its variables say so, or its own name is an address or a full DNS name."""
    for name in ADDRESS_VARIABLES[:2]:
        if variables.get(name):
            return str(variables[name])
    return host if "." in host or ":" in host or host == "localhost" else None
