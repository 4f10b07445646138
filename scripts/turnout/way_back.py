"""What a rollback may do to the processes, once the edges have said where their traffic goes.

Pure: the answers of `turnout-edge rollback` come in, edge by edge, a plan goes out. Nothing is asked here.

The rule: nothing is stopped that an edge may still use. An edge that did not answer, or that refused to move, may serve
either color, whatever the others say; then the color that the others have left stays up as a whole, its workers too,
since its API may still make jobs that only they know. The next rollback, which every edge answers, ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from turnout.errors import TurnoutError

Facts = Mapping[str, Any]

COLORS = ("blue", "green")


@dataclass(frozen=True)
class WayBack:
    """The plan for the application hosts.

    `to` is the color that serves ("" where none ever did), `leave` the one that the edges have left ("" for none),
    `may_stop` the processes of `leave` that may be told to stop, `candidate` the color whose release is undone and
    `candidate_id` that release with its `candidate_configuration`, `displaced` whether something stood there before
    that comes back, `silent` the edges that may still serve `leave`, `fence` the greatest number that an edge gave,
    `records` and `configurations` what the edges believe to stand in `to`, `kept` what is not done, for a person.
    """

    to: str
    leave: str
    may_stop: tuple[str, ...]
    candidate: str
    candidate_id: str
    candidate_configuration: str
    displaced: bool
    warm: bool
    silent: tuple[str, ...]
    fence: int
    records: Mapping[str, str]
    configurations: tuple[str, ...]
    kept: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as a task's result."""
        lists = {name: list(getattr(self, name)) for name in ("may_stop", "silent", "configurations")}
        return {**asdict(self), **lists}


def plan(edges: Mapping[str, Facts | None]) -> WayBack:
    """Return what follows from the edges' answers; None stands for an edge that did not answer, or refused.

    Raises `TurnoutError` where no edge answered, where those that did serve different colors, and where another run
    holds a lock.
    """
    _check_lock(edges)
    # One that moved in one place only (disk or HAProxy) tells `after`, but not that it is so.
    said = {name: answer for name, answer in edges.items() if answer and answer.get("ok") and answer.get("after")}
    silent = tuple(sorted(set(edges) - set(said)))
    if not said:
        raise TurnoutError(
            "rollback-unanswered",
            observed=f"no edge answered ({', '.join(silent)})",
            expected="one edge at least that says where its traffic goes",
            remedy="bring an edge back, then: ansible-playbook turnout.ops.rollback; logged in on an edge: "
            "turnout-edge rollback",
        )
    stable = {str(answer["after"].get("stable") or "") for answer in said.values()}
    if len(stable) > 1:
        seen = ", ".join(f"{name}: {answer['after'].get('stable') or 'none'}" for name, answer in said.items())
        raise TurnoutError(
            "rollback-disagree",
            observed=f"the edges that answered serve different colors ({seen}); no process was touched",
            expected="one color on every edge",
            remedy="read what each edge said above, then ansible-playbook turnout.ops.rollback again, with "
            "-e 'break_glass=\"your reason\"' where an edge refused",
        )
    to = stable.pop()
    undone = [answer for answer in said.values() if answer["before"].get("candidate")]
    candidate = str(undone[0]["before"]["candidate"]) if undone else ""
    undone_releases = [answer.get("candidate_release") or {} for answer in undone]
    ids = [str(record.get("release_id") or "") for record in undone_releases]
    configurations = [str(record.get("configuration") or "") for record in undone_releases]
    leave = other(to) if to else candidate
    warm = any(answer["after"].get("previous") == leave for answer in said.values())
    may_stop = () if silent or not leave else ("worker",) if warm else ("worker", "api")
    return WayBack(
        to=to,
        leave=leave,
        may_stop=may_stop,
        candidate=candidate,
        candidate_id=next(filter(None, ids), ""),
        candidate_configuration=next(filter(None, configurations), ""),
        displaced=any(answer.get("displaced") for answer in undone),
        warm=warm,
        silent=silent,
        fence=max(int(answer.get("fence") or 0) for answer in said.values()),
        records=_records(said, to, "release_id"),
        configurations=tuple(sorted(set(_records(said, to, "configuration").values()))),
        kept=_kept(leave, silent),
    )


def _check_lock(edges: Mapping[str, Facts | None]) -> None:
    """Raise TurnoutError where another run holds a lock: only a put-back is refused for that, and it knows less."""
    held = {
        name: str((answer.get("error") or {}).get("observed") or "")
        for name, answer in edges.items()
        if answer and (answer.get("error") or {}).get("code") == "lock"
    }
    if held:
        raise TurnoutError(
            "rollback-overtaken",
            observed=f"another run has taken over ({'; '.join(f'{name}: {words}' for name, words in held.items())}); "
            "no process was touched",
            expected="the lock of the run that is put back, or a free one",
            remedy="let the other run end, then look: ansible-playbook turnout.ops.status",
        )


def _records(said: Mapping[str, Facts], to: str, what: str) -> dict[str, str]:
    """Return what each edge believes to stand in the color that serves: {edge: release id or configuration}."""
    found = {}
    for name, answer in said.items():
        record = ((answer.get("releases") or {}).get(to)) or {}
        if record.get(what):
            found[name] = str(record[what])
    return found


def _kept(leave: str, silent: tuple[str, ...]) -> str:
    if not silent or not leave:
        return ""
    names = ", ".join(silent)
    return (
        f"{leave} stays up, API and workers, and what stands there is not touched: {names} did not say that it serves "
        f"another color, and may still send users there. Once {names} answers: ansible-playbook "
        "turnout.ops.rollback, which ends it"
    )


def other(color: str) -> str:
    """Return the other of the two colors."""
    return COLORS[1 - COLORS.index(color)]
