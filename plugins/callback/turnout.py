"""Show a run as a story: phases, hosts, shares and verdicts as they come, and the first cause of a failure last.

Beside the screen it keeps every event as a JSON line in the run's folder. It also tells the keeper how the playbook
ended, and waits for it: a put-back that is under way belongs to the story. And it is a gate: no task starts while what
the keeper knows of the edges is older than one lease, as on a laptop that has slept.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: turnout
type: stdout
short_description: Phases, hosts, shares and verdicts as they happen, kept as JSON lines
description:
  - Prints one line for each task that did something, under the phase that it belongs to.
  - Keeps all events in C(${XDG_STATE_HOME:-~/.local/state}/turnout/runs/<run>/events.jsonl).
  - With C(-v) the results of the tasks are printed too.
"""

import atexit
import contextlib
import ctypes
import getpass
import json
import multiprocessing.queues
import multiprocessing.util
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader, connection_loader, filter_loader, shell_loader, test_loader
from ansible.template import Templar

RUNS_KEPT = 100  # folders of past runs on the controller
PUT_BACK_LIMIT_S = 600  # how long the screen waits for a put-back; the keeper itself has no such limit
GATE_POLL_S = 0.05
OLD_S = 86_400  # a folder without a process id that was not written to for so long belongs to no run that lives
PRIVATE = ("extra-vars.json",)  # what may hold secrets from the command line: no run keeps it
QUIET_ACTIONS = (  # what they do is seen in what follows them; they are told only when they fail
    "ansible.builtin.set_fact",
    "ansible.builtin.group_by",
    "ansible.builtin.add_host",
    "ansible.builtin.include_tasks",
    "ansible.builtin.include_role",
    "ansible.builtin.meta",
    "ansible.builtin.assert",
    "ansible.builtin.debug",
    "ansible.builtin.validate_argument_spec",
)
# What only looks: a run that did nothing else has changed nothing.
LOOKS = (
    *QUIET_ACTIONS,
    *(f"ansible.builtin.{name}" for name in ("gather_facts", "ping", "setup", "slurp", "stat")),
    *(f"turnout.ops.{name}" for name in ("check_service", "laid", "look", "preflight", "programs", "resolve")),
)
# What most tasks run through; others are loaded when they are needed.
ACTIONS = ("ansible.builtin.normal", "ansible.builtin.validate_argument_spec", "ansible.builtin.assert")
NOTHING_DONE = 2  # the exit code of a run in which no task ran
PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
IN_PARTS = frozenset(("site",))  # whose tasks may be chosen: all others are stories, of which no part may run alone
# What stands for each host alone, so that --limit cuts nothing.
BY_HOST = frozenset(("site", "doors", "exposure", "status", "unlock", "watch"))
_EVERY_TAG = frozenset(("all", "tagged", "untagged"))  # words of --tags that are no tag of a task
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
ANY_FILTER = "turnout.ops.service"  # to find one, Ansible loads all of the collection
_PHASE = re.compile(r"^(?P<story>[\w ]+?) \| (?P<number>\d+/\d+) \| (?P<what>.+)$")


def runs_home():
    """Return the folder that holds the folders of the runs of this user on this controller."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "turnout" / "runs"


def actor():
    """Return who typed the command."""
    with contextlib.suppress(OSError, KeyError):  # a user without a name, as in containers
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return f"uid{os.getuid()}"


def now():
    """Return the present moment for an event line."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# Python drops what is raised in these, and prints a traceback: hooks of a fork, and what runs when an object ends.
