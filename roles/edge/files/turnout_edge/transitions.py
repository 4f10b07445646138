"""What may follow what: every change of the state, as a function from state to state."""

from __future__ import annotations

import json

from .errors import EXIT_USAGE, Trouble, refusal
from .resolve import BACK, COMMITTED, CONFIRMED, READY
from .state import WHOLE_BP, State, identity_of, is_release, named, other, percent

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
            f"{color} ({state.named(color)}) is stable: it serves the users",
            f"the idle color, {other(color)}",
            f"prepare --color {other(color)}",
        )
    if state.candidate == color:
        if state.share_bp and identity_of(release) != state.identity(color):
            raise refusal(
                "candidate-serves",
                f"{color} ({state.named(color)}) has {percent(state.share_bp)} of the traffic",
                f"no other release laid over it ({named(identity_of(release))})",
                "turnout-edge rollback, then settle",
            )
        known = state.handover if (state.handover or {}).get("run") == run else None
        return state.but(declared_by=run, handover=known, releases={**state.releases, color: release})
    if state.candidate is not None:
        raise refusal(
            "candidate-present",
            f"{state.candidate} ({state.named(state.candidate)}) is already the candidate, "
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
        handover=None,
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
    return state if share_bp == state.share_bp else state.but(share_bp=share_bp, handover=None)


def ready(state: State, color: str, stamp: Json) -> State:
    """Record that this edge can confirm the candidate, the first of three words; `stamp` ({run, at}) says who asks."""
    if state.candidate is None and color == state.stable and state.word(stamp["run"]).stage in (CONFIRMED, COMMITTED):
        return state
    require_whole_candidate(state, color)
    if state.word(stamp["run"]).stage == READY:
        return state
    return say(state, READY, stamp, color)


def say(
    state: State, stage: str, stamp: Json, color: str | None, *, sure: bool = False, confirmed: bool = False
) -> State:
    """Record this edge's word about the release of a run."""
    word = {"stage": stage, "sure": sure, "confirmed": confirmed, "color": color, **state.identity(color)}
    return state.but(handover={"run": stamp["run"], "at": stamp["at"], **word})


def require_whole_candidate(state: State, color: str | None) -> None:
    """Refuse where the candidate is another color, or does not have all of the traffic."""
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


def confirm(state: State, color: str | None, stamp: Json) -> State:
    """Make the candidate stable, the second of three words; the old stable becomes previous."""
    if state.candidate is None and color is not None and color == state.stable:
        return state
    require_whole_candidate(state, color)
    if state.word(stamp["run"]).stage != READY:
        run, word = stamp["run"], f"--run {stamp['run']}"
        raise refusal(
            "not-ready",
            f"run {run} has not said that this edge is ready",
            "the first word, said to every edge before the second is said to any",
            f"turnout-edge ready --color {state.candidate} {word} on every edge, then confirm {word} on every edge, "
            f"then commit {word} on every edge",
        )
    after = say(state, CONFIRMED, stamp, state.candidate)
    return after.but(
        stable=state.candidate,
        previous=state.stable,
        candidate=None,
        share_bp=0,
        displaced=None,
        declared_by=None,
        confirmed_by=stamp["run"],
        rolled_back=None,
        undone=None,
    )


def commit(state: State, stamp: Json, sure: bool = True) -> State:
    """End the handover, the last of three words; not `sure` where an edge worked it out from its peers."""
    word = state.word(stamp["run"])
    if word.stage == COMMITTED and (word.sure or not sure):
        return state
    if word.stage not in (CONFIRMED, COMMITTED):
        seen = f"this edge went back from {stamp['run']}" if word.stage == BACK else "it did not"
        raise refusal(
            "not-confirmed",
            f"{seen}; {state.stable} ({state.named(state.stable)}) is stable",
            f"an edge that run {stamp['run']} has confirmed",
            "look what happened: turnout-edge show --human",
        )
    return say(state, COMMITTED, stamp, state.stable, sure=sure)


def forward(state: State, stamp: Json) -> State | None:
    """Serve the release again from which this edge went back in doubt, and to which the run committed the others.

    Returns None where it is not there any more.
    """
    said = state.handover or {}
    color = said.get("color")
    whole = state.stable is not None and state.candidate is None and color == other(state.stable)
    if not whole or not is_release(state.releases[color]) or identity_of(said) != state.identity(color):
        return None
    after = say(state, COMMITTED, stamp, color, sure=True)
    return after.but(
        stable=color, previous=state.stable, confirmed_by=stamp["run"], rolled_back=None, undone=None, displaced=None
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


def forget(state: State, color: str) -> State:
    """Keep no way back to a color whose release can serve no more. What serves stays as it is."""
    if state.candidate is not None or color == state.stable:
        observed = f"{color} serves" if color == state.stable else f"{state.candidate} is being released"
        raise refusal(
            "color-needed",
            f"{observed} ({state.named(color)} is in {color})",
            "at rest, the color that a rollback would go back to",
            "turnout-edge show --human",
        )
    return state if state.previous != color else state.but(previous=None)


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


def put_back(state: State, stamp: Json, keep_confirmed: bool, sure: bool = False) -> tuple[State, str, str]:
    """Undo what the run of `stamp` did here and did not finish, and nothing else; returns as `roll_back` does.

    A run that failed before it declared a candidate has nothing to undo, and must not take users off the release
    that was in service all along. What the run committed stands, and with `keep_confirmed` (every edge was told to
    commit) what it confirmed. The way back is not `sure`, unless for a verdict against the release: an edge that could
    not be asked may have been committed.
    """
    if state.candidate is not None and state.declared_by == stamp["run"]:
        return roll_back(state, stamp, sure=sure)
    word = state.word(stamp["run"])
    stands = keep_confirmed or (word.stage == COMMITTED and word.sure)
    if state.candidate is None and state.confirmed_by == stamp["run"] and state.previous and not stands:
        return roll_back(state, stamp, sure=sure)
    serves = f"{state.stable} ({state.named(state.stable)}) serves" if state.stable else "nothing is in service"
    return state, "nothing", f"{serves}; run {stamp['run']} left nothing to put back"


def roll_back(state: State, stamp: Json, further: bool = False, sure: bool = True) -> tuple[State, str, str]:
    """Go back: return the new state, the action (candidate, previous, nothing) and, for nothing, the reason.

    Convergent: applied to its own result it changes nothing. `stamp` is {run, at}. An edge that went back and is not
    `sure` goes forward again when it hears that the run has committed another edge (see resolve).
    """
    word = state.word()
    if sure and word.stage == BACK and not word.sure:
        state = state.but(handover={**(state.handover or {}), "sure": True})
    if state.stable is None:
        return state, "nothing", "no release was ever confirmed here: there is nothing to go back to"
    if state.candidate is not None:
        if state.share_bp == 0:
            return state, "candidate", ""
        gone = {"color": state.candidate, **state.identity(state.candidate), **stamp}
        after = say(state, BACK, {**stamp, "run": state.declared_by or stamp["run"]}, state.candidate, sure=sure)
        return after.but(share_bp=0, rolled_back=gone, undone=state.undone or stamp), "candidate", ""
    if state.previous is None:
        return (
            state,
            "nothing",
            f"{state.stable} ({state.named(state.stable)}) serves, and nothing is before it",
        )
    if state.undone is not None and not further:
        why = (
            f"{state.stable} ({state.named(state.stable)}) serves again since {state.undone['at']} "
            f"(run {state.undone['run']}); to go one release further back, to {state.previous} "
            f"({state.named(state.previous)}): turnout-edge rollback --further"
        )
        return state, "nothing", why
    gone = {"color": state.stable, **state.identity(state.stable), **stamp}
    by = {**stamp, "run": state.confirmed_by or stamp["run"]}
    after = say(state, BACK, by, state.stable, sure=sure, confirmed=True)
    return after.but(stable=state.previous, previous=None, rolled_back=gone, undone=stamp), "previous", ""
