"""A bed for applications that others wrote: hosts of their own, and the operations repository of `turnout init --like`.

The hosts are a lab beside the sample's, which nobody set up and which goes with all that was done to it: nothing of the
sample is met, and nothing is left. A test says what only its team knows: packages, environment, releases.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from harness import BIN, ROOT, Load, Run, Turnout
from turnout.lab.topology import Lab

HOSTS = {
    "edge": ("edge1", "edge2"), "api": ("app1", "app2"), "worker": ("app1", "app2"), "postgres": ("data1",),
    "redis": ("data1",), "monitoring": ("mon1",), "drill": ("mon1",),
}  # fmt: skip
LIMIT_S = 900  # of a command; hosts that nobody set up take the longest
NAMES = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def run(words: Sequence[str | Path], **more: Any) -> str:
    """Run a command to its end, which must be good; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        **{"timeout": LIMIT_S, **more},
    )  # fmt: skip
    assert done.returncode == 0, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    out: str = done.stdout
    return out


@contextmanager
def own_hosts(name: str, place: Path, *, nth: int) -> Iterator[Turnout]:
    """Give a lab of that name, whose network is the nth after the sample's; it is removed afterwards."""
    lab = Lab.from_environment()
    parts = lab.subnet.split(".")
    own = replace(
        lab, name=f"{lab.name}-{name}", subnet=".".join([*parts[:2], str((int(parts[2]) + nth) % 256)]),
        state_dir=lab.state_dir.with_name(f"{lab.name}-{name}"),
    )  # fmt: skip
    env = {**os.environ, "TURNOUT_LAB": own.name, "TURNOUT_LAB_SUBNET": own.subnet}
    try:
        run([BIN / "turnout", "lab", "up", "--fresh"], env=env)
        yield Turnout(source=str(place / "store"), lab=own, work=place / "work")
    finally:
        run([BIN / "turnout", "lab", "down"], env=env)


