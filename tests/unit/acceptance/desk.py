"""A small API over orders that change: webhooks, jobs of a worker, states, limits; and what each mutant does wrong.

Its data lies in a SQLite file, so that the worker is a process of its own, which SIGKILL ends:
`python desk.py FILE MUTANT`. One server serves all tests: `desk.mutants` are those of the moment.
"""

from __future__ import annotations

import calendar
import hmac
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, nullcontext, suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

with suppress(ModuleNotFoundError):  # the worker needs none
    import redis

MOST = 100_000
SECRET = "whsec-of-a-test"
TABLES = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, owner TEXT, state TEXT DEFAULT 'open', note TEXT, place TEXT);
CREATE TABLE events (id TEXT PRIMARY KEY);
CREATE TABLE payments (event TEXT, order_id INTEGER, at INTEGER);
CREATE TABLE jobs (id INTEGER PRIMARY KEY, mail TEXT, taken INTEGER DEFAULT 0);
CREATE TABLE begun (mail TEXT);
CREATE TABLE mails (mail TEXT, part INTEGER);
"""

SET_PLACE = "UPDATE orders SET place = ? WHERE id = ?"
TABLE = {
    ("open", "complete"): "done",
    ("open", "cancel"): "canceled",
    ("done", "reopen"): "open",
    ("done", "archive"): "archived",
    ("canceled", "uncancel"): "open",
}


class Refused(Exception):
    def __init__(self, status: int, text: str = "refused") -> None:
        super().__init__(text)
        self.status = status


def connected(file: str) -> sqlite3.Connection:
    """Open the database; each statement is its own transaction."""
    return sqlite3.connect(file, timeout=20, isolation_level=None)


# The worker ----------------------------------------------------------------------------------------------------------


MIDDLE_S = 2.0  # how long a faulty worker stays between a job's effect and its end: a kill must meet it there


def work(file: str, mutant: str) -> None:
    """Take one job after the other; a job that was taken and not ended is taken again, as of a dead worker."""
    with closing(connected(file)) as db:
        while True:
            row = db.execute("SELECT id, mail FROM jobs ORDER BY id LIMIT 1").fetchone()
            if row is None:
                time.sleep(0.01)
                continue
            if mutant == "job not safe under kill":
                db.execute("INSERT INTO mails VALUES (?, 1)", (row[1],))
                time.sleep(MIDDLE_S)
                db.execute("DELETE FROM jobs WHERE id = ?", (row[0],))
                continue
            if mutant == "job lost under kill":
                db.execute("DELETE FROM jobs WHERE id = ?", (row[0],))
                db.execute("INSERT INTO begun VALUES (?)", (row[1],))
                time.sleep(MIDDLE_S)
                db.execute(
                    "INSERT INTO mails SELECT ?, 1 WHERE NOT EXISTS (SELECT 1 FROM mails WHERE mail = ?)", (row[1],) * 2
                )
                continue
            time.sleep(0.05)
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO mails SELECT ?, 1 WHERE NOT EXISTS (SELECT 1 FROM mails WHERE mail = ?)", (row[1],) * 2
            )
            db.execute("DELETE FROM jobs WHERE id = ?", (row[0],))
            db.execute("COMMIT")


class Worker:
    """The worker's process; `kill` is the command that kills it and starts it anew."""

    def __init__(self, folder: Path, file: str) -> None:
        self.pid = folder / "worker.pid"
        self.file = file
        self.kill = ""

    def start(self, mutant: str = "") -> None:
        new = f"{sys.executable} -S -E {Path(__file__)} {self.file} '{mutant}' </dev/null >/dev/null 2>&1"
        script = self.pid.with_name("kill.sh")
        script.write_text(f"[ ! -e {self.pid} ] || kill -9 $(cat {self.pid})\n{new} &\necho $! > {self.pid}\n")
        self.kill = f"sh {script}"
        subprocess.run(self.kill.split(), check=True)

    def stop(self) -> None:
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int(self.pid.read_text()), signal.SIGKILL)


