"""Tell Alertmanager that a job failed, and that it is well again (POST /api/v2/alerts)."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

TRIES = 3
ANSWER_LIMIT_S = 10.0


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def alert(labels: dict[str, str], annotations: dict[str, str], start: float, end: float) -> dict[str, object]:
    """Return an alert as Alertmanager takes it; `start` and `end` are wall times. One that has ended is resolved."""
    return {"labels": labels, "annotations": annotations, "startsAt": _stamp(start), "endsAt": _stamp(end)}


def send(address: str, one: dict[str, object], pause_s: float = 2.0) -> str:
    """Send an alert, several times if need be; return what went wrong, or nothing."""
    request = urllib.request.Request(  # noqa: S310 - job.py lets only http and https pass
        address.rstrip("/") + "/api/v2/alerts",
        data=json.dumps([one]).encode(),
        headers={"Content-Type": "application/json"},
    )
    wrong = ""
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S):  # noqa: S310 - as above
                return ""
        except (OSError, ValueError) as fault:  # URLError and HTTPError are OSErrors
            wrong = f"{address}: {fault}"
            if isinstance(fault, urllib.error.HTTPError) and fault.code < 500:
                return f"{wrong}: {fault.read(300).decode(errors='replace')}"
        if attempt + 1 < TRIES:
            time.sleep(pause_s * 2**attempt)
    return wrong
