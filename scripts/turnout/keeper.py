"""The keeper: a process beside `ansible-playbook` that keeps a run's promises when the run itself cannot.

Ansible runs no `rescue` for an unreachable host, none after Ctrl-C, and none when its process is killed. The keeper
therefore owns both promises of a run:

- while the run lives, it renews the run's lock and lease on every edge (`turnout-edge beat`), each edge by itself and
  with a deadline, so that one that hangs delays no other;
- when the run does not end well, for whatever reason, it runs `rollback.yml` for that run, which puts back what that
  run did and nothing else.

It ends a run itself that cannot go on: an edge says that the lock is lost, an edge is not heard, the playbook is
stopped (Ctrl-Z) for longer than a lease. What it decides is in `keeping`, what it does is here.

It is started by the action plugin `turnout.ops.keeper` just before the run takes the lock, in a session of its own, so
that Ctrl-C does not reach it. A run that never held the lock has done nothing, and is not put back. The keeper talks to
the edges through Ansible's own command line in forked children: connection variables, jump hosts and `become` are then
those of the run. If its own machine dies, the lease on the edges does its work.

The run's folder on the controller (`.../turnout/runs/<run>/`) is the meeting point:

- `keeper.json`   what the keeper was told; emptied when it is done
- `extra-vars.json` variables given on the command line, which may be secrets; removed when the keeper is done. What a
  keeper that was killed has left, the callback plugin removes, at the end of its own run or of a later one
- `keeper.pid`    the keeper's process id and start
- `phase`         the phase in progress, written by the callback plugin, carried to the journal by the beats
- `taken`         written by the run when it holds the lock on every edge: the moment (boot clock)
- `held.json`     after each beat: what is known of every edge; the callback plugin starts no task on old knowledge
- `stop.json`     why the keeper ends the run
- `releasing`     written by the run just before it gives the lock back
- `released`      written by the run when every edge has its lock back: its last word, where no callback plugin has one
- `ended`         written by the callback plugin when the playbook has ended: `ok` or `failed`
- `keeper.log`    what the keeper did, a JSON object a line
- `committed`     written by the run once every edge has confirmed: the release then stands, whatever follows
- `put-back.log`  output of `rollback.yml`
- `keeper.done`   the keeper has nothing left to do: a JSON object with `outcome`
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.ansible_options import program
from turnout.keeping import (
    Action,
    Answer,
    EndBeat,
    Finish,
    Interrupt,
    Keeping,
    Kill,
    Limits,
    Playbook,
    PutBack,
    Seen,
    StartBeat,
    Tell,
)

if TYPE_CHECKING:
    from turnout.keeper_beat import Beats

POLL_S = 0.1  # between two looks at the run's process and folder
EXTRA_VARS = "extra-vars.json"
ANSWER_LIMIT = 1 << 20  # bytes of an answer; an edge that says more is not understood
LOCK_IS_ANOTHERS = 4  # exit code of turnout-edge
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class KeeperPlan:
    """What one keeper was told: `keeper.json` in the run's folder."""

    run: str
    folder: Path
    parent_pid: int
    parent_started: int
    beat_s: float
    lease_s: float
    ttl_s: float
    ansible_options: list[str]
    playbook: str
    cwd: str
    edges: list[str] = field(default_factory=list)
    boottime: float = 0.0
    program: str = ""

    @classmethod
    def read(cls, folder: Path) -> KeeperPlan:
        """Read the plan that the action plugin wrote. Raises OSError, TypeError or ValueError on a broken one."""
        raw: dict[str, Any] = json.loads((folder / "keeper.json").read_text())
        return cls(folder=folder, **raw)

    @property
    def limits(self) -> Limits:
        """Return the times to go by."""
        return Limits(self.beat_s, self.lease_s, self.ttl_s)


# Processes ---------------------------------------------------------------------------------------------------------


def boottime() -> float:
    """Return the seconds since this machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_stat(pid: int) -> tuple[str, int, int]:
    """Return state, parent and start of process `pid`; ("", 0, 0) when there is none (proc(5), `/proc/pid/stat`)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0, 0


def process_started(pid: int) -> int:
    """Return when process `pid` started, in clock ticks since boot; 0 when there is no such process.

    With the number alone a re-used process id would pass for the run.
    """
    state, _, started = process_stat(pid)
    return 0 if state in ("", "Z", "X") else started


def playbook_state(pid: int, started: int) -> Playbook:
    """Return what the system says of the playbook's main process."""
    state, _, now_started = process_stat(pid)
    if state in ("", "Z", "X") or now_started != started:
        return Playbook.GONE
    return Playbook.STOPPED if state in "Tt" else Playbook.RUNS


