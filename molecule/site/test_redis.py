from __future__ import annotations

import pytest
import redis
from conftest import eventually


def client(lab, password: str | None) -> redis.Redis:
    return redis.Redis(host=lab.one("redis"), password=password, socket_timeout=5, decode_responses=True)


@pytest.mark.parametrize("password", [None, "not-the-password"])
def test_nobody_comes_in_without_the_password(lab, password) -> None:
    with pytest.raises(redis.AuthenticationError):
        client(lab, password).ping()


def test_the_queue_is_neither_evicted_nor_forgotten(lab) -> None:
    config = client(lab, lab.redis_password).config_get("*")
    assert config["maxmemory-policy"] == "noeviction"
    assert int(config["maxmemory"]) > 0
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"


def test_what_was_written_is_there_after_a_restart(lab) -> None:
    (host,) = lab.groups["redis"]
    client(lab, lab.redis_password).rpush("verify:queue", "one", "two")
    lab.ssh(host, "sleep 1.1; systemctl kill -s KILL redis-server; systemctl restart redis-server")

    def look() -> None:
        try:
            assert client(lab, lab.redis_password).lrange("verify:queue", 0, -1) == ["one", "two"]
        except redis.ConnectionError as error:
            raise AssertionError(str(error)) from error

    eventually(look)
    client(lab, lab.redis_password).delete("verify:queue")


def test_the_password_is_readable_for_redis_only(lab) -> None:
    (host,) = lab.groups["redis"]
    readable = lab.ssh(
        host,
        "grep -rlF -f <(grep -o '[^ ]*$' <(grep ^requirepass /etc/redis/turnout.conf)) /etc"
        " | xargs stat -c '%n %a %U:%G'",
    ).stdout
    assert sorted(readable.splitlines()) == [
        "/etc/default/prometheus-redis-exporter 600 root:root",
        "/etc/redis/turnout.conf 640 root:redis",
    ]
