"""Good and total counted at different moments of an event: total at its start, good at its end.

Total minus good then falls when answers end. That is no restart, and what is in flight is not judged yet.
"""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slo_file import declared
from turnout.judge import records
from turnout.judge.core import Judge
from turnout.judge.counters import Counter, Delta, Tally, follow, in_flight_at
from turnout.judge.dispersion import overdispersion
from turnout.judge.model import Pair, Scrape, Verdict
from turnout.judge.replay import replay
from turnout.judge.series import ColorCounter, Tick
from turnout.slo.model import Objective

RECORDED = Path(__file__).parent / "recorded"
LATE = Objective("avail", p0=0.005, counts_good=True)


@pytest.mark.parametrize("name", ["steady-1", "flicker-1"])
def test_a_recorded_release_whose_good_ones_lag_is_judged_by_what_happened(name, tmp_path):
    path = tmp_path / "release.jsonl"
    path.write_bytes(gzip.decompress((RECORDED / f"good-lags-{name}.jsonl.gz").read_bytes()))
    judgements = list(replay(records.read(path), {"avail": LATE}))
    (last,) = judgements[-1].slos
    assert last.stable.total == 57_000
    assert 40 <= last.stable.bad <= 56
    assert last.phi < 2.0
    assert {j.verdict for j in judgements[1:]} <= {Verdict.CONTINUE, Verdict.PROMOTE}


@pytest.mark.parametrize(("part", "counts_good"), [("good", True), ("bad", False)])
def test_an_slo_says_to_the_judge_which_counter_is_the_raw_one(part, counts_good, tmp_path):
    assert declared(tmp_path, "avail", part).for_judge().counts_good is counts_good


# --- the accounting -------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("sssgggbk" + "rTG"), max_size=200), st.sampled_from([0.0, 2.0, 7.0]))
def test_no_event_is_judged_twice_nor_taken_back_whatever_comes_between(happens, allowed):
    """s starts, g ends well, b ends badly, k is a scrape; r restarts the process, T and G one counter alone."""
    total = good = in_flight = ever_began = ever_bad = 0
    tally, before = Tally(), Delta()
    tally = follow(tally, Counter(0, 0), counts_good=True, in_flight=allowed)
    for what in [*happens, "k"]:
        if what == "s":
            total, in_flight, ever_began = total + 1, in_flight + 1, ever_began + 1
        elif what in "gb" and in_flight:
            in_flight -= 1
            good, ever_bad = good + (what == "g"), ever_bad + (what == "b")
        elif what == "r":
            total, good, in_flight = 0, 0, 0
        elif what == "T":
            total = 0
        elif what == "G":
            good = 0
        elif what == "k" and good <= total:
            tally = follow(tally, Counter(total, total - good), counts_good=True, in_flight=allowed)
            now = tally.judged
            assert before.n <= now.n <= tally.total <= ever_began
            assert before.e <= now.e <= now.n
            before = now


@given(st.lists(st.sampled_from("sssgggbk"), max_size=200))
def test_what_is_judged_bad_was_bad_or_had_not_ended_by_then(happens):
    total = good = in_flight = bad = most = 0
    tally = follow(Tally(), Counter(0, 0), counts_good=True)
    for what in [*happens, "k"]:
        if what == "s":
            total, in_flight = total + 1, in_flight + 1
            most = max(most, in_flight)
        elif what in "gb" and in_flight:
            in_flight -= 1
            good, bad = good + (what == "g"), bad + (what == "b")
        elif what == "k":
            tally = follow(tally, Counter(total, total - good), counts_good=True)
            assert bad + in_flight - most <= tally.bad <= bad + most
            assert tally.in_flight <= most, "no more are seen in flight than there were"


def test_a_restart_is_a_fall_of_a_raw_counter_and_what_was_in_flight_is_never_judged():
    tally = follow(Tally(), Counter(0, 0), counts_good=True)
    tally = follow(tally, Counter(100, 10), counts_good=True, in_flight=8)
    assert tally.judged == Delta(92, 2)
    tally = follow(tally, Counter(30, 5), counts_good=True, in_flight=8)
    assert tally.total == 130, "total began anew"
    assert tally.judged == Delta(92 + 25, 2)


def test_good_alone_beginning_anew_counts_nothing_twice():
    tally = follow(Tally(), Counter(0, 0), counts_good=True)
    tally = follow(tally, Counter(1000, 3), counts_good=True, in_flight=1)
    tally = follow(tally, Counter(1200, 1100), counts_good=True, in_flight=1)
    assert (tally.total, tally.bad) == (1200, 2)
    tally = follow(tally, Counter(1400, 1100), counts_good=True, in_flight=1)
    assert (tally.total, tally.bad, tally.judged.n) == (1400, 2, 1400 - 1 - 100)


# --- what can be in flight ------------------------------------------------------------------------------------------