def descendants(pid: int) -> dict[int, int]:
    """Return {process id: start} of all that `pid` has started and that still runs, without this very process.

    Ansible's workers have sessions of their own: a signal to the playbook's process group does not reach them.
    """
    children: dict[int, list[int]] = {}
    started: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            one = int(entry.name)
            state, parent, start = process_stat(one)
            if state:
                children.setdefault(parent, []).append(one)
                started[one] = start
    found: dict[int, int] = {}
    left = [pid]
    while left:
        for child in children.get(left.pop(), ()):
            if child != os.getpid() and child not in found:
                found[child] = started[child]
                left.append(child)
    return found


def kill_tree(pid: int, started: int) -> None:
    """End a process and all that it has started, at once."""
    below = descendants(pid)
    for one, start in ((pid, started), *below.items()):
        if process_started(one) == start:
            with contextlib.suppress(OSError):
                os.kill(one, signal.SIGKILL)


def end_with_parent() -> None:
    """Have this process end when the one that forked it ends, however it does (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def hand_over(folder: Path, extra_vars: Mapping[str, Any]) -> list[str]:
    """Return options by which another Ansible command gets variables of this command line; `take_back` ends it.

    They may hold secrets: they lie in a private file of the run's folder, never in a process's arguments.
    """
    if not extra_vars:
        return []
    write(folder / EXTRA_VARS, json.dumps(dict(extra_vars), default=str))
    return ["-e", f"@{folder / EXTRA_VARS}"]


def take_back(folder: Path) -> None:
    """Remove what `hand_over` has left in the run's folder."""
    with contextlib.suppress(OSError):
        (folder / EXTRA_VARS).unlink(missing_ok=True)


def start(folder: Path) -> int:
    """Start the keeper of the run whose plan lies in `folder`; return its process id."""
    with (folder / "keeper.err").open("ab") as errors:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "turnout.keeper", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=quiet(os.environ),
            start_new_session=True,
            close_fds=True,
        )
    write(folder / "keeper.pid", f"{keeper.pid} {process_started(keeper.pid)}")
    return keeper.pid


def quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Ansible tells no results of tasks: they may hold secrets, and files keep them."""
    return {key: value for key, value in environment.items() if key != "ANSIBLE_DEBUG"} | {"ANSIBLE_VERBOSITY": "0"}


def write(path: Path, text: str) -> None:
    """Write a small private file in one step, so that nobody reads half of it."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)


# Beats -------------------------------------------------------------------------------------------------------------


