"""Limits in the service file: what may stand there, what cannot work, and what the edge is told of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.turnout.ops.plugins.filter.edge import edge_limits
from hypothesis import given
from hypothesis import strategies as st
from service_examples import small
from turnout.faults import FaultsError
from turnout.routes import covers, route_regex
from turnout.service import load as load_service
from turnout.service.configuration import configuration
from turnout.service.limits import Limits, Rate

RATE = {"requests": 10, "per_s": 60}
LOGIN = {"name": "login", "path": "/api/login", "methods": ["POST"], "by_address": RATE}


def load(limits: Any) -> Limits:
    found = load_service({**small(), "limits": limits}, base_dir=Path("/inventory")).limits
    assert found is not None
    return found


def told(limits: Any) -> str:
    with pytest.raises(FaultsError) as error:
        load(limits)
    return "\n".join(f"{one.path}: {one.observed}; {one.expected}; {one.remedy}" for one in error.value.faults)


def routes(*more: Any) -> dict[str, Any]:
    return {"routes": [LOGIN, *more]}


def login(**keys: Any) -> dict[str, Any]:
    return {"routes": [{**LOGIN, **keys}]}


def test_without_limits_there_is_none() -> None:
    service = load_service(small(), base_dir=Path("/inventory"))
    assert service.limits is None
    for nothing in (None, {}):
        assert edge_limits(nothing) == {}


def test_limits_are_no_part_of_a_release() -> None:
    with_limits = load_service({**small(), "limits": routes()}, base_dir=Path("/inventory"))
    assert configuration(with_limits) == configuration(load_service(small(), base_dir=Path("/inventory")))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (login(by_address={**RATE, "requests": 0}), "routes[0].by_address.requests: the number 0; a whole number"),
        (login(by_address={**RATE, "per_s": 0}), "routes[0].by_address.per_s: the number 0"),
        (login(by_address={"per_s": 60}), "routes[0].by_address.requests: no such key"),
        (login(by_address={**RATE, "keys": 1000, "table": 1999}), "1999 entries for 1000 keys; at least 2000"),
        (login(by_address={**RATE, "burst": 1_000_000}), "at most 604800 s"),
        (login(by_account=RATE), "routes[0].by_account: neither header nor json; one of them"),
        (login(by_account={**RATE, "json": "email", "header": "X-Key"}), "both header and json"),
        (login(by_account={**RATE, "header": "X Key"}), "routes[0].by_account.header"),
        (login(by_account={**RATE, "header": "x_forwarded_for"}), "which the edge writes or takes away itself"),
        (login(by_account={**RATE, "json": "$.a"}), "routes[0].by_account.json"),
        (login(by_account={**RATE, "json": "a'b"}), "routes[0].by_account.json"),
        (
            login(by_account={**RATE, "json": "email"}, body_bytes=20_000),
            "20000 bytes, of which the edge can look at 9216 for email; at most 9216: longer bodies are refused where "
            "a field is read; lower it, or write limits.buffer_bytes: 27168",
        ),
        (login(networks=["10.0.0.1/8"]), "routes[0].networks[0]: 10.0.0.1/8 has host bits set"),
        (login(networks=["office"]), "routes[0].networks[0]"),
        ({"exempt": ["300.0.0.1"]}, "limits.exempt[0]"),
        (login(path="api"), "routes[0].path"),
        (login(path="/a*"), "routes[0].path"),
        (login(path="/a/../b"), "without //, /. and /.."),
        (login(path="/a//b"), "without //, /. and /.."),
        (login(methods=["post"]), "routes[0].methods[0]"),
        (login(name="Log in"), "routes[0].name"),
        (login(mode="watch"), "routes[0].mode"),
        (login(body="1k"), "a key that Turnout does not know"),
        ({"connections": 0}, "limits.connections"),
        ({"buffer_bytes": 1000}, "limits.buffer_bytes"),
        ({"routes": [{"name": "a", "path": "/a"}]}, "a route without a limit"),
        (routes({**LOGIN, "path": "/other"}), "routes[1].name: login, which another route has"),
        (routes({**LOGIN, "name": "again"}), "routes[1]: a route that login before it takes every request of"),
        (routes({**LOGIN, "name": "again", "path": "/API/login/"}), "put again before login, or take it out"),
        ({"routes": [{**LOGIN, "path": "/api/*", "methods": None}, {**LOGIN, "name": "late"}]}, "routes[1]: a route"),
        (
            {
                "routes": [
                    {**LOGIN, "name": "one", "path": "/api/*"},
                    {**LOGIN, "name": "two", "path": "/{a}/{b}", "methods": ["GET"]},
                    {**LOGIN, "name": "late", "methods": ["GET", "POST"]},
                ]
            },
            "routes[2]: a route that one and two before it takes every request of",
        ),
    ],
)
def test_what_cannot_work_is_told(limits: Any, words: str) -> None:
    assert words in told(limits)
    with pytest.raises(AnsibleFilterError, match="service-invalid"):
        edge_limits(limits)


def test_routes_that_some_request_reaches_are_right() -> None:
    late = [
        {**LOGIN, "name": "all", "methods": None},
        {**LOGIN, "name": "any", "path": "/api/{x}"},
        {**LOGIN, "name": "rest", "path": "/api/*"},
        {**LOGIN, "name": "else", "path": "/*"},
    ]
    assert len(load(routes(*late)).routes) == 5


def test_the_edge_is_told_every_default() -> None:
    told = edge_limits({"mode": "count", **login(mode="enforce", by_account={**RATE, "json": "a.e-mail"})})
    (route,) = told["routes"]
    assert (told["mode"], route["mode"]) == ("count", "enforce")
    assert route["regex"] == "^/api/login/?$"
    assert (route["body_bytes"], route["chunked_bytes"], route["body_s"]) == (9216, 9216, 10)
    assert [(rate["kind"], rate["size"], rate["json_last"]) for rate in route["rates"]] == [
        ("address", 30_000, ""), ("account", 30_000, "e-mail"),
    ]  # fmt: skip


@given(st.integers(1, 1000), st.integers(1, 3600), st.integers(0, 1000))
def test_a_burst_changes_nothing_in_the_long_run(requests: int, per_s: int, burst: int) -> None:
    rate = Rate(requests, per_s, burst)
    assert rate.at_once == requests + burst
    assert rate.at_once / rate.period_s <= requests / per_s * (1 + 1e-9)


SEGMENTS = st.sampled_from(["a", "b", "{x}", ""])
PATHS = st.builds(
    lambda parts, rest: "/" + "/".join(parts) + ("/*" if rest else ""), st.lists(SEGMENTS, max_size=3), st.booleans()
)


@given(PATHS, PATHS, st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4))
def test_a_route_that_covers_another_takes_every_path_of_it(one: str, other: str, parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    if covers(one, other) and re.search(route_regex(other), path):
        assert re.search(route_regex(one), path)
