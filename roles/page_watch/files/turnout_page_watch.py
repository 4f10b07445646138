#!/usr/bin/python3
"""Guards the release in service between deploys: a page on its SLOs takes the traffic back while that is still easy.

Runs on each edge, where the truth about traffic is, and needs no key to anything: it asks Alertmanager which pages are
on, and moves traffic through turnout-edge's own code, under its lock and on its record. Alertmanager's silences hold
here too: an alert that a person has silenced rolls nothing back.

A page alone moves nobody, for whoever reaches Alertmanager can post one: the burn is looked for in Prometheus. It must
see it now, and must not have seen it when the release was confirmed; where it does not answer, nothing moves.

It goes back at most once for a release, only from a release that was confirmed no longer than `warm_s` ago, only for a
page that began after that, and never while a run holds the lock or a candidate stands. The release is then in
quarantine: deploying it again needs a person's word. Workers are left as they are, as by `turnout-edge rollback`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from turnout_edge.change import note
from turnout_edge.edge import DEFAULT_CONFIG, Config, Edge
from turnout_edge.errors import Trouble
from turnout_edge.haproxy import Unreachable
from turnout_edge.journal import parse_line
from turnout_edge.lock import lock_is_fresh
from turnout_edge.request import Who
from turnout_edge.rollback import command_rollback
from turnout_edge.watch import notify, rollback_options, unforeseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from turnout_edge.errors import Json

DEFAULT_SETTINGS = "/etc/turnout/page-watch.json"
ALERT = "SloBudgetBurn"
ACTOR = "page-watch"
ANSWER_LIMIT_S = 3.0
LARGEST_ANSWER = 8_000_000
# The pairs of windows that page, by the factor at which the budget burns (see scripts/turnout/slo/rules.py).
WINDOWS = {"14.4": ("1h", "5m"), "6": ("6h", "30m")}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


class Page:
    """One page that is on: which SLO it is about, how fast its budget burns, what it says, and when it began (seconds
    since the epoch)."""

    def __init__(self, slo: str, burn: str, summary: str, began: float) -> None:
        self.slo = slo
        self.burn = burn
        self.summary = summary
        self.began = began

    def words(self) -> str:
        """Return it for a person."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.began))
        return f"{self.summary or self.slo} (since {at} UTC)"


def pages_in(answer: object) -> list[Page]:
    """Return the pages in Alertmanager's answer; raises ValueError for one that is no such answer."""
    if not isinstance(answer, list):
        raise ValueError("it is not a list of alerts")
    found = []
    for alert in answer:
        try:
            labels, state = alert["labels"], alert["status"]["state"]
            began = datetime.fromisoformat(alert["startsAt"].replace("Z", "+00:00")).timestamp()
        except (KeyError, TypeError, AttributeError, ValueError) as fault:
            raise ValueError(f"an alert in it cannot be read: {type(fault).__name__} {fault}") from fault
        if labels.get("alertname") == ALERT and labels.get("severity") == "page" and state == "active":
            annotations = alert.get("annotations") or {}
            slo, burn = str(labels.get("slo", "?")), str(labels.get("burn", "?"))
            found.append(Page(slo, burn, str(annotations.get("summary", "")), began))
    return found


def ask(address: str, service: str) -> list[Page]:
    """Return the pages on a service's SLOs that Alertmanager shows, silenced ones left out.

    Raises OSError or ValueError.
    """
    filters = [f'alertname="{ALERT}"', 'severity="page"', f'service="{service}"']
    words = [("active", "true"), ("silenced", "false"), ("inhibited", "false"), ("unprocessed", "false")]
    return pages_in(fetch(address, "/api/v2/alerts", words + [("filter", word) for word in filters]))


def fetch(address: str, path: str, words: list[tuple[str, str]]) -> object:
    """Return the JSON that a server answers; raises OSError or ValueError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    query = urllib.parse.urlencode(words)
    try:
        with opener.open(f"{address.rstrip('/')}{path}?{query}", timeout=ANSWER_LIMIT_S) as response:
            return json.loads(response.read(LARGEST_ANSWER))
    except (http.client.HTTPException, RecursionError) as fault:
        raise ValueError(f"its answer cannot be read: {type(fault).__name__}") from fault


def burn_query(slo: str, service: str, burn: str) -> str:
    """Return what Prometheus is asked: the page's own condition. Raises ValueError for what no page of ours can be."""
    if burn not in WINDOWS or not NAME.fullmatch(slo):
        raise ValueError(
            f"it is about SLO {slo[:40]!r} at {burn[:10]!r} times its budget, which no rule of ours pages for"
        )
    matching = f'{{slo="{slo}",service="{service}"}}'
    limit = f"{burn} * (1 - slo:objective{matching})"
    return " and ".join(f"(slo:bad_ratio:rate{window}{matching} > {limit})" for window in WINDOWS[burn])


