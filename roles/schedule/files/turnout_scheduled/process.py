"""The job's own process: its output, its time, its end, and the lock that is renewed beside it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time

from .edges import Edges, read_answers
from .errors import EXIT_TIMEOUT
from .output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import Job

LOOK_S = 0.2  # between two looks at a job that prints nothing
GRACE_S = 20.0  # between asking a job to end and ending it


class Beats:
    """Renews the lock in a process beside the job; tells when it is lost."""

    def __init__(self, edges: Edges | None, every_s: float) -> None:
        self.edges, self.every_s = edges, every_s
        self._child: subprocess.Popen[str] | None = None
        self._next = time.monotonic()  # the first at once: taking the lock on every edge may have taken long

    def lost(self) -> str:
        """Start or collect a beat where one is due; return who took the lock, or nothing."""
        if self.edges is None:
            return ""
        if self._child is None:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + self.every_s
                with contextlib.suppress(OSError):  # the next beat may start; the lock lasts for several
                    self._child = subprocess.Popen(
                        self.edges.beat_command(),
                        cwd=self.edges.directory,
                        env=self.edges.environment(),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        text=True,
                    )
            return ""
        if self._child.poll() is None:
            return ""
        said, _ = self._child.communicate()
        self._child = None
        taken = [one for one in read_answers(said) if one.code in (3, 4)]
        return f"{taken[0].host}: {taken[0].words}" if taken else ""

    def stop(self) -> None:
        """End a beat that is under way."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()


def run(
    job: Job, environment: dict[str, str], output: Output, beats: Beats, stopped: Callable[[], str]
) -> tuple[int, str]:
    """Run the job; return its exit code and why it was ended, if it was. `stopped` tells why it should end."""
    deadline = time.monotonic() + job.timeout_s
    try:
        child = subprocess.Popen(
            job.command,
            cwd=job.directory,
            env={**os.environ, **job.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as fault:
        return 127, f"it could not be started: {fault}"
    try:
        while child.poll() is None:
            _drain(child, output, LOOK_S)
            reason = stopped() or beats.lost()
            if reason:
                _end(child, output)
                return 1, reason
            if time.monotonic() > deadline:
                _end(child, output)
                return EXIT_TIMEOUT, f"it had not ended after {job.timeout_s:g} s"
        while _drain(child, output, 0.0):
            pass
    finally:
        beats.stop()
        _signal(child, signal.SIGKILL)  # whatever the job left running in its session's group
    code = child.returncode
    return (code, "") if code >= 0 else (128 - code, f"it was ended by {signal.Signals(-code).name}")


def _drain(child: subprocess.Popen[bytes], output: Output, wait_s: float) -> bool:
    """Copy what the job printed; tell whether there was anything."""
    assert child.stdout is not None  # noqa: S101 - it was asked for
    if not select.select([child.stdout], [], [], wait_s)[0]:
        return False
    data = os.read(child.stdout.fileno(), 1 << 16)
    output.write(data)
    if not data and wait_s:
        time.sleep(wait_s)  # it closed its output and still runs
    return bool(data)


def _end(child: subprocess.Popen[bytes], output: Output) -> None:
    """End the job and all that it started: in order, then by force."""
    _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        _drain(child, output, LOOK_S)
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
