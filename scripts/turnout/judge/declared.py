"""What a service declares for its judge, checked before anything is touched."""

from __future__ import annotations

from turnout.judge.plan import SharePlan, plan
from turnout.service.model import Service
from turnout.slo import parse
from turnout.slo.model import Slo


def check_declared(service: Service) -> tuple[SharePlan, dict[str, Slo]]:
    """Return the checked plan and SLOs of a service that has a judge; raises `TurnoutError` for what is wrong."""
    judge = service.judge
    if judge is None:
        raise ValueError("the service declares no judge")
    checked = plan(
        shares_bp=[step.share_bp for step in service.steps],
        patience_s=judge.patience_s,
        bake_s=judge.bake_s,
        fastest_window_s=judge.fastest_window_s,
        where="service.judge",
    )
    slos = parse.load(judge.slos)
    parse.check(slos)
    return checked, slos
