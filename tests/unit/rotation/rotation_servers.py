"""A real PostgreSQL and a real Redis for tests of rotations, and clients that connect to them at a rate."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from ports import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), Path("/none")).parent
REDIS = Path(sys.executable).parent / "redis-server"


@contextlib.contextmanager
def postgres() -> Iterator[tuple[Path, int]]:
    """Run a server whose socket lets in its superuser, and whose port asks for a password; yield (data, port)."""
    assert BIN.exists(), "there is no PostgreSQL; expected: Debian's; to mend: apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="turnout-rotation-", dir="/tmp"))
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    sockets = Path("/var/run/postgresql")
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        if not sockets.exists():
            sockets.mkdir()
            shutil.chown(sockets, "postgres")
    data, port = folder / "data", free_port()
    words = ["-A", "peer", "--auth-host=scram-sha-256", "--no-sync", "-U", "postgres"]
    subprocess.run([*as_user, BIN / "initdb", "-D", data, *words], check=True, capture_output=True, cwd="/")
    listen = ["-h", "127.0.0.1", "-k", f"{sockets},{folder}", "-F", "-c", "log_statement=all"]
    log = (folder / "log").open("ab")
    server = subprocess.Popen(
        [*as_user, BIN / "postgres", "-D", data, "-p", str(port), *listen], stdout=log, stderr=log, cwd="/"
    )
    try:
        until = time.monotonic() + 30
        while subprocess.run([BIN / "pg_isready", "-q", "-h", folder, "-p", str(port)], check=False).returncode:
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.1)
        yield data, port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


class RedisServer:
    """A Redis with these lines in its configuration, restarted at will."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port, self.folder = free_port(), folder
        self.file = folder / "redis.conf"
        self.file.write_text("".join(f"{line}\n" for line in (f"port {self.port}", 'save ""', f"dir {folder}", *lines)))
        self.start()

    def start(self) -> None:
        self.log = (self.folder / "log").open("ab")
        self.running = subprocess.Popen([REDIS, self.file], stdout=self.log, stderr=self.log)
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client().ping()
                return
            assert time.monotonic() < until
            assert self.running.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def client(self, user: str | None = None, password: str | None = None) -> redis.Redis:
        return redis.Redis(port=self.port, username=user, password=password, retry=Retry(NoBackoff(), 0))

    def stop(self) -> None:
        self.running.terminate()
        self.running.wait(10)


Credential = tuple[str, str]


class Clients:
    """Connects all the time, at a rate, by what is in service at that moment; keeps what failed.

    A release lets requests that began with the old login end before the old one is closed. So one that failed while the
    login in service changed under it is none that failed with the login in service.
    """

    def __init__(self, serving: list[Credential], once: Callable[[Credential], object], rate: float) -> None:
        self._serving, self._once, self._pause_s = serving, once, 1 / rate
        self._end = threading.Event()
        self.done, self.failed = 0, list[str]()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]

    def __enter__(self) -> Clients:
        for one in self._threads:
            one.start()
        return self

    def _run(self) -> None:
        while not self._end.wait(self._pause_s * len(self._threads)):
            login = self._serving[0]
            try:
                self._once(login)
            except Exception as error:
                if self._serving[0] == login:
                    self.failed.append(f"{type(error).__name__}: {error}")
            self.done += 1

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for one in self._threads:
            one.join()
