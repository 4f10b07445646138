"""The scheduler's home: exactly one host runs it, after any reboot and whatever does not answer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.scheduler_home import choose
from turnout_host import home, watch
from turnout_host.home import ASK_AGAIN, START, STAY, verdict

HOSTS = ("app1", "app2", "app3")


def record(host: str, fence: int = 1, run: str = "r1") -> dict[str, Any]:
    return {"host": host, "fence": fence, "run": run}


# The record ---------------------------------------------------------------------------------------------------------


def test_the_newest_record_stays(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert home.read("shop", root) is None
    assert home.write("shop", record("app1", 3), root) is True
    assert home.write("shop", record("app1", 3), root) is False
    assert home.write("shop", record("app2", 2, "r9"), root) is False
    assert home.read("shop", root) == record("app1", 3)
    assert home.write("shop", record("app2", 3, "r2"), root) is True
    assert home.read("shop", root) == record("app2", 3, "r2")
    assert Path(home.path_of("shop", root)).stat().st_mode & 0o777 == 0o644


@given(st.binary(max_size=80))
def test_no_record_makes_the_program_fall(text: bytes) -> None:
    assert home.parse(text) is None or home.parse(text)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "a"}', '{"host": "a", "fence": "1", "run": "r"}'])
def test_a_damaged_record_counts_as_none_and_is_made_anew(tmp_path: Path, text: str) -> None:
    path = Path(home.path_of("shop", str(tmp_path)))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert home.read("shop", str(tmp_path)) is None
    assert home.write("shop", record("app1"), str(tmp_path)) is True


# What a host does when it starts anew -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "edges", "code"),
    [
        (record("app1"), {"edge1": (True, record("app1"))}, START),
        (record("app1"), {"edge1": (True, record("app2", 2))}, STAY),  # moved by a person's word while it was off
        (record("app1"), {"edge1": (False, None), "edge2": (True, record("app2", 2))}, STAY),
        (record("app1"), {"edge1": (True, record("app1")), "edge2": (True, record("app2", 2))}, STAY),
        (record("app1", 3), {"edge1": (True, record("app2", 2))}, START),  # an edge that was away
        (record("app1"), {"edge1": (False, None), "edge2": (False, None)}, ASK_AGAIN),
        (record("app2"), {"edge1": (False, None)}, STAY),
        (record("app1"), {"edge1": (True, None)}, START),
        (None, {"edge1": (True, None)}, START),  # no run has recorded a home yet
        (None, {"edge1": (True, record("app2"))}, STAY),
        (record("app1"), {}, START),
    ],
)
def test_a_host_that_starts_runs_the_scheduler_only_where_it_is_at_home(
    own: dict[str, Any] | None, edges: dict[str, Any], code: int
) -> None:
    assert verdict("app1", own, edges)[0] == code


def test_of_any_hosts_that_start_at_once_one_at_most_runs_the_scheduler() -> None:
    """Every home that was ever recorded on all edges, every subset of edges that answers, every stale record."""
    for current, stale in itertools.product(HOSTS, repeat=2):
        own = {name: record(current, 2) if name == current else record(stale, 1) for name in HOSTS}
        for up in itertools.product([True, False], repeat=2):
            edges = {f"edge{n}": (up, record(current, 2) if up else None) for n, up in enumerate(up)}
            running = [name for name in HOSTS if verdict(name, own[name], edges)[0] == START]
            assert len(running) <= 1
            assert running in ([], [current])


SSH = """#!/bin/sh
case "$*" in
  *turnout-home@10.0.0.1) cat "$ANSWERS/edge1" || exit 255 ;;
  *turnout-home@10.0.0.2) cat "$ANSWERS/edge2" || exit 255 ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    (tmp_path / "etc/turnout-host").mkdir(parents=True)
    edges = {"edge1": {"address": "10.0.0.1", "port": 22}, "edge2": {"address": "10.0.0.2", "port": 22}}
    config = {"host": "app1", "user": "turnout-home", "key": "/k", "known_hosts": "/h", "edges": edges}
    (tmp_path / "etc/turnout-host/shop.json").write_text(json.dumps(config))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("ANSWERS", str(tmp_path))
    home.write("shop", record("app1"), str(tmp_path))
    return tmp_path


