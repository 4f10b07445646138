"""The probes' own parts: what runs on hosts, against sockets that answer as the servers do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import pg_session
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError, ask_all, kind_of
from ansible_collections.turnout.ops.plugins.module_utils.pg_session import Session
from ansible_collections.turnout.ops.plugins.module_utils.probes import redis as redis_probe
from ansible_collections.turnout.ops.plugins.module_utils.queue_libraries import stamp as _stamp
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session as RedisSession
from ports import free_port


def test_each_question_is_cut_at_its_own_limit_and_holds_up_nobody() -> None:
    release = threading.Event()
    started = time.monotonic()
    answers = ask_all(
        {
            "hangs": (lambda _: release.wait(30), 0.3),
            "quick": (lambda _: {"fine": True}, 25.0),
            "fails": (lambda _: 1 / 0, 25.0),
            **{f"slow{n}": (lambda _: time.sleep(0.3) or {}, 25.0) for n in range(50)},
        }
    )
    took_s = time.monotonic() - started
    release.set()
    assert took_s < 10  # one after the other they would take 15, and the one that hangs 30
    assert answers["hangs"]["problem"]["kind"] == "timeout"
    assert answers["quick"]["data"] == {"fine": True}
    assert answers["fails"]["problem"]["kind"] == "error"
    assert sum(answers[f"slow{n}"]["ok"] for n in range(50)) == 50


def test_a_port_where_nobody_listens_is_refused_and_not_unknown() -> None:
    with pytest.raises(OSError) as caught:
        RedisSession(f"redis://127.0.0.1:{free_port()}", 2)
    assert kind_of(caught.value) == "refused"


@contextmanager
def beside(listener: socket.socket, serve: Callable[[], None], lines: Sequence[socket.socket] = ()) -> Iterator[None]:
    """Have a thread serve during the block; after it, end what the thread waits for at the listener and at `lines`."""
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Closed alone, a listener lets its thread wait in accept(), or fail by a number that is no file any more.
        listener.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + 10
        while thread.is_alive():
            assert time.monotonic() < until, "the server's thread did not end within 10 s"
            for line in lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
            thread.join(0.05)


@contextmanager
def server(*answers: bytes) -> Iterator[int]:
    """Answer each read with the next of `answers`, then hang until the client goes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lines: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):  # no client came, or it went before it was answered
                connection, _ = listener.accept()
                lines.append(connection)
                with connection:
                    for answer in answers:
                        if not connection.recv(4096):
                            return
                        connection.sendall(answer)
                    while connection.recv(4096):
                        pass

        with beside(listener, serve, lines):
            yield listener.getsockname()[1]


