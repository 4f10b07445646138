"""LSNs, names of WAL segments, and the chain of them that a repository holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(-[0-9a-f]{40}.*)?\Z")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history\Z")


def lsn_number(text: str) -> int:
    """Return the byte position of an LSN such as `16/B374D848`."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(number: int) -> str:
    """Return a byte position as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_number(name: str, segment_bytes: int) -> int:
    """Return the number of a segment: its first byte's position divided by the size of segments."""
    match = _SEGMENT.match(name)
    if not match:
        raise ValueError(f"{name} is no WAL segment")
    return int(match[2], 16) * (0x1_0000_0000 // segment_bytes) + int(match[3], 16)


def segment_name(timeline: int, number: int, segment_bytes: int) -> str:
    """Return the name of a segment."""
    a_log = 0x1_0000_0000 // segment_bytes
    return f"{timeline:08X}{number // a_log:08X}{number % a_log:08X}"


@dataclass(frozen=True)
class Chain:
    """The unbroken segments from a backup's first one on. `missing` is the first gap before later segments."""

    first: int
    last: int
    segment_bytes: int
    names: frozenset[str]
    missing: str | None

    @property
    def end(self) -> int:
        """Return the position of the first byte after the chain."""
        return (self.last + 1) * self.segment_bytes

    @property
    def start(self) -> int:
        """Return the position of the chain's first byte."""
        return self.first * self.segment_bytes

    def name_at(self, lsn: int) -> str | None:
        """Return the name of the newest timeline's segment that holds a position, None where the chain has none."""
        number = lsn // self.segment_bytes
        found = [
            name for name in self.names if _SEGMENT.match(name) and segment_number(name, self.segment_bytes) == number
        ]
        return max(found, default=None)

    def ends_in_last(self, lsn: int) -> bool:
        """Tell whether a replay that ended at `lsn` reached the chain's last segment."""
        return self.last * self.segment_bytes < lsn <= self.end


def chain(first_name: str, held: Iterable[str], segment_bytes: int) -> Chain:
    """Return the chain that begins with `first_name` among the files that the repository held.

    `held` are names as they lie in the repository: segments with their checksum, history files, others.
    """
    first = segment_number(first_name, segment_bytes)
    segments: dict[int, set[str]] = {}
    others = set()
    for name in held:
        match = _SEGMENT.match(name)
        if match:
            segments.setdefault(segment_number(name, segment_bytes), set()).add(name[:24])
        elif _HISTORY.match(name):
            others.add(name)
    last = first - 1
    while last + 1 in segments:
        last += 1
    later = [number for number in segments if number > last + 1]
    missing = None
    if later or last < first:
        missing = segment_name(int(first_name[:8], 16), last + 1, segment_bytes)
    names = {name for number, some in segments.items() if first <= number <= last for name in some}
    return Chain(first, last, segment_bytes, frozenset(names | others), missing)
