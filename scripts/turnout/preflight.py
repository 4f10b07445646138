"""What must hold before a release touches a host: decided from what edges and hosts said, all faults at once.

Pure: the facts come in as plain mappings (`turnout-edge show` of each edge, `turnout.ops.slot` with `state: info` of
each host), the decision goes out. Nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.faults import Fault
from turnout.in_service import named
from turnout.release.manifest import Manifest
from turnout.release.schema import BY_NUMBER, CONTRACT, Migration, SchemaState, pending, runs_on, state_after
from turnout.service.directories import source, state_of
from turnout.service.model import COLORS

Facts = Mapping[str, Any]

CONFIGURATION_FORMAT = 1  # of the record that a color keeps of its configuration: slot_configuration.py


@dataclass(frozen=True)
class Limits:
    """How much room and agreement is asked for."""

    disk_reserve_bytes: int
    """Bytes that must stay free on a host after the release was laid."""
    clock_skew_s: float
    """Seconds by which two clocks may differ."""


@dataclass(frozen=True)
class Decision:
    """What the preflight found.

    `candidate` is the color to lay into, `stable` the color in service (None before the first release), `already`
    whether the release is in service on every edge and host with this very configuration, `quarantined` whether it went
    back by itself before (and may go on only because of a word), `faults` what forbids the release. `named` is the
    release with its configuration as a person reads it, `stable_named` what is in service, and `differs` the keys by
    which the configuration in service is another one.
    """

    candidate: str
    stable: str | None
    stable_release: str | None
    already: bool
    faults: tuple[Fault, ...]
    quarantined: bool = False
    notes: tuple[str, ...] = field(default=())
    named: str = ""
    stable_named: str = ""
    stable_configuration: str | None = None
    differs: tuple[str, ...] = ()


def other(color: str) -> str:
    """Return the other of the two colors."""
    return COLORS[1 - COLORS.index(color)]


def decide(
    *,
    manifest: Manifest,
    service: Facts,
    edges: Mapping[str, Facts],
    hosts: Mapping[str, Facts],
    asked_s: tuple[float, float],
    run: str,
    limits: Limits,
    again: str = "",
    resume: bool = False,
    configuration: str = "",
) -> Decision:
    """Judge all facts together.

    `edges` and `hosts` map a host's name to what it said; `service` is the public view of the service file;
    `asked_s` is the controller's clock before and after the hosts were asked, in seconds since the epoch; `again` is a
    person's reason to deploy a release once more that is in quarantine; `resume` a person's word to go on with the same
    release where an earlier run died; `configuration` the name of the configuration that is to be released.
    """
    faults: list[Fault] = []
    notes: list[str] = []
    faults += _edges_agree(edges)
    at_rest, left = _edges_at_rest(edges, manifest, configuration, resume=resume)
    faults += at_rest
    notes += _unfinished(edges, run) + left
    first = next(iter(edges.values()))
    stable = first.get("stable")
    record = _record_of(first, stable)
    candidate = other(stable) if stable else "blue"
    changes, newer = _configurations(hosts, stable)
    faults += newer
    serves = bool(edges) and all(_serves(edge, manifest) for edge in edges.values())
    already = not faults and serves and not changes
    already = already and all(_laid_in(host, stable, manifest.release_id) for host in hosts.values())
    held = {} if already else quarantine(edges, manifest, configuration)
    if held and not again.strip():
        faults.append(_quarantined(held, manifest))
    told = named({"release": manifest.version, "configuration": configuration})
    if not serves:  # the release in service, released once more, mends what differs
        differs = slot_faults(edges, hosts, ("stable",))
        faults += [fault for fault in differs if not fault.observed.startswith("nothing ")]
        notes += [f"{fault.path}: {fault.observed}" for fault in differs if fault.observed.startswith("nothing ")]
    if not already:
        faults += _schema_fits(manifest, first, record)
        for name, host in hosts.items():
            faults += _prepared(name, host, service)
            faults += _room(name, host, manifest, limits)
            faults += _ports_free(name, host, service, candidate)
            faults += _commands(name, host, candidate)
            faults += _directories(name, host, service)
        faults += _routed(edges, service)
        faults += _of_images(service, manifest)
        notes += _undeclared(hosts)
    faults += _clocks(hosts, asked_s, limits)
    return Decision(
        candidate,
        stable,
        record.get("release"),
        already,
        tuple(faults),
        bool(held),
        tuple(notes),
        named=told,
        stable_named=named(record),
        stable_configuration=record.get("configuration"),
        differs=changes,
    )


def _configurations(hosts: Mapping[str, Facts], stable: str | None) -> tuple[tuple[str, ...], list[Fault]]:
    """Return by which keys the configuration in service differs on any host, and where that cannot be known."""
    differs: set[str] = set()
    faults = []
    for name, host in hosts.items():
        told = ((host.get("colors") or {}).get(stable) or {}).get("configuration") or {}
        differs.update(told.get("differs") or ())
        if int(told.get("format") or 1) > CONFIGURATION_FORMAT:
            faults.append(
                Fault(
                    name,
                    f"the record of the configuration in {stable} is of format {told['format']}, of a newer Turnout",
                    f"format {CONFIGURATION_FORMAT}, which this one can compare with the service file",
                    "deploy with the Turnout that wrote it: ansible-playbook turnout.ops.status names its version",
                )
            )
    return tuple(sorted(differs)), faults


def _edges_agree(edges: Mapping[str, Facts]) -> list[Fault]:
    faults = []
    for name, edge in edges.items():
        live = edge.get("live") or {}
        if not live.get("reachable"):
            faults.append(
                Fault(
                    name,
                    f"HAProxy does not answer on its socket: {live.get('error')}",
                    "a running HAProxy",
                    f"systemctl status haproxy on {name}, then systemctl start haproxy",
                )
            )
        elif not edge.get("agree"):
            faults.append(
                Fault(
                    name,
                    f"HAProxy serves green {live.get('green_bp')} bp",
                    f"green {edge.get('green_bp')} bp, as decided",
                    f"on {name}: turnout-edge apply",
                )
            )
    said = {name: (edge.get("stable"), named(_record_of(edge, edge.get("stable")))) for name, edge in edges.items()}
    if len(set(said.values())) > 1:
        seen = ", ".join(
            f"{name}: {release or 'nothing'} on {color or 'no color'}" for name, (color, release) in said.items()
        )
        faults.append(
            Fault(
                "edges",
                f"they disagree about the release in service ({seen})",
                "one release on every edge",
                "ansible-playbook turnout.ops.status, then ansible-playbook turnout.ops.rollback",
            )
        )
    return faults


def _routed(edges: Mapping[str, Facts], service: Facts) -> list[Fault]:
    """Return a fault for each edge that knows other web processes than the service file has."""
    faults = []
    declared = set(service.get("web") or {})
    for name, edge in edges.items():
        backends = edge.get("backends") or {}
        known = {web for color in COLORS for web in (backends.get(color) or {}).get("web") or {}}
        if backends and known != declared:
            seen = f"it routes requests to the web processes {', '.join(sorted(known)) or '(none)'}"
            wanted = f"those of the service file: {', '.join(sorted(declared)) or '(none)'}"
            faults.append(Fault(name, seen, wanted, "ansible-playbook turnout.ops.site --tags edge"))
    return faults


def _edges_at_rest(
    edges: Mapping[str, Facts], manifest: Manifest, configuration: str, *, resume: bool
) -> tuple[list[Fault], list[str]]:
    """Return the faults of edges that an earlier run left with a candidate, and what is told of those resumed."""
    faults: list[Fault] = []
    resumed = []
    for name, edge in edges.items():
        candidate = edge.get("candidate")
        if not candidate:
            continue
        share_bp = int(edge.get("share_bp") or 0)
        record = _record_of(edge, candidate)
        # A record of before says no configuration: whatever was laid then is laid anew.
        same = record.get("sha256") == manifest.artifact.sha256
        same = same and record.get("configuration") in (None, configuration)
        if resume and same and not share_bp:
            resumed.append(name)
            continue
        deploy = f"ansible-playbook turnout.ops.deploy -e release={manifest.version} -e resume=true"
        remedy = "ansible-playbook turnout.ops.rollback puts the earlier run back; then deploy again"
        if same and share_bp:
            remedy = (
                f"wait until its lease has taken it back (a few seconds), then go on with it: {deploy}; or {remedy}"
            )
        elif same:
            remedy = f"{deploy} goes on with it; or {remedy}"
        faults.append(
            Fault(
                name,
                f"{named(record) or 'a candidate'} on {candidate} has {share_bp} bp, left by an earlier run",
                "no candidate: all traffic on a confirmed release",
                remedy,
            )
        )
    told = f"goes on with {manifest.version} where an earlier run left it, on {', '.join(resumed)}" if resumed else ""
    return faults, [told] if told else []


def _unfinished(edges: Mapping[str, Facts], run: str) -> list[str]:
    seen: dict[str, str] = {}
    for edge in edges.values():
        for entry in edge.get("unfinished") or []:
            if entry["run"] == run:
                continue
            last = entry.get("last") or {}
            seen[entry["run"]] = (
                f"run {entry['run']} of {entry.get('actor')} ({entry.get('action')}) did not end; its last word was "
                f"{last.get('event')} {last.get('action')}"
                + (f" in phase {last['phase']}" if last.get("phase") else "")
            )
    return list(seen.values())


def quarantine(edges: Mapping[str, Facts], manifest: Manifest, configuration: str) -> dict[str, Facts]:
    """Return the entries that hold a release in quarantine, edge by edge; empty where none does.

    An automatic rollback enters `quarantine` into the ledger, a person's word `again`; the later one counts. An entry
    is about the artifact with one configuration; one without is of before they were on record, and about every one.
    """
    found = {}
    for name, edge in edges.items():
        held, sha256 = edge.get("quarantine") or {}, manifest.artifact.sha256
        entry = held.get(f"{sha256} {configuration}") or held.get(sha256)
        if entry:
            found[name] = entry
    return found


def _quarantined(held: Mapping[str, Facts], manifest: Manifest) -> Fault:
    entry = next(iter(held.values()))
    return Fault(
        ", ".join(held),
        f"{named({**entry, 'release': manifest.version})} was rolled back by itself at {entry.get('ts')} "
        f"(run {entry.get('run')}): "
        f"{str(entry.get('why'))[:160]}",
        "at most one automatic rollback of a release",
        "release a version, or a configuration, without the fault; if the release was not to blame: "
        f"ansible-playbook turnout.ops.deploy -e release={manifest.version} -e 'again=\"the reason\"'",
    )


def _record_of(edge: Facts, color: str | None) -> Facts:
    return (edge.get("releases") or {}).get(color) or {}


def _commands(name: str, host: Facts, candidate: str) -> list[Fault]:
    """Return the commands of `turnout run` that still run where the release would go."""
    return [
        Fault(
            name,
            f"a command of {one.get('actor')} runs in {candidate} ({' '.join(one.get('shown') or ())[:80]})",
            "a color that nothing runs in",
            f"wait for its end, or end it: turnout run --stop {one.get('id')}@{name}",
        )
        for one in host.get("commands") or ()
        if one.get("color") == candidate
    ]


def _directories(name: str, host: Facts, service: Facts) -> list[Fault]:
    """Return what is wrong with the directories that both colors share, on one host."""
    faults = []
    state = state_of(service["name"])
    for one in service.get("directories") or ():
        seen = (host.get("directories") or {}).get(one["path"]) or {}
        lies, mount = source(service["name"], one["path"]), str(seen.get("mount"))
        if one.get("hosts") == "shared_file_system" and seen and mount != state and not mount.startswith(f"{state}/"):
            faults.append(
                Fault(
                    name,
                    f"{lies} is on this host's own disk (mounted at {mount})",
                    "a file system that every host mounts (hosts: shared_file_system)",
                    f"mount it at {lies} on {name}, in /etc/fstab too; or write hosts: each where files may differ",
                )
            )
        elif seen.get("writable") is False:
            faults.append(
                Fault(
                    name,
                    f"{lies} cannot be written by {service['user']}",
                    "a directory of the service's user",
                    f"on {name}: chown {service['user']}: {lies}; on a shared file system: one user id on all hosts",
                )
            )
    return faults


def _of_images(service: Facts, manifest: Manifest) -> list[Fault]:
    """Return the directories that only an image can have: on a host's own disk the place is somebody else's."""
    state = state_of(service["name"])
    return [
        Fault(
            f"service.directories[{index}].path",
            f"{one['path']}, and the release is files",
            f"a directory inside the release, or below {state}",
            f"write {source(service['name'], one['path'])}, or the path inside the release",
        )
        for index, one in enumerate(service.get("directories") or ())
        if one["path"].startswith("/")
        and not one["path"].startswith(f"{state}/")
        and manifest.artifact.kind == "tarball"
    ]


def _undeclared(hosts: Mapping[str, Facts]) -> list[str]:
    """Return what is told of files that a service keeps on one of several hosts."""
    found = {name: host.get("undeclared") or () for name, host in hosts.items()}
    if len(hosts) < 2 or not any(found.values()):
        return []
    seen = "; ".join(f"{name}: {', '.join(names)}" for name, names in found.items() if names)
    return [
        f"the service keeps files below /var/lib, each host its own ({seen}): declare them in service.directories, "
        "or keep them in an S3 bucket or on a shared file system (docs/files.md)"
    ]


def _serves(edge: Facts, manifest: Manifest) -> bool:
    stable = edge.get("stable")
    record = (edge.get("releases") or {}).get(stable) or {}
    return bool(stable) and record.get("sha256") == manifest.artifact.sha256 and not edge.get("candidate")


def _laid_in(host: Facts, color: str | None, release_id: str) -> bool:
    slot = (host.get("colors") or {}).get(color) or {}
    return slot.get("release_id") == release_id and bool(slot.get("complete"))


def slot_faults(
    edges: Mapping[str, Facts], hosts: Mapping[str, Facts], roles: Sequence[str] = ("stable", "previous")
) -> list[Fault]:
    """Return where a host holds another release in a color than the edges believe.

    `roles` are the colors to compare: `stable`, what serves; `previous`, what a rollback goes back to. What an edge
    does not know (a record of before ids were kept, no way back) is not compared.
    """
    believed: dict[tuple[str, str], dict[tuple[str, str | None], list[str]]] = {}
    for name, edge in edges.items():
        for role in roles:
            color = edge.get(role)
            record = _record_of(edge, color)
            if color and record.get("release_id"):
                identity = str(record["release_id"]), record.get("configuration")
                believed.setdefault((role, str(color)), {}).setdefault(identity, []).append(name)
    faults = []
    for (role, color), releases in believed.items():
        expected = " or ".join(f"{_laid(*one)} (as {', '.join(names)} has it)" for one, names in releases.items())
        version = next(iter(releases))[0].rpartition("-")[0]
        for name, host in hosts.items():
            slot = (host.get("colors") or {}).get(color) or {}
            stands = slot.get("release_id"), (slot.get("configuration") or {}).get("id")
            known = any(
                stands[0] == one[0] and (None in (stands[1], one[1]) or stands[1] == one[1]) for one in releases
            )
            if known and slot.get("complete", True):
                continue
            what = {"stable": "which serves", "previous": "the way back"}.get(role, role)
            whole = "" if slot.get("complete", True) or not slot.get("release_id") else ", not whole,"
            faults.append(
                Fault(
                    name,
                    f"{_laid(*stands)}{whole} stands in {color}, {what}",
                    expected,
                    f"ansible-playbook turnout.ops.deploy -e release={version} lays it anew on every host"
                    if role == "stable"
                    else f"no rollback to {color}; the next release replaces what stands there",
                )
            )
    return faults


def _laid(release_id: str | None, configuration: str | None) -> str:
    return named({"release": release_id, "configuration": configuration}) or "nothing"


def _schema_fits(manifest: Manifest, edge: Facts, stable_record: Facts) -> list[Fault]:
    recorded = edge.get("schema")
    if not recorded or manifest.order != BY_NUMBER:  # which of a list are applied only the database tells
        return []
    state = SchemaState(int(recorded["version"]), int(recorded["last_contract"]))
    return schema_faults(manifest, state, stable_record)


def schema_faults(manifest: Manifest, state: SchemaState, stable_record: Facts) -> list[Fault]:
    """Return why the candidate or the release in service could not run once the pending migrations are applied.

    The same rule serves the preflight (on what the journal last recorded) and the migration (on what the database
    itself says).
    """
    faults = []
    after = state_after(manifest, state)
    if not runs_on(manifest.schema, after):
        faults.append(
            Fault(
                "schema",
                f"version {after.version}, last contract {after.last_contract}, once pending migrations are in",
                f"{manifest.version} runs on {manifest.schema.min} to {manifest.schema.max}",
                "build the release with a range that holds this schema (turnout release build --schema-min and "
                "--schema-max), or release a version made for it",
            )
        )
    limits = stable_record.get("schema")
    if limits and manifest.order != BY_NUMBER and after.version < int(limits["min"]):
        faults.append(
            Fault(
                "schema",
                f"the list has {after.version} migrations, and {stable_record.get('release')}, in service, needs "
                f"{limits['min']}: a rollback to it would be refused",
                "a list that grows from release to release",
                f"first release what is in service once more with --schema-min {after.version} (turnout release build)",
            )
        )
    if limits:
        breaking = [
            step for step in pending(manifest, state) if step.kind == "contract" and step.version > int(limits["max"])
        ]
        names = ", ".join(step.id for step in breaking)
        if breaking:
            faults.append(
                Fault(
                    "migrations",
                    f"{names} (contract) is incompatible with {stable_record.get('release')}, which is in service",
                    f"only migrations that {stable_record.get('release')} runs on (contract up to {limits['max']})",
                    "first release a version that no longer needs what is dropped (its schema max covers the "
                    "migration), then this one",
                )
            )
    return faults


def unforeseen(late: Sequence[Migration], unlisted: Sequence[str], stable_record: Facts) -> list[Fault]:
    """Return why migrations that no range can speak of may not be applied under the release in service.

    `late` are pending below one that is applied, `unlisted` those that only the tool knows: of these nobody knows what
    they do.
    """
    breaking = [*(one.id for one in late if one.kind == CONTRACT), *unlisted]
    if not breaking or not stable_record.get("schema"):
        return []
    return [
        Fault(
            "migrations",
            f"{', '.join(breaking)} would be applied, of which {stable_record.get('release')}, in service, cannot know",
            "contract migrations above all that are applied, and every migration in the release's list",
            "give it a number above the applied ones; list those of other packages too (turnout release build "
            "--migrations with a folder that holds them), or apply them by hand once you know that they only add",
        )
    ]


def _prepared(name: str, host: Facts, service: Facts) -> list[Fault]:
    remedy = f"ansible-playbook turnout.ops.site --tags service_host --limit {name}"
    faults = []
    missing = sorted(unit for unit, state in (host.get("units") or {}).items() if state.get("load") == "not-found")
    if missing:
        faults.append(Fault(name, f"no systemd unit {', '.join(missing)}", "the service's template units", remedy))
    if (host.get("tools") or {}).get("fence") is False:
        faults.append(
            Fault(name, "no program turnout_host.fence", "the program that keeps overtaken runs away", remedy)
        )
    elif service.get("commands") and (host.get("tools") or {}).get("steps") is False:
        faults.append(Fault(name, "no program turnout_host.steps", "the program that runs service.commands", remedy))
    return faults


def _room(name: str, host: Facts, manifest: Manifest, limits: Limits) -> list[Fault]:
    if host.get("complete"):
        return []
    artifact = manifest.artifact
    needed = artifact.bytes + artifact.unpacked_bytes + limits.disk_reserve_bytes
    disk = host.get("disk") or {}
    free = int(disk.get("free_bytes", 0))
    if free >= needed:
        return []
    return [
        Fault(
            name,
            f"{free // 1_000_000} MB free on {disk.get('path')}",
            f"{needed // 1_000_000} MB for the release and the reserve",
            f"free space on {name} (df -h {disk.get('path')}), or lower preflight_disk_reserve_bytes",
        )
    ]


def _ports_free(name: str, host: Facts, service: Facts, candidate: str) -> list[Fault]:
    faults = []
    wanted = {str(service["api"]["ports"][candidate]): f"{service['name']}-api@{candidate}.service"}
    for web, process in (service.get("web") or {}).items():
        wanted[str(process["ports"][candidate])] = f"{service['name']}-web-{web}@{candidate}.service"
    for kind, worker in (service.get("workers") or {}).items():
        first = int((worker.get("metrics_port") or {}).get(candidate) or 0)
        for index in range(int(worker.get("instances") or 1) if first else 0):
            unit = f"{service['name']}-worker-{kind}@{candidate}{f'-{index + 1}' if index else ''}.service"
            wanted[str(first + index)] = unit
    for port, unit in wanted.items():
        seen = (host.get("ports") or {}).get(port) or {}
        if seen.get("listening") and seen.get("unit") != unit:
            by = seen.get("unit") or seen.get("command") or "another process"
            faults.append(
                Fault(
                    name,
                    f"port {port} is taken by {by} (pid {seen.get('pid')})",
                    f"free for {unit}",
                    f"stop it on {name}, or change the port of {candidate} in the service file",
                )
            )
    return faults


def _clocks(hosts: Mapping[str, Facts], asked_s: tuple[float, float], limits: Limits) -> list[Fault]:
    """Return a fault for each clock that no moment between asking and hearing the answers can explain."""
    faults = []
    for name, host in hosts.items():
        wall_s = float((host.get("clock") or {}).get("wall_s", asked_s[0]))
        skew_s = min(wall_s - asked_s[0], 0.0) + max(wall_s - asked_s[1], 0.0)
        if abs(skew_s) > limits.clock_skew_s:
            faults.append(
                Fault(
                    name,
                    f"its clock differs by {skew_s:+.1f} s from the controller's",
                    f"at most {limits.clock_skew_s:g} s",
                    f"timedatectl status on {name}; start a time service (apt install systemd-timesyncd), "
                    "or raise preflight_clock_skew_s",
                )
            )
    return faults
