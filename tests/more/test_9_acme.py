"""HTTPS with a life: a real ACME server (Pebble, from Debian) on store1, lego on every edge, renewal under load."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import EDGES, Turnout

NAME = "sample.example.org"
PEBBLE = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/etc/seaweedfs/store1.crt",
        "privateKey": "/etc/seaweedfs/store1.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": 90 * 86400,
    }
}


@pytest.fixture(scope="module")
def acme(turnout: Turnout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run Pebble, for which the name leads to edge2 alone; the file has the variables of the edges."""
    turnout.ensure("1.1.0")
    turnout.ssh(
        "store1",
        "export DEBIAN_FRONTEND=noninteractive; command -v pebble >/dev/null || { apt-get update -qq &&"
        " apt-get install -qq -y --no-install-recommends pebble >/dev/null; }",
        timeout_s=180,
    )
    turnout.ssh("store1", f"echo {turnout.address('edge2')} {NAME} >> /etc/hosts")
    turnout.ssh(
        "store1", f"echo {shlex.quote(json.dumps(PEBBLE))} > /etc/pebble.json; systemctl stop pebble-test; true"
    )
    turnout.ssh(
        "store1",
        "systemd-run -q --collect --unit=pebble-test -E PEBBLE_VA_NOSLEEP=1 -E PEBBLE_WFE_NONCEREJECT=5"
        " pebble -config /etc/pebble.json",
    )
    folder = tmp_path_factory.mktemp("acme")
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    variables = {
        "edge_acme_names": [NAME],
        "edge_acme_email": "ops@example.org",
        "edge_acme_account_key": subprocess.run(made, capture_output=True, text=True, check=True).stdout,
        "edge_acme_directory": f"https://{turnout.address('store1')}:14000/dir",
        "edge_acme_ca_file": turnout.s3["ca_file"],
        "edge_tls_redirect": False,
    }
    file = folder / "edge.json"
    file.write_text(json.dumps(variables))
    run = turnout.playbook("site", "--tags", "edge", "-e", f"@{file}")
    assert run.rc == 0, run.tail
    yield file
    run = turnout.playbook("site", "--tags", "edge")
    assert run.rc == 0, run.tail
    turnout.ssh("store1", f"systemctl stop pebble-test; sed '/{NAME}/d' /etc/hosts > /tmp/h && cat /tmp/h > /etc/hosts")
    for edge in EDGES:
        turnout.ssh(edge, "rm -rf /var/lib/turnout-acme /etc/haproxy/turnout-acme /etc/turnout/acme*")


def connect(turnout: Turnout, edge: str) -> http.client.HTTPSConnection:
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(turnout.address(edge), 443, timeout=20, context=trust)


def shown(turnout: Turnout, edge: str) -> dict[str, str]:
    """Return what the certificate says that an edge shows: issuer, serial number, end."""
    connection = connect(turnout, edge)
    connection.connect()
    pem = ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True))
    connection.close()
    words = ["openssl", "x509", "-noout", "-issuer", "-serial", "-enddate", "-ext", "subjectAltName"]
    said = subprocess.run(words, input=pem, capture_output=True, text=True, check=True).stdout
    assert f"DNS:{NAME}" in said
    return dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)


def process_of(turnout: Turnout, edge: str) -> int:
    number: int = turnout.edge(edge)["haproxy"]["pid"]
    return number


class HttpsLoad:
    """Users over HTTPS on every edge, some on kept connections and some on a new one for each request."""

    def __init__(self, turnout: Turnout) -> None:
        self.turnout = turnout
        self.answers = 0
        self.failures: list[Any] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(e, k)) for e in EDGES for k in (True, False, False)]

    def _run(self, edge: str, keep: bool) -> None:
        connection = None
        while not self._stop.wait(0.02):
            try:
                connection = connection or connect(self.turnout, edge)
                connection.request("GET", "/api/health/", headers={"Host": NAME})
                answer = connection.getresponse()
                answer.read()
                self.answers += 1
                if answer.status != 200:
                    self.failures.append((edge, answer.status))
                if not keep:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as fault:
                self.failures.append((edge, repr(fault)))
                connection = None

    def more(self, count: int) -> None:
        """Wait until so many further requests were answered: a busy machine changes how long that takes."""
        wanted, deadline = self.answers + count, time.monotonic() + 60
        while self.answers < wanted and not self.failures:
            assert time.monotonic() < deadline, f"{self.answers} answers, {wanted} wanted"
            time.sleep(0.05)

    def __enter__(self) -> HttpsLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_every_edge_gets_a_certificate_though_the_authority_asks_only_one(turnout: Turnout, acme: Path) -> None:
    assert acme.exists()
    found = {edge: shown(turnout, edge) for edge in EDGES}
    for edge, certificate in found.items():
        assert "Pebble" in certificate["issuer"], edge
    assert found["edge1"]["serial"] != found["edge2"]["serial"], "each has a key of its own"
    for edge in EDGES:
        assert turnout.ssh(edge, "systemctl is-active turnout-acme.timer").strip() == "active"
        assert turnout.ssh(edge, "stat -c %a /etc/haproxy/turnout-acme/site.pem").strip() == "600"


