"""turnout-edge as processes, against a real HAProxy with the role's own configuration."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_edge import Load, RealEdge
from turnout_edge.haproxy import HAProxy


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[RealEdge]:
    edge = RealEdge(tmp_path)
    try:
        edge.start()
        yield edge
    finally:
        edge.stop()


@pytest.fixture
def flying(edge: RealEdge) -> RealEdge:
    """An edge with blue stable and green prepared."""
    edge.bring_up()
    return edge


def test_shares_are_exact_steady_and_lose_nothing_under_load(flying: RealEdge) -> None:
    users = [f"user-{number}" for number in range(400)]
    on_green: set[str] = set()
    with Load(flying) as load:
        for share in (500, 2500, 5000, 10_000):
            flying.do("move", "--run", "A", "--share-bp", str(share))
            connection = http.client.HTTPConnection("127.0.0.1", flying.port, timeout=20)
            now = {user for user in users if flying.get_on(connection, "/", user)[1].startswith("green")}
            connection.close()
            assert abs(len(now) / len(users) - share / 10_000) < 0.09
            assert on_green <= now, "who was on green stays on green while the share grows"
            on_green = now
        assert len(on_green) == len(users)
        flying.do("rollback")
        after = time.monotonic()
        time.sleep(0.3)
    assert load.failures == []
    assert len(load.answers) > 100
    late = [color for sent, color in load.answers if sent > after]
    assert late
    assert set(late) == {"blue"}, "no request that comes after the rollback has returned reaches the bad color"


def test_users_without_a_key_are_told_apart_by_address(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "5000")
    assert len({flying.get()[1] for _ in range(20)}) == 1, "one address, one color"
    assert len({flying.get(user="")[1] for _ in range(20)}) == 1


def test_header_chooses_a_color_and_never_reaches_the_application(flying: RealEdge) -> None:
    status, body, headers = flying.get(X_Turnout_Color="green")
    assert (status, body, headers["x-turnout-color"]) == (200, "green ", "green")
    assert "x-turnout-color" not in flying.services["green"].last_headers
    assert flying.get(X_Turnout_Color="blue")[1] == "blue "
    assert flying.get(X_Turnout_Color="purple")[1] == "blue "
    forwarded = flying.services["blue"].last_headers
    assert (forwarded["x-forwarded-for"], forwarded["x-forwarded-proto"]) == ("127.0.0.1", "http")


def test_header_from_elsewhere_is_taken_away(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path, edge_candidate_networks=["192.0.2.0/24"])
    try:
        edge.start()
        edge.bring_up()
        assert edge.get(X_Turnout_Color="green")[1] == "blue "
        assert "x-turnout-color" not in edge.services["blue"].last_headers
    finally:
        edge.stop()


def test_cookie_can_be_the_key(tmp_path: Path) -> None:
    service = {"bucket": {"cookie": "session"}}
    edge = RealEdge(tmp_path)
    text = edge.render({})
    edge.haproxy_cfg.write_text(text.replace("req.hdr(Authorization)", "req.cook(session)"))
    assert service["bucket"]["cookie"] in edge.haproxy_cfg.read_text()
    try:
        edge.start()
        edge.bring_up()
        edge.do("move", "--run", "A", "--share-bp", "5000")
        colors = {edge.get(Cookie=f"a=b; session=s{number}")[1] for number in range(60)}
        assert colors == {"blue ", "green "}
        assert len({edge.get(Cookie="session=one")[1] for _ in range(10)}) == 1
    finally:
        edge.stop()


def test_without_a_release_users_hear_so(edge: RealEdge) -> None:
    for service in edge.services.values():
        service.healthy = False
    edge.wait_for(lambda: not edge.ask("show")["backends"]["blue"]["up"], "failed checks")
    status, body, headers = edge.get()
    assert status == 503
    assert "sample has no server in service" in body
    assert headers["retry-after"] == "5"


def test_move_is_refused_while_haproxys_own_check_fails(flying: RealEdge) -> None:
    flying.services["green"].healthy = False
    flying.wait_for(lambda: not flying.ask("show")["backends"]["green"]["up"], "failed checks")
    code, answer, said = flying.call("move", "--run", "A", "--share-bp", "500")
    assert (code, answer["error"]["code"]) == (3, "candidate-down")
    assert "app1 DOWN" in said
    flying.services["green"].healthy = True
    flying.wait_for(lambda: flying.ask("show")["backends"]["green"]["all_up"], "passed checks")
    flying.do("move", "--run", "A", "--share-bp", "500")


def test_move_right_after_a_restart_waits_for_the_first_checks(flying: RealEdge) -> None:
    flying.kill_haproxy()
    flying.services["green"].healthy = False
    flying.start()
    assert flying.call("move", "--run", "A", "--share-bp", "500")[0] == 3


def test_reload_and_restart_keep_the_share(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "2500")
    with Load(flying) as load:
        for _ in range(4):
            flying.reload()
            time.sleep(0.2)
    assert load.failures == []
    assert flying.ask("show")["live"]["green_bp"] == 2500
    flying.kill_haproxy()
    flying.start()
    shown = flying.ask("show")
    assert (shown["live"]["green_bp"], shown["agree"]) == (2500, True)


def test_rollback_reaches_the_connections_of_a_haproxy_from_before_a_reload(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "10000")
    connection = http.client.HTTPConnection("127.0.0.1", flying.port, timeout=20)
    connection.request("GET", "/stream/15")
    response = connection.getresponse()  # its headers are out: this connection will be kept by the old process
    flying.reload()
    flying.do("rollback")
    assert "green" in response.read().decode()
    try:
        answered = flying.get_on(connection)[1]
    except (OSError, http.client.HTTPException):
        answered = "closed"
    connection.close()
    assert answered in ("blue ", "closed")


def test_move_does_not_send_them_where_they_know_no_server(flying: RealEdge) -> None:
    flying.services["green"].healthy = False
    flying.wait_for(lambda: not flying.ask("show")["backends"]["green"]["up"], "failed checks")
    connection = http.client.HTTPConnection("127.0.0.1", flying.port, timeout=20)
    connection.request("GET", "/stream/25")
    response = connection.getresponse()
    flying.reload()
    flying.services["green"].healthy = True
    flying.wait_for(lambda: flying.ask("show")["backends"]["green"]["all_up"], "passed checks")
    flying.do("move", "--run", "A", "--share-bp", "10000")
    response.read()
    try:
        status, body, _ = flying.get_on(connection)
    except (OSError, http.client.HTTPException):
        status, body = 200, "closed"
    connection.close()
    assert (status, body) in ((200, "blue "), (200, "closed"))


def test_rollback_with_haproxy_dead_holds_at_its_next_start(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "10000")
    flying.kill_haproxy()
    code, answer, said = flying.call("rollback")
    assert code == 6
    assert answer["changed"] is True
    assert "WRITTEN TO DISK" in said
    assert flying.map.read_text() == "green 0\n"
    flying.start()
    assert flying.ask("show")["agree"] is True
    assert flying.get()[1] == "blue "


def test_move_and_prepare_with_haproxy_dead_change_nothing(flying: RealEdge) -> None:
    flying.kill_haproxy()
    before = {path.name: path.read_bytes() for path in flying.state_dir.glob("*.json*")}
    assert flying.call("move", "--run", "A", "--share-bp", "500")[0] == 3
    assert {path.name: path.read_bytes() for path in flying.state_dir.glob("*.json*")} == before


def test_map_entry_that_somebody_removed_is_made_anew(flying: RealEdge) -> None:
    proxy = HAProxy(str(flying.folder / "admin.sock"), str(flying.map))
    proxy.ask(f"clear map {flying.map}")
    assert flying.ask("show")["live"]["green_bp"] is None
    flying.do("move", "--run", "A", "--share-bp", "700")
    assert flying.ask("show")["live"]["green_bp"] == 700


def test_unknown_map_is_an_error_and_not_a_silence(flying: RealEdge) -> None:
    flying.config.write_text(flying.config.read_text().replace(str(flying.map), str(flying.map) + "x"))
    code, answer, _ = flying.call("move", "--run", "A", "--share-bp", "500")
    assert code == 3
    assert "map" in answer["error"]["observed"].lower()


def test_watchdog_goes_back_when_nobody_renews_the_lease(flying: RealEdge, tmp_path: Path) -> None:
    hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.bind(str(tmp_path / "notify"))
    hears.settimeout(10)
    watch = flying.popen("watch", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert hears.recv(100) == b"READY=1"
    assert hears.recv(100) == b"WATCHDOG=1"
    assert flying.ask("show")["watch"] is True
    flying.do("move", "--run", "A", "--share-bp", "5000", "--lease-s", "4")
    for _ in range(6):
        time.sleep(1)
        assert flying.ask("beat", "--run", "A")["lease_renewed"] is True
    assert flying.ask("show")["live"]["green_bp"] == 5000
    took_s = flying.wait_for(lambda: flying.map.read_text() == "green 0\n", "the end of the lease")
    assert 3 < took_s < 6
    shown = flying.ask("show")
    assert (shown["live"]["green_bp"], shown["ledger"][-1]["actor"]) == (0, "lease")
    assert flying.call("move", "--run", "A", "--share-bp", "6000")[0] == 4
    watch.terminate()
    assert watch.wait(10) == 0
    assert flying.ask("show")["watch"] is False


def test_watchdog_mends_a_share_that_a_hand_changed(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "2500")
    flying.popen("watch")
    flying.wait_for(lambda: flying.ask("show")["watch"], "the watchdog")
    proxy = HAProxy(str(flying.folder / "admin.sock"), str(flying.map))
    proxy.ask(f"set map {flying.map} green 10000")
    assert flying.wait_for(lambda: proxy.green_bp() == 2500, "the watchdog's hand") < 5
    flying.map.write_text("green 9999\n")
    assert flying.wait_for(lambda: flying.map.read_text() == "green 2500\n", "the watchdog's hand") < 5


def test_a_second_watchdog_does_not_start(flying: RealEdge) -> None:
    flying.popen("watch")
    flying.wait_for(lambda: flying.ask("show")["watch"], "the watchdog")
    second = flying.popen("watch")
    _, err = second.communicate(timeout=20)
    assert second.returncode == 3
    assert "a watchdog runs already" in err


def test_of_many_who_take_the_lock_at_once_one_gets_it(edge: RealEdge) -> None:
    children = [edge.popen("lock", "take", "--run", f"r{number}") for number in range(8)]
    codes = []
    for child in children:
        child.communicate(timeout=60)
        codes.append(child.returncode)
    assert sorted(codes) == [0, 4, 4, 4, 4, 4, 4, 4]


def test_moves_and_rollbacks_at_once_end_in_agreement(flying: RealEdge) -> None:
    children = [flying.popen("move", "--run", "A", "--share-bp", str(share)) for share in (100, 200, 300)]
    children += [flying.popen("rollback") for _ in range(3)]
    for child in children:
        said = child.communicate(timeout=60)[1]
        assert child.returncode in (0, 4), said
    shown = flying.ask("show")
    assert (shown["agree"], shown["share_bp"]) == (True, 0), "after the first rollback the lock is gone"


def test_a_kill_at_any_moment_leaves_an_edge_that_can_go_back(flying: RealEdge) -> None:
    choose = random.Random(7)  # noqa: S311
    share = 0
    for number in range(12):
        share = 2500 if share != 2500 else 7500
        child = flying.popen("move", "--run", "A", "--share-bp", str(share))
        time.sleep(choose.uniform(0.01, 0.12))
        child.kill()
        child.communicate()
        assert flying.ask("show")["ok"] is True, f"after kill {number}"
    flying.do("rollback")
    shown = flying.ask("show")
    assert (shown["agree"], shown["live"]["green_bp"]) == (True, 0)
    assert flying.do("rollback")["changed"] is False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_for_the_change_to_be_whole(flying: RealEdge, number: int) -> None:
    for _ in range(4):
        child = flying.popen("move", "--run", "A", "--share-bp", str(random.randrange(10_000)))  # noqa: S311
        time.sleep(0.05)
        child.send_signal(number)
        child.communicate(timeout=60)
        assert flying.ask("show")["agree"] is True


def test_nobody_listening_is_no_reason_to_stop_half_way(flying: RealEdge) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    child = subprocess.Popen(
        [*flying.words(), "move", "--run", "A", "--share-bp", "900"],
        stdout=write_end,
        stderr=write_end,
    )
    os.close(write_end)
    child.wait(60)
    assert flying.ask("show")["share_bp"] == 900


def test_a_hanging_haproxy_does_not_hang_a_rollback(flying: RealEdge) -> None:
    flying.do("move", "--run", "A", "--share-bp", "5000")
    worker = int(flying.ask("show")["haproxy"]["pid"])
    os.kill(worker, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert flying.call("rollback")[0] == 6
        assert time.monotonic() - started < 30
    finally:
        os.kill(worker, signal.SIGCONT)
    flying.do("rollback")
    assert flying.ask("show")["agree"] is True


@pytest.mark.parametrize(
    "words", [["nonsense"], ["move"], ["move", "--share-bp", "x"], ["lock"], ["rollback", "--force"]]
)
def test_wrong_usage_is_explained(edge: RealEdge, words: list[str]) -> None:
    code, answer, said = edge.call(*words)
    assert (code, answer["ok"]) == (2, False)
    assert "remedy:" in said


def test_rollback_is_quick(flying: RealEdge) -> None:
    """The bound of 0.2 s is for an edge of its own; here the processor's time is what can be promised."""
    flying.do("move", "--run", "A", "--share-bp", "5000")
    before = os.times()
    answer = flying.do("rollback")
    after = os.times()
    assert answer["moved"] is True
    assert (after.children_user + after.children_system) - (before.children_user + before.children_system) < 0.2


def test_exporter_and_statistics_answer(flying: RealEdge) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", flying.metrics_port, timeout=20)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    assert 'haproxy_backend_http_responses_total{proxy="sample-green",code="5xx"}' in text
    connection.close()
