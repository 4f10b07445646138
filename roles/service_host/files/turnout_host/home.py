"""The scheduler's home: the one host that may run the service's scheduler, as a record that every witness keeps.

Worker hosts and edges keep the record; the newest counts (by fence, then by run). A host that starts anew runs the
scheduler only if its own record names it and an edge has told of no newer one: its home may have been moved, by a
person's word, while it was away.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from turnout_host import atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

COLORS = ("blue", "green")
HOMES_DIR = "var/lib/turnout-homes"
LEASES_DIR = "var/lib/turnout-homes/leases"  # on an edge, where the user that hosts ask as may write
CONFIG_DIR = "etc/turnout-host"
SEEN_DIR = "run/turnout"  # gone after a reboot: what a run, or this program, has found since then
START, STAY, ASK_AGAIN = 0, 1, 255  # exit codes for ExecCondition=: 255 lets systemd try again
ASK_S = 5

Record = dict[str, object]


class ConfigError(Exception):
    """Whom this host asks cannot be read; carries the message for a person."""


def path_of(service: str, root: str = "/") -> str:
    """Return the path of the record, which everybody may read: edges tell it to a user without rights."""
    return os.path.join(root, HOMES_DIR, f"{service}.json")


def parse(text: bytes) -> Record | None:
    """Return {host, fence, run} of a record, None for anything else.

    A record of a newer format counts where it has these three: whoever wrote it knew where the scheduler runs.
    """
    try:
        return checked(json.loads(text))
    except (ValueError, RecursionError):
        return None


def checked(record: object) -> Record | None:
    """Return what counts of a record - host, fence, run; term, color, by_word where it has them - or None."""
    if not isinstance(record, dict):
        return None
    host, fence, run = record.get("host"), record.get("fence"), record.get("run")
    whole = isinstance(host, str) and host and isinstance(run, str) and run
    if not whole or not isinstance(fence, int) or isinstance(fence, bool) or fence < 0:
        return None
    found: Record = {"host": host, "fence": fence, "run": run}
    if type(record.get("term")) is int and record["term"] > 0:
        found["term"] = record["term"]
    if record.get("color") in COLORS:
        found["color"] = record["color"]
    if record.get("by_word") is True:
        found["by_word"] = True
    return found


def rank(record: Record) -> list[Any]:
    """Return what orders records: the run's fence, the run, and how often it was taken over since."""
    return [record["fence"], record["run"], record.get("term", 0)]


