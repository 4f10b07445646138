"""A real HAProxy on loopback, configured by the role's own template, with two small services behind it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import jinja2
import yaml
from ansible_collections.turnout.ops.plugins.filter import edge as edge_filters
from ports import free_port
from turnout_edge.cli import answer_to

REPOSITORY = Path(__file__).parents[3]
ROLE = REPOSITORY / "roles" / "edge"
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(ROLE / 'files')!r}); "
    "from turnout_edge.cli import main; sys.exit(main(sys.argv[1:]))"
)


def system_python() -> str:
    """Return the oldest Python here that an edge may have: what the program must run on."""
    for candidate in ("/usr/bin/python3", sys.executable):
        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        if Path(candidate).exists() and subprocess.run([candidate, "-c", check], check=False).returncode == 0:
            return candidate
    raise AssertionError("no Python 3.11 or newer here; expected: the one that runs the tests")


class Service:
    """A small HTTP service that says its color."""

    def __init__(self, color: str) -> None:
        self.color = color
        self.healthy = True
        self.delay_s = 0.0
        self.closing = threading.Event()  # has what /hold streams end as their protocol does
        self.last_headers: dict[str, str] = {}
        self.asked_with: dict[str, str] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(length)
                if self.path == "/health":
                    service.asked_with = {name.lower(): value for name, value in self.headers.items()}
                    self.reply(200 if service.healthy else 500, b"")
                    return
                time.sleep(service.delay_s)
                service.last_headers = {name.lower(): value for name, value in self.headers.items()}
                if self.path.endswith("/fail"):
                    self.reply(500, b"")
                    return
                if self.path.endswith(("/cut", "/tunnel")):
                    self.leave(tunnel=self.path.endswith("/tunnel"))
                    return
                if "/hold/" in self.path:
                    self.hold(float(self.path.rpartition("/")[2]))
                    return
                if self.path.startswith("/stream"):
                    self.stream(int(self.path.split("/")[2]))
                    return
                self.reply(200, color.encode() + b" " + body)

            do_GET = do_POST = answer

            def chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def stream(self, tenths: int) -> None:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for _ in range(tenths):
                    self.wfile.write(f"{len(color):x}\r\n{color}\r\n".encode())
                    self.wfile.flush()
                    time.sleep(0.1)
                self.wfile.write(b"0\r\n\r\n")

            def hold(self, seconds: float) -> None:
                """Send one event, and another one as the last: after that time, or when it is told to close."""
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.event("open")
                closed = service.closing.wait(seconds)
                self.event("closed" if closed else "over")
                self.wfile.write(b"0\r\n\r\n")

            def leave(self, *, tunnel: bool) -> None:
                """Go away after a second, in the midst of an answer, or out of a tunnel, as a websocket has one."""
                self.send_response(101 if tunnel else 200)
                self.send_header(*(("Upgrade", "chat") if tunnel else ("Transfer-Encoding", "chunked")))
                if tunnel:
                    self.send_header("Connection", "Upgrade")
                self.end_headers()
                if tunnel:
                    self.wfile.write(b"hello")
                    self.wfile.flush()
                else:
                    self.event("open")
                time.sleep(1)
                self.close_connection = True

            def event(self, name: str) -> None:
                text = f"data: {name} {service.color}\n\n"
                self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
                self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # HAProxy went away; what a client sees is what counts

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class RealEdge:
    """One edge: HAProxy, turnout-edge with its files, and the services of both colors."""

    def __init__(self, folder: Path, web: dict[str, dict[str, Any]] | None = None, **variables: Any) -> None:
        """`web` has, by name, what a service file says of a web process, but for its ports."""
        self.folder = folder
        self.web = {name: {color: Service(f"{color}-{name}") for color in ("blue", "green")} for name in web or {}}
        self.web_keys = {
            name: {
                "health": {"path": "/health"},
                **keys,
                "ports": {color: each.port for color, each in self.web[name].items()},
            }
            for name, keys in (web or {}).items()
        }
        self.port, self.metrics_port = free_port(), free_port()
        self.services = {color: Service(color) for color in ("blue", "green")}
        self.map = folder / "share.map"
        self.map.write_text("green 0\n")
        self.config = folder / "edge.json"
        self.state_dir = folder / "state"
        self.state_dir.mkdir(mode=0o700)
        self.haproxy_cfg = folder / "haproxy.cfg"
        self.haproxy_cfg.write_text(self.render(variables))
        self.config.write_text(
            json.dumps(
                {
                    "service": "sample",
                    "socket": str(folder / "admin.sock"),
                    "master_socket": str(folder / "master.sock"),
                    "map": str(self.map),
                    "backends": {"blue": "sample-blue", "green": "sample-green"},
                    "state_dir": str(self.state_dir),
                    "require_watch": False,
                    **({"web": edge_filters.web_backends({"name": "sample", "web": self.web_keys})} if web else {}),
                }
            )
        )
        self.python = system_python()
        self.haproxy: subprocess.Popen[bytes] | None = None
        self.children: list[subprocess.Popen[Any]] = []

    def render(self, variables: dict[str, Any], template: str = "haproxy.cfg.j2") -> str:
        """Return the role's haproxy.cfg, without what only a system service may do (user, chroot, log)."""
        defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
        service = {
            "name": "sample",
            "api": {
                "ports": {color: each.port for color, each in self.services.items()},
                "health": {"path": "/health", "status": 200},
            },
            "bucket": {"header": "Authorization"},
            "web": self.web_keys,
        }
        values = {
            **defaults,
            "edge_service": service,
            "edge_addresses": ["127.0.0.1"],
            "edge_http_port": self.port,
            "edge_metrics_port": self.metrics_port,
            "edge_metrics_addresses": ["127.0.0.1"],
            "edge_haproxy_socket": str(self.folder / "admin.sock"),
            "edge_map_file": str(self.map),
            "edge_backends": {"blue": "sample-blue", "green": "sample-green"},
            "edge_timeout_client_s": 60,
            "edge_timeout_server_s": 60,
            "edge_check_interval_ms": 100,
            "edge_check_host": "localhost",
            "edge_check_headers": {},
            "edge_maxconn": 400,
            "edge_show_color": True,
            "edge_extra_global": "nbthread 2",
            "edge_latency_dir": str(self.folder),
            "edge_latency_bounds": ["0.01", "0.3", "1"],
            "groups": {"api": ["app1"]},
            "hostvars": {"app1": {"ansible_host": "127.0.0.1"}},
            "inventory_hostname": "edge1",
            "edge_limits": edge_filters.edge_limits(variables.get("limits")),
            **variables,
        }
        values["edge_counts"] = values["edge_latency"] and values["edge_manage_haproxy"]
        environment = jinja2.Environment(  # noqa: S701 - this is no HTML
            loader=jinja2.FileSystemLoader(ROLE / "templates"),
            trim_blocks=True,
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
        )
        filters = edge_filters.FilterModule().filters()
        environment.filters.update({f"turnout.ops.{name}": function for name, function in filters.items()})
        text = environment.get_template(template).render(values)
        unwanted = ("    chroot ", "    user ", "    group ", "    log /dev/log", "    log global")
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(unwanted))

    def start(self) -> None:
        """Start HAProxy as its systemd unit does, and wait until it has looked at its servers."""
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        if not Path(program).exists():
            raise AssertionError("haproxy is not installed; expected: the real one; to mend: make setup")
        (self.folder / "master.sock").unlink(missing_ok=True)
        words = [program, "-W", "-f", str(self.haproxy_cfg), "-S", str(self.folder / "master.sock")]
        self.haproxy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for(self.backends_checked, "HAProxy's first health checks")

    def backends_checked(self) -> bool:
        """Tell whether HAProxy answers and has checked every server."""
        assert self.haproxy is not None
        assert self.haproxy.poll() is None, f"HAProxy ended at once: haproxy -c -f {self.haproxy_cfg}"
        backends = self.ask("show").get("backends") or {}
        return bool(backends) and not any(s["pending"] for b in backends.values() for s in b["servers"])

    def reload(self) -> None:
        """Reload HAProxy as systemd does, and wait for the new process."""
        assert self.haproxy is not None
        before = self.ask("show")["haproxy"]["pid"]
        self.haproxy.send_signal(signal.SIGUSR2)
        self.wait_for(
            lambda: (self.ask("show").get("haproxy") or {}).get("pid", before) != before and self.backends_checked(),
            "the new HAProxy",
        )

    def kill_haproxy(self) -> None:
        """Kill HAProxy, master and workers, as a crash would."""
        assert self.haproxy is not None
        workers = Path(f"/proc/{self.haproxy.pid}/task/{self.haproxy.pid}/children").read_text().split()
        self.haproxy.kill()
        self.haproxy.wait()
        for worker in workers:
            try:
                os.kill(int(worker), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.haproxy = None
        self.wait_for(lambda: self.ask("show").get("backends") is None, "HAProxy's end")

    def stop(self) -> None:
        """Stop everything."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        if self.haproxy is not None:
            self.haproxy.terminate()
            try:
                self.haproxy.wait(10)
            except subprocess.TimeoutExpired:
                self.kill_haproxy()
        for service in (*self.services.values(), *(one for web in self.web.values() for one in web.values())):
            service.stop()

    @staticmethod
    def wait_for(condition: Any, what: str, limit_s: float = 20) -> float:
        """Wait until a condition holds; return the seconds it took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < limit_s, f"no sign of {what} within {limit_s} s"
            time.sleep(0.02)
        return time.monotonic() - started

    def words(self) -> list[str]:
        """Return how turnout-edge is started here."""
        return [self.python, "-I", "-S", "-c", PROGRAM, "--config", str(self.config)]

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start turnout-edge as a process of its own."""
        command = [*self.words(), *words]
        environment = {**os.environ, **options.pop("env", {})}
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
        )
        self.children.append(child)
        return child

    def call(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Run turnout-edge; return exit code, answer and what it said."""
        child = self.popen(*words)
        out, err = child.communicate(timeout=60)
        assert "Traceback" not in err + out
        return child.returncode, json.loads(out), err

    def ask(self, *words: str) -> dict[str, Any]:
        """Run turnout-edge inside this process, which is quicker; return its answer."""
        return answer_to([*words, "--config", str(self.config)])[1]

    def do(self, *words: str) -> dict[str, Any]:
        """Run turnout-edge; it must succeed."""
        code, answer, err = self.call(*words)
        assert code == 0, err
        return answer

    def release(self, version: str) -> str:
        """Return a release record as an option's value."""
        return json.dumps({"release": version, "complete": True, "schema": {"min": 0, "max": 5}})

    def bring_up(self) -> None:
        """Make blue stable and green the candidate, held by run A."""
        self.do("lock", "take", "--run", "A", "--purpose", "deploy", "--ttl-s", "600")
        self.do("prepare", "--run", "A", "--color", "blue", "--release", self.release("1.0.0"))
        self.do("move", "--run", "A", "--share-bp", "10000")
        self.do("ready", "--run", "A", "--color", "blue")
        self.do("confirm", "--run", "A")
        self.do("commit", "--run", "A")
        self.do("prepare", "--run", "A", "--color", "green", "--release", self.release("1.1.0"))

    def get(self, path: str = "/", user: str | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Ask through HAProxy on a connection of its own; return status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            return self.get_on(connection, path, user, **headers)
        finally:
            connection.close()

    @staticmethod
    def get_on(
        connection: http.client.HTTPConnection, path: str = "/", user: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Ask through HAProxy on a given connection."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            given["Authorization"] = user
        connection.request("GET", path, headers=given)
        response = connection.getresponse()
        return response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()}


class Threads:
    """Threads that run for the time of a block, until `stopping` is set."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Load(Threads):
    """Requests without pause: two keep-alive connections and one that connects anew, GET and POST."""

    def __init__(self, edge: RealEdge) -> None:
        super().__init__()
        self.edge = edge
        self.answers: list[tuple[float, str]] = []  # when each was asked for, and who answered
        self.failures: list[str] = []
        self.threads = [
            threading.Thread(target=self.run, args=(keep, method))
            for keep in (True, False)
            for method in ("GET", "POST")
        ]

    def run(self, keep: bool, method: str) -> None:
        connection = None
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=20)
                body = b"x" * 2000 if method == "POST" else None
                sent = time.monotonic()
                connection.request(method, "/", body=body, headers={"Authorization": f"{method}{keep}{number % 50}"})
                response = connection.getresponse()
                text = response.read().decode()
                if response.status != 200:
                    self.failures.append(f"{response.status} {text}")
                self.answers.append((sent, text.split(" ")[0]))
                if not keep or response.will_close:
                    connection.close()
                    connection = None
            except OSError as fault:
                self.failures.append(repr(fault))
                connection = None
            except http.client.HTTPException as fault:
                self.failures.append(repr(fault))
                connection = None
