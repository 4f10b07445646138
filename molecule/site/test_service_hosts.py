from __future__ import annotations

import json

import pytest

PROCESSES = ["api", "worker", "scheduler"]
HOSTS = [0, 1]

# Runs inside the unit, as a release would, and tells what it may do.
PROBE = """
import json, os, pathlib, socket

def may_write(path):
    try:
        pathlib.Path(path).write_text("x")
        os.unlink(path)
        return True
    except OSError:
        return False

def may(action):
    try:
        action()
        return True
    except OSError:
        return False

status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
listener = socket.socket()
print(json.dumps({
    "root": os.getuid() == 0,
    "folder": os.getcwd(),
    "home": os.environ["HOME"],
    "given": os.environ.get("GIVEN"),
    "writes": [path for path in ("/etc/x", "/opt/x", "x", "/var/log/x", "/root/x", "/usr/x",
                                 os.environ["HOME"] + "/x", "/tmp/x") if may_write(path)],
    "capabilities": int(status["CapBnd"], 16) | int(status["CapEff"], 16),
    "new_privileges": status["NoNewPrivs"].strip() == "0",
    "listens": may(lambda: (listener.bind(("0.0.0.0", 8099)), listener.listen())),
    "raw_packets": may(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "disks": [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "loop"))],
    "others": len([name for name in os.listdir("/proc") if name.isdigit()]) > 1,
    "resolves": may(lambda: socket.getaddrinfo("localhost", 80)),
}))
"""


@pytest.mark.parametrize("index", HOSTS)
@pytest.mark.parametrize("process", [*PROCESSES, "timer"])
def test_systemd_finds_no_fault_in_the_units(lab, index, process) -> None:
    unit = f"{lab.service}-{process}@blue.service"
    answer = lab.ssh(lab.groups["worker"][index], f"systemd-analyze verify {unit}")
    assert answer.stderr == ""


@pytest.mark.parametrize("index", HOSTS)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_unit_without_a_release_fails_and_stays_down(lab, index, process) -> None:
    unit = f"{lab.service}-{process}@blue.service"
    host = lab.groups["worker"][index]
    lab.ssh(host, f"systemctl start {unit}", check=False)
    lab.ssh(host, f"systemctl stop {unit}; systemctl reset-failed {unit}", check=False)
    assert lab.ssh(host, f"systemctl is-active {unit}", check=False).stdout.strip() == "inactive"
    enabled = lab.ssh(host, f"systemctl is-enabled {unit}", check=False).stdout.strip()
    assert enabled == "disabled"


@pytest.mark.parametrize("index", HOSTS)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_release_may_do_its_work_and_nothing_else(lab, index, process) -> None:
    name = lab.service
    unit = f"{name}-{process}@verify"
    answer = lab.ssh(
        lab.groups["worker"][index],
        f"""set -e
trap 'systemctl stop {unit}; systemctl reset-failed {unit} 2>/dev/null || true
      rm -rf /opt/{name}/verify /etc/{name}/verify.env /etc/systemd/system/{unit}.service.d
      systemctl daemon-reload' EXIT
mkdir -p /opt/{name}/verify /etc/systemd/system/{unit}.service.d
echo GIVEN=yes >/etc/{name}/verify.env
cat >/opt/{name}/verify/probe.py <<'EOF_PROBE'
{PROBE}
EOF_PROBE
cat >/etc/systemd/system/{unit}.service.d/turnout.conf <<'EOF_UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 probe.py
EOF_UNIT
systemctl daemon-reload
systemctl start {unit}
journalctl --sync
journalctl -o cat --no-pager _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {unit}) | grep '^{{'
""",
    )
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    assert found == {
        "root": False,
        "folder": f"/opt/{name}/verify",
        "home": f"/var/lib/{name}",
        "given": "yes",
        "writes": [f"/var/lib/{name}/x", "/tmp/x"],  # noqa: S108 - the unit's own
        "capabilities": 0,
        "new_privileges": False,
        "listens": True,
        "raw_packets": False,
        "disks": [],
        "others": False,
        "resolves": True,
    }


@pytest.mark.parametrize("index", HOSTS)
def test_folders_belong_to_root_and_the_environment_is_hidden(lab, index) -> None:
    name = lab.service
    paths = f"/opt/{name} /opt/{name}/releases /etc/{name}"
    shown = lab.ssh(lab.groups["worker"][index], f"stat -c '%n %a %U:%G' {paths}").stdout.splitlines()
    assert shown == [
        f"/opt/{name} 755 root:root",
        f"/opt/{name}/releases 755 root:root",
        f"/etc/{name} 750 root:{name}",
    ]
