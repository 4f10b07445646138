"""What is asked of the restored server: each answer that is not right turns its check red."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from turnout_drill import cli, isolation, validation
from turnout_drill.isolation import Decoys, Isolation
from turnout_drill.place import Place
from turnout_drill.record import Measured
from turnout_drill.shell import ProgramError
from turnout_drill.wal import chain, lsn_text, segment_name

MB = 1 << 20
SIZE = 16 * MB


class Server:
    """A restored server that gives these answers, and the empty one to what else is asked."""

    unit = "turnout-drill-t-postgres.service"

    def __init__(self, **answers: str) -> None:
        self.answers = {
            "archive_mode": "off", "archive_command": "(disabled)", "listen_addresses": "", "primary_conninfo": "",
            "max_logical_replication_workers": "0", **answers,
        }  # fmt: skip
        self.asked: list[tuple[str, str]] = []

    def ask(self, sql: str, database: str = "postgres") -> str:
        self.asked.append((sql, database))
        if sql.startswith("SHOW "):
            return self.answers[sql.removeprefix("SHOW ")]
        return self.answers.get("subscriptions", "") if "FROM pg_subscription" in sql and database == "app" else ""

    def databases(self) -> list[str]:
        return ["app", "postgres"]


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return Measured(tmp_path / "record.json", {"id": "t", "mode": "latest"})


def outcome(measured: Measured, name: str) -> tuple[str, str]:
    (check,) = [check for check in measured.data["checks"] if check["name"] == name]
    return check["outcome"], check["detail"]


@pytest.mark.parametrize(
    ("answers", "passes"),
    [
        ({}, True),
        ({"archive_command": ""}, True),
        ({"archive_mode": "on"}, False),
        ({"archive_mode": "always"}, False),
        ({"archive_mode": ""}, False),
        ({"archive_command": "pgbackrest archive-push %p"}, False),
        ({"archive_mode": "on", "archive_command": "(disabled)"}, False),
    ],
)
def test_a_server_that_could_archive_is_no_drill(measured: Measured, answers: dict[str, str], passes: bool) -> None:
    server: Any = Server(**answers)
    validation.live_instance(measured, server)
    assert outcome(measured, "archive_off")[0] == ("pass" if passes else "fail")


def ends(measured: Measured, at: int, target: dict[str, str] | None = None, said: str = "") -> tuple[str, str]:
    held = [segment_name(1, number, SIZE) + "-" + "a" * 40 + ".zst" for number in (4, 5, 6)]
    validation.reached(measured, chain(segment_name(1, 4, SIZE), held, SIZE), lsn_text(at), target, said)
    return outcome(measured, "target_reached")


@pytest.mark.parametrize("at", [6 * SIZE + 1, 6 * SIZE + 8 * MB, 7 * SIZE])
def test_a_replay_that_reached_the_last_segment_passes(measured: Measured, at: int) -> None:
    assert ends(measured, at)[0] == "pass"


@pytest.mark.parametrize("at", [4 * SIZE + 9, 5 * SIZE + 1, 6 * SIZE, 7 * SIZE + 1])
def test_a_replay_that_ended_elsewhere_fails_and_names_the_segment(measured: Measured, at: int) -> None:
    how, said = ends(measured, at, said="checksum of segment does not match")
    assert how == "fail"
    assert lsn_text(at) in said
    assert "checksum of segment does not match" in said
    if at < 7 * SIZE:
        assert segment_name(1, at // SIZE, SIZE) in said


def test_a_replay_that_ended_before_its_lsn_fails(measured: Measured) -> None:
    target = {"type": "lsn", "value": lsn_text(5 * SIZE + 100)}
    assert ends(measured, 5 * SIZE + 99, target)[0] == "fail"
    measured.data["checks"].clear()
    assert ends(measured, 5 * SIZE + 100, target)[0] == "pass"


@pytest.mark.parametrize(
    ("answers", "network", "said"),
    [
        ({}, [], ""),
        ({"max_logical_replication_workers": "4"}, [], "max_logical_replication_workers is '4'"),
        ({"listen_addresses": "*"}, [], "listen_addresses is '*'"),
        ({"primary_conninfo": "host=data1"}, [], "primary_conninfo is 'host=data1'"),
        ({}, ["process 7 is not in the network"], "process 7 is not in the network"),
    ],
)
def test_a_server_that_is_not_cut_off_fails(
    measured: Measured, answers: dict[str, str], network: list[str], said: str
) -> None:
    class Network:
        def faults(self, unit: str) -> list[str]:
            assert unit == Server.unit
            return network

    server: Any = Server(**answers)
    where: Any = Network()
    validation.cut_off(measured, server, where)
    assert outcome(measured, "cut_off") == ("fail" if said else "pass", said)


def test_subscriptions_are_counted_and_a_drill_switches_them_off() -> None:
    server: Any = Server(subscriptions='one\n"Two"')
    assert validation.subscriptions(server, switch_off=True) == 2
    assert ("ALTER SUBSCRIPTION one DISABLE", "app") in server.asked
    assert ('ALTER SUBSCRIPTION "Two" DISABLE', "app") in server.asked
    server = Server(subscriptions="one")
    assert validation.subscriptions(server, switch_off=False) == 1
    assert not [sql for sql, _ in server.asked if "ALTER" in sql]


def test_a_process_elsewhere_and_a_way_out_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against this process' own network, which is not a namespace made for anybody and has interfaces."""
    network = Isolation("t")
    network.path = f"/proc/{os.getpid()}/ns/net"
    monkeypatch.setattr(isolation, "run", lambda *_, **__: str(os.getpid()).encode())
    monkeypatch.setattr(network, "inside", lambda ask: ask())
    monkeypatch.setattr(isolation.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert network.faults("x.service") == ["the network t has eth0 besides its loopback"]
    monkeypatch.setattr(isolation.socket, "if_nameindex", lambda: [(1, "lo")])
    assert network.faults("x.service") == []
    other = tmp_path / "net"
    other.write_text("")
    network.path = str(other)
    assert "is not in the network t" in network.faults("x.service")[0]


def test_who_comes_to_a_false_socket_is_counted_and_not_let_in(tmp_path: Path) -> None:
    place = Place(str(tmp_path), "a-name-as-long-as-that-of-a-run-20261129t170830-somewhere-31509")
    place.folder.mkdir()
    decoys = Decoys(place)
    decoys.make({5433})
    sockets = sorted(path.name for path in (place.folder / "run-postgresql").iterdir())
    assert sockets == [".s.PGSQL.5432", ".s.PGSQL.5433"]
    assert [bind.partition(":")[2] for bind in decoys.binds] == ["/run/postgresql", "/run/redis"]
    for name in sockets:
        caller = isolation.socket.socket(isolation.socket.AF_UNIX)
        folder = os.open(place.folder / "run-postgresql", os.O_RDONLY)
        caller.connect(f"/proc/self/fd/{folder}/{name}")
        assert caller.recv(1) == b""
        os.close(folder)
        caller.close()
    assert decoys.callers == 2


class Kept:
    """What `finish` needs of a story."""

    def __init__(self, place: Place) -> None:
        self.place = place


@pytest.mark.parametrize(
    ("checks", "causes", "validated"),
    [
        ([("archive_off", None)], [], True),
        ([("archive_off", None), ("target_reached", "it ended early")], [], False),
        ([("archive_off", None)], ["it was stopped"], False),
        ([], [], False),
    ],
)
def test_what_did_not_pass_every_check_is_not_kept_for_a_cut_over(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, checks: list[tuple[str, str | None]], causes: list[str],
    validated: bool,
) -> None:  # fmt: skip
    place = Place(str(measured.path.parent / "restores"), "t")
    place.folder.mkdir(parents=True)
    monkeypatch.setattr(place, "write", lambda name, text, _: _written(place.folder / name, text))
    monkeypatch.setattr(place, "left", list)
    monkeypatch.setattr("turnout_drill.place.systemctl", lambda *_: None)
    monkeypatch.setattr("turnout_drill.place.subprocess.run", lambda *_, **__: None)
    for name, fault in checks:
        measured.check(name, fault)
    measured.data["causes"] += causes
    story: Any = Kept(place)
    cli.finish(story, measured, {"keep": True, "store": "postgres"})
    assert place.validated("postgres") is validated
    assert place.folder.exists() is validated
    assert not place.validated("redis")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_check_that_could_not_look_fails_what_it_is_of(measured: Measured) -> None:
    class Gone(Server):
        def ask(self, sql: str, database: str = "postgres") -> str:
            raise ProgramError("psql ended with code 2: no connection")

    server: Any = Gone()
    validation.live_instance(measured, server)
    assert outcome(measured, "archive_off")[0] == "fail"
