"""What may follow what: every change of the state, as a function from state to state."""

from __future__ import annotations

import json

from .errors import EXIT_USAGE, Trouble, refusal
from .state import WHOLE_BP, State, is_release, other, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


def prepare(state: State, color: str, release: Json, run: str | None = None) -> State:
    """Declare a color the candidate of `run`, with no share; again for the same candidate: update its record."""
    if not is_release(release):
        raise Trouble(
            "release-record",
            EXIT_USAGE,
            f"--release is {json.dumps(release)}",
            'an object with "release" (text), "complete" (true or false) and perhaps "schema" {"min", "max"}',
            "pass the record of the release that is being laid",
        )
    if color == state.stable:
        raise refusal(
            "color-serves",
            f"{color} ({state.release_name(color)}) is stable: it serves the users",
            f"the idle color, {other(color)}",
            f"prepare --color {other(color)}",
        )
    if state.candidate == color:
        if state.share_bp and release.get("release") != state.release_name(color):
            raise refusal(
                "candidate-serves",
                f"{color} ({state.release_name(color)}) has {percent(state.share_bp)} of the traffic",
                f"no other release laid over it ({release.get('release')})",
                "turnout-edge rollback, then settle",
            )
        return state.but(declared_by=run, releases={**state.releases, color: release})
    if state.candidate is not None:
        raise refusal(
            "candidate-present",
            f"{state.candidate} ({state.release_name(state.candidate)}) is already the candidate, "
            f"with {percent(state.share_bp)} of the traffic",
            "no candidate",
            "resume that release, or put it back: turnout-edge rollback, then settle",
        )
    displaced = {"color": color, "release": state.releases[color]} if state.previous == color else None
    return state.but(
        candidate=color,
        share_bp=0,
        previous=None,
        displaced=displaced,
        declared_by=run,
        releases={**state.releases, color: release},
    )


def move(state: State, share_bp: int, expect_share: int | None = None) -> State:
    """Give the candidate a share of the traffic."""
    if not 0 <= share_bp <= WHOLE_BP:
        raise Trouble("share", EXIT_USAGE, f"--share-bp {share_bp}", f"0 to {WHOLE_BP} basis points", "mend the number")
    if state.candidate is None:
        raise refusal(
            "no-candidate",
            "there is no candidate",
            "a candidate that was prepared",
            "turnout-edge prepare --color C --release JSON",
        )
    if expect_share is not None and expect_share != state.share_bp:
        raise refusal(
            "share-differs",
            f"the candidate's share is {state.share_bp}",
            f"{expect_share} (--expect-share)",
            "look who moved it: turnout-edge show --human",
        )
    if state.stable is None and share_bp not in (0, WHOLE_BP):
        raise refusal(
            "first-release",
            f"share {share_bp}, and nothing is stable: the rest of the users would get no answer",
            f"0 or {WHOLE_BP} for the first release of all",
            f"move --share-bp {WHOLE_BP}",
        )
    return state.but(share_bp=share_bp)


def confirm(state: State, color: str | None = None, run: str | None = None) -> State:
    """Make the candidate stable, on the word of `run`; the old stable becomes previous."""
    if state.candidate is None and color is not None and color == state.stable:
        return state
    if state.candidate is None or (color is not None and color != state.candidate):
        raise refusal(
            "no-candidate",
            f"the candidate is {state.candidate or 'none'}",
            color or "a candidate with all of the traffic",
            "look at turnout-edge show --human",
        )
    if state.share_bp != WHOLE_BP:
        raise refusal(
            "share-not-whole",
            f"candidate {state.candidate} has {percent(state.share_bp)} of the traffic",
            "100 %",
            f"move --share-bp {WHOLE_BP}",
        )
    return state.but(
        stable=state.candidate,
        previous=state.stable,
        candidate=None,
        share_bp=0,
        displaced=None,
        declared_by=None,
        confirmed_by=run,
        rolled_back=None,
        undone=None,
    )


