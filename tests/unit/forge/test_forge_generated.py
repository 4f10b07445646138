"""Whatever a forge may answer by its published definition is read, and whatever is asked of it then is published too.

Schemathesis makes the answers: to it they are bodies of requests.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from forge_definition import Definition, Drift, definition
from forge_server import COMMIT, OTHER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.forge import gitea, github, model
from turnout.forge.contexts import needs
from turnout.forge.gitea import Gitea
from turnout.forge.github import GitHub
from turnout.forge.http import Client
from turnout.forge.model import Forge
from turnout.forge.required import wanted_policy

# Where any text is allowed, one that leads further: else no commit would ever be the one that was asked for.
LIKELY: dict[str, list[str]] = {
    "sha": [COMMIT, OTHER],
    "head_sha": [COMMIT, OTHER],
    "commit_id": [COMMIT, OTHER],
    "login": ["ada", "bob", "zoe[bot]"],
    "state": ["APPROVED", "CHANGES_REQUESTED", "REQUEST_CHANGES", "DISMISSED", "success", "error", "odd"],
    "name": ["lint", ""],
    "context": ["lint", "CI / lint (push)", "CI / lint (pull_request)", "[a", ""],
    "rule_name": ["main", "ma*", "[", "a/b", ""],
    "branch_name": ["main", "*", ""],
    "ref": ["main", "other"],
    "content": ["", "aGk=", "not base64"],
}

# Every word in quotes of the modules that read answers.
READ = {
    word for module in (model, gitea, github) for word in re.findall(r'"(\w+)"', Path(str(module.__file__)).read_text())
}


def lean(node: Any, published: Definition) -> Any:
    """Return a schema with nothing but what Turnout reads, and with likely texts: what is not read costs only time."""
    if isinstance(node, list):
        return [lean(one, published) for one in node]
    if not isinstance(node, dict):
        return node
    if "allOf" in node:
        node = published.resolved(node)
    found = {key: lean(value, published) for key, value in node.items()}
    if isinstance(known := found.get("properties"), dict):
        found["properties"] = {
            name: {"enum": LIKELY[name]} if name in LIKELY and _is_text(one) else one
            for name, one in known.items()
            if name in READ
        }
        # Gitea leaves nothing out, and its definition does not say so.
        required = found["properties"] if published.gitea else found.get("required", [])
        found["required"] = [name for name in required if name in READ]
        found["additionalProperties"] = False
    return found


def _is_text(schema: Any) -> bool:
    return {"type": "string"} in (schema, *schema.get("anyOf", ()))


@cache
def answers(forge: str) -> dict[int, st.SearchStrategy[Any]]:
    """Return what makes answers, by the identity of the operation's declaration."""
    published = definition(forge)
    whole = published.whole
    made = {
        f"/{method}{path.replace('{', '').replace('}', '')}": operation
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    }
    paths = {}
    for path, operation in made.items():
        (response,) = operation["responses"].values()
        body = {"required": True, "content": lean(response["content"], published)}
        paths[path] = {"post": {"requestBody": body, "responses": {"200": {"description": ""}}}}
    components = {"schemas": lean(published.schemas, published)}
    head = {"openapi": "3.1.0", "info": {"title": forge, "version": "1"}}
    schema = schemathesis.openapi.from_dict({**head, "paths": paths, "components": components})
    return {
        id(operation): schema[path]["POST"].as_strategy().map(lambda case: case.body)
        for path, operation in made.items()
    }


class Server(HTTPServer):
    """A forge on loopback that answers what hypothesis draws from the definition; what it is asked must be published.

    It serves one request at a time, in the thread of the test: hypothesis draws in no other.
    """

    timeout = 0.005

    def __init__(self, forge: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.published = definition(forge)
        self.answers = answers(forge)
        self.data: st.DataObject | None = None
        self.drifted: list[str] = []
        self.base = f"http://127.0.0.1:{self.server_address[1]}" + ("/api/v1" if self.published.gitea else "")

    def drawn(self, method: str, url: str, body: bytes) -> tuple[int, Any]:
        """Return a status and an answer."""
        try:
            self.published.request(method, url, json.loads(body) if body else None)
            operation = self.published.operation(method, url.partition("?")[0])
        except Drift as fault:
            self.drifted.append(str(fault))
            return 500, {"message": str(fault)}
        assert self.data is not None
        if method == "GET" and self.data.draw(st.booleans(), "missing"):
            return 404, {"message": "Not Found"}
        return 200, self.data.draw(self.answers[id(operation)], f"{method} {url}")

    def serve(self, asked: Callable[[], object], data: st.DataObject) -> None:
        """Serve until `asked`, which asks this server, has ended. Raises what it raises."""
        self.data = data
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(asked)
            try:
                while not ended.done():
                    self.handle_request()
            except BaseException:
                self.data = None
                raise
        assert self.drifted == []
        ended.result()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave what hypothesis raises to hypothesis."""
        error = sys.exception()
        assert error is not None
        raise error


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, said = self.server.drawn(self.command, self.path, body)
        text = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_PATCH = answer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    made = {forge: Server(forge) for forge in ("github", "gitea")}
    yield made
    for server in made.values():
        server.server_close()


ASKED: dict[str, Callable[[Forge], object]] = {
    "checks": lambda forge: forge.checks(COMMIT),
    "heads": lambda forge: forge.heads("main"),
    "tips": lambda forge: forge.tips("main"),
    "policy": lambda forge: forge.policy("main"),
    "set_policy": lambda forge: forge.set_policy("main", wanted_policy(["lint"])),
    "reviews": lambda forge: forge.reviews("migrations/0002.sql", COMMIT),
    "sha256": lambda forge: forge.sha256("migrations/0002.sql", COMMIT),
    "needs": lambda forge: needs(forge, "main", ["lint"], forge.policy("main")),
}


FORGES: dict[str, Callable[[Client, str], Forge]] = {"github": GitHub, "gitea": Gitea}


@pytest.mark.parametrize("kind", ["github", "gitea"])
@pytest.mark.parametrize("asked", ASKED)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_may_be_answered_is_read_or_refused(
    kind: str, asked: str, servers: dict[str, Server], data: st.DataObject
) -> None:
    server = servers[kind]
    forge = FORGES[kind](Client(server.base, {}), "team/shop")
    try:
        server.serve(lambda: ASKED[asked](forge), data)
    except TurnoutError as error:
        # What is not there, about another commit, a file that is not base64, people without a name, and what Gitea
        # may leave null.
        assert error.code in ("forge-answer", "forge-commit-unknown")
        known = ("HTTP 404: Not Found", "about commit", "KeyError: 'slug'", "KeyError: 'login'", "Error:", "is told as")
        assert kind == "gitea" or [word for word in known if word in error.observed]


@pytest.mark.parametrize("kind", ["github", "gitea"])
@pytest.mark.parametrize("asked", ["checks", "heads", "tips", "reviews", "policy", "sha256"])
@pytest.mark.parametrize("answer", [[{}], {"message": "moved"}, "moved", 7, [None], [[]]], ids=repr)
def test_what_is_no_answer_of_a_forge_is_told_as_that(
    kind: str, asked: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "_send", lambda *_: (answer, {}))
    forge = FORGES[kind](Client("https://git.example.com", {}), "team/shop")
    try:
        ASKED[asked](forge)
    except TurnoutError as error:
        assert error.code == "forge-answer"
        assert "checklist.forge" in error.remedy