class Service:
    """Events that begin as a Poisson stream and end some time later; `lasts` draws the seconds of one."""

    def __init__(self, rate, lasts, rng, bad=0.001):
        self.rate, self.lasts, self.rng, self.bad = rate, lasts, rng, bad
        self.total = self.good = 0
        self.ends: list[float] = []

    def second(self, t, share=1.0, bad=None):
        """Play one second and return the counters at its end."""
        at = t + self.rng.expovariate(self.rate * share)
        while at < t + 1.0:
            self.total += 1
            if self.rng.random() >= (self.bad if bad is None else bad):
                self.ends.append(at + self.lasts(self.rng))
            at += self.rng.expovariate(self.rate * share)
        left = [end for end in self.ends if end > t + 1.0]
        self.good, self.ends = self.good + len(self.ends) - len(left), left
        return Counter(self.total, self.total - self.good)


def history(service, seconds=1200):
    for t in range(-100, 0):
        service.second(t)
    return [(t - seconds, service.second(t)) for t in range(seconds)]


@pytest.mark.parametrize(
    ("lasts", "low", "high"),
    [
        (lambda rng: 0.025, 3, 20),
        (lambda rng: 2.0, 300, 500),
        (lambda rng: rng.expovariate(0.5), 200, 600),
        (lambda rng: rng.uniform(5.0, 15.0), 1400, 2600),
    ],
    ids=["25 ms", "2 s", "2 s on average", "5 to 15 s"],
)
def test_what_is_in_flight_is_learned_from_history(lasts, low, high):
    found = overdispersion(history(Service(200, lasts, random.Random(3))), counts_good=True)
    assert low <= found.in_flight <= high


@pytest.mark.parametrize("seed", range(4))
def test_single_errors_have_a_phi_of_about_one_also_where_good_ones_lag(seed):
    assert overdispersion(history(Service(200, lambda rng: 0.025, random.Random(seed))), counts_good=True).phi < 2.0


def test_bursts_are_seen_also_where_good_ones_lag():
    rng = random.Random(5)
    readings, more = [], 0
    for t, counter in history(Service(200, lambda rng: 0.025, rng, bad=0.0), 1800):
        more += 50 * (rng.random() < 0.005)
        readings.append((t, Counter(counter.total + more, counter.bad + more)))
    assert 25.0 < overdispersion(readings, counts_good=True).phi < 75.0


def test_nothing_is_in_flight_where_both_are_counted_at_the_same_moment():
    found = overdispersion(history(Service(200, lambda rng: 0.0, random.Random(3), bad=0.05)), counts_good=True)
    assert found.in_flight == 0.0


def seconds_to_rollback(lasts, seed, bad, *, late, share=0.05):
    """Return after how many seconds a candidate is rolled back, None where it is not within five minutes."""
    rng = random.Random(seed)
    stable, candidate = Service(200, lasts if late else lambda rng: 0.0, rng), Service(200, lasts, rng)
    if not late:
        candidate.lasts = stable.lasts
    past = history(stable, 600)
    judge = Judge([LATE], {"avail": overdispersion(past, counts_good=True)})
    state = judge.begin({"avail": Pair(past[-1][1], Counter(0, 0))})
    for t in range(300):
        pair = Pair(stable.second(600 + t, 1.0 - share), candidate.second(600 + t, share, bad))
        state, judgement = judge.observe(state, Scrape(float(t), round(share * 10_000), 2500, {"avail": pair}))
        if judgement.verdict is Verdict.ROLLBACK:
            return t + 1
    return None


LASTS = {
    "25 ms": lambda rng: 0.025,
    "half a second": lambda rng: rng.expovariate(2.0),
    "3 s": lambda rng: 3.0,
}
"""How long events last, as draws."""


@pytest.mark.parametrize("name", LASTS)
def test_a_healthy_release_is_not_rolled_back_for_what_is_in_flight(name):
    assert [seconds_to_rollback(LASTS[name], seed, 0.001, late=True) for seed in range(6)] == [None] * 6


@pytest.mark.parametrize("name", LASTS)
def test_a_fault_of_a_fifth_is_found_as_soon_plus_what_may_be_in_flight(name):
    lasts = LASTS[name]
    mean = sum(lasts(random.Random(n)) for n in range(500)) / 500
    # Failed requests at the candidate's share that can be in flight, in seconds of its 2 failed requests a second.
    # Where events last for several scrapes bursts cannot be told from their ends, and phi is larger.
    may = in_flight_at(0.05, max(15.0, 200 * mean)) / 2.0 * (1.0 if mean < 1.0 else 1.5)
    for seed in range(6):
        at_start = seconds_to_rollback(lasts, seed, 0.2, late=False)
        late = seconds_to_rollback(lasts, seed, 0.2, late=True)
        assert late is not None and late <= max(at_start, 8) + may + 2


# --- from the series ------------------------------------------------------------------------------------------------


def test_answers_that_were_in_flight_when_counting_began_hide_no_bad_event(tmp_path):
    counter = ColorCounter(declared(tmp_path, "avail", "good"))
    labels = frozenset({("color", "green")})
    for t, total, good in ((0, 100, 90), (1, 110, 110), (2, 130, 120), (3, 140, 130)):
        counter.feed(("haproxy", "edge1"), Tick(float(t), True, {labels: float(total)}, {labels: float(good)}))
    assert counter.counter == Counter(40.0, 10.0)
