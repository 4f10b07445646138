"""promtool unit tests of the rules: for each SLO, alerts that must fire and alerts that must not.

The tests know nothing of the rules' expressions: they say which counters grow how fast, and what must be
heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, product
from math import ceil, log10

from turnout.errors import TurnoutError
from turnout.slo import patterns, rules
from turnout.slo.model import Slo
from turnout.slo.selector import Matcher, Selector

EVENTS_PER_MINUTE = 60_000
_WORDS = ("200", "ok", "x", "0", "other")


def _values(matchers: Iterable[Matcher], further: Iterable[Matcher]) -> list[str]:
    """Return values of one label that fulfil its matchers, most telling first."""
    found: dict[str, None] = {}
    for matcher in (*matchers, *further):
        words = [matcher.value] if matcher.op in ("=", "!=") else patterns.texts(matcher.value)
        for word in words:
            found.setdefault(word)
    for word in _WORDS:
        found.setdefault(word)
    return [v for v in found if v and all(m.accepts(v) for m in matchers)]


def matches(selector: Selector, metric: str, series: dict[str, str]) -> bool:
    """Whether a selector selects a series."""
    return selector.metric == metric and all(m.accepts(series.get(m.label, "")) for m in selector.matchers)


def example(wanted: Selector, unwanted: Selector | None = None) -> dict[str, str] | None:
    """Return the labels of a series that one selector selects and another does not, None where none was
    found."""
    others = unwanted.matchers if unwanted is not None else ()
    names = list(dict.fromkeys(m.label for m in (*wanted.matchers, *others)))
    choices = []
    for name in names:
        own = [m for m in wanted.matchers if m.label == name]
        values = _values(own, [m for m in others if m.label == name])
        if all(m.accepts("") for m in own):
            values.append("")
        choices.append(values)
    for chosen in islice(product(*choices), 5000):
        series = {name: value for name, value in zip(names, chosen, strict=True) if value}
        if matches(wanted, wanted.metric, series) and not (
            unwanted is not None and matches(unwanted, wanted.metric, series)
        ):
            return series
    return None


@dataclass(frozen=True, slots=True)
class Series:
    """The two counters that a test moves: of the numerator (good or bad) and of the rest.

    `nested` says that the total selects the numerator's series too, as it does where one metric holds both.
    """

    part: str
    rest: str
    nested: bool


def _series_text(selector: Selector, chosen: dict[str, str]) -> str:
    return str(Selector(selector.metric, tuple(Matcher(k, "=", v) for k, v in chosen.items())))


def series(slo: Slo) -> Series:
    """Return series for an SLO's tests; raises `TurnoutError` where its selectors leave none to be found."""
    part, total = slo.part.selector, slo.total.selector
    part_series = example(part)
    nested = part_series is not None and matches(total, part.metric, part_series)
    rest_series = example(total, part) if nested else example(total)
    for source, found in ((slo.part, part_series), (slo.total, rest_series)):
        if found is None:
            raise TurnoutError(
                "slo-untestable",
                observed=f"{source.place}: no series could be made up that {source.query!r} selects",
                expected="label patterns of plain alternatives and wildcards",
                remedy=f"simplify the patterns on line {source.place.line} of {source.place.file}",
            )
    return Series(_series_text(part, part_series or {}), _series_text(total, rest_series or {}), nested)


def _per_minute(slo: Slo) -> int:
    """Return how many events a test has each minute: enough for half the budget to be whole events."""
    return max(EVENTS_PER_MINUTE, int(10 ** ceil(log10(100.0 / slo.budget))))


def _bad_per_minute(slo: Slo, ratio: float) -> int:
    return round(_per_minute(slo) * ratio)


def _input(slo: Slo, phases: Iterable[tuple[float, int]]) -> list[dict[str, str]]:
    """Return the series for phases of a bad ratio and a number of minutes."""
    found, events = series(slo), _per_minute(slo)
    values: dict[str, list[str]] = {found.part: [], found.rest: []}
    sums = dict.fromkeys(values, 0)
    for ratio, minutes in phases:
        bad = _bad_per_minute(slo, ratio)
        part = bad if slo.bad is not None else events - bad
        rest = events - part if found.nested else events
        for name, step in ((found.part, part), (found.rest, rest)):
            values[name].append(f"{sums[name]}+{step}x{minutes - 1}")
            sums[name] += step * minutes
    return [{"series": name, "values": " ".join(parts)} for name, parts in values.items()]


def _burn_test(
    slo: Slo, name: str, phases: list[tuple[float, int]], at: str, firing: Iterable[rules.Burn]
) -> dict[str, object]:
    """Return a test of a steady bad ratio: at a moment, exactly these pairs of windows fire."""
    value = f"{100.0 * _bad_per_minute(slo, phases[-1][0]) / _per_minute(slo):.4g}%"
    alerts = [
        {
            "exp_labels": rules.alert_labels(slo, burn),
            "exp_annotations": rules.alert_annotations(slo, burn, value),
        }
        for burn in firing
    ]
    return {
        "name": f"{slo.name}: {name}",
        "interval": "1m",
        "input_series": _input(slo, phases),
        "alert_rule_test": [
            {"alertname": rules.ALERT, "eval_time": at, "exp_alerts": alerts},
            {"alertname": rules.ABSENT_ALERT, "eval_time": at, "exp_alerts": []},
        ],
    }


def _spell_test(slo: Slo, burn: rules.Burn) -> dict[str, object]:
    """Return a test of ten minutes of outage after an hour: it must page while it lasts, and not six
    minutes later.

    Where the threshold leaves room, it must not page in its first minute either: the short window is over
    it then, the long one not yet.
    """
    selected = f'ALERTS{{alertname="{rules.ALERT}",slo="{slo.name}",long="{burn.long}"}}'
    shown = {"alertname": rules.ALERT, "alertstate": "firing", **rules.alert_labels(slo, burn)}
    firing = {
        "labels": str(Selector("ALERTS", tuple(Matcher(k, "=", v) for k, v in shown.items()))),
        "value": 1,
    }
    cases: list[dict[str, object]] = [
        {"expr": selected, "eval_time": "69m", "exp_samples": [firing]},
        {"expr": selected, "eval_time": "76m", "exp_samples": []},
    ]
    if burn.threshold(slo) > 1.1 / 60.0:
        cases.insert(0, {"expr": selected, "eval_time": "61m", "exp_samples": []})
    return {
        "name": f"{slo.name}: an outage of ten minutes must page while it lasts, and only then",
        "interval": "1m",
        "input_series": _input(slo, [(0.0, 60), (1.0, 10), (0.0, 30)]),
        "promql_expr_test": cases,
    }


def _never_bad_test(slo: Slo) -> dict[str, object]:
    """Return a test for a numerator that has never counted and has no series yet: the ratio is still
    measured."""
    ratio = 0 if slo.bad is not None else 1
    found = series(slo)
    name = "slo:bad_ratio:rate5m"
    return {
        "name": f"{slo.name}: a counter that has never counted is zero",
        "interval": "1m",
        "input_series": [entry for entry in _input(slo, [(float(ratio), 30)]) if entry["series"] == found.rest],
        "promql_expr_test": [
            {
                "expr": f'{name}{{slo="{slo.name}"}}',
                "eval_time": "20m",
                "exp_samples": [{"labels": f'{name}{{service="{slo.service}",slo="{slo.name}"}}', "value": ratio}],
            }
        ],
        "alert_rule_test": [{"alertname": rules.ABSENT_ALERT, "eval_time": "20m", "exp_alerts": []}],
    }


def _absent_test(slo: Slo) -> dict[str, object]:
    def expected(at: str, *, fires: bool) -> dict[str, object]:
        alert = {"exp_labels": rules.absent_labels(slo), "exp_annotations": rules.absent_annotations(slo)}
        return {"alertname": rules.ABSENT_ALERT, "eval_time": at, "exp_alerts": [alert] if fires else []}

    return {
        "name": f"{slo.name}: counters that are gone must page",
        "interval": "1m",
        "input_series": [
            {"series": entry["series"], "values": entry["values"] + " stale _x60"} for entry in _input(slo, [(0.0, 30)])
        ],
        "alert_rule_test": [
            expected("20m", fires=False),
            expected("31m", fires=False),
            expected("45m", fires=True),
        ],
    }


def tests(slo: Slo) -> list[dict[str, object]]:
    """Return an SLO's tests: what must fire, and what must not."""
    burns = rules.burns(slo)
    twice, half = 2.0 * slo.budget, slo.budget / 2.0
    found = [
        _burn_test(slo, "an outage must page", [(1.0, 30)], "20m", burns),
        _burn_test(slo, "half the budget must not alert", [(half, 130)], "2h", []),
        _absent_test(slo),
    ]
    if twice < 1.0:
        slow = [burn for burn in burns if burn.factor < 2.0]
        found.append(_burn_test(slo, "twice the budget must be a ticket, and no page", [(twice, 30)], "20m", slow))
    for burn in burns:
        # Close to each threshold, so that one that has moved is noticed.
        for word, ratio in (("over", 1.05 * burn.threshold(slo)), ("under", 0.95 * burn.threshold(slo))):
            if ratio < 1.0:
                firing = [other for other in burns if other.threshold(slo) <= ratio]
                name = f"five percent {word} the threshold of {burn.long}"
                found.append(_burn_test(slo, name, [(ratio, 30)], "20m", firing))
    if burns and burns[0].long == "1h" and burns[0].threshold(slo) < 9.0 / 60.0 * 0.95:
        found.append(_spell_test(slo, burns[0]))
    if slo.part.absent_is_zero:
        found.append(_never_bad_test(slo))
    return found


def test_file(slo: Slo, rule_path: str) -> dict[str, object]:
    """Return what a promtool test file of one SLO holds, for rules at `rule_path` (relative to the test
    file)."""
    return {"rule_files": [rule_path], "evaluation_interval": "1m", "tests": tests(slo)}
