"""TLS in front of what is restored: an application whose address asks for it finds it.

Certificate and authority live as long as the place. The authority stands where the service looks for those it trusts,
so that sslmode=verify-full and rediss:// find what they ask for too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import ssl
import struct
from collections.abc import Iterable
from pathlib import Path

from .shell import run

# PostgreSQL's documentation, "Message Formats": requests for encryption before a session.
_SSL_REQUEST, _GSS_REQUEST = struct.pack("!II", 8, 80877103), struct.pack("!II", 8, 80877104)
_HANDSHAKE = b"\x16"  # RFC 8446, ContentType: how sslnegotiation=direct begins
_PIECE = 65536
_MOST_WAITING = 16 * _PIECE  # bytes held for one side that does not read


def throwaway_certificate(folder: Path, names: Iterable[str]) -> tuple[Path, Path]:
    """Make an authority (`ca.crt`) in `folder`, and by it a certificate of a server with these names and addresses.

    Return the paths of certificate and key. Raises ProgramError.
    """
    subjects = [f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in dict.fromkeys(("localhost", *names))]
    settings = folder / "openssl.cnf"
    settings.write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n"
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        "[server]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\n"
        f"authorityKeyIdentifier=keyid\nsubjectAltName={','.join(subjects)}\n"
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7"]
    authority, authority_key = str(folder / "ca.crt"), str(folder / "ca.key")
    certificate, key = folder / "server.crt", folder / "server.key"
    make = ["openssl", "req", "-x509", "-config", str(settings), *curve]
    own = ["-extensions", "ca", "-subj", "/CN=restored, its authority", "-keyout", authority_key, "-out", authority]
    by_it = ["-extensions", "server", "-subj", "/CN=restored", "-keyout", str(key), "-out", str(certificate)]
    run([*make, *own], timeout_s=60)
    run([*make, *by_it, "-CA", authority, "-CAkey", authority_key], timeout_s=60)
    key.chmod(0o600)
    return certificate, key


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what a server needs to speak TLS with that certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(certificate, key)
    made.set_alpn_protocols(["postgresql"])  # which sslnegotiation=direct asks for
    return made


def agree(near: socket.socket, tls: ssl.SSLContext) -> tuple[socket.socket, bytes]:
    """Answer a client's requests for encryption; return the line to go on with, and what it said on it already.

    Raises OSError where the client goes away or does not speak the protocol.
    """
    if near.recv(1, socket.MSG_PEEK) == _HANDSHAKE:
        return tls.wrap_socket(near, server_side=True), b""
    while True:
        said = _exactly(near, 8)
        if said == _SSL_REQUEST:
            near.sendall(b"S")
            return tls.wrap_socket(near, server_side=True), b""
        if said != _GSS_REQUEST:
            return near, said
        near.sendall(b"N")


def _exactly(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = line.recv(size - len(got))
        if not part:
            raise ConnectionResetError("the client said nothing")
        got += part
    return got


def relay(near: socket.socket, far: socket.socket, first: bytes = b"") -> None:
    """Carry bytes both ways until one side has ended; `first` goes to the far side before all else.

    One thread for both directions, because an encrypted line must not be read and written by two at once.
    """
    lines = {near: far, far: near}
    waiting = {near: b"", far: first}  # what is to be sent on that line
    ended = False
    for line in lines:
        line.setblocking(False)
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ssl.SSLError):
        for line in lines:
            selector.register(line, selectors.EVENT_READ)
        while not ended or any(waiting.values()):
            moved = False
            for line, other in lines.items():
                if not ended and len(waiting[other]) < _MOST_WAITING:
                    piece = _read(line)
                    if piece is not None:
                        moved = True
                        ended = ended or not piece
                        waiting[other] += piece
                sent = _write(line, waiting[line])
                moved = moved or sent > 0
                waiting[line] = waiting[line][sent:]
            if not moved:
                _wait(selector, lines, waiting, reading=not ended)
    for line in lines:
        line.close()


def _read(line: socket.socket) -> bytes | None:
    """Return what has come, nothing at the end, None where nothing has come."""
    try:
        return line.recv(_PIECE)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except ssl.SSLEOFError:
        return b""


def _write(line: socket.socket, data: bytes) -> int:
    if not data:
        return 0
    try:
        return line.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0


def _wait(
    selector: selectors.BaseSelector, lines: dict[socket.socket, socket.socket], waiting: dict[socket.socket, bytes],
    *, reading: bool,
) -> None:  # fmt: skip
    for line, other in lines.items():
        read = selectors.EVENT_READ if reading and len(waiting[other]) < _MOST_WAITING else 0
        write = selectors.EVENT_WRITE if waiting[line] else 0
        selector.modify(line, read | write or selectors.EVENT_WRITE)
    selector.select(1)
