"""A small HTTP server whose requests and answers are held against the published definitions of the APIs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from forge_definition import Definition, Drift, definition

COMMIT = "c0ffee0123456789abcdef0123456789abcdef01"
OTHER = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "ghp-this-is-a-secret-token"


@dataclass
class FakeForge:
    """What the server answers: `routes` maps (method, path) to a status and a body, or to a list that is paged.

    A body holds what its test is about; what a real one has beside it comes from the definition. What the definition
    does not know is kept in `drifted`; `beyond` lets answers hold it.
    """

    base: str = ""
    routes: dict[tuple[str, str], Any] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    page_size: int = 2
    beyond: bool = False
    drifted: list[str] = field(default_factory=list)

    def on(self, path: str, body: Any, *, status: int = 200, method: str = "GET", **headers: str) -> None:
        self.routes[method, path] = (status, body)
        self.headers[path] = {name.replace("_", "-"): value for name, value in headers.items()}

    def paged(self, path: str, items: list[Any], key: str | None = None, **fields: Any) -> None:
        """Answer `items` in pages with `Link` headers, inside `key` of an object where the API does so."""
        self.routes["GET", path] = ("paged", items, key, fields)


class Handler(BaseHTTPRequestHandler):
    forge: FakeForge

    def do_GET(self) -> None:
        self.answer("GET")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PATCH(self) -> None:
        self.answer("PATCH")

    def answer(self, method: str) -> None:
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        self.forge.seen.append((method, self.path, body))
        self.forge.tokens.add(self.headers.get("Authorization"))
        self.held(lambda published: published.request(method, self.path, body))
        route = self.forge.routes.get((method, url.path))
        if route is None:
            self.send(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}, {})
        elif route[0] == "paged":
            self.page(url.path, parse_qs(url.query), *route[1:])
        else:
            self.send(route[0], route[1], self.forge.headers.get(url.path, {}))

    def held(self, look: Callable[[Definition], Any]) -> Any:
        """Hold something against the definition; what it does not know fails the test when the server ends."""
        try:
            return look(definition("gitea" if self.path.startswith("/api/v1/") else "github"))
        except Drift as fault:
            self.forge.drifted.append(str(fault))
            return None

    def page(self, path: str, query: dict[str, list[str]], items: list[Any], key: str | None, fields: Any) -> None:
        number = int(query.get("page", ["1"])[0])
        size = self.forge.page_size
        part = items[(number - 1) * size : number * size]
        headers = {}
        if number * size < len(items):
            rest = "&".join(f"{name}={values[0]}" for name, values in query.items() if name != "page")
            link = f"{self.forge.base}{path}?{rest}&page={number + 1}"
            last = f"{self.forge.base}{path}?{rest}&page={-(-len(items) // size)}"
            headers["Link"] = f'<{link}>; rel="next", <{last}>; rel="last"'
        self.send(200, part if key is None else {"total_count": len(items), key: part, **fields}, headers)

    def send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        if status < 300 and not isinstance(body, str) and not self.forge.beyond:
            path = urlsplit(self.path).path
            body = self.held(lambda published: published.answer(self.command, path, body))
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def forge() -> Iterator[FakeForge]:
    fake = FakeForge()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"forge": fake}))
    server.daemon_threads = True
    fake.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    assert fake.drifted == []


def check_run(
    name: str,
    conclusion: str | None,
    *,
    sha: str = COMMIT,
    status: str = "completed",
    at: str = "10",
    suite: int = 5,
    number: int | None = None,
) -> dict[str, Any]:
    """Return a check run in the shape of GitHub's answer. A run of a workflow is a `suite`."""
    return {
        "id": int(at) if number is None else number,
        "head_sha": sha,
        "node_id": "MDg6Q2hlY2tSdW40",
        "html_url": f"https://github.com/team/shop/runs/{name}",
        "status": status,
        "conclusion": conclusion,
        "started_at": f"2026-11-25T08:{at}:00Z",
        "completed_at": f"2026-11-25T08:{at}:30Z" if status == "completed" else None,
        "output": {"title": None, "summary": None, "text": None, "annotations_count": 0},
        "name": name,
        "check_suite": {"id": suite},
        "app": {"id": 15368, "slug": "github-actions"},
        "pull_requests": [],
    }


def status(
    context: str, state: str, *, key: str = "state", at: str = "10", number: int = 7, url: str | None = None
) -> dict[str, Any]:
    """Return a commit status: GitHub names its state `state`, Gitea `status`."""
    return {
        "id": number,
        key: state,
        "context": context,
        "description": f"{context} says {state}",
        "target_url": url or f"https://ci.example.com/{context}",
        "created_at": f"2026-11-25T08:{at}:00Z",
        "updated_at": f"2026-11-25T08:{at}:00Z",
    }


def gitea_rule(**changes: Any) -> dict[str, Any]:
    """Return a branch's protection in the shape of Gitea's answer."""
    return {
        "branch_name": "main",
        "rule_name": "main",
        "enable_push": False,
        "enable_push_whitelist": False,
        "enable_status_check": True,
        "status_check_contexts": ["CI / lint (push)", "test"],
        "required_approvals": 2,
        "dismiss_stale_approvals": True,
        "block_admin_merge_override": True,
        "protected_file_patterns": "",
        **changes,
    }


def github_protection(**changes: Any) -> dict[str, Any]:
    """Return a branch's protection in the shape of GitHub's answer."""
    return {
        "url": "https://api.github.com/repos/team/shop/branches/main/protection",
        "required_status_checks": {
            "strict": True,
            "contexts": ["lint", "test"],
            "checks": [{"context": "lint", "app_id": None}, {"context": "test", "app_id": 15368}],
        },
        "required_pull_request_reviews": {
            "dismiss_stale_reviews": True,
            "require_code_owner_reviews": True,
            "required_approving_review_count": 1,
            "require_last_push_approval": False,
        },
        "enforce_admins": {"url": "…", "enabled": True},
        "required_linear_history": {"enabled": True},
        "allow_force_pushes": {"enabled": False},
        "allow_deletions": {"enabled": False},
        **changes,
    }
