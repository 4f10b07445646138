"""The releases that are drawn, and how one scenario is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np

from turnout.errors import TurnoutError
from turnout.judge.constants import DEFAULT
from turnout.judge.dispersion import WANTED_S
from turnout.judge.promotion import FULL_SHARE_BP
from turnout.judge.simulation.rivals import BIN_S, RIVALS, Windows
from turnout.judge.simulation.traffic import Bursts, Drawer, Floats, OnOff, Outage, Traffic
from turnout.judge.simulation.vector import VectorJudge, dispersion

OBJECTIVE = 0.995
HOUR_S = 3600
HISTORY_S = round(WANTED_S)
OURS = "turnout"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of release. `steps_bp` is one share to stay at, or the steps to be promoted through.

    `faulty` says that a rollback is right. `allowance` is declared for `warm_up_s` seconds. `group` names the
    heading it is printed under.
    """

    name: str
    group: str
    traffic: Traffic
    steps_bp: tuple[int, ...] = (500,)
    objective: float = OBJECTIVE
    seconds: int = HOUR_S
    faulty: bool = False
    warm_up_s: float = 0.0
    allowance: float = 0.0

    @property
    def p0(self) -> float:
        """1 - objective."""
        return 1.0 - self.objective

    @property
    def compared(self) -> bool:
        """Whether the other judges are run too: where the share stays, and there is a stable to compare
        with."""
        return len(self.steps_bp) == 1 and self.steps_bp[0] < FULL_SHARE_BP

    def _evidence_bound(self, evidence: float) -> float | None:
        """Return the failed requests that it takes on average to gather so much evidence: p evidence/KL(p, p0).

        KL is the divergence between Bernoulli laws; None where the candidate keeps its objective.
        """
        p, p0 = self.traffic.candidate, self.p0
        if not self.faulty or p <= p0:
            return None
        divergence = p * log(p / p0) + ((1.0 - p) * log((1.0 - p) / (1.0 - p0)) if p < 1.0 else 0.0)
        return p * evidence / divergence

    @property
    def evidence(self) -> float:
        """ln(1/alpha), and for a fault that begins late ln(1/density of the released mass at that time) more.

        The density is per scrape, of one second here. Source: Tartakovsky, Nikiforov, Basseville, "Sequential
        Analysis", 2014: the first-order delay of a test that weighs unknown change points by a prior.
        """
        known, late_s, c = DEFAULT.llr_ceiling, self.traffic.onset_s, DEFAULT.release_s
        return known + (log((c + late_s) ** 2 / ((1.0 - DEFAULT.initial_mass) * c)) if late_s else 0.0)

    def information_bound(self) -> float | None:
        """Return the failed requests that any test at this alpha needs on average where it knows when the fault began:
        p ln(1/alpha)/KL(p, p0); None where the candidate keeps its objective."""
        return self._evidence_bound(DEFAULT.llr_ceiling)

    def unknown_start_bound(self) -> float | None:
        """Return the same for a test that does not know when a late fault began; None for one that is there at once."""
        return self._evidence_bound(self.evidence) if self.traffic.onset_s else None

    def failed_limit(self) -> float | None:
        """Return 1.6 times the bound, of an unknown start where it is late, plus what fails in two scrapes."""
        bound = self._evidence_bound(self.evidence)
        if bound is None:
            return None
        per_scrape = self.traffic.requests_per_s * self.steps_bp[0] / 10_000 * self.traffic.candidate
        return 1.6 * bound + 2.0 * per_scrape


@dataclass(slots=True)
class Outcome:
    """What became of each release, by judge: rollback times, failed requests until then, and our time to
    100 %."""

    back_s: dict[str, Floats] = field(default_factory=dict)
    failed: dict[str, Floats] = field(default_factory=dict)
    full_s: Floats = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def join(parts: list[Outcome]) -> Outcome:
        """Return the outcomes of several draws as one."""
        judges = list(parts[0].back_s)
        return Outcome(
            {j: np.concatenate([p.back_s[j] for p in parts]) for j in judges},
            {j: np.concatenate([p.failed[j] for p in parts]) for j in judges},
            np.concatenate([p.full_s for p in parts]),
        )


