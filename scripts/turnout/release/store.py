"""Where releases lie: a folder, an S3 bucket, or (to read only) an HTTP(S) address.

A release is three files, flat under one prefix: the artifact, the signature, and the manifest. The manifest is
written last, so that a release is there whole or not at all. What was published never changes: publishing the same
bytes again is no change, publishing others under the same name is refused.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import http.client
import os
import re
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import yaml

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.keys import Wrong
from turnout.release.manifest import MAX_BYTES, SUFFIX, VERSION, manifest_file
from turnout.service.model import HttpAccess, Releases, S3Access
from turnout.service.values import ENDPOINT, NAME, checked_source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 1 << 20
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_ATTEMPTS = 3
_MAX_OBJECT_BYTES = 5 * 10**9  # what S3 takes in one put, which is what can be made conditional
_SHOWN_VERSIONS = 10
_READERS = 8  # manifests that are read at a time
_AT = " at "  # between an S3 address and its server
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")  # read by boto3 itself


class Store(Protocol):
    """What every kind of store does. All raise `TurnoutError`; messages never hold a credential."""

    @property
    def name(self) -> str:
        """The address, as it may be shown."""

    def versions(self, service: str) -> list[str] | None:
        """Return the published versions of a service, or None when this store cannot list."""

    def open(self, file: str) -> AbstractContextManager[Iterator[bytes]]:
        """Return the file's content in chunks; raises `FileNotFoundError` when there is no such file."""

    def put(self, path: Path, file: str) -> bool:
        """Write the file unless it is there; return whether it was written. Refuses other content."""


def open_store(
    source: str,
    *,
    s3: S3Access | None = None,
    http_access: HttpAccess | None = None,
    base_dir: Path = Path(),
) -> Store:
    """Return the store at `source`: `s3://bucket/prefix`, `https://host/path`, or a folder (from `base_dir`)."""
    if not source.strip():
        raise _wrong_address("an empty address")
    if "://" not in source and source.partition(":")[0].lower() not in ("s3", "http", "https"):
        return FolderStore(base_dir / source)
    try:
        url = urllib.parse.urlsplit(checked_source(source))
    except Wrong as error:
        raise _wrong_address(error.at.observed) from None
    if url.scheme == "s3":
        return S3Store(url.netloc, url.path.strip("/"), s3 or S3Access())
    return HttpStore(source.rstrip("/"), http_access or HttpAccess())


def _wrong_address(observed: str) -> TurnoutError:
    return TurnoutError(
        "store-address",
        observed=observed,
        expected="s3://bucket/prefix, https://host/path, or a folder",
        remedy="correct the address of the store (--to, --from, releases.source). Credentials stand beside it: "
        "releases.s3 or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, releases.http.headers",
    )


def store_of(releases: Releases) -> Store:
    """Return the store that a service file names."""
    return open_store(releases.source, s3=releases.s3, http_access=releases.http)


def unknown_release(store: Store, service: str, version: str) -> TurnoutError:
    """Return the error for a release that the store does not have, with what it does have."""
    versions = store.versions(service)
    observed = f"{store.name} has no release {version} of {service}"
    remedy = "give one that exists: -e release=VERSION"
    if versions is None:
        expected = f"a published release (this store cannot be listed; looked for {manifest_file(service, version)})"
        remedy = f"check the version and releases.source, or publish it: {publishing(store, service, version)}"
    elif not versions:
        expected = f"a published release; there is none of {service} at all"
        remedy = f"check releases.source, or publish one: {publishing(store, service, version)}"
    else:
        close = difflib.get_close_matches(version, versions, n=1, cutoff=0.4)
        more = f" and {len(versions) - _SHOWN_VERSIONS} older" if len(versions) > _SHOWN_VERSIONS else ""
        expected = f"one of {', '.join(versions[:_SHOWN_VERSIONS])}{more}"
        if close:
            remedy = f"for example: -e release={close[0]}"
    return TurnoutError("release-unknown", observed=observed, expected=expected, remedy=remedy)


