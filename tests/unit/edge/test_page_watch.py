"""The guard between deploys: takes a release back for a page of its own, once, and in every other case lets it be."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from edge_model import ModelEdge, edge_confirmed, edge_in_flight, edge_with_stable, hand_over
from turnout.slo import rules

sys.path.insert(0, str(Path(__file__).parents[3] / "roles" / "page_watch" / "files"))

import turnout_page_watch as guard


class Alertmanager:
    """A server that answers as Alertmanager's and Prometheus' APIs do, and remembers what it was asked.

    `burns` tells whether the budget burns now, and `burnt` whether it did at a moment that is asked for.
    """

    def __init__(self) -> None:
        self.burns: bool | bytes = True
        self.burnt = False
        self.queries: list[dict[str, list[str]]] = []
        self.alerts: Any = []
        self.status = 200
        self.asked: list[dict[str, list[str]]] = []
        manager = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                if self.path.startswith("/api/v1/query"):
                    self.judge(asked)
                    return
                manager.asked.append(asked)
                body = manager.alerts if isinstance(manager.alerts, bytes) else json.dumps(manager.alerts).encode()
                self.send_response(manager.status)
                self.end_headers()
                self.wfile.write(body)

            def judge(self, asked: dict[str, list[str]]) -> None:
                manager.queries.append(asked)
                burns = manager.burnt if "time" in asked else manager.burns
                result = [{"metric": {"slo": "api"}, "value": [1.8e9, "0.5"]}] if burns else []
                answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
                body = burns if isinstance(burns, bytes) else json.dumps(answer).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def manager() -> Iterator[Alertmanager]:
    running = Alertmanager()
    yield running
    running.server.shutdown()
    running.server.server_close()


def page(at: float, **labels: str) -> dict[str, Any]:
    return {
        "labels": {
            "alertname": "SloBudgetBurn",
            "severity": "page",
            "slo": "api",
            "service": "sample",
            "burn": "14.4",
            **labels,
        },
        "annotations": {"summary": "sample: API burns 14.4 times its budget"},
        "startsAt": datetime.fromtimestamp(at, tz=UTC).isoformat().replace("+00:00", "Z"),
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    }


def watch_of(edge: ModelEdge, manager: Alertmanager, **more: Any) -> guard.PageWatch:
    settings = {"alertmanagers": [manager.address], "prometheus": manager.address, "warm_s": 3600, "poll_s": 1, **more}
    return guard.PageWatch(edge, settings)


def now(edge: ModelEdge) -> float:
    return float(edge.clock.mark()["wall"])


def serving(edge: ModelEdge) -> str:
    return str(edge.load_state().stable)


@pytest.fixture
def edge() -> ModelEdge:
    """Return an edge whose green was confirmed a minute ago, with blue warm behind it."""
    made = edge_confirmed()
    made.run("lock release --run A")
    made.time.advance(60)
    assert (serving(made), made.load_state().previous) == ("green", "blue")
    return made


def test_a_page_that_began_after_the_release_was_confirmed_takes_it_back_on_the_record(edge, manager, capsys):
    release = edge.load_state().releases["green"]
    manager.alerts = [page(now(edge) - 5)]
    watch_of(edge, manager).tick()
    assert serving(edge) == "blue"
    assert edge.live()["green_bp"] == edge.disk_bp() == 0
    entry, back = edge.ledger.tail(2)  # in quarantine before anything moves
    assert (back["kind"], back["actor"]) == ("rollback", "page-watch")
    assert back["reason"].startswith("page: sample: API burns 14.4 times its budget (since ")
    assert (entry["kind"], entry["release"], entry["sha256"]) == (
        "quarantine",
        release["release"],
        release.get("sha256"),
    )
    assert entry["run"] == back["run"]
    assert edge.load_lock()["holder"] is None
    assert "all traffic is back on blue" in capsys.readouterr().err


def test_alertmanager_is_asked_for_pages_of_this_service_that_nobody_silenced(edge, manager):
    watch_of(edge, manager).tick()
    (asked,) = manager.asked
    assert asked["filter"] == ['alertname="SloBudgetBurn"', 'severity="page"', 'service="sample"']
    assert (asked["silenced"], asked["inhibited"], asked["active"]) == (["false"], ["false"], ["true"])


def left_alone(edge: ModelEdge, manager: Alertmanager, capsys: Any, words: str, **settings: Any) -> None:
    before = edge.load_state()
    ledger = len(edge.ledger.lines())
    watch = watch_of(edge, manager, **settings)
    for _ in range(3):
        watch.tick()
    assert edge.load_state() == before
    assert len(edge.ledger.lines()) == ledger
    said = capsys.readouterr().err
    assert words in said
    assert said.count(words) == 1, "told once, not at every look"


def test_a_page_from_before_the_release_is_not_its_fault(edge, manager, capsys):
    manager.alerts = [page(now(edge) - 3000)]
    left_alone(edge, manager, capsys, "they began before the release in service was confirmed")


def test_a_cold_way_back_is_left_to_a_person(edge, manager, capsys):
    edge.time.advance(4000)
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "counts as cold")


def test_a_run_that_holds_the_lock_is_not_interfered_with(edge, manager, capsys):
    edge.run("lock take --run A --ttl-s 60")
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "run A holds the lock")


def test_a_release_under_way_is_guarded_by_its_own_run(manager, capsys):
    edge = edge_in_flight()
    manager.alerts = [page(now(edge) - 1)]
    left_alone(edge, manager, capsys, "one under way")


def test_without_a_way_back_nothing_is_done(manager, capsys):
    edge = edge_with_stable()
    edge.run("lock release --run A")
    manager.alerts = [page(now(edge) - 1)]
    left_alone(edge, manager, capsys, "no way back")


def test_it_goes_back_once_and_never_further(edge, manager, capsys):
    manager.alerts = [page(now(edge) - 5)]
    watch_of(edge, manager).tick()
    assert serving(edge) == "blue"
    edge.time.advance(30)
    manager.alerts = [page(now(edge) - 5)]
    capsys.readouterr()
    left_alone(edge, manager, capsys, "no way back")


def test_a_release_that_a_person_let_go_again_is_never_taken_back_by_itself_twice(edge, manager, capsys):
    record = edge.load_state().releases["green"]
    manager.alerts = [page(now(edge) - 5)]
    watch_of(edge, manager).tick()
    manager.alerts = []
    edge.time.advance(60)
    edge.run("lock take --run B")
    edge.run("prepare --run B --color green", release=record)
    edge.run("move --run B --share-bp 10000")
    hand_over(edge, "green", run="B")
    edge.run("lock release --run B")
    assert serving(edge) == "green"
    edge.time.advance(60)
    manager.alerts = [page(now(edge) - 5)]
    capsys.readouterr()
    left_alone(edge, manager, capsys, "only a person takes it back again")


def test_where_no_server_of_the_old_color_is_up_it_says_so_and_moves_nothing(edge, manager, capsys):
    edge.proxy.statuses["sample-blue"] = {"app1": "DOWN", "app2": "DOWN"}
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "a page asks for the way back")
    assert edge.journal.tail(1)[0]["action"] == "page-unheeded"
    assert sum(line["action"] == "page-unheeded" for line in edge.journal.tail(50)) == 1


@pytest.mark.parametrize(
    ("alerts", "status"),
    [
        (b"<html>", 200),
        ({"status": "error"}, 200),
        ([{"labels": {}}], 200),
        ([{"labels": {}, "status": {"state": "active"}, "startsAt": "soon"}], 200),
        ([None], 200),
        ([], 500),
    ],
)
def test_an_answer_that_is_none_is_no_page_and_is_told(edge, manager, capsys, alerts, status):
    manager.alerts, manager.status = alerts, status
    left_alone(edge, manager, capsys, "no Alertmanager answers")


# A page alone is no proof ---------------------------------------------------------------------------------------------


def test_a_page_whose_burn_prometheus_does_not_see_moves_nobody(edge, manager, capsys):
    manager.burns = False
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "does not see the budget of api burn")
    assert manager.queries


def test_a_burn_from_before_the_release_is_not_its_fault_whatever_the_page_says(edge, manager, capsys):
    manager.burnt = True
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "burn before the release was confirmed")
    assert {query["time"][0] for query in manager.queries if "time" in query} == {f"{now(edge) - 60:.3f}"}


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"status": "error", "error": "no"}',
        b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": {"a": 1}}}',
        b'{"status": "success", "data": []}',
        b"[" * 100_000,
    ],
    ids=lambda answer: answer[:60],
)
def test_a_prometheus_that_gives_no_answer_moves_nobody(edge, manager, capsys, answer):
    manager.burns = answer
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "does not answer")


def test_a_prometheus_that_is_gone_moves_nobody(edge, manager, capsys):
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "does not answer", prometheus="http://127.0.0.1:1")


@pytest.mark.parametrize(
    "labels", [{"burn": "1"}, {"burn": "0"}, {"burn": "14.4 or 1"}, {"slo": 'x"} or vector(1) or up{a="'}, {"slo": ""}]
)
def test_a_page_that_no_rule_of_ours_can_send_asks_nothing(edge, manager, capsys, labels):
    manager.alerts = [page(now(edge) - 5, **labels)]
    left_alone(edge, manager, capsys, "which no rule of ours pages for")
    assert manager.queries == []


def test_one_true_page_among_forged_ones_is_enough_and_is_the_reason(edge, manager):
    manager.alerts = [page(now(edge) - 5, burn="0"), page(now(edge) - 5)]
    watch_of(edge, manager).tick()
    assert serving(edge) == "blue"
    assert edge.ledger.tail(1)[0]["reason"].count("since") == 1


def test_nothing_waits_for_a_server_while_the_edge_is_locked(edge, manager):
    inside = []
    locked = edge.locked

    def watched() -> Any:
        inside.append(len(manager.queries))
        return locked()

    edge.locked = watched
    manager.alerts = [page(now(edge) - 5)]
    watch_of(edge, manager).tick()
    assert inside == [2]
    assert len(manager.queries) == 2


def test_the_question_is_the_rules_own_condition():
    for burn in rules.BURNS:
        if burn.severity != rules.PAGE:
            assert rules.number(burn.factor) not in guard.WINDOWS
            continue
        query = guard.burn_query("api", "sample", rules.number(burn.factor))
        for window in (burn.long, burn.short):
            assert f'slo:bad_ratio:rate{window}{{slo="api",service="sample"}} > {burn.factor:g} * (1 - ' in query
    assert len(guard.WINDOWS) == sum(burn.severity == rules.PAGE for burn in rules.BURNS)


def test_an_error_that_nobody_foresaw_does_not_end_the_guard(edge, manager, capsys, monkeypatch):
    def broken(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(guard, "hindrance", broken)
    manager.alerts = [page(now(edge) - 5)]
    left_alone(edge, manager, capsys, "the watchdog goes on")


def test_the_next_alertmanager_is_asked_where_one_does_not_answer(edge, manager):
    manager.alerts = [page(now(edge) - 5)]
    watch_of(edge, manager, alertmanagers=["http://127.0.0.1:1", manager.address]).tick()
    assert serving(edge) == "blue"


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"severity": "ticket"}, 0),
        ({"alertname": "SloDataAbsent"}, 0),
        ({}, 1),
    ],
)
def test_only_pages_about_burnt_budget_count(change, kept):
    assert len(guard.pages_in([page(1e9, **change)])) == kept
    silenced = page(1e9, **change)
    silenced["status"]["state"] = "suppressed"
    assert guard.pages_in([silenced]) == []


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "{}",
        '{"alertmanagers": [], "warm_s": 1, "poll_s": 1}',
        '{"alertmanagers": ["x"], "warm_s": 1, "poll_s": 1}',
        '{"alertmanagers": ["http://a"], "prometheus": "http://a", "warm_s": 0, "poll_s": 1}',
        '{"alertmanagers": ["http://a"], "warm_s": 1, "poll_s": 1}',
        '{"alertmanagers": ["http://a"], "prometheus": "a", "warm_s": 1, "poll_s": 1}',
    ],
)
def test_settings_that_are_wrong_end_it_with_the_remedy(tmp_path, content):
    path = tmp_path / "page-watch.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=r"turnout\.ops\.watch"):
        guard.load_settings(str(path))


@pytest.mark.parametrize(
    ("entered", "went_back"),
    [("a1b2c3", True), ("d4e5f6", False), (None, True)],  # None: entered before configurations were on record
)
def test_only_the_configuration_that_went_back_is_left_to_a_person(edge, entered, went_back):
    named = {} if entered is None else {"configuration": entered}
    edge.ledger.append({"kind": "quarantine", "sha256": "ab" * 32, "release": "1.1.0", **named})
    record = {"release": "1.1.0", "sha256": "ab" * 32, "configuration": "a1b2c3"}
    assert guard.went_back_before(edge, record) is went_back
    assert not guard.went_back_before(edge, {**record, "sha256": "cd" * 32})