def read(service: str, root: str = "/") -> Record | None:
    """Return this host's record, None where it has none that can be read; on an edge, also one that a taker left."""
    found = []
    for path in (path_of(service, root), os.path.join(root, LEASES_DIR, f"{service}.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError), open(path, "rb") as stream:
            text = stream.read()
            found.append(parse(text) or checked(json.loads(text).get("record")))
    return newest(found)


def write(service: str, record: Record, root: str = "/") -> bool:
    """Keep a record, on disk before this returns, unless a newer one is here; return whether it changed."""
    known = read(service, root)
    if known == record or (known is not None and newest([known, record]) == known):
        return False
    path = path_of(service, root)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    atomic.replace(path, json.dumps({"format": atomic.FORMAT, **record}).encode() + b"\n", 0o644)
    return True


def newest(records: Iterable[Record | None]) -> Record | None:
    """Return the record that counts, None where there is none."""
    return max((one for one in records if one), key=rank, default=None)


def verdict(me: str, own: Record | None, edges: Mapping[str, tuple[bool, Record | None]]) -> tuple[int, str]:
    """Return the exit code, and why. `edges` maps each edge to whether it answered, and its record.

    An edge that answers without a record has never heard of a home. Where no edge answers nothing is known of what
    happened while this host was away.
    """
    answers = {name: record for name, (answered, record) in edges.items() if answered}
    known = newest([own, *answers.values()])
    if known is not None and known["host"] != me:
        return STAY, f"the scheduler's home is {known['host']} since run {known['run']} (fence {known['fence']})"
    if edges and not answers:
        return ASK_AGAIN, f"no edge of {', '.join(edges)} told where the scheduler's home is"
    return START, "this host is the scheduler's home"


def ssh(
    edge: Mapping[str, object], config: Mapping[str, object], words: str, connect_s: int, limit_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Say words to an edge. Its key may run one command there, which hears them. Raises OSError, TimeoutExpired."""
    command = [
        "ssh", "-F", "none", "-i", str(config["key"]), "-p", str(edge["port"]), "-o", "IdentitiesOnly=yes",
        "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={config['known_hosts']}",
        "-o", f"ConnectTimeout={connect_s}", "-o", "LogLevel=ERROR", f"{config['user']}@{edge['address']}",
    ]  # fmt: skip
    words_of = [words] if words else []
    return subprocess.run(
        [*command, *words_of], stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False
    )


def ask(edge: Mapping[str, object], config: Mapping[str, object]) -> tuple[bool, Record | None]:
    """Ask one edge; return whether it answered, and its record."""
    try:
        done = ssh(edge, config, "", ASK_S, 2 * ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return False, None
    # The command there ends with 0 and a record, or with 1 where there is none; 255 is ssh's own.
    return done.returncode in (0, 1), parse(done.stdout) if done.returncode == 0 else None


def config_of(service: str, root: str = "/") -> dict[str, Any] | None:
    """Return whom this host asks and as whom; None where the inventory has no edges. Raises ConfigError."""
    path = os.path.join(root, CONFIG_DIR, f"{service}.json")
    try:
        with open(path, encoding="utf-8") as stream:
            config: dict[str, Any] = json.load(stream)
        texts = all(isinstance(config[name], str) for name in ("host", "user", "key", "known_hosts"))
        whole = texts and all(edge["address"] and edge["port"] for edge in config["edges"].values())
        fault = None if whole else "it lacks what is needed to ask the edges"
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = error.strerror or "unreadable"
    except (ValueError, RecursionError):
        fault = "it is not JSON"
    except (KeyError, TypeError, AttributeError):
        fault = "it lacks what is needed to ask the edges"
    if fault is not None:
        raise ConfigError(
            f"observed: {path} cannot be used ({fault}); expected: the edges that this host asks where the scheduler's "
            "home is; to mend: ansible-playbook turnout.ops.site --tags service_host"
        )
    return config


def ask_all(config: Mapping[str, Mapping[str, object]]) -> dict[str, tuple[bool, Record | None]]:
    """Ask every edge at once; return for each whether it answered, and its record."""
    edges = config["edges"]
    with ThreadPoolExecutor(max(1, len(edges))) as pool:
        return dict(zip(edges, pool.map(lambda edge: ask(edge, config), edges.values()), strict=True))


def seen_path(unit: str, root: str = "/") -> str:
    """Return the mark of a unit that was found at home since the host started."""
    return os.path.join(root, SEEN_DIR, f"{unit}.home")


def mark_seen(unit: str, root: str = "/") -> None:
    """Note that the unit was found at home: until the next reboot nobody has to ask again."""
    atomic.touch(seen_path(unit, root))


def forget_seen(unit: str, root: str = "/") -> None:
    """Forget it: the unit was stopped on purpose."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(seen_path(unit, root))


def main(words: list[str], root: str = "/") -> int:
    """Tell systemd whether the scheduler of a service, or a job of its timers, may start here: SERVICE UNIT."""
    from turnout_host import agent  # noqa: PLC0415 - which imports this

    service, unit = words
    try:
        config = config_of(service, root)
        if config is not None and agent.takes_over(config):
            return START if agent.may_start(service, config, unit, root) else STAY
    except ConfigError as error:
        if not os.path.exists(seen_path(unit, root)):
            print(f"{unit}: {error}", file=sys.stderr)
            return ASK_AGAIN
    if os.path.exists(seen_path(unit, root)) or config is None:  # none: an inventory without edges
        return START
    answers = ask_all(config)
    code, why = verdict(config["host"], read(service, root), answers)
    print(f"{unit}: {why}", file=sys.stderr)
    if code == START:
        mark_seen(unit, root)
    return code
