# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A fire alarm for alerts: each is made to fire by a series made for it, and followed to the end of its receiver.

Alerts that others of the drill inhibit fire once more without these.

The rules of a drill lie beside the real ones: the same name, labels and waiting time, and a mark by which one page is
told from all others. Their expression ends by the clock, so that a drill whose controller dies goes out by itself.
Stages: `fired` (Prometheus), `routed` (Alertmanager has it, and names receivers), `delivered` (the receiver shows it).
Times are seconds since the moment at which the expression became true.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError, describe, kind_of

MARK = "turnout_drill"
"""The label that tells a drill's alert from others; its value is `DRILL-NUMBER`."""
GROUP = "turnout-alert-drill"
LOOK_S = 0.5
"""Seconds between two looks."""
EVALUATIONS = 2
"""How many evaluations an alert may take beside its own waiting times."""
SLACK_S = 5.0
"""Seconds beside these, for the way to the receiver."""
HOLD_S = 10.0
"""Seconds until the expression becomes true. A Prometheus that reads its configuration again forgets its Alertmanagers
until it has looked for them (every 5 s), and what fires meanwhile is sent a minute later (discovery/manager.go,
notifier/notifier.go, rules/manager.go: resend delay)."""
ANSWER_S = 5.0
"""Seconds in which Prometheus and Alertmanager have to answer."""
FORMAT = 1
"""Of the file that keeps what was proven."""
LARGEST = 8_000_000
"""Bytes read of an answer."""


