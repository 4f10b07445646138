"""The watchdog: takes traffic back when a lease runs out, and mends a share that got lost."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time

from .change import note
from .commands import command_apply
from .edge import Edge
from .errors import EXIT_DONE, Trouble, refusal
from .haproxy import Unreachable
from .lock import lease_has_run_out
from .request import Who
from .rollback import command_rollback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .errors import Json


WATCH_POLL_S = 0.25
WATCH_DRIFT_EVERY = 2  # polls between two looks at HAProxy
WATCH_SAID = 100  # different things that are remembered as told
WATCH_PRUNE_EVERY = 14_400  # polls between two looks at the journal's length


class Watch:
    """Takes traffic back when a lease runs out, and mends a share that HAProxy or the map file lost."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.polls = 0
        self.drift: Json | None = None
        self.said: set[str] = set()

    def tick(self) -> None:
        """Look once."""
        self.polls += 1
        try:
            if lease_has_run_out(self.edge.load_lease(), self.edge.clock.mark()):
                self.end_lease()
            elif self.polls % WATCH_DRIFT_EVERY == 0:
                self.look_for_drift()
            if self.polls % WATCH_PRUNE_EVERY == 1:
                with self.edge.locked():
                    self.edge.journal.prune()
        except Trouble as fault:
            self.say(fault.as_text())
        except (OSError, Unreachable) as fault:
            self.say(f"turnout-edge: {fault}")
        except Exception as fault:  # a watchdog that ends guards nobody
            self.say(unforeseen(fault))

    def say(self, text: str) -> None:
        """Tell the system's journal, once for each thing there is to tell."""
        if not text or text in self.said:
            return
        if len(self.said) >= WATCH_SAID:
            self.said.clear()
        self.said.add(text)
        print(text, file=sys.stderr, flush=True)

    def end_lease(self) -> None:
        """The run that was to renew the lease is gone: go back to the stable color."""
        edge = self.edge
        with edge.locked():
            lease = edge.load_lease()
            if not lease_has_run_out(lease, edge.clock.mark()):
                return  # renewed while this waited for the lock
            state, _ = edge.load_state_for_rollback()
            who = Who(None, "lease")
            if state.candidate is None or state.share_bp == 0 or state.stable is None:
                where = "no user is on a candidate" if state.stable else "there is no stable release to go back to"
                edge.write_lease({"armed": False})
                note(edge, who, "note", "lease-ran-out", lease_run=lease.get("run"), result=where)
                self.say(f"turnout-edge: the lease of run {lease.get('run')} ran out; {where}")
                return
            try:
                result = command_rollback(edge, who, rollback_options())
            except Trouble as fault:
                if fault.as_text() not in self.said:
                    note(edge, who, "note", "lease-ran-out", lease_run=lease.get("run"), failed=fault.as_json())
                raise
            self.say(f"turnout-edge: the lease of run {lease.get('run')} ran out: {result['message']}")

    def look_for_drift(self) -> None:
        """Mend a share that is wrong for two looks: a reload that raced with a move, a crash, a hand."""
        edge = self.edge
        if not edge.has_state():
            return
        seen = self.see()
        if seen is None:
            self.said.clear()  # all is well: what goes wrong from here on is told anew
        if seen is None or seen != self.drift:
            self.drift = seen
            return
        self.drift = None
        with edge.locked():
            if self.see() == seen:
                result = command_apply(edge, Who(None, "watch"), rollback_options())
                self.say(f"turnout-edge: found {json.dumps(seen)}; mended: {result['message']}")

    def see(self) -> Json | None:
        """Return where HAProxy or the map file differ from the state; None where they agree."""
        edge = self.edge
        state = edge.load_state()
        live = edge.live()
        disk_bp = edge.disk_bp()
        if live["error"]:
            live["green_bp"] = state.green_bp  # it cannot be mended now; the disk can
        if live["green_bp"] == disk_bp == state.green_bp:
            return None
        return {"wanted": state.green_bp, "disk": disk_bp, "live": live["green_bp"]}


def unforeseen(fault: Exception) -> str:
    """Return the words for an error that nobody foresaw: what and where, and nothing that differs from look to look."""
    import traceback

    where = traceback.extract_tb(fault.__traceback__)[-1]
    return (
        f"turnout-edge: internal: {type(fault).__name__} in {where.name}, line {where.lineno} of "
        f"{os.path.basename(where.filename)}; expected: no such thing; the watchdog goes on; remedy: report this line"
    )


def rollback_options() -> argparse.Namespace:
    """Return the options of a rollback that nobody typed."""
    import argparse

    nothing_else = dict.fromkeys(("further", "force", "put_back", "keep_confirmed"), False)
    return argparse.Namespace(reason=None, quarantine=None, by_itself=True, **nothing_else)


def notify(text: str) -> None:
    """Tell systemd (READY=1, WATCHDOG=1); nothing where it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)  # a systemd that does not listen must not hold the watchdog up
            connection.sendto(text.encode(), address)
    except BlockingIOError:
        return
    except OSError as fault:
        print(f"turnout-edge: systemd does not hear: {fault}", file=sys.stderr)


def run_watch(edge: Edge) -> int:
    """Watch until told to stop."""
    import signal

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGINT, lambda *_: stopping.append(1))
    try:
        descriptor = os.open(edge.watch_path(), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a disk that went read-only, or a folder in its place
        descriptor = os.open(edge.watch_path(), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        trouble = refusal("watch-runs", "a watchdog runs already", "one", "systemctl status turnout-edge-watch")
        print(trouble.as_text(), file=sys.stderr)
        return trouble.exit_code
    watch = Watch(edge)
    notify("READY=1")
    while not stopping:
        watch.tick()
        notify("WATCHDOG=1")
        time.sleep(WATCH_POLL_S)
    os.close(descriptor)
    return EXIT_DONE
