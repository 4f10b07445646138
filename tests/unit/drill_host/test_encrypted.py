"""TLS in front of the restored PostgreSQL, with real TLS clients; what answers behind it is an echo."""

from __future__ import annotations

import os
import pwd
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from turnout_drill import encrypted, isolation
from turnout_drill.encrypted import throwaway_certificate
from turnout_drill.engine import Engine
from turnout_drill.place import Place

SSL_REQUEST, GSS_REQUEST = struct.pack("!II", 8, 80877103), struct.pack("!II", 8, 80877104)
START = struct.pack("!II", 8, 196608)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[int]:
    """A listener as the drill makes one, in front of a Unix socket that sends back what it gets."""
    behind = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    behind.bind(str(tmp_path / "postgres"))
    behind.listen()
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(line: socket.socket) -> None:
        with line:
            while piece := line.recv(65536):
                line.sendall(piece)

    def accept() -> None:
        while True:
            try:
                line, _ = behind.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    tls = encrypted.context(*encrypted.throwaway_certificate(tmp_path, ["db.shop.internal", "10.9.8.7"]))
    arguments = (listener, tmp_path / "postgres", tls)
    threading.Thread(target=isolation._accept, args=arguments, daemon=True).start()
    yield listener.getsockname()[1]
    behind.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def encrypt(line: socket.socket) -> ssl.SSLSocket:
    line.sendall(SSL_REQUEST)
    assert line.recv(1) == b"S", "sslmode=require ends here without it"
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return trust.wrap_socket(line)


def exactly(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = line.recv(size - len(got))
        assert part, f"the line ended after {len(got)} of {size} bytes"
        got += part
    return got


def test_a_client_that_requires_tls_gets_it_and_its_bytes_arrive_whole(front: int) -> None:
    with encrypt(connect(front)) as line:
        assert line.version() in ("TLSv1.2", "TLSv1.3")
        line.sendall(START)
        assert exactly(line, 8) == START


def test_a_client_without_tls_is_served_as_before(front: int) -> None:
    with connect(front) as line:
        line.sendall(START)
        assert exactly(line, 8) == START


def test_a_client_that_asks_for_gss_first_is_told_no_and_goes_on(front: int) -> None:
    with connect(front) as line:
        line.sendall(GSS_REQUEST)
        assert line.recv(1) == b"N"
        with encrypt(line) as secure:
            secure.sendall(START)
            assert exactly(secure, 8) == START


@pytest.mark.parametrize("with_tls", [True, False])
def test_much_both_ways_at_once_neither_stops_nor_mixes(front: int, with_tls: bool) -> None:
    data = bytes(range(256)) * 40_000  # 10 MB: more than all buffers on the way
    line: socket.socket = encrypt(connect(front)) if with_tls else connect(front)
    if not with_tls:
        line.sendall(START)
        exactly(line, 8)
    line.settimeout(None)
    got = bytearray()
    line.setblocking(False)
    sent = 0
    while len(got) < len(data):  # one thread for both ways, as a client's library does
        try:
            if sent < len(data):
                sent += line.send(data[sent : sent + 65536])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            piece = line.recv(65536)
            assert piece, f"the line ended after {len(got)} bytes"
            got += piece
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
    assert bytes(got) == data
    line.close()


def test_the_end_of_one_side_ends_the_other(tmp_path: Path) -> None:
    near, client = socket.socketpair()
    far, server = socket.socketpair()
    thread = threading.Thread(target=encrypted.relay, args=(near, far, b"first"))
    thread.start()
    client.sendall(b" second")
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    server.settimeout(5)
    got = b""
    while piece := server.recv(100):
        got += piece
    assert got == b"first second"


def test_a_client_that_says_nothing_or_rubbish_leaves_the_others_alone(front: int) -> None:
    silent = connect(front)
    with connect(front) as rude:
        rude.sendall(SSL_REQUEST)
        assert rude.recv(1) == b"S"
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with encrypt(connect(front)) as line:
        line.sendall(START)
        assert exactly(line, 8) == START
    silent.close()


def test_the_authority_of_what_is_restored_leaves_the_repositorys_own_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lie in the folder of one restore, and pgBackRest is asked again after the service has its certificate."""
    monkeypatch.setattr("pwd.getpwnam", lambda _: pwd.getpwuid(os.getuid()))
    place = Place(str(tmp_path), "r1")
    place.folder.mkdir()
    Engine(place, {"stanza": "shop", "repository": 1}).lay({}, "the repository's authority\n", 1)
    throwaway_certificate(place.folder, ["db.example.com"])
    (named,) = re.findall(r"storage-ca-file=(.+)", (place.folder / "pgbackrest.conf").read_text())
    assert Path(named).read_text() == "the repository's authority\n"
