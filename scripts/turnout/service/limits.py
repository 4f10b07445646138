"""Limits at the edge: how much of what one client may send, by route, and what HAProxy is told of it.

None is on without being asked for: which requests of an application are many is its team's to say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from turnout.keys import At, Key, Part, Wrong, key, plain
from turnout.routes import METHODS, covers, route_regex, segments
from turnout.service import values
from turnout.service.values import DAY_S

BUFFER_BYTES = 16_384
"""HAProxy's own size of a buffer, which holds headers and the body as far as it is looked at."""
_KEPT_BYTES = 1024  # tune.maxrewrite: HAProxy leaves so much of a buffer free
HEADERS_BYTES = 5120
"""Headers that have room beside a body which is looked at."""
_HEADERS_ROOM = HEADERS_BYTES + 1024  # with what HAProxy notes of each header
_TABLE_FACTOR = 3  # an entry lives for two windows
_FINE_BELOW = 200  # requests
_LONGEST_S = 7 * DAY_S
_MODES = ("enforce", "count")
# What the edge writes itself: all clients would share one value, or each could choose its own.
_WRITTEN_BY_EDGE = ("x-forwarded-for", "x-real-ip", "forwarded", "x-turnout-color", "x-request-id", "traceparent")
_JSON_NAME = "[A-Za-z0-9_-]{1,64}"


def _mode(of: str, by_default: str = "") -> Any:
    means = f"`count` only counts what is over {of}, and lets it pass"
    return key(means, None, choices=_MODES, example="count", by_default=by_default or "that of what holds it")


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise Wrong(str(error), remedy="write e.g. 192.0.2.0/24") from None
    return str(network)


def _networks(means: str) -> Any:
    item = Key(check=_network, pattern="[0-9A-Fa-f:./]+", expected="an address or a network", example="192.0.2.0/24")
    return key(means, (), item=item, expected="a list of addresses and networks", example="[192.0.2.0/24]")


def _path(text: str) -> str:
    try:
        segments(text)
    except ValueError as error:
        raise Wrong(f"{text!r:.80}, which {error}") from None
    if re.search(r"//|/[.]{1,2}(/|$)", text):
        raise Wrong(f"{text!r:.80}, a path that is compared without //, /. and /..", remedy="write it without them")
    return text