def publishing(store: Store, service: str = "NAME", version: str = "VERSION") -> str:
    """Return the command that publishes a release into the store, as it is typed after `release build --out build`."""
    to = "FOLDER" if isinstance(store, HttpStore) else store.name.replace(_AT, " --endpoint ")
    return f"turnout release publish build/{manifest_file(service, version)} --to {to}"


def read_small(store: Store, file: str, limit: int) -> bytes:
    """Return the content of a file of at most `limit` bytes; `FileNotFoundError` when it is not there."""
    content = bytearray()
    with store.open(file) as chunks:
        for chunk in chunks:
            content += chunk
            if len(content) > limit:
                raise TurnoutError(
                    "store-content",
                    observed=f"{file} in {store.name} has more than {limit} bytes",
                    expected="a manifest or a signature, which are small",
                    remedy="publish the release again under a new version",
                )
    return bytes(content)


def sort_versions(versions: Sequence[str]) -> list[str]:
    """Return the versions newest first: numbers by their value, and 1.0.0-rc1 before 1.0.0."""
    return sorted(set(versions), key=_version_key, reverse=True)


def _version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    # A word (rc, beta) sorts below the end of the version, and that below a further number.
    return (*((2, int(part), "") if part.isdigit() else (0, 0, part) for part in parts), (1, 0, ""))


def _versions_in(store: Store, files: Iterator[str], service: str) -> list[str]:
    pattern = re.compile(re.escape(service) + "-(" + VERSION + ")" + re.escape(SUFFIX))
    found = [match for match in map(pattern.fullmatch, files) if match]
    with ThreadPoolExecutor(_READERS) as pool:
        own = pool.map(lambda match: _is_of(store, match[0], service), found)
        return sort_versions([match[1] for match, is_own in zip(found, own, strict=True) if is_own])


def _is_of(store: Store, file: str, service: str) -> bool:
    """Tell whether a manifest is this service's: `shop-web-2.0.0` is 2.0.0 of shop-web, or web-2.0.0 of shop."""
    words = file.removesuffix(SUFFIX).split("-")
    splits = [("-".join(words[:count]), "-".join(words[count:])) for count in range(1, len(words))]
    if sum(bool(re.fullmatch(NAME, name) and re.fullmatch(VERSION, version)) for name, version in splits) == 1:
        return True
    try:
        said = yaml.safe_load(read_small(store, file, MAX_BYTES))
    except (FileNotFoundError, yaml.YAMLError, TurnoutError):
        return True  # whoever asks for it hears what is wrong with it
    return not isinstance(said, dict) or said.get("name", service) == service


def _immutable(store: Store, file: str) -> TurnoutError:
    return TurnoutError(
        "release-published",
        observed=f"{store.name} has another {file} already",
        expected="the same bytes: what was published never changes, as hosts may run it",
        remedy="build under a new version: turnout release build --version NEW, then publish that",
    )


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def file_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Return the stream's content in chunks of `CHUNK_BYTES`."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return _sha256(file_chunks(stream))


