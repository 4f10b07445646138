"""A host and two edges that lease: files, SSH and systemd's part are there; only their programs are played."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from turnout_host import agent, home, witness

UNIT = "shop-scheduler@blue.service"
RECORD = {"host": "app1", "fence": 3, "run": "r3", "color": "blue"}
EDGES = ("edge1", "edge2")
SSH = """#!/bin/sh
for words; do :; done
case "$*" in *10.0.0.1*) edge=edge1 ;; *) edge=edge2 ;; esac
test -e "$ROOT/$edge/down" && exit 255
SSH_ORIGINAL_COMMAND="$words" exec python3 -IS -c "
import sys
sys.path.insert(0, '$LIBRARY')
from turnout_host import witness
sys.exit(witness.main('shop', '$ME', sys.argv[1]))" "$ROOT/$edge"
"""
SYSTEMCTL = """#!/bin/sh
test "$1" = --no-block && shift
verb=$1; shift
echo "$verb $*" >> "$ROOT/told"
for unit; do case "$unit" in
  -*) ;;
  *) case "$verb" in
    is-active) test -e "$ROOT/runs/$unit" && echo active || echo inactive ;;
    start) touch "$ROOT/runs/$unit" ;;
    stop) rm -f "$ROOT/runs/$unit" ;;
    enable) ln -sf "$unit" "$ROOT/$ME/etc/systemd/system/multi-user.target.wants/$unit" ;;
    disable) rm -f "$ROOT/$ME/etc/systemd/system/multi-user.target.wants/$unit" ;;
  esac ;;
