"""Where the scheduler may run, once the hosts have said where it is stopped and where its home was.

Pure: the hosts' answers come in, a decision goes out. The rule: exactly one. It stays at its last home where that
host answers, and goes to the first worker host where that host is none any more. A home that does not answer counts as
running it, until a person says that it is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from turnout.errors import TurnoutError

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Home:
    """`host` is where it may start ("" for nowhere), `moved` whether that is another one than before, `why` for a
    person what was not started and what to type. `record` is the host that counts as its home, "" where none is known.
    """

    host: str
    moved: bool
    why: str = ""
    record: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the decision as a task's result."""
        return asdict(self)


def choose(
    workers: Sequence[str],
    answers: Mapping[str, Facts | None],
    *,
    word: str = "",
    named: str = "",
    takeover_s: int = 0,
) -> Home:
    """Decide. `workers` are the hosts of the group in their order; `answers` what worker hosts and edges said: their
    record as `home`, and None for one that did not answer. A worker host that answered has no scheduler running.

    `word` is a person's reason, with which `named` becomes the home whatever the last one does. After `takeover_s`
    another host takes over from a silent home by itself; 0 for never.
    """
    stopped = [name for name in workers if answers.get(name) is not None]
    records = [answer["home"] for answer in answers.values() if answer and answer.get("home")]
    last = max(records, key=lambda one: (one["fence"], one["run"], one.get("term", 0)), default=None)
    if named:
        return _by_word(stopped, last, word, named)
    silent = [name for name in workers if name not in stopped]
    if last is not None and last["host"] in silent:
        silent = [last["host"]]
    elif last is not None:
        silent = []
    if silent:
        return Home(
            "", moved=False, why=_none_started(silent, stopped, takeover_s), record=last["host"] if last else ""
        )
    if not stopped:
        return Home("", moved=False)
    host = last["host"] if last is not None and last["host"] in stopped else stopped[0]
    return Home(host, moved=last is None or last["host"] != host, record=host)


def _by_word(stopped: Sequence[str], last: Facts | None, word: str, named: str) -> Home:
    if not word.strip():
        raise TurnoutError(
            "scheduler-home-unsaid",
            observed=f"scheduler_home is {named}, and nobody said why",
            expected="a reason, which goes on record: the last home is switched off for good",
            remedy=f"-e scheduler_home={named} -e 'break_glass=\"HOST is switched off for good\"'",
        )
    if named not in stopped:
        raise TurnoutError(
            "scheduler-home-unknown",
            observed=f"scheduler_home is {named}, which is no host of the group worker that answered",
            expected=f"one of: {', '.join(stopped) or 'none answered'}",
            remedy="name one of these",
        )
    return Home(named, moved=last is None or last["host"] != named, record=named)


def _none_started(silent: Sequence[str], stopped: Sequence[str], takeover_s: int) -> str:
    names = ", ".join(silent)
    text = f"no scheduler was started: {names} did not answer and counts as running it; run this again once it does"
    if takeover_s and stopped:
        text += f", or another host takes over by itself within {takeover_s} s of its last word (service.takeover_s)"
    if stopped:
        text += (
            f"; if it is switched off for good: ansible-playbook turnout.ops.rollback -e scheduler_home={stopped[0]} "
            f"-e 'break_glass=\"{names} is switched off for good\"'"
        )
    return text
