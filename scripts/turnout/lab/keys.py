"""The lab's keys: the SSH key that opens its hosts, and the authority that signs its store's certificate."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.lab.machine import APT_INSTALL
from turnout.lab.topology import DATA1, HOSTS, STORE1, Lab

_DAYS = "3650"


@dataclass(frozen=True)
class Authority:
    """Files of the lab's certificate authority and of the certificate it gave the store."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, lab: Lab) -> Authority:
        """Return where a lab's certificates are."""
        return cls(lab.state_dir / "ca.crt", lab.state_dir / "store1.crt", lab.state_dir / "store1.key")


def ensure_ssh_key(lab: Lab) -> str:
    """Make the lab's SSH key where it is missing; returns the public half."""
    public = lab.private_key.with_suffix(".pub")
    if not (lab.private_key.exists() and public.exists()):
        with tempfile.TemporaryDirectory(dir=lab.state_dir) as folder:
            made = Path(folder) / "key"
            _run(
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"turnout lab {lab.name}",
                "-f",
                str(made),
            )
            # The private half last: where it is, the pair is whole.
            made.with_suffix(".pub").replace(public)
            made.replace(lab.private_key)
    return public.read_text(encoding="utf-8").strip()


def ensure_certificates(lab: Lab) -> Authority:
    """Make the lab's authority and the store's certificate (names store1 and its address) where missing."""
    authority = Authority.of(lab)
    if all(path.exists() for path in (authority.ca, authority.certificate, authority.key)):
        return authority
    with tempfile.TemporaryDirectory(dir=lab.state_dir) as folder:
        place = Path(folder)
        # fmt: off
        _run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN=turnout lab {lab.name}", "-days", _DAYS,
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", str(place / "ca.key"), "-out", str(place / "ca.crt"),
        )
        _run(
            "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={STORE1.name}", "-keyout", str(place / "key"), "-out", str(place / "csr"),
        )
        (place / "extensions").write_text(
            f"subjectAltName=DNS:{STORE1.name},IP:{lab.address(STORE1)}\n"
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
            "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n",
            encoding="utf-8",
        )
        _run(
            "openssl", "x509", "-req", "-in", str(place / "csr"), "-CA", str(place / "ca.crt"),
            "-CAkey", str(place / "ca.key"), "-CAcreateserial", "-days", _DAYS,
            "-extfile", str(place / "extensions"), "-out", str(place / "crt"),
        )
        # fmt: on
        # The authority's own key is not kept: nothing else is ever signed with it.
        (place / "ca.crt").replace(authority.ca)
        (place / "key").replace(authority.key)
        (place / "crt").replace(authority.certificate)
    return authority


def ensure_backup_certificates(lab: Lab) -> Path:
    """Make certificates for the database's host and the repository host, by an authority of their own; their folder.

    Each names its host as common name and as DNS name, and serves both as server and as client.
    """
    folder = lab.state_dir / "backup-tls"
    names = (DATA1.name, STORE1.name)
    if all((folder / f"{name}.key").exists() for name in names):
        return folder
    with tempfile.TemporaryDirectory(dir=lab.state_dir) as place:
        made = Path(place) / "made"
        made.mkdir()
        key, curve = ("-newkey", "ec"), ("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        # fmt: off
        _run(
            "openssl", "req", "-x509", *key, *curve, "-subj", f"/CN=turnout lab {lab.name} backups", "-days", _DAYS,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", f"{place}/ca.key", "-out", str(made / "ca.crt"),
        )
        for name in names:
            _run("openssl", "req", *key, *curve, "-subj", f"/CN={name}", "-keyout", str(made / f"{name}.key"),
                 "-out", f"{place}/csr")
            (Path(place) / "extensions").write_text(
                f"subjectAltName=DNS:{name}\nbasicConstraints=critical,CA:FALSE\n"
                "extendedKeyUsage=serverAuth,clientAuth\n", encoding="utf-8",
            )
            _run("openssl", "x509", "-req", "-in", f"{place}/csr", "-CA", str(made / "ca.crt"),
                 "-CAkey", f"{place}/ca.key", "-CAcreateserial", "-days", _DAYS,
                 "-extfile", f"{place}/extensions", "-out", str(made / f"{name}.crt"))
        # fmt: on
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return folder


def known_hosts_text(lab: Lab, host_keys: dict[str, str]) -> str:
    """Return known_hosts for the hosts' public keys (host name -> the text of its *.pub files)."""
    lines = []
    for host in HOSTS:
        for line in host_keys.get(host.name, "").splitlines():
            words = line.split()
            if len(words) >= 2:
                lines.append(f"{lab.address(host)} {words[0]} {words[1]}\n")
    return "".join(lines)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        raise TurnoutError(
            "lab-programs",
            observed=f"this machine lacks {command[0]}",
            expected="openssl and ssh-keygen",
            remedy=f"make setup, or: {APT_INSTALL} openssl openssh-client",
        ) from None
    if done.returncode != 0:
        raise TurnoutError(
            "lab-keys",
            observed=f"`{' '.join(command[:2])}` failed: {done.stderr.strip()}",
            expected="a new key",
            remedy="turnout lab down, then turnout lab up",
        )
