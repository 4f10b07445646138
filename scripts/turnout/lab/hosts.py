"""The hosts of a lab as podman sees them: bringing them up, looking at them, hurting them on purpose.

Everything is found by the label `turnout.lab=<name>`; nothing else on the machine is touched.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError
from turnout.lab import leftovers
from turnout.lab.podman import Podman, PodmanError
from turnout.lab.topology import HOSTS, STORE1, Host, Lab

LAB_LABEL = "turnout.lab"
SPEC_LABEL = "turnout.spec"
PAUSE_ATTEMPTS = 5

# Marks the firewall rules of `cut_off`, so that `heal` removes these and no other.
_FAULT_COMMENT = "turnout-fault"

# What is done to a host that is as it should be but for podman's word for its state; any other is made anew.
_WAY_UP = {"running": "kept", "paused": "unpaused", "exited": "started", "stopped": "started"}
# Podman's words for a container that has a process.
_ALIVE = ("running", "paused")

# The first step inside a host, through podman and not through the network: it lets the lab's key in, waits
# until systemd has finished starting, and answers with a line of failed units and with the host's public keys,
# which can be trusted for that.
_FIRST_STEP = """
set -eu
umask 077
mkdir -p /root/.ssh
printf '%s\\n' "$1" > /root/.ssh/authorized_keys.new
mv /root/.ssh/authorized_keys.new /root/.ssh/authorized_keys
tries=0
while :; do
    # Without a bus yet it answers at once with nothing or `offline`; then it waits for the end of the start.
    state=$(timeout "$2" systemctl is-system-running --wait 2>/dev/null || true)
    case "$state" in running|degraded|maintenance) break ;; esac
    tries=$((tries + 1))
    [ "$tries" -lt "$(($2 * 5))" ] || break
    sleep 0.2
