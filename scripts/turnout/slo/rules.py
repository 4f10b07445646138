"""Prometheus recording and alerting rules, and Alertmanager routing, from SLOs.

Multi-window, multi-burn-rate alerts after the Google SRE Workbook, chapter 5 ("Alerting on SLOs", iteration
6): a burn rate of b spends the budget b times as fast as the objective allows; an alert needs it over a
long window, so that it matters, and over a short one, so that it still goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from turnout.slo.model import Slo, Source

ALERT = "SloBudgetBurn"
ABSENT_ALERT = "SloDataAbsent"
PAGE, TICKET = "page", "ticket"
ABSENT_FOR = "2m"
EVALUATED_EVERY = "15s"
"""Often enough for a window of 5 minutes, and cheap where Prometheus scrapes every second."""


@dataclass(frozen=True, slots=True)
class Burn:
    """One pair of windows: alert where the budget burns `factor` times too fast over both."""

    factor: float
    long: str
    short: str
    severity: str

    def threshold(self, slo: Slo) -> float:
        """Return the bad ratio above which it alerts."""
        return self.factor * slo.budget

    def reachable(self, slo: Slo) -> bool:
        """Whether any bad ratio is above the threshold: a lax objective leaves no room for a high factor."""
        return self.threshold(slo) < 1.0


BURNS = (
    Burn(14.4, "1h", "5m", PAGE),
    Burn(6.0, "6h", "30m", PAGE),
    Burn(3.0, "1d", "2h", TICKET),
    Burn(1.0, "3d", "6h", TICKET),
)
DIRECT_WINDOWS = ("5m", "30m", "1h")
SUMMED_WINDOWS = ("2h", "6h", "1d", "3d")
"""Long windows are summed from recorded 5-minute rates: the same ratio, for a fraction of the reading."""

_BAD = "slo:bad:rate5m"
_EVENTS = "slo:events:rate5m"


def _ratio_name(window: str) -> str:
    return f"slo:bad_ratio:rate{window}"


def _rate(source: Source, window: str) -> str:
    rate = f"sum(rate({source.selector}[{window}]))"
    return f"({rate} or vector(0))" if source.absent_is_zero else rate


def bad_rate(slo: Slo, window: str) -> str:
    """Return the PromQL of bad events a second over a window."""
    if slo.bad is not None:
        return _rate(slo.bad, window)
    # Rates are extrapolated each by itself, so that good may come out a little above all.
    return f"clamp_min({_rate(slo.total, window)} - {_rate(slo.part, window)}, 0)"


def number(value: float) -> str:
    """Return a number without the noise of binary fractions: 0.072, not 0.07200000000000006."""
    return f"{value:.12g}"


def labels(slo: Slo) -> dict[str, str]:
    """Return the labels of everything that is recorded of an SLO."""
    return {"slo": slo.name, "service": slo.service}


def _matching(slo: Slo) -> str:
    return f'{{slo="{slo.name}",service="{slo.service}"}}'


def recording_rules(slo: Slo) -> list[dict[str, object]]:
    """Return the recording rules of an SLO, in the order in which they build on each other."""
    common = {"labels": labels(slo)}
    rules: list[dict[str, object]] = [
        {"record": "slo:objective", "expr": f"vector({number(slo.objective)})", **common},
        {"record": _EVENTS, "expr": _rate(slo.total, "5m"), **common},
        {"record": _BAD, "expr": bad_rate(slo, "5m"), **common},
    ]
    for window in DIRECT_WINDOWS:
        expr = f"{bad_rate(slo, window)} / {_rate(slo.total, window)}"
        rules.append({"record": _ratio_name(window), "expr": expr, **common})
    matching = _matching(slo)
    for window in SUMMED_WINDOWS:
        expr = f"sum_over_time({_BAD}{matching}[{window}]) / sum_over_time({_EVENTS}{matching}[{window}])"
        rules.append({"record": _ratio_name(window), "expr": expr, **common})
    return rules


def alert_labels(slo: Slo, burn: Burn) -> dict[str, str]:
    """Return the labels of a burn-rate alert."""
    return {
        **labels(slo),
        "severity": burn.severity,
        "burn": number(burn.factor),
        "long": burn.long,
        "short": burn.short,
    }


_VALUE = "{{ $value | humanizePercentage }}"


def literal(text: str) -> str:
    """Return a text as Prometheus's templates (Go's text/template) show it as it is."""
    return text.replace("{{", '{{ "{{" }}')


def alert_annotations(slo: Slo, burn: Burn, value: str) -> dict[str, str]:
    """Return the texts of a burn-rate alert as a person reads them; `value` is the bad ratio over the long window."""
    allowed = number(100.0 * slo.budget)
    return {
        "summary": f"{slo.service}: {slo.title} burns {number(burn.factor)} times its budget",
        "description": f"{value} bad over {burn.long}, where {allowed}% is allowed over {slo.window}.",
    }


def burns(slo: Slo) -> list[Burn]:
    """Return the pairs of windows that can ever alert for an SLO."""
    return [burn for burn in BURNS if burn.reachable(slo)]


def alerting_rules(slo: Slo) -> list[dict[str, object]]:
    """Return the burn-rate alerts of an SLO, and the one for when it cannot be measured."""
    matching = _matching(slo)
    rules: list[dict[str, object]] = []
    for burn in burns(slo):
        limit = number(burn.threshold(slo))
        rules.append(
            {
                "alert": ALERT,
                "expr": f"{_ratio_name(burn.long)}{matching} > {limit} "
                f"and {_ratio_name(burn.short)}{matching} > {limit}",
                "labels": alert_labels(slo, burn),
                "annotations": alert_annotations(replace(slo, title=literal(slo.title)), burn, _VALUE),
            }
        )
    watched = [f"absent(sum({source.selector}))" for source in slo.sources if not source.absent_is_zero]
    rules.append(
        {
            "alert": ABSENT_ALERT,
            "expr": " or ".join(watched),
            "for": ABSENT_FOR,
            "labels": absent_labels(slo),
            "annotations": absent_annotations(replace(slo, title=literal(slo.title))),
        }
    )
    return rules


def absent_labels(slo: Slo) -> dict[str, str]:
    """Return the labels of the absent-data alert: a page, since nothing else would tell of an outage then."""
    return {**labels(slo), "severity": PAGE}


def absent_annotations(slo: Slo) -> dict[str, str]:
    """Return the texts of the absent-data alert."""
    return {
        "summary": f"{slo.service}: {slo.title} cannot be measured",
        "description": f"A counter of SLO {slo.name} has no series: "
        "no burn rate can alert, and no release can be judged by it.",
    }


def rule_file(slo: Slo) -> dict[str, object]:
    """Return what a Prometheus rule file of one SLO holds."""
    rules = recording_rules(slo) + alerting_rules(slo)
    return {"groups": [{"name": f"slo-{slo.name}", "interval": EVALUATED_EVERY, "rules": rules}]}


def alertmanager(*, page: str, ticket: str) -> dict[str, object]:
    """Return the routes and inhibitions for these alerts, to be put below Alertmanager's own route.

    `page` and `ticket` name receivers. A page silences the tickets of the same SLO: it is the same fire.
    """
    alerts = f'alertname=~"{ALERT}|{ABSENT_ALERT}"'
    common = {"group_by": ["alertname", "slo", "service"], "group_wait": "10s"}
    return {
        "routes": [
            {"receiver": page, "matchers": [alerts, f'severity="{PAGE}"'], "repeat_interval": "1h", **common},
            {
                "receiver": ticket,
                "matchers": [alerts, f'severity="{TICKET}"'],
                "repeat_interval": "3d",
                **common,
            },
        ],
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{ALERT}"', f'severity="{PAGE}"'],
                "target_matchers": [f'alertname="{ALERT}"', f'severity="{TICKET}"'],
                "equal": ["slo", "service"],
            }
        ],
    }
