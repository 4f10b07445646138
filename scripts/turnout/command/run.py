"""Run a playbook of `turnout.ops` in a process group of its own, and make one decision of Ctrl-C.

The terminal sends Ctrl-C to every process of its foreground group at once, workers and SSH clients included. Here
Ansible has a session of its own, so that only this process gets it, and SIGTERM and SIGHUP (a closed terminal) as well:

- The first one tells the run to end. Its main process alone gets SIGINT, and tells its story to the end (the callback
  plugin): the keeper puts everything back, and this command shows that and waits. A run that has not ended after
  `END_LIMIT_S` is killed; the keeper puts it back all the same.
- Before the playbook has begun nothing was changed anywhere: Ansible is killed at once.
- The second one leaves: the put-back goes on by itself, which is said.

Where this process is killed itself, Ansible is killed by the kernel, and the keeper puts the run back.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import locale
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from turnout import keeper
from turnout.ansible_options import program
from turnout.command import progress
from turnout.command.progress import Screen
from turnout.command.words import given
from turnout.errors import TurnoutError

END_LIMIT_S = 5.0  # until a run that was told to end is killed
LEAVE_LIMIT_S = 2.0  # the same, for somebody who pressed Ctrl-C twice
PUT_BACK_LIMIT_S = 600.0  # how long a put-back is waited for
POLL_S = 0.1
ENDS = {
    signal.SIGINT: "Ctrl-C was pressed",
    signal.SIGTERM: "turnout was told to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed (SIGHUP)",
}
STARTED = "playbook.pid"  # written by the callback plugin when the playbook begins
ENDED = "ended"
INTERRUPTED = "interrupted.json"  # why this command ends the run, for the callback plugin to tell
LEFT = "left"  # nobody waits for the put-back any more

_LOCALE_PARTS = ("LC_CTYPE", "LC_COLLATE", "LC_TIME", "LC_MONETARY", "LC_NUMERIC", "LC_MESSAGES")

Say = Callable[[str], None]


def runs_home(environment: Mapping[str, str]) -> Path:
    """Return the folder that holds the folders of this user's runs."""
    base = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "turnout" / "runs"


def environment_of(parent: Mapping[str, str]) -> dict[str, str]:
    """Return what Ansible's environment is: this one, with the run's name, and the callback plugin that knows a run."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}"
    run = parent.get("TURNOUT_RUN") or name
    told = {"ANSIBLE_STDOUT_CALLBACK": "turnout.ops.turnout", **parent, "TURNOUT_RUN": run}
    if not _locale_serves(parent):
        told["LC_ALL"] = "C.UTF-8"
    return told | {"TURNOUT_RUN_FOLDER": parent.get("TURNOUT_RUN_FOLDER") or str(runs_home(parent) / run)}


def _locale_serves(environment: Mapping[str, str]) -> bool:
    """Tell whether Ansible starts in this locale: it takes only one of UTF-8 that this machine has."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in _LOCALE_PARTS:
            wanted = environment.get("LC_ALL") or environment.get(name) or environment.get("LANG") or "C"
            locale.setlocale(getattr(locale, name), wanted)
        return (locale.getlocale()[1] or "").lower() in ("utf-8", "utf8")
    except (locale.Error, ValueError):
        return False
    finally:
        locale.setlocale(locale.LC_ALL, before)


