"""The reader against a real Prometheus on loopback."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_world import INTERVAL_S, PATIENCE_S, ROUTED_SLO, both, grown, routed, series, until
from turnout.errors import TurnoutError
from turnout.judge.core import Judge
from turnout.judge.model import Verdict
from turnout.judge.prometheus import CounterReader


def test_counts_are_exact_over_targets_codes_and_colors(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    fresh.apps["blue1"].add(series(200), 100)
    fresh.apps["blue2"].add(series(200), 50)
    fresh.apps["blue2"].add(series(503), 2)
    fresh.apps["green1"].add(series(200), 9)
    fresh.apps["green1"].add(series(500), 1)
    after = until(
        reader,
        lambda r: both(r) and grown(before, r, "stable")[0] >= 152 and grown(before, r, "candidate")[0] >= 10,
        "the counts",
    )
    assert grown(before, after, "stable") == (152, 2)
    assert grown(before, after, "candidate") == (10, 1)
    assert after.problems == ()
    after.require(("blue", "green"))


def test_a_restart_of_one_of_two_processes_is_no_burst(fresh):
    for name in ("blue1", "blue2"):
        fresh.apps[name].set(**{series(200): 1e6, series(500): 1e4})
    reader = fresh.reader()
    fresh.scraped("blue1", "blue2")
    before = until(reader, both, "both colors")
    fresh.apps["blue2"].replace({series(200): 7.0})
    fresh.apps["blue1"].add(series(200), 5)
    after = until(reader, lambda r: both(r) and grown(before, r, "stable")[0] >= 12, "the counts")
    assert grown(before, after, "stable") == (12, 0)


def test_a_good_query_and_a_color_from_another_label(fresh):
    proxy = 'http_total{proxy="api-%s",code="%s"}'
    edge = fresh.apps["edge"]
    edge.replace({proxy % (color, code): 0.0 for color in ("blue", "green") for code in ("2xx", "5xx")})
    more = "colorLabel: proxy, colorValue: 'api-{color}'"
    reader = fresh.reader(
        role="good",
        part='http_total{job="haproxy",code="2xx"}',
        part_more=more,
        total='http_total{job="haproxy"}',
        total_more=f"{more}, sumOver: [code]",
    )
    before = until(reader, both, "both colors")
    edge.add(proxy % ("blue", "2xx"), 30)
    edge.add(proxy % ("green", "2xx"), 8)
    edge.add(proxy % ("green", "5xx"), 2)
    after = until(reader, lambda r: both(r) and grown(before, r, "candidate")[0] >= 10, "the counts")
    assert grown(before, after, "candidate") == (10, 2)
    assert grown(before, after, "stable") == (30, 0)


def problem_of(reading, color="green"):
    (found,) = [p for p in reading.problems if p.color == color]
    return found


def test_a_target_that_is_gone_is_missing_and_comes_back(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    fresh.apps["green1"].stop()
    gone = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert gone.slos["api"].stable is not None
    assert "up is 0" in problem_of(gone).seen or "last scraped" in problem_of(gone).seen
    with pytest.raises(TurnoutError) as caught:
        gone.require(("blue", "green"))
    assert "slo.yml:" in caught.value.observed
    fresh.apps["green1"].add(series(200), 6)
    fresh.apps["green1"].start()
    after = until(reader, lambda r: both(r) and grown(before, r, "candidate")[0] >= 6, "the candidate to be back")
    assert grown(before, after, "candidate") == (6, 0)


def test_series_that_are_gone_from_a_target_that_answers_are_missing(fresh):
    reader = fresh.reader()
    until(reader, both, "both colors")
    fresh.apps["green1"].replace({"other_total": 1.0})
    gone = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert "had no series" in problem_of(gone).seen


def test_a_query_that_returns_nothing_is_an_error_that_names_its_place(fresh):
    reader = fresh.reader(total='http_reqests_total{job="api"}')
    reading = reader.read()
    assert reading.slos["api"].stable is None
    with pytest.raises(TurnoutError) as caught:
        reading.require(("blue", "green"))
    assert caught.value.code == "query-nothing"
    assert "slo.yml:17: spec.indicator.spec.ratioMetric.total.metricSource.spec.query" in caught.value.observed
    assert 'http_reqests_total{job="api",color="blue"} returned no series' in caught.value.observed
    assert "match[]=" in caught.value.remedy


def test_a_query_that_returns_several_kinds_of_series_is_an_error_that_names_the_labels(fresh):
    for app in ("blue1", "green1"):
        fresh.apps[app].set(**routed("/"))
    reader = fresh.reader(**ROUTED_SLO)
    until(reader, both, "both colors")
    fresh.apps["green1"].set(**routed("/", "/other"))
    several = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert problem_of(several).code == "query-several"
    assert "differ in path" in problem_of(several).seen
    assert "sumOver: [path]" in problem_of(several).remedy
    assert several.slos["api"].stable is not None


def test_a_prometheus_that_does_not_answer_makes_everything_missing_and_time_goes_on(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    os.kill(fresh.process.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{fresh.process.pid}/task")
    while any(" T " not in (task / "stat").read_text() for task in tasks.iterdir()):  # each thread stops by itself
        time.sleep(0.01)
    silent = reader.read()
    later = reader.read()
    assert silent.slos["api"] == later.slos["api"] == type(silent.slos["api"])(None, None)
    assert {p.code for p in silent.problems} == {"prometheus-unreachable"}
    assert before.at_s < silent.at_s < later.at_s
    os.kill(fresh.process.pid, signal.SIGCONT)
    until(reader, both, "both colors again")


def test_no_prometheus_at_all(fresh):
    reader = CounterReader("http://127.0.0.1:9", fresh.slos(), stable="blue", candidate="green")
    with pytest.raises(TurnoutError, match="gave no answer") as caught:
        reader.read().require(("blue", "green"))
    assert caught.value.code == "prometheus-unreachable"
    with pytest.raises(TurnoutError):
        reader.history()


def test_history_is_stables_readings_at_times_below_zero(fresh):
    reader = fresh.reader()
    start = until(reader, both, "both colors")
    for _ in range(6):
        for name in ("blue1", "blue2"):
            fresh.apps[name].add(series(200), 10)
            fresh.apps[name].add(series(500), 1)
        time.sleep(INTERVAL_S)
    until(reader, lambda r: both(r) and grown(start, r, "stable")[0] >= 132, "the counts")
    time.sleep(2 * INTERVAL_S)  # history ends before now: let the counts become history
    history = reader.history(seconds=60.0)
    known = [s.slos["api"].stable for s in history if s.slos["api"].stable is not None]
    assert all(s.t_s < 0 for s in history)
    assert [s.t_s for s in history] == sorted(s.t_s for s in history)
    assert len(known) >= 6
    # The targets began anew for this test, so only growth is compared.
    assert known[-1].bad - min(k.bad for k in known) >= 12
    assert all(a.total <= b.total for a, b in pairwise(known))


def test_from_the_scrape_to_the_verdict(fresh):
    slos = fresh.slos()
    reader = CounterReader(fresh.url, slos, stable="blue", candidate="green")
    first = until(reader, both, "both colors")
    judge = Judge([slo.for_judge() for slo in slos.values()])
    state, verdicts = judge.begin(), []
    end = time.monotonic() + PATIENCE_S
    while Verdict.ROLLBACK not in verdicts:
        assert time.monotonic() < end, verdicts
        fresh.apps["blue1"].add(series(200), 95)
        fresh.apps["green1"].add(series(500), 5)
        time.sleep(INTERVAL_S)
        scrape = reader.read().scrape(started_s=first.at_s, share_bp=500, next_share_bp=2500)
        state, judgement = judge.observe(state, scrape)
        verdicts.append(judgement.verdict)
    assert Verdict.PROMOTE not in verdicts


class Asked:
    """A client that answers with what a server of ten samples an hour has in the range that was asked for."""

    def __init__(self):
        self.ranges = []

    def custom_query(self, query, params=None):
        if query.startswith("vector"):
            return [{"value": [0, "10000"]}]
        length_s = int(query.rsplit("[", 1)[1].removesuffix("ms]")) / 1000
        end_s = float(params["time"])
        self.ranges.append((query.split("[")[0], length_s))
        times = [t for t in range(0, 10_001, 360) if end_s - length_s < t <= end_s]
        labels = {"job": "api", "instance": "blue1", "color": "blue"}
        return [{"metric": labels, "values": [[t, "1" if query.startswith("up") else str(t)] for t in times]}]


def test_two_hours_of_history_are_asked_for_in_requests_of_half_an_hour_and_none_is_lost(fresh):
    asked = Asked()
    reader = CounterReader("http://127.0.0.1:9", fresh.slos(), stable="blue", candidate="green", client=asked)
    totals = [s.slos["api"].stable.total for s in reader.history() if s.slos["api"].stable is not None]
    assert {length_s for _, length_s in asked.ranges} == {1800.0}
    assert len([query for query, _ in asked.ranges if query == "up"]) == 4
    assert totals == [360.0 * n for n in range(1, 20)]
