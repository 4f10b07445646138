"""The running HAProxy, through its runtime socket: the map, the backends, the process."""

from __future__ import annotations

import socket

from .errors import EXIT_USAGE, Trouble
from .state import COLORS, WHOLE_BP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .errors import Json


class Unreachable(Exception):
    """HAProxy's socket does not answer."""


class Disobeyed(Exception):
    """HAProxy answers, but does not know the map, or does not hold what it was told."""


class HAProxy:
    """The running HAProxy, through its runtime socket."""

    TIMEOUT_S = 2.0
    MASTER_TIMEOUT_S = 0.3

    def __init__(
        self,
        socket_path: str,
        map_path: str,
        master_path: str | None = None,
        backend_names: dict[str, str] | None = None,
        web_names: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self.socket_path = socket_path
        self.map_path = map_path
        self.master_path = master_path
        self.backend_names = backend_names or {}
        self.web_names = web_names or {}  # of web processes beside the API, by name: a backend of each color

    def ask(self, command: str) -> str:
        """Send one command and return the whole answer; raises Unreachable."""
        return converse(self.socket_path, command, self.TIMEOUT_S)

    def entries(self) -> list[tuple[str, str]]:
        """Return green's entries in the running map, as (reference, value); raises Disobeyed where there is no map."""
        found = []
        for line in self.ask(f"show map {self.map_path}").splitlines():
            reference, _, rest = line.strip().partition(" ")
            if not reference:
                continue
            if not reference.startswith("0x"):
                raise Disobeyed(f"HAProxy says of the map {self.map_path}: {line.strip()}")
            key, _, value = rest.partition(" ")
            if key == "green":
                found.append((reference, value))
        return found

    def green_bp(self) -> int | None:
        """Return green's share in the running map, None unless it is exactly one whole number; raises Disobeyed."""
        return share_in(self.entries())

    def set_green_bp(self, green_bp: int) -> list[Json]:
        """Set the running map and read it back; raises Unreachable or Disobeyed. Returns the older workers told.

        It is set first, whatever the map holds, and only then is rubbish beside it taken away: there is no moment in
        which the map has no share for green.
        """
        command = f"set map {self.map_path} green {green_bp}"  # sets every entry that there is
        answer = self.ask(command).strip()
        entries = self.entries()
        if all(value != str(green_bp) for _, value in entries):
            answer = self.ask(command.replace("set", "add", 1)).strip() or answer
            entries = self.entries()
        kept = next((reference for reference, value in entries if value == str(green_bp)), None)
        if kept is not None:
            for reference, _ in entries:
                if reference != kept:
                    self.ask(f"del map {self.map_path} #{reference}")
        entries = self.entries()
        if share_in(entries) != green_bp:
            values = ", ".join(value for _, value in entries) or "nothing"
            raise Disobeyed(
                f"told {green_bp}, the running map then held {values}" + (f" (HAProxy: {answer})" if answer else "")
            )
        return self._tell_older_workers(command, green_bp)

    def _tell_older_workers(self, command: str, green_bp: int) -> list[Json]:
        """Tell workers from before a reload too: they still serve the connections that they hold.

        Only what can be told quickly: the new worker, which has nearly all of the traffic, has been told already.
        """
        if not self.master_path:
            return []
        told: list[Json] = []
        try:
            for pid in older_workers(self._ask_master("show proc")):
                lacking = self._lacking_color(pid, green_bp)
                if lacking:
                    # It checks its servers no more. Its users stay where they are, rather than get no answer.
                    told.append({"pid": pid, "told": False, "answer": f"it knows no server of {lacking} that is up"})
                else:
                    answer = self._ask_master(f"@!{pid} {command}").strip()
                    if answer:  # it has no entry yet
                        answer = self._ask_master(f"@!{pid} {command.replace('set', 'add', 1)}").strip()
                    told.append({"pid": pid, "told": not answer, "answer": answer})
        except Unreachable as fault:
            told.append({"pid": None, "told": False, "answer": str(fault)})
        return told

    def _ask_master(self, command: str) -> str:
        return converse(str(self.master_path), command, self.MASTER_TIMEOUT_S)

    def _lacking_color(self, pid: int, green_bp: int) -> str | None:
        """Return a color that would get users from an older worker which finds all of its servers down."""
        rows = parse_stat(self._ask_master(f"@!{pid} show stat"))
        for color, share_bp in (("blue", WHOLE_BP - green_bp), ("green", green_bp)):
            webs = [names[color] for names in self.web_names.values()]
            # One from before there were web processes has none of theirs.
            known = [name for name in webs if any(row.get("pxname") == name for row in rows)]
            for name in (self.backend_names.get(color), *known):
                mine = [row for row in rows if row.get("pxname") == name and row.get("svname") != "BACKEND"]
                if share_bp and not any(read_server(row)["up"] for row in mine):
                    return color
        return None

    def backends(self, colors: Iterable[str] = COLORS) -> dict[str, Json]:
        """Return status and counters of each color, web processes included.

        Raises Unreachable, or Trouble for an unknown name. A web process that the running HAProxy does not know yet is
        down: nobody moves to a color without it, and it keeps nobody from going back.
        """
        rows = parse_stat(self.ask("show stat"))
        found = {}
        for color in colors:
            api = self._backend(rows, self.backend_names[color])
            known = {row.get("pxname") for row in rows}
            webs = {
                name: self._backend(rows, names[color]) if names[color] in known else unknown_backend(names[color])
                for name, names in self.web_names.items()
            }
            found[color] = together(api, webs) if webs else api
        return found

    def _backend(self, rows: list[dict[str, str]], name: str) -> Json:
        """Return one backend of `show stat`; raises Trouble where there is none of that name."""
        mine = [row for row in rows if row.get("pxname") == name]
        total = next((row for row in mine if row.get("svname") == "BACKEND"), None)
        if total is None:
            known = sorted({str(row["pxname"]) for row in rows if row.get("svname") == "BACKEND"})
            wanted = [*self.backend_names.values(), *(n for names in self.web_names.values() for n in names.values())]
            raise Trouble(
                "unknown-backend",
                EXIT_USAGE,
                f"HAProxy has no backend {name} (it has {', '.join(known) or 'none'})",
                f"the backends of edge.json: {', '.join(wanted)}",
                "apply the edge role, or mend 'backends' in edge.json",
            )
        servers = [read_server(row) for row in mine if row.get("svname") not in ("BACKEND", "FRONTEND")]
        return read_backend(name, total, servers)

    def info(self) -> Json:
        """Return version, pid and uptime of the running process: counters start again with it."""
        fields = dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if ": " in line)
        return {
            "version": fields.get("Version", ""),
            "pid": number(fields.get("Pid")),
            "uptime_s": number(fields.get("Uptime_sec")),
        }


