"""The simulation's results as a table for people and as values for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from turnout.judge.promotion import FULL_SHARE_BP
from turnout.judge.simulation.scenarios import Outcome, Scenario, play
from turnout.judge.simulation.traffic import Floats

CHUNK = 2000
FULL_P95_S: dict[float, float] = {1000: 25.0, 50: 200.0}
"""By requests a second: within how many seconds 95 % of healthy releases are promised to reach 100 %."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one judge did with one scenario.

    `rolled_back` is a part of the releases; `false` those of a faulty scenario that were rolled back before
    the fault began. Delays count from the fault's first second, of those rolled back after it.
    `failed_median` counts the candidate's failed requests from the fault to the rollback, or to the end.
    """

    judge: str
    rolled_back: float
    false: float
    delay_median_s: float | None
    delay_p95_s: float | None
    failed_median: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario's rows, and for the one with steps: which part reached 100 %, and after how long."""

    scenario: Scenario
    releases: int
    rows: tuple[Row, ...]
    reached: float | None
    reached_median_s: float | None
    reached_p95_s: float | None

    @property
    def ours(self) -> Row:
        """Our own row."""
        return self.rows[0]


def _quantile(values: Floats, q: float) -> float | None:
    """Return a quantile that was observed, None of nothing (and of nothing finite)."""
    if not len(values):
        return None
    value = float(np.quantile(values, q, method="higher"))
    return value if np.isfinite(value) else None


def _row(scenario: Scenario, judge: str, outcome: Outcome) -> Row:
    back = outcome.back_s[judge]
    onset_s = scenario.traffic.onset_s
    early = back <= onset_s if scenario.faulty else np.zeros(len(back), dtype=bool)
    after = back[~early] - onset_s
    return Row(
        judge=judge,
        rolled_back=float(np.isfinite(back).mean()),
        false=float((early if scenario.faulty else np.isfinite(back)).mean()),
        delay_median_s=_quantile(after, 0.5) if scenario.faulty else None,
        delay_p95_s=_quantile(after, 0.95) if scenario.faulty else None,
        failed_median=_quantile(outcome.failed[judge][~early], 0.5) if scenario.faulty else None,
    )


def _result(scenario: Scenario, outcome: Outcome) -> Result:
    rows = tuple(_row(scenario, judge, outcome) for judge in outcome.back_s)
    steps = len(scenario.steps_bp) > 1
    return Result(
        scenario=scenario,
        releases=len(outcome.full_s),
        rows=rows,
        reached=float(np.isfinite(outcome.full_s).mean()) if steps else None,
        reached_median_s=_quantile(outcome.full_s, 0.5) if steps else None,
        reached_p95_s=_quantile(outcome.full_s, 0.95) if steps else None,
    )


def run(
    scenarios: Sequence[Scenario], *, releases: int, seed: int, jobs: int, each: Callable[[Result], None]
) -> list[Result]:
    """Play the scenarios in `jobs` processes; `each` is told every result in order.

    The same seed gives the same figures, whatever `jobs` is: every chunk of releases has its own random
    numbers.
    """
    sizes = [min(CHUNK, releases - start) for start in range(0, releases, CHUNK)]
    results = []
    # Not forked: the process that asks may have threads of its own.
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("forkserver")) as pool:
        parts = [
            [
                pool.submit(play, scenario, size, np.random.SeedSequence((seed, index, chunk)))
                for chunk, size in enumerate(sizes)
            ]
            for index, scenario in enumerate(scenarios)
        ]
        for scenario, futures in zip(scenarios, parts, strict=True):
            result = _result(scenario, Outcome.join([future.result() for future in futures]))
            futures.clear()
            results.append(result)
            each(result)
    return results


LEGEND = """\
argoS/L: Argo Rollouts, success ratio below the objective over S seconds, failureLimit L.
flagger: 60 s, 5 failed checks.
kayenta: Mann-Whitney at 0.98, tolerance 0.25, on each minute's ratio, looked at every ten minutes.
Healthy releases: how many were rolled back.
Faulty ones: median seconds from the first bad second to the rollback, and the median of the candidate's
failed requests meanwhile; with the part that was found where it is not all.
information: failed requests that any test needs on average, p ln(1/alpha)/KL(p, p0); unknown: one that does not know
when the fault began, with ln(1/alpha) + ln(1/density of the released mass at that time) in its place."""


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _cell(result: Result, row: Row) -> str:
    if not result.scenario.faulty:
        return _percent(row.rolled_back)
    found = row.rolled_back - row.false
    if row.delay_median_s is None or row.failed_median is None:
        return _percent(found)
    cell = f"{row.delay_median_s:.0f} s {row.failed_median:.0f}"
    return cell if found + row.false >= 0.995 and row.false < 0.5 else f"{cell} {100 * found:.0f} %"


