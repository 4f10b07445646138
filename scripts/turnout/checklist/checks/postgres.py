"""PostgreSQL: the application's own login from where it runs, and the server as its superuser sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from turnout.checklist.checks.hosts import room
from turnout.checklist.config import Checklist
from turnout.checklist.model import Facts, Probe, Result, Situation, Verdict, answer_of, seen_at
from turnout.counts import counted
from turnout.service.units import worker_names

LOGIN, SERVER = "postgres", "postgres-server"
_STRONG = ("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""Table locks that a migration would wait for; reading and writing rows takes weaker ones."""


def probes(config: Checklist, situation: Situation) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe): a login from each application host, one look from the server itself."""
    target = config.postgres.target
    if target is None:
        return
    own = {name: value for name, value in situation.service.environment.items() if name.startswith("PG")}
    if "postgres" not in config.skip:
        # As the application does: by its user, whose name a socket's server asks for, and with its variables.
        user = {"user": situation.service.user, "home": f"/var/lib/{situation.service.name}"}
        login = {"address": dict(target), "environment": own, **user}
        for host in situation.hosts("api", "worker"):
            yield host, Probe(LOGIN, "postgres", config.limit_of("postgres"), login)
    limit_s = max(config.limit_of(f"postgres-{name}") for name in ("connections", "transactions", "replication"))
    role = target.get("user") or own.get("PGUSER") or situation.service.user
    arguments = {
        # What a service file (service=...) names is known where it lies only: then every database is looked at.
        "database": target.get("dbname") or own.get("PGDATABASE") or ("" if "service" in target else role),
        "role": role,
        "data_directory": config.postgres.data_directory,
    }
    for host in situation.hosts("postgres"):
        yield host, Probe(SERVER, "postgres_server", limit_s, arguments)


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge the logins and the server."""
    servers = situation.hosts("postgres")
    remedy = "to have it looked at: let checklist.postgres.url_from or .variables name where it is"
    if config.postgres.target is None and config.postgres.why:
        yield Result("postgres", Verdict.NOT_CONFIGURED, config.postgres.why, remedy)
    if not servers:
        filled = sorted(
            group for group, hosts in situation.groups.items() if hosts and group not in ("all", "ungrouped")
        )
        found = f"no host is in group postgres; the inventory has hosts in {', '.join(filled) or 'no group'}"
        yield from _unasked(found, "to have it looked at: put the host of PostgreSQL into group postgres")
    elif config.postgres.target is None:
        why = config.postgres.why or f"service.environment has no {config.postgres.url_from}"
        yield from _unasked(f"not asked on {', '.join(servers)} (group postgres): {why}", remedy)
    if config.postgres.target is None:
        return
    for host in situation.hosts("api", "worker"):
        yield _login(config, situation, host)
    for host in servers:
        yield from _server(config, situation, host)


def _unasked(found: str, remedy: str) -> Iterator[Result]:
    for name in ("connections", "transactions", "replication", "disk"):
        yield Result(f"postgres-{name}", Verdict.NOT_CONFIGURED, found, remedy)


def _login(config: Checklist, situation: Situation, host: str) -> Result:
    facts, verdict, words, seconds = answer_of(situation, host, LOGIN)
    at_s = seen_at(situation, host)
    variable = _variable(config)
    remedy = f"on {host}: is the server up and does pg_hba.conf let this host in? see {variable}"
    if facts is None:
        return Result("postgres", verdict, words, remedy, host, at_s, seconds)
    where = f"{facts['role']} on {facts['database']}, version {facts['version']}"
    where += ", TLS" if facts["encrypted"] else ", no TLS"
    if facts["in_recovery"] or facts["read_only"]:
        remedy = f"let {variable} name the primary"
        return Result("postgres", Verdict.FAIL, f"{where}: it takes no writes", remedy, host, at_s, seconds)
    return Result("postgres", Verdict.PASS, where, "", host, at_s, seconds)


def _variable(config: Checklist) -> str:
    part = config.postgres
    name = part.url_from if part.url else "PGHOST" if part.variables is None else part.variables.host or "..."
    return f"service.environment.{name}"


def _server(config: Checklist, situation: Situation, host: str) -> Iterator[Result]:
    facts, verdict, words, seconds = answer_of(situation, host, SERVER)
    at_s = seen_at(situation, host)
    rows = (
        ("postgres-connections", _connections),
        ("postgres-transactions", _transactions),
        ("postgres-replication", _replication),
        ("postgres-disk", _disk),
    )
    for name, judged in rows:
        if facts is None:
            remedy = f"systemctl status 'postgresql@*' on {host}"
            yield Result(name, verdict, words, remedy, host, at_s, seconds)
            continue
        result = judged(config, situation, facts)
        yield replace(result, check=name, subject=host, at_s=at_s, seconds=seconds)


