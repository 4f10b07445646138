# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""The two users of a rotated credential at a Redis (or Valkey) server: what they are, opening one, closing the other.

Only digests of passwords go to the server. What was changed is kept over a restart, in the way that the server keeps
its users; where it keeps none, nothing is changed.
"""

from __future__ import annotations

import glob
import hashlib
import time
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.resp import Session
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import write_file

ACLFILE, USERS_FILE, REWRITE = "aclfile", "users_file", "rewrite"
_POLL_S = 0.2
_MOST_INCLUDES = 20


class KeepError(Exception):
    """The server would forget its users at its next start. Carries observed and remedy."""

    def __init__(self, observed: str, remedy: str) -> None:
        super().__init__(observed)
        self.fault = {
            "observed": observed,
            "expected": "a Redis that keeps its users over a restart",
            "remedy": remedy,
        }


def digest(password: str) -> str:
    """Return what Redis stores for a password."""
    return hashlib.sha256(password.encode()).hexdigest()


def look(redis: Session, pair: list, secret: dict, users_file: str) -> dict:
    """Return what the server has of the pair and of the login in the file, and what is wrong; raises ProbeError."""
    names = list(dict.fromkeys([*pair, secret["current"]["user"]]))
    sessions = _sessions(redis)
    logins = {}
    for name in names:
        user = _user(redis, name)
        if user is None:
            continue
        opened = "on" in user["flags"] and ("nopass" in user["flags"] or bool(user["passwords"]))
        takes = {
            key: opened and ("nopass" in user["flags"] or digest(one["password"]) in user["passwords"])
            for key, one in secret.items()
            if one and one["user"] == name
        }
        logins[name] = {
            "opened": opened,
            "takes": takes.get("current", False),
            "takes_next": takes.get("next", False),
            "sessions": sessions.get(name, []),
        }
    faults = []
    try:
        keeping(redis, pair, users_file)
    except KeepError as error:
        faults.append(error.fault)
    return {"logins": logins, "faults": faults, "standby": False}


def _user(redis: Session, name: str):
    told = redis.call("ACL", "GETUSER", name)
    return dict(zip(told[::2], told[1::2], strict=False)) if told else None


def _sessions(redis: Session) -> dict:
    found: dict = {}
    for line in redis.call("CLIENT", "LIST").splitlines():
        one = dict(word.partition("=")[::2] for word in line.split())
        name = f", {one['name']}" if one.get("name") else ""
        told = f"client {one.get('id')}{name} from {one.get('addr')}, idle for {one.get('idle')} s"
        found.setdefault(one.get("user"), []).append(told)
    return found


def keeping(redis: Session, names: list, users_file: str) -> str:
    """Return how the server keeps its users. Raises KeepError where it does not, or would not start with them."""
    if dict([redis.call("CONFIG", "GET", "aclfile")]).get("aclfile"):
        return ACLFILE
    main = redis.info("server").get("config_file") or ""
    if not main:
        raise KeepError(
            "Redis was started without a configuration file, and has no aclfile",
            "write aclfile /etc/redis/users.acl into its configuration, and start it with that",
        )
    try:
        texts = _texts(main)
    except OSError as error:
        raise KeepError(
            f"{error.filename or main} cannot be read here ({error.strerror})",
            "let Redis keep its users in a file of their own: aclfile /etc/redis/users.acl",
        ) from None
    beside = {path: _names(text) for path, text in texts.items() if path not in (main, users_file)}
    twice = sorted(f"{name} in {path}" for path, found in beside.items() for name in found & set(names))
    if users_file in texts:
        twice += sorted(f"{name} in {main}" for name in _names(texts[main]) & set(names))
        if twice:
            raise KeepError(
                f"other files define a user of this rotation: {', '.join(twice)}",
                f"take another name in service.rotation, or the line out of that file: {users_file} has it too then",
            )
        return USERS_FILE
    if any(beside.values()):
        where = ", ".join(sorted(path for path, found in beside.items() if found))
        raise KeepError(
            f"{where}, which {main} includes, defines users: after CONFIG REWRITE Redis would find them twice, and not "
            "start",
            f"ansible-playbook turnout.ops.site --tags redis makes {users_file}; for a Redis of your own: move all its"
            " users into a file that aclfile names",
        )
    return REWRITE


def _texts(main: str) -> dict:
    """Return the text of a configuration file and of all that it includes, by path. Raises OSError."""
    texts: dict = {}
    wanted = [main]
    while wanted and len(texts) < _MOST_INCLUDES:
        path = wanted.pop(0)
        if path in texts:
            continue
        texts[path] = Path(path).read_text(encoding="utf-8", errors="replace")
        for line in texts[path].splitlines():
            words = line.split()
            if len(words) > 1 and words[0].lower() == "include":
                found = glob.glob(words[1].strip("\"'"))
                wanted += sorted(found)
    return texts


def _names(text: str) -> set:
    return {
        words[1]
        for words in map(str.split, text.splitlines())
        if len(words) > 1 and words[0].lower() == "user" and words[1] != "default"
    }


def keep(redis: Session, way: str, names: list, users_file: str) -> None:
    """Keep what the server has of these users over its next start. Raises ProbeError, OSError."""
    if way == ACLFILE:
        redis.call("ACL", "SAVE")
    elif way == REWRITE:
        redis.call("CONFIG", "REWRITE")
    else:
        lines = {line.split()[1]: line for line in redis.call("ACL", "LIST")}
        path = Path(users_file)
        old = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in old if line.split()[:1] != ["user"] or line.split()[1] not in names]
        text = "".join(f"{line}\n" for line in [*kept, *(lines[name] for name in names if name in lines)])
        there = path.stat()
        write_file(path, text.encode(), there.st_mode & 0o777, there.st_gid)


def open_login(redis: Session, pair: list, user: str, password: str, rules: list, *, users_file: str) -> None:
    """Let a user in with this password alone, with these rules. Raises ProbeError, KeepError, OSError."""
    way = keeping(redis, pair, users_file)
    # Who is connected as this user (after a restore of the server) loses nothing between two rules.
    fresh = [] if _sessions(redis).get(user) else ["reset"]
    redis.call("ACL", "SETUSER", user, *fresh, "on", "resetpass", f"#{digest(password)}", *rules)
    keep(redis, way, pair, users_file)


def close_login(redis: Session, pair: list, user: str, drain_s: float, users_file: str, *, end_sessions: bool) -> list:
    """Let a user in no more, once it has no session; return those that it still has, and then nothing was changed.

    With `end_sessions` those are ended that have not ended within `drain_s`. Raises ProbeError, KeepError, OSError.
    """
    way = keeping(redis, pair, users_file)
    until = time.monotonic() + drain_s
    while (found := _sessions(redis).get(user, [])) and time.monotonic() < until:
        time.sleep(_POLL_S)
    if found and not end_sessions:
        return found
    if _user(redis, user) is not None:
        redis.call("ACL", "SETUSER", user, "off", "resetpass")
        redis.call("CLIENT", "KILL", "USER", user)
    keep(redis, way, pair, users_file)
    return []
