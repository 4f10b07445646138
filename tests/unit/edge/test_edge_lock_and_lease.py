"""The lock keeps two runs apart and outlives no dead one; the lease ends in the stable color."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edge_model import ModelEdge, edge_confirmed, edge_in_flight, edge_with_stable, release, state_of
from hypothesis import given
from hypothesis import strategies as st
from turnout_edge import change
from turnout_edge.errors import Trouble
from turnout_edge.lock import lease_has_run_out, mark_age_s
from turnout_edge.store import FileLock
from turnout_edge.watch import Watch

SECONDS = st.floats(0, 1e7)
JUMP = st.floats(-1e9, 1e9)


@given(age=SECONDS, jump=JUMP, boot=SECONDS)
def test_age_in_one_boot_ignores_the_wall_clock(age: float, jump: float, boot: float) -> None:
    mark = {"wall": 1e9, "boot": boot, "boot_id": "x"}
    now = {"wall": 1e9 + jump, "boot": boot + age, "boot_id": "x"}
    assert mark_age_s(mark, now) == pytest.approx(age, abs=1e-6)


@given(passed=SECONDS, jump=JUMP, uptime=SECONDS)
def test_age_across_a_reboot_is_at_least_the_uptime(passed: float, jump: float, uptime: float) -> None:
    mark = {"wall": 1e9, "boot": 5e6, "boot_id": "x"}
    now = {"wall": 1e9 + passed + jump, "boot": uptime, "boot_id": "y"}
    assert mark_age_s(mark, now) >= uptime


def test_a_lease_from_before_a_reboot_is_over_however_short_the_reboot() -> None:
    lease = {"armed": True, "lease_s": 100, "renewed": {"wall": 1e9, "boot": 50.0, "boot_id": "x"}}
    assert lease_has_run_out(lease, {"wall": 1e9 + 1, "boot": 0.5, "boot_id": "y"})
    assert not lease_has_run_out(lease, {"wall": 1e9 + 1, "boot": 51.0, "boot_id": "x"})


def test_a_fresh_lock_is_refused_with_its_holder_and_the_way_out() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A --owner anna@laptop --pid 77 --purpose deploy --ttl-s 60")
    edge.time.advance(20)
    with pytest.raises(Trouble) as seen:
        edge.run("lock take --run B")
    fault = seen.value
    assert fault.exit_code == 4
    for word in ("run A", "deploy", "anna@laptop", "pid 77", "20 s ago"):
        assert word in fault.observed
    assert "ansible-playbook turnout.ops.unlock" in fault.remedy
    assert "wait 40 s" in fault.remedy


def test_a_stale_lock_is_taken_over_on_the_record() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A --ttl-s 60")
    edge.time.advance(61)
    assert edge.run("show")["lock"]["fresh"] is False
    result = edge.run("lock take --run B")
    assert result["took_over"]["run"] == "A"
    assert edge.journal.tail(1)[0]["took_over"]["run"] == "A"
    with pytest.raises(Trouble) as seen:
        edge.run("beat --run A")
    assert seen.value.exit_code == 4


def test_beats_keep_the_lock_and_the_lease_fresh() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 500 --lease-s 5")
    for _ in range(30):
        edge.time.advance(4)
        assert edge.run("beat --run A")["lease_renewed"] is True
        Watch(edge).tick()
    assert edge.shares()["green"] == 500
    assert edge.run("show")["lock"]["fresh"] is True


def test_taking_the_own_lock_again_is_a_beat() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.time.advance(30)
    assert edge.run("lock take --run A")["changed"] is False
    assert edge.run("show")["lock"]["age_s"] == 0


def test_release_and_break() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    assert edge.run("lock release --run B")["changed"] is False
    assert edge.run("lock release --run A")["changed"] is True
    assert edge.run("lock release --run A")["changed"] is False
    edge.run("lock take --run B")
    assert edge.run("lock break")["broke"]["run"] == "B"
    assert edge.run("lock break")["broke"] is None


def test_an_unreadable_lock_is_nobodys() -> None:
    edge = ModelEdge()
    edge.disk.data["/state/lock.json"] = b"\x00\x00"
    edge.run("lock take --run A")


def test_lease_that_runs_out_ends_in_the_stable_color() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    watch = Watch(edge)
    edge.time.advance(4.9)
    watch.tick()
    assert edge.shares()["green"] == 2500
    edge.time.advance(0.2)
    watch.tick()
    assert edge.shares() == {"blue": 10_000, "green": 0}
    entry = edge.ledger.tail(1)[0]
    assert (entry["kind"], entry["actor"]) == ("rollback", "lease")
    assert edge.run("show")["lease"] == {"armed": False}
    with pytest.raises(Trouble) as seen:
        edge.run("move --run A --share-bp 5000")
    assert seen.value.exit_code == 4, "the run that came back too late must not move again"


def test_lease_of_a_candidate_without_users_just_ends() -> None:
    edge = edge_in_flight(0)
    edge.run("lease arm --run A --lease-s 5")
    edge.time.advance(6)
    Watch(edge).tick()
    assert edge.run("show")["lease"] == {"armed": False}
    assert edge.ledger.tail(5) == []
    edge.run("move --run A --share-bp 500")


def test_lease_of_a_first_release_leaves_it_where_it_is() -> None:
    edge = ModelEdge()
    edge.run("lock take --run A")
    edge.run("prepare --run A --color blue", release=release("1.0.0"))
    edge.run("move --run A --share-bp 10000 --lease-s 5")
    edge.time.advance(6)
    Watch(edge).tick()
    assert edge.shares()["blue"] == 10_000
    assert "no stable release" in edge.journal.tail(1)[0]["result"]


def test_lease_is_refused_by_a_dead_stable_color_and_tried_again() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    edge.proxy.statuses["sample-blue"] = {"app1": "DOWN", "app2": "DOWN"}
    watch = Watch(edge)
    edge.time.advance(6)
    for _ in range(5):
        watch.tick()
    assert edge.shares()["green"] == 2500
    told = [line for line in edge.journal.tail(20) if line["action"] == "lease-ran-out"]
    assert len(told) == 1, "journalled once, not at every poll"
    edge.proxy.statuses["sample-blue"]["app1"] = "UP"
    watch.tick()
    assert edge.shares()["green"] == 0


def test_lease_with_haproxy_away_ends_on_disk() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    edge.proxy.running = False
    edge.time.advance(6)
    watch = Watch(edge)
    watch.tick()
    edge.proxy.restart()
    assert edge.shares()["green"] == 0
    watch.tick()
    assert edge.agrees()


def test_lease_that_a_power_cut_made_unreadable_is_over() -> None:
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 500")
    edge.disk.data["/state/lease.json"] = b""
    Watch(edge).tick()
    assert edge.shares()["green"] == 0


def test_lease_needs_its_watchdog() -> None:
    edge = edge_in_flight(0)
    edge.config.require_watch = True
    edge.watch_is_alive = lambda: False  # type: ignore[method-assign]
    with pytest.raises(Trouble) as seen:
        edge.run("move --run A --share-bp 500 --lease-s 5")
    assert seen.value.code == "watch-down"
    assert edge.shares()["green"] == 0


def test_lease_commands() -> None:
    edge = edge_with_stable()
    edge.run("lease arm --run A")
    assert edge.run("show")["lease"]["lease_s"] == 10
    edge.run("lease renew --run A")
    with pytest.raises(Trouble):
        edge.run("lease renew --run B")
    with pytest.raises(Trouble):
        edge.run("lease disarm --run B")
    assert edge.run("lease disarm --run A")["changed"] is True
    assert edge.run("lease disarm --run A")["changed"] is False
    with pytest.raises(Trouble):
        edge.run("lease renew --run A")


def test_confirmed_traffic_needs_no_lease() -> None:
    edge = edge_confirmed()
    edge.time.advance(1e6)
    watch = Watch(edge)
    for _ in range(4):
        watch.tick()
    assert edge.shares()["green"] == 10_000


def test_watchdog_mends_what_haproxy_lost_but_only_after_a_second_look() -> None:
    edge = edge_in_flight(2500)
    watch = Watch(edge)
    edge.proxy.green = 0
    watch.tick()
    watch.tick()
    assert edge.proxy.green == 0
    watch.tick()
    watch.tick()
    assert edge.proxy.green == 2500
    assert edge.journal.tail(1)[0]["actor"] == "watch"


def test_watchdog_mends_the_map_file_while_haproxy_is_away() -> None:
    edge = edge_in_flight(2500)
    edge.proxy.running = False
    edge.disk.data["/etc/haproxy/share.map"] = b"green 9\n"
    watch = Watch(edge)
    for _ in range(4):
        watch.tick()
    assert edge.disk_bp() == 2500


def test_watchdog_survives_a_state_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    edge = edge_in_flight(2500)
    good = edge.disk.data["/state/state.json"]
    edge.disk.data["/state/state.json"] = b"{"
    watch = Watch(edge)
    for _ in range(6):
        watch.tick()
    assert capsys.readouterr().err.count("state-corrupt") == 1, "said once"
    edge.disk.data["/state/state.json"] = good
    watch.tick()
    assert state_of(edge).share_bp == 2500


# Waiting -----------------------------------------------------------------------------------------------------------


def test_one_works_at_a_time_and_who_waits_too_long_is_told_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flock"
    path.write_text("a longer text than a process id\n")
    assert FileLock.WAIT_S == 5.0
    monkeypatch.setattr(FileLock, "WAIT_S", 0.1)
    with FileLock(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(Trouble) as caught, FileLock(str(path)):
            raise AssertionError("two at once")
    assert caught.value.code == "busy"
    assert f"(pid {os.getpid()}) has worked for more than 0.1 s" in caught.value.observed
    with FileLock(str(path)):
        pass


def test_the_lock_of_all_work_is_a_private_file_in_a_folder_that_must_be_there(tmp_path: Path) -> None:
    with FileLock(str(tmp_path / "flock")):
        assert (tmp_path / "flock").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Trouble, match="there is no") as caught, FileLock(str(tmp_path / "none" / "flock")):
        raise AssertionError("there is no folder")
    assert caught.value.code == "state-dir"


@pytest.mark.parametrize(("pending", "looks"), [(0, 1), (3, 4), (1000, 32)])
def test_the_first_health_checks_after_a_start_are_waited_for_a_second_and_a_half(
    monkeypatch: pytest.MonkeyPatch, pending: int, looks: int
) -> None:
    seen: list[bool] = []
    slept: list[float] = []

    def backends() -> dict[str, Any]:
        seen.append(len(seen) < pending)
        return {"green": {"servers": [{"pending": False}, {"pending": seen[-1]}]}}

    monkeypatch.setattr(change.time, "sleep", slept.append)
    monkeypatch.setattr(change.time, "monotonic", lambda: 1000.0 + round(sum(slept), 6))
    edge: Any = SimpleNamespace(haproxy=SimpleNamespace(backends=backends))
    assert change.checked_backend(edge, "green")["servers"][1]["pending"] is (pending == 1000)
    assert len(seen) == looks
    assert set(slept) <= {0.05}
