"""What a terminal shows of a run: one line a phase, which tells what is done now and how long it may still take.

It reads the run's events, and the events of past runs of the same playbook. All else that the callback plugin prints
(what edges say, failures, tables, the put-back) goes past above that line.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from turnout.command.words import asks_or_tells_all

PAST_RUNS = 20  # of the same playbook, the newest
PER_SECOND = 8  # how often the line is drawn
_NUMBER = re.compile(r"^\d+/\d+")


def wanted(environment: Mapping[str, str], options: Sequence[str], terminal: bool) -> bool:
    """Tell whether a line that changes is of use; otherwise plain lines are, as ansible-playbook prints them."""
    if environment.get("TURNOUT_PROGRESS") == "plain" or environment.get("TERM", "dumb") == "dumb":
        return False
    return terminal and not asks_or_tells_all(options)


def number(phase: str) -> str:
    """Return a phase's place in its playbook, `3/7`; its whole name where it has none."""
    found = _NUMBER.match(phase)
    return found[0] if found else phase


def events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, as far as they can be read."""
    with contextlib.suppress(OSError), path.open("rb") as lines:
        yield from events_of(lines)


def events_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events that lines hold, without those that cannot be read."""
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line.decode("utf-8", "replace"))
            if isinstance(event, dict):
                yield event


def remaining(runs: Path, playbook: str) -> dict[str, float]:
    """Return how many seconds a good run of this playbook takes from the beginning of each phase to its end.

    The median of past runs on this controller; empty where there was none.
    """
    seen: dict[str, list[float]] = {}
    past = 0
    for folder in _newest_first(runs):
        took = _phases(folder / "events.jsonl", playbook)
        for phase, seconds in took.items():
            seen.setdefault(phase, []).append(seconds)
        past += bool(took)
        if past == PAST_RUNS:
            break
    return {phase: statistics.median(times) for phase, times in seen.items()}


def _newest_first(runs: Path) -> list[Path]:
    try:
        return sorted((path for path in runs.iterdir() if path.is_dir()), reverse=True)
    except OSError:
        return []


def _phases(path: Path, playbook: str) -> dict[str, float]:
    """Return the seconds from each phase of a past run to its end; nothing of one that failed or was another's."""
    began: dict[str, datetime] = {}
    for event in events(path):
        if event.get("event") == "start" and event.get("playbook") != playbook:
            return {}
        try:
            moment = datetime.fromisoformat(event["ts"])
            if event["event"] == "phase":
                began.setdefault(number(event["phase"]), moment)
            elif event["event"] == "end" and event["how"] == "ok":
                return {phase: (moment - start).total_seconds() for phase, start in began.items()}
        except (KeyError, TypeError, ValueError):
            continue
    return {}


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"


@dataclass
class State:
    """How far a run is, from its events."""

    left: Mapping[str, float] = field(default_factory=dict)  # seconds from the beginning of each phase, see `remaining`
    phase: str = ""
    task: str = ""
    began_s: float = 0.0
    failed: bool = False

    def take(self, event: Mapping[str, Any], now_s: float) -> str:
        """Follow an event; return the line of a phase that it has ended."""
        kind, ended = event.get("event"), ""
        if kind in ("phase", "end"):
            ended = self.last_line(now_s, over=event.get("how") == "failed")
            self.phase = str(event.get("phase") or "") if kind == "phase" else ""
            self.began_s, self.task, self.failed = now_s, "", False
        elif kind == "doing":
            self.task = str(event.get("task") or "")
        elif kind in ("failed", "unreachable") and not event.get("ignored"):
            self.failed = True
        return ended

    def last_line(self, now_s: float, *, over: bool) -> str:
        """Return what stays on the screen of the phase; `over`: the run ended in it, and not well."""
        if not self.phase:
            return ""
        word = "FAILED" if self.failed else "NOT done" if over else "done"
        return f"{duration(now_s - self.began_s):>7}  {self.phase}  {word}"

    def line(self, now_s: float) -> str:
        """Return the line of the phase as it is now."""
        if not self.phase:
            return ""
        spent_s = now_s - self.began_s
        parts = [self.phase]
        if self.task:
            parts.append(self.task)
        usual_s = self.left.get(number(self.phase))
        if usual_s is not None and usual_s - spent_s >= 1:
            parts.append(f"about {duration(usual_s - spent_s)} left")
        return f"{duration(spent_s):>7}  {' | '.join(parts)}"


class Screen:
    """The terminal: what is printed goes past, the line below it changes in its place.

    A terminal that is closed is written to in vain; that ends no run.
    """

    def __init__(self, folder: Path, playbook: str, stream: IO[str] | None = None) -> None:
        from rich.console import Console  # noqa: PLC0415 - where nobody looks, nothing is drawn
        from rich.live import Live  # noqa: PLC0415
        from rich.spinner import Spinner  # noqa: PLC0415

        self.file = folder / "events.jsonl"
        self.state = State(remaining(folder.parent, playbook))
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("dots")
        self._live = Live(
            self._spinner, console=self._console, auto_refresh=False, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._read = 0
        self._partial = b""
        self._drawn_s = 0.0
        self._shown = False

    def say(self, text: str) -> None:
        """Print a line, colors and all, above the one that changes."""
        from rich.text import Text  # noqa: PLC0415

        with contextlib.suppress(OSError):
            self._console.print(Text.from_ansi(text), soft_wrap=True)

    def output(self, data: bytes) -> None:
        """Print what Ansible has written: whole lines, and the rest with the next ones."""
        self.follow()
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            self.say(line.decode("utf-8", "replace").rstrip("\r"))

    def draw(self) -> None:
        """Read new events, and draw the line."""
        self.follow()
        now_s = time.monotonic()
        if now_s - self._drawn_s < 1 / PER_SECOND:
            return
        self._drawn_s = now_s
        from rich.text import Text  # noqa: PLC0415

        line = self.state.line(now_s)
        with contextlib.suppress(OSError):
            if line:
                self._spinner.update(text=Text(line, no_wrap=True, overflow="ellipsis"))
                if not self._shown:
                    self._shown = True
                    self._live.start()
                self._live.refresh()

    def follow(self) -> None:
        """Read new events: what they tell comes before what Ansible prints after them."""
        for event in self._new_events():
            ended = self.state.take(event, time.monotonic())
            if not self.state.phase:
                self._take_line_away()
            if ended:
                self.say(ended)

    def _take_line_away(self) -> None:
        if self._shown:
            self._shown = False
            with contextlib.suppress(OSError):
                self._live.stop()

    def close(self) -> None:
        """Take the line away, and print what is left."""
        self.follow()
        self._take_line_away()
        if self._partial:
            self.output(b"\n")

    def _new_events(self) -> list[dict[str, Any]]:
        try:
            with self.file.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(events_of(whole.splitlines()))


def environment_for(environment: Mapping[str, str]) -> dict[str, str]:
    """Return Ansible's environment where a screen shows the run: no lines of phases and tasks, and colors as here."""
    told = {**environment, "TURNOUT_PROGRESS": "line", "PYTHONUNBUFFERED": "1"}
    if not any(environment.get(name) for name in ("NO_COLOR", "ANSIBLE_NOCOLOR")):
        told["ANSIBLE_FORCE_COLOR"] = "1"
    return told


def story(name: str) -> str:
    """Return what the events call a playbook: its file's name."""
    return Path(name).stem if name.endswith((".yml", ".yaml")) else name.rpartition(".")[2]