UNIT = "shop-scheduler@blue.service"


def test_the_unit_starts_once_an_edge_answers_and_asks_no_more_until_the_next_reboot(host: Path) -> None:
    assert home.main(["shop", UNIT], str(host)) == ASK_AGAIN
    (host / "edge2").write_text(json.dumps(record("app1")))
    assert home.main(["shop", UNIT], str(host)) == START
    (host / "edge2").unlink()
    assert home.main(["shop", UNIT], str(host)) == START  # a crash while no edge answers
    home.forget_seen(UNIT, str(host))
    assert home.main(["shop", UNIT], str(host)) == ASK_AGAIN


def test_the_unit_stays_down_where_the_home_was_moved(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host / "edge1").write_text(json.dumps(record("app2", 2, "r2")))
    assert home.main(["shop", UNIT], str(host)) == STAY
    assert "home is app2 since run r2" in capsys.readouterr().err


def test_an_edge_that_answers_rubbish_has_answered_without_a_record(host: Path) -> None:
    (host / "edge1").write_text("rubbish")
    assert home.main(["shop", UNIT], str(host)) == START


# A host that was frozen, asleep or cut off while its home was moved ---------------------------------------------------


SYSTEMCTL = """#!/bin/sh
case "$1" in
  is-active) shift; for unit; do test -e "$ANSWERS/runs/$unit" && echo active || echo inactive; done; exit 3 ;;
  *) echo "$*" >> "$ANSWERS/told"; for unit; do :; done; rm -f "$ANSWERS/runs/$unit" ;;
esac
"""


@pytest.fixture
def woken(host: Path) -> Path:
    """Return a host on which the blue scheduler runs, as it did before."""
    (host / "bin/systemctl").write_text(SYSTEMCTL)
    (host / "bin/systemctl").chmod(0o755)
    (host / "runs").mkdir()
    (host / "runs" / UNIT).touch()
    (host / "var/lib/prometheus/node-exporter").mkdir(parents=True)
    home.mark_seen(UNIT, str(host))
    return host


def told(host: Path) -> list[str]:
    return (host / "told").read_text().splitlines() if (host / "told").exists() else []