# The API -------------------------------------------------------------------------------------------------------------


class Desk(ThreadingHTTPServer):
    """The application."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, file: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = file
        self.mutants: frozenset[str] = frozenset()
        self.lock = threading.Lock()
        self.deadline_s = 3.0
        self.log = Path(file).with_name("desk.log")
        self.wrong: Counter[str] = Counter()
        self.cache: Any = None
        self.stopped_before = False
        self.database: Any = None
        self.tokens: dict[str, str] = {}
        with closing(connected(file)) as db:
            db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {TABLES}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Desk

    def handle_one_request(self) -> None:
        """End a request that takes too long to come."""
        self.rfile.peek(1)
        self.deadline = threading.Timer(self.server.deadline_s, self.cut)
        if not self.has("slow requests stay"):
            self.deadline.start()
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):
            self.close_connection = True
        finally:
            self.deadline.cancel()

    def cut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length", "0"))
        chunks = "chunked" in self.headers.get("Transfer-Encoding", "")
        if length > MOST and not self.has("bodies without limit"):
            self.close_connection = True
            raise Refused(413, "too large")
        data = b""
        while chunks and (size := int(self.rfile.readline(), 16)):
            data += self.rfile.read(size)
            self.rfile.readline()
            if len(data) > MOST and not self.has("chunked bodies without limit"):
                self.close_connection = True
                raise Refused(413, "too large")
        return data or self.rfile.read(length)

    def log_message(self, format: str, *args: object) -> None: ...

    def has(self, mutant: str) -> bool:
        return mutant in self.server.mutants

    def reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self) -> None:
        try:
            with closing(connected(self.server.file)) as db:
                self.db = db
                with self.server.lock if self.has("one at a time") else nullcontext():
                    self.data = self.read_body()
                    self.deadline.cancel()
                    self.reply(200, self.route())
        except Refused as refused:
            self.reply(refused.status, {"error": str(refused)})
        except sqlite3.Error as error:
            self.reply(500, {"error": str(error)})

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one

    def route(self) -> Any:
        url = urlsplit(self.path)
        self.query = {name: one[0] for name, one in parse_qs(url.query).items()}
        asked = f"{self.command} {url.path}"
        if order := re.fullmatch(r"/orders/(\d+)(?:/(\w+))?", url.path):
            return self.order(int(order[1]), order[2])
        known = {
            "GET /health": lambda: {"status": "ok"},
            "POST /login": self.login,
            "GET /cached": self.cached,
            "GET /today": self.today,
            "POST /reset": self.reset,
            "POST /orders": self.create,
            "GET /orders": lambda: self.rows("SELECT id FROM orders WHERE owner = ?", self.account()),
            "POST /webhooks/payment": self.payment,
            "POST /webhooks/moved": self.moved,
            "GET /payments": lambda: self.rows("SELECT event FROM payments WHERE event = ?", self.query["event"]),
            "POST /mails": self.mail,
            "GET /mails": lambda: self.rows("SELECT mail FROM mails WHERE mail = ?", self.query["mail"]),
        }
        if asked not in known:
            raise Refused(404, "no such path")
        return known[asked]()

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.db.execute(sql, values)]

    def body(self) -> dict[str, Any]:
        try:
            value = json.loads(self.data)
        except ValueError:
            if self.has("broken JSON is taken"):
                return {"password": "", "name": ""}
            if self.has("broken JSON crashes"):
                raise Refused(500, "internal error") from None
            shown = f": {self.data!r}" if self.has("error shows a password") else ""
            raise Refused(400, f"no JSON{shown}") from None
        except RecursionError:
            raise Refused(500 if self.has("deep JSON crashes") else 400, "no JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "no object")
        return value

    def account(self) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.server.tokens:
            raise Refused(401, "log in first")
        return self.server.tokens[token]

    def login(self) -> Any:
        value = self.body()
        with self.server.log.open("a") as log:
            log.write(f"login {value if self.has('password in a log') else ''}\n")
        name = value.get("name", "")
        if self.server.wrong[name] >= 10 and not self.has("passwords without limit"):
            raise Refused(429, "too many")
        if value.get("password") != f"password-of-{name}":
            self.server.wrong[name] += 1
            raise Refused(401, "wrong password")
        token = secrets.token_urlsafe(24)
        self.server.tokens[token] = name
        return {"token": token}

    def reset(self) -> Any:
        name = f"reset {self.body()['name']}"
        self.server.wrong[name] += 1
        if self.server.wrong[name] > 10 and not self.has("resets without limit"):
            raise Refused(429, "too many")
        return {}

    def create(self) -> Any:
        made = self.db.execute("INSERT INTO orders (owner) VALUES (?)", (self.account(),))
        return {"id": made.lastrowid, "state": "open"}

    def order(self, number: int, verb: str | None) -> Any:
        row = self.db.execute("SELECT id, state, note, place FROM orders WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise Refused(404, "no such order")
        order = dict(zip(("id", "state", "note", "place"), row, strict=True))
        if self.command == "PATCH":
            return self.change(number, order)
        return order if verb is None else self.act(number, order["state"], verb)

    def act(self, number: int, state: str, verb: str) -> Any:
        """Change a state by the table; each mutant breaks it in its way."""
        table = dict(TABLE)
        if self.has("reopened after archive"):
            table["archived", "reopen"] = "open"
        if self.has("completed cannot be reopened"):
            del table["done", "reopen"]
        if (state, verb) not in table:
            if self.has("refused and done") and verb == "complete":
                self.set_state(number, "done")
            raise Refused(500 if self.has("forbidden crashes") else 409, f"no {verb} of what is {state}")
        to = table[state, verb]
        if self.has("reopens as canceled") and (state, verb) == ("done", "reopen"):
            to = "canceled"
        self.db.execute("INSERT INTO begun VALUES (?)", (f"{number} {verb}",))
        times = self.rows("SELECT count(*) FROM begun WHERE mail = ?", f"{number} cancel")[0]
        if self.has("second cancel is lost") and verb == "cancel" and times > 1:
            return {}
        self.set_state(number, to)
        return {}

    def set_state(self, number: int, state: str) -> None:
        self.db.execute("UPDATE orders SET state = ? WHERE id = ?", (state, number))

    def change(self, number: int, order: dict[str, Any]) -> Any:
        """Change the fields that are given; a mutant writes the whole row, as it was read before."""
        value = self.body()
        if self.has("update lost"):
            time.sleep(0.1)
            value = {"note": order["note"], "place": order["place"], **value}
        for name, sql in (("note", "UPDATE orders SET note = ? WHERE id = ?"), ("place", SET_PLACE)):
            if name in value:
                self.db.execute(sql, (value[name], number))
        return {}

    def cached(self) -> Any:
        """What a cache holds, and the database without it."""
        if self.has("cache is needed") and self.server.stopped_before:
            raise Refused(500, "no cache")
        try:
            if self.server.cache.get("value"):
                return {}
            if self.has("slow without a cache"):
                time.sleep(4)
            self.server.cache.set("value", 1)
        except redis.ConnectionError:
            if self.has("no answer without a cache"):
                raise Refused(500, "internal error") from None
            self.server.stopped_before = True
            raise Refused(503, "later") from None
        return {}

    def today(self) -> Any:
        """What day it is in a zone, and the same day of the next month."""
        now = datetime.fromisoformat(self.headers["X-Clock"])
        zone = ZoneInfo(self.headers["X-Zone"])
        local = now if self.has("midnight in UTC") else now.astimezone(zone)
        tomorrow = local + timedelta(days=1)
        if self.has("a day is 24 hours"):
            tomorrow = (now + timedelta(hours=24)).astimezone(zone)
        elif self.has("standard time all year"):
            january = datetime(2028, 1, 1, tzinfo=zone).utcoffset() or timedelta()
            local = now.astimezone(timezone(january))
            tomorrow = local + timedelta(days=1)
        month, year = local.month % 12 + 1, local.year + local.month // 12
        day = min(local.day, calendar.monthrange(year, month)[1])
        if self.has("29 February crashes") and (local.month, local.day) == (2, 29):
            raise Refused(500, "internal error")
        return {"date": f"{local:%F}", "tomorrow": f"{tomorrow:%F}", "next_month": f"{year}-{month:02}-{day:02}"}

    # Webhooks and jobs -----------------------------------------------------------------------------------------------

    def signed(self) -> None:
        wanted = hmac.new(SECRET.encode(), self.data, "sha256").hexdigest()
        given = self.headers.get("X-Signature", "")
        if self.has("body is not signed"):
            wanted = given.removeprefix("sha256=") if len(given) == 71 else wanted
        if given != f"sha256={wanted}" and not (self.has("signature not needed") and not given):
            raise Refused(401, "wrong signature")

    def payment(self) -> Any:
        self.signed()
        value = self.body()
        if self.has("webhook counts twice"):
            self.db.execute("INSERT INTO payments VALUES (?, ?, 0)", (value["event"], value["order"]))
        elif self.has("webhook counts twice at once"):
            known = self.rows("SELECT 1 FROM payments WHERE event = ?", value["event"])
            time.sleep(0.05)
            if not known:
                self.db.execute("INSERT INTO payments VALUES (?, ?, 0)", (value["event"], value["order"]))
        elif self.has("second webhook crashes"):
            self.db.execute("INSERT INTO events VALUES (?)", (value["event"],))
            self.db.execute("INSERT INTO payments VALUES (?, ?, 0)", (value["event"], value["order"]))
        elif self.has("webhook without effect"):
            pass
        else:
            times = 2 if self.has("webhook counts double") else 1
            if self.db.execute("INSERT OR IGNORE INTO events VALUES (?)", (value["event"],)).rowcount:
                if self.server.database is not None:
                    self.server.database.execute("INSERT INTO payments VALUES (%s)", (value["event"],))
                for _ in range(times):
                    self.db.execute("INSERT INTO payments VALUES (?, ?, 0)", (value["event"], value["order"]))
        return {}

    def moved(self) -> Any:
        """A parcel was at a place at some time: an older message that comes later changes nothing."""
        value = self.body()
        self.db.execute("BEGIN IMMEDIATE")
        if self.db.execute("INSERT OR IGNORE INTO events VALUES (?)", (f"{value['event']}{value['at']}",)).rowcount:
            newest = self.rows("SELECT max(at) FROM payments WHERE event = ?", value["event"])[0] or 0
            if value["at"] > newest or self.has("older webhook wins"):
                self.db.execute("UPDATE orders SET place = ? WHERE id = ?", (value["place"], value["order"]))
            self.db.execute("INSERT INTO payments VALUES (?, ?, ?)", (value["event"], value["order"], value["at"]))
        self.db.execute("COMMIT")
        return {}

    def mail(self) -> Any:
        value = self.body()
        if self.has("job enqueued twice"):
            self.db.execute("INSERT INTO mails VALUES (?, 1)", (value["mail"],))
        elif self.db.execute("INSERT OR IGNORE INTO events VALUES (?)", (value["mail"],)).rowcount:
            self.db.execute("INSERT INTO jobs (mail) VALUES (?)", (value["mail"],))
            begun = {"job not safe under kill": "SELECT 1 FROM mails WHERE mail = ?"}
            begun["job lost under kill"] = "SELECT 1 FROM begun WHERE mail = ?"
            for mutant in self.server.mutants & begun.keys():  # a kill that follows the answer must meet the job
                while not self.rows(begun[mutant], value["mail"]):
                    time.sleep(0.01)
        return {}


# What it declares ----------------------------------------------------------------------------------------------------

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "orders", "version": "1"},
    "paths": {"/health": {"get": {"responses": {"200": {"description": "ok"}}}}},
}
HEAD: dict[str, Any] = {
    "accounts": {
        "a": {"name": "ada", "password": "password-of-ada"},
        "b": {"name": "bob", "password": "password-of-bob"},
        "steps": [
            {
                "request": "POST /login",
                "json": {"name": "${name}", "password": "${password}"},
                "capture": {"token": "/token"},
            }
        ],
        "headers": {"Authorization": "Bearer ${token}"},
    },
    "objects": [{"request": "POST /orders", "json": {"text": "${mark}"}, "capture": {"order_id": "/id"}}],
}
SIGNED = {"header": "X-Signature", "secret": SECRET, "text": "sha256=${signature}"}
QUICK = {"within_seconds": 20, "watch_seconds": 0.1, "kill_seconds": [0]}
PAYMENT = {
    "name": "payment",
    "send": [
        {
            "request": "POST /webhooks/payment",
            "json": {"event": "${unique}", "order": "${order_id}"},
            "signed": SIGNED,
        }
    ],
    "count": {"request": "GET /payments?event=${unique}"},
    **QUICK,
}
MOVED = {
    "name": "parcel",
    "send": [
        {
            "request": "POST /webhooks/moved",
            "json": {"event": "${unique}", "order": "${order_id}", "at": at, "place": place},
        }
        for at, place in ((1, "depot"), (2, "door"))
    ],
    "count": {"request": "GET /payments?event=${unique}"},
    "effect": 2,
    "leaves": {"request": "GET /orders/${order_id}", "at": "/place"},
    **QUICK,
}
MAIL = {
    "name": "mail",
    "account": True,
    "send": [{"request": "POST /mails", "json": {"mail": "${unique}"}}],
    "count": {"request": "GET /mails?mail=${unique}"},
    **QUICK,
}
ABUSE = {
    "honest": {"request": "GET /orders", "within_seconds": 20},  # less than that is for a mutant to fail
    "bodies": [{"request": "POST /orders", "account": True, "json": {"text": "x"}, "bytes": 1_000_000}],
    "headers": [{"request": "GET /health"}],
    "slow": [{"request": "POST /orders", "account": True, "json": {"text": "x"}, "seconds": 20, "connections": 2}],
    "malformed": [{"request": "POST /login", "json": {"name": "${name}", "password": "${password}"}}],
    "tries": [
        {"request": "POST /login", "json": {"name": "victim${order_id}", "password": "wrong-${unique}"}, "times": 30},
        {"request": "POST /reset", "json": {"name": "victim${order_id}"}, "times": 30},
    ],
    "canaries": {"password": "${password}"},
}
STATES = ("open", "done", "canceled", "archived")
CYCLE = {
    "name": "order",
    "begin": "open",
    "read": {"request": "GET /orders/${order_id}", "at": "/state"},
    "operations": {
        verb: {"request": f"POST /orders/${{order_id}}/{verb}"}
        for verb in ("complete", "cancel", "reopen", "archive", "uncancel")
    },
    "allowed": {state: {verb: to for (at, verb), to in TABLE.items() if at == state} for state in STATES},
    "walks": 4,
    "steps": 8,
}
TOGETHER = {
    "name": "note and place",
    "writes": [
        {
            "request": "PATCH /orders/${order_id}",
            "json": {name: f"{name} ${{unique}}"},
            "leaves": [{"at": f"/{name}", "equals": f"{name} ${{unique}}"}],
        }
        for name in ("note", "place")
    ],
    "read": {"request": "GET /orders/${order_id}"},
    "rounds": 4,
}
CLOCK = {
    "header": "X-Clock",
    "zones": ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"],
    "asks": [
        {"request": "GET /today", "headers": {"X-Zone": "${zone}"}, "at": f"/{name}", "equals": f"${{{name}}}"}
        for name in ("date", "tomorrow", "next_month")
    ],
}


def declaration(pack: str, **parts: Any) -> dict[str, Any]:
    """The declaration of one pack."""
    return {"packs": [pack], **HEAD, **parts}


if __name__ == "__main__":
    work(*sys.argv[1:])