def test_a_second_run_changes_nothing_and_asks_for_nothing(turnout: Turnout, acme: Path) -> None:
    before = {edge: shown(turnout, edge) for edge in EDGES}
    run = turnout.playbook(
        "site", "--tags", "edge", "-e", f"@{acme}", env={"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    )
    assert run.rc == 0, run.tail
    assert "changed=0" in run.out
    assert not any(f"changed={number}" in run.out for number in range(1, 9)), run.tail
    assert {edge: shown(turnout, edge) for edge in EDGES} == before


def test_a_renewal_under_load_loses_no_request_and_reloads_nothing(turnout: Turnout, acme: Path) -> None:
    assert acme.exists()
    before = {edge: (shown(turnout, edge)["serial"], process_of(turnout, edge)) for edge in EDGES}
    with (
        turnout.load(rate=40, seconds=120, new_connections="0.3", mix="health=10,tasks=20,echo=10") as load,
        HttpsLoad(turnout) as users,
    ):
        users.more(40)
        for edge in EDGES:
            # What the timer starts, when the certificate has come to its last days.
            turnout.ssh(edge, 'sed -i \'s/"renew_days": [0-9]*/"renew_days": 365/\' /etc/turnout/acme.json')
            turnout.ssh(edge, "systemctl start turnout-acme.service", timeout_s=120)
            turnout.ssh(edge, 'sed -i \'s/"renew_days": 365/"renew_days": 30/\' /etc/turnout/acme.json')
        # And once more through the playbook's own path.
        said = json.loads(turnout.ssh("edge1", "turnout-acme --force", timeout_s=120))
        users.more(60)
    assert said["served"] == "runtime"
    assert users.failures == []
    assert users.answers > 100
    assert load.report["failed"] == 0, (load.report["failures"], load.report["samples"])
    for edge, (serial, process) in before.items():
        assert shown(turnout, edge)["serial"] != serial, f"{edge} shows its old certificate"
        assert process_of(turnout, edge) == process, f"{edge} was reloaded"
        said = turnout.ssh(edge, "journalctl -q -o cat -u turnout-acme -n 20")
        assert '"served": "runtime"' in said, said


def test_the_account_and_the_key_outlive_an_edge(turnout: Turnout, acme: Path) -> None:
    """An edge that comes back empty gets its certificate from the same account."""
    assert acme.exists()

    def accounts(edge: str) -> set[str]:
        text = turnout.ssh(edge, "cat /var/lib/turnout-acme/*/accounts/*/*/account.json")
        return {json.loads(text)["registration"]["uri"]}

    before = accounts("edge1")
    assert accounts("edge2") == before
    turnout.ssh("edge1", "rm -rf /var/lib/turnout-acme /etc/haproxy/turnout-acme")
    run = turnout.playbook("site", "--tags", "edge", "-e", f"@{acme}")
    assert run.rc == 0, run.tail
    assert accounts("edge1") == before
    assert "Pebble" in shown(turnout, "edge1")["issuer"]


def test_the_unit_is_exposed_little(turnout: Turnout, acme: Path) -> None:
    assert acme.exists()
    said = turnout.ssh("edge1", "systemd-analyze security turnout-acme.service --no-pager | tail -1")
    found = re.search(r"turnout-acme\.service: ([0-9.]+)", said)  # and a face behind it, which may be of colons
    assert found, said
    assert float(found[1]) <= 2.5, said


def test_the_checklist_counts_the_days_of_every_edges_served_certificate(turnout: Turnout, acme: Path) -> None:
    assert acme.exists()
    certificates = [{"name": "www", "address": "127.0.0.1:443", "server_name": NAME, "days": 80}]
    file = turnout.work / "acme-checklist.json"
    wanted = {
        "hosts": {"disk_free_percent": 1, "memory_free_percent": 1, "clock_skew_s": 60},
        "certificates": certificates,
    }
    file.write_text(json.dumps({"checklist": wanted}))
    run = turnout.playbook("checklist", "-e", "release=1.1.0", "-e", f"@{file}")
    lines = [line for line in run.out.splitlines() if "certificate" in line and "www" in line]
    for edge in EDGES:
        assert any(edge in line and "days left" in line for line in lines), run.tail
