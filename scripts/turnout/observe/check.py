"""Ask a real Prometheus whether every panel has data, and every alert the series that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import isnan

from turnout.observe import expression
from turnout.observe.declared import Alert, Panel
from turnout.observe.load import Watched
from turnout.observe.prometheus import Prometheus, RefusedError, Rows

OK, RED, IDLE, APART = "ok", "red", "idle", "not here"
"""What is found: all is there; something is missing; the series are there, and nothing was counted yet; what it is
about is not there."""

WHERE = {
    "DrillFailed": "turnout_drill_last_verdict",
    "DrillGrewSlower": "turnout_drill_usual_seconds",
    "DrillInconclusive": "turnout_drill_last_verdict",
    "DrillOverdue": "turnout_recovery_objective_seconds",
    "EdgeNotHeard": 'count(up{job="haproxy"}) > 1',
    "EdgeRequestsUncounted": 'up{job="edge-latency"}',
    "RecoveryPointMissed": "turnout_drill_rpo_seconds",
    "RecoveryTimeMissed": "turnout_drill_rto_seconds",
    "SchedulerTwice": 'turnout_unit_at_boot{process="scheduler"}',
    "WalUnarchived": "turnout_recovery_objective_seconds",
    "TimerFailed": 'turnout_unit_at_boot{name=~".+[.]timer"}',
    "TimerLate": 'turnout_unit_at_boot{name=~".+[.]timer"}',
}
"""Of alerts in rule files: what they are about, where that may be absent from an installation that is well."""

MAY_BE_ABSENT = {"ServerDown": re.compile("web-")}
"""Of alerts in rule files: series of a part that not every service has."""


FROM_FIRST = {"turnout_edge_requests_total": "code"}
"""Metrics whose series begins with the first event of a class, by the label that names the class (mtail's counters)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one panel or alert. `state` is one of the four words above."""

    kind: str
    name: str
    page: str
    state: str
    seen: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON carries it."""
        return asdict(self)


class Checker:
    """Looks at panels and alerts, and asks each question once."""

    def __init__(self, prometheus: Prometheus) -> None:
        """Prepare to look."""
        self._prometheus = prometheus
        self._known: dict[str, Rows] = {}

    def findings(self, watched: Watched) -> list[Finding]:
        """Return what was found of every declared panel and alert, and of every further alert that is loaded."""
        rules: dict[str, Rows] = {}
        for rule in self._prometheus.alerting_rules():
            rules.setdefault(str(rule["name"]), []).append(rule)
        found = [self._panel(panel) for panel in watched.panels]
        found += [self._declared(alert, rules.pop(alert.name, [])) for alert in watched.alerts]
        for name, listed in rules.items():
            # Several of one name, as the burn rates are: the worst of them is told.
            each = [self._alert(name, "", str(rule["query"]), WHERE.get(name, ""), rule) for rule in listed]
            found.append(next((one for one in each if one.state == RED), each[0]))
        return found

    def _ask(self, text: str) -> Rows:
        if text not in self._known:
            self._known[text] = self._prometheus.now(text)
        return self._known[text]

    def _missing(self, series: Iterable[expression.Selected]) -> Iterator[expression.Selected]:
        """Yield what of these Prometheus does not have."""
        for one in series:
            if not self._ask(f"count({one.text})") and not self._uncounted(one):
                yield one

    def _uncounted(self, one: expression.Selected) -> bool:
        """Tell whether only its class has had no event yet: series of other classes are there."""
        label = FROM_FIRST.get(one.name)
        others = re.sub(rf',?{label}[=!~]+"(?:[^"\\]|\\.)*"', "", one.text).replace("{,", "{")
        return label is not None and others != one.text and bool(self._ask(f"count({others})"))

    def _idle(self, expr: str) -> bool:
        """Tell whether an expression reads a class of which nothing was counted yet."""
        return any(not self._ask(f"count({one.text})") and self._uncounted(one) for one in expression.selectors(expr))

    def _gone(self, one: expression.Selected) -> str:
        """Return in words what is missing: the metric, or only series of it with such labels."""
        if one.text != one.name and one.name and self._ask(f"count({one.name})"):
            return f"{one.name} has no series {one.text[len(one.name) :]}"
        return f"no series {one.name or one.text}"

    def _remedy(self, one: expression.Selected) -> str:
        return (
            f"look for its new name, or for the exporter that is silent: {self._prometheus.url}/targets; "
            f"curl -sG {self._prometheus.url}/api/v1/series --data-urlencode 'match[]={one.text}' must show some"
        )

    def _panel(self, panel: Panel) -> Finding:
        def finding(state: str, seen: str = "", remedy: str = "") -> Finding:
            return Finding("panel", panel.title, panel.page, state, seen, remedy)

        state = OK
        try:
            if panel.where and not self._ask(panel.where):
                return finding(APART, f"nothing for {panel.where}")
            for query in panel.queries:
                for one in self._missing(expression.selectors(query.expr)):
                    return finding(RED, self._gone(one), self._remedy(one))
                rows = self._ask(query.expr)
                if not rows and self._idle(query.expr):
                    state = IDLE
                elif not rows:
                    remedy = f"try the expression at {self._prometheus.url}/graph"
                    return finding(RED, f"no data, though its series are there: {_short(query.expr)}", remedy)
                elif all(isnan(float(row["value"][1])) for row in rows):
                    state = IDLE
        except RefusedError as error:
            return finding(RED, f"refused: {error}", "mend its expression")
        return finding(state, "nothing was counted in its time" if state == IDLE else "")

    def _alert(self, name: str, page: str, expr: str, where: str, rule: dict[str, object] | None) -> Finding:
        def finding(state: str, seen: str = "", remedy: str = "") -> Finding:
            return Finding("alert", name, page, state, seen, remedy)

        try:
            if where and not self._ask(where):
                return finding(APART, f"nothing for {where}")
            for one in self._missing(expression.needed(expr)):
                if name not in MAY_BE_ABSENT or not MAY_BE_ABSENT[name].search(one.text):
                    return finding(RED, self._gone(one), self._remedy(one))
        except (RefusedError, ValueError) as error:
            return finding(RED, f"its expression cannot be read: {error}", "mend its expression")
        if rule is None:
            return finding(RED, "Prometheus has not loaded it", "turnout site --tags monitoring")
        if rule.get("health") == "err":
            return finding(RED, f"its rule fails: {str(rule.get('lastError', ''))[:200]}", "mend its expression")
        return finding(IDLE, "nothing of that class was counted yet") if self._idle(expr) else finding(OK)

    def _declared(self, alert: Alert, rules: Rows) -> Finding:
        found = self._alert(alert.name, alert.page, alert.expr, alert.where, rules[0] if rules else None)
        if found.state in (OK, IDLE) and expression.plain(str(rules[0]["query"])) != expression.plain(alert.expr):
            seen = f"Prometheus has another expression loaded: {_short(str(rules[0]['query']))}"
            return Finding("alert", alert.name, alert.page, RED, seen, "turnout site --tags monitoring")
        return found


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 120 else words[:117] + "..."
