"""A controller as one thing: a playbook, its keeper and every program that they started, to be killed or put to sleep.

Everything that a laptop runs carries its name in the environment, and has SSH connections of its own: so two of them
can work at once on one machine, and one can die without the other.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import PLAYBOOK_LIMIT_S, ROOT, Turnout, weigh

TAG = "TURNOUT_FAULTS_LAPTOP"
PLUGINS = ROOT / "tests" / "faults" / "plugins"


class Laptop:
    """One playbook on one controller."""

    def __init__(self, turnout: Turnout, name: str, action: str, *options: str, stop_at: str = "") -> None:
        # Short: the path of a socket may have 107 characters only.
        self.folder = Path(tempfile.mkdtemp(prefix="tf-"))
        self.name = f"{name}-{self.folder.name}"
        self.moments = self.folder / "moments"
        self.output = self.folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                turnout.command(action, *options), cwd=ROOT, env={**turnout.env(), **self._env(stop_at)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.started = time.monotonic()
        if turnout.controller_apart:
            weigh(self.process, 12)  # type: ignore[arg-type]

    def _env(self, stop_at: str) -> dict[str, str]:
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(ROOT / "ansible.cfg")
        enabled = settings.get("defaults", "callbacks_enabled", fallback="")
        return {
            TAG: self.name,
            "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
            "ANSIBLE_CALLBACKS_ENABLED": ",".join([*filter(None, [enabled]), "turnout_moments"]),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder),
            "TURNOUT_FAULTS_MOMENTS": str(self.moments),
            "TURNOUT_FAULTS_STOP_AT": stop_at,
            "PYTHONUNBUFFERED": "1",
        }

    # What it does ----------------------------------------------------------------------------------------------

    def timeline(self) -> list[tuple[str, float]]:
        """Return when each task began, on the monotonic clock."""
        with contextlib.suppress(FileNotFoundError):
            rows = [json.loads(line) for line in self.moments.read_text().splitlines(keepends=True) if line[-1] == "\n"]
            return [(row["key"], row["t"]) for row in rows]
        return []

    def reach(self, key: str, limit_s: float = PLAYBOOK_LIMIT_S) -> bool:
        """Wait until a task begins, or any of a phase (`6/7 `); tells whether it did before the playbook ended."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            over = self.over
            if any(seen == key or (key.endswith(" ") and seen.startswith(key)) for seen, _ in self.timeline()):
                return True
            if over:
                return False
            time.sleep(0.01)
        return False

    def go_on(self) -> None:
        """Let a playbook go on that waits at its moment."""
        Path(f"{self.moments}.go").touch()

    @property
    def over(self) -> bool:
        """Tell whether the playbook has ended."""
        return self.process.poll() is not None

    @property
    def said(self) -> str:
        """Return what it has printed."""
        return self.output.read_text(errors="replace")

    def all_over(self) -> bool:
        """Tell whether the playbook and its keeper have ended."""
        return self.over and not self.keepers()

    # What is done to it ----------------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Return the processes of this laptop that live, with their command lines.

        A shared SSH connection writes its title over its environment: it is known by the folder of its socket.
        """
        found = {}
        tag, folder = f"{TAG}={self.name}".encode(), f"{self.folder}/".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if folder in line or tag in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def keepers(self) -> list[int]:
        """Return its keepers, and the put-backs that they run."""
        own = self.process.pid
        return [
            pid for pid, line in self.processes().items()
            if pid != own and ("turnout.keeper" in line or "ansible-playbook" in line)
        ]  # fmt: skip

    def signal_playbook(self, what: signal.Signals) -> None:
        """Send a signal to the playbook's process group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, what)

    def signal_all(self, what: signal.Signals) -> None:
        """Send a signal to everything that this laptop runs; twice, for what was being started."""
        for _ in range(2):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)

    def forget(self) -> dict[int, str]:
        """End what is left of it and remove its folder; return what was still there beside shared SSH connections."""
        left = {pid: line for pid, line in self.processes().items() if not line.startswith("ssh: ")}
        self.signal_all(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)
        return left
