"""A small API over tasks of accounts, sound by its document, and everything that a mutant of it does wrong.

A server takes the names of its mutants; `document` and `stable` give the documents that go with them.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STATES = ["open", "done", "dropped"]
TASK = {
    "type": "object",
    "required": ["id", "title", "state"],
    "properties": {
        "id": {"type": "integer"},
        "title": {"type": "string"},
        "state": {"type": "string", "enum": STATES},
        "note": {"type": ["string", "null"]},
    },
}
WRITTEN = {
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 200},
        "state": {"type": "string", "enum": STATES},
        "note": {"type": "string"},
    },
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
CREDENTIALS = {
    "type": "object",
    "required": ["name", "password"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 80},
        "password": {"type": "string", "minLength": 8, "maxLength": 80},
    },
}
POSTED = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 99}, "about": {"type": "integer"}},
}
ROUTES = ["GET /debug"]


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def answers(**known: dict[str, Any] | None) -> dict[str, Any]:
    return {
        number.removeprefix("_"): {"description": "", **(body(one) if one else {})} for number, one in known.items()
    }


def only(name: str, kind: str) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": kind}}}


REF = {"$ref": "#/components/schemas/Task"}


def document(mutants: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The document that a release with these mutants carries."""
    bearer = {"security": [{"bearer": []}]}
    created = answers(_201=REF, _400=ERROR, _401=ERROR)
    created["201"]["headers"] = {"Location": {"required": True, "schema": {"type": "string"}}}
    listed = {"type": "object", "required": ["tasks"], "properties": {"tasks": {"type": "array", "items": REF}}}
    write = {"required": True, **body({"$ref": "#/components/schemas/Written"})}
    credentials = {"required": True, **body(CREDENTIALS)}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "tasks", "version": "1"},
        "servers": [{"url": "https://api.example.com/api"}],
        "paths": {
            "/health": {"get": {"responses": answers(_200={"type": "object"})}},
            "/accounts": {
                "post": {
                    "requestBody": credentials,
                    "responses": answers(
                        _201=only("account_id", "integer"),
                        _400=ERROR, _409=ERROR,
                    ),
                }
            },
            "/login": {
                "post": {
                    "requestBody": credentials,
                    "responses": answers(
                        _200=only("token", "string"),
                        _400=ERROR, _401=ERROR,
                    ),
                }
            },
            "/tasks": {
                "get": {
                    **bearer,
                    "parameters": [
                        {"in": "query", "name": "state", "schema": {"type": "string", "enum": STATES}},
                        {"in": "query", "name": "owner", "schema": {"type": "integer", "minimum": 0}},
                    ],
                    "responses": answers(_200=listed, _400=ERROR, _401=ERROR),
                },
                "post": {**bearer, "requestBody": write, "responses": created},
            },
            "/board": {  # what somebody without an account posts is shown to all who have none
                "get": {
                    "security": [{}, {"bearer": []}],
                    "responses": answers(_200={"type": "array", "items": POSTED}, _401=ERROR),
                },
                "post": {
                    "security": [{}, {"bearer": []}],
                    "requestBody": {"required": True, **body(POSTED)},
                    "responses": answers(_201=None, _400=ERROR, _401=ERROR),
                },
            },
            "/tasks/{task_id}": {
                "parameters": [{"in": "path", "name": "task_id", "required": True, "schema": {"type": "integer"}}],
                "get": {**bearer, "responses": answers(_200=REF, _401=ERROR, _404=ERROR)},
                "patch": {
                    **bearer,
                    "requestBody": write,
                    "responses": answers(_200=REF, _400=ERROR, _401=ERROR, _404=ERROR),
                },
                "delete": {**bearer, "responses": answers(_204=None, _401=ERROR, _404=ERROR)},
            },
            "/tasks/{task_id}/document": {
                "parameters": [{"in": "path", "name": "task_id", "required": True, "schema": {"type": "integer"}}],
                "get": {
                    **bearer,
                    "responses": {
                        **answers(_401=ERROR, _404=ERROR),
                        "200": {"description": "", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    },
                },
            },
        },
        "components": {
            "schemas": {"Task": TASK, "Written": WRITTEN},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip
    made = json.loads(json.dumps(made))
    task, written = made["components"]["schemas"]["Task"], made["components"]["schemas"]["Written"]
    paths = made["paths"]
    if "field removed" in mutants:
        del task["properties"]["note"]
    if "enum narrowed" in mutants:
        written["properties"]["state"]["enum"] = ["open", "done"]
    if "request field required" in mutants:
        written["properties"]["list"] = {"type": "string", "minLength": 1}
        written["required"].append("list")
    if "operation removed" in mutants:
        del paths["/tasks/{task_id}/document"]
    if "query required" in mutants:
        paths["/tasks"]["get"]["parameters"][0]["required"] = True
    if "field retyped" in mutants:
        task["properties"]["id"] = {"type": "string"}
    if "account wanted" in mutants:
        paths["/health"]["get"] |= {"security": [{"bearer": []}], "responses": answers(_200={}, _401=ERROR)}
    if "success renumbered" in mutants:
        paths["/tasks/{task_id}"]["delete"]["responses"] = answers(_200={"type": "object"}, _401=ERROR, _404=ERROR)
    return made


def stable() -> dict[str, Any]:
    """The document of the release in service."""
    return document()


def declaration(mutants: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The packs of the release."""
    extra = {"list": "home"} if "request field required" in mutants else {}
    step = {"json": {"name": "${account}-${unique}", "password": "${password}"}}
    return {
        "packs": ["contract", "compatible", "access"],
        "document": "openapi.yml",
        "accounts": {
            "a": {"password": "first-pass-phrase"},
            "b": {"password": "second-pass-phrase"},
            "steps": [
                {"request": "POST /accounts", **step, "status": 201, "capture": {"account_id": "/account_id"}},
                {"request": "POST /login", **step, "capture": {"token": "/token"}},
            ],
            "headers": {"Authorization": "Bearer ${token}"},
        },
        "objects": [
            {
                "request": "POST /tasks",
                "json": {"title": "buy ${mark}", "note": "for ${account}", **extra},
                "status": 201,
                "capture": {"task_id": "/id"},
            },
            {"request": "POST /board", "json": {"text": "sell ${mark}", "about": "${task_id}"}},
        ],
        "parameters": {"task_id": "${task_id}", "owner": "${account_id}"},
        "public": [
            *([] if "account wanted" in mutants else ["GET /health"]),
            *("GET /board", "POST /board", "POST /accounts", "POST /login"),
        ],
        "routes": [*ROUTES, "GET /health"],
        "budget": {"examples": 6},
    }


class Refused(Exception):
    """An error that is answered."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Shop(ThreadingHTTPServer):
    """The application, with everything in memory."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, mutants: frozenset[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mutants = mutants
        self.lock = threading.Lock()
        self.accounts: dict[str, tuple[int, str]] = {}
        self.tokens: dict[str, int] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.posts: list[tuple[int, dict[str, Any]]] = []
        self.next = 1
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    disable_nagle_algorithm = True
    server: Shop

    def log_message(self, format: str, *args: object) -> None: ...

    def has(self, mutant: str) -> bool:
        return mutant in self.server.mutants

    def reply(self, status: int, value: Any = None, kind: str = "application/json", **headers: str) -> None:
        data = b"" if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if value is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_one(self) -> None:
        length = self.headers.get("Content-Length", "0")
        self.data = self.rfile.read(int(length)) if length.isdigit() else b""
        with self.server.lock:
            self.server.asked.append(f"{self.command} {self.path}")
            try:
                self.route()
            except Refused as refused:
                self.reply(refused.status, {"error": str(refused)})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = handle_one

    def route(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/api")
        self.query = parse_qs(url.query, keep_blank_values=True)
        method = "GET" if self.command == "HEAD" else self.command
        item = re.fullmatch(r"/tasks/([^/]+)(/document)?", path)
        if item:
            names = {"GET": self.document if item[2] else self.read, "PATCH": self.change, "DELETE": self.delete}
            if self.has("method undocumented"):
                names["PUT"] = self.change
            if item[2]:
                names = {"GET": self.document}
        else:
            names = {
                "/health": {"GET": self.health},
                "/accounts": {"POST": self.register},
                "/login": {"POST": self.login},
                "/board": {"GET": self.board, "POST": self.post},
                "/tasks": {"GET": self.listed, "POST": self.create},
                **(
                    {"/debug": {"GET": lambda _: self.reply(200, {"heap": 1})}}
                    if self.has("route undocumented")
                    else {}
                ),
            }.get(path, {})
            if not names:
                raise Refused(404, "no such path")
        if method not in names or (item and item[2] and self.has("operation removed")):
            raise Refused(405, "no such method")
        names[method](item[1] if item else "")

    # What is asked -----------------------------------------------------------------------------------------------

    def account(self) -> int:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.server.tokens:
            raise Refused(401, "log in first")
        return self.server.tokens[token]

    def object(self, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            value = json.loads(self.data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refused(400, "the body must be a JSON object")
        for name, one in schema["properties"].items():
            if name not in value:
                if name in schema["required"]:
                    raise Refused(400, f"{name} is missing")
                continue
            text = value[name]
            if one.get("type") == "integer" and type(text) is int:
                continue
            if (
                not isinstance(text, str)
                or len(text) < one.get("minLength", 0)
                or len(text) > one.get("maxLength", 10**9)
            ):
                raise Refused(400, f"{name} is no such text")
            if "enum" in one and text not in one["enum"]:
                raise Refused(400, f"{name} is none of the known")
        return value

    def health(self, _: str) -> None:
        if self.has("account wanted"):
            self.account()
        self.reply(200, {"status": "ok"})

    def register(self, _: str) -> None:
        value = self.object(CREDENTIALS)
        if value["name"] in self.server.accounts:
            raise Refused(409, "the name is taken")
        number = len(self.server.accounts) + 1
        self.server.accounts[value["name"]] = (number, value["password"])
        self.reply(201, {"account_id": number})

    def login(self, _: str) -> None:
        value = self.object(CREDENTIALS)
        if (
            self.has("login crashes")
            and value["name"] not in self.server.accounts
            and len(value["password"]) in (17, 18)
        ):
            raise Refused(500, "internal error")
        number, password = self.server.accounts.get(value["name"], (0, ""))
        if not number or password != value["password"]:
            raise Refused(401, "unknown name or wrong password")
        token = secrets.token_urlsafe(24)
        self.server.tokens[token] = number
        self.reply(200, {"jwt" if self.has("token renamed") else "token": token})

    def caller(self) -> int:
        return self.account() if "Authorization" in self.headers else 0

    def board(self, _: str) -> None:
        caller = self.caller()
        self.reply(200, [one for owner, one in self.server.posts if owner == caller or self.has("board leaks")][-50:])

    def post(self, _: str) -> None:
        self.server.posts.append((self.caller(), self.object(POSTED)))
        self.reply(201)

    # Tasks -------------------------------------------------------------------------------------------------------

    def shown(self, task: dict[str, Any]) -> dict[str, Any]:
        made = {name: one for name, one in task.items() if name != "owner"}
        if self.has("field removed"):
            made.pop("note", None)
        if self.has("field retyped"):
            made["id"] = str(made["id"])
        return made

    def written(self, base: dict[str, Any]) -> dict[str, Any]:
        schema = json.loads(json.dumps(WRITTEN))
        if self.has("enum narrowed") or self.has("enum narrowed silently"):
            schema["properties"]["state"]["enum"] = ["open", "done"]
        if self.has("request field required") or self.has("request field required silently"):
            schema["properties"]["list"] = {"minLength": 1}
            schema["required"].append("list")
        if self.has("optional field required"):
            schema["required"].append("note")
        value = self.object(schema)
        if self.has("zero byte crashes") and "\0" in value["title"]:
            raise Refused(500, "internal error")
        if self.has("crash") and "note" in value and value.get("state") == "done":
            raise Refused(500, "internal error")
        return {**base, **{name: value[name] for name in ("title", "state", "note") if name in value}}

    def task(self, text: str, *, owned: bool = True, account: bool = True) -> dict[str, Any]:
        caller = self.account() if account else 0
        if self.has("number crashes") and text.isdigit() and int(text) >= 2**63:
            raise Refused(500, "internal error")
        found = self.server.tasks.get(int(text)) if text.isdigit() else None
        if found is None or (owned and account and found["owner"] != caller):
            leak = f": {found['title']}" if found and self.has("refusal leaks") else ""
            raise Refused(404, f"no such task{leak}")
        return found

    def listed(self, _: str) -> None:
        caller = self.account()
        if "state" in self.query and self.query["state"][0] not in STATES:
            raise Refused(400, "state is none of the known")
        if self.has("query required") and "state" not in self.query:
            raise Refused(400, "state is missing")
        owner = self.query.get("owner", [""])[0]
        if "owner" in self.query and not owner.isdigit():
            raise Refused(400, "owner is no number")
        whose = int(owner) if owner and self.has("filter leaks") else caller
        tasks = [
            self.shown(one)
            for one in self.server.tasks.values()
            if (one["owner"] == whose or self.has("list leaks"))
            and one["state"] == self.query.get("state", [one["state"]])[0]
        ]
        self.reply(200, {"tasks": tasks[-50:]}, "text/plain" if self.has("content type wrong") else "application/json")

    def create(self, _: str) -> None:
        owner = 0 if self.has("created by nobody") else self.account()
        made = self.written({"id": self.server.next, "title": "", "state": "open", "note": None, "owner": owner})
        self.server.tasks[made["id"]] = made
        self.server.next += 1
        headers = {} if self.has("header missing") else {"Location": f"/api/tasks/{made['id']}"}
        self.reply(201, self.shown(made), **headers)

    def read(self, text: str) -> None:
        task = self.task(text, owned=not self.has("read by another"), account=not self.has("read by nobody"))
        made = self.shown(task)
        if self.has("field renamed"):
            made["name"] = made.pop("title")
        if self.has("state undocumented"):
            made["state"] = "archived"
        if self.has("title null"):
            made["title"] = None
        self.reply(203 if self.has("status undocumented") else 200, made)

    def document(self, text: str) -> None:
        task = self.task(text, owned=not self.has("document read by another"))
        self.reply(200, f"task {task['title']}", "text/plain")

    def change(self, text: str) -> None:
        task = self.task(text, owned=not self.has("changed by another"))
        task.update(self.written(task))
        self.reply(200, self.shown(task))

    def delete(self, text: str) -> None:
        if self.has("refused and done") and text.isdigit():
            self.account()
            found = self.server.tasks.get(int(text))
            if found and found["owner"] != self.account():
                self.server.tasks.pop(int(text))
                raise Refused(404, "no such task")
        task = self.task(text, owned=not self.has("deleted by another"), account=not self.has("deleted by nobody"))
        del self.server.tasks[task["id"]]
        self.reply(200, {}) if self.has("success renumbered") else self.reply(204)


@contextmanager
def serving(*mutants: str) -> Iterator[Shop]:
    """Serve the application with these mutants until the block ends."""
    shop = Shop(frozenset(mutants))
    thread = threading.Thread(target=shop.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        shop.shutdown()
        shop.server_close()
        thread.join(5)
