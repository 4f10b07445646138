# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""What a host is asked for the checklist: each probe returns plain facts and judges nothing.

Standard library only, and psycopg to ask PostgreSQL (pg_session.py). A probe changes nothing, writes nothing and
returns no secret: of an environment only the names and, to compare hosts, digests keyed with a salt that lives as long
as the question.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from ansible_collections.turnout.ops.plugins.module_utils import alert_drill, migration_state
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.asynq import entries
from ansible_collections.turnout.ops.plugins.module_utils.laid_release import MARKER, environment_of, in_unit, marker_of
from ansible_collections.turnout.ops.plugins.module_utils.pg_session import Session as PostgresSession
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError
from ansible_collections.turnout.ops.plugins.module_utils.queues import look
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session as RedisSession

COLORS = ("blue", "green")
ETC = "/etc"
LONGEST_BODY = 4 << 20  # bytes of an HTTP answer


def host(arguments: dict, _: float) -> dict:
    """Return memory, load and each path's disk. A path that is missing stands with null."""
    memory = {}
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            memory[name] = int(rest.split()[0]) * 1024
    return {
        "memory": {"total_bytes": memory["MemTotal"], "available_bytes": memory["MemAvailable"]},
        "disks": {path: _disk(path) for path in arguments["paths"]},
        "load1": os.getloadavg()[0],
        "cpus": os.cpu_count(),
    }


def _disk(path: str):
    try:
        seen = os.statvfs(path)
    except FileNotFoundError:
        return None
    return {
        "free_bytes": seen.f_bavail * seen.f_frsize,
        "total_bytes": seen.f_blocks * seen.f_frsize,
        "free_inodes": seen.f_favail,
        "inodes": seen.f_files,
    }


def slots(arguments: dict, _limit_s: float) -> dict:
    """Return, for each color, which release stands there, whether it is whole, and its environment's names."""
    service = arguments["service"]
    return {color: _slot(service, color, bytes.fromhex(arguments["salt"])) for color in COLORS}


def _slot(service: str, color: str, salt: bytes) -> dict:
    link = f"/opt/{service}/{color}"
    where = os.path.realpath(link) if os.path.islink(link) else None
    laid = None
    try:
        with open(f"/etc/{service}/{color}.env", encoding="utf-8") as file:
            laid = {
                name: hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()[:16]
                for name, value in environment_of(file.read()).items()
            }
    except FileNotFoundError:
        pass
    return {
        "release_id": os.path.basename(where) if where else None,
        "complete": bool(where) and os.path.exists(os.path.join(where, MARKER)),
        "environment": laid,
        "migrations": _carried(where),
    }


def _carried(where) -> dict:
    """Return id and checksum of the migrations that a laid release carries, from its marker."""
    try:
        listed = (marker_of(where or "/nowhere").get("manifest") or {}).get("migrations") or []
        return {one["id"]: one["sha256"] for one in listed}
    except (KeyError, TypeError, AttributeError):
        return {}


