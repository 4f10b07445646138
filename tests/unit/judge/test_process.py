"""The judge's process against a real Prometheus: what it refuses, decides and records."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_world import INTERVAL_S, PATIENCE_S, ROUTED_SLO, routed, series
from turnout.judge import meeting, records
from turnout.judge.meeting import Told
from turnout.judge.replay import replay
from turnout.judge.report import judgement_json
from turnout.keeper import process_started
from turnout.slo import parse
from turnout.slo.model import for_judge


class Bench:
    """One judge's process in a run's folder, and the traffic that it judges."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *, prometheus: str | None = None, patience_s: float = 60.0, probes_per_s: float = 0.0, **slos: str
    ) -> None:
        self.world.slos(**slos)
        self.slo_folder = max(self.world.folder.glob("slos-*"))
        told = Told(
            run="r1",
            prometheus=prometheus or self.world.url,
            slos=str(self.slo_folder),
            stable="blue",
            candidate="green",
            shares_bp=(500, 2500, 10_000),
            patience_s=patience_s,
            bake_s=2.0,
            since_s=0.0,
            probes_per_s=probes_per_s,
            parent_pid=os.getpid(),
            parent_started=process_started(os.getpid()),
        )
        meeting.tell(self.folder, told)
        with (self.folder / meeting.LOG).open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "turnout.judge.process", str(self.folder)], stdout=log, stderr=log
            )

    def until(self, seen: Callable[[], object], what: str, traffic: Callable[[], None] = lambda: None) -> Any:
        end = time.monotonic() + PATIENCE_S
        while True:
            traffic()
            found = seen()
            if found:
                return found
            assert self.process is not None
            assert time.monotonic() < end, (what, (self.folder / meeting.LOG).read_text())
            time.sleep(INTERVAL_S / 4)

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = self.until(lambda: meeting.read(self.folder, meeting.READY), "the judge to be ready")
        return found

    def step(self, share_bp: int) -> None:
        meeting.write(self.folder, meeting.STEP, {"share_bp": share_bp})

    def decision(self, share_bp: int, traffic: Callable[[], None] = lambda: None) -> dict[str, Any]:
        def seen() -> object:
            found = meeting.read(self.folder, meeting.DECISION)
            return found if found is not None and found["share_bp"] == share_bp else None

        found: dict[str, Any] = self.until(seen, f"a decision at {share_bp}", traffic)
        return found

    def traffic(self, good: int, bad: int) -> Callable[[], None]:
        def add() -> None:
            self.world.apps["blue1"].add(series(200), 200)
            self.world.apps["green1"].add(series(200), good)
            self.world.apps["green1"].add(series(500), bad)

        return add

    def judgements(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / meeting.JUDGEMENTS).read_text().splitlines()]

    def end(self) -> int:
        meeting.write(self.folder, meeting.END, {})
        assert self.process is not None
        return self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def bench(fresh: Any, tmp_path: Path) -> Iterator[Bench]:
    time.sleep(3 * INTERVAL_S)  # a judge asks for some history, also of a Prometheus that was started just now
    made = Bench(fresh, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_a_sound_release_goes_up_is_watched_and_replays_to_the_same_verdicts(bench: Bench) -> None:
    bench.start(probes_per_s=2.5)
    said = bench.ready()
    assert "error" not in said, said
    notes = said["notes"]
    assert "judged by api" in notes[0]
    assert "synthetic probes are on: 2.5 requests/s" in notes[1]
    actions = []
    for share_bp in (500, 2500, 10_000):
        bench.step(share_bp)
        actions.append(bench.decision(share_bp, bench.traffic(40, 0))["action"])
    assert actions == ["promote", "promote", "pass"]
    assert bench.end() == 0
    recording = records.read(bench.folder / meeting.RECORDING)
    assert recording.history
    assert all('"probes_per_s":2.5' in line for line in (bench.folder / meeting.RECORDING).read_text().splitlines())
    again = [judgement_json(j, meeting.RECORDING) for j in replay(recording, for_judge(parse.load(bench.slo_folder)))]
    live = bench.judgements()
    assert {judgement["verdict"] for judgement in live} >= {"promote", "continue"}
    for line in live:
        assert line.pop("at").endswith("+00:00")
        assert line.pop("problems") == []
        assert line.pop("probes_per_s") == 2.5
    assert json.loads(json.dumps(again)) == live


def test_a_bad_release_goes_back_and_the_decision_stays(bench: Bench) -> None:
    bench.start()
    bench.ready()
    bench.step(500)
    decision = bench.decision(500, bench.traffic(5, 5))
    assert decision["action"] == "rollback"
    assert "api: candidate" in decision["why"]
    time.sleep(3 * INTERVAL_S)
    assert meeting.read(bench.folder, meeting.DECISION) == decision
    assert "rollback at 5 %" in (bench.folder / meeting.LINES).read_text()


def test_what_users_meet_while_the_edges_get_a_share_is_of_that_share_and_nothing_is_promoted_yet(bench: Bench) -> None:
    bench.start()
    bench.ready()
    meeting.write(bench.folder, meeting.STEP, {"share_bp": 2500, "moving": True})
    bench.until(
        lambda: any(one["verdict"] == "promote" for one in bench.judgements()), "enough evidence", bench.traffic(40, 0)
    )
    assert meeting.read(bench.folder, meeting.DECISION) is None
    decision = bench.decision(2500, bench.traffic(1, 30))
    assert decision["action"] == "rollback"
    assert "rollback at 25 %" in (bench.folder / meeting.LINES).read_text()
    assert {one["share_bp"] for one in bench.judgements() if one["verdict"] != "blind"} == {2500}


@pytest.mark.parametrize("action", ["rollback", "undecided"])
def test_an_edge_that_went_back_by_itself_decides_at_once_and_only_what_was_proven_is_a_rollback(
    bench: Bench, action: str
) -> None:
    """An edge that could not be reached, or lost its share to somebody else, proves nothing against the release."""
    bench.start()
    bench.ready()
    bench.step(500)
    meeting.write(bench.folder, meeting.GUARD, {"edge": "edge1", "action": action, "why": "5xx"})
    decision = bench.until(lambda: meeting.read(bench.folder, meeting.DECISION), "the decision")
    assert (decision["action"], decision["why"]) == (action, "edge1: 5xx")
    assert decision["share_bp"] == 500
    lines = bench.folder / meeting.LINES
    bench.until(lambda: re.search(f"^{action} at 5 %: edge1: 5xx$", lines.read_text(), re.M), "the line for a person")


def test_a_prometheus_that_falls_silent_holds_and_then_is_undecided(bench: Bench) -> None:
    bench.start(patience_s=4.0)
    bench.ready()
    bench.step(500)
    bench.until(lambda: len(bench.judgements()) > 2, "some judgements", bench.traffic(1, 0))
    os.kill(bench.world.process.pid, signal.SIGSTOP)
    decision = bench.decision(500)
    assert decision["action"] == "undecided"
    assert "gave no answer" in decision["why"]
    assert bench.judgements()[-1]["verdict"] == "blind"


def test_no_traffic_is_never_a_pass(bench: Bench) -> None:
    bench.start(patience_s=3.0)
    bench.ready()
    bench.step(500)
    decision = bench.decision(500)
    assert decision["action"] == "undecided"
    assert "no traffic" in decision["why"]
    assert {judgement["verdict"] for judgement in bench.judgements()} == {"blind"}


def test_it_ends_with_its_playbook(bench: Bench) -> None:
    bench.start()
    bench.ready()
    (bench.folder / "ended").write_text("ok")
    assert bench.process is not None
    assert bench.process.wait(timeout=PATIENCE_S) == 0


def refused(bench: Bench) -> dict[str, Any]:
    said = bench.ready()
    assert "error" in said, said
    assert bench.process is not None
    assert bench.process.wait(timeout=PATIENCE_S) == 1
    assert "Traceback" not in (bench.folder / meeting.LOG).read_text()
    return said


def test_no_prometheus_is_refused_before_anything_moves(bench: Bench) -> None:
    bench.start(prometheus="http://127.0.0.1:9")
    assert refused(bench)["code"] == "prometheus-unreachable"


def test_a_query_without_series_is_refused_and_named(bench: Bench) -> None:
    bench.start(total='http_reqests_total{job="api"}')
    said = refused(bench)
    assert said["code"] == "query-nothing"
    assert "http_reqests_total" in said["error"]


def test_a_candidate_that_is_not_scraped_is_refused(bench: Bench) -> None:
    bench.world.apps["green1"].stop()
    try:
        time.sleep(4 * INTERVAL_S)  # until its last sample is stale: an older one than two scrapes
        bench.start()
        assert refused(bench)["code"] == "sample-stale"
    finally:
        bench.world.apps["green1"].start()


def test_a_query_with_several_series_is_refused_and_names_the_labels(bench: Bench) -> None:
    bench.world.apps["blue1"].set(**routed("/", "/other"))
    bench.world.apps["green1"].set(**routed("/"))
    bench.world.scraped("blue1", "green1")
    bench.start(**ROUTED_SLO)
    said = refused(bench)
    assert said["code"] == "query-several"
    assert "path" in said["error"]