esac; done
"""


class Bed:
    """Two hosts, of which one at a time is played, and two edges."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch, self.now_s = root, monkeypatch, 5000.0
        monkeypatch.setenv("ROOT", str(root))
        monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
        monkeypatch.setenv("LIBRARY", str(Path(agent.__file__).parents[1]))
        monkeypatch.setattr(agent, "clock", lambda: self.now_s)
        monkeypatch.setattr(agent, "ASK_S", 60.0)  # of a machine with much else to do
        for folder in ("bin", "runs"):
            (root / folder).mkdir()
        for name, text in (("ssh", SSH), ("systemctl", SYSTEMCTL)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        addresses = {edge: {"address": f"10.0.0.{n}", "port": 22} for n, edge in enumerate(EDGES, start=1)}
        for edge in EDGES:
            (root / edge / home.LEASES_DIR).mkdir(parents=True)
            told = {"takeover_s": 60, "edges": EDGES}
            (root / edge / home.HOMES_DIR / "shop.takeover").write_text(json.dumps(told))
        for host in ("app1", "app2"):
            (root / host / "etc/turnout-host").mkdir(parents=True)
            (root / host / "etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
            (root / host / f"etc/systemd/system/{UNIT}.d").mkdir()
            (root / host / f"etc/systemd/system/{UNIT}.d/turnout.conf").touch()
            config = {"host": host, "user": "u", "key": "/k", "known_hosts": "/h", "edges": addresses}
            config |= {"workers": ["app1", "app2"], "takeover_s": 60, "stop_s": 15}
            (root / host / "etc/turnout-host/shop.json").write_text(json.dumps(config))

    def on(self, host: str) -> tuple[dict[str, Any], str]:
        self.monkeypatch.setenv("ME", host)
        return json.loads((self.root / host / "etc/turnout-host/shop.json").read_text()), str(self.root / host)

    def turn(self, host: str) -> float:
        config, root = self.on(host)
        done = agent.turn("shop", config, root)
        agent.follow("shop", done, config, root)
        return done.until_s() - self.now_s

    def record(self, record: dict[str, Any], *names: str) -> None:
        for name in names:
            home.write("shop", record, str(self.root / name))

    def forget_lease(self, seconds: float) -> None:
        """Let time pass for the edges, whose program has the clock of this machine."""
        for edge in EDGES:
            path = self.root / edge / home.LEASES_DIR / "shop.json"
            state = json.loads(path.read_text())
            path.write_text(json.dumps(state | {"heard": state["heard"] - seconds}))

    def runs(self) -> bool:
        return (self.root / "runs" / UNIT).exists()

    def told(self) -> str:
        return (self.root / "told").read_text()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    bed = Bed(tmp_path, monkeypatch)
    bed.record(RECORD, "app1", "app2", *EDGES)
    return bed


def test_a_home_gets_its_lease_and_starts_what_starts_with_its_host(bed: Bed) -> None:
    bed.on("app1")
    assert home.main(["shop", UNIT], str(bed.root / "app1")) == home.STAY
    assert 30 < bed.turn("app1") < 40
    assert not bed.runs()  # nothing was enabled: a run that stops it is not worked against
    (bed.root / f"app1/etc/systemd/system/multi-user.target.wants/{UNIT}").symlink_to("x")
    bed.turn("app1")
    assert bed.runs()
    assert home.main(["shop", UNIT], str(bed.root / "app1")) == home.START


def test_another_host_takes_over_once_the_lease_is_over_and_not_before(bed: Bed) -> None:
    bed.turn("app1")
    assert bed.turn("app2") < 0
    assert not bed.runs()
    bed.forget_lease(46)
    assert 30 < bed.turn("app2") < 40
    assert bed.runs()
    assert (bed.root / f"app2/etc/systemd/system/multi-user.target.wants/{UNIT}").is_symlink()
    for name in ("app2", *EDGES):
        assert home.read("shop", str(bed.root / name)) == {**RECORD, "host": "app2", "term": 1}
    (bed.root / f"app1/etc/systemd/system/multi-user.target.wants/{UNIT}").symlink_to("x")
    assert bed.turn("app1") < 0  # it comes back
    assert not (bed.root / f"app1/etc/systemd/system/multi-user.target.wants/{UNIT}").is_symlink()
    _, root = bed.on("app1")
    assert home.main(["shop", UNIT], root) == home.STAY


def test_no_host_takes_over_by_one_edge_of_two(bed: Bed) -> None:
    bed.turn("app1")
    bed.forget_lease(46)
    (bed.root / "edge2/down").touch()
    bed.turn("app2")
    assert not bed.runs()
    (bed.root / "edge2/down").unlink()
    bed.turn("app2")
    assert bed.runs()


def test_a_home_that_hears_no_edge_stops_in_time_and_kills_what_is_left(bed: Bed) -> None:
    bed.turn("app1")
    (bed.root / "runs" / UNIT).touch()
    config, root = bed.on("app1")
    guard = agent.Guard("shop", root)
    bed.now_s += 21
    guard.look(config)
    assert bed.runs()
    bed.now_s += 3
    guard.look(config)
    assert not bed.runs()
    assert "kill" not in bed.told()
    (bed.root / "runs" / UNIT).touch()
    bed.now_s += 20
    agent.Guard("shop", root).look(config)  # a watch that was started anew
    assert "kill --kill-whom=all --signal=KILL" in bed.told() and not bed.runs()


def test_what_was_stopped_in_time_is_not_started_again_before_the_edges_lease_anew(bed: Bed) -> None:
    (bed.root / f"app1/etc/systemd/system/multi-user.target.wants/{UNIT}").symlink_to("x")
    bed.turn("app1")
    config, root = bed.on("app1")
    guard = agent.Guard("shop", root)
    for edge in EDGES:
        (bed.root / edge / "down").touch()
    for _ in range(2):  # the second look finds nothing that runs
        bed.now_s += 12
        guard.look(config)
        guard.look(config)
    assert not bed.runs()
    assert bed.turn("app1") > 0  # some seconds of the lease are left
    assert not bed.runs()
    assert home.main(["shop", UNIT], root) == home.STAY
    (bed.root / "runs" / UNIT).touch()  # whoever started it
    bed.now_s += 20
    guard.look(config)
    assert "kill --kill-whom=all --signal=KILL" in bed.told() and not bed.runs()
    reset = bed.told().count(f"reset-failed {UNIT}")
    guard.look(config)  # nothing runs any more
    assert bed.told().count(f"reset-failed {UNIT}") == reset + 1
    for edge in EDGES:
        (bed.root / edge / "down").unlink()
    bed.turn("app1")
    assert bed.runs()
    assert home.main(["shop", UNIT], root) == home.START


def test_where_it_was_switched_on_just_now_what_runs_goes_on_until_an_edge_leases(bed: Bed) -> None:
    (bed.root / "runs" / UNIT).touch()
    config, root = bed.on("app1")
    agent.Guard("shop", root).look(config)
    assert bed.runs()


def test_a_run_waits_for_the_lease_and_says_why_there_is_none(bed: Bed) -> None:
    _, root = bed.on("app1")
    assert agent.begin("shop", root) == ""
    _, root = bed.on("app2")
    why = agent.begin("shop", root)
    assert "its home is app1" in why and "service.takeover_s" in why and "to mend" in why


def test_a_host_that_is_no_home_any_more_stops_and_gives_its_lease_back(bed: Bed) -> None:
    bed.turn("app1")
    (bed.root / "runs" / UNIT).touch()
    bed.record({**RECORD, "host": "app2", "fence": 4}, "app1", "app2", *EDGES)
    assert bed.turn("app2") < 0
    _, root = bed.on("app1")
    assert agent.leave("shop", 5, root) == ""
    assert not bed.runs()
    assert bed.turn("app2") > 30


@pytest.mark.parametrize("text", ["", "{", "[]", '{"do": "give"}', '{"do": "take"}', '{"do": 1}', "x" * 5000])
def test_an_edge_answers_rubbish_without_a_traceback(
    bed: Bed, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", text)
    assert witness.main("shop", "app2", str(bed.root / "edge1")) == 0
    told = json.loads(capsys.readouterr().out)
    assert not told.get("granted")
    if not text:
        assert home.checked(told) == RECORD  # as a host of an older Turnout asks


@pytest.mark.parametrize("text", ["", "{", "[]", '{"holder": "app1"}'])
def test_an_edge_whose_state_is_damaged_leases_to_no_other_host(bed: Bed, text: str) -> None:
    bed.turn("app1")
    for edge in EDGES:
        (bed.root / edge / home.LEASES_DIR / "shop.json").write_text(text)
    assert bed.turn("app2") < 0
    assert bed.turn("app1") > 30


JOB = "shop-timer-nightly@blue.service"


def test_a_job_of_a_timer_begins_once_the_edges_have_heard_of_it(bed: Bed) -> None:
    _, root = bed.on("app1")
    assert home.main(["shop", JOB], root) == home.START
    for edge in EDGES:
        state = json.loads((bed.root / edge / home.LEASES_DIR / "shop.json").read_text())
        assert state["holder"] == "app1"
    _, root = bed.on("app2")
    assert home.main(["shop", JOB], root) == home.STAY


def test_a_taker_makes_up_for_what_was_due_since_the_last_word_of_the_home(bed: Bed) -> None:
    folder = bed.root / f"app2/etc/systemd/system/{JOB}.d"
    folder.mkdir()
    declared = {"on_calendar": ["daily"], "persistent": True, "random_delay_s": 0}
    (folder / "turnout.conf").write_text(f"X-Turnout-Timer={json.dumps(declared)}\n")
    bed.turn("app1")
    spoke = time.time()
    bed.forget_lease(500)
    bed.turn("app2")
    stamp = bed.root / "app2/var/lib/systemd/timers/stamp-shop-timer-nightly@blue.timer"
    assert spoke - 500 <= stamp.stat().st_mtime + 1 <= time.time() - 498
    assert (bed.root / "runs/shop-timer-nightly@blue.timer").exists()


def test_switched_off_and_on_again_it_goes_on_as_when_it_was_new(bed: Bed) -> None:
    bed.turn("app1")
    (bed.root / "runs" / UNIT).touch()
    config, root = bed.on("app1")
    assert agent.knew_leases("shop", root)
    agent.forget("shop", root)
    agent.forget("shop", root)
    bed.now_s += 1000
    agent.Guard("shop", root).look(config)
    assert bed.runs()


def test_a_take_over_that_took_two_turns_makes_up_for_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.turn("app1")
    bed.forget_lease(500)
    ask = agent.ask

    def without_the_last(config: Any, requests: Any) -> Any:
        answers = ask(config, requests)
        return {} if any(one["do"] == "renew" for one in requests.values()) else answers

    monkeypatch.setattr(agent, "ask", without_the_last)
    assert bed.turn("app2") < 0
    monkeypatch.setattr(agent, "ask", ask)
    config, root = bed.on("app2")
    assert agent.turn("shop", config, root).has
    durable = json.loads((bed.root / "app2" / home.HOMES_DIR / "shop.held").read_text())
    assert (durable["taken"], durable["since"]) == ([3, "r3", 1], None)