def error(state: str, text: str) -> bytes:
    body = b"SFATAL\0C" + state.encode() + b"\0M" + text.encode() + b"\0\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("state", "text", "kind"),
    [
        ("28P01", 'password authentication failed for user "u"', "credentials"),
        ("28000", 'role "u" is not permitted to log in', "credentials"),
        ("3D000", 'database "d" does not exist', "credentials"),
        ("42501", 'permission denied for database "d"', "credentials"),
        ("57P03", "the database system is starting up", "refused"),
        ("53300", "sorry, too many clients already", "error"),
    ],
)
def test_what_postgres_refuses_is_told_apart(state: str, text: str, kind: str) -> None:
    with server(error(state, text)) as port, pytest.raises(ProbeError) as caught:
        Session(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable", 60)
    assert caught.value.kind == kind
    assert "hunter2" not in str(caught.value)


def test_a_server_without_tls_is_refused_where_it_is_asked_for() -> None:
    with server(b"N") as port, pytest.raises(ProbeError) as caught:
        Session(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=require", 60)
    assert "does not support SSL" in str(caught.value)
    assert caught.value.kind == "error"


def serve_by_rule(listener: socket.socket, tls: ssl.SSLContext, encrypted_only: bool, seen: list[bool]) -> None:
    """Answer as PostgreSQL does whose pg_hba.conf has only `hostssl`, or only `hostnossl`."""
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError):
            first = line.recv(8)
            with_tls = first == struct.pack("!II", 8, 80877103)
            if with_tls:
                line.sendall(b"S")
                line = tls.wrap_socket(line, server_side=True)
                line.recv(8)
            line.recv(4096)
            seen.append(with_tls)
            word = "SSL encryption" if with_tls else "no encryption"
            refused = error("28000", f'no pg_hba.conf entry for host "127.0.0.1", user "u", database "d", {word}')
            line.sendall(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I" if with_tls == encrypted_only else refused)
            line.recv(1)
        line.close()


@pytest.mark.parametrize(
    ("mode", "encrypted_only", "tried"),
    [
        ("prefer", True, [True]),
        ("require", True, [True]),
        ("allow", True, [False, True]),
        ("", True, [True]),
        ("disable", True, None),
        ("disable", False, [False]),
        ("allow", False, [False]),
        ("prefer", False, [True, False]),
        ("require", False, None),
    ],
)
def test_lines_are_encrypted_as_libpq_would(
    tmp_path: Path, mode: str, encrypted_only: bool, tried: list[bool] | None
) -> None:
    certificate, key = tmp_path / "crt", tmp_path / "key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"]
    subprocess.run(["openssl", *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    seen: list[bool] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        beside(listener, lambda: serve_by_rule(listener, tls, encrypted_only, seen)),
    ):
        url = f"postgresql://u:p@127.0.0.1:{listener.getsockname()[1]}/d" + (f"?sslmode={mode}" if mode else "")
        if tried is None:
            with pytest.raises(ProbeError) as caught:
                Session(url, 60)
            assert caught.value.kind == "credentials"
            return
        session = Session(url, 60)
        assert (seen, session.encrypted) == (tried, encrypted_only)
        session.close()


def test_a_server_that_says_nothing_times_out() -> None:
    with server() as port, pytest.raises(TimeoutError):
        Session(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable", 0.3)
    with server() as port, pytest.raises(TimeoutError):
        RedisSession(f"redis://:p@127.0.0.1:{port}", 0.3)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"-WRONGPASS invalid\r\n", "credentials"),
        (b"-LOADING\r\n", "refused"),
        (b"HTTP/1.1 400\r\n", "error"),
        (b"-ERR x\r\n", "error"),
    ],
)
def test_what_redis_refuses_is_told_apart(said: bytes, kind: str) -> None:
    with server(said) as port, pytest.raises(ProbeError) as caught:
        RedisSession(f"redis://:hunter2@127.0.0.1:{port}", 2)
    assert caught.value.kind == kind
    assert "hunter2" not in str(caught.value)


def test_redis_answers_are_read() -> None:
    with server(b"+OK\r\n", b"*2\r\n$1\r\na\r\n:7\r\n", b"$-1\r\n", b"$9\r\na:1\r\nb:2\r\n\r\n") as port:
        session = RedisSession(f"redis://:p@127.0.0.1:{port}/0", 2)
        assert session.call("X") == ["a", 7]
        assert session.call("GET", "none") is None
        assert session.info("all") == {"a": "1", "b": "2"}
        session.close()


def test_the_application_s_own_login_is_tried_before_redis_is_looked_at_as_another_user() -> None:
    with server(b"-WRONGPASS no\r\n") as closed, server(b"+OK\r\n") as open_:
        urls = {"url": f"redis://checklist:c@127.0.0.1:{open_}", "application_url": f"redis://app:a@127.0.0.1:{closed}"}
        with pytest.raises(ProbeError) as caught:
            redis_probe(urls, 2)
    assert caught.value.kind == "credentials"
    info = b"role:master\r\nused_memory:7\r\n"
    answers = [b"+OK\r\n", *[b"$%d\r\n%s\r\n" % (len(info), info)] * 6]
    with server(b"+OK\r\n", b"+PONG\r\n") as first, server(*answers) as second:
        urls = {"url": f"redis://checklist:c@127.0.0.1:{second}", "application_url": f"redis://app:a@127.0.0.1:{first}"}
        assert redis_probe(urls, 2) == {"used_memory": 7, "role": "master"}


