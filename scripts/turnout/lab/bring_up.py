"""The whole of `up`, `down` and `status`: one lab, from whatever state the last run left it in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError
from turnout.lab import image, keys, machine, store
from turnout.lab.files import write_private, write_public
from turnout.lab.hosts import Hosts, HostState, in_parallel, ssh_answers
from turnout.lab.podman import Podman, PodmanError
from turnout.lab.topology import HOSTS, Lab


@dataclass
class Progress:
    """Prints lines with the seconds since the start."""

    write: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        """Print one line."""
        self.write(f"[{self.elapsed_s:5.1f} s] {text}")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started


def open_lab(lab: Lab, say: Callable[[str], None] | None = None, *, prepare: bool = False) -> Hosts:
    """Return the hosts of a lab, with podman set up for this machine; `say` is told how.

    `prepare` also raises the one limit of the machine that many hosts run into, until it is next booted.
    """
    seen = machine.probe()
    choice = machine.choose(seen)
    lab.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    conf = lab.state_dir / "containers.conf"
    text = machine.containers_conf(choice)
    if not conf.exists() or conf.read_text(encoding="utf-8") != text:
        write_public(conf, text)
    if say is not None:
        for line in choice.lines(seen):
            say(line)
    podman = Podman(conf, choice.with_sudo)
    if prepare and choice.raise_inotify:
        raised = f"echo {machine.LEAST_INOTIFY} > {machine.INOTIFY_SETTING}"
        podman.run_as_root("sh", "-c", raised)
        if say is not None:
            say(f"{raised} (was {seen.inotify_instances}; lasts until this machine is booted)")
    return Hosts(lab, podman, memory_limits=choice.memory_limits, cgroup_manager=choice.cgroup_manager)


def up(lab: Lab, suite: str | None, say: Callable[[str], None], *, fresh: bool = False) -> None:
    """Bring the lab up; what already works is kept. `suite` None keeps that of the last `up`."""
    hosts = open_lab(lab, say, prepare=True)
    with _alone(lab):
        chosen = suite or str(_record(lab).get("suite") or image.DEFAULT_SUITE)
        reference = image.ensure(hosts.podman, chosen, say)
        public_key = keys.ensure_ssh_key(lab)
        hosts.ensure(reference, say, fresh=fresh)
        first = hosts.first_step(public_key)
        for name, answer in first.items():
            if answer.failed_units:
                say(f"warning: {name} runs with failed units: {' '.join(answer.failed_units)}")
        host_keys = {name: answer.host_keys for name, answer in first.items()}
        write_private(lab.known_hosts, keys.known_hosts_text(lab, host_keys))
        hosts.wait_for_ssh()
        say(f"all {len(HOSTS)} hosts answer SSH")
        keys.ensure_backup_certificates(lab)
        made = store.ensure(lab, hosts, say)
        say(f"S3 answers at {made.endpoint}: buckets {' '.join(store.BUCKETS)}")
        record = {
            "name": lab.name,
            "subnet": lab.subnet,
            "suite": chosen,
            "image": reference,
            "addresses": {host.name: lab.address(host) for host in HOSTS},
        }
        write_public(lab.record, json.dumps(record, indent=2) + "\n")


def down(lab: Lab, say: Callable[[str], None]) -> None:
    """Remove the lab's hosts, network, keys and credentials; the image stays."""
    hosts = open_lab(lab)
    with _alone(lab):
        removed = hosts.remove_all()
        for path in lab.state_dir.iterdir():
            # The lock is held at this moment, and podman's configuration belongs to the machine, not to the hosts.
            if path.name not in ("lock", hosts.podman.conf.name) and path.is_file():
                path.unlink()
    say(f"removed: {' '.join(removed)}" if removed else f"there is no lab {lab.name}")


def status(lab: Lab) -> dict[str, Any]:
    """Return the lab's state as a JSON-ready mapping."""
    hosts = open_lab(lab)
    rows = in_parallel(lambda state: _host_row(hosts, state), hosts.states())
    record = _record(lab)
    return {
        "name": lab.name,
        "subnet": lab.cidr,
        "suite": record.get("suite"),
        "image": record.get("image"),
        "up": all(row["state"] == "running" and row["ssh"] for row in rows),
        "state_dir": str(lab.state_dir),
        "hosts": rows,
    }


def _host_row(hosts: Hosts, state: HostState) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": state.host.name,
        "address": hosts.lab.address(state.host),
        "state": state.state,
        "ssh": False,
        "systemd": None,
        "failed_units": [],
    }
    if state.state == "running":
        row["ssh"] = ssh_answers(hosts.lab.address(state.host))
        # The host may be going down at this moment: then there is nothing to say about its units.
        with contextlib.suppress(PodmanError):
            row["systemd"], row["failed_units"] = hosts.systemd_state(state.host)
    return row


def _record(lab: Lab) -> dict[str, Any]:
    try:
        data = json.loads(lab.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@contextlib.contextmanager
def _alone(lab: Lab, timeout_s: float = 300) -> Iterator[None]:
    """Hold the lab's lock; the kernel gives it back when this process ends, however it ends."""
    path: Path = lab.state_dir / "lock"
    deadline = time.monotonic() + timeout_s
    with path.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TurnoutError(
                        "lab-busy",
                        observed=f"another `turnout lab` has held {path} for {timeout_s:g} s",
                        expected="one `up` or `down` at a time",
                        remedy=f"look for it: fuser -v {path}",
                    ) from None
                time.sleep(0.2)
        yield
