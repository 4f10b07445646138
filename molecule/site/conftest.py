"""What the checks know of the lab, and how they reach its hosts: plain SSH, PostgreSQL, Redis and HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Lab:
    state_dir: str
    inventory: str
    project: str
    service: str
    groups: dict[str, list[str]]
    addresses: dict[str, str]
    postgres_passwords: dict[str, str] = field(repr=False)
    redis_passwords: dict[str, str] = field(repr=False)

    def ssh(
        self, host: str, script: str, *, check: bool = True, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `script` by a shell on `host`, from standard input, so that it is on no command line."""
        command = ["ssh", "-i", f"{self.state_dir}/id_ed25519", "-o", "IdentitiesOnly=yes"]
        command += ["-o", f"UserKnownHostsFile={self.state_dir}/known_hosts", "-o", "StrictHostKeyChecking=yes"]
        done = subprocess.run(
            [*command, f"root@{self.addresses[host]}", "bash", "-s"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check:
            assert done.returncode == 0, f"{host}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def get_json(self, url: str) -> Any:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return json.load(answer)

    @property
    def database(self) -> str:
        return self.service.replace("-", "_")

    @property
    def secrets(self) -> list[str]:
        return [*self.postgres_passwords.values(), *self.redis_passwords.values()]

    def one(self, group: str) -> str:
        """Return the address of the only host of a group."""
        (host,) = self.groups[group]
        return self.addresses[host]


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab(**json.loads(os.environ["TURNOUT_VERIFY"]))


def eventually[T](look: Callable[[], T], *, deadline_s: float = 30, pause_s: float = 0.5) -> T:
    """Return what `look` returns once it raises no AssertionError, or let the last one through at the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            return look()
        except (AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(pause_s)


@pytest.fixture(scope="session")
def run_site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that runs parts of site.yml on the data hosts and returns all that it printed."""
    folder = tmp_path_factory.mktemp("site")

    def run(tags: str, *arguments: str, fails: bool = False, **variables: Any) -> str:
        extra = folder / "extra.json"
        extra.write_text(json.dumps(variables))
        extra.chmod(0o600)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ansible", "playbook", "--inventory", lab.inventory),
                *("--limit", "postgres:redis", "--tags", tags, "--extra-vars", f"@{extra}", *arguments),
                "playbooks/site.yml",
            ],
            cwd=lab.project,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        return output

    return run
