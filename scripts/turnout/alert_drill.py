"""A fire alarm for alerts, for a person: what is asked for by a playbook's variables, and what came of it.

Pure: what a host told comes in, a question or text for a person goes out.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from turnout import tables
from turnout.counts import counted
from turnout.errors import TurnoutError

# What a question is made of; each is an option of the action.
GIVEN = (
    "allowed", "alerts", "read", "labels", "longest_for_s", "group_wait_s", "group_interval_s", "limit_s", "prometheus",
    "alertmanager",
)  # fmt: skip
_BOUNDS = {
    "longest_for_s": (0, 86_400),
    "group_wait_s": (0, 86_400),
    "group_interval_s": (0, 86_400),
    "limit_s": (1, 86_400),
}
_WAYS = {"url", "headers", "command", "limit_s"}


def _refuse(code: str, observed: str, expected: str, remedy: str) -> TurnoutError:
    return TurnoutError(f"alert-drill-{code}", observed=observed, expected=expected, remedy=remedy)


def _names(given: Any) -> list[str]:
    listed = given if isinstance(given, list) else re.split(r"[,\s]+", str(given or ""))
    return [str(name).strip() for name in listed if str(name).strip()]


def _number(given: Mapping[str, Any], name: str) -> float:
    low, high = _BOUNDS[name]
    try:
        value = float(given[name])
    except (KeyError, TypeError, ValueError):
        value = float("nan")
    if not low <= value <= high:
        seen = f"alert_drill_{name}: {str(given.get(name))[:40]}"
        raise _refuse("number", seen, f"seconds from {low:g} to {high:g}", f"alert_drill_{name}: SECONDS")
    return value


def _ways(given: Any) -> dict[str, dict[str, Any]]:
    expected = "for each receiver `url` (with `headers`) or `command`, a list of words"
    found = {}
    for name, way in (given or {}).items() if isinstance(given or {}, Mapping) else [("", given)]:
        at = f"alert_drill_read.{name}"
        if not isinstance(way, Mapping) or set(way) - _WAYS or ("url" in way) == ("command" in way):
            seen = ", ".join(map(str, way)) if isinstance(way, Mapping) else type(way).__name__
            raise _refuse(
                "read", f"{at}: {seen[:80]}", expected, f'{at}: {{url: "https://chat.example.org/?q={{mark}}"}}'
            )
        url, command = str(way.get("url") or ""), way.get("command")
        if "url" in way and not re.match(r"https?://[^/\s]+", url):
            raise _refuse("read", f"{at}.url is no address", "an http or https address", f"{at}.url: https://...")
        if "command" in way and not (isinstance(command, list) and command):
            raise _refuse("read", f"{at}.command is no list of words", expected, f'{at}.command: [program, "{{mark}}"]')
        found[str(name)] = dict(way)
    return found


def question(given: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return what the monitoring host is asked. It may hold credentials, in `read`.

    Raises TurnoutError for what is not to be understood, and where pages that are none may not be sent.
    """
    allowed = str(given.get("allowed")).lower() in ("true", "yes", "1")
    if not allowed and not check:
        raise _refuse(
            "allowed", "alert_drill_allowed is false for this inventory",
            "an inventory whose receivers may get pages that are none: staging, a lab",
            "alert_drill_allowed: true in its group_vars, or --check to see which alerts are meant",
        )  # fmt: skip
    return {
        "id": secrets.token_hex(4), "alerts": _names(given.get("alerts")), "read": _ways(given.get("read")),
        "labels": {str(name): str(value) for name, value in (given.get("labels") or {}).items()},
        **{name: _number(given, name) for name in _BOUNDS},
        "prometheus": str(given["prometheus"]), "alertmanager": str(given["alertmanager"]),
    }  # fmt: skip


def proven(one: Mapping[str, Any]) -> bool:
    """Tell whether an alert was seen at the end of each of its receivers, and nothing is wrong with its rule."""
    return one["delivered_s"] is not None and not one["hindrance"]


def entry(number: str, seen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the ledger keeps."""
    lacking = [_named(one) for one in seen if not proven(one)]
    return {
        "kind": "alert-drill",
        "id": number,
        "alerts": len(seen),
        "proven": len(seen) - len(lacking),
        "lacking": lacking,
    }


def _named(one: Mapping[str, Any]) -> str:
    severity = one["labels"].get("severity")
    return f"{one['alert']} ({severity})" if severity else str(one["alert"])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def render(seen: Sequence[Mapping[str, Any]], *, check: bool) -> str:
    """Return what a person reads: a row for each alert, and below it what stood in its way."""
    if check:
        names = "\n".join(f"  {_named(one)}" for one in seen)
        return f"would make {counted(len(seen), 'alert')} fire (--check: nothing fires):\n{names}"
    rows: list[tuple[str, ...]] = [("ALERT", "RECEIVERS", "FOR", "FIRED", "ROUTED", "DELIVERED", "AT MOST", "")]
    rows += [
        (
            _named(one), ", ".join(one["receivers"]) or "-", f"{one['for_s']:g}{'*' if one['shortened'] else ''}",
            _seconds(one["fired_s"]), _seconds(one["routed_s"]), _seconds(one["delivered_s"]), _seconds(one["due_s"]),
            "proven" if proven(one) else "NOT PROVEN",
        )
        for one in seen
    ]  # fmt: skip
    text = tables.lines(rows, right=(2, 3, 4, 5, 6))
    text += ["seconds since Prometheus had the rules"]
    text += ["* its own is longer: alert_drill_longest_for_s"] if any(one["shortened"] for one in seen) else []
    text += [f"{_named(one)}: {one['hindrance']}" for one in seen if one["hindrance"]]
    return "\n".join(text)


def as_json(seen: Sequence[Mapping[str, Any]]) -> str:
    """Return one JSON object."""
    return json.dumps({"format": 1, "alerts": [{**one, "proven": proven(one)} for one in seen]}, indent=1)


def failure(seen: Sequence[Mapping[str, Any]], problem: str | None, *, check: bool) -> str | None:
    """Return the message of a drill that did not prove every alert, or None."""
    if problem:
        return str(
            _refuse("begin", problem, "Prometheus' alerting rules", "see alert_drill_prometheus, and -e alert=NAME")
        )
    lacking = [] if check else [one for one in seen if not proven(one)]
    if not lacking:
        return None
    first = lacking[0]
    observed = f"{len(lacking)} of {counted(len(seen), 'alert')} did not arrive; {_named(first)}: {first['hindrance']}"
    expected = "each at the end of its receiver in its time"
    return str(_refuse("lacking", observed, expected, "the line of each alert above says what stood in its way"))