def play(scenario: Scenario, count: int, seed: np.random.SeedSequence) -> Outcome:
    """Draw `count` releases of a scenario and judge them, by ours second by second and by the rivals
    afterwards."""
    rng = np.random.default_rng(seed)
    traffic, seconds = scenario.traffic, scenario.seconds
    drawer = Drawer(traffic, count, seconds, rng)
    judge = VectorJudge(
        p0=scenario.p0,
        phi=dispersion(drawer.history(HISTORY_S)),
        steps_bp=scenario.steps_bp,
        warm_up_s=scenario.warm_up_s,
        allowance=scenario.allowance,
    )
    back = np.full(count, np.inf)
    full = np.where(judge.share >= 1.0, 0.0, np.inf)
    failed = np.zeros(count)
    bins = seconds // BIN_S
    counts = {key: np.zeros((bins, count)) for key in ("n_b", "e_b", "n_g", "e_g")} if scenario.compared else {}
    for t in range(seconds):
        second = drawer.second(t, judge.share)
        live = np.isinf(back)
        if not counts and not live.any():
            break
        if t >= traffic.onset_s:
            failed += np.where(live, second.e_g, 0.0)
        for key, sums in counts.items():
            sums[t // BIN_S] += getattr(second, key)
        if not live.any():
            continue
        _, rolled, _ = judge.scrape(t + 1.0, second)
        back = np.where(live & rolled, t + 1.0, back)
        full = np.where(np.isinf(full) & (judge.share >= 1.0) & np.isinf(back), t + 1.0, full)
    outcome = Outcome({OURS: back}, {OURS: failed}, full)
    if counts:
        windows = Windows(**counts)
        # What has failed at the end of each ten seconds; the first row is before any.
        from_onset = np.where(np.arange(bins)[:, None] * BIN_S >= traffic.onset_s, counts["e_g"], 0.0)
        so_far = np.concatenate([np.zeros((1, count)), from_onset.cumsum(axis=0)])
        for name, rival in RIVALS.items():
            at = rival(windows, scenario.p0)
            row = np.where(np.isinf(at), bins, at / BIN_S).astype(np.int64)
            outcome.back_s[name] = at
            outcome.failed[name] = so_far[row, np.arange(count)]
    return outcome


def _healthy() -> list[Scenario]:
    group = "Healthy: a rollback is false"
    base = Traffic(200, 0.001, 0.001)
    edge = Traffic(200, 0.005, 0.005)
    on_off = Traffic(200, 0.0005, 0.0005, on_off=OnOff(ratio=0.05, on_s=10, duty=0.05))
    out = Outage(1.0, 120)
    return [
        Scenario("healthy 0.1 %", group, base),
        Scenario("healthy 0.1 %, half the traffic", group, base, (5000,)),
        Scenario("healthy at the objective", group, edge),
        Scenario("healthy at the objective, half the traffic", group, edge, (5000,)),
        Scenario("both out for 2 min", group, Traffic(200, 0.001, 0.001, outage=out)),
        Scenario("both out for 2 min, half the traffic", group, Traffic(200, 0.001, 0.001, outage=out), (5000,)),
        Scenario("both half out for 2 min", group, Traffic(200, 0.001, 0.001, outage=Outage(0.5, 120))),
        Scenario("bursts of 20", group, Traffic(200, 0.001, 0.001, bursts=Bursts(20.0))),
        Scenario("bursts of 100", group, Traffic(200, 0.002, 0.002, bursts=Bursts(100.0))),
        Scenario("bursts of 20, half the traffic", group, Traffic(200, 0.004, 0.004, bursts=Bursts(20.0)), (5000,)),
        Scenario("on/off errors", group, on_off),
        Scenario("on/off errors, half the traffic", group, on_off, (5000,)),
        Scenario("one burst of 500", group, Traffic(200, 0.001, 0.001, giant=500)),
        Scenario("one burst of 5000", group, Traffic(200, 0.001, 0.001, giant=5000)),
        Scenario(
            "cold start, declared",
            group,
            Traffic(200, 0.002, 0.002, cold_s=30, cold_ratio=0.2),
            warm_up_s=60.0,
            allowance=0.25,
        ),
        Scenario("watch, healthy at the objective", group, edge, (FULL_SHARE_BP,)),
    ]


def _losses() -> list[Scenario]:
    group = "Healthy, and where we lose"
    rare = OnOff(ratio=0.1, on_s=10, duty=0.02)
    return [
        Scenario("on/off errors too rare for the history", group, Traffic(200, 0.0005, 0.0005, on_off=rare)),
        Scenario("the same, half the traffic", group, Traffic(200, 0.0005, 0.0005, on_off=rare), (5000,)),
        Scenario("cold start, not declared", group, Traffic(200, 0.002, 0.002, cold_s=30, cold_ratio=0.2)),
        Scenario(
            "watch, both out for 2 min",
            group,
            Traffic(200, 0.001, 0.001, outage=Outage(1.0, 120)),
            (FULL_SHARE_BP,),
        ),
    ]


def _faulty() -> list[Scenario]:
    first = "Faulty from the start, at 5 % of 200 requests/s"
    scenarios = [
        Scenario(f"{100 * p:g} % bad", first, Traffic(200, 0.001, p), faulty=True)
        for p in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
    ]
    late = "Faulty from minute 10 on"
    for p in (1.0, 0.2, 0.05, 0.02):
        traffic = Traffic(200, 0.001, p, onset_s=600)
        scenarios.append(Scenario(f"{100 * p:g} % bad, late", late, traffic, faulty=True))
    hard = "Faulty, and where we lose"
    return [
        *scenarios,
        Scenario("1 % bad, stable 0.4 %", hard, Traffic(200, 0.004, 0.01), faulty=True),
        Scenario("0.6 % bad, stable 0.1 %", hard, Traffic(200, 0.001, 0.006), faulty=True),
        Scenario("5 % bad amid bursts of 20", hard, Traffic(200, 0.001, 0.05, bursts=Bursts(20.0)), faulty=True),
        Scenario("5 % bad at 20 requests/s", hard, Traffic(20, 0.001, 0.05), faulty=True),
        Scenario(
            "watch, 5 % bad from minute 10",
            hard,
            Traffic(200, 0.001, 0.05, onset_s=600),
            (FULL_SHARE_BP,),
            faulty=True,
        ),
    ]


def _steps() -> list[Scenario]:
    group = "Through the steps 5 %, 25 %, 100 %, then watched"
    steps = (500, 2500, FULL_SHARE_BP)
    return [
        *(
            Scenario(f"healthy 0.1 %, {rate} requests/s", group, Traffic(rate, 0.001, 0.001), steps)
            for rate in (1000, 200, 50)
        ),
        Scenario("twice the budget, 1000 requests/s", group, Traffic(1000, 0.001, 0.01), steps, faulty=True),
        Scenario("twice the budget, 50 requests/s", group, Traffic(50, 0.001, 0.01), steps, faulty=True),
    ]


def shipped() -> list[Scenario]:
    """Return the scenarios of the tables in docs/figures.md."""
    return [*_healthy(), *_losses(), *_faulty(), *_steps()]


def _ratio_for(option: str, text: str) -> tuple[float, int]:
    """Return RATIO:SECONDS as its two numbers."""
    ratio, _, seconds = text.partition(":")
    try:
        found = float(ratio), int(seconds)
    except ValueError:
        found = (-1.0, 0)
    if not 0.0 < found[0] <= 1.0 or found[1] <= 0:
        raise TurnoutError(
            "simulate-option",
            observed=f"{option} {text}",
            expected="a ratio above 0 and up to 1, a colon and whole seconds",
            remedy=f"turnout judge simulate {option} 0.2:30",
        )
    return found


def _between(option: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise TurnoutError(
            "simulate-option",
            observed=f"{option} {value:g}",
            expected=f"a number from {low:g} to {high:g}",
            remedy=f"turnout judge simulate {option} VALUE, see turnout judge simulate --help",
        )
    return value


def custom(options: Mapping[str, Any]) -> Scenario:
    """Return the scenario that `turnout judge simulate`'s options describe."""
    baseline = _between("--baseline", options["baseline"], 0.0, 1.0)
    candidate = baseline if options["candidate"] is None else options["candidate"]
    _between("--candidate", candidate, 0.0, 1.0)
    objective = _between("--objective", options["objective"], 1e-6, 1.0 - 1e-9)
    try:
        steps = tuple(int(step) for step in str(options["steps"]).split(","))
    except ValueError:
        steps = ()
    if not steps or sorted(set(steps)) != list(steps) or steps[0] < 1 or steps[-1] > FULL_SHARE_BP:
        raise TurnoutError(
            "simulate-option",
            observed=f"--share-bp {options['steps']}",
            expected="a share in basis points, 1 to 10000, or several that grow",
            remedy="turnout judge simulate --share-bp 500,2500,10000",
        )
    cold = _ratio_for("--cold-start", options["cold_start"]) if options["cold_start"] else (0.0, 0)
    warm = _ratio_for("--warm-up", options["warm_up"]) if options["warm_up"] else (0.0, 0)
    traffic = Traffic(
        requests_per_s=_between("--requests-per-s", options["rate"], 0.01, 1e7),
        stable=baseline,
        candidate=candidate,
        onset_s=options["onset_s"],
        bursts=Bursts(_between("--burst-size", options["burst_size"], 1.0, 1e6)) if options["burst_size"] else None,
        outage=Outage(*_ratio_for("--outage", options["outage"])) if options["outage"] else None,
        cold_s=cold[1],
        cold_ratio=cold[0],
    )
    return Scenario(
        name=f"{100 * candidate:g} % bad, stable {100 * baseline:g} %",
        group="As asked",
        traffic=traffic,
        steps_bp=steps,
        objective=objective,
        seconds=int(_between("--seconds", options["seconds"], BIN_S * 60, 86_400)),
        faulty=candidate > 1.0 - objective,
        warm_up_s=float(warm[1]),
        allowance=warm[0],
    )
