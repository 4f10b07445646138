"""The lab itself, on one of its own: it survives killed runs and mends what tests break, and faults are real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from harness import BIN, ROOT
from turnout.lab import bring_up, store
from turnout.lab.hosts import Hosts, ssh_answers
from turnout.lab.topology import APP1, APP2, EDGE1, EDGE2, HOSTS, MON1, STORE1, Lab

ENVIRONMENT = {"TURNOUT_LAB": "labtest", "TURNOUT_LAB_SUBNET": "10.77.250"}
LIMIT_S = 300


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `turnout lab ...` as a person would."""
    return subprocess.run(
        [str(BIN / "turnout"), "lab", *words],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def kill_after(seconds: float, *words: str) -> None:
    """Run `turnout lab ...` and kill it, with all that it started, after some seconds."""
    with subprocess.Popen(
        [str(BIN / "turnout"), "lab", *words],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def seen() -> dict[str, dict[str, object]]:
    """Return the rows of `turnout lab status --json` by host."""
    rows = json.loads(command("status", "--json").stdout)["hosts"]
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Return the hosts of this module's own lab, up; it is removed at the end, and a former run's before."""
    command("down")
    try:
        done = command("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield bring_up.open_lab(Lab.from_environment(os.environ | ENVIRONMENT))
    finally:
        done = command("down")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def whole(hosts: Hosts) -> Hosts:
    """Return the hosts with the lab whole, whatever the test before left."""
    if not bring_up.status(hosts.lab)["up"]:
        done = command("up")
        assert done.returncode == 0, done.stdout + done.stderr
    return hosts


def test_a_second_up_keeps_every_host(whole: Hosts) -> None:
    before = {state.host.name: whole.execute(state.host, "cat", "/etc/machine-id") for state in whole.states()}
    done = command("up")
    assert f"kept: {' '.join(host.name for host in HOSTS)}" in done.stdout
    after = {host.name: whole.execute(host, "cat", "/etc/machine-id") for host in HOSTS}
    assert after == before
    assert len(set(after.values())) == len(HOSTS)


@pytest.mark.parametrize("seconds", [0.6, 1.5, 3.0, 5.0])
def test_a_killed_up_is_no_obstacle_to_the_next(hosts: Hosts, seconds: float) -> None:
    kill_after(seconds, "up", "--fresh")
    done = command("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert command("status").returncode == 0


@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_a_killed_down_is_no_obstacle_to_the_next_up(whole: Hosts, seconds: float) -> None:
    kill_after(seconds, "down")
    done = command("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert command("status").returncode == 0


def test_up_mends_whatever_a_killed_test_left(whole: Hosts) -> None:
    whole.pause(APP1)
    whole.kill(APP2)
    whole.disconnect(EDGE1)
    whole.cut_off(EDGE2, [EDGE1])
    whole.podman.run("rm", "--force", "--time=0", whole.lab.container(MON1))
    states = {name: row["state"] for name, row in seen().items()}
    assert (states["app1"], states["app2"], states["mon1"]) == ("paused", "exited", "missing")
    assert command("status").returncode == 1

    done = command("up")

    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("made: mon1", "started: app2", "unpaused: app1"):
        assert word in done.stdout
    assert all(row["ssh"] for row in seen().values())
    assert reaches(whole, EDGE1, EDGE2)


def reaches(hosts: Hosts, source: object, target: object) -> bool:
    """Say whether one host gets a TCP connection to another's sshd."""
    assert isinstance(source, type(EDGE1))
    assert isinstance(target, type(EDGE1))
    probe = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{hosts.lab.address(target)}/22' 2>/dev/null && echo yes || echo no"
    return hosts.execute(source, "sh", "-c", probe).strip() == "yes"


def test_a_paused_host_is_silent_and_goes_on_where_it_was(whole: Hosts) -> None:
    whole.pause(APP1)
    assert not ssh_answers(whole.lab.address(APP1))
    whole.unpause(APP1)
    assert ssh_answers(whole.lab.address(APP1))


def test_a_killed_host_keeps_its_disk_and_is_reached_soon_after_its_start(whole: Hosts) -> None:
    whole.execute(APP1, "sh", "-c", "echo kept > /root/mark")
    assert ssh_answers(whole.lab.address(APP1))
    whole.kill(APP1)
    assert not ssh_answers(whole.lab.address(APP1))
    started = time.monotonic()
    whole.start(APP1)
    # Without a hardware address of its own it took half a minute.
    assert time.monotonic() - started < 15
    assert whole.execute(APP1, "cat", "/root/mark").strip() == "kept"


def test_a_rebooted_host_has_stopped_its_services_in_order(whole: Hosts) -> None:
    unit = "[Service]\\nExecStart=/bin/sleep infinity\\nExecStop=/bin/sh -c 'echo in order > /root/stopped'\\n"
    whole.execute(EDGE1, "sh", "-c", f'printf "{unit}" > /run/systemd/system/mark.service; systemctl start mark')
    whole.reboot(EDGE1)
    assert whole.execute(EDGE1, "cat", "/root/stopped").strip() == "in order"


def test_a_cut_goes_one_way_and_is_healed(whole: Hosts) -> None:
    assert reaches(whole, EDGE1, APP2)
    whole.cut_off(APP2, [EDGE1])
    assert not reaches(whole, EDGE1, APP2)
    assert reaches(whole, EDGE2, APP2)
    assert ssh_answers(whole.lab.address(APP2))
    whole.heal(APP2)
    assert reaches(whole, EDGE1, APP2)


def test_a_disconnected_host_is_off_the_network_and_comes_back(whole: Hosts) -> None:
    whole.disconnect(APP2)
    assert not whole.connected(APP2)
    assert not ssh_answers(whole.lab.address(APP2))
    whole.connect(APP2)
    assert ssh_answers(whole.lab.address(APP2))


def test_hosts_know_each_other_by_name_and_nothing_of_this_machine(whole: Hosts) -> None:
    for host in HOSTS:
        assert whole.execute(APP1, "getent", "ahostsv4", host.name).split()[0] == whole.lab.address(host)
    own = socket.gethostname()
    if own not in {host.name for host in HOSTS}:
        assert own not in whole.execute(APP1, "cat", "/etc/hosts").split()


def test_a_host_with_another_key_is_refused(whole: Hosts) -> None:
    whole.execute(EDGE1, "sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; systemctl restart ssh")
    assert command("ssh", "edge1", "true").returncode == 255
    assert command("up").returncode == 0
    assert command("ssh", "edge1", "true").returncode == 0


def test_the_store_keeps_what_it_acknowledged_over_a_power_cut(whole: Hosts) -> None:
    client = store.load(whole.lab).client()
    bodies = {f"labtest/{number}": os.urandom(50_000) for number in range(20)}
    for key, body in bodies.items():
        client.put_object(Bucket="uploads", Key=key, Body=body)
    whole.kill(STORE1)
    assert command("up").returncode == 0
    for key, body in bodies.items():
        assert client.get_object(Bucket="uploads", Key=key)["Body"].read() == body


def test_the_stores_reader_reads_and_does_not_write(whole: Hosts) -> None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - half a second that only this test needs

    this = store.load(whole.lab)
    this.client().put_object(Bucket="releases", Key="labtest/one", Body=b"one")
    reader = this.client(this.reader)
    assert reader.get_object(Bucket="releases", Key="labtest/one")["Body"].read() == b"one"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="releases", Key="labtest/two", Body=b"two")
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.delete_object(Bucket="releases", Key="labtest/one")


def test_down_removes_this_lab_and_no_other(whole: Hosts) -> None:
    everything = "--format={{.Names}}"
    own = {whole.lab.container(host) for host in HOSTS}
    others = set(whole.podman.run("ps", "--all", everything).split()) - own
    assert command("down").returncode == 0
    assert set(whole.podman.run("ps", "--all", everything).split()) >= others
    assert not own & set(whole.podman.run("ps", "--all", everything).split())
    assert not whole.podman.run("network", "ls", "--quiet", "--filter=label=turnout.lab=labtest")
    assert not whole.lab.private_key.exists()
    again = command("down")
    assert again.returncode == 0
    assert "there is no lab labtest" in again.stdout
