"""Journal and ledger: files of JSON lines that survive a power cut."""

from __future__ import annotations

import json

from .shapes import FORMAT, format_of, is_count, no_constant
from .store import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


STATE_MARK = b'"state":{'
OWN_FORMAT = b',"format":%d}' % FORMAT  # how a line of this program ends


class Journal:
    """A file of JSON lines that survives a power cut: a torn last line is cut off, on the record."""

    KEEP_BYTES = 5_000_000  # what pruning leaves of it
    PRUNE_ABOVE_BYTES = 10_000_000
    TAIL_BYTES = 262_144
    LARGEST_BYTES = 40_000_000  # what is read of it at most

    def __init__(self, files: Files, path: str, *, numbered: bool = True) -> None:
        self.files = files
        self.path = path
        self.numbered = numbered  # whether lines say their format; one that does not is of format 1

    def append(self, line: Json) -> Json:
        """Append one line with the next number; returns it."""
        tail, size = self.files.tail(self.path, self.TAIL_BYTES)
        torn = tail[tail.rfind(b"\n") + 1 :] if not tail.endswith(b"\n") else b""
        last = last_line(tail)
        seq = number_of(last) if last else 0
        glue = b""
        if torn and parse_line(torn) is not None:
            glue = b"\n"
        elif torn:
            self.files.truncate(self.path, size - len(torn))
            seq += 1
            note = {
                "ts": line.get("ts"),
                "seq": seq,
                "event": "note",
                "action": "torn-line-cut",
                "bytes": len(torn),
                **self._number(),
            }
            glue = encode_line(note)
        rest = {key: value for key, value in line.items() if key not in ("ts", "format")}
        whole = {"ts": line.get("ts"), "seq": seq + 1, **rest, **self._number()}
        self.files.append(self.path, glue + encode_line(whole))
        return whole

    def _number(self) -> Json:
        return {"format": FORMAT} if self.numbered else {}

    def newest_format(self) -> int:
        """Return the newest format among the lines at the end of the file."""
        data, _ = self.files.tail(self.path, self.TAIL_BYTES)
        lines = [parse_line(raw) for raw in data.splitlines() if b'"format":' in raw and OWN_FORMAT not in raw]
        return max([FORMAT, *(format_of(line) or FORMAT for line in lines)])

    def lines(self) -> list[bytes]:
        """Return every whole line, oldest first; of a file that grew beyond all bounds the last ones."""
        data, size = self.files.tail(self.path, self.LARGEST_BYTES)
        lines = data.splitlines()
        return lines[1:] if size > len(data) else lines

    def holds_state(self) -> bool:
        """Tell whether a whole state was ever recorded here."""
        return STATE_MARK in self.files.tail(self.path, self.LARGEST_BYTES)[0]

    def states(self) -> list[Json]:
        """Return the lines that carry a whole state, or one that was meant to be."""
        lines = [raw for raw in self.lines() if STATE_MARK in raw or b'"target":{' in raw]
        return [line for line in map(parse_line, lines) if line is not None]

    def fenced(self) -> list[bytes]:
        """Return the lines that tell of a lock that was taken, with its fencing number."""
        return [raw for raw in self.lines() if b'"fence":' in raw]

    def tail(self, count: int) -> list[Json]:
        """Return the last `count` lines that can be read, oldest first."""
        if count <= 0:
            return []
        data, size = self.files.tail(self.path, self.TAIL_BYTES)
        lines = data.splitlines()
        if size > len(data):
            lines = lines[1:]  # its beginning lies before what was read
        parsed = [line for line in map(parse_line, lines[-count - 1 :]) if line is not None]
        return parsed[-count:]

    def unfinished(self) -> list[Json]:
        """Return the runs with a start and no end, oldest first, each with its last line."""
        lines = self.lines()
        open_runs: dict[str, Json] = {}
        for raw in lines:
            if b'"event":"start"' in raw or b'"event":"end"' in raw:
                line = parse_line(raw) or {}
                if line.get("event") == "start":
                    open_runs.setdefault(str(line.get("run")), line)
                elif line.get("event") == "end":
                    open_runs.pop(str(line.get("run")), None)
        return [self._describe(run, start, lines) for run, start in open_runs.items()]

    @staticmethod
    def _describe(run: str, start: Json, lines: list[bytes]) -> Json:
        needle = b'"run":' + json.dumps(run).encode()
        last = next((line for raw in reversed(lines) if needle in raw and (line := parse_line(raw))), start)
        return {
            "run": run,
            "actor": start.get("actor"),
            "action": start.get("action"),
            "started_at": start.get("ts"),
            "last": {key: last.get(key) for key in ("ts", "event", "action", "phase", "actor")},
        }

    def prune(self) -> int:
        """Drop the oldest lines of a journal that has grown too long; returns how many.

        Kept: the newest, all lines of unfinished runs, and the last one that carries a whole state (see recover).
        """
        _, size = self.files.tail(self.path, 0)
        if size <= self.PRUNE_ABOVE_BYTES:
            return 0
        lines = self.lines()
        needles = [b'"run":' + json.dumps(run["run"]).encode() for run in self.unfinished()]
        state_at = max((i for i, line in enumerate(lines) if STATE_MARK in line), default=-1)
        kept: list[bytes] = []
        budget = self.KEEP_BYTES
        for index in range(len(lines) - 1, -1, -1):
            line = lines[index]
            budget -= len(line) + 1
            if budget > 0 or index == state_at or any(needle in line for needle in needles):
                kept.append(line)
        kept.reverse()
        self.files.replace(self.path, b"\n".join(kept) + b"\n")
        return len(lines) - len(kept)


def encode_line(line: Json) -> bytes:
    """Return one line of a journal. The compact form is relied upon by the scans above.

    What is no character (a word from a terminal that does not speak UTF-8) becomes a question mark.
    """
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"


def parse_line(raw: bytes) -> Json | None:
    """Return a journal's line, or None when it is torn, or nothing that could ever be written down again."""
    try:
        line = json.loads(raw, parse_constant=no_constant)
        if b"\\u" in raw:
            json.dumps(line, ensure_ascii=False).encode()  # half a character can be read, and not be written
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def number_of(line: Json) -> int:
    """Return the number of a journal's line; 0 for one that has none."""
    seq = line.get("seq")
    return int(seq) if isinstance(seq, int) and is_count(seq) else 0


def last_line(tail: bytes) -> Json | None:
    """Return the last whole line in a journal's tail."""
    for raw in reversed(tail.splitlines()):
        line = parse_line(raw)
        if line is not None:
            return line
    return None