def settle(state: State, previous_restored: bool, stamp: Json) -> State:
    """Drop the candidate after it was put back; `stamp` ({run, at}) says who did it."""
    if state.candidate is None:
        return state
    if state.share_bp and state.stable is not None:
        raise refusal(
            "candidate-serves",
            f"candidate {state.candidate} still has {percent(state.share_bp)} of the traffic",
            "none",
            "turnout-edge rollback",
        )
    if previous_restored and state.displaced is None:
        raise refusal(
            "nothing-displaced",
            "no previous release was displaced by this candidate",
            "one that could have been restored",
            "settle without --previous-restored",
        )
    releases = {**state.releases, state.candidate: None}
    previous = None
    if previous_restored and state.displaced is not None:
        previous = str(state.displaced["color"])
        releases[previous] = state.displaced["release"]
    return state.but(
        candidate=None,
        share_bp=0,
        displaced=None,
        declared_by=None,
        previous=previous,
        releases=releases,
        undone=state.undone or stamp,
    )


def adopt(state: State, color: str, release: Json) -> State:
    """Declare what serves, at rest: for an edge that joins, or one whose state and journal are lost."""
    if not is_release(release):
        prepare(State(state.service), color, release)  # raises the error that says what a record is
    if state.candidate is not None or state.stable not in (None, color):
        raise refusal(
            "already-known",
            f"this edge knows its stable color ({state.stable}) or has a candidate ({state.candidate})",
            "an edge that knows nothing yet",
            "nothing is needed; to change what serves, deploy or roll back",
        )
    return state.but(stable=color, releases={**state.releases, color: release})


def record_schema(state: State, numbers: Json, stamp: Json) -> State:
    """Record how far the database's schema is; what was planned is over."""
    known = state.schema or {}
    if "planned" not in known and {key: known.get(key) for key in numbers} == numbers:
        return state
    return state.but(schema={**numbers, **stamp})


def plan_schema(state: State, numbers: Json, stamp: Json) -> State:
    """Record how far migrations that begin now may take the schema: the upper bound until the truth is recorded.

    Where nothing is known of the schema, what is planned is all that can be said of its version.
    """
    known = state.schema or {"version": numbers["version"], "last_contract": 0, **stamp}
    planned = known.get("planned") or {}
    if {key: planned.get(key) for key in numbers} == numbers:
        return state
    numbers = {key: max(number, planned.get(key, 0)) for key, number in numbers.items()}
    return state.but(schema={**known, "planned": {**numbers, **stamp}})


def put_back(state: State, stamp: Json, keep_confirmed: bool) -> tuple[State, str, str]:
    """Undo what the run of `stamp` did here and did not finish, and nothing else; returns as `roll_back` does.

    A run that failed before it declared a candidate has nothing to undo, and must not take users off the release
    that was in service all along. With `keep_confirmed` every edge had confirmed, so the release stands.
    """
    if state.candidate is not None and state.declared_by == stamp["run"]:
        return roll_back(state, stamp)
    if state.candidate is None and state.confirmed_by == stamp["run"] and state.previous and not keep_confirmed:
        return roll_back(state, stamp)
    serves = f"{state.stable} ({state.release_name(state.stable)}) serves" if state.stable else "nothing is in service"
    return state, "nothing", f"{serves}; run {stamp['run']} left nothing to put back"


def roll_back(state: State, stamp: Json, further: bool = False) -> tuple[State, str, str]:
    """Go back: return the new state, the action (candidate, previous, nothing) and, for nothing, the reason.

    Convergent: applied to its own result it changes nothing. `stamp` is {run, at}.
    """
    if state.stable is None:
        return state, "nothing", "no release was ever confirmed here: there is nothing to go back to"
    if state.candidate is not None:
        if state.share_bp == 0:
            return state, "candidate", ""
        gone = {"color": state.candidate, "release": state.release_name(state.candidate), **stamp}
        return state.but(share_bp=0, rolled_back=gone, undone=state.undone or stamp), "candidate", ""
    if state.previous is None:
        return (
            state,
            "nothing",
            f"{state.stable} ({state.release_name(state.stable)}) serves, and nothing is before it",
        )
    if state.undone is not None and not further:
        why = (
            f"{state.stable} ({state.release_name(state.stable)}) serves again since {state.undone['at']} "
            f"(run {state.undone['run']}); to go one release further back, to {state.previous} "
            f"({state.release_name(state.previous)}): turnout-edge rollback --further"
        )
        return state, "nothing", why
    gone = {"color": state.stable, "release": state.release_name(state.stable), **stamp}
    after = state.but(stable=state.previous, previous=None, rolled_back=gone, undone=stamp)
    return after, "previous", ""