class Drill:
    """One drill: what is asked, and what is seen of each alert.

    `given` has `id`, `prometheus`, `alertmanager` (addresses), `alerts` (names; none means all), `read` (how each
    receiver's end is read), `longest_for_s`, `group_wait_s`, `group_interval_s`, `labels` and `limit_s`.
    """

    def __init__(self, given: dict) -> None:
        self.given = given
        self.alerts: list = []
        self.alertmanager_says = ""
        self.first = self.began = 0.0  # of the first round and of this one
        self.firing: set = set()  # marks of this round
        self.fingerprints: dict = {}  # of the drill's own alerts, to their marks

    # What is to be proven ------------------------------------------------------------------------------------------

    def look(self) -> list:
        """Return the alerts that are meant; raises ProbeError where Prometheus does not tell, or knows no such one."""
        rules = rules_of(self.given["prometheus"])
        wanted = self.given.get("alerts") or []
        known = sorted({rule["name"] for rule, _ in rules})
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ProbeError("missing", "no alert is called " + ", ".join(unknown) + "; there are: " + ", ".join(known))
        if not rules:
            raise ProbeError("missing", "Prometheus has no alerting rule")
        chosen = [(rule, every_s) for rule, every_s in rules if not wanted or rule["name"] in wanted]
        self.alerts = [self._alert(number, rule, every_s) for number, (rule, every_s) in enumerate(chosen, 1)]
        self.firing = {one["mark"] for one in self.alerts}
        return self.alerts

    def _alert(self, number: int, rule: dict, every_s: float) -> dict:
        for_s = min(float(rule.get("duration") or 0), float(self.given["longest_for_s"]))
        says = self._health(rule)
        return {
            "alert": rule["name"], "labels": dict(rule.get("labels") or {}), "mark": f"{self.given['id']}-{number:03d}",
            "for_s": for_s, "shortened": for_s < float(rule.get("duration") or 0), "every_s": every_s,
            "summary": (rule.get("annotations") or {}).get("summary", ""), "receivers": {}, "fired_s": None,
            "routed_s": None, "delivered_s": None, "status": {}, "read_said": {},
            "group_there": False, "hindrance": says, "rule_says": says,
        }  # fmt: skip

    @staticmethod
    def _health(rule: dict) -> str:
        if rule.get("health") == "err":
            return "its own rule cannot be evaluated: " + str(rule.get("lastError"))[:300]
        return ""

    def rules_text(self, now: float) -> str:
        """Return the rule file, and begin: this round's alerts fire from `HOLD_S` after `now` until the drill's limit.

        Those of earlier rounds are in it and end when this one begins: what ends with its rule, or while Prometheus
        has forgotten its Alertmanagers, stays on for minutes. `now` is in seconds since the epoch. JSON is YAML.
        """
        self.began = now + HOLD_S
        self.first = self.first or self.began
        rules = []
        for one in self.alerts:
            # What the series of a real alert would bring, such as the host, comes by labels that are given.
            labels = {**self.given.get("labels", {}), **one["labels"], MARK: one["mark"]}
            summary = re.sub(r"{{.*?}}", "…", one["summary"])
            until = self.began + (self.given["limit_s"] if one["mark"] in self.firing else 0)
            fires = " and on () ".join(
                ["vector(1)", f"(vector(time()) >= {self.first:.3f})", f"(vector(time()) < {until:.3f})"]
            )
            rules.append(
                {
                    "alert": one["alert"], "expr": fires, "for": f"{one['for_s'] * 1000:.0f}ms", "labels": labels,
                    "annotations": {"summary": f"DRILL {one['mark']}: {summary}"},
                }
            )  # fmt: skip
        return json.dumps({"groups": [{"name": GROUP, "rules": rules}]}, indent=1) + "\n"

    def due_s(self, one: dict) -> float:
        """Return the seconds within which an alert has to be there: its own waiting times, two evaluations and 5 s."""
        wait_s = self.given["group_interval_s"] if one["group_there"] else self.given["group_wait_s"]
        return one["for_s"] + wait_s + EVALUATIONS * (one["every_s"] or 15.0) + SLACK_S

    def run(self, lay) -> None:
        """Fire and follow, in rounds; `lay` has Prometheus read a rule file's text."""
        while True:
            lay(self.rules_text(time.time()))
            self.follow()
            if not self.again():
                break

    def told(self) -> list:
        """Return what is kept of each alert's drill. `due_s` is what it was allowed to take."""
        names = (
            "alert",
            "labels",
            "for_s",
            "shortened",
            "fired_s",
            "routed_s",
            "delivered_s",
            "receivers",
            "hindrance",
        )
        return [{**{name: one[name] for name in names}, "due_s": self.due_s(one)} for one in self.alerts]

    # Following it --------------------------------------------------------------------------------------------------

    def follow(self, now=time.time, sleep=time.sleep) -> None:
        """Look until every alert of the round is delivered, or its time and the drill's are over."""
        failed_before = self._failed()
        self._groups_there()
        while True:
            self._see(now)
            missing = [one for one in self.alerts if one["mark"] in self.firing and one["delivered_s"] is None]
            due_s = [self.due_s(one) for one in missing if not self._stands_before(one["status"])]
            if not due_s or now() - self.began > min(max(due_s), self.given["limit_s"]):
                break
            sleep(LOOK_S)
        self._explain(missing, failed_before)

    def _stands_before(self, status: dict) -> bool:
        """Tell whether nothing comes by waiting: a silence, or another alert. One of an earlier round ends."""
        by = [self.fingerprints.get(each) for each in status.get("inhibitedBy") or []]
        return bool(status.get("silencedBy")) or any(mark is None or mark in self.firing for mark in by)

    def again(self) -> bool:
        """Choose the alerts that only others of this drill inhibited, to fire alone; tell whether there are any.

        A page that inhibits its ticket does what it should, when both are made to fire at once.
        """
        held = [
            one
            for one in self.alerts
            if one["mark"] in self.firing and one["delivered_s"] is None and one["status"].get("inhibitedBy")
            and not one["status"].get("silencedBy")
            and all(self.fingerprints.get(each) in self.firing for each in one["status"]["inhibitedBy"])
        ]  # fmt: skip
        if not held or len(held) == len(self.firing):
            return False
        self.firing = {one["mark"] for one in held}
        for one in held:
            one.update(receivers={}, fired_s=None, routed_s=None, status={}, read_said={}, hindrance=one["rule_says"])
        return True

    def _see(self, now) -> None:
        for row in self._json("prometheus", "/api/v1/alerts", [])["data"]["alerts"]:
            one = self._of(row.get("labels", {}))
            fires = one and one["mark"] in self.firing and row.get("state") == "firing"
            if fires and one["fired_s"] is None:
                one["fired_s"] = self._passed(now)
        try:
            rows = self._json("alertmanager", "/api/v2/alerts", [("filter", f'{MARK}=~"{self.given["id"]}-.+"')])
        except ProbeError as error:
            self.alertmanager_says = str(error)
            return
        for row in rows:
            one = self._of(row["labels"])
            if one is None:
                continue
            self.fingerprints[row["fingerprint"]] = one["mark"]
            if one["mark"] not in self.firing:
                continue
            if one["routed_s"] is None:
                one["routed_s"] = self._passed(now)
            one["receivers"].update({each["name"]: one["receivers"].get(each["name"]) for each in row["receivers"]})
            one["status"] = row["status"]
        for one in self.alerts:
            if one["mark"] in self.firing:
                self._read(one, now)

    def _passed(self, now) -> float:
        """Return the seconds of this round; what was there before it began counts from its beginning."""
        return round(max(0.0, now() - self.began), 1)

    def _of(self, labels: dict) -> dict | None:
        mark = labels.get(MARK)
        return next((one for one in self.alerts if one["mark"] == mark), None)

    def _read(self, one: dict, now) -> None:
        """See at each receiver's end whether the page is there."""
        for name, seen in one["receivers"].items():
            way = self.given["read"].get(name)
            if seen is not None or way is None:
                continue
            try:
                if one["mark"] in self._text_at(way, one["mark"]):
                    one["receivers"][name] = self._passed(now)
            except ProbeError as error:
                one["read_said"][name] = str(error)
        seen = list(one["receivers"].values())
        if seen and all(value is not None for value in seen) and one["delivered_s"] is None:
            one["delivered_s"] = max(seen)

    def _text_at(self, way: dict, mark: str) -> str:
        limit_s = float(way.get("limit_s") or ANSWER_S)
        if way.get("command"):
            words = [str(word).replace("{mark}", mark) for word in way["command"]]
            try:
                done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ProbeError("error", f"{words[0]}: {type(error).__name__}") from error
            if done.returncode:
                raise ProbeError("error", f"{words[0]} ended with exit code {done.returncode}")
            return done.stdout
        url = str(way["url"]).replace("{mark}", mark)
        return fetch(url, limit_s, way.get("headers") or {}).decode("utf-8", "replace")

    # Why it did not come -------------------------------------------------------------------------------------------

    def _explain(self, waiting: list, failed_before: dict) -> None:
        failed = {
            name: count - failed_before.get(name, 0.0)
            for name, count in self._failed().items()
            if count > failed_before.get(name, 0.0)
        }
        for one in waiting:
            why = self._why(one, failed)
            one["hindrance"] = "; ".join(text for text in (one["hindrance"], why) if text)

    def _why(self, one: dict, failed: dict) -> str:
        if one["fired_s"] is None:
            return f"Prometheus did not fire it within {self.due_s(one):.0f} s"
        if one["routed_s"] is None:
            return "Prometheus fired it and Alertmanager does not have it: " + self._alertmanagers()
        status = one["status"]
        told = [self._silence(each) for each in status.get("silencedBy") or []]
        told += [self._inhibition(each) for each in status.get("inhibitedBy") or []]
        if told:
            return "; ".join(told)
        lacking = [name for name, seen in one["receivers"].items() if seen is None]
        for name in lacking:
            if name not in self.given["read"]:
                told.append(f"the receiver {name} is not read back: alert_drill_read does not say how")
            elif name in one["read_said"]:
                told.append(f"the receiver {name} cannot be read back: {one['read_said'][name]}")
            else:
                told.append(f"the receiver {name} does not show it after {self.due_s(one):.0f} s")
        if failed:
            counts = ", ".join(f"{name}: {count:.0f}" for name, count in sorted(failed.items()))
            told.append(f"requests of Alertmanager that failed meanwhile: {counts}")
        return "; ".join(told) or "no receiver was named"

    def _alertmanagers(self) -> str:
        if self.alertmanager_says:
            return self.alertmanager_says
        try:
            active = self._json("prometheus", "/api/v1/alertmanagers", [])["data"]["activeAlertmanagers"]
        except ProbeError as error:
            return str(error)
        known = ", ".join(each["url"] for each in active)
        return f"Prometheus sends to {known}" if known else "Prometheus knows no Alertmanager"

    def _silence(self, number: str) -> str:
        try:
            silence = self._json("alertmanager", f"/api/v2/silence/{urllib.parse.quote(number)}", [])
        except ProbeError:
            return f"silence {number} swallowed it"
        matchers = ", ".join(
            f"{each['name']}{'=' if each.get('isEqual', True) else '!'}{'~' if each.get('isRegex') else ''}"
            f"{'=' if not each.get('isEqual', True) and not each.get('isRegex') else ''}{json.dumps(each['value'])}"
            for each in silence["matchers"]
        )
        return (
            f"silence {number} of {silence['createdBy']} swallowed it ({matchers}; until {silence['endsAt'][:16]}: "
            f"{silence['comment'][:100]})"
        )

    def _inhibition(self, fingerprint: str) -> str:
        try:
            rows = self._json("alertmanager", "/api/v2/alerts", [])
        except ProbeError:
            rows = []
        by = next((row["labels"] for row in rows if row.get("fingerprint") == fingerprint), None)
        if by is None:
            return "another alert inhibited it"
        named = ", ".join(f"{name}={value}" for name, value in sorted(by.items()) if name != "alertname")
        return f"the alert {by.get('alertname')} ({named}) inhibited it"

    def _failed(self) -> dict:
        """Return how many requests of Alertmanager failed, by integration.

        (A notification itself counts as failed only when it is given up, after the group's interval.)
        """
        try:
            text = fetch(self.given["alertmanager"].rstrip("/") + "/metrics", ANSWER_S).decode("utf-8", "replace")
        except ProbeError:
            return {}
        counts: dict = {}
        for line in text.splitlines():
            found = re.match(r"alertmanager_notification_requests_failed_total{(.*)} (\S+)$", line)
            if found:
                name = dict(re.findall(r'(\w+)="([^"]*)"', found[1])).get("integration", "?")
                counts[name] = counts.get(name, 0.0) + float(found[2])
        return counts

    def _groups_there(self) -> None:
        """Mark the alerts whose group has sent already: a new one waits there for the group's interval."""
        try:
            groups = self._json("alertmanager", "/api/v2/alerts/groups", [])
        except ProbeError:
            return
        there = {alert["labels"].get("alertname") for group in groups for alert in group["alerts"]}
        for one in self.alerts:
            one["group_there"] = one["alert"] in there

    def _json(self, which: str, path: str, words: list):
        return _json(which, self.given[which], path, words)


