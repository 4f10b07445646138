"""The judge's reader: raw samples from Prometheus, and an honest word where there are none.

Range selectors (`counter[30s]`) return samples as they were scraped, with their timestamps; nothing is
extrapolated and nothing is filled in. Every time is on Prometheus' own clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, cast

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from turnout.errors import TurnoutError
from turnout.judge.counters import Counter
from turnout.judge.dispersion import ENOUGH_S, WANTED_S
from turnout.judge.model import Pair, Scrape
from turnout.judge.series import ColorCounter, Labels, Target, Tick, differing, kinds, target_of
from turnout.slo.model import Slo, Source

LOOK_BACK_S = 300.0
"""How far back the first read looks for the scrape interval, and the longest gap that is followed up."""

Series = Mapping[Labels, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a color of an SLO could not be read."""

    code: str
    slo: str
    color: str
    where: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem on one line."""
        return f"{self.where}: {self.slo}, {self.color}: {self.seen}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Both colors' counters of every SLO at one moment, and what could not be read (its pair's color is
    None)."""

    at_s: float
    slos: Mapping[str, Pair]
    problems: tuple[Problem, ...]

    def scrape(self, *, started_s: float, share_bp: int, next_share_bp: int | None) -> Scrape:
        """Return the reading as the judge takes it; `started_s` is the release's start on Prometheus'
        clock."""
        return Scrape(self.at_s - started_s, share_bp, next_share_bp, self.slos)

    def require(self, colors: Sequence[str]) -> None:
        """Raise one `TurnoutError` for everything of these colors that could not be read.

        For before a release: what cannot be seen must not be judged.
        """
        found = [problem for problem in self.problems if problem.color in colors]
        if found:
            listed = "\n  ".join(str(problem) for problem in found)
            raise TurnoutError(
                found[0].code,
                observed=listed,
                expected="fresh samples of exactly the declared series, for both colors",
                remedy="\n            ".join(dict.fromkeys(problem.remedy for problem in found)),
            )


class _UnreachableError(Exception):
    """Prometheus gave no usable answer."""


