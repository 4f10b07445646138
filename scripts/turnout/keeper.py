"""The keeper: a process beside `ansible-playbook` that keeps a run's promises when the run itself cannot.

Ansible runs no `rescue` for an unreachable host, none after Ctrl-C, and none when its process is killed. The keeper
therefore owns both promises of a run:

- while the run lives, it renews the run's lock and lease on every edge (`turnout-edge beat`);
- when the run does not end well, for whatever reason, it runs `rollback.yml` for that run, which puts back what that
  run did and nothing else.

It is started by the action plugin `turnout_keeper` just before the run takes the lock, in a session of its own, so
that Ctrl-C does not reach it. A run that never held the lock has done nothing, and is not put back. The keeper talks to
the edges through Ansible's own command line in a forked child: connection variables, jump hosts and `become` are then
those of the run. If its own machine dies, the lease on the edges does its work.

The run's folder on the controller (`.turnout/runs/<run>/`) is the meeting point:

- `keeper.json`   what the keeper was told (mode 0600: it may hold variables given on the command line)
- `phase`         the phase in progress, written by the callback plugin, carried to the journal by the beats
- `ended`         written by the callback plugin when the playbook has ended: `ok` or `failed`
- `keeper.log`    what the keeper did, a JSON object a line
- `committed`     written by the run once every edge has confirmed: the release then stands, whatever follows
- `put-back.log`  output of `rollback.yml`
- `keeper.done`   the keeper has nothing left to do: a JSON object with `outcome`
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

POLL_S = 0.1  # between two looks at the run's process and folder


@dataclass(frozen=True)
class Plan:
    """What one keeper was told: `keeper.json` in the run's folder."""

    run: str
    folder: Path
    parent_pid: int
    parent_started: int
    beat_s: float
    ansible_options: list[str]
    playbook: str
    cwd: str
    verbosity: int = 0
    edges: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read the plan that the action plugin wrote. Raises OSError or ValueError on a broken one."""
        raw: dict[str, Any] = json.loads((folder / "keeper.json").read_text())
        return cls(folder=folder, **raw)


def process_started(pid: int) -> int:
    """Return when process `pid` started, in clock ticks since boot; 0 when there is no such process.

    With the number alone a re-used process id would pass for the run (proc(5), `/proc/pid/stat`, field 22).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], int(fields[19])
    return 0 if state in "ZX" else started


def beat_command(run: str, phase: str) -> str:
    """Return the shell command that renews lock and lease of `run` on an edge."""
    words = ["/usr/local/sbin/turnout-edge", "beat", "--run", run]
    if phase:
        words += ["--phase", phase]
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def read_beats(path: Path) -> dict[str, str]:
    """Return {edge: `held`, `lost` or `unreachable`} from what the beats' callback plugin wrote."""
    answers: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row.get("unreachable"):
                answers[row["host"]] = "unreachable"
                continue
            # 3 refused and 4 held by another: this run's lock is gone. Anything else is a fault of the edge.
            answers[row["host"]] = {0: "held", 3: "lost", 4: "lost"}.get(row.get("rc"), "unreachable")
    return answers


