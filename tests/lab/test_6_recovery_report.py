"""What drills measured goes from the edges' ledgers to a page, to Prometheus and to its alerts."""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import EDGES, ROOT, Turnout

sys.path.insert(0, str(ROOT / "tests" / "unit" / "drill"))

from drill_examples import F, drill
from turnout.drill.record import Check, Outcome, line

LEDGER = "/var/lib/turnout/test-ledger.jsonl"
TEXTFILE = "/var/lib/prometheus/node-exporter/turnout-drill.prom"
HEAD = {"ts": "2026-03-01T03:01:00.000Z", "seq": 1, "run": "r1", "actor": "cron"}


def query(turnout: Turnout, expression: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers."""
    address = f"http://{turnout.address('mon1')}:9090/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(address, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def until(turnout: Turnout, expression: str) -> list[dict[str, Any]]:
    """Wait until a query has an answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = query(turnout, expression)
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"no answer to {expression}")


def test_the_report_of_the_edges_ledgers_reaches_prometheus_and_its_alerts(turnout: Turnout, tmp_path: Path) -> None:
    today = (datetime.now(UTC) - F).days
    good, bad = drill(today - 1), drill(today, checks=(Check("rows", Outcome.FAIL, 0.1, "table gone"),))
    entries = [json.dumps({**HEAD, **json.loads(line(one))}) for one in (good, bad)]
    entries.insert(0, json.dumps({**HEAD, "kind": "release", "release": "1.0.0"}))
    # One edge missed the last drill: the others know it.
    for name, count in zip(EDGES, (3, 2), strict=True):
        turnout.ssh(name, f"cat > {LEDGER} <<'END'\n" + "\n".join(entries[:count]) + "\nEND")
    options = ("-e", f"recovery_monitoring_ledger={LEDGER}", "-e", f"recovery_monitoring_folder={tmp_path}")
    try:
        run = turnout.playbook("recovery_report", *options)
        assert run.rc == 0, run.tail
        assert "2 drills: 1 pass, 1 fail" in run.out
        assert f"drill {bad.id} failed since the last proof" in run.out
        assert bad.id in (tmp_path / "recovery.html").read_text()
        assert "changed" not in turnout.playbook("recovery_report", *options).out.partition("2/2")[2]
        seen = until(turnout, "turnout_drill_last_proof_timestamp_seconds")
        assert float(seen[0]["value"][1]) == good.ended.timestamp()
        assert until(turnout, 'ALERTS{alertname="DrillFailed", alertstate="firing"}')
        assert not query(turnout, 'ALERTS{alertname="DrillGrewSlower"}')
        assert until(turnout, "pg_stat_archiver_archived_count")
    finally:
        turnout.ssh("mon1", f"rm -f {TEXTFILE}")
        for name in EDGES:
            turnout.ssh(name, f"rm -f {LEDGER}")
