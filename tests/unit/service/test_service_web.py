"""Web processes by name: what a service file may say of them, and what their units are told."""

from pathlib import Path
from typing import Any

import pytest
from service_examples import small
from turnout.faults import Fault, FaultsError
from turnout.service import load
from turnout.service.units import drop_ins

BASE = Path("/inventory")


def two() -> dict[str, Any]:
    value = small()
    value["api"]["health"] = {"path": "/api/health/", "host": "shop.example.com"}
    value["web"] = {
        "admin": {
            "command": "bin/admin --port ${PORT}",
            "ports": {"blue": 8003, "green": 8004},
            "route": {"host": "admin.example.com"},
        },
        "events": {
            "command": "bin/events",
            "ports": {"blue": 8005, "green": 8006},
            "route": {"path": "/events"},
            "health": {"path": "/events/up"},
            "quiesce_signal": "SIGUSR1",
            "drain_s": 90,
            "long": {"end": "close", "within_s": 20},
        },
    }
    return value


def faults(value: Any) -> list[Fault]:
    with pytest.raises(FaultsError) as caught:
        load(value, base_dir=BASE)
    return list(caught.value.faults)


def changed(name: str, **keys: Any) -> dict[str, Any]:
    value = two()
    value["web"][name] |= keys
    return value


def test_each_web_process_has_its_own_unit_port_and_signals():
    service = load(two(), base_dir=BASE)
    assert [process.label for process in service.processes()] == ["api", "web-admin", "web-events"]
    assert [process.key for process in service.processes()] == ["api", "web.admin", "web.events"]
    texts = drop_ins(service, "green")
    events = texts["shop-web-events@green.service.d/turnout.conf"]
    assert "Environment=PORT=8006\n" in events
    assert "X-Turnout-Quiesce=SIGUSR1\n" in events
    assert "TimeoutStopSec=95\n" in events
    assert "Description=shop web-events (%i)\n" in events
    assert "Environment=PORT=8003\n" in drop_ins(service, "blue")["shop-web-admin@blue.service.d/turnout.conf"]


def test_a_service_without_web_processes_has_none():
    service = load(small(), base_dir=BASE)
    assert service.web == {}
    assert set(drop_ins(service, "blue")) == {"shop-api@blue.service.d/turnout.conf"}


def test_a_port_that_another_process_has_is_refused():
    (fault,) = faults(changed("admin", ports={"blue": 8003, "green": 8002}))
    assert fault.path == "service.web.admin.ports.green"
    assert "8002, which service.api.ports.green has too" in fault.observed
    (fault,) = faults(changed("events", ports={"blue": 8003, "green": 8006}))
    assert "8003, which service.web.admin.ports.blue has too" in fault.observed


@pytest.mark.parametrize(
    ("route", "path", "words"),
    [
        ({}, "service.web.admin.route", "neither host nor path"),
        ({"path": "/"}, "service.web.admin.route.path", "/"),
        ({"path": "/admin/"}, "service.web.admin.route.path", "/admin/"),
        ({"host": "admin.example.com", "path": "/"}, "service.web.admin.route.path", "/"),
        ({"path": "admin"}, "service.web.admin.route.path", "admin"),
        ({"host": "admin.example.com:8443"}, "service.web.admin.route.host", "8443"),
        ({"host": "Admin.example.com"}, "service.web.admin.route.host", "Admin"),
        ({"path": "/api"}, "service.web.admin.route", "hides the API's health check"),
        ({"path": "/api/health"}, "service.web.admin.route", "hides the API's health check"),
        ({"host": "shop.example.com"}, "service.web.admin.route", "hides the API's health check"),
    ],
)
def test_a_route_that_takes_nothing_or_too_much_is_refused(route: dict[str, str], path: str, words: str):
    (fault,) = faults(changed("admin", route=route))
    assert fault.path == path
    assert words in fault.observed


def test_a_route_that_two_processes_take_is_refused():
    (fault,) = faults(changed("admin", route={"path": "/events"}))
    assert fault.path == "service.web.events.route"
    assert "/events, which service.web.admin.route takes too" in fault.observed


@pytest.mark.parametrize(
    "route", [{"path": "/apis"}, {"path": "/events/more"}, {"host": "a.example.com", "path": "/api"}]
)
def test_a_route_beside_another_is_taken(route: dict[str, str]):
    assert load(changed("admin", route=route), base_dir=BASE).web["admin"].route.path == route["path"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"quiesce_signal": None}, "absent, and long.end is close"),
        ({"long": None}, "it would never be sent"),
        ({"long": {"end": "keep"}}, "it would never be sent"),
        ({"quiesce_signal": "SIGTERM"}, "which is also stop_signal"),
    ],
)
def test_how_long_connections_end_agrees_with_the_signals(keys: dict[str, Any], words: str):
    (fault,) = faults(changed("events", **keys))
    assert fault.path == "service.web.events.quiesce_signal"
    assert words in fault.observed


@pytest.mark.parametrize("name", ["api", "web", "x-worker", "Admin", "admin_2"])
def test_a_name_that_would_be_no_unit_of_its_own_is_refused(name: str):
    value = two()
    value["web"] = {name: value["web"]["admin"]}
    (fault,) = faults(value)
    assert fault.path == f"service.web.{name}"


def test_a_command_may_use_its_port_and_nothing_unset():
    (fault,) = faults(changed("admin", command="bin/admin ${PROT}"))
    assert fault.path == "service.web.admin.command"
