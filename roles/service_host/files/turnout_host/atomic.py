"""Small files that are never seen half written, and that a power cut does not take back.

Its name sorts first: where this package is laid over an older one, it is there before what imports it.
"""

from __future__ import annotations

import os


def replace(path: str, content: bytes, mode: int) -> None:
    """Replace a file as a whole; it is on disk, with its name, before this returns. Raises OSError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.turnout-new")
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
