"""What an edge says of itself to its peers and to Prometheus, and how it keeps what it hears."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from edge_model import ModelEdge, edge_between, edge_confirmed, edge_in_flight, state_of
from real_edge import ROLE, RealEdge
from turnout_edge.edge import Config
from turnout_edge.errors import Trouble
from turnout_edge.follow import Follower, boot_s, read_settings, run_peer, said_here, ssh_words
from turnout_edge.metrics import exposition, overdue_s
from turnout_edge.peers import LINE_LIMIT, heard
from turnout_edge.watch import Watch

PEER = {"name": "edge2", "address": "192.0.2.2", "port": 2222, "user": "turnout-peer"}


def config(folder: Path) -> Config:
    return Config(
        {
            "service": "sample",
            "socket": "/s",
            "map": "/m",
            "backends": {"blue": "b", "green": "g"},
            "state_dir": str(folder),
            "told_file": str(folder / "told.json"),
            "peers_file": str(folder / "peers.json"),
            "peers": ["edge2"],
        }
    )


def test_what_a_peer_may_know_is_published_at_every_change_and_holds_no_secret(tmp_path: Path) -> None:
    edge = edge_in_flight(0)
    edge.config.told_file = "/run/turnout/told.json"
    edge.run("move --run A --share-bp 10000 --lease-s 5")
    edge.run("ready --run A --color green")
    told = json.loads(edge.disk.data["/run/turnout/told.json"])
    assert told["handover"]["stage"] == "ready"
    assert told["serving"] == {"blue": 0, "green": 10_000}
    assert set(told) == {
        *("format", "service", "stable", "release", "candidate", "share_bp", "serving", "since"),
        *("handover", "lease_armed", "boot"),
    }
    edge.run("confirm --run A")
    assert json.loads(edge.disk.data["/run/turnout/told.json"])["release"] == "1.1.0"
    edge.run("rollback")
    assert json.loads(edge.disk.data["/run/turnout/told.json"])["handover"]["stage"] == "back"


def test_the_watchdog_tells_its_peers_also_while_it_cannot_go_back() -> None:
    edge = edge_between("ready")
    edge.config.told_file = "/told"
    edge.proxy.statuses["sample-blue"] = {"app1": "DOWN", "app2": "DOWN"}
    edge.time.advance(30)
    watch = Watch(edge)
    for _ in range(8):
        edge.time.advance(0.25)
        watch.tick()
    assert json.loads(edge.disk.data["/told"])["boot"] == edge.time.boot


def test_a_folder_that_is_not_there_keeps_nothing_from_being_done(tmp_path: Path) -> None:
    edge = edge_between("ready")
    edge.config.told_file = "/told"

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    keep = edge.disk.replace
    edge.disk.replace = lambda path, *a, **k: refuse() if path == "/told" else keep(path, *a, **k)  # type: ignore[method-assign]
    assert edge.run("confirm --run A")["changed"] is True


def test_a_peer_says_what_was_published_and_how_old_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(tmp_path)
    assert said_here(settings) == {"age_s": None}
    (tmp_path / "told.json").write_text(json.dumps({"service": "sample", "boot": boot_s() - 7}))
    assert run_peer(settings, keep_on=False) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["service"] == "sample"
    assert 7 <= said["age_s"] < 60
    (tmp_path / "told.json").write_text("rubbish")
    assert said_here(settings) == {"age_s": None}


def test_what_is_heard_is_kept_with_its_age_for_the_watchdog(tmp_path: Path) -> None:
    follower = Follower(str(tmp_path / "peers.json"))
    assert follower.keep("edge2", b'{"service": "sample", "age_s": 0.5}\n') is True
    raw = (tmp_path / "peers.json").read_bytes()
    assert heard(raw, "edge2", "sample", boot_s()) == {"service": "sample"}
    assert heard(raw, "edge2", "sample", boot_s() + 4) is None, "too old"
    assert follower.keep("edge2", b'{"service": "sample", "age_s": 100}\n') is True
    assert heard((tmp_path / "peers.json").read_bytes(), "edge2", "sample", boot_s()) is None, "its watchdog is dead"
    assert stat.S_IMODE((tmp_path / "peers.json").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[]\n",
        b"x\n",
        b"{}\n",
        b'{"age_s": null}\n',
        b'{"age_s": -1}\n',
        b'{"age_s": true}\n',
        b"{" * LINE_LIMIT,
    ],
)
def test_a_line_that_says_nothing_is_not_kept(tmp_path: Path, line: bytes) -> None:
    follower = Follower(str(tmp_path / "peers.json"))
    assert follower.keep("edge2", line) is False
    assert not (tmp_path / "peers.json").exists()


def test_a_peer_is_known_by_its_name_and_nothing_is_asked_of_a_person() -> None:
    words = ssh_words({**PEER, "key": "/etc/turnout/peers/key", "known_hosts": "/k"})
    text = " ".join(words)
    for part in (
        *("-i /etc/turnout/peers/key", "-p 2222", "StrictHostKeyChecking=yes", "UserKnownHostsFile=/k"),
        *("HostKeyAlias=edge2", "BatchMode=yes", "GlobalKnownHostsFile=none", "-F none"),
    ):
        assert part in text
    assert words[-2:] == ["turnout-peer@192.0.2.2", "peer"]
    assert words[-3] == "--"


def test_a_connection_is_followed_to_its_end_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "ssh"
    said = '{"service": "sample", "age_s": 0}'
    fake.write_text(f"#!/bin/sh\necho '{said}'\necho 'edge2: Connection reset' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    follower = Follower(str(tmp_path / "peers.json"))
    follower.follow_once("edge2", ssh_words({**PEER, "key": "k", "known_hosts": "h"}))
    assert heard((tmp_path / "peers.json").read_bytes(), "edge2", "sample", boot_s()) == {"service": "sample"}
    told = capsys.readouterr().err
    assert "peer edge2: heard" in told
    assert "peer edge2: not heard: edge2: Connection reset" in told


def test_a_connection_that_ends_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout_edge.follow.AGAIN_AFTER_S", 0.0)
    follower = Follower(str(tmp_path / "peers.json"))
    calls: list[str] = []

    def once(name: str, words: list[str]) -> None:
        del words
        calls.append(name)
        if len(calls) == 2:
            raise FileNotFoundError(2, "No such file or directory: 'ssh'")
        if len(calls) == 4:
            raise KeyboardInterrupt

    follower.follow_once = once  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        follower.follow({**PEER, "key": "k", "known_hosts": "h"})
    assert calls == ["edge2"] * 4


@pytest.mark.parametrize("text", [None, "", "{}", '{"peers": 5}', '{"peers": [{"name": "edge2"}]}'])
def test_settings_that_cannot_be_read_are_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "peers.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Trouble) as seen:
        read_settings(str(path))
    assert "ansible-playbook turnout.ops.site" in seen.value.remedy


def test_the_metrics_tell_what_serves_since_when_and_what_is_wrong() -> None:
    edge = edge_in_flight(2500)
    edge.run("lease arm --run A --lease-s 5")
    edge.time.advance(12)
    peers = {"edge2": None, "edge3": {"service": "sample"}}
    state, lease, now = state_of(edge), edge.load_lease(), edge.time.mark()
    text = exposition(state, lease, now, doubt=True, peers=peers)
    for line in (
        'turnout_edge_share{service="sample",color="blue",release="1.0.0"} 0.75',
        'turnout_edge_share{service="sample",color="green",release="1.1.0"} 0.25',
        'turnout_edge_stable{service="sample",color="blue",release="1.0.0"} 1',
        'turnout_edge_stable{service="sample",color="green",release="1.1.0"} 0',
        'turnout_edge_since_seconds{service="sample"} 1800000000',
        'turnout_edge_lease_armed{service="sample"} 1',
        'turnout_edge_lease_overdue_seconds{service="sample"} 7',
        'turnout_edge_in_doubt{service="sample"} 1',
        'turnout_edge_peer_heard{service="sample",peer="edge2"} 0',
        'turnout_edge_peer_heard{service="sample",peer="edge3"} 1',
        'turnout_edge_watch_seconds{service="sample"} 1800000012',
    ):
        assert line in text.splitlines()
    assert text.count("# TYPE ") == text.count("# HELP ") == 8


def test_an_unreadable_lease_is_overdue_since_the_machine_started() -> None:
    edge = ModelEdge()
    assert overdue_s({"armed": True}, edge.time.mark()) == 1000
    assert overdue_s({"armed": False}, edge.time.mark()) == 0


def test_the_watchdog_writes_the_metrics_where_there_is_a_folder_for_them(tmp_path: Path) -> None:
    edge = edge_confirmed()
    edge.config.textfile = str(tmp_path / "edge.prom")
    watch = Watch(edge)
    for _ in range(21):
        watch.tick()
    assert b'color="green",release="1.1.0"} 1' in edge.disk.data[edge.config.textfile]
    edge.config.textfile = str(tmp_path / "none" / "edge.prom")
    before = dict(edge.disk.data)
    watch.measure()
    assert edge.disk.data == before


def test_a_process_that_follows_says_a_change_at_once(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    try:
        settings = json.loads(edge.config.read_text())
        told = tmp_path / "told.json"
        edge.config.write_text(json.dumps({**settings, "told_file": str(told)}))
        told.write_text(json.dumps({"service": "sample", "stable": "blue", "boot": boot_s()}))
        child = edge.popen("peer", "--follow")
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["stable"] == "blue"
        temporary = tmp_path / "new"
        temporary.write_text(json.dumps({"service": "sample", "stable": "green", "boot": boot_s()}))
        temporary.rename(told)
        RealEdge.wait_for(lambda: json.loads(child.stdout.readline())["stable"] == "green", "the change")
        child.stdout.close()
        child.wait(10)
        assert "Traceback" not in (child.stderr.read() if child.stderr else "")
    finally:
        edge.stop()


def test_the_forced_command_is_all_that_a_peers_key_may_run() -> None:
    text = (ROLE / "templates" / "peer_authorized_keys.j2").read_text()
    keys = [line for line in text.splitlines() if "b64decode" in line]
    assert keys
    assert all(line.startswith('restrict,command="/usr/local/sbin/turnout-edge peer --follow" ') for line in keys)
