"""Rotations at a real Redis, with each way in which it keeps its users over a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session
from ansible_collections.turnout.ops.plugins.module_utils.rotated_redis import (
    KeepError,
    close_login,
    keeping,
    look,
    open_login,
)
from rotation_servers import REDIS, Clients, Credential, RedisServer

PAIR = ["shop_a", "shop_b"]
RULES = ["~*", "&*", "+@all", "-@admin", "-@dangerous", "+info"]
pytestmark = pytest.mark.skipif(not REDIS.exists(), reason="needs Redis: make setup")
Started = Callable[..., RedisServer]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    running: list[RedisServer] = []

    def start(*lines: str) -> RedisServer:
        running.append(RedisServer(tmp_path, *lines))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def file(user: str, password: str, following: tuple[str, str] | None = None) -> dict[str, Any]:
    more = {"next": {"user": following[0], "password": following[1]}} if following else {}
    return {"current": {"user": user, "password": password}, **more}


def of(way: str, started: Started, folder: Path) -> tuple[RedisServer, str]:
    """Return a server that keeps its users in this way, and the file of the role where it has one."""
    (folder / "users.acl").write_text("user default on nopass ~* &* +@all\n")
    (folder / "rotated.conf").write_text("")
    lines = {
        "aclfile": [f"aclfile {folder}/users.acl"],
        "rewrite": [],
        "users_file": [f"include {folder}/turnout.conf"],
    }
    (folder / "turnout.conf").write_text(
        f"maxmemory 64mb\nuser service on nopass ~* +@all\ninclude {folder}/rotated.conf\n"
    )
    return started(*lines[way]), f"{folder}/rotated.conf"


def admin(server: RedisServer) -> Session:
    return Session(f"redis://127.0.0.1:{server.port}/0", 20)


@pytest.mark.parametrize("way", ["aclfile", "rewrite", "users_file"])
def test_twenty_rotations_refuse_nobody_and_outlive_a_restart(way: str, started: Started, tmp_path: Path) -> None:
    server, users_file = of(way, started, tmp_path)
    assert keeping(admin(server), PAIR, users_file) == way
    open_login(admin(server), PAIR, "shop_a", "password-0", RULES, users_file=users_file)
    serving = [("shop_a", "password-0")]

    def once(login: Credential) -> None:
        with server.client(*login) as client:
            client.rpush("queue", "job")

    with Clients(serving, once, rate=100) as clients:
        for number in range(1, 21):
            old, new = serving[0], (PAIR[number % 2], f"password-{number}")
            open_login(admin(server), PAIR, *new, RULES, users_file=users_file)
            seen = look(admin(server), PAIR, file(*old, new), users_file)
            assert seen["logins"][new[0]]["takes_next"]
            assert seen["logins"][old[0]]["takes"]
            assert seen["faults"] == []
            serving[0] = new
            time.sleep(0.05)
            assert close_login(admin(server), PAIR, old[0], 10, users_file, end_sessions=False) == []
            with pytest.raises(redis.AuthenticationError):
                server.client(*old).ping()
    assert clients.failed == []
    assert clients.done > 50
    server.stop()
    server.start()
    assert server.client(*serving[0]).llen("queue") == 0
    for number in range(20):
        with pytest.raises(redis.AuthenticationError):
            server.client(PAIR[number % 2], f"password-{number}").ping()
    written = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert "password-" not in written


def test_a_user_with_sessions_is_not_closed_but_by_a_persons_word(started: Started, tmp_path: Path) -> None:
    server, users_file = of("aclfile", started, tmp_path)
    open_login(admin(server), PAIR, "shop_a", "password-1", RULES, users_file=users_file)
    client = server.client("shop_a", "password-1")
    client.client_setname("shop-worker")
    (told,) = close_login(admin(server), PAIR, "shop_a", 0.3, users_file, end_sessions=False)
    assert told.startswith("client ")
    assert ", shop-worker from 127.0.0.1:" in told
    assert client.ping()
    assert close_login(admin(server), PAIR, "shop_a", 0.3, users_file, end_sessions=True) == []
    with pytest.raises(redis.RedisError):
        client.ping()
    assert look(admin(server), PAIR, file("shop_a", "password-1"), users_file)["logins"]["shop_a"]["opened"] is False


def test_who_is_connected_as_a_user_whose_password_is_set_again_stays(started: Started, tmp_path: Path) -> None:
    server, users_file = of("rewrite", started, tmp_path)
    open_login(admin(server), PAIR, "shop_a", "password-1", RULES, users_file=users_file)
    client = server.client("shop_a", "password-1")
    client.set("key", "1")
    connection = client.connection_pool.get_connection()
    connection.send_command("PING")
    open_login(admin(server), PAIR, "shop_a", "password-2", RULES, users_file=users_file)
    assert connection.read_response() == b"PONG"
    assert server.client("shop_a", "password-2").ping()


def test_a_redis_that_would_forget_its_users_is_refused_and_unchanged(started: Started, tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("user other on nopass ~* +@all\n")
    server = started(f"include {tmp_path}/more.conf")
    with pytest.raises(KeepError) as refused:
        open_login(admin(server), PAIR, "shop_a", "password-1", RULES, users_file="/etc/none")
    assert "would find them twice, and not start" in refused.value.fault["observed"]
    assert "turnout.ops.site --tags redis" in refused.value.fault["remedy"]
    assert look(admin(server), PAIR, file("shop_a", "x"), "/etc/none")["faults"] == [refused.value.fault]
    assert server.client().acl_getuser("shop_a") is None


def test_a_name_that_another_file_defines_is_refused(started: Started, tmp_path: Path) -> None:
    server, users_file = of("users_file", started, tmp_path)
    with pytest.raises(KeepError) as refused:
        keeping(admin(server), ["service", "shop_b"], users_file)
    assert f"service in {tmp_path}/turnout.conf" in refused.value.fault["observed"]


def test_an_open_user_without_password_is_seen_as_open(started: Started, tmp_path: Path) -> None:
    server, users_file = of("rewrite", started, tmp_path)
    server.client().acl_setuser("shop_b", enabled=True, nopass=True)
    assert look(admin(server), PAIR, file("shop_a", "x"), users_file)["logins"] == {
        "shop_b": {"opened": True, "takes": False, "takes_next": False, "sessions": []}
    }