def converse(path: str, command: str, timeout_s: float) -> str:
    """Send one command to a socket of HAProxy and return the whole answer; raises Unreachable."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)  # a master waits for more commands until it is told there are none
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
    except OSError as fault:
        raise Unreachable(f"{path}: {fault.strerror or fault}") from fault
    return b"".join(parts).decode(errors="replace")


def share_in(entries: list[tuple[str, str]]) -> int | None:
    """Return the share that a map's entries hold, None unless it is exactly one whole number."""
    if len(entries) != 1:
        return None
    value = entries[0][1]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def older_workers(listing: str) -> list[int]:
    """Return the pids under "old workers" in the master's `show proc`."""
    pids = []
    section = ""
    for line in listing.splitlines():
        if line.startswith("#"):
            section = line.strip("# ").lower()
        elif section == "old workers" and (pid := number(next(iter(line.split()), None))) > 0:
            pids.append(pid)
    return pids


def parse_stat(text: str) -> list[dict[str, str]]:
    """Return the rows of `show stat`."""
    lines = [line for line in text.splitlines() if line]
    if not lines or not lines[0].startswith("# "):
        return []
    names = lines[0][2:].split(",")
    return [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]


def number(text: str | None) -> int:
    """Return a counter; HAProxy leaves out those that do not apply."""
    digits = (text or "").removeprefix("-")
    return int(text or "") if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0


def read_server(row: dict[str, str]) -> Json:
    """Return one server. `up`: gets requests. `checked`: by a health check that has passed since HAProxy started."""
    status = row.get("status", "")
    check = row.get("check_status", "").removeprefix("* ")
    return {
        "name": row.get("svname", ""),
        "status": status,
        "check": check,
        "up": status.split(" ")[0] == "UP" or status == "no check",
        "checked": check in ("L4OK", "L6OK", "L7OK", "L7OKC"),
        "pending": check == "INI",
        "sessions": number(row.get("scur")),
    }


def read_backend(name: str, row: dict[str, str], servers: list[Json]) -> Json:
    """Return one backend: status, servers and the counters that a guard reads."""
    answers = {f"hrsp_{kind}": number(row.get(f"hrsp_{kind}")) for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")}
    return {
        "backend": name,
        "status": row.get("status", ""),
        "up": any(server["up"] for server in servers),
        "all_up": bool(servers) and all(server["up"] and server["checked"] for server in servers),
        "servers": servers,
        "requests": number(row.get("req_tot")),
        **answers,
        "econ": number(row.get("econ")),
        "eresp": number(row.get("eresp")),
        "retries": number(row.get("wretr")),
        "redispatches": number(row.get("wredis")),
        "sessions": number(row.get("scur")),
        "queue": number(row.get("qcur")),
    }


UNKNOWN = "has no such backend"
COUNTERS = (
    *("requests", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"),
    *("econ", "eresp", "retries", "redispatches", "sessions", "queue"),
)


def together(api: Json, webs: dict[str, Json]) -> Json:
    """Return a color as one: what the API's backend is, and those of its web processes, by name.

    It is up where each of them is, and counts what all of them count. A server of a web process is called
    `HOST/web-NAME`, and has its host and process as well.
    """
    every = [api, *webs.values()]
    servers = [
        {**server, "name": f"{server['name']}/web-{name}", "host": server["name"], "process": f"web-{name}"}
        for name, web in webs.items()
        for server in web["servers"]
    ]
    worst = next((one for one in every if not one["up"]), api)
    return {
        **api,
        "backend": worst["backend"],
        "status": worst["status"],
        "up": all(one["up"] for one in every),
        "all_up": all(one["all_up"] for one in every),
        "servers": [*api["servers"], *servers],
        **{key: sum(one[key] for one in every) for key in COUNTERS},
        "api_up": api["up"],
        "web": {
            name: {key: web[key] for key in ("backend", "up", *COUNTERS)}
            for name, web in webs.items()
            if web["status"] != UNKNOWN
        },
    }


def unknown_backend(name: str) -> Json:
    """Return what stands for a backend that the running HAProxy does not know."""
    server = read_server({"svname": "HAProxy", "status": f"{UNKNOWN} (ansible-playbook turnout.ops.site --tags edge)"})
    return read_backend(name, {"status": UNKNOWN}, [server])
