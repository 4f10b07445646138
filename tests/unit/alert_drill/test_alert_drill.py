"""The fire alarm beside a real Prometheus, a real Alertmanager, and receivers that keep, refuse and are not there."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml
from alertmanager_server import alertmanager_program
from ansible_collections.turnout.ops.plugins.module_utils import alert_drill as here
from ansible_collections.turnout.ops.plugins.module_utils import probes
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.modules import alert_drill_here
from ports import free_port
from turnout import alert_drill
from turnout.errors import TurnoutError

SINK = Path(__file__).parents[3] / "roles/monitoring/files/turnout_alert_sink.py"
WAIT_S = 60.0
# Each has one thing in its way, but the first four; of the third the fourth is inhibited while both fire.
RULES = [
    {"alert": "Sound", "labels": {"severity": "page"}},
    {"alert": "Sound", "labels": {"severity": "ticket"}},
    {"alert": "Burn", "labels": {"severity": "page"}},
    {"alert": "Burn", "labels": {"severity": "ticket"}},
    {"alert": "Silenced", "labels": {"severity": "page"}},
    {"alert": "Inhibited", "labels": {"severity": "ticket", "area": "db"}},
    {"alert": "Refused", "labels": {"to": "refuses"}},
    {"alert": "Gone", "labels": {"to": "gone"}},
    {"alert": "Unread", "labels": {"to": "unread"}},
    {"alert": "Misread", "labels": {"to": "misread"}},
]


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        pass


def fetched(url: str, data: Any = None) -> bytes:
    answer = requests.get(url, timeout=5) if data is None else requests.post(url, json=data, timeout=5)
    answer.raise_for_status()
    return answer.content


def until(what: Callable[[], object], words: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, words
        time.sleep(0.1)


class Monitoring:
    """Prometheus, Alertmanager and receivers on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rules = folder, folder / "rules.d"
        self.rules.mkdir()
        self.ports = {name: free_port() for name in ("prometheus", "alertmanager", "sink", "refuses", "gone")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self) -> None:
        rules = [{**rule, "expr": "vector(0) > 0", "annotations": {"summary": "{{ $labels.host }} is down"}}
                 for rule in RULES]  # fmt: skip
        group = {"name": "own", "interval": "1s", "rules": rules}
        (self.rules / "own.yml").write_text(yaml.safe_dump({"groups": [group]}))
        target = {"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}
        config = {
            "global": {"evaluation_interval": "1s"}, "rule_files": [f"{self.rules}/*.yml"],
            "alerting": {"alertmanagers": [target]},
        }  # fmt: skip
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        names = {"sink": "sink", "refuses": "refuses", "gone": "gone", "unread": "sink", "misread": "sink"}
        receivers = [{"name": name, "webhook_configs": [{"url": self.address(at)}]} for name, at in names.items()]
        routes = [{"receiver": name, "matchers": [f"to={name}"]} for name in names if name != "sink"]
        inhibit = {
            "source_matchers": ["alertname=Source"], "target_matchers": ["alertname=Inhibited"], "equal": ["area"]
        }  # fmt: skip
        burns = ["alertname=Burn"]
        lesser = {"source_matchers": [*burns, "severity=page"], "target_matchers": [*burns, "severity=ticket"]}
        route = {
            "receiver": "sink",
            "group_wait": "1s",
            "group_interval": "2s",
            "group_by": ["alertname", "host"],
            "routes": routes,
        }
        told = {"route": route, "receivers": receivers, "inhibit_rules": [inhibit, lesser]}
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(told))
        refuses = http.server.ThreadingHTTPServer(("127.0.0.1", self.ports["refuses"]), Refuses)
        threading.Thread(target=refuses.serve_forever, daemon=True).start()
        self.run("sink", sys.executable, str(SINK), "127.0.0.1", str(self.ports["sink"]))
        prometheus = shutil.which("prometheus")
        assert prometheus, "prometheus is not installed; expected: the real one; to mend: make setup"
        self.run(
            "prometheus", prometheus, f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )  # fmt: skip
        self.run(
            "alertmanager", str(alertmanager_program(self.folder)), f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}", "--cluster.listen-address=",
        )  # fmt: skip
        for name in ("prometheus", "alertmanager"):
            until(lambda name=name: fetched(self.address(name) + "/-/ready") is not None, name)  # type: ignore[misc]
        until(lambda: fetched(self.address("sink")) == b"", "the sink")

    def run(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
            process.wait(10)

    def hinder(self) -> None:
        """Put a silence before one alert, and another alert before a second one."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "alertname", "value": "Silenced", "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(), "createdBy": "anna",
            "comment": "noisy last night",
        }  # fmt: skip
        fetched(self.address("alertmanager") + "/api/v2/silences", silence)
        source = [{"labels": {"alertname": "Source", "area": "db"}}]
        fetched(self.address("alertmanager") + "/api/v2/alerts", source)

    def drill(self, *names: str, **more: Any) -> list[dict[str, Any]]:
        """Lay the rules as the module does, follow them, and take them away."""
        given = {
            "allowed": True, "alerts": list(names), "labels": {"host": "drill"}, "longest_for_s": 0, "group_wait_s": 1,
            "group_interval_s": 2, "limit_s": 60, "prometheus": self.address("prometheus"),
            "alertmanager": self.address("alertmanager"),
            "read": {
                "sink": {"url": self.address("sink") + "/?mark={mark}"},
                "refuses": {"command": ["true", "{mark}"]}, "gone": {"command": ["true"]},
                "misread": {"url": self.address("gone")},
            },
        } | more  # fmt: skip
        one = here.Drill(alert_drill.question(given, check=False))
        one.look()

        def lay(text: str) -> None:
            (self.rules / "turnout-alert-drill.yml").write_text(text)
            os.kill(self.processes["prometheus"].pid, signal.SIGHUP)

        try:
            one.run(lay)
        finally:
            (self.rules / "turnout-alert-drill.yml").unlink()
            os.kill(self.processes["prometheus"].pid, signal.SIGHUP)
        seen: list[dict[str, Any]] = one.told()
        return seen


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    made = Monitoring(tmp_path_factory.mktemp("monitoring"))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def seen(monitoring: Monitoring) -> list[dict[str, Any]]:
    """Return what one drill of all alerts saw."""
    monitoring.hinder()
    return monitoring.drill()


def of(seen: list[dict[str, Any]], name: str, severity: str = "") -> dict[str, Any]:
    return next(one for one in seen if one["alert"] == name and severity in one["labels"].get("severity", ""))


def test_a_sound_alert_is_followed_to_its_receiver_in_its_time(seen: list[dict[str, Any]]) -> None:
    for severity in ("page", "ticket"):
        one = of(seen, "Sound", severity)
        assert alert_drill.proven(one), one
        assert one["fired_s"] <= one["routed_s"] <= one["delivered_s"]
        assert list(one["receivers"]) == ["sink"]


def test_one_that_another_of_the_drill_inhibits_is_seen_without_it(seen: list[dict[str, Any]]) -> None:
    assert alert_drill.proven(of(seen, "Burn", "page"))
    assert alert_drill.proven(of(seen, "Burn", "ticket")), of(seen, "Burn", "ticket")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "Silenced",
            r"silence [0-9a-f-]{36} of anna swallowed it \(alertname=\"Silenced\"; until .*: noisy last night\)",
        ),
        ("Inhibited", r"the alert Source \(area=db\) inhibited it"),
        ("Refused", r"the receiver refuses does not show it.*failed meanwhile: webhook: [1-9]"),
        ("Gone", r"the receiver gone does not show it.*failed meanwhile: webhook: [1-9]"),
        ("Unread", r"the receiver unread is not read back: alert_drill_read does not say how"),
        ("Misread", r"the receiver misread cannot be read back: Connection refused"),
    ],
)
def test_what_stands_before_an_alert_is_named(seen: list[dict[str, Any]], name: str, why: str) -> None:
    one = of(seen, name)
    assert not alert_drill.proven(one)
    assert re.search(why, one["hindrance"]), one["hindrance"]


def test_the_table_and_the_message_name_what_is_lacking(seen: list[dict[str, Any]]) -> None:
    text = alert_drill.render(seen, check=False)
    assert sum(line.endswith(" proven") for line in text.splitlines()) == 4
    assert text.count("NOT PROVEN") == len(RULES) - 4
    message = alert_drill.failure(seen, None, check=False)
    assert message is not None
    assert "6 of 10 alerts did not arrive; Silenced (page): silence" in message
    entry = alert_drill.entry("abc", seen)
    assert (entry["alerts"], entry["proven"], len(entry["lacking"])) == (10, 4, 6)


def test_an_unknown_alert_is_refused_with_the_known_ones(monitoring: Monitoring) -> None:
    with pytest.raises(ProbeError, match="no alert is called Sond; there are: Burn, Gone, Inhibited"):
        monitoring.drill("Sond")


def test_without_alertmanager_it_is_said_that_prometheus_sends_to_nobody_who_has_it(monitoring: Monitoring) -> None:
    (one,) = monitoring.drill("Unread", alertmanager=monitoring.address("gone"))
    assert "Alertmanager does not have it: Alertmanager at" in one["hindrance"]


def test_rules_that_stay_behind_go_out_by_themselves(monitoring: Monitoring, tmp_path: Path) -> None:
    """The expression is asked of Prometheus itself, before its time, in it and after it."""
    given = {"id": "a", "prometheus": monitoring.address("prometheus"), "alerts": ["Sound"], "longest_for_s": 0}
    one = here.Drill({**given, "limit_s": 60})
    one.look()
    for began, fires in ((time.time(), False), (time.time() - here.HOLD_S - 1, True), (time.time() - 100, False)):
        one.first = 0.0
        (tmp_path / "rules.yml").write_text(one.rules_text(began))
        checked = subprocess.run(
            ["promtool", "check", "rules", tmp_path / "rules.yml"], check=False, capture_output=True
        )
        assert checked.returncode == 0, checked.stdout
        query = quote(json.loads(one.rules_text(began))["groups"][0]["rules"][0]["expr"])
        answer = json.loads(fetched(f"{monitoring.address('prometheus')}/api/v1/query?query={query}"))
        assert bool(answer["data"]["result"]) is fires


def test_the_checklist_is_told_of_each_alert_when_it_was_seen_to_arrive(monitoring: Monitoring, tmp_path: Path) -> None:
    arguments = {"url": monitoring.address("prometheus"), "path": str(tmp_path / "alert-drill.json")}
    found = probes.KINDS["alerts_proven"](arguments, 5.0)
    assert [one["proven_at"] for one in found["alerts"]] == [None] * len(RULES)
    one = {"alert": "Sound", "labels": {"severity": "page"}, "delivered_s": 1.0, "hindrance": ""}
    alert_drill_here.remember(arguments["path"], [one], 1000.0)
    alert_drill_here.remember(arguments["path"], [{**one, "delivered_s": None, "hindrance": "a silence"}], 2000.0)
    found = probes.KINDS["alerts_proven"](arguments, 5.0)
    proven = [each for each in found["alerts"] if each["proven_at"] is not None]
    assert proven == [{"alert": "Sound", "severity": "page", "proven_at": 1000.0}]
    (tmp_path / "alert-drill.json").write_text("half a fi")
    assert not any(each["proven_at"] for each in probes.KINDS["alerts_proven"](arguments, 5.0)["alerts"])
    with pytest.raises(ProbeError, match="Prometheus at"):
        probes.KINDS["alerts_proven"]({**arguments, "url": monitoring.address("gone")}, 5.0)


GIVEN = {"allowed": True, "alerts": "A, B", "longest_for_s": 1, "group_wait_s": 1, "group_interval_s": 1, "limit_s": 9,
         "prometheus": "http://x", "alertmanager": "http://y", "read": {}}  # fmt: skip


def test_a_question_takes_names_as_a_list_or_by_commas() -> None:
    for names in ("A, B", ["A", "B"], "A B"):
        assert alert_drill.question({**GIVEN, "alerts": names}, check=False)["alerts"] == ["A", "B"]
    assert alert_drill.question({**GIVEN, "alerts": ""}, check=False)["alerts"] == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"allowed": False}, r"error\[alert-drill-allowed\].*alert_drill_allowed: true"),
        ({"limit_s": "soon"}, r"error\[alert-drill-number\]: alert_drill_limit_s: soon.*from 1 to 86400"),
        ({"longest_for_s": -1}, r"alert_drill_longest_for_s: -1"),
        ({"read": {"team": "https://x"}}, r"error\[alert-drill-read\]: alert_drill_read.team: str"),
        ({"read": {"team": {"url": "chat.example.org"}}}, r"alert_drill_read.team.url is no address"),
        ({"read": {"team": {"command": "cat x"}}}, r"alert_drill_read.team.command is no list of words"),
        ({"read": {"team": {"url": "https://x", "command": ["x"]}}}, r"alert_drill_read.team: url, command"),
        ({"read": {"team": {"place": "https://x"}}}, r"alert_drill_read.team: place"),
        ({"read": ["team"]}, r"alert_drill_read.: list"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_variable(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(TurnoutError) as refused:
        alert_drill.question({**GIVEN, **changed}, check=False)
    assert re.search(words, str(refused.value), re.DOTALL), refused.value


def test_check_mode_needs_no_word_that_pages_may_be_sent() -> None:
    assert alert_drill.question({**GIVEN, "allowed": False}, check=True)["limit_s"] == 9
