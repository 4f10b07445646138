"""What a judged release needs declared: its steps, its patience and its bake time, checked before anything
moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from turnout.errors import TurnoutError
from turnout.judge.promotion import FULL_SHARE_BP

FASTEST_WINDOW_S = 300.0
"""The shortest window of the burn-rate alerts (`slo.rules.BURNS`): a shorter bake ends before one of them
can fire."""


@dataclass(frozen=True, slots=True)
class SharePlan:
    """How a release goes up.

    `shares_bp` are the candidate's shares, growing to 10000. After `patience_s` seconds in which a step
    neither promotes nor can be judged, it ends as undecided. The watch lasts `bake_s` seconds after 100 %.
    """

    shares_bp: tuple[int, ...]
    patience_s: float
    bake_s: float

    def next_share_bp(self, share_bp: int) -> int | None:
        """Return the share after this one, None after the last."""
        return next((share for share in self.shares_bp if share > share_bp), None)


def plan(
    *,
    shares_bp: Sequence[int],
    patience_s: float,
    bake_s: float,
    where: str,
    fastest_window_s: float = FASTEST_WINDOW_S,
) -> SharePlan:
    """Return a checked plan; raises one `TurnoutError` that lists every fault.

    `where` names the file it stands in. `fastest_window_s` is the shortest window of the alerts that watch this
    environment; it differs from the default only where other rules than those of `turnout slo rules` are in force.
    """
    faults: list[tuple[str, str, str]] = []
    if not shares_bp or shares_bp[-1] != FULL_SHARE_BP:
        last = shares_bp[-1] if shares_bp else "nothing"
        faults.append(("steps", f"end at {last}", "let the last step be {share_bp: 10000}"))
    for index, (one, two) in enumerate(pairwise(shares_bp), start=1):
        if two <= one:
            faults.append((f"steps[{index}].share_bp", f"{two} after {one} does not grow", "let the shares grow"))
    if any(not 0 < share <= FULL_SHARE_BP for share in shares_bp):
        faults.append(("steps", "hold a share outside 1 to 10000", "write shares in basis points"))
    if not bake_s >= fastest_window_s:
        faults.append(
            (
                "bake_s",
                f"{bake_s:g} s is shorter than the fastest alert window, {fastest_window_s:g} s",
                f"write bake_s: {fastest_window_s:g} or more",
            )
        )
    if not patience_s > 0.0:
        faults.append(("patience_s", f"{patience_s:g} s is no time", "write patience_s: 600, or what you would wait"))
    if faults:
        raise TurnoutError(
            "plan-invalid",
            observed="\n  ".join(f"{where}: {field}: {seen}" for field, seen, _ in faults),
            expected="steps that grow to 10000, a patience, and a bake time no alert window is longer than",
            remedy="; ".join(dict.fromkeys(remedy for _, _, remedy in faults)),
        )
    return SharePlan(tuple(shares_bp), patience_s, bake_s)