def is_true(address: str, query: str, at: float | None = None) -> bool:
    """Tell whether a condition holds in Prometheus, now or at a moment; raises OSError or ValueError without answer."""
    words = [("query", query)] + ([("time", f"{at:.3f}")] if at is not None else [])
    answer = fetch(address, "/api/v1/query", words)
    if not isinstance(answer, dict) or answer.get("status") != "success" or not isinstance(answer.get("data"), dict):
        raise ValueError(f"its answer is none: {json.dumps(answer)[:200]}")
    result = answer["data"].get("result")
    if answer["data"].get("resultType") != "vector" or not isinstance(result, list):
        raise ValueError("its answer is no vector")
    return bool(result)


def confirmed_at(edge: Edge, run: object) -> float | None:
    """Return when the release in service was confirmed by `run`, seconds since the epoch; None where the journal does
    not tell."""
    for raw in reversed(edge.journal.lines()):
        if b'"confirm"' not in raw:
            continue
        line = parse_line(raw) or {}
        if line.get("event") == "result" and line.get("action") == "confirm":
            if line.get("run") != run:
                return None
            try:
                return datetime.fromisoformat(str(line.get("ts")).replace("Z", "+00:00")).timestamp()
            except ValueError:
                return None
    return None


def went_back_before(edge: Edge, record: Json | None) -> bool:
    """Tell whether a release was ever taken back by itself here, whatever a person said since.

    The same artifact with the same configuration is the same release; one without a checksum (adopted by hand) goes by
    its name, and what was entered without a configuration is about every one.
    """
    known = [key for key in ("sha256", "release") if (record or {}).get(key)][:1]
    named = (None, (record or {}).get("configuration"))
    for raw in edge.ledger.lines():
        if b'"quarantine"' in raw:
            entry = parse_line(raw) or {}
            same = all(entry.get(key) == (record or {})[key] for key in known)
            if entry.get("kind") == "quarantine" and same and entry.get("configuration") in named:
                return True
    return False


def hindrance(edge: Edge, warm_s: float) -> tuple[str | None, float]:
    """Return why nothing may be taken back by itself now (None where it may), and since when pages count."""
    state = edge.load_state()
    now = edge.clock.mark()
    holder = edge.load_lock()["holder"]
    since = confirmed_at(edge, state.confirmed_by) or 0.0
    record = state.releases[state.stable] if state.stable else None
    why = None
    if state.stable is None or state.candidate is not None:
        why = "no release in service, or one under way, which its own run guards"
    elif state.previous is None or state.undone is not None:
        why = "there is no way back from the release in service"
    elif holder is not None and lock_is_fresh(holder, now):
        why = f"run {holder['run']} holds the lock"
    elif not since:
        why = "the journal does not tell when the release in service was confirmed"
    elif now["wall"] - since > warm_s:
        why = f"the release in service was confirmed more than {warm_s:g} s ago: its way back counts as cold"
    elif went_back_before(edge, record):
        why = "the release in service went back by itself before: only a person takes it back again"
    return why, since


