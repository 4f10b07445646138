"""From what a drill measured to its record: everything that can be computed is computed here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from turnout.drill.arithmetic import measure_rpo, missing_phases, rto_seconds, verdict_of, worse
from turnout.drill.record import (
    Check,
    Drill,
    Failure,
    Mode,
    Outcome,
    Phase,
    Recovered,
    Rpo,
    Sizes,
    Verdict,
)
from turnout.errors import TurnoutError


def finish(
    *,
    id: str,
    mode: Mode,
    started: datetime,
    ended: datetime,
    failure: Failure | None = None,
    recovered: Recovered | None = None,
    phases: tuple[Phase, ...] = (),
    sizes: Sizes | None = None,
    checks: tuple[Check, ...] = (),
    egress_blocked: int | None = None,
    causes: Iterable[str] = (),
    rpo_target_s: float | None = None,
    rto_target_s: float | None = None,
) -> Drill:
    """Return the record of a drill that has ended, in whatever state.

    `phases` come from `turnout.drill.arithmetic.measure_phases`; of a drill that broke off, those that it completed.
    `causes` are reasons that no check carries (what broke it off): with any, the verdict is inconclusive at best.

    `rpo_target_s` and `rto_target_s` are what recovery is held to, in seconds; each becomes a check of its own, which
    fails where more was measured. None is for a service without that target.

    RPO, RTO and verdict are computed. A drill is no pass where a check failed or could not look, where there are no
    checks, where a phase is missing, where nothing says what was recovered, or where its outgoing calls were not
    counted; each adds its cause.
    """
    gaps = []
    if not checks:
        gaps.append("nothing was checked")
    missing = missing_phases(phases)
    if missing:
        gaps.append(f"no time of {', '.join(missing)}: the drill did not reach its end")
    if failure is None:
        gaps.append("no failure instant was declared")
    if recovered is None:
        gaps.append("nothing says up to where data was recovered")
    if egress_blocked is None:
        gaps.append("blocked outgoing calls were not counted")
    rpo: Rpo | None = None
    if mode.measures_rpo and failure is not None and recovered is not None:
        try:
            rpo = measure_rpo(failure, recovered)
        except TurnoutError as error:
            gaps.append(error.observed)
    checks += _target("rpo_target", "was lost", rpo.seconds if rpo else None, rpo_target_s)
    checks += _target(
        "rto_target", "until the service answered", None if missing else rto_seconds(phases), rto_target_s
    )
    why = list(causes)
    verdict = verdict_of(checks)
    if why:
        verdict = worse(verdict, Verdict.INCONCLUSIVE)
    for check in checks:
        if check.outcome is not Outcome.PASS:
            word = "failed" if check.outcome is Outcome.FAIL else "could not look"
            why.append(f"check {check.name} {word}" + (f": {check.detail}" if check.detail else ""))
    if gaps:
        verdict = worse(verdict, Verdict.INCONCLUSIVE)
    return Drill(
        id=id,
        mode=mode,
        started=started,
        ended=ended,
        failure=failure,
        recovered=recovered,
        rpo=rpo,
        phases=phases,
        rto_seconds=None if missing else rto_seconds(phases),
        sizes=sizes or Sizes(),
        checks=checks,
        egress_blocked=egress_blocked,
        verdict=verdict,
        causes=tuple(why + gaps),
    )


def _target(name: str, what: str, seen_s: float | None, target_s: float | None) -> tuple[Check, ...]:
    """Return the check of a measured time against its target, both in seconds; none where either is not known."""
    if seen_s is None or target_s is None:
        return ()
    outcome = Outcome.PASS if seen_s <= target_s else Outcome.FAIL
    return (Check(name, outcome, 0.0, f"{seen_s:.1f} s {what}; the target is {target_s:g} s"),)