def edge(arguments: dict, limit_s: float) -> dict:
    """Return what `turnout-edge show` says on this edge."""
    command = ["/usr/local/sbin/turnout-edge", "show", "--tail", str(arguments.get("tail", 200))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise ProbeError("timeout", f"turnout-edge did not answer within {limit_s:g} s") from None
    try:
        shown = json.loads(done.stdout)
    except ValueError:
        raise ProbeError("error", f"turnout-edge show ended with {done.returncode}") from None
    kept = ("stable", "previous", "candidate", "share_bp", "releases", "schema", "agree", "ledger", "backends")
    return {name: shown.get(name) for name in kept}


def schema(arguments: dict, limit_s: float) -> dict:
    """Return the highest applied migration, as the release in service tells it with its own command.

    Runs in a transient unit as the migrations' user, with the environment that is laid for the migrator. Only reads.
    """
    service = arguments["service"]
    shown = _whole_release(service)
    if shown is None:
        raise ProbeError("error", f"no release is laid whole below /opt/{service}")
    release_dir, color = shown
    environment = f"/etc/{service}/{color}.migrate.env"
    if not os.path.exists(environment):
        environment = f"/etc/{service}/{color}.env"
    # A release that was laid by an older Turnout says no layout.
    bare = {"folder": release_dir, "properties": {}, "environment": {}}
    properties = {
        "User": arguments["user"],
        "EnvironmentFile": environment,
        "RuntimeMaxSec": str(max(1, int(limit_s))),
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
    }
    layout = bare | (marker_of(release_dir).get("layout") or {})
    argv = in_unit(f"turnout-checklist-{service}", arguments["command"], layout, properties)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise ProbeError("timeout", f"`{arguments['command']}` did not end within {limit_s:g} s") from None
    listed = arguments.get("listed") or {"order": "number", "migrations": []}
    try:
        seen = migration_state.read(arguments.get("tool") or "", done.returncode, done.stdout, done.stderr)
        placed = migration_state.place(seen, listed, own=False)
    except migration_state.StateError:
        # What it printed may hold an address with a password.
        what = f"ended with code {done.returncode} and told no migration that the release lists"
        raise ProbeError("error", f"`{arguments['command']}` {what}") from None
    if seen.get("dirty"):
        raise ProbeError("error", f"the database is {placed['words']}: that migration failed half way")
    return {"version": placed["version"], "pending": placed["pending"], "told_by": os.path.basename(release_dir)}


def _whole_release(service: str):
    """Return (folder, color) of a release that is laid whole here, the newest first; None without one."""
    found = []
    for color in COLORS:
        link = f"/opt/{service}/{color}"
        where = os.path.realpath(link)
        if os.path.islink(link) and os.path.exists(os.path.join(where, MARKER)):
            found.append((os.lstat(link).st_mtime, where, color))
    return max(found)[1:] if found else None


def postgres(arguments: dict, limit_s: float) -> dict:
    """Log in as the application does and ask who and where we are."""
    session = PostgresSession(
        arguments["address"],
        limit_s,
        environment={**(arguments.get("environment") or {}), "HOME": arguments.get("home") or "/nonexistent"},
        user=arguments.get("user") or "",
    )
    try:
        row = session.query(
            "SELECT current_user, current_database(), pg_is_in_recovery(), current_setting('server_version'),"
            " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
            " current_setting('transaction_read_only')"
        )[0]
    finally:
        session.close()
    return {
        "role": row[0],
        "database": row[1],
        "in_recovery": row[2] == "t",
        "version": row[3],
        "connection_limit": int(row[4]),
        "read_only": row[5] == "on",
        "encrypted": session.encrypted,
    }


def postgres_server(arguments: dict, _limit_s: float) -> dict:
    """Return connections, old transactions, locks held and replicas, as the server's superuser sees them."""
    directory = arguments.get("data_directory") or only_cluster()
    session = Psql(directory, database=arguments["database"] or "postgres")
    try:
        facts = session.rows(SERVER_QUERY, database=arguments["database"], role=arguments.get("role") or "")[0]
    except PsqlError as error:
        text = str(error)
        down = "does not run" in text or "Connection refused" in text or "No such file" in text
        raise ProbeError("refused" if down else "error", text) from error
    except subprocess.TimeoutExpired:
        raise ProbeError("timeout", "psql did not come back") from None
    return {**facts, "data_directory": directory, "disk": _disk(directory)}


def only_cluster() -> str:
    """Return the data directory of Debian's one cluster of this host; raises ProbeError where there are others."""
    base = "/var/lib/postgresql"
    try:
        found = [f"{base}/{v}/main" for v in sorted(os.listdir(base)) if os.path.isdir(f"{base}/{v}/main")]
    except FileNotFoundError:
        found = []
    if len(found) != 1:
        raise ProbeError("error", f"{len(found)} clusters below {base}; say which: checklist.postgres.data_directory")
    return found[0]


SERVER_QUERY = """
SELECT current_setting('max_connections')::int AS max_connections,
  current_setting('superuser_reserved_connections')::int AS reserved,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS used,
  (SELECT count(*) FROM pg_stat_activity WHERE usename = :'role' AND backend_type = 'client backend') AS used_by_role,
  (SELECT coalesce(json_agg(t), '[]') FROM (
     SELECT a.pid, a.usename AS role, a.application_name AS application, a.state,
       round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1) AS age_s,
       (SELECT coalesce(json_agg(DISTINCT l.relation::regclass::text || ' ' || l.mode), '[]') FROM pg_locks l
         JOIN pg_class c ON c.oid = l.relation WHERE l.pid = a.pid AND l.granted AND c.relkind IN ('r', 'p')
         AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)) AS locks
     FROM pg_stat_activity a
     WHERE :'database' IN ('', a.datname) AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
       AND a.backend_type = 'client backend' ORDER BY a.xact_start LIMIT 20) t) AS transactions,
  (SELECT count(*) FROM pg_locks WHERE NOT granted) AS waiting,
  (SELECT count(*) FROM pg_prepared_xacts WHERE :'database' IN ('', database)) AS prepared,
  (SELECT coalesce(json_agg(r), '[]') FROM (
     SELECT s.application_name AS name, s.state, s.sync_state,
       coalesce(round(extract(epoch FROM s.replay_lag)::numeric, 1), 0) AS lag_s,
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.replay_lsn) AS lag_bytes,
       CASE WHEN s.state = 'backup' THEN 'base backup'
         WHEN EXISTS (SELECT FROM pg_replication_slots o WHERE o.active_pid = s.pid AND o.slot_type = 'logical')
           THEN 'subscriber'
         WHEN s.replay_lsn IS NULL THEN 'WAL receiver'  -- pg_receivewal, and the second connection of pg_basebackup
         ELSE 'standby' END AS kind
     FROM pg_stat_replication s WHERE NOT pg_is_in_recovery() ORDER BY s.application_name, s.pid) r) AS replicas,
  pg_is_in_recovery() AS in_recovery
"""


def redis_login(arguments: dict, limit_s: float) -> dict:
    """Log in to Redis as the application does, and do nothing there."""
    session = RedisSession(arguments["url"], limit_s, arguments.get("ca_file"))
    try:
        session.call("PING")
    finally:
        session.close()
    return {}


def redis(arguments: dict, limit_s: float) -> dict:
    """Return Redis's own figures on memory, persistence, evictions and replication, once the application comes in."""
    application = arguments.get("application_url") or arguments["url"]
    if application != arguments["url"]:
        session = RedisSession(application, limit_s, arguments.get("ca_file"))
        try:
            session.call("PING")
        finally:
            session.close()
    session = RedisSession(arguments["url"], limit_s, arguments.get("ca_file"))
    try:
        info = session.info("server", "memory", "persistence", "stats", "replication", "clients")
    finally:
        session.close()
    numbers = (
        "used_memory",
        "maxmemory",
        "evicted_keys",
        "aof_enabled",
        "rdb_last_save_time",
        "rdb_changes_since_last_save",
        "connected_slaves",
        "uptime_in_seconds",
        "loading",
        "rejected_connections",
    )
    words = (
        "redis_version",
        "maxmemory_policy",
        "aof_last_write_status",
        "aof_last_bgrewrite_status",
        "rdb_last_bgsave_status",
        "role",
        "master_link_status",
    )
    return {**{n: int(info[n]) for n in numbers if n in info}, **{w: info[w] for w in words if w in info}}


def queue(arguments: dict, limit_s: float) -> dict:
    """Look at a queue in Redis, twice."""
    return look(arguments, limit_s)


def due(arguments: dict, limit_s: float) -> dict:
    """Return this host's clock, and the entries that a scheduler's library shows in the Redis of the laid address."""
    found: list = []
    if arguments.get("shown_by") == "asynq":
        path, variable = f"{ETC}/{arguments['service']}/{arguments['color']}.env", arguments["redis_from"]
        try:
            with open(path, encoding="utf-8") as file:
                url = environment_of(file.read()).get(variable)
        except FileNotFoundError:
            raise ProbeError("error", f"there is no {path}") from None
        if not url:
            raise ProbeError("error", f"{path} has no {variable}")
        session = RedisSession(url, limit_s, arguments.get("ca_file"))
        try:
            found = entries(session, time.time())
        finally:
            session.close()
        if not found:
            raise ProbeError("error", "no scheduler of asynq shows an entry in Redis")
    return {"now": time.time(), "entries": found}


def http(arguments: dict, limit_s: float) -> dict:
    """Send one request; return its status, the seconds it took and, for `json`, its body."""
    url = arguments["url"]
    if not url.startswith(("http://", "https://")):
        raise ProbeError("error", "the address begins with neither http:// nor https://")
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        url, method=arguments.get("method", "GET"), headers=arguments.get("headers") or {}
    )
    context = ssl.create_default_context(cafile=arguments.get("ca_file")) if url.startswith("https:") else None
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=limit_s, context=context) as answer:  # noqa: S310 - as above
            status, body = answer.status, answer.read(LONGEST_BODY)
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read(LONGEST_BODY)
    facts = {"status": status, "answer_s": round(time.monotonic() - started, 3)}
    if arguments.get("json"):
        try:
            facts["json"] = json.loads(body)
        except ValueError:
            raise ProbeError("error", f"HTTP {status} with a body that is no JSON") from None
    return facts