class FolderStore:
    """Releases in a folder, on this machine or mounted."""

    def __init__(self, folder: Path) -> None:
        """Take the folder as it is; it is made when the first release is published."""
        self._folder = folder

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._folder)

    def versions(self, service: str) -> list[str] | None:
        """Return the versions whose manifest lies in the folder."""
        with self._faults():
            return _versions_in(self, (path.name for path in self._existing().iterdir()), service)

    @contextmanager
    def open(self, file: str) -> Generator[Iterator[bytes]]:
        """Open the file for reading."""
        with self._faults():
            path = self._existing() / file
            if not path.exists():
                raise FileNotFoundError(path)
            with path.open("rb") as stream:
                yield file_chunks(stream)

    def put(self, path: Path, file: str) -> bool:
        """Copy the file in: whole, on disk, and only where none of that name is."""
        with self._faults(absent=True):
            self._folder.mkdir(parents=True, exist_ok=True)
        with self._faults():
            target = self._folder / file
            descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{file}.")
            try:
                with os.fdopen(descriptor, "wb") as output, path.open("rb") as source:
                    for chunk in file_chunks(source):
                        output.write(chunk)
                    output.flush()
                    os.fchmod(output.fileno(), 0o644)
                    os.fsync(output.fileno())
                # A link, unlike a rename, fails when the name is taken, by whoever came first.
                os.link(temporary, target)
            except FileExistsError:
                if file_sha256(target) != file_sha256(path):
                    raise _immutable(self, file) from None
                return False
            finally:
                Path(temporary).unlink()
            _sync_folder(self._folder)
            return True

    def _existing(self) -> Path:
        if not self._folder.is_dir():
            raise TurnoutError(
                "store-missing",
                observed=f"there is no folder {self._folder}",
                expected="the folder that holds the releases",
                remedy=f"correct releases.source, or publish into it: {publishing(self)}",
            )
        return self._folder

    @contextmanager
    def _faults(self, *, absent: bool = False) -> Generator[None]:
        """Turn errors of the file system into ours; with `absent` also that something is not there."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not absent:
                raise
            there = next(path for path in (self._folder, *self._folder.parents, Path()) if os.path.exists(path))  # noqa: PTH110 - raises for no folder
            raise TurnoutError(
                "store-unreadable",
                observed=f"{error.filename or self._folder}: {error.strerror}",
                expected="a folder that can be read (and written, to publish)",
                remedy=f"check the permissions and the free space: ls -ld {there}; df {there}",
            ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class HttpStore:
    """Releases behind an HTTP(S) address, to read only; anything that serves files will do."""

    def __init__(self, address: str, access: HttpAccess) -> None:
        """Take the address without its last slash."""
        self._address = address
        self._access = access
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=self._tls()), _SafeRedirects(access.headers)
        )

    @property
    def name(self) -> str:
        """The address."""
        return self._address

    def versions(self, service: str) -> list[str] | None:  # noqa: ARG002
        """Return None: HTTP has no way to list."""
        return None

    @contextmanager
    def open(self, file: str) -> Generator[Iterator[bytes]]:
        """Request the file."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked by `open_store`
            f"{self._address}/{urllib.parse.quote(file)}", headers=dict(self._access.headers)
        )
        try:
            with self._opener.open(request, timeout=_READ_TIMEOUT_S) as response:
                yield file_chunks(response)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._http_error(error.code, file) from None
        except urllib.error.URLError as error:
            raise _unreachable(self.name, error.reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self.name, error) from None

    def put(self, path: Path, file: str) -> bool:  # noqa: ARG002
        """Refuse: there is no common way to write over HTTP."""
        raise TurnoutError(
            "store-read-only",
            observed=f"{self.name} is an HTTP address",
            expected="a folder or s3://bucket/prefix to publish to",
            remedy=f"publish to the folder that the web server serves: {publishing(self)}",
        )

    def _http_error(self, status: int, file: str) -> Exception:
        if status in (404, 410):
            return FileNotFoundError(file)
        if status in (401, 403):
            return TurnoutError(
                "store-credentials",
                observed=f"{self.name} answered {status} for {file}",
                expected="200",
                remedy="set releases.http.headers in the service file, such as Authorization from Ansible Vault",
            )
        return TurnoutError(
            "store-unreachable",
            observed=f"{self.name} answered {status} for {file}",
            expected="200",
            remedy="check the server, then run the same command again",
        )

    def _tls(self) -> ssl.SSLContext:
        return _tls_context(self._access.ca_file, "releases.http.ca_file")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http, and never with our headers to another host."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._private = {name.lower() for name in headers}

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        new = super().redirect_request(req, *args)
        if new is None:
            return None
        if req.type == "https" and new.type != "https":
            raise urllib.error.URLError(f"it redirects from https to {new.type}")
        if new.host != req.host:
            for name in list(new.headers):
                if name.lower() in self._private:
                    del new.headers[name]
        return new


