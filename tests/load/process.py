"""The load generator as a process beside a test: started, waited for, stopped, read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

LOAD = Path(__file__).with_name("load.py")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 75.0


class LoadProcess:
    """A load that runs while a `with` block does.

    with LoadProcess(["10.77.0.11", "10.77.0.12"], folder, rate=300, most_s=600) as load:
        with load.marked("switch"):
            deploy()
    assert load.summary["failed"] == 0

    It ends with the block, with its own time limit, or with the process that started it.
    """

    def __init__(
        self, edges: Sequence[str], folder: Path, *, rate: float = 300, most_s: float = 600, options: Sequence[str] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._marks, self._ready = (
            folder / "load.json",
            folder / "marks.jsonl",
            folder / "load.ready",
        )
        self._command = [sys.executable, str(LOAD), "--rate", str(rate), "--seconds", str(most_s)]
        self._command += [word for edge in edges for word in ("--edge", edge)]
        self._command += ["--out", str(self._out), "--marks", str(self._marks), "--with-parent"]
        self._command += ["--ready-file", str(self._ready), "--records", str(folder / "records.jsonl.gz")]
        self._command += options
        self._process: subprocess.Popen[str] | None = None
        self.summary: dict[str, Any] = {}

    def __enter__(self) -> LoadProcess:
        """Start, and return when the load has begun; RuntimeError with its message when it does not."""
        for path in (self._out, self._ready):
            path.unlink(missing_ok=True)
        self._marks.write_text("", encoding="utf-8")
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._ready.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the load did not begin: {(self._process.stderr or sys.stderr).read()}")
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise RuntimeError(f"the load did not begin within {READY_TIMEOUT_S:g} s")
            time.sleep(0.02)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop, wait for the requests under way, and read the summary."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._out.exists():
            self.summary = json.loads(self._out.read_text(encoding="utf-8"))

    def mark(self, name: str, t0: float, t1: float) -> None:
        """Name a span of time (monotonic clock), to have its own figures in the summary."""
        with self._marks.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "t0": t0, "t1": t1}) + "\n")

    def marked(self, name: str) -> Span:
        """Name the time that a `with` block takes."""
        return Span(self, name)


class Span:
    """The time that a `with` block takes."""

    def __init__(self, load: LoadProcess, name: str) -> None:
        self._load = load
        self._name = name
        self.begun = self.ended = 0.0

    def __enter__(self) -> Span:
        """Note the start."""
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Note the end, and write the mark."""
        self.ended = time.monotonic()
        self._load.mark(self._name, self.begun, self.ended)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun
