"""Which promises a simulated scenario is held to, and when one counts as broken."""

from __future__ import annotations

import pytest
from turnout.judge.simulation.scenarios import Scenario, shipped
from turnout.judge.simulation.table import Result, Row, bounds

BY_NAME = {scenario.name: scenario for scenario in shipped()}


def result(scenario: Scenario, *, false=0.0, failed=1.0, reached=None, p95=None) -> Result:
    row = Row("turnout", rolled_back=1.0, false=false, delay_median_s=1.0, delay_p95_s=2.0, failed_median=failed)
    steps = len(scenario.steps_bp) > 1
    return Result(scenario, 10_000, (row,), reached if steps else None, 1.0 if steps else None, p95)


def only(found: Result):
    (bound,) = bounds([found])
    return bound


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("healthy 0.1 %", 0.0116),
        ("healthy at the objective", 0.0116),
        ("both out for 2 min", 0.01),
        ("bursts of 20", 0.015),
        ("on/off errors, half the traffic", 0.015),
        ("one burst of 5000", 0.015),
    ],
)
def test_healthy_kinds_are_held_to_the_false_rollbacks_that_were_promised(name, limit):
    assert only(result(BY_NAME[name], false=limit)).kept
    assert not only(result(BY_NAME[name], false=limit + 0.0001)).kept


@pytest.mark.parametrize("name", ["100 % bad", "5 % bad", "5 % bad, late", "watch, 5 % bad from minute 10"])
def test_faulty_kinds_are_held_to_the_information_bound_late_ones_too(name):
    limit = BY_NAME[name].failed_limit()
    assert only(result(BY_NAME[name], failed=limit)).kept
    assert not only(result(BY_NAME[name], failed=limit + 1)).kept


@pytest.mark.parametrize("name", ["5 % bad amid bursts of 20", "0.6 % bad, stable 0.1 %"])
def test_the_bound_is_not_claimed_where_it_says_nothing_or_could_not_be_broken(name):
    assert bounds([result(BY_NAME[name], failed=1e6)]) == []


def test_promotions_are_held_to_their_times_and_to_wrong_ones():
    fast, slow = BY_NAME["healthy 0.1 %, 1000 requests/s"], BY_NAME["healthy 0.1 %, 50 requests/s"]
    assert only(result(fast, reached=1.0, p95=25.0)).kept
    assert not only(result(fast, reached=1.0, p95=26.0)).kept
    assert not only(result(slow, reached=1.0, p95=201.0)).kept
    assert not only(result(slow, reached=0.9, p95=None)).kept, "never is not in time"
    bad = BY_NAME["twice the budget, 50 requests/s"]
    assert only(result(bad, reached=0.05)).kept
    assert not only(result(bad, reached=0.051)).kept


def test_every_promise_of_the_table_is_looked_at():
    found = bounds([result(scenario, reached=1.0, p95=1.0) for scenario in shipped()])
    kinds = {bound.what.split(":")[0] for bound in found}
    assert kinds == {"false rollbacks", "median failed requests", "wrongly promoted", "p95 seconds to 100 %"}
    assert len(found) == 16 + 14 + 2 + 2
