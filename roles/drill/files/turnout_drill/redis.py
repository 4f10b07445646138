"""The copy of Redis in the repository, and a server started on it."""

from __future__ import annotations

import calendar
import hashlib
import json
import os
import pwd
import time
from dataclasses import dataclass
from typing import Any

from .engine import Engine, when
from .errors import BrokenOff
from .place import Place
from .shell import ProgramError, run, transient, unit_active, unit_said


@dataclass(frozen=True)
class Copy:
    """A copy of Redis: its place in the repository and its marker."""

    path: str
    marker: dict[str, Any]


def newest(engine: Engine, until: float | None) -> Copy:
    """Return the newest whole copy that was there at `until`. Raises BrokenOff."""
    try:
        stamps = engine.list_names("turnout/redis")
    except ProgramError as error:
        raise BrokenOff(f"the repository has no copy of Redis: {error}", "redis_copy") from None
    for stamp in sorted((name for name in stamps if "/" not in name), reverse=True):
        taken = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        if until is not None and taken > until:
            continue
        try:
            marker = json.loads(engine.get(f"turnout/redis/{stamp}/marker.json"))
        except (ProgramError, ValueError):
            continue  # no marker: a copy that was never finished
        return Copy(f"turnout/redis/{stamp}", marker)
    then = "" if until is None else f" at {when(until)}"
    raise BrokenOff(
        f"the repository held no whole copy of Redis{then}: ansible-playbook turnout.ops.backup takes one", "redis_copy"
    )


def restore(place: Place, engine: Engine, copy: Copy) -> None:
    """Fetch the copy into the place and see that it is what was stored. Raises BrokenOff."""
    account = pwd.getpwnam("redis")
    folder = place.folder / "redis"
    folder.mkdir(mode=0o700)
    os.chown(folder, account.pw_uid, account.pw_gid)
    for name, stored in sorted(copy.marker["files"].items()):
        try:
            content = engine.get(f"{copy.path}/{name}")
        except ProgramError as error:
            raise BrokenOff(f"the copy of Redis cannot be read: {error}", "redis_copy") from None
        digest = hashlib.sha256(content).hexdigest()
        if len(content) != stored["bytes"] or digest != stored["sha256"]:
            raise BrokenOff(
                f"the copy of Redis is damaged: {name} has {len(content)} of {stored['bytes']} bytes and checksum "
                f"{digest[:12]}, {stored['sha256'][:12]} was stored", "redis_copy",
            )  # fmt: skip
        path = folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        os.chown(path, account.pw_uid, account.pw_gid)
    try:
        run(["redis-check-rdb", str(folder / "dump.rdb")], timeout_s=600)
    except ProgramError as error:
        raise BrokenOff(f"the snapshot of Redis is damaged: {error}", "redis_copy") from None


def start(
    place: Place, namespace: str, at: tuple[str, int], logins: list[dict[str, str]], limit_s: float = 120,
    *, tls: bool = False,
) -> int:  # fmt: skip
    """Start Redis on the copy, at an address and port inside the namespace; return its number of keys.

    It lets in whom the service in the drill logs in as, with `tls` by the place's certificate. Raises BrokenOff.
    """
    address, port = at
    listens = f"port {port}"
    if tls:
        key = place.write("redis.key", (place.folder / "server.key").read_bytes(), 0o400, user="redis", group="root")
        listens = f"port 0\ntls-port {port}\ntls-auth-clients no\ntls-key-file {key}\n"
        listens += f"tls-cert-file {place.folder}/server.crt\ntls-ca-cert-file {place.folder}/ca.crt"
    settings = f"bind {address}\n{listens}\nappendonly no\nprotected-mode no\n{users(logins)}"
    launch(place, settings, {"NetworkNamespacePath": namespace})
    user = ["--user", logins[0]["user"]] if logins[0]["user"] else []
    cli = ["ip", "netns", "exec", place.namespace, "redis-cli", "-h", address, "-p", str(port)]
    cli += [*(["--tls", "--cacert", f"{place.folder}/ca.crt"] if tls else []), *user, "DBSIZE"]
    return keys(cli, place.unit("redis"), {"REDISCLI_AUTH": logins[0]["password"]}, limit_s)


def users(logins: list[dict[str, str]]) -> str:
    """Return the users of a restored server as lines of its settings; nobody comes in without a password."""
    by_name = {login["user"] or "default": login["password"] for login in logins}
    lines = [
        f"user {name} on #{hashlib.sha256(password.encode()).hexdigest()} ~* &* +@all\n"
        for name, password in by_name.items()
    ]
    return "".join(lines if "default" in by_name else [*lines, "user default off\n"])


def launch(place: Place, settings: str, properties: dict[str, object]) -> None:
    """Start a server on the place's copy, as its unit, with these settings and properties of the unit besides."""
    conf = place.write(
        "redis.conf",
        f"{settings}dir {place.folder}/redis\ndbfilename dump.rdb\nsave \"\"\ndaemonize no\nlogfile \"\"\n",
        0o400, user="redis", group="root",
    )  # fmt: skip
    argv = ["/usr/bin/redis-server", str(conf)]
    transient(place.unit("redis"), argv, {"User": "redis", "NoNewPrivileges": "yes", **properties})


def keys(cli: list[str], unit: str, environment: dict[str, str], limit_s: float) -> int:
    """Return the number that `cli` (a DBSIZE) prints, once the server of `unit` has read its data. Raises BrokenOff."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            said = run(cli, environment=environment, timeout_s=10).decode().strip()
        except ProgramError as error:
            said = str(error)
        if said.isdigit():
            return int(said)
        if not unit_active(unit) or time.monotonic() > deadline:
            raise BrokenOff(f"the restored Redis does not answer: {said[-200:]} {unit_said(unit)}", "redis")
        time.sleep(0.05)