done
systemctl is-active --quiet ssh.service || { echo "sshd does not run; systemd is $state" >&2; exit 1; }
echo $(systemctl --failed --plain --no-legend --full | cut -d' ' -f1)
cat /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_ecdsa_key.pub /etc/ssh/ssh_host_rsa_key.pub
"""


@dataclass(frozen=True)
class HostState:
    """A host as podman reports it; `container` is the container's id.

    `state` is podman's word, `missing`, or `dead` where podman takes a host to run whose process is gone: its monitor
    was killed with it, and nobody told podman.
    """

    host: Host
    state: str
    spec: str = ""
    container: str = ""


@dataclass(frozen=True)
class FirstAnswer:
    """What a host said at the first step: its failed units and the text of its public host keys."""

    failed_units: tuple[str, ...]
    host_keys: str


class Hosts:
    """The hosts of one lab on this machine."""

    def __init__(self, lab: Lab, podman: Podman, *, memory_limits: bool, cgroup_manager: str) -> None:
        """Look at nothing yet; `memory_limits` says whether podman can cap a host's memory here."""
        self.lab = lab
        self.podman = podman
        self._memory_limits = memory_limits
        self._cgroup_manager = cgroup_manager
        self._inits: dict[str, str] = {}

    # -- looking --------------------------------------------------------------------------------------------

    def states(self) -> list[HostState]:
        """Return every host's state, also of those that are missing."""
        label = f"label={LAB_LABEL}={self.lab.name}"
        found = {
            name: entry
            for entry in self.podman.json("ps", "--all", "--filter", label, "--format", "json")
            for name in entry["Names"]
        }
        states = []
        for host in HOSTS:
            entry = found.get(self.lab.container(host))
            if entry is None:
                states.append(HostState(host, "missing"))
            else:
                labels = entry.get("Labels") or {}
                gone = entry["State"] in _ALIVE and not Path(f"/proc/{entry['Pid']}").exists()
                state = "dead" if gone else entry["State"]
                states.append(HostState(host, state, labels.get(SPEC_LABEL, ""), entry["Id"]))
        return states

    def systemd_state(self, host: Host) -> tuple[str, list[str]]:
        """Return systemd's word for a host (`running`, `degraded`, ...) and its failed units."""
        script = "systemctl is-system-running; systemctl --failed --plain --no-legend --full | cut -d' ' -f1"
        lines = self.execute(host, "sh", "-c", script).split()
        return (lines[0], lines[1:]) if lines else ("unknown", [])

    def execute(self, host: Host, *command: str, text: str | None = None, timeout_s: float = 60) -> str:
        """Run a command inside a host through podman (works without network); returns its standard output."""
        options = ["--interactive"] if text is not None else []
        return self.podman.run("exec", *options, self.lab.container(host), *command, text=text, timeout_s=timeout_s)

    # -- bringing up and taking down ------------------------------------------------------------------------

    def spec(self, host: Host, image: str, network: str) -> tuple[str, list[str]]:
        """Return a host's `podman run` options and their hash; a host with another hash is made anew."""
        options = [
            "--detach",
            "--privileged",
            "--systemd=always",
            f"--name={self.lab.container(host)}",
            f"--hostname={host.name}",
            f"--network={network}",
            f"--ip={self.lab.address(host)}",
            f"--mac-address={self.lab.hardware_address(host)}",
            f"--label={LAB_LABEL}={self.lab.name}",
            *(f"--add-host={other.name}:{self.lab.address(other)}" for other in HOSTS if other != host),
            "--shm-size=256m",
            "--pids-limit=8192",
        ]
        if host == STORE1 and self._memory_limits:
            options.append("--memory=1536m")
        if self._cgroup_manager == "cgroupfs":
            # podman would put all hosts below one group, and the kernel would give the seven of them together as much
            # of a busy processor as one command in a terminal, be it the controller or the load. They are machines of
            # their own: each counts by itself, and as much as 16 commands, since a group that mostly sleeps has the
            # smaller part of its weight where it wakes.
            options += ["--cgroup-parent=/", "--cpu-shares=16384"]
        spec = hashlib.sha256("\0".join([*options, image]).encode()).hexdigest()[:12]
        return spec, ["run", *options, f"--label={SPEC_LABEL}={spec}", image, "/sbin/init"]

    def network(self) -> str:
        """Return the podman name of the lab's network; raises `TurnoutError` where there is none."""
        for network in self._networks():
            return str(network["name"])
        raise TurnoutError(
            "lab-not-up",
            observed=f"the lab {self.lab.name} has no network",
            expected="a lab that is up",
            remedy="turnout lab up",
        )

    def _networks(self) -> list[dict[str, Any]]:
        label = f"label={LAB_LABEL}={self.lab.name}"
        return list(self.podman.json("network", "ls", "--filter", label, "--format", "json"))

    def _ensure_network(self) -> None:
        """Create the lab's network, or make it anew where it has another subnet."""
        there = self._networks()
        if [subnet["subnet"] for network in there for subnet in network["subnets"]] == [self.lab.cidr]:
            return
        if there:
            self.remove_all()
        # Never the same name twice: podman keeps the addresses that were taken in a network by its name, and those
        # of a host whose removal was cut short for ever.
        name = f"{self.lab.name}-{secrets.token_hex(3)}"
        # fmt: off
        create = (
            "network", "create", "--label", f"{LAB_LABEL}={self.lab.name}", "--subnet", self.lab.cidr,
            "--gateway", self.lab.gateway, "--disable-dns", name,
        )
        # fmt: on
        try:
            if not self.podman.succeeds(*create):
                leftovers.remove_bridge(self.podman, self.lab.gateway)
                self.podman.run(*create)
        except PodmanError as error:
            said = error.stderr.strip().splitlines()[-1]
            raise TurnoutError(
                "lab-network",
                observed=f"the network {self.lab.cidr} cannot be made: {said}",
                expected="a network that nothing on this machine uses yet",
                remedy="export TURNOUT_LAB_SUBNET=10.78.0 (or another free one), then: turnout lab up",
            ) from None

    def ensure(self, image: str, say: Callable[[str], None], *, fresh: bool = False) -> None:
        """Bring the network and every host to running, from whatever state they are in; `fresh` keeps none."""
        self._ensure_network()
        try:
            self._ensure_hosts(image, say, fresh=fresh)
        except PodmanError as error:
            # A run that is killed while podman removes a container can leave its address taken for good; only
            # the network's own removal gives it back.
            if "already allocated" not in error.stderr:
                raise
            say("podman holds an address for a host that is gone: making the network and all hosts anew")
            self.remove_all()
            self._ensure_network()
            self._ensure_hosts(image, say, fresh=fresh)

    def _ensure_hosts(self, image: str, say: Callable[[str], None], *, fresh: bool) -> None:
        network, states = self.network(), self.states()
        ended = self._end_unknown_hosts(known=[state.container for state in states])
        if ended:
            say(f"ended what a killed run had left running: {' '.join(ended)}")
        results = in_parallel(lambda state: self._bring(state, image, network, fresh=fresh), states)
        by_word: dict[str, list[Host]] = {}
        for state, word in zip(states, results, strict=True):
            by_word.setdefault(word, []).append(state.host)
        forget_connections(self.lab.address(host) for word in ("made", "started") for host in by_word.get(word, []))
        for word, hosts in by_word.items():
            say(f"{word}: {' '.join(host.name for host in hosts)}")

    def _bring(self, state: HostState, image: str, network: str, *, fresh: bool) -> str:
        """Bring one host to running, with as little done to it as will do; returns a word for what was done."""
        spec, run = self.spec(state.host, image, network)
        word = "made" if fresh or state.spec != spec else _WAY_UP.get(state.state, "made")
        if word == "unpaused":
            self.unpause(state.host)
        elif word == "started" and not self.podman.succeeds("start", self.lab.container(state.host)):
            # A start that was cut short can leave a container that never starts again.
            word = "made"
        if word == "made":
            self._run_anew(self.lab.container(state.host), run)
        else:
            self._undo_faults(state.host)
        return word

    def first_step(self, public_key: str, timeout_s: int = 60) -> dict[str, FirstAnswer]:
        """Let the lab's key in on every host, once it has started; returns host name -> its answer."""

        def step(host: Host) -> FirstAnswer:
            try:
                command = ("sh", "-c", _FIRST_STEP, "first-step", public_key, str(timeout_s))
                failed, host_keys = self.execute(host, *command, timeout_s=timeout_s + 15).split("\n", 1)
            except PodmanError as error:
                raise TurnoutError(
                    "lab-host-start",
                    observed=f"{host.name} did not start: {error.stderr.strip()}{self._last_words(host)}",
                    expected=f"a started systemd with sshd within {timeout_s} s",
                    remedy="turnout lab up --fresh",
                ) from None
            return FirstAnswer(tuple(failed.split()), host_keys)

        return dict(zip([host.name for host in HOSTS], in_parallel(step, HOSTS), strict=True))

    def _last_words(self, host: Host) -> str:
        """Return the end of what a host that has stopped wrote on its console, for the error about it."""
        try:
            log = self.podman.run("logs", "--tail=3", self.lab.container(host)).strip()
        except PodmanError:
            return ""
        return f"\n    {log}" if log else ""

    def wait_for_ssh(self, timeout_s: float = 30) -> None:
        """Wait until every sshd answers over the network; raises `TurnoutError` naming who does not."""
        deadline = time.monotonic() + timeout_s

        def wait(host: Host) -> bool:
            while not ssh_answers(self.lab.address(host)):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)
            return True

        answered = in_parallel(wait, HOSTS)
        silent = [f"{h.name} ({self.lab.address(h)})" for h, ok in zip(HOSTS, answered, strict=True) if not ok]
        if silent:
            raise TurnoutError(
                "lab-unreachable",
                observed=f"no SSH answer in {timeout_s:g} s from {', '.join(silent)}",
                expected=f"hosts in {self.lab.cidr} reachable from this machine",
                remedy="look for a firewall or a route that takes this network, or use another:"
                " TURNOUT_LAB_SUBNET=10.78.0 turnout lab up",
            )

    def remove_all(self) -> list[str]:
        """Remove the lab's hosts and network, whatever state they are in; returns their names."""
        label = f"label={LAB_LABEL}={self.lab.name}"
        entries = self.podman.json("ps", "--all", "--filter", label, "--format", "json")
        names = [name for entry in entries for name in entry["Names"]]
        # By their names too: a container that was cut short while being made can be known to the storage only.
        self._forget(*{*names, *(self.lab.container(host) for host in HOSTS)})
        forget_connections(self.lab.address(host) for host in HOSTS)
        for network in self._networks():
            self.podman.run("network", "rm", "--force", network["name"])
            names.append(network["name"])
        self._end_unknown_hosts(known=())
        leftovers.remove_bridge(self.podman, self.lab.gateway)
        return names

    def _run_anew(self, name: str, run: list[str]) -> None:
        self._forget(name)
        try:
            self.podman.run(*run)
        except PodmanError as error:
            # A `podman run` of a killed `up` may still have been at work.
            if "in use" not in error.stderr and "exists" not in error.stderr:
                raise
            time.sleep(1)
            self._forget(name)
            self.podman.run(*run)

    def _end_unknown_hosts(self, known: Collection[str]) -> list[str]:
        names = {self.lab.container(host) for host in HOSTS}
        return leftovers.end_unknown_hosts(self.podman, names, known)

    def _forget(self, *names: str) -> None:
        """Remove containers, whether they are there or not, running or half made."""
        for pause_s in (0.5, 2, None):
            try:
                self.podman.run("rm", "--force", "--ignore", "--time=0", "--volumes", *names)
            except PodmanError:
                # The clean-up of a killed run can still be at work on the same container: its mounts are busy.
                if pause_s is None:
                    raise
                time.sleep(pause_s)
            else:
                return

    def _undo_faults(self, host: Host) -> None:
        """Undo what a test may have left: a lost network, firewall rules of `cut_off`."""
        if not self.connected(host):
            self.connect(host)
        self.heal(host)

    # -- faults ---------------------------------------------------------------------------------------------

    def pause(self, host: Host) -> None:
        """Freeze all processes; the host still answers ping, and no service.

        Tried again where the runtime gives up: with cgroup v1 the kernel may not freeze a busy host in one go.
        """
        for attempt in range(PAUSE_ATTEMPTS):
            try:
                self.podman.run("pause", self.lab.container(host))
                return
            except PodmanError:
                if attempt == PAUSE_ATTEMPTS - 1:
                    raise
                time.sleep(0.5)

    def unpause(self, host: Host) -> None:
        """Thaw a paused host."""
        self.podman.run("unpause", self.lab.container(host))

    def kill(self, host: Host) -> None:
        """Stop a host as a power cut does: no signal reaches its services. Its disk is kept."""
        self.podman.run("kill", "--signal=KILL", self.lab.container(host))
        self.podman.run("wait", self.lab.container(host))

    def start(self, host: Host, timeout_s: float = 60) -> None:
        """Start a killed host, and wait until its sshd answers."""
        self.podman.run("start", self.lab.container(host))
        self._wait_for_start(host, timeout_s)

    def reboot(self, host: Host, timeout_s: float = 90) -> None:
        """Stop a host in order (its services get their stop signals), start it, wait until its sshd answers."""
        self.podman.run("restart", "--time=30", self.lab.container(host))
        self._wait_for_start(host, timeout_s)

    def _wait_for_start(self, host: Host, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not ssh_answers(self.lab.address(host)):
            if time.monotonic() > deadline:
                raise TurnoutError(
                    "lab-host-start",
                    observed=f"{host.name} does not answer SSH {timeout_s:g} s after its start",
                    expected="a host that comes back",
                    remedy="turnout lab up",
                )
            time.sleep(0.1)
        forget_connections([self.lab.address(host)])

    def connected(self, host: Host) -> bool:
        """Say whether a host is attached to the lab's network."""
        found = self.podman.json("inspect", "--type=container", self.lab.container(host))[0]
        return self.network() in (found["NetworkSettings"].get("Networks") or {})

    def disconnect(self, host: Host) -> None:
        """Take a host off the network; its processes go on."""
        self.podman.run("network", "disconnect", "--force", self.network(), self.lab.container(host))

    def connect(self, host: Host) -> None:
        """Put a host back on the network, at its own address."""
        own = ("--ip", self.lab.address(host), "--mac-address", self.lab.hardware_address(host))
        self.podman.run("network", "connect", *own, self.network(), self.lab.container(host))

    def cut_off(self, host: Host, sources: Iterable[Host | str], port: int | None = None) -> None:
        """Drop what arrives at `host` from each source (a host or an address), one way only.

        With `port` only what comes to that TCP port. The rule lives in the host's own network namespace, so it is gone
        when the host is.
        """
        only = [] if port is None else ["-p", "tcp", "--dport", str(port)]
        for source in sources:
            address = self.lab.address(source) if isinstance(source, Host) else source
            # fmt: off
            self._in_network_of(
                host, "iptables", "-I", "INPUT", "-s", address, *only, "-m", "comment", "--comment", _FAULT_COMMENT,
                "-j", "DROP",
            )
            # fmt: on

    def cut_ssh(self, host: Host, peer: str, *, towards: bool, back: bool) -> None:
        """Lose what an address sends to `host`'s SSH port (`towards`), what it gets from there (`back`), or both.

        Everything else between the two goes on, such as requests to an edge.
        """
        mark = ("-p", "tcp", "-m", "comment", "--comment", _FAULT_COMMENT, "-j", "DROP")
        if towards:
            self._in_network_of(host, "iptables", "-I", "INPUT", "-s", peer, *mark[:2], "--dport", "22", *mark[2:])
        if back:
            self._in_network_of(host, "iptables", "-I", "OUTPUT", "-d", peer, *mark[:2], "--sport", "22", *mark[2:])

    def heal(self, host: Host) -> None:
        """Remove every rule of `cut_off` and `cut_ssh` on a host."""
        for chain in ("INPUT", "OUTPUT"):
            for rule in self._in_network_of(host, "iptables", "-S", chain).splitlines():
                if _FAULT_COMMENT in rule:
                    self._in_network_of(host, "iptables", "-D", *rule.replace('"', "").split()[1:])

    def inside(self, host: Host, *command: str, timeout_s: float = 30) -> str:
        """Run a command inside a running host without network and without podman's weight; return what it printed."""
        pid = self._inits.get(host.name, "")
        if not pid or not Path(f"/proc/{pid}").exists():
            pid = self.podman.run("inspect", "--format", "{{.State.Pid}}", self.lab.container(host)).strip()
            self._inits[host.name] = pid
        into = ("nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--")
        return self.podman.run_as_root(*into, *command, timeout_s=timeout_s)

    def _in_network_of(self, host: Host, *command: str) -> str:
        pid = self.podman.run("inspect", "--format", "{{.State.Pid}}", self.lab.container(host)).strip()
        return self.podman.run_as_root("nsenter", f"--target={pid}", "--net", *command)


def ssh_answers(address: str, timeout_s: float = 1.0) -> bool:
    """Say whether an SSH server greets at `address`."""
    try:
        with socket.create_connection((address, 22), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def forget_connections(addresses: Iterable[str]) -> None:
    """Close Ansible's shared SSH connections to hosts that have started anew.

    A connection to the host's former life is found dead only at its next keepalive, and until then every task
    that takes it fails. The path is the `control_path` of ansible.cfg.
    """
    for address in addresses:
        options = ["-o", "ControlPath=~/.ansible/cp/%C", "-O", "exit"]
        subprocess.run(
            ["ssh", *options, f"root@{address}"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
        )


def in_parallel[Item, Result](work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Do `work` on all items at once; results in order; the first error is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        return [future.result() for future in futures]
