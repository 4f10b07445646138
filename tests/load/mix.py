"""The kinds of requests that a load is mixed of, and what a right answer to each looks like."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from load.http1 import Answer

JSON = {"Content-Type": "application/json"}
SHARED_BODY = random.Random(7).randbytes(64 * 1024)  # noqa: S311 - a load, not a secret
DEMO_PASSWORD = "demo-password"


@dataclass(frozen=True)
class Request:
    """One request to send, and how to know that its answer is right."""

    method: str
    path: str
    check: Callable[[Answer], str]
    """The fault of an answer with a 2xx status; empty when it is right."""
    headers: dict[str, str] | None = None
    body: bytes = b""
    nominal_s: float = 0.0
    """How long the answer is meant to take; latency is what it takes beyond."""
    logs_in: bool = False
    """Whether this request carries no token."""


Maker = Callable[[random.Random, int], Request]


def _contains(text: bytes) -> Callable[[Answer], str]:
    def check(answer: Answer) -> str:
        return "" if text in answer.body else "wrong-body"

    return check


def _whole(_answer: Answer) -> str:
    return ""


def _get(path: str, text: bytes) -> Maker:
    request = Request("GET", path, _contains(text) if text else _whole)
    return lambda _random, _user: request


def _login(_random: random.Random, user: int) -> Request:
    body = json.dumps({"username": f"user{user + 1}", "password": DEMO_PASSWORD}).encode()
    return Request("POST", "/api/auth/login/", _contains(b'"token"'), JSON, body, logs_in=True)


def _create(random_: random.Random, user: int) -> Request:
    job_ms = random_.choice((10, 10, 20, 50))
    body = json.dumps({"title": f"task of {user}", "job_ms": job_ms, "batch": "load"}).encode()
    return Request("POST", "/api/tasks/", _contains(b'"job_id"'), JSON, body)


def _echo(random_: random.Random, _user: int) -> Request:
    body = SHARED_BODY[: random_.randrange(1024, 64 * 1024)]

    def check(answer: Answer) -> str:
        found = json.loads(answer.body)
        return "" if found == {"bytes": len(body), "crc32": f"{zlib.crc32(body):08x}"} else "wrong-body"

    return Request("POST", "/api/echo/", check, {"Content-Type": "application/octet-stream"}, body)


def _slow(seconds: float) -> Maker:
    request = Request("GET", f"/api/slow/?s={seconds:g}", _contains(b'"slept_s"'), nominal_s=seconds)
    return lambda _random, _user: request


def check_stream(answer: Answer) -> str:
    """Whether every line of a stream came through, by the checksum in its last line."""
    head, _, last = answer.body.rstrip(b"\n").rpartition(b"\n")
    words = last.split()
    if len(words) != 3 or words[0] != b"end":
        return "cut-stream"
    body = head + b"\n"
    whole = int(words[1]) == body.count(b"\n") and words[2].decode() == f"{zlib.crc32(body):08x}"
    return "" if whole else "wrong-body"


def _stream(seconds: float) -> Maker:
    request = Request("GET", f"/api/stream/?s={seconds:g}&n=20", check_stream, nominal_s=seconds)
    return lambda _random, _user: request


KINDS: dict[str, Maker] = {
    "tasks": _get("/api/tasks/", b'"tasks"'),
    "static": _get("/api/static_data/", b'"static_data"'),
    "health": _get("/api/health/", b'"status"'),
    "login": _login,
    "create": _create,
    "echo": _echo,
    "slow": _slow(5),
    "stream": _stream(3),
}
# Shares in percent. Three percent of the requests last seconds: at 300 a second some forty
# are under way at any moment, so that no switch finds the edges idle.
DEFAULT = {
    "tasks": 40.0,
    "static": 30.0,
    "echo": 12.0,
    "login": 5.0,
    "health": 5.0,
    "create": 5.0,
    "slow": 1.5,
    "stream": 1.5,
}


@dataclass(frozen=True)
class Mix:
    """A choice of kinds by weight."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    makers: tuple[Maker, ...]

    @property
    def needs_login(self) -> bool:
        """Whether some kind is answered only to a user of the sample service."""
        return any(name in ("tasks", "create") for name in self.names)

    @classmethod
    def of(cls, shares: dict[str, float]) -> Mix:
        """Make a mix; a name `get:/path` is a plain GET of that path. ValueError names what is wrong."""
        makers = []
        for name, weight in shares.items():
            if weight <= 0:
                raise ValueError(f"{name}={weight}: a share must be above 0")
            if name.startswith("get:/"):
                makers.append(_get(name.removeprefix("get:"), b""))
            elif name in KINDS:
                makers.append(KINDS[name])
            else:
                raise ValueError(f"{name}: expected get:/path or one of {', '.join(KINDS)}")
        return cls(tuple(shares), tuple(shares.values()), tuple(makers))

    @classmethod
    def parse(cls, text: str) -> Mix:
        """`tasks=40,echo=10` or `get:/up=1`; ValueError names what is wrong."""
        shares = {}
        for part in text.split(","):
            name, _, weight = part.strip().rpartition("=")
            if not name:
                raise ValueError(f"{part!r}: expected KIND=SHARE")
            shares[name] = float(weight)
        return cls.of(shares)
