"""The rules as nft would read them, and who is let in; nft itself looks at them on the lab."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.turnout.ops.plugins.filter import doors as door_filters
from ansible_collections.turnout.ops.plugins.modules import firewall as firewall_module

GROUPS = {"edge": ["edge1", "edge2"], "api": ["app1"], "monitoring": ["mon1"], "postgres": ["data1"], "empty": []}
HOSTVARS = {
    "edge1": {"ansible_host": "192.0.2.11", "private_address": "10.0.0.11"},
    "edge2": {"ansible_host": "10.0.0.12"},
    "app1": {"ansible_host": "10.0.0.21"},
    "mon1": {"ansible_host": "10.0.0.41", "private_address": "fd00::41"},
    "data1": {},
}
DOORS = [
    {"name": "http", "groups": ["edge"], "ports": ["80", 443, 0, ""], "from": "everybody"},
    {"name": "api", "groups": ["api"], "ports": [8001, 8002], "from": ["edge", "empty", "absent"]},
    {
        "name": "exporter",
        "groups": ["edge", "api"],
        "ports": [9100],
        "from": ["monitoring"],
        "sources": ["127.0.0.0/8"],
    },
    {"name": "off", "groups": ["edge"], "ports": [1], "from": "everybody", "enabled": False},
    {"name": "closed", "groups": ["api"], "ports": [7000], "from": []},
]


@pytest.fixture(scope="module")
def filters() -> ModuleType:
    return door_filters


@pytest.fixture(scope="module")
def firewall() -> ModuleType:
    return firewall_module


def test_a_host_has_the_doors_of_its_groups_and_lets_in_the_addresses_of_others(filters) -> None:
    rows = filters.doors(DOORS, "app1", GROUPS, HOSTVARS, {"api": ["10.9.0.0/16"]})
    assert [(row["name"], row["ports"], row["everybody"], row["addresses"]) for row in rows] == [
        ("api", [8001, 8002], False, ["10.0.0.11", "10.0.0.12", "10.9.0.0/16"]),
        ("exporter", [9100], False, ["fd00::41"]),
        ("closed", [7000], False, []),
    ]
    (http, _) = filters.doors(DOORS, "edge1", GROUPS, HOSTVARS, {})
    assert (http["ports"], http["everybody"]) == ([80, 443], True)


def test_a_host_without_a_private_address_is_known_by_its_name_at_the_least(filters) -> None:
    assert filters.address_of({}, "data1") == "data1"
    assert filters.address_of(HOSTVARS["edge1"], "edge1") == "10.0.0.11"


def test_a_source_of_a_door_that_there_is_not_is_refused(filters) -> None:
    with pytest.raises(AnsibleFilterError, match="prometeus"):
        filters.doors(DOORS, "app1", GROUPS, HOSTVARS, {"prometeus": ["10.0.0.1"]})


def test_the_table_has_each_door_once(filters) -> None:
    rows = {name: filters.doors(DOORS, name, GROUPS, HOSTVARS, {}) for name in ("edge1", "edge2", "app1")}
    lines = filters.table(rows)
    assert len(lines) == 2 + 4
    assert "| 80, 443 | edge | `http`:  | everybody |" in lines
    assert "| 7000 | api | `closed`:  | nobody |" in lines


def test_the_rules_accept_what_is_declared_and_refuse_the_rest_of_these_ports_alone(firewall) -> None:
    text = firewall.rules_of(
        [
            {"name": "http", "ports": [80, 443], "everybody": True, "addresses": []},
            {"name": "api", "ports": [8001], "everybody": False, "addresses": ["10.0.0.0/24", "10.0.0.7", "fd00::1"]},
            {"name": "closed", "ports": [7000], "everybody": False, "addresses": []},
        ]
    )
    rules = [line.strip() for line in text.splitlines() if "dport" in line]
    assert rules == [
        'tcp dport { 80, 443 } accept comment "http"',
        'ip saddr { 10.0.0.0/24 } tcp dport { 8001 } accept comment "api"',
        'ip6 saddr { fd00::1 } tcp dport { 8001 } accept comment "api"',
        "tcp dport { 80, 443, 7000, 8001 } counter reject with tcp reset",
    ]
    # In one step, whether the table is there or not, and nothing but this table.
    assert text.index("table inet turnout\ndelete table inet turnout\ntable inet turnout {") > 0
    assert "flush" not in text
    assert "ct state" not in text, "a table of connections that can fill up is no part of it"


def test_a_host_without_doors_refuses_nothing(firewall) -> None:
    assert "reject" not in firewall.rules_of([])


def test_a_name_that_does_not_resolve_is_an_error_that_says_how_to_mend_it(firewall) -> None:
    door = {"name": "api", "ports": [1], "everybody": False, "addresses": ["no-such-host.invalid"]}
    with pytest.raises(firewall.FirewallError, match="set private_address"):
        firewall.rules_of([door])


@pytest.mark.parametrize(
    ("sources", "client", "locked"),
    [
        (["10.0.0.0/24"], "10.0.0.9", False),
        (["10.0.0.0/24"], "10.0.1.9", True),
        (["10.0.0.0/24"], None, False),
        (["fd00::/64"], "fd00::9", False),
    ],
)
def test_rules_that_would_lock_out_their_own_writer_are_seen(firewall, sources, client, locked) -> None:
    ssh = {"name": "ssh", "ports": [22], "everybody": False, "addresses": sources}
    assert firewall.locks_out([ssh], client) is locked
    assert firewall.locks_out([], client) is False, "without a door for SSH it is not touched"


def test_the_address_of_ones_own_ssh_session_is_found_through_sudo(firewall, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 50000 10.0.0.11 22")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # a process whose own environment has it, with a child that has not
        os.close(reader)
        script = (
            "import os, subprocess, sys; env = {k: v for k, v in os.environ.items() if k != 'SSH_CONNECTION'};"
            "p = subprocess.Popen(['sleep', '20'], env=env); os.write(int(sys.argv[1]), str(p.pid).encode()); p.wait()"
        )
        os.set_inheritable(writer, True)
        os.execvp("python3", ["python3", "-c", script, str(writer)])  # noqa: S606
    os.close(writer)
    grandchild = int(os.read(reader, 20))
    try:
        assert firewall.client_of_ssh(grandchild) == "10.0.0.9"
    finally:
        os.kill(grandchild, 9)
        os.kill(child, 9)
        os.waitpid(child, 0)