_DROPPED_IN = ("_before", "_in_parent", "_after_fork", "__del__")
_FINALIZERS = (multiprocessing.util.__file__, weakref.__file__)
# A context that is cut off while it begins or ends stays half done, and Ansible's own contexts notice that. Where
# Ansible puts a new worker into the place of one that it has closed (_queue_task), it would fail at its own end.
_HALF_DONE_IN = ("__enter__", "__exit__", "_queue_task")


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def boottime():
    """Return the seconds since this machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started(pid):
    """Return when process `pid` started, in clock ticks since boot; 0 when it does not run (proc(5), stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def read_json(path):
    """Return what a small file says; an empty object where it says nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def runs_still(folder, names=("playbook.pid", "keeper.pid")):
    """Tell whether one of the processes runs whose id and start lie in these files of a run's folder."""
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            pid, start = map(int, (folder / name).read_text().split())
            if start and started(pid) == start:
                return True
    return False


def runs_still_keeper(folder):
    """Tell whether the keeper of a run's folder runs."""
    return runs_still(folder, ("keeper.pid",))


class Stop(Exception):
    """This run must not go on; carries the reason."""


class Gate:
    """What the keeper knows of the edges, and whether it is fresh enough to start a task on."""

    def __init__(self, folder, clock=boottime, sleep=time.sleep):
        self.folder = folder
        self._clock = clock
        self._sleep = sleep
        self._plan = {}

    def _known_s(self):
        """Return the age of the oldest thing known about an edge that this run holds, in seconds."""
        held = read_json(self.folder / "held.json")
        moments = [held.get("boottime") or self._plan["boottime"]]
        moments += [edge["boottime"] for edge in (held.get("edges") or {}).values() if edge.get("boottime")]
        return self._clock() - min(moments)

    def wait(self):
        """Return when a task may start; raises Stop where none may start any more."""
        if not self._plan.get("lease_s"):
            self._plan = read_json(self.folder / "keeper.json")
            if not self._plan.get("lease_s"):
                return  # this playbook has no keeper
        lease_s = self._plan["lease_s"]
        began = self._clock()
        while not (self.folder / "releasing").exists():
            stop = read_json(self.folder / "stop.json").get("why")
            if stop:
                raise Stop(stop)
            known_s = self._known_s()
            if known_s <= lease_s:
                return
            if not runs_still_keeper(self.folder):
                raise Stop(f"the keeper of this run is gone; the edges were last heard {known_s:.0f} s ago")
            if self._clock() - began > max(lease_s, self._plan["ttl_s"]):
                raise Stop(
                    f"the keeper of this run does not hear every edge: for {known_s:.0f} s, a lease is {lease_s:g} s"
                )
            self._sleep(GATE_POLL_S)


class _CtrlC:
    """Ctrl-C, which the terminal sends to all of Ansible's processes at once, at any moment.

    A worker that has just been forked ends without a word: what there is to say is said by the main process, and a
    worker would print a traceback. (Programs that it starts have their own handling of the signal back.)

    The main process ends by KeyboardInterrupt, as any program. Ansible's own handler would tell its workers first, and
    one that ends at once takes the lock of the queue with it that it hands results over by: the main process would
    wait for that lock for ever. Without it, workers are ended last, when nobody needs the queue any more. Where the
    exception would be dropped, or leave Ansible in pieces, it is put off for a moment. One that is still put off when
    the run ends anyway (Ansible has seen that a worker is gone) is dropped: it would cut the put-back's story short.
    """

    def __init__(self):
        self._pid = os.getpid()
        self._ansibles_end = signal.SIG_DFL
        self._forker = 0
        self._forking = False
        self._put_off = False
        self._ending = False

    def register(self):
        """Meet every Ctrl-C from now on, and take part in every fork."""
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends it a signal
            signal.signal(signal.SIGINT, self._meet)
            self._ansibles_end = signal.signal(signal.SIGTERM, self._terminate)
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def ending(self):
        """Say that the run ends, whether somebody pressed Ctrl-C or not."""
        self._ending = True

    def _meet(self, _signal, frame):
        if os.getpid() != self._pid:
            os._exit(130)  # forked just now
        if self._put_off and self._ending:
            self._put_off = False
        elif self._forking or _bad_moment(frame):
            self._put_off = True
            _interrupt_again(0.02)
        else:
            self._put_off = False
            # Ansible closes the queue at its end, and its thread that still reads it would print a traceback.
            threading.excepthook = lambda _: None
            raise KeyboardInterrupt

    def _terminate(self, number, frame):
        # Ansible ends its workers last. One that has just been forked has the main process's handler still, fails in
        # it, and would wait for ever to say so.
        if os.getpid() != self._pid:
            os._exit(143)
        if callable(self._ansibles_end):
            self._ansibles_end(number, frame)
        sys.exit(143)

    def _before(self):
        self._forker = os.getpid()
        self._forking = True

    def _in_parent(self):
        self._forking = False

    def _in_child(self):
        # A worker has a session of its own. One that outlived a killed playbook would go on beside its put-back.
        if self._forker == self._pid:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(130)
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, _leave)


