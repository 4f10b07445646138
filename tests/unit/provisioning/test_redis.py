"""The module against a server that speaks Redis's protocol on a real socket, and knows just these commands."""

from __future__ import annotations

import hashlib
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
        self.users: dict[str, list[str]] = {"default": ["on", "nopass", "~*", "&*", "+@all"]}
        self.rewrites_left = 2

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(socketserver.StreamRequestHandler):
    server: FakeRedis

    def handle(self) -> None:
        self.user = "default"
        logged_in = not self.server.settings["requirepass"]
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            if words[0] == "AUTH" and len(words) == 3:
                user = self.server.users.get(words[1])
                digest = hashlib.sha256(words[2].encode()).hexdigest()
                if user is not None and f"#{digest}" in user:
                    logged_in, self.user = True, words[1]
                    self.wfile.write(b"+OK\r\n")
                else:
                    self.wfile.write(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
            elif words[0] == "AUTH":
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

    def answer(self, words: list[str]) -> bytes:  # noqa: PLR0911 - one for each command
        settings = self.server.settings
        match words:
            case ["PING"]:
                return b"+PONG\r\n"
            case ["ACL", *rest]:
                return self.answer_about_users(rest)
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

    def answer_about_users(self, words: list[str]) -> bytes:  # noqa: PLR0911 - one for each command
        match words:
            case ["WHOAMI"]:
                return self.bulk(self.user)
            case ["SETUSER", name, *rules]:
                if "+nonsense" in rules:
                    return (
                        b"-ERR Error in ACL SETUSER modifier '+nonsense': Unknown command or category name in ACL\r\n"
                    )
                self.server.users[name] = rules
                if not name.startswith("turnout-"):
                    self.server.told.append(f"{name} by {self.user}")
                return b"+OK\r\n"
            case ["DELUSER", name]:
                return f":{int(self.server.users.pop(name, None) is not None)}\r\n".encode()
            case ["GETUSER", name]:
                if name not in self.server.users:
                    return b"$-1\r\n"
                rules = sorted(set(self.server.users[name]) - {"reset"})
                return b"*2\r\n" + self.bulk("rules") + f"*{len(rules)}\r\n".encode() + b"".join(map(self.bulk, rules))
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
    redis = redis_module.log_in(server.port, server.port, [("admin", "secret-of-sixteen")])
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
    redis = redis_module.log_in(
        server.port,
        server.port,
        [("admin", "the-new-password"), *(("default", word) for word in redis_module.laid_password(str(laid)))],
    )
    assert redis_module.differing(redis, {"requirepass": "the-new-password"}) == {"requirepass": "the-old-password"}
    redis.close()


def test_a_server_with_an_unknown_password_is_an_error_that_says_how_to_mend_it(redis_module, server) -> None:
    server.settings["requirepass"] = "somebody-elses"
    with pytest.raises(redis_module.RedisError, match=r"Set redis_passwords\.admin to that one"):
        redis_module.log_in(server.port, server.port, [("admin", "the-new-password")])


def test_a_setting_that_only_a_start_can_change_waits(redis_module, server) -> None:
    redis = redis_module.log_in(server.port, server.port, [("admin", "x")])
    assert redis_module.apply(redis, {"databases": "32"}, {"databases": "16"}, 5) == ["databases"]
    redis.close()


def test_a_setting_that_redis_does_not_know_is_named(redis_module, server) -> None:
    redis = redis_module.log_in(server.port, server.port, [("admin", "x")])
    with pytest.raises(redis_module.RedisError, match="knows no setting maxmemroy"):
        redis_module.differing(redis, {"maxmemroy": "1"})
    redis.close()


def test_the_running_port_is_tried_where_the_new_one_does_not_answer_yet(redis_module, server) -> None:
    redis = redis_module.log_in(1, server.port, [("admin", "x")])
    assert redis.call("PING") == "PONG"
    redis.close()


def test_nothing_listening_is_an_os_error(redis_module) -> None:
    with pytest.raises(OSError):
        redis_module.log_in(1, 1, [("admin", "x")])


USERS = [
    {"name": "admin", "password": "admin-password-1", "rules": "~* &* +@all"},
    {"name": "service", "password": "service-password", "rules": "~* +@all -@admin"},
]


def test_users_are_set_the_administrator_first_and_the_default_user_last(redis_module, server) -> None:
    users = redis_module.users_declared(USERS, "")
    redis = redis_module.log_in(server.port, server.port, [("admin", "admin-password-1")])
    unlike = redis_module.unlike_users(redis, users)
    assert unlike == ["admin", "service", "default"]
    redis_module.set_users(redis, users, unlike)
    assert server.told == ["admin by default", "service by admin", "default by admin"]
    assert server.users["default"] == ["reset", "off"]
    assert redis_module.unlike_users(redis, users) == []
    assert set(server.users) == {"default", "admin", "service"}, "the user of the comparison was left"
    assert "password" not in str(server.users)
    redis.close()


@pytest.mark.parametrize("drift", [["on", "~*"], ["off", "reset"], []])
def test_a_user_that_somebody_changed_is_set_again(redis_module, server, drift) -> None:
    users = redis_module.users_declared(USERS, "the-old-password")
    redis = redis_module.log_in(server.port, server.port, [("admin", "x")])
    redis_module.set_users(redis, users, ["admin", "service", "default"])
    server.users["service"] = drift
    assert redis_module.unlike_users(redis, users) == ["service"]
    redis.close()


def test_the_default_user_stays_where_an_inventory_still_has_its_password(redis_module, server) -> None:
    users = redis_module.users_declared(USERS, "the-old-password")
    assert redis_module.words_of(users[-1])[:2] == ["reset", "on"]
    assert redis_module.words_of(users[-1])[3:] == ["~*", "&*", "+@all"]


def test_a_rule_that_redis_does_not_know_is_named_with_its_user(redis_module, server) -> None:
    redis = redis_module.log_in(server.port, server.port, [("admin", "x")])
    users = redis_module.users_declared([{"name": "admin", "password": "p" * 16, "rules": "+nonsense"}], "")
    with pytest.raises(redis_module.RedisError, match=r"user admin: .*\+nonsense"):
        redis_module.unlike_users(redis, users)
    redis.close()


def test_the_logins_that_may_be_right_are_tried_from_the_newest_to_the_oldest(redis_module, tmp_path) -> None:
    (tmp_path / "admin").write_text("laid-admin-password\n")
    (tmp_path / "conf").write_text("requirepass laid-before-users\n")
    params = {
        "users": USERS, "default_password": "declared-default",
        "admin_file": str(tmp_path / "admin"), "settings_file": str(tmp_path / "conf"),
    }  # fmt: skip
    assert redis_module.logins_of(params) == [
        ("admin", "admin-password-1"), ("admin", "laid-admin-password"),
        ("default", "declared-default"), ("default", "laid-before-users"),
    ]  # fmt: skip
