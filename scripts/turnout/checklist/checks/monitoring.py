"""What Prometheus knows: pages that fire, error budgets left, and queues that are told by queries."""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from turnout.checklist.checks.redis import judge_queue
from turnout.checklist.config import AlertDrill, Checklist, Queue
from turnout.checklist.model import Facts, Probe, Result, Situation, Verdict, answer_of, seen_at
from turnout.counts import counted
from turnout.drill.words import duration
from turnout.errors import TurnoutError
from turnout.slo import parse
from turnout.slo.model import Slo
from turnout.slo.rules import bad_rate, number

ALERTS = "prometheus-alerts"
PROVEN = "alerts-proven"
DRILLED = "/var/lib/turnout/alert-drill.json"  # written by turnout.ops.alert_drill_here


def load_slos(config: Checklist) -> Mapping[str, Slo]:
    """Return the SLOs of the configured folder. Raises `TurnoutError` where they cannot be read."""
    return parse.load(config.slos.folder) if config.slos is not None else {}


def budget_query(slo: Slo) -> str:
    """Return the PromQL of bad events over all events in the SLO's own window."""
    # Both are rates over the window; times its length they would be counts, and the length cancels out.
    return f"{bad_rate(slo, slo.window)} / sum(rate({slo.total.selector}[{slo.window}]))"


def probes(config: Checklist, situation: Situation) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe): all questions go to Prometheus from the first host of its group."""
    host = _asker(config, situation)
    if config.prometheus is None or host is None:
        return
    url = config.prometheus.url
    yield host, Probe(ALERTS, "http", config.limit_of("alerts"), {"url": f"{url}/api/v1/alerts", "json": True})
    if config.alert_drill is not None:
        yield host, Probe(PROVEN, "alerts_proven", config.limit_of(PROVEN), {"url": url, "path": DRILLED})
    if config.slos is not None:
        try:
            slos = load_slos(config)
        except TurnoutError:
            slos = {}
        for name, slo in slos.items():
            yield host, _query(url, f"slo:{name}", budget_query(slo), config.limit_of("slo-budget"))
    for queue in config.queues:
        for figure, query in queue.queries.items():
            yield host, _query(url, f"queue:{queue.name}:{figure}", query, config.limit_of("queue"))


def _query(url: str, name: str, query: str, limit_s: float) -> Probe:
    address = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    return Probe(name, "http", limit_s, {"url": address, "json": True})


def _asker(config: Checklist, situation: Situation) -> str | None:
    if config.prometheus is None:
        return None
    hosts = situation.hosts(config.prometheus.group)
    return hosts[0] if hosts else None


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge alerts, budgets and queues that Prometheus tells of."""
    asker = _asker(config, situation)
    if config.prometheus is not None:
        yield _alerts(config, situation, asker)
    if config.alert_drill is not None:
        yield _proven(config, config.alert_drill, situation, asker)
    if config.slos is not None:
        yield from _budgets(config, situation, asker)
    for queue in config.queues:
        if queue.queries:
            yield _queue(situation, asker, queue)


def _answer(situation: Situation, asker: str | None, probe: str) -> tuple[Facts | None, Verdict, str, float | None]:
    if asker is None:
        return None, Verdict.UNKNOWN, "no host to ask Prometheus from", None
    facts, verdict, words, seconds = answer_of(situation, asker, probe)
    if facts is None:
        # Prometheus that is down says nothing about what it would have said.
        return None, Verdict.UNKNOWN, f"Prometheus: {words}" if verdict is not Verdict.PASS else words, seconds
    if facts["status"] != 200 or (facts.get("json") or {}).get("status") != "success":
        said = str((facts.get("json") or {}).get("error") or f"HTTP {facts['status']}")
        return None, Verdict.UNKNOWN, f"Prometheus: {said[:200]}", seconds
    return facts["json"]["data"], Verdict.PASS, "", seconds


_REMEDY = "see checklist.prometheus (url, group), and: systemctl status prometheus"


def _alerts(config: Checklist, situation: Situation, asker: str | None) -> Result:
    data, verdict, words, seconds = _answer(situation, asker, ALERTS)
    at_s = seen_at(situation, asker) if asker else None
    if data is None:
        return Result("alerts", verdict, words, _REMEDY, at_s=at_s, seconds=seconds)
    pages = [
        alert
        for alert in data["alerts"]
        if alert["state"] == "firing" and alert["labels"].get("severity") in config.alerts.severities
    ]
    firing = [alert for alert in pages if not _ignored(config, str(alert["labels"].get("alertname")))]
    passed_over = sorted({str(alert["labels"].get("alertname")) for alert in pages if alert not in firing})
    severities = "/".join(config.alerts.severities)
    if not firing:
        evidence = f"no {severities} fires ({counted(len(data['alerts']), 'alert')} in all)"
        evidence += f"; fire and are ignored here: {', '.join(passed_over)}" if passed_over else ""
        return Result("alerts", Verdict.PASS, evidence, at_s=at_s, seconds=seconds)
    told = ", ".join(
        f"{alert['labels'].get('alertname')} ({alert['labels'].get('slo') or alert['labels'].get('instance') or '-'})"
        for alert in firing[:5]
    )
    more = f" and {len(firing) - 5} more" if len(firing) > 5 else ""
    return Result(
        "alerts", Verdict.FAIL, f"{told}{more}", "mend what pages before changing more", at_s=at_s, seconds=seconds
    )


