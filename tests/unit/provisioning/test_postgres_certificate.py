"""The certificate that the role postgres makes, by the real openssl: when it is made anew, and what it says."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

NAMES = ["data1", "10.0.0.31", "2001:db8::31"]


@pytest.fixture
def made(certificate: ModuleType, tmp_path: Path) -> Path:
    certificate.make(str(tmp_path), NAMES, getpass.getuser(), 3650)
    return tmp_path


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout


def test_it_names_the_server_by_every_name_and_is_by_the_authority_beside_it(made: Path) -> None:
    said = openssl("x509", "-in", str(made / "server.crt"), "-noout", "-ext", "subjectAltName", "-subject").replace(
        " = ", "="
    )
    for word in ("DNS:data1", "IP Address:10.0.0.31", "IP Address:2001:DB8:0:0:0:0:0:31", "CN=data1"):
        assert word in said
    assert "OK" in openssl("verify", "-CAfile", str(made / "ca.crt"), "-purpose", "sslserver", str(made / "server.crt"))
    public = openssl("pkey", "-in", str(made / "server.key"), "-pubout")
    assert public == openssl("x509", "-in", str(made / "server.crt"), "-noout", "-pubkey")


def test_keys_are_private_and_nothing_is_left_over(made: Path) -> None:
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in made.iterdir()} == {
        "ca.crt": "0o644", "ca.key": "0o600", "names": "0o644", "server.crt": "0o644", "server.key": "0o600",
    }  # fmt: skip


def test_a_good_certificate_is_kept(certificate: ModuleType, made: Path) -> None:
    assert certificate.why(str(made), NAMES, 365) == ""


def test_the_authority_is_kept_when_the_certificate_is_made_anew(certificate: ModuleType, made: Path) -> None:
    authority = (made / "ca.crt").read_bytes(), (made / "ca.key").read_bytes()
    server = (made / "server.crt").read_bytes()
    assert "names" in certificate.why(str(made), ["data2"], 365)
    certificate.make(str(made), ["data2"], getpass.getuser(), 3650)
    assert certificate.why(str(made), ["data2"], 365) == ""
    assert ((made / "ca.crt").read_bytes(), (made / "ca.key").read_bytes()) == authority
    assert (made / "server.crt").read_bytes() != server


def test_one_that_runs_out_or_is_another_authoritys_is_made_anew(certificate: ModuleType, made: Path) -> None:
    assert "runs out" in certificate.why(str(made), NAMES, 3651)
    (made / "server.key").unlink()
    assert certificate.why(str(made), NAMES, 365) == "there is none"
    certificate.make(str(made), NAMES, getpass.getuser(), 3650)
    (made / "ca.crt").unlink()
    (made / "ca.key").unlink()
    certificate.make(str(made / "other"), NAMES, getpass.getuser(), 3650)
    for name in ("ca.crt", "ca.key"):
        (made / "other" / name).rename(made / name)
    assert certificate.why(str(made / "other"), NAMES, 365) == "there is none"
    assert "not by this authority" in certificate.why(str(made), NAMES, 365)


def test_a_run_that_ended_between_key_and_certificate_is_made_good(certificate: ModuleType, made: Path) -> None:
    certificate.make(str(made / "other"), NAMES, getpass.getuser(), 3650)
    (made / "other" / "server.key").rename(made / "server.key")
    assert "key" in certificate.why(str(made), NAMES, 365)
