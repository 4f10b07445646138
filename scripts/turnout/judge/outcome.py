"""How a judged release ended, in plain words for somebody who was not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turnout.html.plot import NB, percent, seconds
from turnout.judge.constants import DEFAULT
from turnout.judge.model import Evidence, Judgement, Rate, Verdict
from turnout.judge.promotion import FULL_SHARE_BP
from turnout.judge.report import amount, reason
from turnout.judge.story import Event, Story


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind` is good, bad, warn or info; `words` are whole sentences."""

    kind: str
    title: str
    words: tuple[str, ...]


def share(share_bp: int) -> str:
    """Return a share for a person: 250 as 2.5 %."""
    return f"{share_bp / 100:g}{NB}%"


def many(count: float) -> str:
    """Return a count with its thousands apart."""
    return f"{count:,.0f}".replace(",", "\u202f")


def rate_words(rate: Rate) -> str:
    """Return a color's bad events in words."""
    if rate.ratio is None:
        return "no events"
    return f"{many(rate.bad)} of {many(rate.total)} ({percent(rate.ratio)})"


def evidence_words(evidence: Evidence, title: str, *, watching: bool) -> str:
    """Return what one SLO saw, in a sentence or two."""
    bad, allowed = rate_words(evidence.candidate), percent(evidence.p0)
    seen = f"{title}: {bad} of the candidate's events were bad, {allowed} is allowed."
    if watching:
        return f"{seen} It had all the traffic by then, so there was no other version left to compare it with."
    return f"{seen} In the same time the version in service had {rate_words(evidence.stable)} bad."


def titles_of(story: Story, known: Mapping[str, str]) -> dict[str, str]:
    """Return the words for each SLO that was judged by: its display name, or its name."""
    names = [evidence.name for evidence in story.judgements[-1].slos] if story.judgements else []
    return {name: known.get(name, name) for name in names}


def decision(story: Story) -> Event | None:
    """Return the last thing that the run decided about the release."""
    return next((event for event in reversed(story.events) if event.kind == "decision"), None)


def failure(story: Story) -> Event | None:
    """Return the first failure of the run that was not expected."""
    return next(
        (event for event in story.events if event.kind in ("failed", "unreachable") and not event.more.get("ignored")),
        None,
    )


BACK = ("rollback", "undecided")
"""Decisions after which the edges go back; the judge looks on meanwhile, and decides nothing more."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What settled a release: the judgement `at` its end, the share in force then, and who decided, in one place for
    all that is told of it. `count` judgements belong to it; those after it saw the way back.

    `by_judge` says that the judge rolled it back, `told` is the run's last decision.
    """

    at: Judgement
    share_bp: int
    count: int
    by_judge: bool
    told: Event | None

    @property
    def back(self) -> bool:
        """Tell whether the release went back, whoever decided it."""
        return self.by_judge or (self.told is not None and self.told.word("action") in BACK)


def settled(story: Story) -> Settled:
    """Return what settled a release that was judged."""
    told, judgements = decision(story), story.judgements
    gone_back = told is not None and told.word("action") in BACK
    first = next((i for i, judgement in enumerate(judgements) if judgement.verdict is Verdict.ROLLBACK), None)
    # An edge may have gone back by itself before the judge saw as much.
    edge_first = next(
        (
            event.kind == "decision"
            for event in story.events
            if (event.kind == "verdict" and event.word("verdict") == Verdict.ROLLBACK)
            or (event.kind == "decision" and event.word("action") in BACK)
        ),
        False,
    )
    by_judge = first is not None and not edge_first
    index = len(judgements) - 1
    if by_judge and first is not None:
        index = first
    elif gone_back and told is not None:
        index = max((i for i, at in enumerate(story.judged_at) if at is not None and at <= told.at), default=index)
    share_bp = judgements[index].share_bp
    if gone_back and told is not None and isinstance(told.more.get("share_bp"), int):
        share_bp = max(share_bp, int(told.more["share_bp"]))
    return Settled(judgements[index], share_bp, index + 1, by_judge, told)


