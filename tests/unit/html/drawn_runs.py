"""Folders of judged runs, drawn with a seed: what the run itself would have left, for the tests of reports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from turnout.judge import records
from turnout.judge.core import Judge
from turnout.judge.counters import Counter
from turnout.judge.model import Pair, Scrape
from turnout.judge.replay import history_dispersion, replay
from turnout.judge.report import judgement_json, reason
from turnout.slo import parse
from turnout.slo.model import for_judge

SLOS = Path(__file__).parents[3] / "inventories" / "lab" / "slos"
STARTED = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)
STEPS = (500, 2500, 10_000)


@dataclass(frozen=True)
class Drawn:
    """How a run is drawn. `bad` is the candidate's bad ratio in `bad_slo` from `onset_s` on."""

    seconds: int = 120
    rate: float = 200.0
    bad: float = 0.001
    bad_slo: str = "api-availability"
    onset_s: int = 0
    blind_from_s: int | None = None
    release: str = "1.4.2"


def write(folder: Path, drawn: Drawn) -> Path:
    """Write the run's folder and return it."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    declared = for_judge(parse.load(SLOS))
    sums = {name: {"stable": [0, 0], "candidate": [0, 0]} for name in declared}
    lines, share_bp, live = [], STEPS[0], None
    judged: list[Any] = []
    for t in range(-120, drawn.seconds):
        part = share_bp / 10_000 if t >= 0 else 0.0
        pairs = {}
        for name, colors in sums.items():
            rate = drawn.rate / (1 if name == "api-availability" else 3)
            for color, of in (("stable", 1 - part), ("candidate", part)):
                bad = drawn.bad if color == "candidate" and name == drawn.bad_slo and t >= drawn.onset_s else 0.001
                failed = int(rng.poisson(rate * of * bad))
                colors[color][0] += failed + int(rng.poisson(rate * of * (1 - bad)))
                colors[color][1] += failed
            seen = {color: Counter(*map(float, numbers)) for color, numbers in colors.items()}
            blind = drawn.blind_from_s is not None and t >= drawn.blind_from_s
            pairs[name] = Pair(seen["stable"], seen["candidate"] if t >= 0 and not blind else None)
        following = next((step for step in STEPS if step > share_bp), None)
        lines.append(records.line(Scrape(float(t), share_bp if t >= 0 else 0, following if t >= 0 else None, pairs)))
        if t < 0:
            continue
        live = live or _Live(lines[:-1], declared)
        judgement = live.judge(lines[-1])
        judged.append(judgement)
        if judgement.verdict.value == "promote" and following:
            share_bp = following
        if judgement.verdict.value == "rollback":
            break
    (folder / "release.jsonl").write_text("\n".join(lines) + "\n")
    said = [judgement_json(judgement, "release.jsonl") for judgement in judged]
    for line in said:
        problems = ["up is 0 for app2:8002"] if line["verdict"] == "blind" and line["t"] > 1 else []
        line |= {"at": (STARTED + timedelta(seconds=line["t"])).isoformat(), "problems": problems}
    (folder / "judgements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    told = {"run": "20260304T143000-c-1", "stable": "blue", "candidate": "green", "release": drawn.release}
    (folder / "judge.json").write_text(json.dumps(told))
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in _events(judged, drawn)))
    return folder


class _Live:
    """The judge, fed line by line as a run feeds it."""

    def __init__(self, history: list[str], declared: Any) -> None:
        self.history, self.declared, self.lines = history, declared, []
        self.judge_state: Any = None

    def judge(self, line: str) -> Any:
        names = list(self.declared)
        if self.judge_state is None:
            past = [records.parse(text) for text in self.history]
            self.core = Judge(list(self.declared.values()), history_dispersion(past, list(self.declared.values())))
            self.judge_state = self.core.begin({name: past[-1].slos[name] for name in names})
        self.judge_state, judgement = self.core.observe(self.judge_state, records.parse(line))
        return judgement


def _events(judged: list[Any], drawn: Drawn) -> list[dict[str, Any]]:
    def event(t: float, kind: str, **more: Any) -> dict[str, Any]:
        return {"ts": (STARTED + timedelta(seconds=t)).isoformat(timespec="milliseconds"), "event": kind, **more}

    last = judged[-1]
    found = [
        event(-40, "start", playbook="deploy", run="20260304T143000-c-1"),
        event(-30, "phase", phase="3/7 lay the release"),
        event(-25, "task", phase="3/7 lay the release", task="Lay", hosts={"app1": "changed", "app2": "changed"}),
        event(-1, "phase", phase="6/7 shift traffic to green"),
        event(0, "said", host="edge1", message=f"green ({drawn.release}) has 5 % of the traffic, it had 0 %"),
    ]
    verdict = None
    for judgement in judged:
        if judgement.verdict is not verdict:
            verdict = judgement.verdict
            found.append(
                event(
                    judgement.t_s,
                    "verdict",
                    verdict=verdict.value,
                    share_bp=judgement.share_bp,
                    why=reason(judgement),
                )
            )
    if verdict.value == "rollback":
        found.append(event(last.t_s, "decision", action="rollback", share_bp=last.share_bp, why=reason(last)))
        message = f"release {drawn.release} was rolled back: {reason(last)}"
        found.append(event(last.t_s + 1, "failed", phase="6/7 shift", task="Judge", host="edge1", message=message))
        found.append(event(last.t_s + 2, "end", how="failed", seconds=60.0))
    elif last.share_bp == 10_000:
        found.append(event(last.t_s, "decision", action="pass", share_bp=10_000, why="watched for 60 s"))
        found.append(event(last.t_s + 1, "end", how="ok", seconds=60.0))
    else:
        why = "nothing could be judged for 60 s (patience 60 s): up is 0 for app2:8002"
        found.append(event(last.t_s, "decision", action="undecided", share_bp=last.share_bp, why=why))
        found.append(event(last.t_s + 1, "failed", phase="6/7 shift", task="Judge", host="edge1", message=why))
        found.append(event(last.t_s + 2, "end", how="failed", seconds=60.0))
    return found


def replayed(folder: Path) -> list[Any]:
    """Return the judgements of the folder's recording."""
    return list(replay(records.read(folder / "release.jsonl"), for_judge(parse.load(SLOS))))
