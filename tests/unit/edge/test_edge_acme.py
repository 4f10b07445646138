"""The edge's certificate by ACME: what HAProxy answers the authority, and that a renewal breaks no connection.

HAProxy is the real one, with the role's own configuration; who makes certificates here is a stand-in for lego. The real
lego and a real ACME server are met on the lab (tests/more/test_9_acme.py).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.filter import edge as edge_filters
from ports import free_port
from real_edge import ROLE, RealEdge, system_python

PROGRAM = ROLE / "files" / "turnout-acme"
NAMES = ["shop.example", "www.shop.example"]
thumbprint_of = edge_filters.acme_thumbprint

# What lego does to the disk, and nothing else: `days` and `fault` are files that a test writes.
LEGO = """#!/bin/sh
set -eu
echo "$*" >> {folder}/lego.log
[ ! -e {folder}/fault ] || {{ cat {folder}/fault >&2; exit 1; }}
while [ $# -gt 0 ]; do
  case $1 in --path) home=$2 ;; --domains) names="${{names:-}},DNS:$2"; first=${{first:-$2}} ;; --email) mail=$2 ;; esac
  shift
done
test -s "$home"/accounts/acme.example/$mail/keys/$mail.key
mkdir -p "$home/certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days $(cat {folder}/days) \\
  -subj "/CN=$first" -addext "subjectAltName=${{names#,}}" \\
  -keyout "$home/certificates/$first.key" -out "$home/certificates/$first.crt" 2>/dev/null
