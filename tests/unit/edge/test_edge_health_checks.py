"""What HAProxy's health checks send: the same Host and headers as every other question about health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from real_edge import ROLE, RealEdge

NASTY = {"X-Forwarded-Proto": "https", "Authorization": 'Basic it\'s "100 %" $HOME \\ #x', "X-Empty": ""}


def test_a_health_check_carries_the_host_and_headers_of_the_service_file(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path, edge_check_host="shop.example.com:8443", edge_check_headers=NASTY)
    try:
        edge.start()
        edge.wait_for(lambda: all(one.asked_with for one in edge.services.values()), "a health check")
        for service in edge.services.values():
            assert service.asked_with["host"] == "shop.example.com:8443"
            for name, value in NASTY.items():
                assert service.asked_with.get(name.lower(), "") == value
    finally:
        edge.stop()


@pytest.mark.parametrize(
    ("api", "host", "headers"),
    [
        ({}, "localhost", "{}"),
        ({"health": None}, "localhost", "{}"),
        ({"health": {"path": "/up"}}, "localhost", "{}"),
        ({"health": {"host": "shop.example.com", "headers": {"A": "b"}}}, "shop.example.com", "{'A': 'b'}"),
    ],
)
def test_the_role_takes_them_from_the_service_file(api: dict[str, Any], host: str, headers: str) -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    environment = jinja2.Environment()  # noqa: S701 - this is no HTML
    for name, wanted in (("edge_check_host", host), ("edge_check_headers", headers)):
        assert environment.from_string(defaults[name]).render(edge_service={"api": api}) == wanted
