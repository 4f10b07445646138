"""What is left of a judged release, read back: its judgements and the events of its run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError
from turnout.judge import records
from turnout.judge.model import Judgement
from turnout.judge.replay import replay
from turnout.judge.report import judgement_from
from turnout.slo.model import Slo, for_judge

RECORDING, JUDGEMENTS, EVENTS, TOLD = "release.jsonl", "judgements.jsonl", "events.jsonl", "judge.json"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a run's events: when, which kind, and what else it says."""

    at: datetime
    kind: str
    more: Mapping[str, Any]

    def word(self, key: str) -> str:
        """Return one thing that it says as text, empty where it does not."""
        value = self.more.get(key)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Story:
    """A release as it was judged.

    `judgements` are in order, `judged_at` when each was written down, empty where no clock was. `started_at` is when t
    was 0, None where no clock was recorded. `problems` says for each thing that could not be read when that was, in
    seconds. `replayed` says that the judgements were worked out now from the recorded counters, and not read back.
    `facts` is what the run told its judge.
    """

    source: str
    judgements: tuple[Judgement, ...]
    started_at: datetime | None = None
    events: tuple[Event, ...] = ()
    problems: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False
    judged_at: tuple[datetime | None, ...] = ()

    def t_s(self, at: datetime) -> float | None:
        """Return a moment in seconds since the release's start, None where no clock was recorded."""
        return None if self.started_at is None else (at - self.started_at).total_seconds()


def _objects(path: Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines with their line numbers.

    A last line without its end is what a killed program leaves, and is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise TurnoutError(
            "report-unreadable",
            observed=f"{path}: {error}",
            expected=what,
            remedy="turnout judge report RUN_FOLDER --slos DIR, with a folder that can be read",
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise TypeError("no object")
        except (ValueError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                return
            raise _malformed(path, number, str(error), what) from error
        yield number, found


def _malformed(path: Path, number: int, seen: str, what: str) -> TurnoutError:
    return TurnoutError(
        "report-malformed",
        observed=f"{path}: line {number}: {seen}",
        expected=what,
        remedy=f"mend or remove line {number} of {path}, e.g. sed -i.bak {number}d {path}",
    )


def _moment(value: object) -> datetime | None:
    """Return an ISO time with its zone, None where it is none."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _read_judgements(
    path: Path,
) -> tuple[list[Judgement], list[datetime | None], datetime | None, dict[str, tuple[float, ...]]]:
    judgements: list[Judgement] = []
    times: list[datetime | None] = []
    started_at: datetime | None = None
    problems: dict[str, list[float]] = {}
    what = "one judgement a line, as `turnout judge replay --json` prints them"
    for number, raw in _objects(path, what):
        try:
            judgement = judgement_from(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _malformed(path, number, f"field {error}", what) from error
        judgements.append(judgement)
        times.append(at := _moment(raw.get("at")))
        if started_at is None and at is not None:
            started_at = datetime.fromtimestamp(at.timestamp() - judgement.t_s, tz=at.tzinfo)
        for problem in raw.get("problems") or ():
            problems.setdefault(str(problem), []).append(judgement.t_s)
    return judgements, times, started_at, {problem: tuple(seen) for problem, seen in problems.items()}


def _read_events(path: Path) -> tuple[Event, ...]:
    if not path.exists():
        return ()
    what = 'one event a line: {"ts": time, "event": kind, ...}'
    events = []
    for number, raw in _objects(path, what):
        at = _moment(raw.get("ts"))
        if at is None:
            raise _malformed(path, number, f"field ts: {raw.get('ts')!r} is no time with a zone", what)
        events.append(Event(at, str(raw.get("event", "")), raw))
    return tuple(events)


def _read_facts(path: Path) -> dict[str, str]:
    """Return what the run told its judge, as far as a reader wants to know it; nothing where it told nothing."""
    with contextlib.suppress(OSError, ValueError):
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {key: str(raw[key]) for key in ("release", "differs", "run", "stable", "candidate") if key in raw}
    return {}


def read(source: Path, slos: Mapping[str, Slo]) -> Story:
    """Return the story that a run's folder or a recorded release tells.

    In a folder the judgements are those of the run itself; where it has none, and for a recording alone, the recorded
    counters are judged again by `slos`. Raises `TurnoutError` that names file, line and remedy.
    """
    folder = source if source.is_dir() else source.parent
    recording = source / RECORDING if source.is_dir() else source
    if not source.is_dir():
        found = records.read(recording)
        return Story(str(source), tuple(replay(found, for_judge(slos))), replayed=True)
    events = _read_events(folder / EVENTS)
    facts = _read_facts(folder / TOLD)
    if (folder / JUDGEMENTS).exists():
        judgements, times, started_at, problems = _read_judgements(folder / JUDGEMENTS)
        return Story(str(source), tuple(judgements), started_at, events, problems, facts, judged_at=tuple(times))
    if recording.exists():
        found = records.read(recording)
        return Story(str(source), tuple(replay(found, for_judge(slos))), None, events, {}, facts, replayed=True)
    if events:
        return Story(str(source), (), None, events, {}, facts)
    raise TurnoutError(
        "report-empty",
        observed=f"{source}: holds neither {JUDGEMENTS} nor {RECORDING} nor {EVENTS}",
        expected="the folder of a run",
        remedy="ls ~/.local/state/turnout/runs names the runs of this controller",
    )