echo >> "$home/certificates/$first.crt"
"""


@pytest.fixture(scope="module")
def account() -> str:
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    return subprocess.run(made, capture_output=True, text=True, check=True).stdout


class AcmeEdge(RealEdge):
    """An edge with HTTPS by ACME."""

    def __init__(self, folder: Path, account: str) -> None:
        self.https_port = free_port()
        self.certificate = folder / "site.pem"
        super().__init__(
            folder,
            edge_https_port=self.https_port,
            edge_acme_names=NAMES,
            edge_acme_account_key=account,
            edge_acme_certificate=str(self.certificate),
        )
        (folder / "account.key").write_text(account)
        (folder / "days").write_text("90")
        lego = folder / "lego"
        lego.write_text(LEGO.format(folder=folder))
        lego.chmod(0o755)
        self.acme = {
            "names": NAMES, "email": "ops@shop.example", "directory": "https://acme.example/directory", "ca_file": "",
            "account_key": str(folder / "account.key"), "thumbprint": thumbprint_of(account), "renew_days": 30,
            "key_type": "ec256", "certificate": str(self.certificate), "state_dir": str(folder / "acme"),
            "socket": str(folder / "admin.sock"), "lego": str(lego), "https_address": "127.0.0.1",
            "https_port": self.https_port,
        }  # fmt: skip
        assert self.keep("--placeholder") == {"changed": True}

    def try_to_keep(self, *words: str) -> subprocess.CompletedProcess[str]:
        file = self.folder / "acme.json"
        file.write_text(json.dumps(self.acme))
        command = [self.python if hasattr(self, "python") else system_python(), PROGRAM, "--config", file, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr
        assert "PRIVATE KEY" not in done.stdout + done.stderr
        return done

    def keep(self, *words: str) -> dict[str, Any]:
        done = self.try_to_keep(*words)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def asked(self) -> int:
        log = self.folder / "lego.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def connect(self) -> http.client.HTTPSConnection:
        trust = ssl.create_default_context()
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.https_port, timeout=20, context=trust)

    def shown(self) -> bytes:
        connection = self.connect()
        connection.connect()
        shown: bytes = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return shown


@pytest.fixture
def edge(tmp_path: Path, account: str) -> Iterator[AcmeEdge]:
    edge = AcmeEdge(tmp_path, account)
    try:
        edge.start()
        edge.bring_up()
        yield edge
    finally:
        edge.stop()


def test_a_thumbprint_is_that_of_rfc_7638(account: str) -> None:
    text = subprocess.run(
        ["openssl", "ec", "-pubout", "-outform", "DER"], input=account.encode(), capture_output=True, check=True
    ).stdout
    x, y = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (text[-64:-32], text[-32:]))
    wanted = hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest()
    assert thumbprint_of(account) == base64.urlsafe_b64encode(wanted).rstrip(b"=").decode()
    assert thumbprint_of(account.strip() + "\n\n") == thumbprint_of(account)


@pytest.mark.parametrize("kind", [["-algorithm", "RSA"], ["-algorithm", "ed25519"]])
def test_a_key_of_another_kind_has_none(kind: list[str]) -> None:
    other = subprocess.run(["openssl", "genpkey", *kind], capture_output=True, text=True, check=True).stdout
    assert thumbprint_of(other) == ""
    assert thumbprint_of("") == thumbprint_of("rubbish") == ""


def test_the_authority_is_answered_by_any_edge_from_the_question_alone(edge: AcmeEdge, account: str) -> None:
    token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
    status, body, _ = edge.get(f"/.well-known/acme-challenge/{token}")
    assert (status, body) == (200, f"{token}.{thumbprint_of(account)}")
    assert edge.get("/")[0] == 308, "everybody else is sent to HTTPS"


@pytest.mark.parametrize("rest", ["", "a/b", "a%20b", "a'%3Cscript%3E", "..%2f..", "x" * 257])
def test_what_is_no_challenge_is_not_answered(edge: AcmeEdge, rest: str) -> None:
    status, body, _ = edge.get(f"/.well-known/acme-challenge/{rest}")
    assert status == 308
    assert edge.acme["thumbprint"] not in body


def test_a_placeholder_lets_haproxy_start_and_is_replaced_without_a_reload(edge: AcmeEdge) -> None:
    before, pid = edge.shown(), edge.ask("show")["haproxy"]["pid"]
    first = edge.keep()
    assert (first["changed"], first["served"]) == (True, "runtime")
    assert 89 < first["days_left"] <= 90
    assert edge.shown() != before
    assert edge.shown() == ssl.PEM_cert_to_DER_cert(edge.certificate.read_text().split("-----BEGIN PRIVATE")[0])
    assert edge.ask("show")["haproxy"]["pid"] == pid
    assert edge.certificate.stat().st_mode & 0o777 == 0o600
    second = edge.keep()
    assert (second["changed"], second["served"], edge.asked()) == (False, "kept", 1)
    edge.reload()
    assert edge.keep()["served"] == "kept", "what is on the disk is what a reload serves"


def test_a_renewal_under_load_loses_no_request(edge: AcmeEdge) -> None:
    edge.keep()
    shown, answers, failures, stop = set(), [0], [], threading.Event()

    def ask(keep: bool) -> None:
        connection = None
        while not stop.is_set():
            try:
                if connection is None:
                    connection = edge.connect()
                    connection.connect()
                    shown.add(connection.sock.getpeercert(binary_form=True))
                status = edge.get_on(connection)[0]
                answers[0] += 1
                if status != 200:
                    failures.append(status)
                if not keep:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as fault:
                failures.append(repr(fault))
                connection = None

    threads = [threading.Thread(target=ask, args=(keep,)) for keep in (True, False, False)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        assert edge.keep("--force")["served"] == "runtime"
        time.sleep(0.2)
        deadline = time.monotonic() + 20
        while answers[0] <= 40 * number and not failures and time.monotonic() < deadline:
            time.sleep(0.05)  # on a slow machine: each renewal meets its part of the load
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert answers[0] > 200
    assert len(shown) >= 5, "new connections met each new certificate"


def test_it_is_due_by_days_names_and_authority(edge: AcmeEdge) -> None:
    edge.keep()
    (edge.folder / "days").write_text("20")
    assert edge.keep()["why"] == ""
    edge.acme["renew_days"] = 91
    assert "days left" in edge.keep()["why"]
    edge.acme["renew_days"] = 10
    edge.acme["names"] = ["shop.example"]
    assert "names" in edge.keep()["why"]
    edge.acme["directory"] = "https://acme.example/other"
    assert "authority" in edge.keep()["why"]
    assert edge.keep()["changed"] is False


def test_an_authority_that_refuses_leaves_what_is_served(edge: AcmeEdge) -> None:
    edge.keep()
    before = edge.shown()
    (edge.folder / "fault").write_text("acme: error 429 too many certificates\n")
    done = edge.try_to_keep("--force")
    assert done.returncode == 1
    for word in ("error[acme]", "429 too many certificates", "expected:", "to mend:"):
        assert word in done.stderr
    assert edge.shown() == before
    (edge.folder / "fault").unlink()
    assert edge.keep()["changed"] is False


def test_a_certificate_that_is_on_the_disk_alone_is_served_by_the_next_look(edge: AcmeEdge) -> None:
    """Killed between the disk and HAProxy: the next timer makes it good, and asks the authority for nothing."""
    edge.keep()
    old, before = edge.certificate.read_bytes(), edge.shown()
    edge.keep("--force")
    new = edge.certificate.read_bytes()
    edge.certificate.write_bytes(old)
    edge.keep()
    assert edge.shown() == before
    edge.certificate.write_bytes(new)
    asked = edge.asked()
    assert (edge.keep()["served"], edge.asked()) == ("runtime", asked)
    assert edge.shown() != before


def test_a_key_that_does_not_fit_is_never_laid(edge: AcmeEdge) -> None:
    edge.keep()
    before = edge.certificate.read_bytes()
    lego = Path(edge.acme["lego"])
    lego.write_text(
        lego.read_text() + 'openssl ecparam -name prime256v1 -genkey -noout > "$home/certificates/$first.key"\n'
    )
    done = edge.try_to_keep("--force")
    assert done.returncode == 1
    assert "do not belong together" in done.stderr
    assert edge.certificate.read_bytes() == before


def test_an_own_certificate_stands_beside_it_and_alone(tmp_path: Path, account: str) -> None:
    edge = RealEdge(tmp_path)
    own = {"edge_tls_certificate": "/etc/ssl/own.pem", "edge_https_port": 443}
    both = edge.render({**own, "edge_acme_names": NAMES, "edge_acme_account_key": account})
    alone = edge.render(own)
    edge.stop()
    assert "ssl crt /etc/ssl/own.pem crt /etc/haproxy/turnout-acme/site.pem alpn" in both
    assert "ssl crt /etc/ssl/own.pem alpn" in alone
    assert "acme-challenge" not in alone
