"""Every listening port of every host, from an application host, an edge, a data host and a stranger: what answers is
what docs/doors.md says; and how exposed the units are that hold these ports.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from harness import BIN, ROOT, SHARED, Turnout
from turnout.lab.hosts import LAB_LABEL
from turnout.lab.topology import HOSTS, host_named

STRANGER = "stranger"
FROM = ("app1", "edge1", "data1", "mon1", STRANGER)
Look = Callable[[str, list[tuple[str, int]]], set[tuple[str, int]]]

# Tries every address that standard input names, all at once, and prints those that answer.
KNOCK = """
import asyncio, json, sys
async def knock(address, port):
    for _ in range(2):
        try:
            writer = (await asyncio.wait_for(asyncio.open_connection(address, port), 3))[1]
        except (OSError, asyncio.TimeoutError):
            continue
        writer.close()
        return [address, port]
async def main(doors):
    print(json.dumps([found for found in await asyncio.gather(*(knock(*door) for door in doors)) if found]))
asyncio.run(main(json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def declared(turnout: Turnout, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return the doors of each host, as playbooks/doors.yml works them out."""
    file = tmp_path_factory.mktemp("doors") / "doors.json"
    run = turnout.playbook("doors", "-e", f"keep={file}")
    assert run.rc == 0, run.tail
    doors: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    assert set(doors) == {host.name for host in HOSTS}
    return doors


@pytest.fixture(scope="module")
def look(turnout: Turnout) -> Look:
    """Return a function that knocks at doors from a host or from a stranger, and returns those that answer."""
    hosts = turnout.hosts

    def knock(source: str, doors: list[tuple[str, int]]) -> set[tuple[str, int]]:
        if source != STRANGER:
            answer = turnout.ssh(source, f"python3 -c '{KNOCK}' '{json.dumps(doors)}'")
        else:
            image = json.loads(turnout.lab.record.read_text())["image"]
            answer = hosts.podman.run(
                "run", "--rm", f"--label={LAB_LABEL}={turnout.lab.name}", f"--network={hosts.network()}",
                f"--ip={turnout.lab.subnet}.250", image, "python3", "-c", KNOCK, json.dumps(doors),
            )  # fmt: skip
        return {(address, port) for address, port in json.loads(answer)}

    return knock


def listening(turnout: Turnout) -> dict[str, dict[int, str]]:
    """Return the ports of each host that listen on more than loopback, with the program behind each."""

    def of(host: str) -> dict[int, str]:
        found = {}
        for line in turnout.ssh(host, "ss -ltnpH").splitlines():
            words = line.split()
            address, _, port = words[3].rpartition(":")
            bare = address.strip("[]").partition("%")[0]
            if bare == "*" or not ipaddress.ip_address(bare).is_loopback:
                found[int(port)] = " ".join(re.findall(r'\("([^"]+)"', line))
        return found

    with ThreadPoolExecutor() as pool:
        names = [host.name for host in HOSTS]
        return dict(zip(names, pool.map(of, names), strict=True))


def expected(
    turnout: Turnout, declared: dict[str, list[dict[str, Any]]], listens: dict[str, dict[int, str]], source: str
) -> set[tuple[str, int]]:
    """Return what answers this source, if the hosts are as they are declared to be."""
    own = ipaddress.ip_address(f"{turnout.lab.subnet}.250" if source == STRANGER else turnout.address(source))
    return {
        (turnout.address(host), port)
        for host, rows in declared.items()
        for row in rows
        for port in row["ports"]
        if port in listens[host]
        and host != source
        and (row["everybody"] or any(own in ipaddress.ip_network(name, strict=False) for name in row["addresses"]))
    }


def test_what_answers_from_inside_and_outside_is_what_the_table_says(
    turnout: Turnout, declared: dict[str, list[dict[str, Any]]], look: Look
) -> None:
    began = time.monotonic()
    listens = listening(turnout)
    named = {host: {port for row in rows for port in row["ports"]} for host, rows in declared.items()}
    without = {
        host: {port: by for port, by in ports.items() if port not in named[host]} for host, ports in listens.items()
    }
    assert not any(without.values()), f"these ports listen, and no door of the table names them: {without}"
    assert sum(map(len, listens.values())) >= 25, "too little listens for this to be a look at anything"
    with ThreadPoolExecutor() as pool:
        doors = {
            source: [(turnout.address(h), port) for h, ports in listens.items() if h != source for port in ports]
            for source in FROM
        }
        answered = dict(zip(FROM, pool.map(lambda source: look(source, doors[source]), FROM), strict=True))
    for source in FROM:
        wanted = expected(turnout, declared, listens, source)
        assert answered[source] == wanted, (
            f"from {source}: open {answered[source] - wanted}, shut {wanted - answered[source]}"
        )
    edges = {turnout.address(name) for name in ("edge1", "edge2")}
    assert {(address, 80) for address in edges} <= answered[STRANGER]
    assert answered[STRANGER] <= {(address, port) for address in edges for port in (80, 443)}
    assert (turnout.address("data1"), 6379) in answered["app1"]
    assert (turnout.address("data1"), 6379) not in answered["edge1"]
    print(f"doors: {sum(map(len, listens.values()))} ports, {time.monotonic() - began:.1f} s")


def test_figures_and_alerts_listen_on_no_address_but_their_own(turnout: Turnout) -> None:
    for host, port in (
        ("mon1", 9090), ("mon1", 9093), ("mon1", 9100), ("app1", 9100), ("edge1", 9100), ("edge1", 8405),
        ("data1", 9187), ("data1", 9121), ("data1", 6379),
    ):  # fmt: skip
        lines = turnout.ssh(host, f"ss -ltnH 'sport = :{port}'").splitlines()
        addresses = {line.split()[3].rpartition(":")[0] for line in lines}
        assert turnout.address(host) in addresses, (host, port, addresses)
        assert addresses <= {turnout.address(host), "127.0.0.1"}, (host, port, addresses)


@pytest.fixture
def mended(turnout: Turnout) -> Iterator[None]:
    yield
    for host in ("mon1", "app2"):
        turnout.ssh(host, "systemctl restart turnout-firewall")


@pytest.mark.usefixtures("mended")
def test_without_the_firewall_the_look_sees_an_open_door(turnout: Turnout, look: Look) -> None:
    door = (turnout.address("mon1"), 9093)
    assert look(STRANGER, [door]) == set()
    turnout.ssh("mon1", "nft delete table inet turnout")
    assert look(STRANGER, [door]) == {door}


@pytest.mark.usefixtures("mended")
def test_a_stranger_cannot_hand_an_alert_to_alertmanager(turnout: Turnout) -> None:
    """One forged POST rolls production back where rollback_on_page is on."""
    hosts = turnout.hosts
    image = json.loads(turnout.lab.record.read_text())["image"]
    done = subprocess.run(
        hosts.podman.command(
            "run", "--rm", f"--label={LAB_LABEL}={turnout.lab.name}", f"--network={hosts.network()}",
            f"--ip={turnout.lab.subnet}.251", image, "curl", "-sS", "--max-time", "5",
            "-H", "Content-Type: application/json", "-d", '[{"labels": {"alertname": "SloBudgetBurn"}}]', f"http://{turnout.address('mon1')}:9093/api/v2/alerts",
        ),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr  # curl: failed to connect


@pytest.mark.usefixtures("mended")
def test_a_flushed_table_is_mended_by_the_next_run_and_a_reload_of_nftables_takes_nothing_away(
    turnout: Turnout, look: Look
) -> None:
    door = (turnout.address("app2"), 9100)
    turnout.ssh("app2", "nft flush ruleset")
    assert look(STRANGER, [door]) == {door}
    run = turnout.playbook("site", "--tags", "firewall", "--limit", "app2")
    assert run.rc == 0, run.tail
    assert look(STRANGER, [door]) == set()
    for word in ("restart", "reload"):
        turnout.ssh("app2", f"systemctl start nftables; systemctl {word} nftables")
        assert look(STRANGER, [door]) == set(), f"{word} of nftables.service"
    assert look("mon1", [door]) == {door}
    turnout.ssh("app2", "systemctl stop nftables; systemctl start turnout-firewall")


def test_the_doors_are_as_shut_after_a_reboot(turnout: Turnout, look: Look) -> None:
    hosts, host = turnout.hosts, host_named("mon1")
    hosts.kill(host)
    hosts.start(host)
    subprocess.run(["ssh", "-O", "exit", *SHARED, f"root@{turnout.address('mon1')}"], capture_output=True, check=False)
    deadline = time.monotonic() + 60
    door = (turnout.address("mon1"), 9090)
    while look("edge1", [door]) != {door}:
        assert time.monotonic() < deadline, "Prometheus did not come back"
        time.sleep(0.5)
    assert look(STRANGER, [door, (door[0], 9093), (door[0], 22)]) == set()


def test_every_unit_that_was_laid_is_little_exposed_and_the_docs_name_it(turnout: Turnout) -> None:
    run = turnout.playbook("exposure")
    assert run.rc == 0, run.tail
    told = {unit: float(value) for unit, value in re.findall(r"\| `([^`]+)` \| ([0-9.]+) \|", run.out)}
    assert set(told) >= {
        "turnout-edge-watch.service", "turnout-firewall.service", "turnout-heartbeat.service",
        "turnout-drill-reaper.service", "sample-api@.service", "sample-worker-jobs@.service",
        "sample-scheduler@.service", "sample-timer@.service",
    }  # fmt: skip
    assert max(told.values()) <= 2.5, told
    page = (ROOT / "docs" / "exposure.md").read_text()
    written = dict(re.findall(r"\| `([^`]+)` \| ([0-9.]+) \|", page))
    assert set(told) <= set(written), "run turnout exposure and put its table into docs/exposure.md"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("schedule/templates/turnout-scheduled.service.j2", "turnout-scheduled-NAME.service"),
        ("page_watch/templates/turnout-page-watch.service", "turnout-page-watch.service"),
        ("edge/templates/turnout-acme.service", "turnout-acme.service"),
        ("queue_figures/templates/turnout-queue-figures.service", "turnout-queue-figures.service"),
    ],
)
def test_units_that_the_lab_does_not_run_are_little_exposed_too(turnout: Turnout, template: str, name: str) -> None:
    roles = ROOT / "roles"
    environment = jinja2.Environment(trim_blocks=True)  # noqa: S701 - this is no HTML
    environment.filters |= {
        "dirname": lambda path: str(Path(path).parent),
        "combine": lambda one, other: {**one, **other},
        "round": lambda value, *_: value,
    }
    schedule = yaml.safe_load((roles / "schedule" / "defaults" / "main.yml").read_text())
    text = environment.from_string((roles / template).read_text()).render(
        ansible_managed="by a test", item=({"name": "NAME"},), schedule_user="root",
        schedule_hardening=schedule["schedule_hardening"], page_watch_poll_s=5,
        page_watch_edge_paths=["/var/lib/turnout", "/etc/haproxy"], edge_acme_state_dir="/var/lib/turnout-acme",
        edge_acme_certificate="/etc/haproxy/turnout-acme/site.pem",
        queue_figures_textfile="/var/lib/prometheus/node-exporter/turnout-queues.prom",
    ).replace("=True", "=true")  # fmt: skip
    folder = turnout.ssh("mon1", "mktemp -d").strip()
    done = subprocess.run(
        [str(BIN / "turnout"), "lab", "ssh", "mon1", f"cat > {folder}/{name}"], input=text, text=True, check=True,
        env=turnout.env(), cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0
    told = turnout.ssh("mon1", f"systemd-analyze security --offline=true --no-pager {folder}/{name}; rm -r {folder}")
    (value,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", told)
    print(f"{name}: {value}")
    assert float(value) <= 2.5, told
    assert f"`{name}`" in (ROOT / "docs" / "exposure.md").read_text()


def test_the_docs_have_the_table_of_the_lab() -> None:
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), "playbooks/doors.yml"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "TURNOUT_LAB_SUBNET": "10.77.0"},
    )  # fmt: skip
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("|")]
    assert len(lines) > 10, done.stdout + done.stderr
    assert "\n".join(lines) in Path(ROOT / "docs" / "doors.md").read_text(), (
        "put the table of playbooks/doors.yml there"
    )