class CounterReader:
    """Reads the SLOs' counters of two colors, again and again, from one Prometheus.

    Counting begins with the oldest scrape that the first read sees. A color is read when every target that
    it ever had was scraped within two scrape intervals, answered, and had exactly the declared series; else
    it is missing.
    """

    def __init__(
        self,
        url: str,
        slos: Mapping[str, Slo],
        *,
        stable: str,
        candidate: str,
        timeout_s: float = 2.0,
        client: PrometheusConnect | None = None,
    ) -> None:
        """Prepare to read; nothing is sent yet. `timeout_s` is for one request, which is never tried
        twice."""
        self.url = url.rstrip("/")
        self.slos = slos
        self.colors = (stable, candidate)
        self._client = client or PrometheusConnect(url=self.url, retry=Retry(total=0), timeout=cast("Any", timeout_s))
        self._counters = {(name, color): ColorCounter(slo) for name, slo in slos.items() for color in self.colors}
        self._interval_s: float | None = None
        self._last_read_s: float | None = None
        self._last_read_monotonic_s = 0.0

    @property
    def interval_s(self) -> float:
        """The scrape interval as it was seen, 1 s before anything was."""
        return self._interval_s or 1.0

    def read(self) -> Reading:
        """Read everything now. Never raises for what is missing; it is a `Problem` and a None."""
        try:
            now_s = self._now_s()
            since_s = LOOK_BACK_S
            if self._last_read_s is not None:
                # Twice what has passed, so that a scrape which was being written then is not lost.
                since_s = min(LOOK_BACK_S, 2.0 * (now_s - self._last_read_s) + 4.0 * (self._interval_s or 1.0))
            up, found = self._fetch(now_s, since_s)
        except _UnreachableError as error:
            return self._all_missing(str(error))
        self._interval_s = self._interval_s or _interval_s(up)
        self._last_read_s = now_s
        self._last_read_monotonic_s = time.monotonic()
        problems: list[Problem] = []
        read: dict[str, dict[str, Counter | None]] = {}
        for (name, color), counter in self._counters.items():
            problem = self._feed(counter, color, up, found, now_s)
            if problem is not None:
                problems.append(problem)
            read.setdefault(name, {})[color] = counter.counter if problem is None else None
        stable, candidate = self.colors
        pairs = {name: Pair(both[stable], both[candidate]) for name, both in read.items()}
        return Reading(now_s, pairs, tuple(problems))

    def history(self, seconds: float = WANTED_S) -> list[Scrape]:
        """Return stable's readings of the last `seconds`, oldest first, at times below 0: for phi and the
        record.

        Raises `TurnoutError` where Prometheus gives none.
        """
        try:
            now_s = self._now_s()
            up, found = self._fetch(now_s, seconds)
        except _UnreachableError as error:
            problem = self._all_missing(str(error)).problems[0]
            raise TurnoutError(
                problem.code, observed=problem.seen, expected="stable's history", remedy=problem.remedy
            ) from error
        interval_s = self._interval_s = self._interval_s or _interval_s(up)
        stable = self.colors[0]
        counters = {name: ColorCounter(slo) for name, slo in self.slos.items()}
        ticks = {
            name: sorted(
                (
                    (tick.t_s, target, tick)
                    for target, listed in _ticks(slo, stable, up, found).items()
                    for tick in listed
                ),
                key=lambda entry: entry[0],
            )
            for name, slo in self.slos.items()
        }
        first_s = min((listed[0][0] for listed in ticks.values() if listed), default=now_s)
        places = dict.fromkeys(ticks, 0)
        scrapes = []
        for index in range(1, int((now_s - first_s) / interval_s) + 1):
            at_s = first_s + index * interval_s
            pairs = {}
            for name, listed in ticks.items():
                counter = counters[name]
                while places[name] < len(listed) and listed[places[name]][0] <= at_s:
                    _, target, tick = listed[places[name]]
                    counter.feed(target, tick)
                    places[name] += 1
                readable = counter.trouble(at_s, 1.5 * interval_s) is None
                pairs[name] = Pair(counter.counter if readable else None, None)
            scrapes.append(Scrape(at_s - now_s - 1e-9, 0, None, pairs))
        return scrapes

    def _now_s(self) -> float:
        (sample,) = self._query("vector(time())", None)
        return float(sample["value"][1])

    def _query(self, query: str, at_s: float | None) -> list[Any]:
        """Send one query; raises `_UnreachableError` for whatever keeps it from an answer."""
        try:
            params = None if at_s is None else {"time": f"{at_s:.3f}"}
            return list(self._client.custom_query(query, params=params))
        except (requests.RequestException, PrometheusApiClientException, ValueError, KeyError) as error:
            raise _UnreachableError(f"{type(error).__name__}: {str(error)[:200]}") from error

    def _fetch(self, now_s: float, since_s: float) -> tuple[Series, dict[str, Series]]:
        """Return the samples of `up` and of every declared query up to now.

        `up` is fetched first: a scrape's samples are committed with its `up`, so all that belong to the
        scrapes seen in it are there for the queries that follow.
        """
        up = self._range("up", now_s, since_s)
        queries = {str(source.selector) for slo in self.slos.values() for source in slo.sources}
        found = {query: self._range(query, now_s, since_s) for query in sorted(queries)}
        ours = {target_of(labels) for series in found.values() for labels in series}
        ours.update(target for counter in self._counters.values() for target in counter.targets)
        return {labels: samples for labels, samples in up.items() if target_of(labels) in ours}, found

    def _range(self, selector: str, now_s: float, since_s: float) -> Series:
        """Return the samples of a selector, oldest first; half an hour a request, so that none takes long."""
        found: dict[Labels, list[tuple[float, float]]] = {}
        while since_s > 0.0:
            length_s = min(since_s, ENOUGH_S)
            since_s -= length_s
            for row in self._query(f"{selector}[{max(1, round(length_s * 1000))}ms]", now_s - since_s):
                samples = found.setdefault(frozenset(row["metric"].items()), [])
                samples.extend((float(t), float(value)) for t, value in row["values"])
        return found

    def _feed(
        self, counter: ColorCounter, color: str, up: Series, found: Mapping[str, Series], now_s: float
    ) -> Problem | None:
        """Feed one counter what is new, and return why it cannot be read now, if so."""
        slo = counter.slo
        for source in slo.sources:
            several = kinds(source, _of_color(source, color, found[str(source.selector)]))
            if len(several) > 1:
                return self._several(slo, source, color, differing(several))
        for target, ticks in _ticks(slo, color, up, found, known=counter.targets).items():
            for tick in ticks:
                counter.feed(target, tick)
        # Two scrapes old, and what a scrape may take to be written.
        trouble = counter.trouble(now_s, 2.0 * (self._interval_s or 1.0) + 0.5)
        if trouble is None:
            return None
        for source in (slo.total, slo.part):
            if not counter.targets and not _of_color(source, color, found[str(source.selector)]):
                return self._nothing(slo, source, color)
        return Problem(
            "sample-stale",
            slo.name,
            color,
            str(slo.total.place),
            trouble,
            f"see {self.url}/targets for what Prometheus says of that target",
        )

    def _several(self, slo: Slo, source: Source, color: str, labels: list[str]) -> Problem:
        return Problem(
            "query-several",
            slo.name,
            color,
            str(source.place),
            f"{source.query!r} returned series that differ in {', '.join(labels)}",
            f"narrow the query, or declare sumOver: [{', '.join(labels)}] beside it "
            f"({source.place.file}, line {source.place.line})",
        )

    def _nothing(self, slo: Slo, source: Source, color: str) -> Problem:
        selector = source.for_color(color)
        return Problem(
            "query-nothing",
            slo.name,
            color,
            str(source.place),
            f"{selector} returned no series",
            f"curl -sG {self.url}/api/v1/series --data-urlencode 'match[]={selector}' must show some "
            f"({source.place.file}, line {source.place.line})",
        )

    def _all_missing(self, why: str) -> Reading:
        problems = tuple(
            Problem(
                "prometheus-unreachable",
                name,
                color,
                str(slo.place),
                f"Prometheus at {self.url} gave no answer: {why}",
                f"curl -s {self.url}/-/ready must say that it is ready; where it refuses this machine alone, put the "
                "machine's address into firewall_sources.prometheus and run ansible-playbook turnout.ops.site "
                "--tags firewall",
            )
            for name, slo in self.slos.items()
            for color in self.colors
        )
        if self._last_read_s is None:
            at_s = time.time()
        else:
            # Prometheus' clock cannot be asked: let it run on by ours, so that the silence is seen to last.
            at_s = self._last_read_s + time.monotonic() - self._last_read_monotonic_s
        return Reading(at_s, {name: Pair(None, None) for name in self.slos}, problems)