@pytest.mark.parametrize(
    ("entry", "field", "expected"),
    [
        ('{"at": 1780000000.5}', "at", 1780000000.5),
        ('{"at": 1780000000500}', "at", 1780000000.5),
        ('{"meta": {"ns": 1780000000500000000}}', "meta.ns", 1780000000.5),
        ("anything", None, None),
    ],
)
def test_the_time_of_an_entry_in_any_unit(entry: str, field: str | None, expected: Any) -> None:
    assert _stamp(entry, field) == expected


def test_an_entry_without_its_time_is_an_error_and_its_content_is_not_shown() -> None:
    with pytest.raises(ProbeError) as caught:
        _stamp('{"secret": "hunter2"}', "at")
    assert "hunter2" not in str(caught.value)


SENTINEL = b"*1\r\n*6\r\n$4\r\nname\r\n$4\r\nmain\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$%d\r\n%d\r\n"


@pytest.mark.parametrize("name", ["main", ""])
def test_sentinel_is_asked_where_the_master_is(name: str) -> None:
    with server(b"+OK\r\n", b"+PONG\r\n") as redis, server(SENTINEL % (len(str(redis)), redis)) as sentinel:
        session = RedisSession(f"redis+sentinel://:p@127.0.0.1:{free_port()},127.0.0.1:{sentinel}/{name}?db=0", 5)
        assert session.call("PING") == "PONG"
        session.close()


def test_a_sentinel_that_knows_another_master_says_so() -> None:
    with server(SENTINEL % (4, 6379)) as sentinel, pytest.raises(ProbeError) as caught:
        RedisSession(f"redis+sentinel://:hunter2@127.0.0.1:{sentinel}/other", 5)
    assert str(caught.value) == "Sentinel watches no master other, only main"


def test_sentinels_that_are_all_away_are_refused() -> None:
    with pytest.raises(OSError) as caught:
        RedisSession(f"redis+sentinel://127.0.0.1:{free_port()}/main", 2)
    assert kind_of(caught.value) == "refused"


@pytest.mark.parametrize(
    "url", ["redis://:hunter#2@h:1", "rediss://:hunter/2@h:1", "redis://h:hunter", "redis://[hunter"]
)
def test_an_address_that_cannot_be_read_is_told_without_a_piece_of_it(url: str) -> None:
    with pytest.raises(ProbeError) as caught:
        RedisSession(url, 2)
    assert "is not of the form redis://" in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_redis_is_reached_by_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        seen: list[bytes] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(3):
                    seen.append(connection.recv(4096))
                    connection.sendall(b"+OK\r\n")

        with beside(listener, serve):
            session = RedisSession(f"unix://u:p%40@{path}?db=3", 2)
            assert session.call("PING") == "OK"
            session.close()
    assert seen == [
        b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$2\r\np@\r\n",
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
        b"*1\r\n$4\r\nPING\r\n",
    ]


@pytest.mark.parametrize(
    ("path", "chosen"), [("/2", "2"), ("/0?db=4", "4"), ("", None), ("/", None), ("/0", None), ("/name", None)]
)
def test_the_database_is_chosen_as_redis_py_does(path: str, chosen: str | None) -> None:
    with server(b"+OK\r\n", b"+OK\r\n") as port:
        session = RedisSession(f"redis://127.0.0.1:{port}{path}", 2)
        calls: list[Any] = []
        session.close()
    with server(b"+OK\r\n", b"+OK\r\n") as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedisSession, "call", lambda _, *words: calls.append(words))
        RedisSession(f"redis://127.0.0.1:{port}{path}", 2).close()
    assert calls == ([("SELECT", chosen)] if chosen else [])


def test_a_host_without_psycopg_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_session, "_PYTHONS", ("/nowhere/python3",))
    with pytest.raises(ProbeError) as caught:
        Session("postgresql://u:hunter2@h/d", 2)
    assert str(caught.value) == "python3-psycopg is not installed here: turnout.ops.site installs it"
