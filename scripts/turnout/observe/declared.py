"""The file of panels and alerts: every key, what it means and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from turnout.keys import At, Key, Part, Wrong, key
from turnout.observe import expression

API, WORKER, DATABASE, EDGE, RELEASE, RECOVERY = PAGES = ("api", "worker", "database", "edge", "release", "recovery")
TITLES = {
    API: "API",
    WORKER: "Workers and queues",
    DATABASE: "Database",
    EDGE: "Edges",
    RELEASE: "Release",
    RECOVERY: "Recovery",
}
UNITS = ("count", "per second", "ratio", "seconds", "bytes")
PAGE, TICKET = SEVERITIES = ("page", "ticket")

_DURATION = r"([1-9][0-9]*[smhd])+"
_ALERT = r"[A-Z][A-Za-z0-9]{2,63}"
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_TEXT = Key(expected="a text", example="host")


def _expression(value: Any) -> str:
    """Return an expression in which only settings are still open; raises `Wrong` for what Prometheus would refuse."""
    if not isinstance(value, str) or not value.strip():
        raise Wrong("no text", "an expression of PromQL", "write e.g. sum(rate(http_requests_total[5m]))")
    fault = expression.fault(expression.filled(value, expression.ANY))
    if fault:
        raise Wrong(fault, "an expression of PromQL", "mend it; promtool and Prometheus read it by the same rules")
    return value.strip()


def _promql(means: str, default: Any = None, **more: Any) -> Any:
    options = {"read": _expression, "example": '"up == 0"', "json": {"type": "string"}, **more}
    return key(means, **options) if default is None else key(means, default, **options)


def _duration(means: str, default: str) -> Any:
    expected = "a duration as Prometheus writes it"
    return key(means, default, pattern=rf"|0s|{_DURATION}", expected=expected, example="5m")


def _labels(means: str, example: str) -> Any:
    names = Key(pattern=_LABEL, expected="the name of a label", remedy="rename it")
    return key(means, dict, names=names, item=_TEXT, example=example)


class Settings(Part):
    """Numbers and names that built-in expressions use, as `${name}`."""

    sign_in_route: str = key(
        "the name in `edge_latency_routes` of the request that signs a user in",
        "login",
        pattern=r"[a-z][a-z0-9_-]*",
        expected="the name of a route",
        example="login",
    )
    sign_in_failures: float = key("part of sign-ins that may be refused (4xx)", 0.5, low=0.001, high=1, unit="ratio")
    server_errors: float = key("part of answers that may be 5xx", 0.05, low=0.00001, high=1, unit="ratio")
    connections: float = key("part of `max_connections` that may be in use", 0.8, low=0.01, high=1, unit="ratio")
    transaction_s: float = key("seconds that a transaction may last", 300.0, low=1, high=86400, unit="seconds")
    replication_lag_s: float = key("seconds that a replica may be behind", 60.0, low=1, high=86400, unit="seconds")
    redis_memory: float = key("part of `maxmemory` that Redis may use", 0.9, low=0.01, high=1, unit="ratio")

    @property
    def values(self) -> dict[str, str]:
        """Return what stands for `${name}`."""
        return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in vars(self).items()}


class Query(Part):
    """One line, or one line a series, of a panel."""

    expr: str = _promql("the expression, in PromQL")
    legend: str = key("what a line is called; `{{label}}` stands for a label of its series", "", example='"{{host}}"')


class Panel(Part):
    """One plot."""

    title: str = key("what is seen", expected="a title", example="Requests")
    page: str = key("on which page", choices=PAGES, example="api")
    queries: tuple[Query, ...] = key(
        "its lines",
        expected="a list of queries",
        example='[{expr: "sum(up)"}]',
        item=Key(means="a query"),
    )
    unit: str = key("what its values are", "count", choices=UNITS, example="seconds")
    note: str = key("how it is read", "", example="Should be flat.")
    where: str = _promql("it is looked at only where this has a result", "")

    def disagreements(self) -> Iterator[At]:
        """A panel without a query draws nothing."""
        if not self.queries:
            yield At(".queries", "an empty list", "at least one query", 'write queries: [{expr: "sum(up)"}]')


def _series(value: Any) -> str:
    if not isinstance(value, str) or expression.fault(value):
        raise Wrong("no series", 'a series such as up{job="node"}', 'write e.g. up{job="node"}')
    return value


class Case(Part):
    """Series of a test, and the moment that is looked at."""

    series: dict[str, str] = key(
        "values of each series, one a minute, as promtool writes them",
        dict,
        names=Key(check=_series, expected="a series"),
        item=Key(expected="values such as 0+60x30", example="0+60x30"),
        example='{"up{job=\\"node\\"}": "0x30"}',
    )
    at: str = _duration("the moment", "20m")


class Fires(Case):
    """A test in which the alert must fire, once."""

    labels: dict[str, str] = _labels("the alert's labels beside its severity", "{host: data1}")
    says: str = key("its summary then, whole", "", must=True, by_default="", expected="a text", example="data1 is down")


class Alert(Part):
    """One alert."""

    name: str = key("its name", pattern=_ALERT, expected="a name in CamelCase", example="QueueDeep")
    expr: str = _promql("it fires while this has a result")
    severity: str = key("page: somebody must act now; ticket: in working hours", choices=SEVERITIES, example="ticket")
    page: str = key("on which page it is shown", choices=PAGES, example="api")
    summary: str = key(
        "what is wrong, in one line; `{{ $labels.host }}` and `{{ $value }}` are filled in",
        expected="a text",
        example='"{{ $labels.host }} is down"',
    )
    action: str = key("what to do first: a command", expected="a text", example="turnout status")
    fires: Fires = key("a test in which it fires", example='{series: {up: "0+0x30"}, says: it is down}')
    quiet: Case = key("a test in which it does not", example='{series: {up: "1x30"}}')
    for_: str = _duration("how long that must last", "0s")
    runbook: str = key("where more is written: a page of the docs, or an address", "", example="docs/on-call.md")
    inhibited_by: tuple[str, ...] = key(
        "alerts that tell of the cause; while one of them fires for the same `inhibited_on`, this one is not sent",
        (),
        expected="a list of alerts",
        item=Key(pattern=_ALERT, expected="an alert's name", example="HostDown"),
        example="[HostDown]",
    )
    inhibited_on: tuple[str, ...] = key(
        "labels that must be the same in both",
        ("host",),
        expected="a list of labels",
        item=Key(pattern=_LABEL, expected="a label", example="host"),
        example="[host]",
    )
    where: str = _promql(
        "it is looked at only where this has a result; a check of the series leaves it out elsewhere", ""
    )

    def disagreements(self) -> Iterator[At]:
        """A test that cannot tell anything is none."""
        for name, case in (("fires", self.fires), ("quiet", self.quiet)):
            if not case.series:
                yield At(f".{name}.series", "an empty mapping", "at least one series", "add the series that it reads")
        known = {one.name for one in expression.selectors(expression.filled(self.expr, expression.ANY))}
        used = {one.name for series in self.fires.series for one in expression.selectors(series)}
        for name in sorted(used - known):
            yield At(
                ".fires.series",
                f"{name}, which its expression does not read",
                "series of the expression",
                "remove it, or mend the expression",
            )


class Observe(Part):
    """The file."""

    settings: Settings = key("numbers and names of the built-in panels and alerts", Settings, example="{}")
    without: tuple[str, ...] = key(
        "built-in alerts, and built-in panels by their title, that are left out",
        (),
        expected="a list of names",
        item=Key(expected="a name"),
        example="[SignInsFail]",
    )
    panels: tuple[Panel, ...] = key(
        "further panels", (), expected="a list of panels", item=Key(means="a panel"),
        example='[{title: Carts, page: api, queries: [{expr: "sum(carts)"}]}]',
    )  # fmt: skip
    alerts: tuple[Alert, ...] = key(
        "further alerts", (), expected="a list of alerts", item=Key(means="an alert"), example="[]"
    )

    def disagreements(self) -> Iterator[At]:
        """Names are unique, and every `${name}` is a setting."""
        for what, names in (
            ("alerts", [one.name for one in self.alerts]),
            ("panels", [one.title for one in self.panels]),
        ):
            for index, name in enumerate(names):
                if name in names[:index]:
                    yield At(f".{what}[{index}]", f"{name}, a second time", "names that differ", "rename one of them")
        known = self.settings.values
        texts = [
            (f".alerts[{index}].{name}", getattr(one, name))
            for index, one in enumerate(self.alerts)
            for name in ("expr", "summary", "where")
        ]
        texts += [
            (f".panels[{index}].queries[{number}].expr", query.expr)
            for index, one in enumerate(self.panels)
            for number, query in enumerate(one.queries)
        ]
        for where, text in texts:
            for name in re.findall(expression.SETTING, text):
                if name not in known:
                    yield At(where, f"${{{name}}}, no setting", f"one of: {', '.join(known)}", "write the value itself")