class PageWatch:
    """Asks Alertmanager, and takes the release in service back when a page says so."""

    def __init__(self, edge: Edge, settings: Json) -> None:
        self.edge = edge
        self.addresses: list[str] = list(settings["alertmanagers"])
        self.prometheus = str(settings["prometheus"])
        self.warm_s = float(settings["warm_s"])
        self.poll_s = float(settings["poll_s"])
        self.said = ""

    def say(self, text: str) -> None:
        """Tell the system's journal, once for each thing there is to tell."""
        if text and text != self.said:
            print(text, file=sys.stderr, flush=True)
        self.said = text

    def pages(self) -> list[Page] | None:
        """Return the pages that are on, from the first Alertmanager that answers; None where none does."""
        faults = []
        for address in self.addresses:
            try:
                return ask(address, self.edge.config.service)
            except (OSError, ValueError) as fault:
                faults.append(f"{address}: {fault}")
        self.say(f"{ACTOR}: no Alertmanager answers, so no page is seen: {'; '.join(faults)}")
        return None

    def tick(self) -> None:
        """Look once."""
        try:
            if not self.edge.has_state():
                return
            pages = self.pages()
            if pages is None:
                return
            if not pages:
                self.said = ""
                return
            why_not, since = hindrance(self.edge, self.warm_s)
            new = [page for page in pages if page.began > since]
            if why_not is None and not new:
                why_not = "they began before the release in service was confirmed"
            if why_not is None:  # asked before the edge is locked: nothing waits for a server while it is
                new, why_not = self.burning(new, since)
            if why_not is not None:
                self.say(f"{ACTOR}: {'; '.join(page.words() for page in pages)}; nothing is done: {why_not}")
                return
            with self.edge.locked():
                self.heed(new, since)
        except Trouble as fault:
            self.refused(fault)
        except (OSError, Unreachable) as fault:
            self.say(f"{ACTOR}: {fault}")
        except Exception as fault:  # a guard that ends guards nobody
            self.say(unforeseen(fault).replace("turnout-edge", ACTOR, 1))

    def burning(self, pages: list[Page], since: float) -> tuple[list[Page], str | None]:
        """Return the pages whose burn Prometheus sees, and did not see when the release was confirmed; or why none."""
        seen, faults = [], []
        for page in pages:
            try:
                query = burn_query(page.slo, self.edge.config.service, page.burn)
            except ValueError as fault:
                faults.append(str(fault))
                continue
            try:
                if not is_true(self.prometheus, query):
                    faults.append(f"Prometheus ({self.prometheus}) does not see the budget of {page.slo} burn")
                elif is_true(self.prometheus, query, since):
                    faults.append(f"Prometheus saw the budget of {page.slo} burn before the release was confirmed")
                else:
                    seen.append(page)
            except (OSError, ValueError) as fault:
                faults.append(f"Prometheus ({self.prometheus}) does not answer: {fault}")
        return seen, None if seen else "; ".join(dict.fromkeys(faults))

    def heed(self, new: list[Page], since: float) -> None:
        """Take the release in service back for these pages, unless something came in between. The edge is locked."""
        edge = self.edge
        why_not, since_now = hindrance(edge, self.warm_s)
        if why_not is None and since_now != since:
            why_not = "another release was confirmed meanwhile"
        if why_not is not None:
            self.say(f"{ACTOR}: {'; '.join(page.words() for page in new)}; nothing is done: {why_not}")
            return
        why = "; ".join(page.words() for page in new)
        options = rollback_options()
        options.reason = options.quarantine = f"page: {why}"
        result = command_rollback(edge, Who(None, ACTOR), options)
        self.say(f"{ACTOR}: {why}: {result['message']}")

    def refused(self, fault: Trouble) -> None:
        """Put on the record, once, that a page asked for the way back and it could not be gone."""
        text = f"{ACTOR}: a page asks for the way back, and: {fault.as_text()}"
        if text != self.said:
            try:
                note(self.edge, Who(None, ACTOR), "note", "page-unheeded", failed=fault.as_json())
            except OSError as unwritten:
                print(f"{ACTOR}: the journal could not be written: {unwritten}", file=sys.stderr)
        self.say(text)


def load_settings(path: str) -> Json:
    """Return the checked settings; raises SystemExit with a message for a person."""
    remedy = "to mend: ansible-playbook turnout.ops.watch"
    try:
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
        addresses = settings["alertmanagers"]
        asked = [*addresses, settings["prometheus"]]
        sound = all(str(address).startswith(("http://", "https://")) for address in asked) and addresses
        if not sound or not float(settings["warm_s"]) > 0 or not float(settings["poll_s"]) > 0:
            raise ValueError(f"it holds {settings}")
    except (OSError, ValueError, KeyError, TypeError) as fault:
        expected = "expected: alertmanagers and prometheus (addresses), warm_s and poll_s (seconds above 0)"
        raise SystemExit(f"{ACTOR}: {path}: {type(fault).__name__} {fault}; {expected}; {remedy}") from fault
    return dict(settings)


def main(words: list[str]) -> int:
    """Watch until told to stop."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGINT, lambda *_: stopping.append(1))
    settings = load_settings(words[0] if words else DEFAULT_SETTINGS)
    try:
        edge = Edge(Config.load(os.environ.get("TURNOUT_EDGE_CONFIG") or DEFAULT_CONFIG))
    except Trouble as fault:
        print(fault.as_text(), file=sys.stderr)
        return fault.exit_code
    watch = PageWatch(edge, settings)
    notify("READY=1")
    while not stopping:
        watch.tick()
        notify("WATCHDOG=1")
        deadline = time.monotonic() + watch.poll_s
        while not stopping and time.monotonic() < deadline:
            time.sleep(min(0.25, watch.poll_s))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