def _bad_moment(frame):
    """Tell whether what is raised in this frame would be dropped by Python, or leave Ansible in pieces."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in (*_DROPPED_IN, *_HALF_DONE_IN) or code.co_filename in _FINALIZERS:
            return True
        frame = frame.f_back
    return False


def _interrupt_again(after_s):
    """Send this process the Ctrl-C once more that it cannot follow at this moment; `after_s` in seconds."""
    again = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _leave(_signal, frame):
    """End a worker, but not while it hands a result over.

    It holds the lock of the queue then. The main process wants that lock to end, and would wait for it for ever.
    """
    while frame is not None:
        if frame.f_code.co_filename == multiprocessing.queues.__file__:
            _interrupt_again(0.02)
            return
        frame = frame.f_back
    os._exit(130)


def _chosen():
    """Return the options that choose tasks by their tags, as they were typed; nothing where none was."""
    tags = [f"--tags {tag}" for tag in context.CLIARGS.get("tags") or () if tag != "all"]
    return " ".join([*tags, *(f"--skip-tags {tag}" for tag in context.CLIARGS.get("skip_tags") or ())])


def _inventory_folder():
    """Return where the inventory's group_vars are."""
    for source in (*(context.CLIARGS.get("inventory") or ()), *(C.DEFAULT_HOST_LIST or ())):
        path = Path(str(source))
        return str(path if path.is_dir() else path.parent)
    return "INVENTORY"


def _advice(message, host):
    """Return what mends it where SSH, sudo or Python is in the way on a host; nothing for other words."""
    try:
        from turnout import contact  # noqa: PLC0415 - only where a host did not answer
    except ImportError:
        return ""
    advice = contact.advice(message, host, _inventory_folder())
    return f"\nexpected: {advice[0]}; to mend: {advice[1]}" if advice else ""


def _load_for_every_worker(plays):
    """Load in the main process what each of its workers would load anew: a worker lives for one task on one host.

    A release has some 350 of them. The loaders keep what they have.
    """
    if plays > 1:  # the first play of a rollback moves the traffic, and waits for no filter
        filter_loader.get(ANY_FILTER)
    for loader in (filter_loader, test_loader):
        for _plugin in loader.all():
            break
    for loader, names in ((connection_loader, ("ssh", "local")), (shell_loader, ("sh",)), (action_loader, ACTIONS)):
        for name in names:
            loader.get(name, class_only=True)


class Record:
    """The run's folder: events, phase, and the meeting point with the keeper."""

    def __init__(self, run):
        self.folder = runs_home() / run
        self._usable = None

    def _ready(self):
        if self._usable is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._usable = True
            except OSError:
                # A full or read-only disk of the controller must not stop a rollback.
                self._usable = False
        return self._usable

    def event(self, kind, **more):
        """Append one event."""
        if self._ready():
            with (
                contextlib.suppress(OSError),
                (self.folder / "events.jsonl").open("a", encoding="utf-8") as events,
            ):
                events.write(json.dumps({"ts": now(), "event": kind, **more}, default=str) + "\n")

    def write(self, name, text):
        """Write a small file in one step, so that the keeper never reads half of it; tell whether it was written."""
        if not self._ready():
            return False
        try:
            draft = self.folder / f".{name}.tmp"
            draft.write_text(text, encoding="utf-8")
            draft.rename(self.folder / name)
        except OSError:
            return False
        return True

    def has(self, name):
        """Tell whether the folder holds a file of this name."""
        return (self.folder / name).exists()

    def prune(self):
        """Remove the oldest folders of ended runs beyond RUNS_KEPT, and what dead runs left of what they were told."""
        with contextlib.suppress(OSError):
            folders = sorted(path for path in self.folder.parent.iterdir() if path.is_dir())
            for path in folders[:-RUNS_KEPT]:
                if not runs_still(path):
                    shutil.rmtree(path, ignore_errors=True)
            for path in folders[-RUNS_KEPT:]:
                if path != self.folder and not runs_still(path):
                    forget(path)


def forget(folder):
    """Remove from a dead run's folder what it was told: options, and variables from the command line."""
    if not (folder / "playbook.pid").exists() and time.time() - folder.stat().st_mtime < OLD_S:
        return  # of an older version, which may be running
    for name in PRIVATE:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    plan = folder / "keeper.json"
    if read_json(plan).get("ansible_options"):
        with contextlib.suppress(OSError):
            plan.write_text(json.dumps({"run": folder.name}), encoding="utf-8")