def _rolled_back(found: Settled, first: Judgement, titles: Mapping[str, str]) -> Outcome:
    at = found.at
    worst = max(at.slos, key=lambda evidence: evidence.value)
    chance = percent(1.0 / at.threshold)
    return Outcome(
        "bad",
        f"Rolled back after {seconds(at.t_s - first.t_s)}, at {share(found.share_bp)} of the traffic",
        (
            evidence_words(worst, titles[worst.name], watching=at.watching),
            f"The evidence against it was {amount(at.value)}, and {at.threshold:.0f} decides. A release that keeps its "
            f"objectives ever gets there with a probability of at most {chance}.",
        ),
    )


def _through(story: Story, passed: Event | None) -> Outcome:
    judgements = story.judgements
    full = next(j for j in judgements if j.share_bp >= FULL_SHARE_BP)
    watched = seconds(judgements[-1].t_s - full.t_s)
    words = [
        f"It reached all of the traffic {seconds(full.t_s - judgements[0].t_s)} after its first scrape and was "
        f"watched for {watched} there.",
    ]
    if passed is None:
        words.append("The record ends in the watch: it does not say that the release was confirmed.")
        return Outcome("info", "Had all the traffic when the record ended", tuple(words))
    words.append("Nothing in the evidence speaks against it.")
    return Outcome("good", "In service", tuple(words))


def _stopped(found: Settled, judgements: Sequence[Judgement]) -> Outcome:
    last, told, where = found.at, found.told, share(found.share_bp)
    if told is not None and told.word("action") == "undecided":
        return Outcome(
            "warn",
            f"Put back undecided, at {where} of the traffic",
            (
                "Neither that it is good nor that it is bad was shown in the time that was given; that is no pass, so "
                "the version before it serves again.",
                told.word("why"),
            ),
        )
    if told is not None and told.word("action") == "rollback":
        return Outcome("bad", f"Put back at {where} of the traffic, not by its SLOs", (told.word("why"),))
    highest = max(judgement.share_bp for judgement in judgements)
    return Outcome(
        "warn",
        f"Ended at {where} of the traffic, without a decision",
        (
            f"The last verdict was {last.verdict.value}: {reason(last)}.",
            f"The highest share that it had was {share(highest)}.",
        ),
    )


def outcome(story: Story, titles: Mapping[str, str]) -> Outcome:
    """Return how the release ended by its judge."""
    judgements = story.judgements
    if not judgements:
        return Outcome("warn", "Never judged", ("The run ended before the first scrape was judged.",))
    found = settled(story)
    if found.by_judge:
        return _rolled_back(found, judgements[0], titles)
    if judgements[-1].share_bp >= FULL_SHARE_BP and not found.back:
        passed = found.told is not None and found.told.word("action") == "pass"
        return _through(story, found.told if passed else None)
    return _stopped(found, judgements)


def run_outcome(story: Story) -> Outcome | None:
    """Return how the run itself ended, None where it left no word of it."""
    end = next((event for event in reversed(story.events) if event.kind == "end"), None)
    first = failure(story)
    if first is not None:
        place = ", ".join(word for word in (first.word("phase"), first.word("task"), first.word("host")) if word)
        words = (f"First cause ({place}):", first.word("message"))
        return Outcome("bad", "The run did not do what it was asked to", words)
    if end is None:
        return (
            Outcome("warn", "The run left no word of its end", ("It may still go on, or was killed.",))
            if (story.events)
            else None
        )
    if end.word("how") == "ok":
        return None
    return Outcome("warn", "The run was interrupted", ("What it had begun was put back by its keeper.",))


def slo_state(evidence: Evidence, judgement: Judgement) -> tuple[str, str]:
    """Return kind and words for what one SLO said at last."""
    if evidence.candidate.total <= 0.0:
        return "info", "saw nothing of it"
    if evidence.value >= judgement.threshold:
        return "bad", "against it"
    if evidence.value >= DEFAULT.hold_value or (evidence.e_rel or 0.0) >= DEFAULT.hold_relative:
        return "warn", "doubtful"
    return "good", "nothing against it"
