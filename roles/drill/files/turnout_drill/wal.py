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
class Span:
    """The part of the WAL that is a timeline's own: from byte `begin` to before byte `end`, None for no end yet."""

    timeline: int
    begin: int
    end: int | None


def newest_timeline(timeline: int, held: Iterable[str]) -> int:
    """Return the timeline that a replay from `timeline` ends on: PostgreSQL takes the next one as long as there is a
    history file of it (recovery_target_timeline = latest)."""
    names = set(held)
    while f"{timeline + 1:08X}.history" in names:
        timeline += 1
    return timeline


def lineage(timeline: int, history: str) -> tuple[Span, ...]:
    """Return the spans of a timeline and of those before it, oldest first, from the text of its history file.

    A line of it names a timeline before, and the position at which the next one left it. What the older one wrote from
    there on, in a cluster that is no more, is not part of this history. Raises ValueError for another text.
    """
    spans, begin = [], 0
    for line in history.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        end = lsn_number(words[1])
        spans.append(Span(int(words[0]), begin, end))
        begin = end
    return (*spans, Span(timeline, begin, None))


@dataclass(frozen=True)
class Chain:
    """The unbroken segments from a backup's first one on. `missing` is the first gap before later segments.

    `cut` is where the last segment's WAL must end, in a segment that holds more: see `chain`.
    """

    first: int
    last: int
    segment_bytes: int
    names: frozenset[str]
    missing: str | None
    cut: int | None = None

    @property
    def end(self) -> int:
        """Return the position of the first byte after the chain."""
        return (self.last + 1) * self.segment_bytes if self.cut is None else self.cut

    @property
    def start(self) -> int:
        """Return the position of the chain's first byte."""
        return self.first * self.segment_bytes

    def name_at(self, lsn: int) -> str | None:
        """Return the name of the segment that holds a position, None where the chain has none."""
        number = lsn // self.segment_bytes
        found = (
            name for name in self.names if _SEGMENT.match(name) and segment_number(name, self.segment_bytes) == number
        )
        return next(found, None)

    def ends_in_last(self, lsn: int) -> bool:
        """Tell whether a replay that ended at `lsn` reached the chain's last segment."""
        return self.last * self.segment_bytes < lsn <= self.end


def chain(first_name: str, held: Iterable[str], segment_bytes: int, spans: tuple[Span, ...] | None = None) -> Chain:
    """Return the chain that begins with `first_name` among the files that the repository held.

    `held` are names as they lie in the repository: segments with their checksum, history files, others. `spans` say
    which timeline each stretch belongs to; without them all is on that of `first_name`. Segments of other timelines
    are passed over: a restore or a failover leaves such behind.

    There is one file for each segment: that of the newest timeline with a part in it, which begins with a copy of what
    the older ones wrote there. Where that one is not in the repository yet, an older one is the last, and is cut where
    it was left: what the abandoned cluster wrote from there on is no history of this one, and PostgreSQL would replay
    it, since it takes an older timeline's file where the newest has none.
    """
    timeline, first = int(first_name[:8], 16), segment_number(first_name, segment_bytes)
    spans = spans or (Span(timeline, 0, None),)
    segments: dict[int, set[int]] = {}
    others = set()
    for name in held:
        match = _SEGMENT.match(name)
        if match:
            segments.setdefault(segment_number(name, segment_bytes), set()).add(int(match[1], 16))
        elif _HISTORY.match(name):
            others.add(name)
    names, number, cut = set(others), first, None
    while cut is None:
        owners = _owners(number, segment_bytes, spans)
        owner = next((span for span in owners if span.timeline in segments.get(number, ())), None)
        if owner is None:
            break
        names.add(segment_name(owner.timeline, number, segment_bytes))
        cut = None if owner is owners[0] else owner.end
        number += 1
    last = number - 1
    gap = last if cut is not None else number
    owners = _owners(gap, segment_bytes, spans)
    later = any(
        span.timeline in segments[other]
        for other in segments
        if other > gap
        for span in _owners(other, segment_bytes, spans)
    )
    missing = segment_name(owners[0].timeline, gap, segment_bytes) if later or last < first else None
    return Chain(first, last, segment_bytes, frozenset(names), missing, cut)


def _owners(number: int, segment_bytes: int, spans: tuple[Span, ...]) -> list[Span]:
    """Return the spans with a part in a segment, newest first.

    One that was left at a segment's first byte, as by a restore to the end of the archive, has none in that one.
    """
    begin, end = number * segment_bytes, (number + 1) * segment_bytes
    return [
        span for span in reversed(spans) if span.begin < end and (span.end is None or max(span.begin, begin) < span.end)
    ]
