"""What this edge serves, since when, and what its watchdog sees, as text for node exporter."""

from __future__ import annotations

import calendar
import time

from .lock import lease_has_run_out, mark_age_s
from .state import COLORS, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


def epoch(stamp: object) -> float:
    """Return a stamp of the journal as seconds since 1970; 0 for none."""
    try:
        return calendar.timegm(time.strptime(str(stamp)[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0


def overdue_s(lease: Json, now: Json) -> float:
    """Return for how long an armed lease has been over."""
    if not lease_has_run_out(lease, now):
        return 0
    if "renewed" not in lease or "lease_s" not in lease:
        return float(now["boot"])
    return max(0.0, mark_age_s(lease["renewed"], now) - float(lease["lease_s"]))


def label(text: object) -> str:
    """Return a text as the value of a label."""
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(state: State, lease: Json, now: Json, *, doubt: bool, peers: dict[str, Json | None]) -> str:
    """Return the metrics of this edge."""
    service = f'service="{label(state.service)}"'
    lines: list[str] = []

    def series(name: str, about: str, values: list[tuple[str, float]]) -> None:
        lines.extend([f"# HELP {name} {about}", f"# TYPE {name} gauge"])
        lines.extend(f"{name}{{{service}{labels}}} {value:.15g}" for labels, value in values)

    places = {c: f',color="{c}",release="{label(state.release_name(c) if state.releases[c] else "")}"' for c in COLORS}
    shares = [(places[color], bp / 10_000) for color, bp in state.serving_bp().items()]
    series("turnout_edge_share", "Share of the users that a color gets.", shares)
    series(
        "turnout_edge_stable",
        "1 for the color that serves.",
        [(p, float(c == state.stable)) for c, p in places.items()],
    )
    series("turnout_edge_since_seconds", "When the users were moved last.", [("", epoch(state.since))])
    series(
        "turnout_edge_lease_armed", "1 while a run holds traffic on a lease.", [("", float(bool(lease.get("armed"))))]
    )
    series(
        "turnout_edge_lease_overdue_seconds",
        "How long a lease has been over and not ended.",
        [("", overdue_s(lease, now))],
    )
    series("turnout_edge_in_doubt", "1 where the last word of a run is not known here.", [("", float(doubt))])
    heard = [(f',peer="{label(name)}"', float(said is not None)) for name, said in peers.items()]
    if heard:
        series("turnout_edge_peer_heard", "1 where another edge was heard within the last seconds.", heard)
    series("turnout_edge_watch_seconds", "When the watchdog looked last.", [("", now["wall"])])
    return "\n".join(lines) + "\n"