def _ignored(config: Checklist, name: str) -> bool:
    return _matches(name, config.alerts.ignore)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _proven(config: Checklist, wanted: AlertDrill, situation: Situation, asker: str | None) -> Result:
    if config.prometheus is None or asker is None:
        text = "no Prometheus is configured" if config.prometheus is None else "no host to ask Prometheus from"
        return Result(PROVEN, Verdict.UNKNOWN, text, "set checklist.prometheus: {url: http://127.0.0.1:9090}")
    data, verdict, words, seconds = answer_of(situation, asker, PROVEN)
    at_s = seen_at(situation, asker)
    if data is None:
        return Result(PROVEN, verdict, words, _REMEDY, at_s=at_s, seconds=seconds)
    rows = [one for one in data["alerts"] if not _matches(one["alert"], wanted.ignore)]
    never = [one for one in rows if one["proven_at"] is None]
    old = [one for one in rows if one not in never and data["now"] - one["proven_at"] > wanted.max_age_s]
    told = [f"never seen to arrive: {_listed(never)}"] if never else []
    if old:
        longest_s = max(data["now"] - one["proven_at"] for one in old)
        told.append(f"not seen to arrive for {duration(longest_s)}: {_listed(old)}")
    if not rows:
        told.append("Prometheus has no alert")
    if told:
        remedy = "turnout alert-drill (docs/alert-drill.md), or checklist.alert_drill.ignore"
        return Result(PROVEN, Verdict.FAIL, "; ".join(told), remedy, at_s=at_s, seconds=seconds)
    oldest_s = max(data["now"] - one["proven_at"] for one in rows)
    evidence = f"{counted(len(rows), 'alert')} arrived at their receivers, at the longest {duration(oldest_s)} ago"
    return Result(PROVEN, Verdict.PASS, evidence, at_s=at_s, seconds=seconds)


def _listed(rows: Sequence[Facts], most: int = 5) -> str:
    names = list(dict.fromkeys(f"{one['alert']} ({one['severity'] or '-'})" for one in rows))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def scalar(data: Facts) -> float | None:
    """Return the one number of an instant query's answer, None for no series; raises ValueError for several."""
    if data["resultType"] == "scalar":
        return float(data["result"][1])
    if len(data["result"]) > 1:
        raise ValueError(f"{len(data['result'])} series where one number was wanted")
    return float(data["result"][0]["value"][1]) if data["result"] else None


def _budgets(config: Checklist, situation: Situation, asker: str | None) -> Iterator[Result]:
    assert config.slos is not None  # noqa: S101 - the caller looked
    if config.prometheus is None:
        text = "no Prometheus is configured"
        yield Result("slo-budget", Verdict.UNKNOWN, text, "set checklist.prometheus: {url: http://127.0.0.1:9090}")
        return
    try:
        slos = load_slos(config)
    except TurnoutError as error:
        yield Result("slo-budget", Verdict.UNKNOWN, error.observed, error.remedy)
        return
    at_s = seen_at(situation, asker) if asker else None
    for name, slo in slos.items():
        data, verdict, words, seconds = _answer(situation, asker, f"slo:{name}")
        if data is None:
            yield Result("slo-budget", verdict, words, _REMEDY, name, at_s, seconds)
            continue
        yield replace(judge_budget(slo, data, config.slos.min_budget_percent), at_s=at_s, seconds=seconds)


def judge_budget(slo: Slo, data: Facts, min_percent: float) -> Result:
    """Judge the budget left: 1 - (bad ratio over the window) / (1 - objective), in percent."""
    try:
        ratio = scalar(data)
    except ValueError as error:
        remedy = f"correct the query of SLO {slo.name}"
        return Result("slo-budget", Verdict.UNKNOWN, str(error), remedy, slo.name)
    if ratio is None or math.isnan(ratio):
        text = f"no events in {slo.window}: nothing was measured"
        return Result("slo-budget", Verdict.UNKNOWN, text, "see that its counters are scraped", slo.name)
    left = 100 * (1 - ratio / slo.budget)
    evidence = (
        f"{left:.0f} % left over {slo.window} ({number(100 * ratio)[:6]} % bad, {number(100 * slo.budget)} % allowed)"
    )
    if left >= min_percent:
        return Result("slo-budget", Verdict.PASS, evidence, "", slo.name)
    remedy = "release only what wins budget back, with a waiver that says so"
    return Result("slo-budget", Verdict.FAIL, f"{evidence}; {min_percent:g} % wanted", remedy, slo.name)


def _queue(situation: Situation, asker: str | None, queue: Queue) -> Result:
    figures: dict[str, object] = {}
    slowest = 0.0
    at_s = seen_at(situation, asker) if asker else None
    for figure in queue.queries:
        data, verdict, words, seconds = _answer(situation, asker, f"queue:{queue.name}:{figure}")
        slowest = max(slowest, seconds or 0.0)
        if data is None:
            return Result("queue", verdict, words, _REMEDY, queue.name, at_s, seconds)
        try:
            value = scalar(data)
        except ValueError as error:
            text, remedy = f"{figure}: {error}", "aggregate the query: sum(...) or max(...)"
            return Result("queue", Verdict.UNKNOWN, text, remedy, queue.name, at_s, seconds)
        if value is not None and not math.isnan(value):
            figures[figure] = value
    if "depth" not in figures:
        text, remedy = "depth: the query has no series", "correct checklist.queues: queries.depth"
        return Result("queue", Verdict.UNKNOWN, text, remedy, queue.name, at_s)
    return replace(judge_queue(queue, figures), at_s=at_s, seconds=slowest)
