"""Scrapes into counters: restarts of one of several targets, series born late, and what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.judge.counters import Counter
from turnout.judge.series import ColorCounter, Tick, differing, kinds
from turnout.slo.model import Kind, Place, Slo, Source

PLACE = Place("slos/api.yml", 30, "spec.indicator.spec.ratioMetric.total.metricSource.spec.query")


def slo(*, good=False, zero=False):
    part = Source(PLACE, 'requests_total{code=~"5.."}', sum_over=("code",), absent_is_zero=zero)
    return Slo(
        place=PLACE,
        name="api",
        title="API",
        description="",
        service="sample",
        kind=Kind.AVAILABILITY,
        objective=0.99,
        window="30d",
        total=Source(PLACE, "requests_total", sum_over=("code",)),
        good=part if good else None,
        bad=None if good else part,
    )


def labels(target, **extra):
    return frozenset({"job": "api", "instance": target, "color": "green", **extra}.items())


def tick(t, target="a", *, ok=None, bad=None, up=True):
    """One scrape whose target has counted `ok` and `bad` answers; None is a series that is not there."""
    total, part = {}, {}
    if ok is not None:
        total[labels(target, code="200")] = ok
    if bad is not None:
        total[labels(target, code="500")] = part[labels(target, code="500")] = bad
    return ("api", target), Tick(t, up, total, part)


def fed(*ticks, **options):
    counter = ColorCounter(slo(**options))
    for target, one in ticks:
        counter.feed(target, one)
    return counter


def test_counting_begins_at_the_first_scrape():
    assert fed(tick(1, ok=1000, bad=50)).counter == Counter(0, 0)
    assert fed(tick(1, ok=1000, bad=50), tick(2, ok=1010, bad=51)).counter == Counter(11, 1)


def test_a_good_query_makes_the_rest_bad():
    assert fed(tick(1, ok=0, bad=0), tick(2, ok=7, bad=3), good=True).counter == Counter(10, 7)


def test_one_restarted_process_of_two_counts_what_it_counted_anew():
    counter = fed(
        tick(1, "a", ok=1000, bad=10),
        tick(1.1, "b", ok=2000, bad=20),
        tick(2, "a", ok=1005, bad=10),
        tick(2.1, "b", ok=3, bad=1),
    )
    assert counter.counter == Counter(5 + 4, 1)


def test_a_series_that_appears_with_its_first_failure_is_counted_from_zero():
    assert fed(tick(1, ok=10), tick(2, ok=20), tick(3, ok=25, bad=4), zero=True).counter == Counter(19, 4)


def test_a_target_that_appears_later_begins_where_it_is():
    counter = fed(tick(1, "a", ok=10, bad=0), tick(2, "b", ok=500, bad=100), tick(3, "b", ok=510, bad=100))
    assert counter.counter == Counter(10, 0)


def test_scrapes_are_taken_once():
    again = tick(2, ok=20, bad=1)
    assert fed(tick(1, ok=10, bad=0), again, again, tick(1, ok=10, bad=0)).counter == Counter(11, 1)


def test_what_was_counted_while_nobody_looked_is_in_the_next_scrape():
    counter = fed(tick(1, ok=10, bad=0), tick(2, up=False), tick(9, ok=80, bad=2))
    assert counter.counter == Counter(72, 2)


@pytest.mark.parametrize(
    ("ticks", "says"),
    [
        ([], "has no series"),
        ([tick(1, ok=1, bad=0)], "was last scraped 9.0 s ago"),
        ([tick(9, ok=1, bad=0), tick(10, up=False)], "up is 0"),
        ([tick(9, ok=1, bad=0), tick(10)], "had no series of 'requests_total'"),
        ([tick(10, ok=1)], "had no series of 'requests_total{code"),
        ([tick(10, "a", ok=1, bad=0), tick(1, "b", ok=1, bad=0)], "api b was last scraped"),
        ([tick(10, "a", ok=1, bad=0), tick(10, "b", up=False)], "api b did not answer"),
    ],
)
def test_a_color_is_readable_only_when_every_target_is(ticks, says):
    assert says in fed(*ticks).trouble(10.0, 2.0)


def test_a_fresh_color_is_readable():
    assert fed(tick(9, "a", ok=1, bad=0), tick(9.5, "b", ok=1, bad=0)).trouble(10.0, 2.0) is None
    assert fed(tick(9, ok=1), zero=True).trouble(10.0, 2.0) is None


def test_series_of_other_kinds_are_told_apart_by_their_labels():
    source = slo().total
    same = [labels("a", code="200"), labels("b", code="500"), labels("b", code="500", host="h")]
    assert len(kinds(source, same)) == 1
    found = kinds(source, [*same, labels("a", code="200", path="/x"), labels("a", code="200", path="/y")])
    assert differing(found) == ["path"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=40))
def test_restarts_of_any_target_lose_and_invent_nothing(steps):
    counter = ColorCounter(slo())
    counts = {"a": (100, 100), "b": (100, 100)}
    for name in "ab":
        counter.feed(*tick(0, name, ok=100, bad=100))
    wanted = Counter(0, 0)
    for t, (target, ok, bad, restart) in enumerate(steps, start=1):
        # A restart shows where both counts are below what they were; nobody can see another.
        restarted = restart and counts[target][0] > ok and counts[target][1] > bad
        begun = (0, 0) if restarted else counts[target]
        counts[target] = (begun[0] + ok, begun[1] + bad)
        counter.feed(*tick(t, target, ok=counts[target][0], bad=counts[target][1]))
        wanted = Counter(wanted.total + ok + bad, wanted.bad + bad)
    assert counter.counter == wanted
