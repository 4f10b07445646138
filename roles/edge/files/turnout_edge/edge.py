"""One edge: its configuration, its files and its HAProxy, read and written as values."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from . import version
from .errors import EXIT_USAGE, Trouble, not_root
from .haproxy import Disobeyed, HAProxy, Unreachable
from .journal import Journal, encode_line, parse_line
from .lock import format_fence, parse_fence, read_fence
from .peers import heard, told, word_of
from .resolve import Word, in_doubt
from .shapes import FORMAT, LARGEST_BYTES, Unreadable, decode, format_of, is_newer, is_number, read_lease, read_lock
from .state import COLORS, NewerFormat, State, choose_recovered, format_map, parse_map
from .store import Clock, FileLock, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


PATHS = ("peers_file", "told_file", "textfile")
DEFAULT_CONFIG = "/etc/turnout/edge.json"


class Config:
    """edge.json: where everything is on this edge."""

    KEYS = (
        *("service", "socket", "map", "backends", "state_dir", "lease_s", "master_socket", "require_watch"),
        *("peers", "peers_file", "told_file", "textfile", "web"),
    )

    def __init__(self, data: Json) -> None:
        self.service = str(data["service"])
        self.socket = str(data["socket"])
        self.map = str(data["map"])
        self.backends: dict[str, str] = dict(data["backends"])
        # Web processes beside the API, by name: {blue, green}, the backends of each.
        self.web: dict[str, dict[str, str]] = dict(data.get("web") or {})
        self.state_dir = str(data["state_dir"])
        self.lease_s = float(data.get("lease_s", 10))
        self.master_socket: str | None = data.get("master_socket")
        self.peers: list[str] = list(data.get("peers") or [])  # the other edges of the group
        self.peers_file: str | None = data.get("peers_file")  # what was heard of them
        self.told_file: str | None = data.get("told_file")  # what they may know of this one
        self.textfile: str | None = data.get("textfile")  # what Prometheus may know, by node exporter
        self.require_watch = bool(data.get("require_watch", True))

    @classmethod
    def load(cls, path: str) -> Config:
        """Read and check the file; raises Trouble."""
        remedy = "apply the edge role (ansible-playbook turnout.ops.site), or name another file with --config"
        expected = f"a JSON object with {', '.join(cls.KEYS[:5])}"
        try:
            with open(path, "rb") as stream:
                data = decode(stream.read(LARGEST_BYTES + 1))
        except FileNotFoundError as fault:
            raise Trouble("config", EXIT_USAGE, f"there is no {path}", expected, remedy) from fault
        except PermissionError as fault:
            raise not_root(path) from fault
        except (OSError, Unreadable) as fault:
            raise Trouble("config", EXIT_USAGE, f"{path} cannot be read: {fault}", expected, remedy) from fault
        faults = config_faults(data)
        if faults or not isinstance(data, dict):
            raise Trouble("config", EXIT_USAGE, f"{path}: {'; '.join(faults)}", expected, remedy)
        return cls(data)


def config_faults(data: object) -> list[str]:
    """Return everything that is wrong with edge.json."""
    if not isinstance(data, dict):
        return ["it is not a JSON object"]
    faults = [f"unknown key {key}" for key in data if key not in Config.KEYS]
    faults += [
        f"{key} is missing or no text"
        for key in ("service", "socket", "map", "state_dir")
        if not isinstance(data.get(key), str) or not data[key]
    ]
    backends = data.get("backends")
    if not isinstance(backends, dict) or set(backends) != set(COLORS):
        faults.append("backends does not name blue and green")
    elif backends["blue"] == backends["green"] or not all(isinstance(name, str) for name in backends.values()):
        faults.append("backends does not give each color a backend of its own")
    faults += web_faults(data.get("web") or {}, backends)
    lease_s = data.get("lease_s", 10)
    peers = data.get("peers") or []
    if not isinstance(peers, list) or not all(isinstance(name, str) for name in peers):
        faults.append(f"peers is {peers!r}, which is no list of names")
    faults += [f"{key} is no path" for key in PATHS if not isinstance(data.get(key), str | None)]
    if not is_number(lease_s) or lease_s <= 0:
        faults.append(f"lease_s is {lease_s!r}, which is no positive number")
    return faults


def web_faults(web: object, backends: object) -> list[str]:
    """Return what is wrong with the web processes of edge.json: each color of each has a backend that no other has."""
    known = list(backends.values()) if isinstance(backends, dict) else []
    if not isinstance(web, dict):
        return [f"web is {web!r}, which is no mapping"]
    faults = []
    for name, names in web.items():
        if not isinstance(names, dict) or set(names) != set(COLORS):
            faults.append(f"web.{name} does not name blue and green")
            continue
        mine = list(names.values())
        if not all(isinstance(one, str) for one in [*known, *mine]) or len({*known, *mine}) < len(known) + len(mine):
            faults.append(f"web.{name} does not give each color a backend of its own")
        known += mine
    return faults


class Edge:
    """This edge: its files and its HAProxy, read and written as values."""

    def __init__(self, config: Config, files: Files | None = None, clock: Clock | None = None) -> None:
        self.config = config
        self.files = files or Files()
        self.clock = clock or Clock()
        self.haproxy = HAProxy(config.socket, config.map, config.master_socket, config.backends, config.web)
        self.journal = Journal(self.files, self._path("journal.jsonl"))
        # Readers of drills in Turnout 0.2 take no key in the ledger that they do not know.
        self.ledger = Journal(self.files, self._path("ledger.jsonl"), numbered=False)
        self.reads_newer = False  # whether a state of a newer format is read, as far as it looks like this one

    def _path(self, name: str) -> str:
        return os.path.join(self.config.state_dir, name)

    def locked(self) -> FileLock:
        """Return the file lock, to be used as a context."""
        return FileLock(self._path("flock"))

    def has_state(self) -> bool:
        """Tell whether this edge was ever told what serves."""
        try:
            return self.files.read(self._path("state.json"), 1) is not None
        except OSError:
            return True

    def load_state(self) -> State:
        """Return what this edge wants; raises Trouble for a state that cannot be read."""
        path = self._path("state.json")
        remedy = "turnout-edge recover (rebuilds it from the journal)"
        try:
            raw = self.files.read(path, LARGEST_BYTES + 1)
        except PermissionError as fault:
            raise not_root(path) from fault
        except OSError as fault:
            seen = f"{path} cannot be read: {fault.strerror}"
            raise Trouble("state-corrupt", EXIT_USAGE, seen, "a state", remedy) from fault
        if raw is None:
            if self.journal.holds_state():
                raise Trouble("state-missing", EXIT_USAGE, f"{path} is gone, the journal is not", "both", remedy)
            return State(self.config.service)
        try:
            state = State.from_json(decode(raw), newer=self.reads_newer)
        except NewerFormat as fault:
            raise self.newer_format(f"{path} ({fault.args[0].removeprefix('it is of ')})") from fault
        except ValueError as fault:
            raise Trouble("state-corrupt", EXIT_USAGE, f"{path} cannot be read: {fault}", "a state", remedy) from fault
        if state.service != self.config.service:
            raise Trouble(
                "service-differs",
                EXIT_USAGE,
                f"{path} is of service {state.service}",
                f"service {self.config.service}, as in edge.json",
                "mend edge.json, or move the state folder of the other service away",
            )
        return state

    def load_state_for_rollback(self) -> tuple[State, str | None]:
        """Return what this edge wants, and None; or, where that cannot be read, what the journal has of it, and why.

        A state of a newer format is read as far as it looks like this one. Raises Trouble, with what to type, where
        the journal has nothing either.
        """
        read_newer, self.reads_newer = self.reads_newer, True
        try:
            return self.load_state(), None
        except Trouble as fault:
            if fault.code not in ("state-corrupt", "state-missing", "service-differs"):
                raise
            found = choose_recovered(self.journal.states(), self.live()["green_bp"], self.config.service)
            if found is None:
                fault.remedy += f"; where it says that there is nothing: {self.adopt_words()}"
                raise
            return found, fault.observed
        finally:
            self.reads_newer = read_newer

    def newer_files(self) -> list[Json]:
        """Return the files that a newer turnout-edge wrote: {path, format} of each."""
        found = []
        for name in ("state.json", "lock.json", "lease.json"):
            try:
                value = decode(self.small(self._path(name)) or b"null")
            except Unreadable:
                continue
            if is_newer(value):
                found.append({"path": self._path(name), "format": format_of(value)})
        for kept in (self.journal, self.ledger):
            with contextlib.suppress(OSError):
                if (number := kept.newest_format()) > FORMAT:
                    found.append({"path": kept.path, "format": number})
        return found

    def refuse_newer(self) -> None:
        """Raise Trouble where a newer turnout-edge kept this edge: what else it wrote there is not known here."""
        found = [f"{entry['path']} (format {entry['format']})" for entry in self.newer_files()]
        if found:
            raise self.newer_format(", ".join(found))

    def newer_format(self, seen: str) -> Trouble:
        """Return the error for files of a newer format."""
        return Trouble(
            "newer-format",
            EXIT_USAGE,
            f"{seen}: written by a newer turnout-edge",
            f"format {FORMAT} or older, all that this turnout-edge ({version.VERSION or 'of no version'}) reads",
            "lay the newer program again, with the Turnout that wrote them: ansible-playbook turnout.ops.site "
            "--tags edge; turnout-edge rollback works all the same",
        )

    def adopt_words(self) -> str:
        """Return how a person tells an edge that has lost all it knew what serves."""
        return "turnout-edge adopt --color blue|green --release JSON --force --reason TEXT"

    def write_state(self, state: State) -> None:
        """Put the state on the disk."""
        data = json.dumps(state.as_json(), indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"
        self.files.replace(self._path("state.json"), data)

    def tell_peers(self, state: State) -> None:
        """Publish what peers may know; what cannot be written now is written by the watchdog within a second."""
        if self.config.told_file:
            data = encode_line(told(state, self.load_lease(), self.clock.mark()["boot"]))
            with contextlib.suppress(OSError):
                self.files.replace(self.config.told_file, data, mode=0o644, durable=False)

    def tell_metrics(self, state: State) -> None:
        """Publish what this edge serves where node exporter finds it; nothing where there is none."""
        if self.config.textfile and os.path.isdir(os.path.dirname(self.config.textfile)):
            from .metrics import exposition

            now = self.clock.mark()
            doubt = in_doubt(state.word())
            text = exposition(state, self.load_lease(), now, doubt=doubt, peers=self.hear_peers())
            self.files.replace(self.config.textfile, text.encode(errors="replace"), mode=0o644, durable=False)

    def disk_bp(self) -> int | None:
        """Return green's share as the map file has it: what HAProxy will read at its next start."""
        try:
            raw = self.files.read(self.config.map, LARGEST_BYTES)
        except OSError:
            return None
        return None if raw is None else parse_map(raw.decode(errors="replace"))

    def write_map(self, green_bp: int) -> None:
        """Put the map on the disk, unless it is there already."""
        data = format_map(green_bp).encode()
        if self.small(self.config.map) != data:
            self.files.replace(self.config.map, data, mode=0o644)

    def live(self) -> Json:
        """Return green's share as the running HAProxy has it: {green_bp, reachable, error}."""
        try:
            return {"green_bp": self.haproxy.green_bp(), "reachable": True, "error": None}
        except Unreachable as fault:
            return {"green_bp": None, "reachable": False, "error": str(fault)}
        except Disobeyed as fault:
            return {"green_bp": None, "reachable": True, "error": str(fault)}

    def load_lock(self) -> Json:
        """Return the lock: {holder, last, fence}. An unreadable lock file is nobody's."""
        lock = read_lock(self.small(self._path("lock.json")))
        places = [read_fence(lock.get("fence")), parse_fence(self.small(self._path("fence")))]
        if None in places:
            places += [read_fence(line.get("fence")) for line in map(parse_line, self.journal.fenced()) if line]
        return {**lock, "fence": max(n or 0 for n in places)}

    def write_lock(self, lock: Json, durable: bool = True) -> None:
        """Keep the lock; a new fencing number first in its own file, so that no crash gives a number twice."""
        if parse_fence(self.small(self._path("fence"))) != lock["fence"]:
            self.files.replace(self._path("fence"), format_fence(lock["fence"]))
        self.files.replace(self._path("lock.json"), encode_line({**lock, "format": FORMAT}), durable=durable)

    def load_lease(self) -> Json:
        """Return the lease: {armed, run, lease_s, renewed}; one that cannot be read is armed and over."""
        return read_lease(self.small(self._path("lease.json")))

    def write_lease(self, lease: Json, durable: bool = True) -> None:
        """Keep the lease."""
        self.files.replace(self._path("lease.json"), encode_line({**lease, "format": FORMAT}), durable=durable)

    def small(self, path: str) -> bytes | None:
        """Return the bytes of a small file; None where there is none, and nothing (b"") where it cannot be read."""
        try:
            return self.files.read(path, LARGEST_BYTES + 1)
        except OSError:
            return b""

    def peers_on(self, run: str | None) -> list[Word | None]:
        """Return what each other edge of the group said last of a run; None for one that is not heard."""
        return [word_of(said, run) for said in self.hear_peers().values()]

    def hear_peers(self) -> dict[str, Json | None]:
        """Return what each other edge of the group said within the last seconds; None for one that is not heard."""
        path = self.config.peers_file
        raw = self.small(path) if path and self.config.peers else None
        boot = self.clock.mark()["boot"]
        return {name: heard(raw, name, self.config.service, boot) for name in self.config.peers}

    def watch_path(self) -> str:
        """Return the file that the watchdog holds locked while it lives."""
        return self._path("watch.flock")

    def watch_is_alive(self) -> bool:
        """Tell whether the watchdog runs: it holds a lock that ends with it."""
        try:
            descriptor = os.open(self.watch_path(), os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
