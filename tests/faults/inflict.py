"""The faults themselves: how each is put in and taken out again, and which host it held meanwhile."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable

import requests
from harness import EDGES, SHARED, Turnout
from turnout.lab.hosts import forget_connections
from turnout.lab.topology import host_named

from faults.cases import ASLEEP_S, Case
from faults.laptop import Laptop
from faults.verdict import Outage

SECOND_VERSION = "1.2.0"
CLOCK_FILE = "/run/turnout-fault-clock"
CLOCK_LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
DISK = "/run/turnout-fault-disk"
DISK_SIZE = "3m"

# One small file system over both folders, with what they hold; what is written meanwhile goes back with `DISK_OUT`.
DISK_IN = f"""
set -eu
state=/var/lib/turnout map=/etc/haproxy
mkdir -p {DISK}
used=$(du -sk $state $map | awk '{{n += $1}} END {{print n}}')
mount -t tmpfs -o size=$((used + 2048))k,mode=0755 turnout-fault {DISK}
cp -a $state {DISK}/state
cp -a $map {DISK}/map
mount --bind {DISK}/state $state
mount --bind {DISK}/map $map
systemctl restart turnout-edge-watch
"""
# `dd` ends with an error when nothing more goes in: that is what it is for. A byte at a time, to the last one.
DISK_FILL = f"""
dd if=/dev/zero of={DISK}/fill bs=64k 2>/dev/null
dd if=/dev/zero of={DISK}/fill2 bs=1k 2>/dev/null
df -k --output=avail {DISK} | tail -n 1
"""
DISK_FREE = f"rm -f {DISK}/fill {DISK}/fill2"
DISK_OUT = f"""
set -eu
mountpoint -q {DISK} || exit 0
systemctl stop turnout-edge-watch
for pair in state:/var/lib/turnout map:/etc/haproxy; do
    name=${{pair%%:*}} place=${{pair#*:}}
    while mountpoint -q $place; do umount -l $place; done
    rm -rf $place.turnout-fault
    cp -a {DISK}/$name $place.turnout-fault
    find $place -mindepth 1 -delete
    cp -a $place.turnout-fault/. $place/
    rm -rf $place.turnout-fault
done
umount -l {DISK}
systemctl start turnout-edge-watch
"""

# Every program that starts on the edge sees its wall clock through libfaketime, and no other clock through it:
# sshd and sudo take the variables from /etc/environment, the watchdog from a drop-in.
CLOCK_IN = f"""
set -eu
test -e {CLOCK_LIBRARY} || {{
    apt-get update -qq && apt-get install -y -qq --no-install-recommends libfaketime
}} >/dev/null
printf '+0' > {CLOCK_FILE}
mkdir -p /etc/systemd/system/turnout-edge-watch.service.d
cat > /etc/systemd/system/turnout-edge-watch.service.d/turnout-fault.conf <<EOF
[Service]
Environment=LD_PRELOAD={CLOCK_LIBRARY} FAKETIME_TIMESTAMP_FILE={CLOCK_FILE} FAKETIME_NO_CACHE=1 \
FAKETIME_DONT_FAKE_MONOTONIC=1
EOF
cp -a /etc/environment /etc/environment.turnout-fault
cat >> /etc/environment <<EOF
LD_PRELOAD={CLOCK_LIBRARY}
FAKETIME_TIMESTAMP_FILE={CLOCK_FILE}
FAKETIME_NO_CACHE=1
FAKETIME_DONT_FAKE_MONOTONIC=1
EOF
systemctl daemon-reload
systemctl restart turnout-edge-watch
"""
CLOCK_OUT = """
set -eu
test -e /etc/environment.turnout-fault || exit 0
mv /etc/environment.turnout-fault /etc/environment
rm -f /etc/systemd/system/turnout-edge-watch.service.d/turnout-fault.conf /run/turnout-fault-clock
systemctl daemon-reload
systemctl restart turnout-edge-watch
"""


class Infliction:
    """One fault of one case."""

    def __init__(self, turnout: Turnout, case: Case, first: Laptop | None = None) -> None:
        self.turnout = turnout
        self.hosts = turnout.hosts
        self.case = case
        self.first = first
        self.second: Laptop | None = None
        self.outages: list[Outage] = []
        self._began = 0.0
        self._undo: Callable[[], None] | None = None

    # Before the run --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Do what must be done before the run begins, so that the fault itself takes a moment only."""
        if self.case.fault == "disk-full":
            self._inside(DISK_IN)
        elif self.case.fault.startswith("clock-"):
            self._inside(CLOCK_IN, timeout_s=120)
            # sshd gives the new variables to new connections only.
            self._forget_shared()
            offset = self.shown_clock_offset_s()
            assert abs(offset) < 60, f"the clock of {self.case.host} is off by {offset:.0f} s before the fault"

    # The fault -------------------------------------------------------------------------------------------------

    def inflict(self) -> None:
        """Put it in."""
        self._began = time.monotonic()
        getattr(self, "_" + self.case.fault.replace("-", "_"))()

    def undo(self) -> None:
        """Take it out, where it is not over by itself."""
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()

    def clean(self) -> None:
        """Take out all that this case may have put in, whatever happened to the case."""
        with contextlib.suppress(Exception):
            self.undo()
        if self.case.fault == "disk-full":
            self._inside(DISK_OUT)
        elif self.case.fault.startswith("clock-"):
            self._inside(CLOCK_OUT)
            self._forget_shared()
        elif self.case.fault.startswith("cut-"):
            self.hosts.heal(host_named(self.case.host))

    @property
    def laptops(self) -> list[Laptop]:
        """Return the laptops at work: that of the run, and that of a second person."""
        return [laptop for laptop in (self.first, self.second) if laptop is not None]

    def down(self) -> str:
        """Return the host that does not work at this moment, or nothing."""
        return self.case.host if self._undo is not None and self.case.fault.endswith(("-frozen", "-rebooted")) else ""

    # Controller ------------------------------------------------------------------------------------------------

    def _laptop(self) -> Laptop:
        assert self.first is not None
        return self.first

    def _playbook_killed(self) -> None:
        self._laptop().signal_playbook(signal.SIGKILL)

    def _controller_killed(self) -> None:
        self._laptop().signal_all(signal.SIGKILL)

    def _ctrl_c(self) -> None:
        self._laptop().signal_playbook(signal.SIGINT)

    def _ctrl_z_continued(self) -> None:
        self._laptop().signal_playbook(signal.SIGSTOP)
        self._undo = lambda: self._laptop().signal_playbook(signal.SIGCONT)

    def _ctrl_z_ended(self) -> None:
        self._laptop().signal_playbook(signal.SIGSTOP)
        self._undo = lambda: self._laptop().signal_playbook(signal.SIGKILL)

    def _asleep(self) -> None:
        self._laptop().signal_all(signal.SIGSTOP)

        def awake() -> None:
            time.sleep(max(0.0, self._began + ASLEEP_S - time.monotonic()))
            self._laptop().signal_all(signal.SIGCONT)

        self._undo = awake

    # Network ---------------------------------------------------------------------------------------------------

    def _cut(self, *, towards: bool, back: bool) -> None:
        host = host_named(self.case.host)
        self.hosts.cut_ssh(host, self.turnout.lab.gateway, towards=towards, back=back)
        self._undo = lambda: self.hosts.heal(host)

    def _cut_to_edge(self) -> None:
        self._cut(towards=True, back=False)

    def _cut_from_edge(self) -> None:
        self._cut(towards=False, back=True)

    def _cut_both(self) -> None:
        self._cut(towards=True, back=True)

    # Hosts -----------------------------------------------------------------------------------------------------

    def _frozen(self) -> None:
        host = host_named(self.case.host)
        self.hosts.pause(host)

        def thaw() -> None:
            self.hosts.unpause(host)
            self._held(time.monotonic())

        self._undo = thaw

    def _edge_frozen(self) -> None:
        self._frozen()

    def _app_frozen(self) -> None:
        self._frozen()

    def _rebooted(self) -> None:
        host = host_named(self.case.host)
        if self.case.orderly:
            self.hosts.podman.run("stop", "--time=20", self.hosts.lab.container(host))
        else:
            self.hosts.kill(host)

        def start() -> None:
            self.hosts.start(host)
            self._forget_shared()
            if self.case.host in EDGES:
                self._until_serving()
            self._held(time.monotonic())

        self._undo = start

    def _edge_rebooted(self) -> None:
        self._rebooted()

    def _app_rebooted(self) -> None:
        self._rebooted()

    def _held(self, until: float) -> None:
        self.outages.append(Outage(self.case.host, self._began, until, edge=self.case.host in EDGES))

    def _until_serving(self, limit_s: float = 30) -> None:
        deadline = time.monotonic() + limit_s
        url = f"http://{self.turnout.address(self.case.host)}/api/health/"
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=1).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{self.case.host} serves nobody {limit_s:.0f} s after its start")

    # Disk and clock --------------------------------------------------------------------------------------------

    def _disk_full(self) -> None:
        left = self._inside(DISK_FILL).split()
        assert left == ["0"], f"the disk of {self.case.host} is not full: {left}"
        self._undo = lambda: self._inside(DISK_FREE) and None

    def _step(self, offset_s: int) -> None:
        self._inside(f"printf '%+d' {offset_s} > {CLOCK_FILE}.new && mv {CLOCK_FILE}.new {CLOCK_FILE}")

    def _clock_forward(self) -> None:
        self._step(3600)

    def _clock_back(self) -> None:
        self._step(-3600)

    def shown_clock_offset_s(self) -> float:
        """Return how far the edge's programs see its clock from ours: what the fault really did."""
        shown = self.turnout.ssh(self.case.host, "/usr/bin/python3 -c 'import time; print(time.time())'")
        return float(shown) - time.time()

    # A second person -------------------------------------------------------------------------------------------

    def _second_deploy(self) -> None:
        self.second = Laptop(self.turnout, "second", "deploy", "-e", f"release={SECOND_VERSION}")

    def _second_rollback(self) -> None:
        self.second = Laptop(self.turnout, "second", "rollback")

    # Help ------------------------------------------------------------------------------------------------------

    def _inside(self, script: str, timeout_s: float = 60) -> str:
        return self.hosts.inside(host_named(self.case.host), "/bin/sh", "-c", script, timeout_s=timeout_s)

    def _forget_shared(self) -> None:
        """End the shared connections to a host that knows them no more: Ansible's, and that of the tests."""
        address = self.turnout.address(self.case.host)
        forget_connections([address])
        words = ["ssh", *SHARED, "-O", "exit", f"root@{address}"]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10)


def undo_everything(turnout: Turnout) -> None:
    """Take out what a killed run of the matrix may have left on any host."""
    hosts = turnout.hosts
    for state in hosts.states():
        if state.state == "paused":
            hosts.unpause(state.host)
        elif state.state in ("exited", "stopped"):
            hosts.start(state.host)
    for name in EDGES:
        host = host_named(name)
        hosts.heal(host)
        for script in (DISK_OUT, CLOCK_OUT):
            hosts.inside(host, "/bin/sh", "-c", script)
    turnout.forget_jobs()