def _line(label: str, cells: Sequence[str], width: int) -> str:
    return f"  {label:43}" + "".join(f"{cell:>{width}}" for cell in cells)


def lines(result: Result, *, heading: bool) -> Iterator[str]:
    """Yield a result as it is printed, below its group's heading where it is the first of it."""
    scenario = result.scenario
    width = 16 if scenario.faulty else 11
    if result.reached is not None:
        width = 15
        times = ["-" if s is None else f"{s:.0f} s" for s in (result.reached_median_s, result.reached_p95_s)]
        columns = ["reached 100 %", "median", "p95", "rolled back"]
        cells = [_percent(result.reached), *times, _percent(result.ours.rolled_back)]
    else:
        columns = [row.judge for row in result.rows]
        cells = [_cell(result, row) for row in result.rows]
        if (bound := scenario.information_bound()) is not None:
            unknown = scenario.unknown_start_bound()
            columns[:0] = ["information", "unknown"]
            cells[:0] = [f"{bound:.1f}", "-" if unknown is None else f"{unknown:.1f}"]
    if heading:
        yield f"\n{scenario.group}"
        yield _line("", columns, width)
    yield _line(scenario.name, cells, width)


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise, and what was seen of it."""

    what: str
    value: float | None
    limit: float

    @property
    def kept(self) -> bool:
        """Whether it was kept; something that never happened was not."""
        return self.value is not None and self.value <= self.limit


def _failed_bound(result: Result) -> Bound | None:
    """Return what was promised of the failed requests of a faulty release; None where that says nothing.

    The information bound is for errors that are independent of each other, so it says nothing of bursts; and a release
    that cannot fail that many requests before it ends could not break it.
    """
    scenario, traffic = result.scenario, result.scenario.traffic
    limit = scenario.failed_limit()
    if limit is None or traffic.bursts or traffic.on_off or len(scenario.steps_bp) > 1:
        return None
    share = scenario.steps_bp[0] / FULL_SHARE_BP
    if traffic.requests_per_s * share * traffic.candidate * (scenario.seconds - traffic.onset_s) <= limit:
        return None
    return Bound(f"median failed requests: {scenario.name}", result.ours.failed_median, limit)


def _bound(result: Result) -> Bound | None:
    """Return the promise that a scenario is about."""
    scenario, traffic = result.scenario, result.scenario.traffic
    if scenario.group.startswith("Healthy: "):
        rough = traffic.bursts or traffic.on_off or traffic.giant
        limit = 0.015 if rough else 0.01 if traffic.outage else 0.0116
        return Bound(f"false rollbacks: {scenario.name}", result.ours.false, limit)
    if result.reached is not None and scenario.faulty:
        return Bound(f"wrongly promoted: {scenario.name}", result.reached, 0.05)
    if result.reached is not None and traffic.requests_per_s in FULL_P95_S:
        limit_s = FULL_P95_S[traffic.requests_per_s]
        return Bound(f"p95 seconds to 100 %: {scenario.name}", result.reached_p95_s, limit_s)
    return _failed_bound(result)


def bounds(results: Sequence[Result]) -> list[Bound]:
    """Return the promises that the results speak of.

    A false-rollback rate of 1 % shows as up to 1.16 % in 10,000 releases once in twenty.
    """
    return [bound for result in results if (bound := _bound(result)) is not None]


def summary(results: Sequence[Result], *, releases: int, seed: int) -> dict[str, object]:
    """Return all figures as one JSON object."""
    return {
        "releases": releases,
        "seed": seed,
        "scenarios": [
            {
                "name": result.scenario.name,
                "group": result.scenario.group,
                "requests_per_s": result.scenario.traffic.requests_per_s,
                "steps_bp": list(result.scenario.steps_bp),
                "objective": result.scenario.objective,
                "faulty": result.scenario.faulty,
                "information_bound_failed": result.scenario.information_bound(),
                "unknown_start_bound_failed": result.scenario.unknown_start_bound(),
                "reached": result.reached,
                "reached_median_s": result.reached_median_s,
                "reached_p95_s": result.reached_p95_s,
                "judges": {
                    row.judge: {
                        "rolled_back": row.rolled_back,
                        "false": row.false,
                        "delay_median_s": row.delay_median_s,
                        "delay_p95_s": row.delay_p95_s,
                        "failed_median": row.failed_median,
                    }
                    for row in result.rows
                },
            }
            for result in results
        ],
        "bounds": [{"what": b.what, "value": b.value, "limit": b.limit, "kept": b.kept} for b in bounds(results)],
    }
