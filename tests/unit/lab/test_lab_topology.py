"""A lab's names and addresses, its known hosts, and that the inventory agrees with all of it."""

from __future__ import annotations

import ipaddress
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.lab import keys, store
from turnout.lab.files import write_private, write_public
from turnout.lab.hosts import Hosts
from turnout.lab.podman import Podman, PodmanError
from turnout.lab.topology import APP1, EDGE1, HOSTS, STORE1, Lab, host_named

ROOT = Path(__file__).resolve().parents[3]


def lab(tmp_path: Path) -> Lab:
    return Lab("spare", "10.99.1", tmp_path)


def test_without_variables_it_is_the_default_lab() -> None:
    found = Lab.from_environment({"HOME": "/home/ann"})
    assert (found.name, found.cidr) == ("turnout", "10.77.0.0/24")
    assert found.state_dir == Path("/home/ann/.local/state/turnout/turnout")


def test_the_variables_name_another_lab() -> None:
    found = Lab.from_environment(
        {"TURNOUT_LAB": "two", "TURNOUT_LAB_SUBNET": "192.168.9", "XDG_STATE_HOME": "/s", "HOME": "/h"}
    )
    assert found.address(EDGE1) == "192.168.9.11"
    assert found.container(EDGE1) == "two-edge1"
    assert found.state_dir == Path("/s/turnout/two")


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("TURNOUT_LAB", "Two", "lab-name"),
        ("TURNOUT_LAB", "two labs", "lab-name"),
        ("TURNOUT_LAB", "../x", "lab-name"),
        ("TURNOUT_LAB_SUBNET", "10.77", "lab-subnet"),
        ("TURNOUT_LAB_SUBNET", "10.77.0.0/24", "lab-subnet"),
        ("TURNOUT_LAB_SUBNET", "10.777.0", "lab-subnet"),
        ("TURNOUT_LAB_SUBNET", "8.8.8", "lab-subnet"),
    ],
)
def test_a_name_or_network_that_cannot_be_used_is_refused(variable: str, value: str, code: str) -> None:
    with pytest.raises(TurnoutError) as caught:
        Lab.from_environment({variable: value, "HOME": "/h"})
    assert caught.value.code == code
    assert value in caught.value.observed


def test_hosts_have_names_and_addresses_of_their_own(tmp_path: Path) -> None:
    this = lab(tmp_path)
    for attribute in (this.container, this.address, this.hardware_address):
        assert len({attribute(host) for host in HOSTS}) == len(HOSTS)
    assert all(ipaddress.ip_address(this.address(host)) in ipaddress.ip_network(this.cidr) for host in HOSTS)


def test_hardware_addresses_are_locally_administered_and_not_for_groups(tmp_path: Path) -> None:
    for host in HOSTS:
        first = int(lab(tmp_path).hardware_address(host).split(":")[0], 16)
        assert first & 0b10
        assert not first & 0b01


def test_a_host_is_found_by_its_name_or_refused_with_the_names_there_are() -> None:
    assert host_named("app1") is APP1
    with pytest.raises(TurnoutError) as caught:
        host_named("app9")
    assert "edge1, edge2, app1" in caught.value.expected


def test_known_hosts_name_each_host_by_its_address_only(tmp_path: Path) -> None:
    text = keys.known_hosts_text(
        lab(tmp_path),
        {"edge1": "ssh-ed25519 AAAA root@edge1\nssh-rsa BBBB root@edge1\n", "app1": "ssh-ed25519 CCCC root@app1\n"},
    )
    assert text == ("10.99.1.11 ssh-ed25519 AAAA\n10.99.1.11 ssh-rsa BBBB\n10.99.1.21 ssh-ed25519 CCCC\n")


@given(st.text(alphabet="ab \n", max_size=40))
def test_known_hosts_never_hold_a_line_without_a_key(answer: str) -> None:
    text = keys.known_hosts_text(Lab("spare", "10.99.1", Path("/nowhere")), {"edge1": answer})
    assert all(len(line.split()) == 3 for line in text.splitlines())


def test_the_ssh_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    this = lab(tmp_path)
    first = keys.ensure_ssh_key(this)
    assert first.startswith("ssh-ed25519 ")
    assert stat.S_IMODE(this.private_key.stat().st_mode) == 0o600
    assert keys.ensure_ssh_key(this) == first