def beat_command(run: str, phase: str) -> str:
    """Return the shell command that renews lock and lease of `run` on an edge."""
    words = ["/usr/local/sbin/turnout-edge", "--quiet", "beat", "--run", run]
    if phase:
        words += ["--phase", phase]
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def read_answer(edge: str, raw: bytes) -> Answer:
    """Return what an edge said to a beat, from what the beat's child wrote; what cannot be read is not heard."""
    try:
        row = json.loads(raw.decode())
        if row["host"] != edge or row.get("unreachable"):
            return Answer(edge, "unheard", words="unreachable")
        said = edges_word(str(row.get("stdout") or ""))
        code = row.get("rc")
        if code == 0 and said["ok"] is True:
            return Answer(edge, "held", lease=bool(said["lease_renewed"]))
        if code == LOCK_IS_ANOTHERS and said["error"]["code"] == "lock":
            return Answer(edge, "lost", words=str(said["error"]["observed"]))
        return Answer(edge, "unheard", words=f"exit {code}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(edge, "unheard", words="its answer cannot be read")


def edges_word(text: str) -> dict[str, Any]:
    """Return the last line that is a JSON object: a terminal, a login banner or sudo may have added others."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                return said
    raise ValueError("no answer")


@dataclass
class Beat:
    """A beat under way: a child of this process, and the pipe by which it answers."""

    pid: int
    pipe: int
    answer: bytes = b""

    def over(self) -> bool:
        """Collect what there is; tell whether the child has ended."""
        done, _ = os.waitpid(self.pid, os.WNOHANG)
        while True:
            try:
                more = os.read(self.pipe, 65536)
            except OSError:  # nothing now
                break
            if not more:
                break
            self.answer = (self.answer + more)[:ANSWER_LIMIT]
        return bool(done)

    def close(self, *, end: bool) -> None:
        """Let go of the pipe; with `end` end the child too, and what it has started."""
        os.close(self.pipe)
        if end:
            kill_tree(self.pid, process_started(self.pid))
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


class Keeper:
    """One run's keeper, from its start to `keeper.done`."""

    def __init__(self, plan: KeeperPlan) -> None:
        self.plan = plan
        self.keeping = Keeping.of(plan.limits, plan.edges)
        self.beats: dict[str, Beat] = {}
        self.failed_to_start: list[str] = []
        self.outcome: Finish | None = None
        self._sender: Beats | None = None

    def log(self, event: str, **more: object) -> None:
        """Append one line to `keeper.log`; a disk that is full keeps nobody from going back."""
        row = {"ts": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **more}
        with contextlib.suppress(OSError), (self.plan.folder / "keeper.log").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def read(self, name: str) -> str:
        """Return what a file of the run's folder says, nothing where there is none."""
        try:
            return (self.plan.folder / name).read_text().strip()
        except (OSError, ValueError):
            return ""

    # What is seen ----------------------------------------------------------------------------------------------------

    def look(self) -> Seen:
        """Return what is to be seen now. Answers come first: a lock that is gone may just have been given back."""
        answers = self.collect()
        playbook = playbook_state(self.plan.parent_pid, self.plan.parent_started)
        # The callback plugin's word counts, and is read last: it may come while this looks. Without that plugin the run
        # itself has said, with its lock, that it came to its end.
        over = playbook is Playbook.GONE and (self.plan.folder / "released").exists()
        return Seen(
            now_s=boottime(),
            playbook=playbook,
            said=self.read("ended") or ("ok" if over else ""),
            taken_s=self.taken_s(),
            releasing=(self.plan.folder / "releasing").exists(),
            answers=tuple(answers),
        )

    def taken_s(self) -> float | None:
        """Return when the run took the lock on the last edge, None where it has not told so."""
        said = self.read("taken")
        try:
            return min(float(said), boottime()) if said else None
        except ValueError:
            return self.plan.boottime

    def collect(self) -> list[Answer]:
        """Return the answers of beats that have ended."""
        answers = [Answer(edge, "unheard", words="no beat could be started") for edge in self.failed_to_start]
        self.failed_to_start = []
        for edge, beat in list(self.beats.items()):
            if beat.over():
                del self.beats[edge]
                beat.close(end=False)
                answers.append(read_answer(edge, beat.answer))
        for answer in answers:
            if answer.state != "held":
                self.log("beat", edge=answer.edge, state=answer.state, words=answer.words)
        return answers

    # What is done ----------------------------------------------------------------------------------------------------

    def start_beat(self, edge: str) -> None:
        """Fork a child that renews lock and lease on one edge through Ansible's own command line."""
        try:
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            child = os.fork()
        except OSError as error:
            self.log("beat-error", edge=edge, error=str(error))
            self.failed_to_start.append(edge)
            return
        if child:
            os.close(writing)
            self.beats[edge] = Beat(child, reading)
            return
        code = 70
        try:
            end_with_parent()
            os.register_at_fork(after_in_child=end_with_parent)
            code = self._beat_in_child(edge, writing)
        except BaseException as error:
            self.log("beat-error", edge=edge, error=f"{type(error).__name__}: {error}"[:500])
        finally:
            os._exit(code)

    def _beat_in_child(self, edge: str, writing: int) -> int:
        os.environ["TURNOUT_BEATS"] = str(writing)
        return self.sender().send(edge, beat_command(self.plan.run, self.read("phase")))

    def sender(self) -> Beats:
        """Return what beats are sent by; made by the first one that asks."""
        from turnout.keeper_beat import Beats  # noqa: PLC0415 - tests of the keeper know no Ansible

        if self._sender is None:
            self._sender = Beats(self.plan.ansible_options)
        return self._sender

    def end_beat(self, edge: str) -> None:
        """End the beat to one edge."""
        beat = self.beats.pop(edge, None)
        if beat:
            beat.close(end=True)

    def tell(self) -> None:
        """Write down what is known of the edges."""
        edges = {
            name: {"state": edge.state, "boottime": edge.heard_s, "lease": edge.lease}
            for name, edge in self.keeping.edges.items()
        }
        with contextlib.suppress(OSError):
            write(self.plan.folder / "held.json", json.dumps({"edges": edges, "boottime": boottime()}))

    def interrupt(self, why: str) -> None:
        """Have the playbook end: it tells its own story then. One that is stopped must go on to hear it."""
        self.log("interrupt", why=why)
        with contextlib.suppress(OSError):
            write(self.plan.folder / "stop.json", json.dumps({"why": why}))
        for number in (signal.SIGINT, signal.SIGCONT):
            if process_started(self.plan.parent_pid) == self.plan.parent_started:
                with contextlib.suppress(OSError):
                    os.kill(self.plan.parent_pid, number)

    def kill(self) -> None:
        """End a playbook that does not end by itself, and its workers."""
        self.log("kill", pid=self.plan.parent_pid)
        kill_tree(self.plan.parent_pid, self.plan.parent_started)

    def committed(self) -> bool:
        """Tell whether every edge had confirmed the release: from then on a failure must not take it away."""
        return (self.plan.folder / "committed").exists()

    def put_back(self, why: str) -> int:
        """Run `rollback.yml` for this run; return its exit code. Its output goes to `put-back.log`."""
        phase = self.read("phase")
        why = f"{why} in phase {phase}" if phase else why
        self.log("put-back", why=why)
        argv = [
            self.plan.program or program(),
            self.plan.playbook,
            *self.plan.ansible_options,
            "-e",
            json.dumps({"rollback_run": self.plan.run, "rollback_reason": why, "rollback_committed": self.committed()}),
        ]
        # The put-back is a run of its own and reports into a folder of its own. Its name comes after that of its run:
        # an application host refuses from now on what the run's workers may still have under way.
        env = {name: value for name, value in quiet(os.environ).items() if not name.startswith("TURNOUT_RUN")}
        env["TURNOUT_RUN"] = f"{self.plan.run}-back"
        try:
            log = os.open(self.plan.folder / "put-back.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            log = os.open(os.devnull, os.O_WRONLY)
        with os.fdopen(log, "ab") as output:
            try:
                done = subprocess.run(
                    argv,
                    cwd=self.plan.cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                )
            except OSError as error:
                self.log("put-back-error", error=str(error))
                return 127  # as a shell: each edge goes back by itself, and the outcome says that it is not all
        return done.returncode

    def do(self, action: Action) -> list[Action]:
        """Carry out one action; return those that follow from it."""
        match action:
            case StartBeat(edge):
                self.start_beat(edge)
            case EndBeat(edge):
                self.end_beat(edge)
            case Tell():
                self.tell()
            case Interrupt(why):
                self.interrupt(why)
            case Kill():
                self.kill()
            case PutBack(why):
                return self.keeping.put_back_ended(self.put_back(why))
            case Finish():
                self.finish(action)
        return []

    def finish(self, outcome: Finish) -> None:
        """Leave word of the outcome, and nothing of what the keeper was told."""
        self.outcome = outcome
        self.log("done", outcome=outcome.outcome, code=outcome.code)
        take_back(self.plan.folder)
        with contextlib.suppress(OSError):
            write(self.plan.folder / "keeper.json", json.dumps({"run": self.plan.run}))
        with contextlib.suppress(OSError):
            write(self.plan.folder / "keeper.done", json.dumps({"outcome": outcome.outcome, "code": outcome.code}))

    def run(self) -> None:
        """Keep the run, whatever happens to the keeper's own work."""
        try:
            self.keep()
        except Exception as error:
            self.log("error", error=f"{type(error).__name__}: {error}")
            self.last_resort(f"the keeper failed ({type(error).__name__}: {error})")

    def last_resort(self, why: str) -> None:
        """End the run and put it back when the keeper's own work fails: it must not go on with nobody to keep it."""
        for edge in list(self.beats):
            self.end_beat(edge)
        self.interrupt(why)
        deadline_s = boottime() + self.plan.limits.kill_s
        while self.alive() and not self.read("ended") and boottime() < deadline_s:
            time.sleep(POLL_S)
        if self.alive() and not self.read("ended"):
            self.kill()
        if self.read("ended") == "ok":
            self.finish(Finish("nothing to do"))
        else:
            code = self.put_back(why)
            self.finish(Finish("put back" if code == 0 else "put back, not everywhere", code))

    def alive(self) -> bool:
        """Tell whether the playbook's main process is there."""
        return playbook_state(self.plan.parent_pid, self.plan.parent_started) is not Playbook.GONE

    def read_inventory(self) -> bool:
        """Read the inventory once for all beats, and tell whether that went well: it may fail, or hang."""

        def too_long(*_: object) -> None:
            raise TimeoutError("the inventory took too long")

        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, self.plan.lease_s)
        try:
            self.sender()
        except (Exception, SystemExit) as error:
            self.log("inventory", error=f"{type(error).__name__}: {error}"[:500])
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return True

    def keep(self) -> str:
        """Keep the run to its end, put back what it left; return the outcome."""
        self.log("start", run=self.plan.run, parent=self.plan.parent_pid)
        while self.outcome is None:
            actions = self.keeping.step(self.look())
            while actions:
                actions = [*self.do(actions[0]), *actions[1:]]
            if self.outcome is None:
                time.sleep(POLL_S)
        return self.outcome.outcome


def main() -> None:
    """Keep the run whose folder is the argument; with a second one, each beat reads the inventory by itself."""
    folder = Path(sys.argv[1])
    reads_once = len(sys.argv) == 2
    plan = KeeperPlan.read(folder)
    os.chdir(plan.cwd)
    sys.argv[0] = "ansible"
    keeper = Keeper(plan)
    if reads_once and not keeper.read_inventory():
        # Ansible is left in pieces by that. A new one in this process, and each beat tries again by its deadline.
        again = [sys.executable, "-m", "turnout.keeper", str(folder), "again"]
        os.execv(sys.executable, again)  # noqa: S606 - there is no shell, on purpose
    keeper.run()


if __name__ == "__main__":
    main()