def tcp(arguments: dict, limit_s: float) -> dict:
    """Open a connection and read what a server says first (mail servers do), if `banner` is wanted."""
    name, _, port = arguments["address"].rpartition(":")
    with socket.create_connection((name, int(port)), timeout=limit_s) as connection:
        connection.settimeout(limit_s)
        banner = connection.recv(200).decode("ascii", "replace").strip() if arguments.get("banner") else ""
    return {"banner": banner}


def certificate(arguments: dict, limit_s: float) -> dict:
    """Return when a certificate ends: one that a server shows, or the first of a file."""
    if arguments.get("file"):
        try:
            with open(arguments["file"], encoding="ascii") as file:
                text = file.read()
        except FileNotFoundError:
            raise ProbeError("error", f"there is no file {arguments['file']}") from None
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        if begin not in text:
            raise ProbeError("error", f"{arguments['file']} holds no certificate in PEM")
        pem = begin + text.split(begin, 1)[1].split(end, 1)[0] + end + "\n"
    else:
        pem = _shown_certificate(arguments["address"], arguments.get("server_name"), limit_s)
    # What it says is read here, not believed: an expired or foreign certificate must still be readable.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        command = ["openssl", "x509", "-in", file.name, "-noout", "-enddate", "-startdate", "-subject"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode:
        raise ProbeError("error", "openssl cannot read the certificate")
    fields = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return {
        "ends_s": ssl.cert_time_to_seconds(fields["notAfter"]),
        "begins_s": ssl.cert_time_to_seconds(fields["notBefore"]),
        "subject": fields.get("subject", ""),
        "wall_s": time.time(),
    }


def _shown_certificate(address: str, server_name, limit_s: float) -> str:
    name, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((name.strip("[]"), int(port)), timeout=limit_s) as plain,
        context.wrap_socket(plain, server_hostname=server_name or name) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(shown)


def alerts_proven(arguments: dict, _limit_s: float) -> dict:
    """Return each alert that Prometheus has, and when a drill saw it at its receiver."""
    return {"alerts": alert_drill.proven(arguments["url"], arguments["path"]), "now": time.time()}


def pause(arguments: dict, _limit_s: float) -> dict:
    """Take the seconds that it is told to, for benches and tests of the limits."""
    time.sleep(float(arguments["seconds"]))
    return {"paused_s": arguments["seconds"]}


KINDS = {
    function.__name__: function
    for function in (
        host, slots, edge, schema, postgres, postgres_server, redis, redis_login, queue, due, http, tcp, certificate,
        alerts_proven, pause,
    )
}  # fmt: skip
