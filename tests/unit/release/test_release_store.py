"""Stores: a folder, a real S3 server, a real HTTP server."""

import contextlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ports import free_port
from s3_server import S3Server
from turnout.errors import TurnoutError
from turnout.release import store as store_module
from turnout.release.store import (
    FolderStore,
    HttpStore,
    S3Store,
    Store,
    open_store,
    read_small,
    sort_versions,
    unknown_release,
)
from turnout.service.model import Environment, HttpAccess, S3Access


def code_of(action: Any, *arguments: Any) -> str:
    with pytest.raises(TurnoutError) as caught:
        action(*arguments)
    assert not any(secret in str(caught.value) for secret in ("-secret", "Bearer secret"))
    return caught.value.code


def read(store: Store, file: str) -> bytes:
    with store.open(file) as chunks:
        return b"".join(chunks)


@pytest.fixture(params=["folder", "s3", "s3-prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    server = request.getfixturevalue("s3")
    bucket = request.getfixturevalue("bucket")
    prefix = "a/b" if request.param == "s3-prefix" else ""
    return open_store(f"s3://{bucket}/{prefix}", s3=server.access())


def file_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return path


# What every store that can be written does ----------------------------------------------------------------------


def test_what_was_put_is_read_back(store, tmp_path):
    content = bytes(range(256)) * 20_000
    assert store.put(file_of(tmp_path, content), "a-1.tar.zst") is True
    assert read(store, "a-1.tar.zst") == content


def test_putting_the_same_bytes_again_changes_nothing(store, tmp_path):
    assert store.put(file_of(tmp_path, b"one"), "file")
    assert store.put(file_of(tmp_path, b"one"), "file") is False


def test_putting_other_bytes_is_refused_and_changes_nothing(store, tmp_path):
    store.put(file_of(tmp_path, b"one"), "file")
    assert code_of(store.put, file_of(tmp_path, b"two"), "file") == "release-published"
    assert read(store, "file") == b"one"


def test_an_absent_file_is_told_as_such(store, tmp_path):
    store.put(file_of(tmp_path, b"x"), "present")
    with pytest.raises(FileNotFoundError):
        read(store, "absent")


def test_versions_are_those_with_a_manifest_of_that_service(store, tmp_path):
    for name in (
        "shop-1.9.0.release.yml",
        "shop-1.10.0.release.yml",
        "shop-1.10.0.release.yml.sig",
        "shop-1.10.0-rc1.release.yml",
        "shop-2.0.0.tar.zst",
        "shopping-3.0.0.release.yml",
        "other.txt",
    ):
        store.put(file_of(tmp_path, name.encode()), name)
    assert store.versions("shop") == ["1.10.0", "1.10.0-rc1", "1.9.0"]
    assert store.versions("nothing") == []


def test_a_service_whose_name_begins_another_one_has_its_own_versions_alone(store, tmp_path):
    for name, version in (("shop", "1.0.0"), ("shop-web", "2.0.0"), ("shop", "web-3"), ("shop-web-2", "1-rc1")):
        content = f"name: {name}\nversion: '{version}'\n".encode()
        store.put(file_of(tmp_path, content), f"{name}-{version}.release.yml")
    assert store.versions("shop") == ["1.0.0", "web-3"]
    assert store.versions("shop-web") == ["2.0.0"]
    assert store.versions("shop-web-2") == ["1-rc1"]


def test_an_unknown_release_is_told_with_what_there_is(store, tmp_path):
    for version in ("1.0.0", "1.1.0"):
        store.put(file_of(tmp_path, b"x"), f"shop-{version}.release.yml")
    error = unknown_release(store, "shop", "1.1.O")
    assert error.code == "release-unknown"
    assert "1.1.0, 1.0.0" in error.expected
    assert error.remedy.endswith("release=1.1.0")


def test_two_publishers_at_once_leave_one_content(store, tmp_path):
    outcomes: list[Any] = []

    def put(content: bytes) -> None:
        path = tmp_path / content.decode()
        path.write_bytes(content * 100_000)
        try:
            outcomes.append((content, store.put(path, "contended")))
        except TurnoutError as error:
            outcomes.append((content, error.code))

    store.put(file_of(tmp_path, b"x"), "first")  # the folder and the connection are there
    threads = [threading.Thread(target=put, args=(content,)) for content in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [content for content, outcome in outcomes if outcome is True]
    assert len(winners) == 1
    assert {outcome for _, outcome in outcomes if outcome is not True} == {"release-published"}
    assert read(store, "contended") == winners[0] * 100_000


def test_a_small_file_has_a_limit(store, tmp_path):
    store.put(file_of(tmp_path, b"x" * 1001), "big")
    assert code_of(read_small, store, "big", 1000) == "store-content"


# Folders --------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_told(tmp_path):
    assert code_of(FolderStore(tmp_path / "none").versions, "shop") == "store-missing"
    assert code_of(read, FolderStore(tmp_path / "none"), "x") == "store-missing"


def test_no_partial_file_is_ever_left_in_a_folder(tmp_path):
    folder = FolderStore(tmp_path / "store")
    folder.put(file_of(tmp_path, b"x"), "file")
    with pytest.raises(FileNotFoundError):
        folder.put(tmp_path / "absent", "other")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["file"]


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "store").write_text("")
    assert code_of(FolderStore(tmp_path / "store").put, file_of(tmp_path, b"x"), "file") == "store-unreadable"


# S3 -------------------------------------------------------------------------------------------------------------


def test_s3_over_https_with_an_authority_of_ones_own(s3: S3Server, bucket, tmp_path):
    store = open_store(f"s3://{bucket}/x", s3=s3.access(endpoint=s3.https))
    assert store.put(file_of(tmp_path, b"x"), "file")
    assert read(store, "file") == b"x"


def test_s3_over_https_with_an_unknown_authority_is_refused(s3: S3Server, bucket):
    access = S3Access(endpoint=s3.https, access_key=s3.admin[0], secret_key=s3.admin[1])
    assert code_of(read, open_store(f"s3://{bucket}", s3=access), "x") == "store-tls"


def test_s3_with_a_file_that_is_no_certificate(s3: S3Server, bucket, tmp_path):
    access = S3Access(endpoint=s3.https, ca_file=file_of(tmp_path, b"no"), access_key="a", secret_key="b")
    assert code_of(S3Store, "bucket", "", access) == "store-tls"


@pytest.mark.parametrize("identity", [("admin-key", "wrong-secret"), ("nobody", "whatever-secret")])
def test_s3_refuses_wrong_credentials(s3: S3Server, bucket, tmp_path, identity):
    store = open_store(f"s3://{bucket}", s3=s3.access(identity))
    assert code_of(read, store, "x") == "store-credentials"
    assert code_of(store.versions, "shop") == "store-credentials"
    assert code_of(store.put, file_of(tmp_path, b"x"), "x") == "store-credentials"


def test_s3_lets_a_reader_read_and_not_write(s3: S3Server, bucket, tmp_path):
    open_store(f"s3://{bucket}", s3=s3.access()).put(file_of(tmp_path, b"x"), "file")
    reader = open_store(f"s3://{bucket}", s3=s3.access(s3.reader))
    assert read(reader, "file") == b"x"
    assert code_of(reader.put, file_of(tmp_path, b"x"), "other") == "store-credentials"


def test_s3_credentials_may_come_from_the_environment(s3: S3Server, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.admin[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.admin[1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.http)
    assert open_store(f"s3://{bucket}").put(file_of(tmp_path, b"x"), "file")


def test_s3_without_credentials_is_told(s3: S3Server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert code_of(read, open_store("s3://x", s3=S3Access(endpoint=s3.http)), "f") == "store-credentials"


def test_an_unknown_bucket_is_told(s3: S3Server, tmp_path):
    store = open_store("s3://there-is-none", s3=s3.access())
    assert code_of(store.versions, "shop") == "store-missing"
    assert code_of(read, store, "x") == "store-missing"
    assert code_of(store.put, file_of(tmp_path, b"x"), "x") == "store-missing"


def test_an_s3_server_that_is_not_there_is_told_soon(s3: S3Server):
    port = free_port()
    begin = time.monotonic()
    assert (
        code_of(read, open_store("s3://b", s3=s3.access(endpoint=f"http://127.0.0.1:{port}")), "x")
        == "store-unreachable"
    )
    assert time.monotonic() - begin < 15


def test_an_s3_server_that_never_answers_is_given_up(s3: S3Server, monkeypatch):
    monkeypatch.setattr(store_module, "_READ_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert code_of(read, open_store("s3://b", s3=s3.access(endpoint=address)), "x") == "store-unreachable"


@pytest.mark.parametrize("endpoint", ["not an address", "http://"])
def test_an_impossible_endpoint_is_told(endpoint):
    access = S3Access(endpoint=endpoint, access_key="a", secret_key="b")
    assert code_of(lambda: read(S3Store("b", "", access), "x")) in ("store-address", "store-unreachable")


def test_an_object_too_big_for_a_conditional_put_is_refused(s3: S3Server, bucket, tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(5 * 10**9 + 1)
    assert code_of(open_store(f"s3://{bucket}", s3=s3.access()).put, big, "x") == "release-too-big"


# A server that does not know conditional writes -------------------------------------------------------------------


class _OldServer(http.server.BaseHTTPRequestHandler):
    """S3 enough to put and head objects; it answers 501 to If-None-Match, as some servers do."""

    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"  # boto3 waits for "100 Continue" before it sends a body

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "If-None-Match" in self.headers:
            self._answer(501, b"<Error><Code>NotImplemented</Code></Error>")
            return
        self.objects[self.path] = body
        self._answer(200, b"")

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.objects else 404, b"")

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(404 if found is None else 200, found or b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(handler: Any, context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_without_conditional_writes_is_asked_first(tmp_path):
    handler = type("Handler", (_OldServer,), {"objects": {}})
    with serving(handler) as address:
        store = open_store("s3://b/p", s3=S3Access(endpoint=address, access_key="a", secret_key="b"))
        assert store.put(file_of(tmp_path, b"one"), "file")
        assert store.put(file_of(tmp_path, b"one"), "file") is False
        assert code_of(store.put, file_of(tmp_path, b"two"), "file") == "release-published"


# HTTP -----------------------------------------------------------------------------------------------------------


class _Web(http.server.BaseHTTPRequestHandler):
    """Serves /r/file, asks for a header at /private, and misbehaves at the other paths."""

    elsewhere = ""
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        path = self.path
        if path == "/r/file" or (path == "/private/file" and self.headers.get("Authorization") == "Bearer secret"):
            self._answer(200, b"content")
        elif path == "/moved/file":
            self.send_response(302)
            self.send_header("Location", f"{self.elsewhere}/r/file")
            self.end_headers()
        elif path == "/short/file":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        else:
            self._answer(500 if path.startswith("/broken") else 403 if path.startswith("/private") else 404, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, type[_Web]]]:
    handler = type("Handler", (_Web,), {"seen": []})
    with serving(handler) as address:
        yield address, handler


def http_store(address: str, **headers: str) -> Store:
    return open_store(address, http_access=HttpAccess(headers=Environment(headers)))


def test_http_reads(web):
    assert read(http_store(f"{web[0]}/r/"), "file") == b"content"
    with pytest.raises(FileNotFoundError):
        read(http_store(f"{web[0]}/r"), "absent")


def test_http_cannot_list_or_write_and_says_so(web, tmp_path):
    store = http_store(f"{web[0]}/r")
    assert store.versions("shop") is None
    assert code_of(store.put, file_of(tmp_path, b"x"), "x") == "store-read-only"
    assert "cannot be listed" in unknown_release(store, "shop", "1").expected


def test_http_sends_its_headers_and_tells_when_they_are_refused(web):
    assert read(http_store(f"{web[0]}/private", Authorization="Bearer secret"), "file") == b"content"
    assert code_of(read, http_store(f"{web[0]}/private", Authorization="Bearer no"), "file") == "store-credentials"


def test_http_headers_never_follow_a_redirect_to_another_host(web):
    address, handler = web
    handler.elsewhere = address.replace("127.0.0.1", "localhost")
    assert read(http_store(f"{address}/moved", Authorization="Bearer secret"), "file") == b"content"
    assert handler.seen == [("/moved/file", "Bearer secret"), ("/r/file", None)]


def test_http_tells_a_broken_server(web):
    assert code_of(read, http_store(f"{web[0]}/broken"), "file") == "store-unreachable"


def test_http_content_that_stops_early_is_short_or_told(web):
    try:
        assert read(http_store(f"{web[0]}/short"), "file") == b"only this"
    except TurnoutError as error:
        assert error.code == "store-unreachable"


def test_http_tells_an_absent_server():
    assert code_of(read, http_store(f"http://127.0.0.1:{free_port()}"), "x") == "store-unreachable"
    assert code_of(read, http_store("http://no-such-host.invalid"), "x") == "store-unreachable"


def test_https_checks_the_certificate_and_never_falls_back_to_http(s3: S3Server, web):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(s3.ca_file, s3.ca_file.parent / "key.pem")
    handler = type("Handler", (_Web,), {"seen": [], "elsewhere": web[0]})
    with serving(handler, context) as address:
        trusting = HttpAccess(ca_file=s3.ca_file)
        assert read(HttpStore(f"{address}/r", trusting), "file") == b"content"
        assert code_of(read, HttpStore(f"{address}/r", HttpAccess()), "file") == "store-tls"
        assert code_of(read, HttpStore(f"{address}/moved", trusting), "file") == "store-unreachable"


def test_other_addresses_are_refused():
    assert code_of(open_store, "ftp://host/x") == "store-address"


# Versions -------------------------------------------------------------------------------------------------------


def test_versions_are_sorted_as_people_read_them():
    wanted = ["2.0.0", "1.10.0", "1.10.0-rc2", "1.10.0-rc1", "1.9.9", "1.9", "1.0.0"]
    assert sort_versions(sorted(wanted)) == wanted


@given(st.lists(st.from_regex(r"[0-9A-Za-z.+_-]{1,12}", fullmatch=True)))
def test_any_versions_can_be_sorted(versions):
    assert set(sort_versions(versions)) == set(versions)


# Addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "https://me:hidden@host/x",
        "HTTPS://me:hidden@host/x",
        "s3://me:hidden@bucket/x",
        "https:/me:hidden@host/x",
        "https://host/x?token=hidden",
        "https://host/x#hidden",
        "ftp://me:hidden@host/x",
        "https://[hidden",
        "s3://",
        "",
        " ",
    ],
)
def test_an_address_that_cannot_be_right_is_refused_and_not_shown(source):
    with pytest.raises(TurnoutError) as caught:
        open_store(source)
    assert caught.value.code == "store-address"
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["https://me:hidden@host", "me:hidden@host", "https://host/?token=hidden"])
@pytest.mark.parametrize("by", ["option", "variable"])
def test_an_s3_endpoint_that_may_hold_a_secret_is_refused_and_not_shown(endpoint, by, monkeypatch):
    if by == "variable":
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(TurnoutError) as caught:
        open_store("s3://bucket", s3=S3Access(endpoint=endpoint if by == "option" else None))
    assert caught.value.code == "store-address"
    assert "hidden" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    store = open_store("/proc/no-such-folder/x")
    with pytest.raises(TurnoutError) as caught:
        store.put(file_of(tmp_path, b"one"), "file")
    assert caught.value.code == "store-unreadable"
    assert "ls -ld /proc;" in caught.value.remedy


def test_what_is_to_be_published_is_told_as_a_command_that_can_be_typed(tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(TurnoutError) as caught:
        read(open_store(str(folder)), "x")
    assert f"turnout release publish build/NAME-VERSION.release.yml --to {folder}" in caught.value.remedy
    folder.mkdir()
    unknown = unknown_release(open_store(str(folder)), "shop", "1.0.0")
    assert f"turnout release publish build/shop-1.0.0.release.yml --to {folder}" in unknown.remedy
    unknown = unknown_release(open_store("https://host/x"), "shop", "1.0.0")
    assert "turnout release publish build/shop-1.0.0.release.yml --to FOLDER" in unknown.remedy


def test_the_command_to_publish_names_the_s3_server(s3: S3Server, bucket):
    unknown = unknown_release(open_store(f"s3://{bucket}", s3=s3.access()), "shop", "1.0.0")
    wanted = (
        f"turnout release publish build/shop-1.0.0.release.yml --to s3://{bucket} --endpoint {s3.access().endpoint}"
    )
    assert wanted in unknown.remedy