def _tls_context(ca_file: Path | None, key: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TurnoutError(
            "store-tls",
            observed=f"{ca_file} is no file of certificates: {getattr(error, 'strerror', None) or error}",
            expected="the PEM certificate of the authority that signed the store's",
            remedy=f"correct {key} in the service file, or --ca-file",
        ) from None


def _unreachable(name: str, reason: object) -> TurnoutError:
    if isinstance(reason, ssl.SSLError):
        cause = getattr(reason, "verify_message", "") or reason.reason or str(reason)
        return TurnoutError(
            "store-tls",
            observed=f"{name}: the TLS connection failed: {cause}",
            expected="a certificate for that name, from an authority that is known",
            remedy="set ca_file to the authority's certificate (releases.s3.ca_file, releases.http.ca_file)",
        )
    return TurnoutError(
        "store-unreachable",
        observed=f"{name} cannot be reached: {reason}",
        expected="an answer",
        remedy="check the address, the network and the server, then run the same command again",
    )


class S3Store:
    """Releases in an S3 bucket, of any server that speaks S3 (boto3)."""

    def __init__(self, bucket: str, prefix: str, access: S3Access) -> None:
        """Take the bucket and the prefix without slashes around it; nothing is asked yet."""
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._access = access
        self._client = self._new_client()

    @property
    def name(self) -> str:
        """The address, with the endpoint when it is not Amazon's."""
        at = f"{_AT}{self._access.endpoint}" if self._access.endpoint else ""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/") + at

    def versions(self, service: str) -> list[str] | None:
        """Return the versions whose manifest lies under the prefix."""
        with self._faults():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{service}-"
            )
            keys = (entry["Key"] for page in pages for entry in page.get("Contents", []))
            return _versions_in(self, (key.removeprefix(self._prefix) for key in keys), service)

    @contextmanager
    def open(self, file: str) -> Generator[Iterator[bytes]]:
        """Get the object."""
        with self._faults(file):
            response = self._client.get_object(Bucket=self._bucket, Key=self._prefix + file)
            with contextlib.closing(response["Body"]) as body:
                yield body.iter_chunks(CHUNK_BYTES)

    def put(self, path: Path, file: str) -> bool:
        """Put the object on condition that there is none of that key."""
        self._check_size(path)
        with self._faults(file):
            if self._put_new(path, file):
                return True
            with self.open(file) as chunks:
                same = _sha256(chunks) == file_sha256(path)
        if not same:
            raise _immutable(self, file)
        return False

    def _put_new(self, path: Path, file: str) -> bool:
        """Put the object unless the key is taken; return whether it was put."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is loaded only where S3 is used

        key = self._prefix + file
        try:
            with path.open("rb") as body:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            return True
        except ClientError as error:
            status, code = _status_of(error)
            if status in (409, 412) or code == "PreconditionFailed":
                return False
            if status != 501 and code != "NotImplemented":
                raise
        # A server without conditional writes: look first. Two publishers at the same moment could both write, and
        # then the signature tells which of the two a host may run.
        if self._has(key):
            return False
        with path.open("rb") as body:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)
        return True

    def _has(self, key: str) -> bool:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _status_of(error)[0] == 404:
                return False
            raise
        return True

    def _check_size(self, path: Path) -> None:
        size = path.stat().st_size
        if size > _MAX_OBJECT_BYTES:
            raise TurnoutError(
                "release-too-big",
                observed=f"{path} has {counted(size, 'byte')}",
                expected=f"at most {_MAX_OBJECT_BYTES}, what S3 takes in one conditional put",
                remedy="leave out what the service does not need (.turnoutignore), or publish to a folder",
            )

    def _new_client(self) -> S3Client:
        import boto3  # noqa: PLC0415 - half a second that folder and HTTP stores need not pay
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        access = self._access
        endpoints = (access.endpoint, *map(os.environ.get, _ENDPOINT_VARIABLES))
        if any(one and not re.fullmatch(ENDPOINT, one) for one in endpoints):
            # Nothing of it is shown: it may hold a password.
            raise TurnoutError(
                "store-address",
                observed="an S3 endpoint that is no http(s) address, or has a user, ? or # in it",
                expected="https://s3.example.com:8333",
                remedy="correct --endpoint, releases.s3.endpoint or AWS_ENDPOINT_URL; keys stand beside it: "
                "releases.s3.access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if access.ca_file is not None:
            _tls_context(access.ca_file, "releases.s3.ca_file")
        # Amazon's own servers want the bucket in the host's name, most others in the path.
        own_endpoint = bool(access.endpoint or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES))
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path" if own_endpoint else "auto"},
            # Checksums of our own cover the content; many servers do not know the trailing ones of newer SDKs.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            return boto3.session.Session().client(
                "s3",
                endpoint_url=access.endpoint,
                region_name=access.region or ("us-east-1" if own_endpoint else None),
                aws_access_key_id=access.access_key,
                aws_secret_access_key=access.secret_key,
                aws_session_token=access.session_token,
                verify=None if access.ca_file is None else str(access.ca_file),
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise TurnoutError(
                "store-address",
                observed=f"S3 cannot be set up: {error}",
                expected="an endpoint, a region and a profile that exist",
                remedy="correct releases.s3 in the service file, or the AWS_* variables",
            ) from None

    @contextmanager
    def _faults(self, file: str | None = None) -> Generator[None]:
        """Turn boto3's errors into ours, or into `FileNotFoundError` for an object that is not there."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, SSLError  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            yield
        except ClientError as error:
            raise self._client_error(error, file) from None
        except NoCredentialsError:
            raise self._no_credentials() from None
        except SSLError as error:
            inner = _tls_cause(error)
            raise _unreachable(self.name, inner or error) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise _unreachable(self.name, error) from None

    def _client_error(self, error: Any, file: str | None) -> Exception:
        status, code = _status_of(error)
        if code == "NoSuchBucket":
            return TurnoutError(
                "store-missing",
                observed=f"there is no bucket {self._bucket} ({self.name})",
                expected="the bucket that holds the releases",
                remedy=f"correct releases.source, or make it: aws s3 mb s3://{self._bucket}",
            )
        if file is not None and (code in ("NoSuchKey", "NotFound") or status == 404):
            return FileNotFoundError(file)
        if status in (401, 403) or code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"):
            return TurnoutError(
                "store-credentials",
                observed=f"{self.name} refused the credentials: {code}",
                expected="an access key that may read (and to publish, write and list) there",
                remedy="set releases.s3.access_key and secret_key (Ansible Vault), or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY; a clock that is wrong by 15 minutes is refused too",
            )
        message = error.response.get("Error", {}).get("Message", "")
        return TurnoutError(
            "store-unreachable",
            observed=f"{self.name} answered {status} {code}: {message}",
            expected="success",
            remedy="check the server and the bucket, then run the same command again",
        )

    def _no_credentials(self) -> TurnoutError:
        return TurnoutError(
            "store-credentials",
            observed=f"no credentials for {self.name}",
            expected="an access key and a secret key",
            remedy="set releases.s3.access_key and secret_key (Ansible Vault), or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
        )


def _status_of(error: Any) -> tuple[int, str]:
    response = error.response
    return (
        int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
        str(response.get("Error", {}).get("Code", "")),
    )


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error at the bottom of what boto3 wraps it in."""
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, ssl.SSLError) or seen is None:
            return seen
        inner = getattr(seen, "kwargs", {}).get("error") or getattr(seen, "reason", None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__ or seen.__context__
    return None
