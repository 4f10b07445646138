"""Following the other edges: what they say of themselves, over one ssh connection each, in a file for the watchdog.

Two ends, both as the user turnout-peer, who may read nothing else: `turnout-edge peer --follow` prints what the
watchdog here has published, at once when it changes and otherwise every second, and is the only thing that a peer's key
may run; `turnout-edge follow` (turnout-edge-peers.service) asks all peers for it and keeps what they said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from .errors import EXIT_DONE, EXIT_USAGE, Trouble
from .peers import LINE_LIMIT, read_object
from .shapes import is_number
from .store import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .edge import Config
    from .errors import Json

SAY_EVERY_S = 1.0
LOOK_EVERY_S = 0.1
AGAIN_AFTER_S = 1.0


def boot_s() -> float:
    """Return the seconds since this machine started: the clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def said_here(config: Config) -> Json:
    """Return what this edge says of itself, and how many seconds ago its watchdog (or a command) said it."""
    data = read_object(Files().read(config.told_file, LINE_LIMIT) if config.told_file else None)
    at = data.pop("boot", None)
    known = isinstance(at, int | float) and is_number(at)
    return {**data, "age_s": round(boot_s() - at, 3) if known else None}


def run_peer(config: Config, keep_on: bool) -> int:
    """Print what a peer may know of this edge: once, or a line a second and at every change (--follow)."""
    last: Json = {}
    next_at = 0.0
    try:
        while True:
            said = said_here(config)
            told = {**said, "age_s": None}
            if told != last or time.monotonic() >= next_at:
                print(json.dumps(said, ensure_ascii=False), flush=True)
                last, next_at = told, time.monotonic() + SAY_EVERY_S
            if not keep_on:
                return EXIT_DONE
            time.sleep(LOOK_EVERY_S)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_DONE


def read_settings(path: str) -> list[Json]:
    """Return the peers to follow; raises Trouble."""
    remedy = "apply the edge role: ansible-playbook turnout.ops.site --tags edge"
    try:
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
        if not all(isinstance(peer[key], str) for peer in settings["peers"] for key in ("name", "address", "user")):
            raise ValueError("a peer lacks a name, an address or a user")
        return [dict(settings, **peer) for peer in settings["peers"]]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        expected = "peers (name, address, port, user), key and known_hosts"
        raise Trouble("peers", EXIT_USAGE, f"{path}: {type(fault).__name__} {fault}", expected, remedy) from fault


def ssh_words(peer: Json) -> list[str]:
    """Return the command that follows one peer. Its host key is known by its name, whatever its address is."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(peer["known_hosts"]),
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": str(peer["name"]),
        "ConnectTimeout": "3",
        "ServerAliveInterval": "1",
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    words = ["ssh", "-F", "none", "-T", "-n", "-i", str(peer["key"]), "-p", str(peer.get("port") or 22)]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return [*words, "--", f"{peer['user']}@{peer['address']}", "peer"]


class Follower:
    """Keeps what every peer said last."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.guard = threading.Lock()
        self.heard: dict[str, Json] = {}
        self.told: dict[str, str] = {}

    def keep(self, name: str, line: bytes) -> bool:
        """Keep one line of a peer; tells whether it said anything."""
        said = read_object(line if len(line) < LINE_LIMIT else None)
        age_s = said.pop("age_s", None)
        if not isinstance(age_s, int | float) or not is_number(age_s):
            return False
        with self.guard:
            self.heard[name] = {"boot": round(boot_s() - age_s, 3), "said": said}
            data = json.dumps({"peers": self.heard}, ensure_ascii=False).encode() + b"\n"
            Files().replace(self.path, data, mode=0o644, durable=False)
        return True

    def say(self, name: str, text: str) -> None:
        """Tell the system's journal of a peer, once until it changes."""
        if self.told.get(name) != text:
            print(f"turnout-edge: peer {name}: {text}", file=sys.stderr, flush=True)
        self.told[name] = text

    def follow(self, peer: Json) -> None:
        """Follow one peer for ever."""
        name = str(peer["name"])
        while True:
            try:
                self.follow_once(name, ssh_words(peer))
            except OSError as fault:
                self.say(name, str(fault))
            except Exception as fault:  # a peer that is followed no more would never be heard again
                self.say(name, f"internal: {type(fault).__name__} {fault}; it is followed on; remedy: report this line")
            time.sleep(AGAIN_AFTER_S)

    def follow_once(self, name: str, words: list[str]) -> None:
        """Follow one peer until its connection ends."""
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as ssh:
            if ssh.stdout is None or ssh.stderr is None:
                raise OSError("no pipe to ssh")
            while line := ssh.stdout.readline(LINE_LIMIT):
                self.say(name, "heard" if self.keep(name, line) else "it has nothing to say (does its watchdog run?)")
            ssh.kill()
            last = ssh.stderr.read(2000).decode(errors="replace").strip().splitlines()[-1:]
        self.say(name, f"not heard: {last[0] if last else 'its connection ended'}")


def run_follow(config: Config, settings_path: str) -> int:
    """Follow all peers until told to stop."""
    if not config.peers_file:
        raise Trouble("config", EXIT_USAGE, "edge.json has no peers_file", "a path", "apply the edge role")
    follower = Follower(config.peers_file)
    for peer in read_settings(settings_path):
        threading.Thread(target=follower.follow, args=(peer,), daemon=True).start()
    while True:
        time.sleep(3600)
