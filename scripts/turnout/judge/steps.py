"""From a judgement to what the release does next.

Pure: the shares, the patience and the bake time in, one decision out. A step goes on until there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from turnout.judge.model import Judgement, Verdict
from turnout.judge.plan import SharePlan
from turnout.judge.promotion import FULL_SHARE_BP
from turnout.judge.report import reason


class Action(StrEnum):
    """What the release does next."""

    PROMOTE = "promote"
    """Go to the next share."""
    PASS = "pass"  # noqa: S105 - a verdict, no password
    """The watch is over: confirm."""
    ROLLBACK = "rollback"
    """The candidate is bad: put everything back, and quarantine the release."""
    UNDECIDED = "undecided"
    """Patience has run out: put everything back; the release itself is not to blame."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do at a share, and why, for a person."""

    share_bp: int
    action: Action
    why: str


def percent(share_bp: int) -> str:
    """Return a share for a person: 250 -> "2.5 %"."""
    return f"{share_bp / 100:g} %"


def decide(judgement: Judgement, plan: SharePlan, *, step_s: float, problems: Sequence[str] = ()) -> Decision | None:
    """Return what to do after a judgement, None to go on as it is.

    `step_s` is the time since all edges were at the judgement's share. `problems` are the reader's, for the reason of
    a step that nothing could be seen of. Only a judged scrape passes: bake time that ends blind or on hold waits for
    one that can be judged, as long as the patience lasts.
    """
    share = judgement.share_bp
    watching = share >= FULL_SHARE_BP
    if judgement.verdict is Verdict.ROLLBACK:
        threshold = f"E {judgement.value:.3g} has reached {judgement.threshold:.0f}"
        return Decision(share, Action.ROLLBACK, f"{threshold}: {reason(judgement)}")
    if judgement.verdict is Verdict.PROMOTE and judgement.next_share_bp is not None:
        return Decision(share, Action.PROMOTE, reason(judgement))
    if watching and step_s >= plan.bake_s and judgement.verdict is Verdict.CONTINUE:
        return Decision(share, Action.PASS, f"watched for {step_s:.0f} s: {reason(judgement)}")
    why = "; ".join(problems) or reason(judgement)
    if judgement.blind_for_s > plan.patience_s:
        seen = f"nothing could be judged for {judgement.blind_for_s:.0f} s (patience {plan.patience_s:g} s)"
        return Decision(share, Action.UNDECIDED, f"{seen}: {why}")
    longest_s = plan.patience_s + (plan.bake_s if watching else 0.0)
    if step_s > longest_s:
        seen = f"undecided at {percent(share)} after {step_s:.0f} s (patience {plan.patience_s:g} s)"
        return Decision(share, Action.UNDECIDED, f"{seen}: {why}")
    return None
