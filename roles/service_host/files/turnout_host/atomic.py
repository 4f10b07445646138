"""Small files that are never seen half written, that a power cut does not take back, and that say their format.

Its name sorts first: where this package is laid over an older one, it is there before what imports it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time

FORMAT = 1  # of every record that this program keeps; one without a number is of format 1


def format_of(record: object) -> int | None:
    """Return the number of a record's format; None for what is none."""
    number = record.get("format", 1) if isinstance(record, dict) else 1
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def clear_way(path: str) -> None:
    """Move aside what stands where a file is to be written and is none: it can be neither replaced nor appended to."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            os.rename(path, f"{path}.not-a-file-{time.time_ns()}")


def touch(path: str) -> None:
    """Make an empty file, or set the time of one that is there to now. Raises OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii"):
        pass


def replace(path: str, content: bytes, mode: int) -> None:
    """Replace a file as a whole; it is on disk, with its name, before this returns. Raises OSError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.turnout-new")
    clear_way(temporary)
    clear_way(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
