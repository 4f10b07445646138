"""A job's output: one file a run, private, of limited size; the newest are kept."""

from __future__ import annotations

import os
import time


class Output:
    """The file of one run."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.path = os.path.join(folder, f"{stamp}-{os.getpid()}.log")
        self._left = limit_bytes
        self._stream = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0)

    def write(self, data: bytes) -> None:
        """Append what the job printed; beyond the limit it is dropped, and the file says so."""
        if self._left <= 0:
            return
        kept = data[: self._left]
        self._left -= len(kept)
        self._stream.write(kept)
        if self._left <= 0:
            self._stream.write(b"\n[turnout-scheduled] the rest of the output was dropped\n")

    def note(self, words: str) -> None:
        """Append a line of the program's own."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._stream.write(f"[turnout-scheduled {now}] {words}\n".encode(errors="replace"))

    def tail(self, limit: int = 600) -> str:
        """Return the end of what the job printed."""
        with open(self.path, "rb") as stream:
            stream.seek(max(0, os.path.getsize(self.path) - limit))
            return stream.read().decode(errors="replace").strip()


def rotate(folder: str, keep: int) -> None:
    """Remove the oldest files beyond `keep`."""
    for name in sorted(entry for entry in os.listdir(folder) if entry.endswith(".log"))[:-keep]:
        os.unlink(os.path.join(folder, name))