def plain(text: str) -> None:
    """Say a line to a person. A terminal that is closed hears nothing; that ends no run."""
    with contextlib.suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Run:
    """One playbook that runs, and what becomes of the signals that this process gets."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], say: Say = plain, screen: Screen | None = None
    ) -> None:
        self.argv = list(argv)
        self.environment = dict(environment)
        self.folder = Path(environment["TURNOUT_RUN_FOLDER"])
        self.screen = screen
        self.say = screen.say if screen else say
        self.process: subprocess.Popen[bytes] | None = None
        self.first: signal.Signals | None = None
        self.leaving = False
        self.killed = False
        self._kill_at_s: float | None = None
        self._waiting: list[signal.Signals] = []

    # What is seen ----------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Tell whether the run's folder holds a file of this name."""
        return (self.folder / name).exists()

    def kept(self) -> bool:
        """Tell whether the run has had a keeper: what it left is put back."""
        return self.has("keeper.pid")

    # What is done ----------------------------------------------------------------------------------------------------

    def meet(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal. It is followed outside of the handler, where nothing is half done."""
        self._waiting.append(signal.Signals(number))

    def pause(self, _number: int, _frame: FrameType | None = None) -> None:
        """Ctrl-Z stops Ansible, then this process; `fg` lets both go on. The keeper ends a run that waits too long."""
        self.send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)

    def go_on(self, _number: int, _frame: FrameType | None = None) -> None:
        """Let Ansible go on after Ctrl-Z."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to Ansible's main process alone; its workers have sessions of their own."""
        if self.process and self.process.returncode is None:
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, number)

    def note(self, name: str, text: str) -> None:
        """Leave word for the callback plugin in the run's folder; a full disk keeps nobody from ending a run."""
        with contextlib.suppress(OSError):
            keeper.write(self.folder / name, text)

    def kill(self) -> None:
        """End Ansible at once. Its workers end with their main process (the callback plugin sees to that)."""
        self.killed, self._kill_at_s = True, None
        if self.process:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def follow(self, number: signal.Signals) -> None:
        """Decide what a signal means at this moment."""
        again = self.first is not None
        self.first = self.first or number
        if again or self.has(ENDED):
            self.leave()
        elif self.has(STARTED):
            self.end(number)
        else:
            self.kill()

    def end(self, number: signal.Signals) -> None:
        """Tell the run to end."""
        self.note(INTERRUPTED, json.dumps({"why": ENDS[number]}))
        self._kill_at_s = time.monotonic() + END_LIMIT_S
        self.send(signal.SIGINT)
        self.send(signal.SIGCONT)

    def leave(self) -> None:
        """Let the put-back go on by itself: the callback plugin says so and ends, or this process does."""
        self.leaving = True
        self.note(LEFT, "")
        soon_s = time.monotonic() + (LEAVE_LIMIT_S if self.kept() else 0.0)
        self._kill_at_s = min(self._kill_at_s or soon_s, soon_s)

    def step(self) -> None:
        """Follow the signals that came, and kill a run whose time to end is over."""
        while self._waiting:
            self.follow(self._waiting.pop(0))
        if self._kill_at_s is None:
            return
        if self.has(ENDED) and not self.leaving:
            self._kill_at_s = None  # what takes time now is its put-back
        elif time.monotonic() >= self._kill_at_s:
            self.kill()

    # To its end ------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end, put-back included; return the exit code of this command."""
        with _signals(self), _wakes() as (woken, clear):
            process = self.process = subprocess.Popen(
                self.argv,
                env=self.environment,
                start_new_session=True,
                preexec_fn=keeper.end_with_parent,  # noqa: PLW1509 - this process has one thread
                **self.streams(),
            )
            ended = os.pidfd_open(process.pid)
            output = [process.stdout.fileno()] if process.stdout else []
            try:
                while process.poll() is None:
                    self.step()
                    ready, _, _ = select.select([woken, ended, *output], [], [], POLL_S)
                    clear()
                    if set(output) & set(ready) and not self.show(output[0]):
                        output = []
                    if self.screen:
                        self.screen.draw()
                while output and select.select(output, [], [], 0)[0] and self.show(output[0]):
                    pass  # what it said last; a process that outlived it may hold the other end open
            finally:
                os.close(ended)
                if self.screen:
                    self.screen.close()
            if self.kept() and (self.killed or not self.has(ENDED)):
                self.show_put_back(clear)
        return self.code(process.returncode)

    def streams(self) -> dict[str, Any]:
        """Return where Ansible's output goes: to this process where that draws a line below it."""
        return {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if self.screen else {}

    def show(self, output: int) -> bool:
        """Show what Ansible has written; tell whether there may be more."""
        data = os.read(output, 65536)
        if self.screen:
            self.screen.output(data)
        return bool(data)

    def code(self, returned: int) -> int:
        """Return ansible-playbook's exit code; that of a shell where a signal ended it."""
        if self.killed and self.first is not None:
            if not self.has(STARTED):
                self.say(f"turnout: {ENDS[self.first]} before the playbook began: nothing was changed")
            return 128 + self.first
        return returned if returned >= 0 else 128 - returned

    def show_put_back(self, clear: Callable[[], object]) -> None:
        """Show the keeper's put-back of a run whose own process cannot any more, until it is done."""
        log, shown = self.folder / "put-back.log", 0
        deadline_s = time.monotonic() + PUT_BACK_LIMIT_S
        if not self.leaving:
            self.say("\nthe run's process is gone; putting everything back")
        while not self.leaving and time.monotonic() < deadline_s:
            done = self.has("keeper.done")
            with contextlib.suppress(OSError):
                text = log.read_bytes()[shown:]
                whole = text[: text.rfind(b"\n") + 1]
                shown += len(whole)
                for line in whole.decode("utf-8", "replace").splitlines():
                    self.say(f"  | {line}")
            if done:
                self.say(self.outcome())
                return
            if not self.keeper_runs() and not self.has("keeper.done"):
                break
            time.sleep(POLL_S)
            clear()
            self.step()
        if self.keeper_runs():
            self.say(f"  the put-back goes on by itself; see {log}")
        elif not self.has("keeper.done"):
            self.say(
                "  the keeper of this run is gone: each edge goes back by itself when its lease runs out; "
                "to bring the rest back: turnout rollback"
            )

    def outcome(self) -> str:
        """Return how the put-back ended, in the keeper's word."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads((self.folder / "keeper.done").read_text())["outcome"])
        return "put back"

    def keeper_runs(self) -> bool:
        """Tell whether the run's keeper is there."""
        with contextlib.suppress(OSError, ValueError):
            pid, start = map(int, (self.folder / "keeper.pid").read_text().split())
            return keeper.process_started(pid) == start
        return False


@contextlib.contextmanager
def _signals(run: Run) -> Iterator[None]:
    """Have the run meet the signals of this process."""
    handlers = dict.fromkeys(ENDS, run.meet) | {signal.SIGTSTP: run.pause, signal.SIGCONT: run.go_on}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _wakes() -> Iterator[tuple[int, Callable[[], object]]]:
    """Give a file that can be read when a signal came, and what empties it: a wait ends at once then."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)

    def clear() -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(reading, 512):
                pass

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading, clear
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


# Options by which a person names an inventory, or asks for nothing that needs one.
WITH_INVENTORY = ("-i", "--inventory", "--inventory-file")
WITHOUT_INVENTORY = ("-h", "--help", "--version", "--syntax-check", "--list-tags", "--list-tasks")
ELSEWHERE = (Path("~/.ansible.cfg"), Path("/etc/ansible/ansible.cfg"))  # where Ansible looks after the present folder


def refuse_nowhere(environment: Mapping[str, str], options: Sequence[str]) -> None:
    """Raise TurnoutError where nothing names an inventory: Ansible would run for no host, and end well."""
    if given(options, *WITH_INVENTORY, *WITHOUT_INVENTORY):
        return
    if any(environment.get(name) for name in ("ANSIBLE_CONFIG", "ANSIBLE_INVENTORY")) or Path("ansible.cfg").exists():
        return
    if any(_names_inventory(path) for path in ELSEWHERE):
        return
    raise TurnoutError(
        "no-repository",
        observed=f"no ansible.cfg in {Path.cwd()}",
        expected="the folder of your operations repository, whose ansible.cfg names the inventory",
        remedy="cd to your operations repository (turnout init DIR writes one), or -i INVENTORY",
    )


def _names_inventory(path: Path) -> bool:
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read(path.expanduser(), encoding="utf-8")
    except (configparser.Error, OSError, RuntimeError, ValueError):
        return False
    return bool(config.get("defaults", "inventory", fallback=""))


def playbook(name: str, options: Sequence[str]) -> int:
    """Run a playbook with options of ansible-playbook; return its exit code. Raises TurnoutError."""
    refuse_nowhere(os.environ, options)
    environment = environment_of(os.environ)
    argv = [program(), name, *options]
    if not progress.wanted(environment, options, all(each and each.isatty() for each in (sys.stdout, sys.stderr))):
        return Run(argv, environment).run()
    screen = progress.Screen(Path(environment["TURNOUT_RUN_FOLDER"]), progress.story(name))
    return Run(argv, progress.environment_for(environment), screen=screen).run()