def _json(which: str, address: str, path: str, words: list):
    named = {"prometheus": "Prometheus", "alertmanager": "Alertmanager"}[which]
    try:
        asked = path + ("?" + urllib.parse.urlencode(words) if words else "")
        return json.loads(fetch(address.rstrip("/") + asked, ANSWER_S))
    except ValueError as error:
        raise ProbeError("error", f"{named} at {address} gives no JSON at {path}") from error
    except ProbeError as error:
        raise ProbeError(error.kind, f"{named} at {address}: {error}") from error


def rules_of(prometheus: str) -> list:
    """Return the alerting rules that are no drill's, each with the seconds between two evaluations."""
    answer = _json("prometheus", prometheus, "/api/v1/rules", [("type", "alert")])
    return [
        (rule, float(group.get("interval") or 0))
        for group in answer["data"]["groups"]
        if group["name"] != GROUP
        for rule in group["rules"]
    ]


def known_in(path: str) -> dict:
    """Return what was proven earlier, by `key_of`; nothing where the file is not there or cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            kept = json.load(stream)
        return dict(kept["alerts"]) if kept.get("format") == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def proven(prometheus: str, path: str) -> list:
    """Return each alert that Prometheus has: `alert`, `severity`, `proven_at` (seconds since the epoch, or None)."""
    known = known_in(path)
    found = []
    for rule, _ in rules_of(prometheus):
        labels = dict(rule.get("labels") or {})
        at = known.get(key_of({"alert": rule["name"], "labels": labels}), {}).get("proven_at")
        found.append({"alert": rule["name"], "severity": labels.get("severity", ""), "proven_at": at})
    return found


def fetch(url: str, limit_s: float, headers: dict | None = None) -> bytes:
    """Return what a GET answers; raises ProbeError, whose text has neither the address nor a header."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        sent = {str(name): str(value) for name, value in (headers or {}).items()}
        request = urllib.request.Request(url, headers=sent)  # noqa: S310 - whoever asks has seen that it is http or https
        with opener.open(request, timeout=limit_s) as answer:
            return answer.read(LARGEST)
    except urllib.error.HTTPError as error:
        raise ProbeError("error", f"HTTP status {error.code}") from error
    except Exception as error:
        raise ProbeError(kind_of(error), describe(error) if isinstance(error, OSError) else type(error).__name__) from (
            error
        )


def key_of(one: dict) -> str:
    """Return by what an alert is known from drill to drill: its name and its own labels."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(one["labels"].items()))
    return f"{one['alert']}{{{labels}}}"