class Team:
    """A team's operations repository, its hosts, and what it types there."""

    def __init__(self, machines: Turnout, place: Path, service: str) -> None:
        self.machines, self.place, self.service = machines, place, service
        self.ops, self.store = place / "ops", Path(machines.source)
        self.inventory = self.ops / "inventories" / "production"
        lab = machines.lab
        # What a person has in ~/.ssh, and nothing that leads to the sample's inventory.
        foreign = ("ANSIBLE_", "TURNOUT_", "PYTHON", "VIRTUAL_ENV")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "ANSIBLE_PRIVATE_KEY_FILE": str(lab.private_key),
            "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes",
        }

    def begin(self, like: str, *words: str, hosts: Mapping[str, Sequence[str]] = HOSTS) -> None:
        """Have `turnout init` write the repository, like a framework or like "" none; say that the hosts are small."""
        named: set[str] = set()
        for group, members in hosts.items():
            for host in members:
                address = "" if host in named else f"={self.machines.address(host)}"
                words = (*words, f"--{group}", f"{host}{address}")
                named.add(host)
        if "monitoring" in hosts:
            words = (*words, "--deploy-from", self.machines.lab.gateway)
        own = ("--service", self.service, "--user", "root", "--releases", str(self.store))
        framework = ("--like", like) if like else ()
        run([BIN / "turnout", "init", self.ops, *framework, *own, *words], env=self.env)
        # Two processors carry all hosts, the load and the tests.
        self.change("site.yml", monitoring_scrape_interval="1s", postgres_shared_buffers="64MB")
        small = {"disk_free_percent": 2, "memory_free_percent": 2, "clock_skew_s": 10}
        self.change("checklist.yml", checklist={"limit_s": 45, "hosts": small})
        if "postgres" in hosts:
            self.change("backup.yml", backup_archive_timeout_s=10, backup_repositories=[self._repository()])
        soon = {"fastest_window_s": 10, "bake_s": 10, "patience_s": 120, "probes_per_s": 10}
        self.change_service(judge=soon, steady_s=20)
        self.turnout(
            "release", "keygen", "--key", str(self.ops / "release.key"), "--principal", "ci@example.org",
            "--allowed-signers", str(self.inventory / "allowed_signers"),
        )  # fmt: skip
        self.store.mkdir(parents=True, exist_ok=True)

    def _repository(self) -> dict[str, Any]:
        s3 = self.machines.s3
        lab = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/backup.yml").read_text())
        repository: dict[str, Any] = lab["backup_repositories"][0]
        repository["options"] |= {"s3-region": s3["region"], "cipher-pass": "{{ vault_backup_cipher_pass }}"}
        for name in ("writer", "reader"):
            identity = s3["identities"][name]
            repository[name] = {"s3-key": identity["access_key"], "s3-key-secret": identity["secret_key"]}
        return {**repository, "ca_file": s3["ca_file"]}

    # What it writes -------------------------------------------------------------------------------------------------

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a file of variables, as a person does with an editor."""
        path = self.inventory / "group_vars" / "all" / name
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def change(self, name: str, **values: Any) -> None:
        """Set variables in a file of variables."""
        self.edit(name, lambda content: content.update(values))

    def change_service(self, **keys: Any) -> None:
        """Set keys of the service file, mappings key by key; None removes one."""

        def change(content: dict[str, Any]) -> None:
            merge(content["service"], keys)

        self.edit("service.yml", change)

    def drill_check(self, name: str, query: str) -> None:
        """Say what must hold in restored data: a query whose every row violates it."""
        folder = self.inventory / "drill_checks"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.sql").write_text(query)

    # What it types --------------------------------------------------------------------------------------------------

    def turnout(self, *words: str) -> str:
        """Type a `turnout` command in the repository."""
        return run([BIN / "turnout", *words], cwd=self.ops, env=self.env)

    def publish(self, folder: Path, version: str, *options: str) -> None:
        """Commit an application's folder, build a release of it, sign and publish it."""
        git = ("git", "-C", folder)
        env = {**os.environ, **NAMES}
        if not (folder / ".git").exists():
            run([*git, "init", "--quiet"], env=env)
        run([*git, "add", "--all"], env=env)
        run([*git, "commit", "--quiet", "--allow-empty", "--message", version], env=env)
        built = self.place / "build"
        key = str(self.ops / "release.key")
        words = ("--version", version, "--key", key, "--out", str(built))
        self.turnout("release", "build", str(folder), *words, *options)
        manifest = built / f"{self.service}-{version}.release.yml"
        self.turnout("release", "publish", str(manifest), "--to", str(self.store))

    def playbook(self, name: str, *words: str, good: bool = True) -> Run:
        """Run a playbook of the collection to its end, which must be a good one, or with `good=False` must not."""
        started = time.monotonic()
        done = subprocess.run(
            [BIN / "ansible-playbook", f"turnout.ops.{name}", *words], cwd=self.ops, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=LIMIT_S,
        )  # fmt: skip
        took = Run(done.returncode, done.stdout, time.monotonic() - started)
        print(f"{name} {' '.join(words)}: exit code {took.rc} in {took.seconds:.0f} s", file=sys.stderr, flush=True)
        assert (took.rc == 0) is good, took.tail
        assert not good or "Traceback" not in took.out, took.tail  # one of the application's own may be shown
        return took

    def deploy(self, version: str, *words: str, good: bool = True) -> Run:
        """Release a version."""
        return self.playbook("deploy", "-e", f"release={version}", *words, good=good)

    def first_release(self, version: str) -> None:
        """Set the hosts up, and bring a published version into service."""
        self.playbook("site")
        self.deploy(version)
        assert self.stable()["release"] == version

    def drill(self) -> None:
        """Take a backup, and start the application on what is restored from it."""
        self.playbook("backup", "-e", "type=full")
        drilled = self.playbook("restore_drill")
        for check in ("smoke", "worker"):
            assert re.search(rf"check {check} +pass", drilled.out), drilled.tail

    # What it sees ---------------------------------------------------------------------------------------------------

    def stable(self) -> dict[str, Any]:
        """Return the record of what is in service, which all edges agree on, with nothing else under way."""
        self.machines.in_service()
        edge = self.machines.edge("edge1")
        return dict(edge["releases"][edge["stable"]])

    def running(self, color: str) -> dict[str, list[str]]:
        """Return the units of a color that run, by host."""
        command = f"systemctl list-units --no-legend --plain --state=active '{self.service}-*@{color}.service'"
        found = {
            host: self.machines.ssh(host, command).split() for host in dict.fromkeys(HOSTS["api"] + HOSTS["worker"])
        }
        return {host: [word for word in words if "@" in word] for host, words in found.items()}

    def sql(self, query: str) -> str:
        """Ask the service's database as the superuser; return what psql printed, unaligned."""
        words = f'cd / && sudo -u postgres psql -XAtq -v ON_ERROR_STOP=1 -d {self.service} -c "{query}"'
        return self.machines.ssh("data1", words).strip()

    @contextmanager
    def load(self, rate: float, mix: str, **options: str) -> Iterator[Load]:
        """Keep users on both edges for the time of the block; the report is read afterwards."""
        load = Load(self.machines, rate, 1800, {"mix": mix, "authorization": "plain", **options})
        try:
            yield load
        finally:
            load.stop()


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set keys, mappings key by key; None removes one."""
    for key, value in values.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