class Keeper:
    """One run's keeper, from its start to `keeper.done`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._beat_child = 0
        self._beat_started = 0.0
        self._held = False

    def log(self, event: str, **more: object) -> None:
        """Append one line to `keeper.log`."""
        row = {"ts": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **more}
        with (self.plan.folder / "keeper.log").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def parent_alive(self) -> bool:
        """Tell whether the `ansible-playbook` process of this run still runs."""
        return process_started(self.plan.parent_pid) == self.plan.parent_started

    def ended(self) -> str:
        """Return how the playbook ended (`ok`, `failed`), `gone` for one that just vanished, or nothing."""
        with contextlib.suppress(OSError):
            said = (self.plan.folder / "ended").read_text().strip()
            if said:
                return said
        return "" if self.parent_alive() else "gone"

    def phase(self) -> str:
        """Return the phase that the run is in, as the callback plugin last wrote it."""
        try:
            return (self.plan.folder / "phase").read_text().strip()
        except OSError:
            return ""

    def beats_path(self) -> Path:
        """Return where the forked child's callback plugin writes its results."""
        return self.plan.folder / "beats.jsonl"

    def start_beat(self) -> None:
        """Fork a child that renews lock and lease on every edge through Ansible's own command line."""
        self.beats_path().unlink(missing_ok=True)
        self._beat_started = time.monotonic()
        child = os.fork()
        if child:
            self._beat_child = child
            return
        code = 70
        try:
            code = self._beat_in_child()
        except BaseException as error:
            self.log("beat-error", error=f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def _beat_in_child(self) -> int:
        # Imported by the parent before the first fork, so this costs nothing.
        from ansible.cli.adhoc import AdHocCLI  # noqa: PLC0415

        os.environ["TURNOUT_BEATS"] = str(self.beats_path())
        command = beat_command(self.plan.run, self.phase())
        argv = ["ansible", "edge", *self.plan.ansible_options, "--become", "-m", "ansible.builtin.raw", "-a", command]
        return int(AdHocCLI(argv, callback="turnout_beats").run() or 0)

    def beat_running(self) -> bool:
        """Tell whether a beat is under way; collects a child that has ended."""
        if not self._beat_child:
            return False
        done, _ = os.waitpid(self._beat_child, os.WNOHANG)
        if not done:
            return True
        self._beat_child = 0
        answers = read_beats(self.beats_path())
        # An edge that cannot be asked may hold it.
        self._held = self._held or len(answers) < len(self.plan.edges) or not set(answers.values()) <= {"lost"}
        if set(answers.values()) != {"held"} or len(answers) < len(self.plan.edges):
            self.log("beat", answers=answers, seconds=round(time.monotonic() - self._beat_started, 3))
        return False

    def finish_beat(self) -> None:
        """Wait for the beat under way, if any."""
        while self.beat_running():
            time.sleep(0.02)

    def held_the_lock(self) -> bool:
        """Tell whether this run may hold, or ever have held, the lock on some edge; asks the edges if need be."""
        # Asked twice: a run that was cut off just now may have a request for the lock under way.
        for wait_s in (0.0, 1.0):
            if not self._held:
                time.sleep(wait_s)
                self.start_beat()
                self.finish_beat()
        return self._held

    def committed(self) -> bool:
        """Tell whether every edge had confirmed the release: from then on a failure must not take it away."""
        return (self.plan.folder / "committed").exists()

    def put_back(self, why: str) -> int:
        """Run `rollback.yml` for this run; return its exit code. Its output goes to `put-back.log`."""
        self.log("put-back", why=why)
        argv = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            self.plan.playbook,
            *self.plan.ansible_options,
            "-e",
            json.dumps({"rollback_run": self.plan.run, "rollback_reason": why, "rollback_committed": self.committed()}),
        ]
        if self.plan.verbosity:
            argv.append("-" + "v" * self.plan.verbosity)
        # The put-back is a run of its own and reports into a folder of its own.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TURNOUT_RUN")}
        with (self.plan.folder / "put-back.log").open("ab") as log:
            done = subprocess.run(
                argv,
                cwd=self.plan.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode

    def watch(self) -> str:
        """Renew until the playbook has ended; return how it ended."""
        next_beat = time.monotonic()
        while True:
            ended = self.ended()
            if ended:
                return ended
            if not self.beat_running() and time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self.plan.beat_s
                self.start_beat()
            time.sleep(POLL_S)

    def keep(self) -> str:
        """Keep the run to its end, put back what it left; return the outcome."""
        self.log("start", run=self.plan.run, parent=self.plan.parent_pid)
        ended = self.watch()
        self.log("ended", how=ended)
        self.finish_beat()
        if ended == "ok" or not self.held_the_lock():
            outcome, code = "nothing to do", 0
        else:
            why = {
                "failed": "the run failed",
                "gone": "the run's process ended before its work was done",
            }.get(ended, ended)
            phase = self.phase()
            code = self.put_back(f"{why} in phase {phase}" if phase else why)
            outcome = "put back" if code == 0 else "put back, not everywhere"
        done = self.plan.folder / "keeper.done"
        draft = done.with_suffix(".tmp")
        draft.write_text(json.dumps({"outcome": outcome, "code": code}))
        draft.rename(done)
        return outcome


def main() -> None:
    """Keep the run whose folder is the only argument."""
    plan = Plan.read(Path(sys.argv[1]))
    os.chdir(plan.cwd)
    sys.argv[0] = "ansible"
    import ansible.cli.adhoc  # noqa: F401, PLC0415 - the cost of the import is paid once, before the forks

    keeper = Keeper(plan)
    try:
        keeper.keep()
    except Exception as error:
        keeper.log("error", error=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