def test_a_scheduler_whose_home_was_moved_is_stopped_and_stays_down(
    woken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (woken / "edge2").write_text(json.dumps(record("app2", 2, "r2")))  # edge1 does not answer
    assert watch.look("shop", str(woken)) == [UNIT]
    assert told(woken) == [f"--no-block disable --now {UNIT}"]
    assert "the scheduler's home is app2 since run r2" in capsys.readouterr().err
    (woken / "edge2").unlink()
    assert home.main(["shop", UNIT], str(woken)) == STAY  # it knows by itself now
    assert (woken / "var/lib/prometheus/node-exporter/turnout-units-shop.prom").exists()
    assert watch.look("shop", str(woken)) == []


@pytest.mark.parametrize("known", [None, record("app1"), record("app1", 7, "r7"), record("app2", 0, "r0")])
def test_a_scheduler_at_home_and_one_of_which_nobody_tells_runs_on(woken: Path, known: dict[str, Any] | None) -> None:
    if known:
        (woken / "edge1").write_text(json.dumps(known))
    assert watch.look("shop", str(woken)) == []
    assert told(woken) == []


def test_a_home_that_came_back_while_the_edges_were_asked_counts(woken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run records this host as the home, and starts the scheduler, between the answers and the stop."""
    (woken / "edge1").write_text(json.dumps(record("app2", 2, "r2")))
    asked = home.ask_all

    def slowly(config: Any) -> Any:
        found = asked(config)
        home.write("shop", record("app1", 3, "r3"), str(woken))
        return found

    monkeypatch.setattr(home, "ask_all", slowly)
    assert watch.look("shop", str(woken)) == []
    assert told(woken) == []


def test_where_no_scheduler_runs_no_edge_is_asked(woken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (woken / "runs" / UNIT).unlink()
    monkeypatch.setattr(home, "ask_all", lambda _: pytest.fail("it asked"))
    assert watch.look("shop", str(woken)) == []


@pytest.mark.parametrize("pauses", [[0.5] * 60, [0.5, 0.5, 18.0, 0.5]])
def test_it_looks_now_and_then_and_at_once_when_the_host_stood_still(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    now, looks, left = [1000.0], [], list(pauses)

    def sleep(_s: float) -> None:
        if not left:
            raise KeyboardInterrupt
        now[0] += left.pop(0)

    monkeypatch.setattr(watch.time, "clock_gettime", lambda _: now[0])
    monkeypatch.setattr(watch.time, "sleep", sleep)
    monkeypatch.setattr(watch, "look", lambda *_: looks.append(now[0] - 1000.0))
    with pytest.raises(KeyboardInterrupt):
        watch.main("shop")
    assert looks == ([0.0, 15.0, 30.0] if 18.0 not in pauses else [0.0, 19.0])


WHOLE = {
    "host": "app1",
    "user": "u",
    "key": "/k",
    "known_hosts": "/h",
    "edges": {"edge1": {"address": "::1", "port": 22}},
}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", json.dumps({**WHOLE, "edges": []}), json.dumps({**WHOLE, "edges": {"e": {}}}), None],
)
def test_a_host_whose_list_of_edges_is_damaged_asks_again_and_says_what_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "etc/turnout-host/shop.json"
    path.parent.mkdir(parents=True)
    path.mkdir() if text is None else path.write_text(text)
    assert home.main(["shop", "shop-scheduler@blue.service"], str(tmp_path)) == ASK_AGAIN
    said = capsys.readouterr().err
    assert str(path) in said and "turnout.ops.site --tags service_host" in said and "Traceback" not in said
    monkeypatch.setattr(watch, "running", lambda *_: ["shop-scheduler@blue.service"])
    with pytest.raises(home.ConfigError, match="expected: the edges"):
        watch.look("shop", str(tmp_path))


@pytest.mark.parametrize("error", [home.ConfigError("damaged"), ValueError("x"), KeyError("host"), OSError(28, "full")])
def test_the_watch_goes_on_whatever_a_look_meets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    looks: list[str] = []

    def look(service: str, root: str) -> list[str]:
        looks.append(service)
        if len(looks) > 2:
            raise KeyboardInterrupt
        raise error

    clock = itertools.count(0.0, watch.ASK_EVERY_S)
    monkeypatch.setattr(watch, "look", look)
    monkeypatch.setattr(watch.time, "clock_gettime", lambda _: next(clock))
    monkeypatch.setattr(watch.time, "sleep", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        watch.main("shop")
    assert capsys.readouterr().err.count("could not be seen") == 2


# Where a rollback starts it -----------------------------------------------------------------------------------------


def said(record_: dict[str, Any] | None) -> dict[str, Any]:
    return {"home": record_}


def test_it_stays_at_its_last_home_where_that_answers() -> None:
    answers = {"app1": said(record("app2", 2)), "app2": said(record("app2", 2)), "edge1": said(record("app2", 2))}
    decision = choose(["app1", "app2"], answers)
    assert (decision.host, decision.moved, decision.why) == ("app2", False, "")


def test_a_home_that_does_not_answer_counts_as_running_it() -> None:
    decision = choose(["app1", "app2"], {"app1": None, "app2": said(record("app1")), "edge1": said(record("app1"))})
    assert (decision.host, decision.moved) == ("", False)
    assert "app1 did not answer and counts as running it" in decision.why
    assert "-e scheduler_home=app2 -e 'break_glass=\"app1 is switched off for good\"'" in decision.why


def test_another_host_that_does_not_answer_is_no_reason_to_stop() -> None:
    decision = choose(["app1", "app2"], {"app1": said(record("app1")), "app2": None})
    assert (decision.host, decision.moved) == ("app1", False)


def test_without_a_record_every_worker_host_has_to_answer() -> None:
    assert choose(["app1", "app2"], {"app1": said(None), "app2": said(None)}).host == "app1"
    decision = choose(["app1", "app2"], {"app1": said(None), "app2": None})
    assert decision.host == "" and "app2 did not answer" in decision.why


def test_a_silent_home_is_told_to_be_taken_over_where_that_is_so_and_its_record_stays() -> None:
    answers = {"app1": None, "app2": said(record("app1")), "edge1": said(record("app1"))}
    decision = choose(["app1", "app2"], answers, takeover_s=60)
    assert (decision.host, decision.record) == ("", "app1")
    assert "another host takes over by itself within 60 s" in decision.why
    assert "takes over" not in choose(["app1", "app2"], answers).why


def test_a_host_that_took_over_is_the_home_until_the_next_run() -> None:
    answers = {"app1": said(record("app1")), "app2": said({**record("app2"), "term": 1}), "edge1": said(None)}
    assert choose(["app1", "app2"], answers).host == "app2"
    answers["edge1"] = said(record("app1", 2))
    assert choose(["app1", "app2"], answers).host == "app1"


def test_the_newest_record_counts_whoever_has_it() -> None:
    # app1 was off while its home was moved to app2, which is off now: an edge knows.
    answers = {"app1": said(record("app1", 1)), "app2": None, "edge1": said(record("app2", 2))}
    assert choose(["app1", "app2"], answers).host == ""


def test_a_home_that_left_the_inventory_is_gone() -> None:
    decision = choose(["app2", "app3"], {"app2": said(record("app1")), "app3": said(record("app1"))})
    assert (decision.host, decision.moved) == ("app2", True)


def test_a_person_moves_it_by_a_reason_and_only_to_a_host_that_answers() -> None:
    answers = {"app1": None, "app2": said(record("app1"))}
    decision = choose(["app1", "app2"], answers, word="app1 is switched off for good", named="app2")
    assert (decision.host, decision.moved) == ("app2", True)
    for word, named in (("", "app2"), ("  ", "app2"), ("gone", "app1"), ("gone", "app9")):
        with pytest.raises(TurnoutError):
            choose(["app1", "app2"], answers, word=word, named=named)


def test_a_service_without_workers_has_no_scheduler() -> None:
    decision = choose([], {"edge1": said(None)})
    assert (decision.host, decision.moved, decision.why) == ("", False, "")


@given(
    st.lists(st.sampled_from(HOSTS), unique=True, min_size=1),
    st.dictionaries(st.sampled_from([*HOSTS, "edge1"]), st.none() | st.sampled_from(HOSTS), max_size=4),
    st.sampled_from(HOSTS),
)
def test_it_never_starts_elsewhere_while_the_home_that_all_know_is_silent(
    workers: list[str], answers: dict[str, str | None], last: str
) -> None:
    known = {name: None if answer is None else said(record(last, 5)) for name, answer in answers.items()}
    decision = choose(workers, known)
    if any(known.values()) and last in workers and known.get(last) is None:
        assert decision.host == ""
    if decision.host:
        assert known.get(decision.host) is not None


# Formats ------------------------------------------------------------------------------------------------------------


def test_a_record_says_its_format_and_one_without_is_read(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert home.write("shop", record("app1"), root) is True
    path = Path(home.path_of("shop", root))
    assert json.loads(path.read_text()) == {"format": 1, **record("app1")}
    path.write_text(json.dumps(record("app1")))
    assert home.read("shop", root) == record("app1")
    assert home.write("shop", record("app1"), root) is False


@given(st.integers(2, 99), st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3))
def test_a_record_of_a_newer_format_counts_where_it_names_the_home(number: int, more: dict[str, Any]) -> None:
    text = json.dumps({**more, **record("app1", 7), "format": number}).encode()
    assert home.parse(text) == record("app1", 7)
    assert home.parse(json.dumps({**more, "format": number, "host": ["app1"]}).encode()) is None