def processes(situation: Situation) -> int:
    """Return how many processes of one color connect to the database: APIs, workers and the scheduler."""
    service = situation.service
    count = len(situation.hosts("api"))
    workers = service.full()["workers"]
    for host in situation.hosts("worker"):
        count += sum(service.workers[name].instances for name in worker_names(workers, host, situation.groups))
    return count + (1 if service.scheduler is not None else 0)


def _connections(config: Checklist, situation: Situation, facts: Facts) -> Result:
    bounds = config.postgres
    used, limit = int(facts["used"]), int(facts["max_connections"]) - int(facts["reserved"])
    # While both colors run, the candidate needs what the release in service has now, or its declared pools.
    candidate = bounds.pool * processes(situation) if bounds.pool else int(facts["used_by_role"])
    needed = candidate + bounds.spare_connections
    basis = (
        f"{bounds.pool} x {counted(processes(situation), 'process', 'processes')}"
        if bounds.pool
        else "as many as now in service"
    )
    evidence = f"{used} of {limit} in use; the candidate needs {candidate} ({basis}), {bounds.spare_connections} spare"
    remedy = "raise postgres_max_connections, or make the pools smaller"
    return _row(limit - used >= needed, evidence, remedy)


def _transactions(config: Checklist, _situation: Situation, facts: Facts) -> Result:
    old, locking = [], []
    for one in facts["transactions"]:
        age_s = float(one["age_s"] or 0)
        strong = [lock for lock in one["locks"] or [] if lock.rpartition(" ")[2] in _STRONG]
        who = f"pid {one['pid']} ({one['role']}, {one['application'] or 'no name'}, {one['state']})"
        if age_s > config.postgres.max_transaction_s:
            old.append(f"{who} is {age_s:.0f} s old and holds {', '.join(one['locks'] or []) or 'no table'}")
        elif strong:
            locking.append(f"{who} has held {', '.join(strong)} for {age_s:.1f} s")
    if int(facts["prepared"]):
        old.append(f"{facts['prepared']} prepared transactions (pg_prepared_xacts)")
    pids = [int(one["pid"]) for one in facts["transactions"]]
    evidence = "; ".join(old + locking)
    remedy = "a migration would wait behind it: let it end, or SELECT pg_terminate_backend(PID)"
    if old or locking:
        return _row(False, evidence, remedy)
    waiting = int(facts["waiting"])
    return _row(True, f"{len(pids)} open, none above {config.postgres.max_transaction_s:g} s; {waiting} waiting", "")


def _replication(config: Checklist, _situation: Situation, facts: Facts) -> Result:
    if facts["in_recovery"]:
        return _row(True, "this server is a replica itself; the primary is asked", "")
    bounds = config.postgres
    replicas = [one for one in facts["replicas"] if one["kind"] == "standby"]
    names = {str(one["name"]) for one in replicas}
    problems, remedies = [], []
    if gone := [name for name in bounds.standbys if name not in names]:
        problems.append(f"not connected: {', '.join(gone)}")
        remedies.append("start these standbys, or correct checklist.postgres.standbys (each one's application_name)")
    if len(replicas) < bounds.replicas:
        problems.append(f"{len(replicas)} connected, {bounds.replicas} wanted")
        remedies.append("start the standbys, or correct checklist.postgres.replicas")
    for figure, bound, unit, scale in (
        ("lag_s", bounds.max_lag_s, "s", 1.0),
        ("lag_bytes", bounds.max_lag_mb, "MB", 1e6),
    ):
        for one in replicas:
            behind = float(one[figure]) / scale
            if behind > bound:
                problems.append(f"{one['name']} is {behind:.1f} {unit} behind, at most {bound:g} {unit}")
                remedies.append(f"let it catch up, or raise checklist.postgres.max_lag_{unit.lower()}")
    told = [
        f"{one['name']} {float(one['lag_s']):.1f} s, {float(one['lag_bytes']) / 1e6:.1f} MB ({one['state']})"
        for one in replicas
    ]
    told += [f"{one['name']} is no standby ({one['kind']})" for one in facts["replicas"] if one["kind"] != "standby"]
    evidence = "; ".join([*problems, ", ".join(told) or "no replica"])
    return _row(not problems, evidence, "; ".join(dict.fromkeys(remedies)))


def _disk(config: Checklist, _situation: Situation, facts: Facts) -> Result:
    passed, text = room(facts["disk"], config.postgres.disk_free_percent, config.hosts.disk_free_mb, 0)
    return _row(passed, f"{facts['data_directory']}: {text}", "free space, or grow the volume, before any migration")


def _row(passed: bool, evidence: str, remedy: str) -> Result:
    return Result("", Verdict.PASS if passed else Verdict.FAIL, evidence, "" if passed else remedy)