def test_a_half_made_ssh_key_is_made_anew(tmp_path: Path) -> None:
    this = lab(tmp_path)
    first = keys.ensure_ssh_key(this)
    this.private_key.unlink()
    assert keys.ensure_ssh_key(this) != first


def test_the_stores_certificate_holds_its_name_and_its_address(tmp_path: Path) -> None:
    this = lab(tmp_path)
    made = keys.ensure_certificates(this)
    for option, value in (("-verify_hostname", STORE1.name), ("-verify_ip", this.address(STORE1))):
        command = ["openssl", "verify", "-CAfile", str(made.ca), option, value, str(made.certificate)]
        subprocess.run(command, check=True, capture_output=True)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


def test_a_store_that_is_not_up_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TurnoutError) as caught:
        store.load(lab(tmp_path))
    assert caught.value.remedy == "turnout lab up"


def test_files_are_written_whole_with_their_mode(tmp_path: Path) -> None:
    for write, mode in ((write_private, 0o600), (write_public, 0o644)):
        path = tmp_path / "file"
        write(path, "one")
        write(path, "two")
        assert path.read_text(encoding="utf-8") == "two"
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_host_is_made_anew_when_its_image_or_its_options_change(tmp_path: Path) -> None:
    podman = Podman(tmp_path / "containers.conf", with_sudo=False)
    with_caps = Hosts(lab(tmp_path), podman, memory_limits=True, cgroup_manager="cgroupfs")
    without = Hosts(lab(tmp_path), podman, memory_limits=False, cgroup_manager="cgroupfs")
    assert with_caps.spec(EDGE1, "one", "net")[0] != with_caps.spec(EDGE1, "two", "net")[0]
    assert with_caps.spec(STORE1, "one", "net")[0] != without.spec(STORE1, "one", "net")[0]
    assert with_caps.spec(EDGE1, "one", "net") == without.spec(EDGE1, "one", "net")


@pytest.mark.parametrize(("manager", "parent"), [("cgroupfs", True), ("systemd", False)])
def test_each_host_has_the_weight_of_a_machine_where_podman_makes_the_groups(
    tmp_path: Path, manager: str, parent: bool
) -> None:
    podman = Podman(tmp_path / "containers.conf", with_sudo=False)
    hosts = Hosts(lab(tmp_path), podman, memory_limits=True, cgroup_manager=manager)
    assert ("--cgroup-parent=/" in hosts.spec(EDGE1, "one", "net")[1]) is parent


def test_a_podman_command_that_fails_is_told_without_the_script_inside_it(tmp_path: Path) -> None:
    script = "a script of many lines"
    error = PodmanError(
        ["sudo", "env", f"CONTAINERS_CONF={tmp_path}", "podman", "exec", "x", "sh", "-c", script],
        "warning\nError: no such container\n",
    )
    assert script not in str(error)
    assert "podman exec x" in str(error)
    assert "no such container" in str(error)


def test_the_inventory_has_the_labs_hosts_at_the_labs_addresses() -> None:
    env = os.environ | {"TURNOUT_LAB": "spare", "TURNOUT_LAB_SUBNET": "10.99.1", "XDG_STATE_HOME": "/s"}
    command = [
        str(Path(sys.executable).parent / "ansible"),
        "lab",
        "--inventory=inventories/lab",
        "--module-name=ansible.builtin.debug",
        "--args=msg={{ [ansible_host, ansible_ssh_private_key_file, ansible_ssh_common_args] | to_json }}",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    this = Lab.from_environment(env)
    found = {}
    for block in done.stdout.split(" | SUCCESS => ")[0:-1]:
        name = block.split()[-1]
        after = done.stdout.split(f"{name} | SUCCESS => ", 1)[1]
        found[name], _ = json.JSONDecoder().raw_decode(after)
    for host in HOSTS:
        address, key, options = json.loads(found[host.name]["msg"])
        assert address == this.address(host)
        assert key == str(this.private_key)
        assert f'UserKnownHostsFile={this.known_hosts}"' in options
        assert "StrictHostKeyChecking=yes" in options