class CallbackModule(CallbackBase):
    """The stdout callback of Turnout's playbooks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "turnout.ops.turnout"

    def __init__(self):
        super().__init__()
        self._pid = os.getpid()
        # Inherited by every worker, so that all tasks of this playbook speak of one run.
        self._run = os.environ.setdefault(
            "TURNOUT_RUN", f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{socket.gethostname()}-{self._pid}"
        )
        self._record = Record(self._run)
        os.environ.setdefault("TURNOUT_RUN_FOLDER", str(self._record.folder))
        os.environ["TURNOUT_ACTOR"] = os.environ.get("TURNOUT_ACTOR") or actor()
        os.environ["TURNOUT_PID"] = str(self._pid)
        self._gate = Gate(self._record.folder)
        self._started = time.monotonic()
        self._phase = ""
        self._next_phase = ""  # of a play that has not had a task yet
        self._play = None
        self._play_for = ""
        self._plays = 0
        self._used = False
        self._task = None
        self._task_started = 0.0
        self._hosts = {}
        self._causes = []
        self._finished = False
        self._nothing = ""  # why no task ran
        self._silent = False
        self._ended_badly = False
        # Whether anything was done at all: an empty run of Ansible's ends as a good one does.
        self._worked = False
        self._prepared = False
        self._matched = False
        self._for_nobody = []
        self._touched = False  # whether a host may have been changed
        # `turnout deploy` on a terminal shows phases and tasks in a line that changes, from the events. What this run
        # starts itself, its put-back above all, writes its lines as ever.
        self._line_elsewhere = os.environ.pop("TURNOUT_PROGRESS", "") == "line"
        if self._line_elsewhere:
            os.environ.pop("ANSIBLE_FORCE_COLOR", None)
        atexit.register(self._at_exit)
        self._ctrl_c = _CtrlC()
        self._ctrl_c.register()

    # What is printed -------------------------------------------------------------------------------------------

    def _print(self, text, color=None):
        # Where JSON was asked for, it stands alone on stdout; why there may be none of it goes to stderr.
        if self._silent and not self._ended_badly:
            return
        try:
            self._display.display(text, color=color, stderr=self._silent)
        except OSError:  # a closed pipe, a terminal that is gone, a full disk: the work goes on, told to nobody
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2 if self._silent else 1)
            os.close(nowhere)

    def v2_playbook_on_start(self, playbook):
        """Note which playbook runs."""
        # No keeper starts in a folder that another playbook has used: what lies there is that one's.
        self._used = any(map(self._record.has, ("taken", "releasing", "ended", "keeper.done")))
        self._story = os.path.splitext(os.path.basename(playbook._file_name))[0]
        self._record.write("playbook.pid", f"{self._pid} {started(self._pid)}")
        self._record.event("start", playbook=self._story, run=self._run)
        self._refuse_a_part(playbook.get_plays())

    def _refuse_a_part(self, plays):
        """Begin nothing where options of Ansible's would leave a part of a story out, also of one that is imported."""
        stories = {}
        for play in plays:
            path = Path(play.get_path().rpartition(":")[0])
            if path.resolve().parent == PLAYBOOKS:
                stories.setdefault(path.stem, []).append(play)
        for story, own in stories.items():
            if story not in IN_PARTS:
                self._refuse_a_start(story)
                self._refuse_tags(story, own, alone=len(own) == len(plays))
            if story not in BY_HOST and context.CLIARGS.get("subset"):
                self._refuse_a_limit(story, own)

    def _refuse_a_start(self, story):
        begins = context.CLIARGS.get("start_at_task")
        option = f"--start-at-task {begins}" if begins else "--step" if context.CLIARGS.get("step") else ""
        if option:
            self._refuse("story-cut", f"{option} would leave tasks out of it", "every task", option, story)

    def _refuse_tags(self, story, plays, *, alone):
        option = _chosen()
        if not option:
            return
        chosen = [
            task.evaluate_tags(play.only_tags, play.skip_tags, all_vars={})
            for play in plays
            for block in play.compile()
            for task in block.get_tasks()
            if not task.implicit and task.action != "ansible.builtin.validate_argument_spec"  # always run
        ]
        if not any(chosen) and alone:
            self._matched = True
            self._nothing = self._why_nothing()
            self._leave()
        elif any(chosen) and not all(chosen):
            self._refuse("story-cut", f"{option} would leave tasks out of it", "every task", option, story)

    def _refuse_a_limit(self, story, plays):
        limit, kept, left_out = context.CLIARGS["subset"], set(), set()
        inventory = plays[0].get_variable_manager()._inventory
        for play in plays:
            variables = play.get_variable_manager().get_vars(play=play)
            pattern = Templar(loader=None, variables=variables).template(play.hosts)
            hosts = {host.name for host in inventory.get_hosts(pattern)}
            kept |= hosts
            left_out |= {host.name for host in inventory.get_hosts(pattern, ignore_limits=True)} - hosts
        inventory.clear_pattern_cache()  # of groups that a play makes there is no host yet
        if kept and left_out:
            # One word for it, where it is not the playbook's name.
            word = {"deploy": "release"}.get(story, story.replace("_", " "))
            code, hosts = f"{story.replace('_', '-')}-limited", sorted(left_out - {"localhost"}) or ["localhost"]
            self._refuse(
                code, f"left out of the {word}: {', '.join(hosts)}", "all its hosts", f"--limit {limit}", story
            )

    def _refuse(self, code, observed, expected, option, story):
        """Say why this story does not begin, and end."""
        message = (
            f"error[{code}]: {observed}; expected: {expected}; to mend: take {option} away: "
            f"ansible-playbook turnout.ops.{story}"
        )
        self._causes.append(("", "", "", message))
        self._print(message, C.COLOR_ERROR)
        self._leave()

    def _leave(self):
        self._end("failed")
        self._finished = True
        sys.exit(NOTHING_DONE)  # Ansible catches all that is an Exception

    def v2_playbook_on_play_start(self, play):
        """Note the phase that may begin: one in which no host is left has no task, and is not told."""
        self._flush_task()
        self._plays += 1
        name = play.get_name().strip()
        if play.get_variable_manager().extra_vars.get("format") == "json":
            self._silent = True
        match = _PHASE.match(name)
        self._next_phase = f"{match['number']} {match['what']}" if match else name
        hosts = play.hosts if isinstance(play.hosts, str) else ":".join(map(str, play.hosts))
        self._play, self._play_for = play, hosts
        self._matched = True

    def v2_playbook_on_no_hosts_matched(self):
        """Note a play that was for nobody."""
        self._for_nobody.append(self._play_for)
        self._matched = len(self._for_nobody) < self._plays

    def _begin_phase(self):
        """Print the phase whose first task begins."""
        if not self._next_phase:
            return
        self._phase, self._next_phase = self._next_phase, ""
        self._record.write("phase", self._phase)
        self._record.event("phase", phase=self._phase)
        if not self._line_elsewhere:
            self._print(f"\n{self._seconds():>7}  {self._phase}", C.COLOR_HIGHLIGHT)

    def _seconds(self):
        return f"{time.monotonic() - self._started:.1f} s"

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Begin to collect the hosts of a task."""
        self._flush_task()
        if task.action not in C._ACTION_META:  # of a play that ends at once (--check) there is nothing to tell
            self._begin_phase()
        self._pass_gate()
        self._task = task
        self._task_started = time.monotonic()
        if self._line_elsewhere:
            self._record.event("doing", task=task.get_name().rpartition(" : ")[2].strip())
        _load_for_every_worker(self._plays)

    def v2_runner_on_start(self, host, task):
        """Look once more before each host's part: this machine may sleep between two hosts of a task."""
        self._pass_gate()

    def _pass_gate(self):
        """Start nothing on old knowledge. A run that must not go on ends as by Ctrl-C: its put-back follows."""
        try:
            self._gate.wait()
        except Stop as stop:
            self._stop(str(stop))
            threading.excepthook = lambda _: None  # as for Ctrl-C
            raise KeyboardInterrupt from stop

    def _stop(self, why):
        if not self._causes:
            self._causes.append((self._phase, "", "", f"this run was ended: {why}"))
            self._record.event("stopped", phase=self._phase, why=why)

    def v2_playbook_on_handler_task_start(self, task):
        """Show a handler as any other task."""
        self.v2_playbook_on_task_start(task, False)

    def _flush_task(self):
        """Print the line of the task that has ended."""
        task, hosts = self._task, self._hosts
        self._task, self._hosts = None, {}
        if task is None or not hosts or task.action in QUIET_ACTIONS:
            return
        done = {host: state for host, state in hosts.items() if state != "skipped"}
        if not done:
            return
        seconds = time.monotonic() - self._task_started
        name = task.get_name().rpartition(" : ")[2].strip()
        groups = {}
        for host, state in done.items():
            groups.setdefault(state, []).append(host)
        states = ", ".join(f"{' '.join(sorted(names))} {state}" for state, names in sorted(groups.items()))
        color = C.COLOR_CHANGED if "changed" in groups else C.COLOR_OK
        self._record.event("task", phase=self._phase, task=name, hosts=done, seconds=round(seconds, 3))
        if not self._line_elsewhere:
            self._print(f"{'':9}{name:<58} {seconds:5.1f} s  {states}", color)

    def _say(self, result):
        """Print what a task has to say to a person: words of the edges, of a debug task, or a report."""
        values = result.result
        if result.task.action in ("ansible.builtin.debug", "debug") and "msg" in values:
            text = values["msg"] if isinstance(values["msg"], str) else "\n".join(map(str, values["msg"]))
            self._print("\n".join(f"{'':9}{line}" for line in text.splitlines()))
        elif (values.get("changed") or values.get("recorded")) and values.get("message"):
            if not values.get("shown"):
                self._print(f"{'':9}{result.host.get_name()}: {values['message']}")
            self._record.event("said", phase=self._phase, host=result.host.get_name(), message=values["message"])
        if values.get("report"):
            # The only output of a playbook that was asked for JSON.
            self._display.display(values["report"])
        if self._display.verbosity > 0:
            self._clean_results(values, result.task.action)
            self._print(f"{'':9}{result.host.get_name()}: {self._dump_results(values)}")

    def _count(self, result):
        """Note that a task had its turn on a host.

        What only prepares others does not count: facts and checks that run whatever --tags says, and checks on the
        controller before plays that turn out to be for nobody.
        """
        task, tags = result.task, set(context.CLIARGS.get("tags") or ()) - {"all"}
        always = "always" in task.tags and tags and not tags & ({"always"} | set(task.tags) | _EVERY_TAG)
        before = task.action in QUIET_ACTIONS and result.host.get_name() == "localhost"
        self._prepared |= before
        self._worked |= not always and not before

    def _touch(self, result):
        """Note that a task which does more than look had its turn on a host."""
        self._touched |= result.task.resolved_action not in LOOKS and not result.task.check_mode

    def v2_runner_on_ok(self, result):
        """Collect a host that did its part."""
        self._count(result)
        self._touch(result)
        self._handle_warnings_and_exception(result)
        self._hosts[result.host.get_name()] = "changed" if result.result.get("changed") else "ok"
        self._say(result)

    def v2_runner_on_skipped(self, result):
        """Collect a host that had nothing to do."""
        self._count(result)
        self._hosts[result.host.get_name()] = "skipped"

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Print a failure at once, and keep it: the first one is told again at the end."""
        self._touch(result)
        host, values = result.host.get_name(), result.result
        message = self._message(values, host)
        task = result.task.get_name().rpartition(" : ")[2].strip()
        self._record.event("failed", phase=self._phase, task=task, host=host, ignored=ignore_errors, message=message)
        if ignore_errors:
            self._hosts[host] = "not done"
            self._print(f"{'':9}{host}: {message}", C.COLOR_WARN)
            return
        self._hosts[host] = "FAILED"
        self._causes.append((self._phase, task, host, message))
        self._print(f"{'':9}{task}: {host} FAILED", C.COLOR_ERROR)
        self._print("\n".join(f"{'':11}{line}" for line in message.splitlines()), C.COLOR_ERROR)
        if self._display.verbosity > 0:
            self._clean_results(values, result.task.action)
            self._print(f"{'':9}{host}: {self._dump_results(values)}")

    def _message(self, values, host):
        """Return what a failed result says to a person, and what mends it where Ansible alone speaks."""
        message = self._told(values)
        if "to mend" not in message:
            message += _advice(message, host)
        if _UNDEFINED.search(message) and "to mend" not in message:
            message += (
                f"\nexpected: a variable of the inventory; to mend: set it in {_inventory_folder()}/group_vars/all "
                "(secrets: vault.yml), or run in the folder of ansible.cfg"
            )
        return message

    def _told(self, values):
        if values.get("results"):
            faults = [item for item in values["results"] if item.get("failed")]
            if faults:
                return "\n".join(dict.fromkeys(self._told(item) for item in faults))
        if values.get("failed_modules"):  # of gather_facts
            return "\n".join(dict.fromkeys(self._told(one) for one in values["failed_modules"].values()))
        message = str(values.get("msg") or values.get("censored") or "the task gave no reason")
        no_answer = "deserialization" in message  # Python did not even begin
        for stream in ("stderr", "module_stderr", *(("module_stdout",) if no_answer else ())):
            if values.get(stream) and ("non-zero" in message or no_answer):
                message += f"\n{str(values[stream]).strip()[-800:]}"
        return message

    def _asked(self, result):
        """Return the host that a task was to run on: another one than it is for where it is delegated."""
        host, delegate = result.host.get_name(), result.task.delegate_to
        if not delegate:
            return host
        try:  # Ansible tells it with a result, but not where the host is silent
            variables = self._play.get_variable_manager().get_vars(play=self._play, host=result.host, task=result.task)
            return str(Templar(loader=None, variables=variables).template(delegate)) or host
        except Exception:  # a loop's item, for one: the task's own host is what is known
            return host

    def v2_runner_on_unreachable(self, result):
        """Print a host that could not be reached."""
        host, message = result.host.get_name(), self._told(result.result)
        self._hosts[host] = "UNREACHABLE"
        # A task that is delegated fails on another host than the one that it is for.
        silent = self._asked(result)
        called = host if silent == host else f"{silent} (asked for {host})"
        advice = _advice(message, silent)
        mends = advice or (
            "\nexpected: a host that answers Ansible; "
            f"to mend: bring it back (see: ansible {silent} -m ping), or take it out of the inventory"
        )
        remedy = f"{called} could not be reached: {message.strip()}{mends}"
        ignored = bool(result.task.ignore_unreachable)
        self._record.event("unreachable", phase=self._phase, host=silent, ignored=ignored, message=message)
        if not ignored:
            self._causes.append((self._phase, result.task.get_name(), silent, remedy))
        # Of each host: only the first cause is told again at the end, and a run may go on without a host.
        told = f"{called} UNREACHABLE: {message.strip()}{advice}"
        self._print("\n".join(f"{'':9}{line}" for line in told.splitlines()), C.COLOR_UNREACHABLE)

    def v2_runner_item_on_failed(self, result):
        """Leave a failed item to its task's own result."""

    # How it ends -----------------------------------------------------------------------------------------------

    def v2_playbook_on_stats(self, stats):
        """Tell the keeper how the playbook ended, wait for it, and print the first cause last."""
        self._flush_task()
        failed = bool(stats.dark or stats.failures) and bool(self._causes)
        # Every host that failed had its turn too.
        nothing = not (self._worked or stats.dark or stats.failures or (self._prepared and not self._for_nobody))
        self._nothing = self._why_nothing() if nothing else ""
        self._end("failed" if failed or nothing else "ok")
        self._finished = True
        if nothing:
            sys.exit(NOTHING_DONE)  # Ansible itself would end well

    def _why_nothing(self):
        """Return why no task ran, and what mends it."""
        limit, chosen = context.CLIARGS.get("subset"), _chosen()
        inventory = ", ".join(map(str, context.CLIARGS.get("inventory") or C.DEFAULT_HOST_LIST or ()))
        hosts = ", ".join(dict.fromkeys(self._for_nobody))
        if self._matched and chosen:
            seen, expected = f"no task that does the work is chosen by {chosen}", "tags of tasks of this playbook"
            remedy = f"take {chosen} away (see: ansible-playbook turnout.ops.{self._story} --list-tags)"
        elif limit:
            seen, expected = f"no host of {hosts or self._play_for} is in --limit {limit}", "hosts of these"
            remedy = f"take --limit {limit} away, or name others (see: ansible-inventory --graph)"
        elif self._for_nobody:
            seen, expected = (
                f"no host of the inventory {inventory} is in {hosts}",
                "a host in each group that is needed",
            )
            remedy = "name groups and hosts as they are (see: ansible-inventory --graph), or -i INVENTORY"
        else:
            seen, expected = f"the playbook {self._story} has no task to run", "a task"
            remedy = f"see: ansible-playbook turnout.ops.{self._story} --list-tasks"
        return f"error[nothing-done]: no task ran: {seen}\n  expected: {expected}\n  to mend:  {remedy}"

    def _at_exit(self):
        """Reached without `stats` when the playbook was interrupted: Ansible says nothing more, the story must."""
        if os.getpid() != self._pid or self._finished:
            return
        stop = read_json(self._record.folder / "stop.json").get("why")
        if stop:
            self._stop(stop)
        if not self._causes and self._record.has("keeper.json"):
            why = read_json(self._record.folder / "interrupted.json").get("why")  # written by `turnout deploy`
            self._causes.append((self._phase, "", "", f"the run was interrupted{f': {why}' if why else ''}"))
        self._end("failed")

    def _end(self, how):
        self._ctrl_c.ending()
        told = self._record.write("ended", how)
        self._ended_badly = how != "ok"
        self._record.event("end", how=how, seconds=round(time.monotonic() - self._started, 3))
        if self._record.has("keeper.json") and how == "failed" and not self._used:
            # A keeper that cannot be told sees that this process is gone: waiting for it, it would wait for the keeper.
            self._show_put_back() if told else self._leave_put_back()
        if how == "failed" and self._causes:
            self._print_first_cause()
        self._report()
        if self._nothing:
            self._print(f"\nNOT done: {self._nothing}", C.COLOR_ERROR)
        looked = " (--check: no host was changed)" if context.CLIARGS.get("check") else ""
        outcome = f"done{looked}" if how == "ok" else "NOT done"
        self._print(f"\n{self._seconds():>7}  {outcome}   events: {self._record.folder}/events.jsonl")
        if how == "failed" and self._causes and not self._touched and not self._record.has("keeper.json"):
            self._print(f"{'':9}nothing was changed")
        if not runs_still_keeper(self._record.folder):
            forget(self._record.folder)
        self._record.prune()

    def _report(self):
        """Write the page of a judged release; one that cannot be written takes nothing away from the run."""
        if not self._record.has("judgements.jsonl"):
            return
        try:
            from turnout.judge import meeting, release_page  # noqa: PLC0415 - only a judged run needs them
            from turnout.slo import parse  # noqa: PLC0415

            folder = self._record.folder
            page = release_page.write(folder, parse.load(Path(meeting.told(folder).slos)))
            self._print(f"\n{'':9}report: {page}")
        except Exception as error:
            self._print(f"\n{'':9}no report could be written: {type(error).__name__}: {error}", C.COLOR_WARN)

    def _show_put_back(self):
        """Show the keeper's put-back as it goes, until it is done. A keeper that died is started once more."""
        self._print(f"\n{self._seconds():>7}  putting everything back", C.COLOR_HIGHLIGHT)
        log = self._record.folder / "put-back.log"
        shown, again = 0, False
        deadline = time.monotonic() + PUT_BACK_LIMIT_S
        try:
            # `left`: who typed `turnout deploy` has pressed Ctrl-C again.
            while time.monotonic() < deadline and not self._record.has("left"):
                done = self._record.has("keeper.done")
                with contextlib.suppress(OSError):
                    text = log.read_bytes()[shown:].decode("utf-8", "replace")
                    whole = text[: text.rfind("\n") + 1]
                    shown += len(whole.encode())
                    for line in whole.splitlines():
                        self._print(f"  | {line}")
                if not done and not runs_still_keeper(self._record.folder) and not self._record.has("keeper.done"):
                    if again or not self._start_keeper():
                        break
                    again = True
                if done:
                    outcome = json.loads((self._record.folder / "keeper.done").read_text())
                    self._print(f"{self._seconds():>7}  {outcome['outcome']}")
                    return
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass
        if runs_still_keeper(self._record.folder):
            self._print(f"  the put-back goes on by itself; see {log}", C.COLOR_WARN)
        else:
            self._print(
                "  the keeper of this run is gone: each edge goes back by itself when its lease runs out; "
                "to bring the rest back: ansible-playbook turnout.ops.rollback",
                C.COLOR_WARN,
            )

    def _leave_put_back(self):
        """Say where to look for a put-back that begins when this process has ended."""
        self._print(
            f"\n  the disk of this machine does not take how this run ended: everything is put back once this command "
            f"is gone, and is not shown here\n  expected: room for {self._record.folder}; to mend: df -h "
            f"{self._record.folder}; to see how it ends: ansible-playbook turnout.ops.status",
            C.COLOR_WARN,
        )

    def _start_keeper(self):
        """Start a keeper for the put-back alone; tell whether there is one."""
        try:
            from turnout import keeper  # noqa: PLC0415 - only where a keeper died

            keeper.KeeperPlan.read(self._record.folder)
            keeper.start(self._record.folder)
        except (ImportError, OSError, TypeError, ValueError):
            return False
        self._print("  the keeper of this run was gone; another one puts everything back", C.COLOR_WARN)
        return True

    def _print_first_cause(self):
        phase, task, host, message = self._causes[0]
        place = ", ".join(part for part in (f"phase {phase}" if phase else "", task, host) if part)
        others = [cause for cause in self._causes[1:] if cause[3] != message]
        self._print(f"\nFirst cause ({place}):", C.COLOR_ERROR)
        self._print("\n".join(f"  {line}" for line in message.splitlines()), C.COLOR_ERROR)
        if others:
            self._print(f"  ({len(others)} more above)", C.COLOR_ERROR)
        sys.stdout.flush()