class Rate(Part):
    """At most `requests` per `per_s` seconds from one address over all edges, `burst` more at once."""

    requests: int = key("requests that are let pass in `per_s`", low=1, high=1_000_000, unit="requests", example="10")
    per_s: int = values.seconds("seconds in which they are", 60, 1, DAY_S)
    burst: int = key(
        "requests besides that may come at once; they are made up for: in the long run it stays at `requests` in"
        " `per_s`",
        0,
        low=0,
        high=1_000_000,
        unit="requests",
    )
    keys: int = key(
        "different addresses (or accounts) that come in `per_s`: a table of three times as many is kept for each"
        " edge, about 200 bytes an entry",
        10_000,
        low=10,
        high=5_000_000,
        unit="keys",
    )
    table: int | None = key(
        "entries of the table; at least twice `keys`, since an entry lives for two windows",
        None,
        low=20,
        high=15_000_000,
        unit="entries",
        example="30000",
        by_default="three times `keys`",
    )
    mode: str | None = _mode("this rate")

    @property
    def at_once(self) -> int:
        """Requests after a rest that are let pass at once."""
        return self.requests + self.burst

    @property
    def period_s(self) -> int:
        """Seconds in which `at_once` requests are let pass, so that in the long run it is `requests` in `per_s`."""
        return -(-self.per_s * self.at_once // self.requests)

    @property
    def weight(self) -> int:
        """What one request is counted as.

        HAProxy's sliding count is whole numbers, rounded down for each edge: of a small rate that would be much.
        """
        return 5 if self.at_once < _FINE_BELOW else 1

    @property
    def size(self) -> int:
        """Entries of the table."""
        return self.table or _TABLE_FACTOR * self.keys

    def disagreements(self) -> Iterator[At]:
        """A table that forgets within the window, and a burst that is never made up for."""
        if self.size < 2 * self.keys:
            yield At(
                ".table",
                f"{self.size} entries for {self.keys} keys",
                f"at least {2 * self.keys}: an entry is needed for two windows, and the oldest go when it is full",
                "leave table out, or lower keys",
            )
        if self.period_s > _LONGEST_S:
            observed = f"{self.burst}, which takes {self.period_s} s to be made up for"
            yield At(".burst", observed, f"at most {_LONGEST_S} s", "lower burst, or raise requests")


class AccountRate(Rate):
    """The same for one account: the value of a header, or of a field of a JSON body."""

    header: str | None = key(
        "the header that tells whose request it is; without it the address counts",
        None,
        pattern="[A-Za-z][A-Za-z0-9_-]{0,79}",
        expected="a header's name",
        example="Authorization",
    )
    json: str | None = key(
        "the field of the JSON body that tells it, such as `email` or `user.email`; bodies without it, or with it"
        " twice, count together",
        None,
        pattern=rf"{_JSON_NAME}(\.{_JSON_NAME}){{0,7}}",
        expected="names of letters, digits, _ and - with dots between them",
        example="email",
    )

    def disagreements(self) -> Iterator[At]:
        """An account is told in one way, and not by what the edge writes."""
        yield from super().disagreements()
        if (self.header is None) == (self.json is None):
            observed = "both header and json" if self.header else "neither header nor json"
            yield At("", observed, "one of them", "write e.g. json: email")
        if self.header and self.header.lower().replace("_", "-") in _WRITTEN_BY_EDGE:
            yield At(
                ".header",
                f"{self.header}, which the edge writes or takes away itself",
                "a header of the client that tells accounts apart",
                "count by_address instead, or write e.g. header: Authorization",
            )


class Route(Part):
    """What is let pass on one route. The first route that fits a request counts, and no other."""

    name: str = key(
        "how it is called in logs and figures",
        pattern="[a-z][a-z0-9_-]{0,31}",
        expected="small letters, digits, - and _, a letter first",
        example="login",
    )
    path: str = key(
        "a path; `{x}` is one segment, `/*` at its end all that follows. Case, `%41` for a letter, doubled slashes, one"
        " at the end, and `;parameters` make no difference",
        check=_path,
        pattern=r"/[^\s]*",
        expected="a path such as /api/orders/{id} or /static/*",
        example="/api/login",
    )
    methods: tuple[str, ...] = key(
        "HTTP methods",
        (),
        item=Key(choices=METHODS, expected=f"one of {', '.join(METHODS)}", example="POST"),
        expected="a list of methods",
        example="[POST]",
        by_default="all",
    )
    mode: str | None = _mode("a limit of this route", "that of `limits`")
    networks: tuple[str, ...] = _networks("addresses and networks that may use it; others get a 403")
    body_bytes: int | None = key(
        "most bytes of a body; more get a 413. A chunked body may be as long as what fits into the buffer beside the"
        " headers, if that is less",
        None,
        low=0,
        high=10_000_000_000,
        unit="bytes",
        example="8192",
    )
    body_s: int | None = values.seconds(
        "seconds until the body is here, or as much of it as is looked at; slower ones get a 408",
        None,
        1,
        3600,
        by_default="10 where `body_bytes` or `json` is there, else none",
    )
    answer_s: int | None = values.seconds(
        "seconds until the application's answer begins, and for each pause in it; then it is a 504, which counts"
        " against the color as any other",
        None,
        1,
        3600,
        by_default="edge_timeout_server_s",
    )
    concurrent: int | None = key(
        "requests of one address at the same time on one edge; more get a 429",
        None,
        low=1,
        high=100_000,
        unit="requests",
        example="10",
    )
    by_address: Rate | None = key(
        "a rate by address; more get a 429. An IPv6 client is its /64", None, example="{requests: 10, per_s: 60}"
    )
    by_account: AccountRate | None = key(
        "a rate by account; more get a 429", None, example="{json: email, requests: 5, per_s: 60}"
    )

    def disagreements(self) -> Iterator[At]:
        """A route that limits nothing."""
        limits = (
            self.networks, self.body_bytes is not None, self.body_s, self.answer_s, self.concurrent, self.by_address,
            self.by_account,
        )  # fmt: skip
        if not any(limits):
            yield At("", "a route without a limit", "a limit", "add e.g. by_address: {requests: 10, per_s: 60}")


class Limits(Part):
    """What the edge lets pass of each client."""

    mode: str | None = _mode("any limit", "`enforce`")
    connections: int | None = key(
        "connections of one address at the same time on one edge, besides declared proxies; more are closed at once",
        None,
        low=1,
        high=100_000,
        unit="connections",
        example="100",
    )
    headers_s: int | None = values.seconds(
        "seconds until a request's headers are here; slower ones get a 408",
        None,
        1,
        600,
        by_default="edge_timeout_request_s",
    )
    exempt: tuple[str, ...] = _networks(
        "addresses and networks that no limit holds for, but `networks`; a smoke test that chooses a color from"
        " `edge_candidate_networks` is never limited"
    )
    buffer_bytes: int = key(
        "size of HAProxy's buffers, of which a request takes two: what of a JSON or chunked body can be looked at",
        BUFFER_BYTES,
        low=BUFFER_BYTES,
        high=1_048_576,
        unit="bytes",
    )
    routes: tuple[Route, ...] = key(
        "limits by route, the first that fits counts",
        (),
        expected="a list of routes",
        example="[{name: login, path: /api/login, methods: [POST], by_address: {requests: 10, per_s: 60}}]",
    )

    @property
    def looked_at_bytes(self) -> int:
        """The longest body that HAProxy can look at."""
        return self.buffer_bytes - _KEPT_BYTES - _HEADERS_ROOM

    def disagreements(self) -> Iterator[At]:
        """Names and routes that are there twice, routes that no request reaches, and bodies that no buffer holds."""
        names = [route.name for route in self.routes]
        for index, route in enumerate(self.routes):
            where, before = f".routes[{index}]", self.routes[:index]
            if route.name in names[:index]:
                yield At(
                    f"{where}.name", f"{route.name}, which another route has", "another name", "rename one of them"
                )
            hidden_by = _hidden_by(route, before)
            if hidden_by:
                yield At(
                    where,
                    f"a route that {' and '.join(one.name for one in hidden_by)} before it takes every request of",
                    "a route that some request reaches: the first that fits counts",
                    f"put {route.name} before {hidden_by[0].name}, or take it out",
                )
            account, most = route.by_account, self.looked_at_bytes
            if account is not None and account.json and (route.body_bytes or 0) > most:
                yield At(
                    f"{where}.body_bytes",
                    f"{route.body_bytes} bytes, of which the edge can look at {most} for {account.json}",
                    f"at most {most}: longer bodies are refused where a field is read",
                    f"lower it, or write limits.buffer_bytes: {(route.body_bytes or 0) + _KEPT_BYTES + _HEADERS_ROOM}",
                )

    def for_edge(self) -> dict[str, Any]:
        """Return the limits as HAProxy's templates want them, every default filled in."""
        whole = self.mode or "enforce"
        return {
            **plain(self, secrets=True),
            "mode": whole,
            "headers_bytes": HEADERS_BYTES,
            "routes": [self._route(route, route.mode or whole) for route in self.routes],
        }

    def _route(self, route: Route, mode: str) -> dict[str, Any]:
        json = route.by_account.json if route.by_account else None
        body_bytes = route.body_bytes
        if body_bytes is None and json:
            body_bytes = self.looked_at_bytes
        body_s = route.body_s or (10 if body_bytes is not None else None)
        regex = route_regex(route.path)
        return {
            **plain(route, secrets=True),
            "mode": mode,
            "regex": f"{regex.removesuffix('$').removesuffix('/')}/?$" if regex.endswith("$") else regex,
            "body_bytes": body_bytes,
            "chunked_bytes": min(body_bytes or 0, self.looked_at_bytes),
            "body_s": body_s,
            "json": json,
            "counted": bool(route.by_address or route.by_account or route.concurrent),
            "rates": [
                _rate(kind, rate, mode)
                for kind, rate in (("address", route.by_address), ("account", route.by_account))
                if rate is not None
            ],
        }


def _rate(kind: str, rate: Rate, mode: str) -> dict[str, Any]:
    json = getattr(rate, "json", None)
    last = re.escape(json.rpartition(".")[2]).replace("\\-", "-") if json else ""
    return {
        "kind": kind,
        "mode": rate.mode or mode,
        "weight": rate.weight,
        "full": (rate.at_once - 1) * rate.weight,
        "period_s": rate.period_s,
        "retry_s": rate.per_s,
        "size": rate.size,
        "header": getattr(rate, "header", None),
        "json": json,
        "json_last": last,
    }


def _bare(path: str) -> str:
    return path.rstrip("/") or "/"


def _hidden_by(route: Route, before: tuple[Route, ...]) -> list[Route]:
    """Return the routes that leave this one no request, none where one may reach it."""
    found = [one for one in before if covers(_bare(one.path), _bare(route.path))]
    everything = {*METHODS, "others"}
    taken = {method for one in found for method in (one.methods or everything)}
    return found if found and taken >= set(route.methods or everything) else []
