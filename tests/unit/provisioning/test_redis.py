"""The module against a server that speaks Redis's protocol on a real socket, and knows just these commands."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest


class FakeRedis(socketserver.ThreadingTCPServer):
    """What a server keeps: its settings, and what it was told in which order."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.settings = {"requirepass": "", "appendonly": "no", "maxmemory": "0", "bind": "* -::*", "databases": "16"}
        self.told: list[str] = []
        self.rewrites_left = 2

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(socketserver.StreamRequestHandler):
    server: FakeRedis

    def handle(self) -> None:
        logged_in = not self.server.settings["requirepass"]
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            if words[0] == "AUTH":
                if not self.server.settings["requirepass"]:
                    self.wfile.write(b"-ERR AUTH <password> called without any password configured\r\n")
                elif words[1] == self.server.settings["requirepass"]:
                    logged_in = True
                    self.wfile.write(b"+OK\r\n")
                else:
                    self.wfile.write(b"-WRONGPASS invalid username-password pair\r\n")
            elif not logged_in:
                self.wfile.write(b"-NOAUTH Authentication required.\r\n")
            else:
                self.wfile.write(self.answer(words))

    def answer(self, words: list[str]) -> bytes:
        settings = self.server.settings
        match words:
            case ["PING"]:
                return b"+PONG\r\n"
            case ["CONFIG", "GET", name]:
                found = [name, settings[name]] if name in settings else []
                return f"*{len(found)}\r\n".encode() + b"".join(self.bulk(word) for word in found)
            case ["CONFIG", "SET", "databases", _]:
                return b"-ERR CONFIG SET failed - can't set immutable config\r\n"
            case ["CONFIG", "SET", name, value]:
                self.server.told.append(name)
                settings[name] = "536870912" if value == "512mb" else value
                return b"+OK\r\n"
            case ["INFO", "persistence"]:
                self.server.rewrites_left -= 1
                busy = int(self.server.rewrites_left > 0)
                return self.bulk(f"aof_enabled:1\r\naof_rewrite_in_progress:{busy}\r\naof_last_bgrewrite_status:ok\r\n")
        return b"-ERR unknown command\r\n"

    @staticmethod
    def bulk(text: str) -> bytes:
        return f"${len(text)}\r\n{text}\r\n".encode()


@pytest.fixture
def server() -> Iterator[FakeRedis]:
    with FakeRedis() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "declared", "running", "equal"),
    [
        ("maxmemory", "512mb", "536870912", True),
        ("maxmemory", "512m", "536870912", False),
        ("maxmemory", "1GB", "1073741824", True),
        ("maxmemory", "0", "0", True),
        ("bind", "* -::*", "*  -::*", True),
        ("appendfsync", "everysec", "always", False),
        ("maxmemory-policy", "noeviction", "noeviction", True),
    ],
)
def test_sizes_with_units_are_compared_as_redis_reads_them(redis_module, name, declared, running, equal) -> None:
    assert redis_module.same(name, declared, running) is equal


def test_a_new_server_gets_its_append_only_file_before_its_other_settings(redis_module, server) -> None:
    wanted = {"requirepass": "secret-of-sixteen", "maxmemory": "512mb", "appendonly": "yes"}
    redis = redis_module.log_in(server.port, server.port, ["secret-of-sixteen"])
    changes = redis_module.differing(redis, wanted)
    assert set(changes) == set(wanted)
    assert redis_module.apply(redis, wanted, changes, 5) == []
    assert server.told[0] == "appendonly"
    assert server.rewrites_left == 0, "it was not waited until the file was whole"
    assert redis_module.differing(redis, wanted) == {}
    redis.close()


def test_a_new_password_is_set_by_means_of_the_old_one(redis_module, server, tmp_path) -> None:
    server.settings["requirepass"] = "the-old-password"
    laid = tmp_path / "turnout.conf"
    laid.write_text("port 6379\nrequirepass the-old-password\n")
    redis = redis_module.log_in(server.port, server.port, ["the-new-password", *redis_module.laid_password(str(laid))])
    assert redis_module.differing(redis, {"requirepass": "the-new-password"}) == {"requirepass": "the-old-password"}
    redis.close()


def test_a_server_with_an_unknown_password_is_an_error_that_says_how_to_mend_it(redis_module, server) -> None:
    server.settings["requirepass"] = "somebody-elses"
    with pytest.raises(redis_module.RedisError, match="Set redis_password to that one"):
        redis_module.log_in(server.port, server.port, ["the-new-password"])


def test_a_setting_that_only_a_start_can_change_waits(redis_module, server) -> None:
    redis = redis_module.log_in(server.port, server.port, ["x"])
    assert redis_module.apply(redis, {"databases": "32"}, {"databases": "16"}, 5) == ["databases"]
    redis.close()


def test_a_setting_that_redis_does_not_know_is_named(redis_module, server) -> None:
    redis = redis_module.log_in(server.port, server.port, ["x"])
    with pytest.raises(redis_module.RedisError, match="knows no setting maxmemroy"):
        redis_module.differing(redis, {"maxmemroy": "1"})
    redis.close()


def test_the_running_port_is_tried_where_the_new_one_does_not_answer_yet(redis_module, server) -> None:
    redis = redis_module.log_in(1, server.port, ["x"])
    assert redis.call("PING") == "PONG"
    redis.close()


def test_nothing_listening_is_an_os_error(redis_module) -> None:
    with pytest.raises(OSError):
        redis_module.log_in(1, 1, ["x"])