def _of_color(source: Source, color: str, series: Series) -> Series:
    """Return the series of one color."""
    wanted = (source.color_label, source.color_value.replace("{color}", color))
    return {labels: samples for labels, samples in series.items() if wanted in labels}


def _interval_s(up: Series) -> float:
    """Return the scrape interval, from the scrapes themselves; 15 s where there are too few to tell."""
    gaps = [later - earlier for samples in up.values() for (earlier, _), (later, _) in pairwise(samples)]
    return median(gaps) if gaps else 15.0


def _by_target(series: Series) -> dict[Target, dict[float, dict[Labels, float]]]:
    """Return the samples by target, then by time, then by series; values that are no number are left out."""
    found: dict[Target, dict[float, dict[Labels, float]]] = {}
    for labels, samples in series.items():
        at = found.setdefault(target_of(labels), {})
        for t_s, value in samples:
            if value == value:  # noqa: PLR0124 - NaN
                at.setdefault(t_s, {})[labels] = value
    return found


def _ticks(
    slo: Slo, color: str, up: Series, found: Mapping[str, Series], known: Iterable[Target] = ()
) -> dict[Target, list[Tick]]:
    """Return the scrapes of the targets that have, or had, series of a color, oldest first."""
    total = _by_target(_of_color(slo.total, color, found[str(slo.total.selector)]))
    part = _by_target(_of_color(slo.part, color, found[str(slo.part.selector)]))
    targets = {*known, *total}
    ticks: dict[Target, list[Tick]] = {}
    for labels, samples in up.items():
        target = target_of(labels)
        if target in targets:
            ticks[target] = [
                Tick(t_s, value == 1.0, total.get(target, {}).get(t_s, {}), part.get(target, {}).get(t_s, {}))
                for t_s, value in samples
            ]
    return ticks
