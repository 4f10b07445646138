from __future__ import annotations

import pytest
import redis
from conftest import eventually
from redis.backoff import NoBackoff
from redis.retry import Retry

# A refusal is an answer: no second try.
ONCE = Retry(NoBackoff(), 0)

# Listens where the exporter can be asked to look, and prints what it is sent.
STRANGER = """
import socket
server = socket.create_server(("127.0.0.1", 7777))
server.settimeout(20)
connection = server.accept()[0]
connection.settimeout(3)
told = b""
try:
    while part := connection.recv(4096):
        told += part
        connection.sendall(b"+OK\\r\\n")
except TimeoutError:
    pass
print(told.decode("utf-8", "replace"))
"""


def client(lab, user: str, password: str | None = None) -> redis.Redis:
    return redis.Redis(
        host=lab.one("redis"),
        username=user,
        password=password or lab.redis_passwords[user],
        socket_timeout=5,
        decode_responses=True,
        retry=ONCE,
    )


@pytest.mark.parametrize("user", ["service", "exporter", "backup", "checklist", "admin", "default", "stranger"])
def test_nobody_comes_in_without_the_password(lab, user) -> None:
    with pytest.raises(redis.AuthenticationError):
        client(lab, user, "not-the-password").ping()


def test_the_default_user_is_off_whatever_password_is_named(lab) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host=lab.one("redis"), socket_timeout=5, retry=ONCE).ping()
    for password in lab.redis_passwords.values():
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(host=lab.one("redis"), password=password, socket_timeout=5, retry=ONCE).ping()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        *(
            ("service", words)
            for words in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "REPLICAOF a 1", "SAVE")
        ),
        *(("exporter", words) for words in ("GET verify:a", "SET verify:a 1", "CONFIG GET *", "SLOWLOG GET", "KEYS *")),
        *(("backup", words) for words in ("GET verify:a", "SET verify:a 1", "CONFIG SET maxmemory 1", "FLUSHALL")),
        *(("checklist", words) for words in ("SET verify:a 1", "DEL verify:a", "CONFIG GET *", "FLUSHALL", "SYNC")),
    ],
)
def test_a_user_cannot_do_what_it_does_not_need(lab, user, command) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        client(lab, user).execute_command(*command.split())


def test_each_user_can_do_what_it_needs(lab) -> None:
    service = client(lab, "service")
    assert service.rpush("verify:needs", "one")
    assert service.eval("return redis.call('LLEN', KEYS[1])", 1, "verify:needs") == 1
    assert service.info("server")
    assert client(lab, "checklist").lindex("verify:needs", -1) == "one"
    assert client(lab, "backup").dbsize() >= 1
    assert client(lab, "exporter").info("memory")
    service.delete("verify:needs")


def test_the_exporter_tells_its_password_to_no_other_address(lab) -> None:
    (host,) = lab.groups["redis"]
    ask = "curl -s --max-time 10 'http://{}:9121/scrape?target=redis://{}127.0.0.1:7777'"
    for user in ("", "exporter@", "admin@", ":@"):
        lines = (
            f"python3 - <<'EOF' &\n{STRANGER}\nEOF\nsleep 0.5\n{ask.format(lab.one('redis'), user)} >/dev/null\nwait"
        )
        told = lab.ssh(host, lines).stdout
        assert "INFO" in told, "the exporter never came"
        assert "AUTH" not in told
        for secret in lab.secrets:
            assert secret not in told


def test_the_queue_is_neither_evicted_nor_forgotten(lab) -> None:
    config = client(lab, "admin").config_get("*")
    assert config["maxmemory-policy"] == "noeviction"
    assert int(config["maxmemory"]) > 0
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"


def test_what_was_written_is_there_after_a_restart_and_so_are_the_users(lab) -> None:
    (host,) = lab.groups["redis"]
    client(lab, "service").rpush("verify:queue", "one", "two")
    before = sorted(client(lab, "admin").acl_list())
    lab.ssh(host, "sleep 1.1; systemctl kill -s KILL redis-server; systemctl restart redis-server")

    def look() -> None:
        try:
            assert client(lab, "service").lrange("verify:queue", 0, -1) == ["one", "two"]
        except redis.ConnectionError as error:
            raise AssertionError(str(error)) from error

    eventually(look)
    assert sorted(client(lab, "admin").acl_list()) == before
    client(lab, "service").delete("verify:queue")


def test_the_passwords_are_readable_for_those_who_need_them_only(lab) -> None:
    (host,) = lab.groups["redis"]
    patterns = "\n".join(lab.redis_passwords.values())
    readable = lab.ssh(host, f"grep -rlF -f - /etc <<'EOF' | xargs stat -c '%n %a %U:%G'\n{patterns}\nEOF").stdout
    assert sorted(readable.splitlines()) == [
        "/etc/prometheus/redis-exporter.json 640 root:prometheus",
        "/etc/redis/turnout-admin 600 root:root",
    ]
    conf = lab.ssh(host, "stat -c '%a %U:%G' /etc/redis/turnout.conf; cat /etc/redis/turnout.conf").stdout
    assert conf.startswith("640 root:redis")
    assert "requirepass" not in conf
    assert "user default off" in conf
