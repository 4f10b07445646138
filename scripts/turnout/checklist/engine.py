"""Runs the controller's own checks at the same time, each with its own time limit.

A check that has not come back at its limit is cut there: its row says so, its thread is a daemon and is left behind,
and nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from turnout.checklist.model import Result, Verdict
from turnout.errors import TurnoutError


@dataclass(frozen=True)
class Task:
    """One check of the controller: what it is called, its limit in seconds, and the function that looks."""

    check: str
    limit_s: float
    look: Callable[[], Iterable[Result]]
    subject: str = ""


def run(tasks: Sequence[Task]) -> list[Result]:
    """Run all tasks at once; return all results, in the order of the tasks.

    Takes as long as the slowest that keeps its limit. A task that raises `TurnoutError` is not known for that reason;
    one that raises anything else is not known for a defect, named by its type alone (its text could hold anything).
    """
    found: dict[int, list[Result]] = {}
    lock = threading.Lock()
    started = time.monotonic()

    def one(index: int, task: Task) -> None:
        results = _look(task)
        took = round(time.monotonic() - started, 3)
        with lock:
            found.setdefault(index, [r if r.seconds is not None else replace(r, seconds=took) for r in results])

    threads = [threading.Thread(target=one, args=(i, task), daemon=True) for i, task in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for index in sorted(range(len(tasks)), key=lambda i: tasks[i].limit_s):
        threads[index].join(max(0.0, started + tasks[index].limit_s - time.monotonic()))
        with lock:
            found.setdefault(index, [_cut(tasks[index])])
    return [result for index in range(len(tasks)) for result in found[index]]


def _look(task: Task) -> list[Result]:
    try:
        results = list(task.look())
    except TurnoutError as error:
        return [Result(task.check, Verdict.UNKNOWN, error.observed, error.remedy, task.subject)]
    except Exception as error:  # a defect must not take the other checks with it, nor pass
        text = f"the check itself failed ({type(error).__name__})"
        return [Result(task.check, Verdict.UNKNOWN, text, "report it: this is a defect of Turnout", task.subject)]
    if not results:
        text = "the check came to no result"
        return [Result(task.check, Verdict.UNKNOWN, text, "report it: this is a defect of Turnout", task.subject)]
    return results


def _cut(task: Task) -> Result:
    return Result(
        task.check,
        Verdict.UNKNOWN,
        f"no answer within {task.limit_s:g} s",
        f"find out why it takes so long, or raise checklist.limits.{task.check}",
        task.subject,
        seconds=task.limit_s,
    )
