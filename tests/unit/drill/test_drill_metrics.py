"""What Prometheus learns of drills."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from drill_examples import drill, drills
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turnout.drill.cli import drill as command
from turnout.drill.metrics import render
from turnout.drill.objectives import Objectives
from turnout.drill.record import Check, Drill, Mode, Outcome, line

ROOT = Path(__file__).parents[3]
TARGETS = Objectives(rpo_s=60, rto_s=600, max_age_s=172_800, detect_s=60, decide_s=300)
SAMPLE = re.compile(r'^([a-z_]+)(?:\{([a-z_]+="[a-z_]+"(?:,[a-z_]+="[a-z_]+")*)\})? (\S+)$')
BROKEN = (Check("rows", Outcome.FAIL, 0.1, "gone"),)


def samples(text: str) -> dict[str, float]:
    found = {}
    for row in text.splitlines():
        if not row.startswith("#"):
            match = SAMPLE.match(row)
            assert match, row
            found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    return found


def test_that_no_drill_has_run_is_a_figure() -> None:
    seen = samples(render([], TARGETS))
    assert seen["turnout_drill_last_proof_timestamp_seconds{}"] == 0
    assert seen["turnout_drill_last_run_timestamp_seconds{}"] == 0
    assert seen['turnout_recovery_objective_seconds{objective="max_age"}'] == 172_800
    assert not any(name.startswith(("turnout_drill_rpo", "turnout_drill_rto")) for name in seen)


def test_a_failed_drill_leaves_the_older_proof_its_age() -> None:
    good, bad = drill(0, lost_s=12.0), drill(1, checks=BROKEN, seconds={"smoke": None}, lost_s=30.0)
    seen = samples(render([good, bad], TARGETS))
    assert seen["turnout_drill_last_proof_timestamp_seconds{}"] == good.ended.timestamp()
    assert seen["turnout_drill_last_run_timestamp_seconds{}"] == bad.ended.timestamp()
    assert seen['turnout_drill_last_verdict{verdict="fail"}'] == 1
    assert seen['turnout_drill_last_verdict{verdict="pass"}'] == 0
    assert seen["turnout_drill_rpo_seconds{}"] == 30
    assert seen["turnout_drill_rto_seconds{}"] == good.rto_seconds


def test_phases_and_what_is_usual() -> None:
    history = [drill(n, seconds={"copy": 20.0 + n}) for n in range(4)]
    seen = samples(render([*history, drill(4, mode=Mode.RANDOM, seconds={"copy": 90.0})], TARGETS))
    assert seen['turnout_drill_phase_seconds{phase="copy",source="measured"}'] == 90
    assert seen['turnout_drill_phase_seconds{phase="detect",source="declared"}'] == 60
    assert seen["turnout_drill_measured_seconds{}"] == 111
    assert seen["turnout_drill_usual_seconds{}"] == 42
    assert seen["turnout_drill_rpo_seconds{}"] == 12.5
    assert "turnout_drill_usual_seconds{}" not in samples(render(history[:3], TARGETS))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drills(), max_size=5, unique_by=lambda one: one.id))
def test_any_history_is_text_that_prometheus_reads(history: list[Drill]) -> None:
    history.sort(key=lambda one: one.ended)
    assert samples(render(history, TARGETS))


def test_prometheus_own_program_finds_nothing_wrong() -> None:
    text = render([drill(n) for n in range(5)], TARGETS)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_rules_look_at_figures_that_are_exported() -> None:
    rules = yaml.safe_load((ROOT / "roles/recovery_monitoring/files/turnout-recovery.yml").read_text())
    looked = set(re.findall(r"\bturnout_[a-z_]+", " ".join(r["expr"] for g in rules["groups"] for r in g["rules"])))
    exported = {name.partition("{")[0] for name in samples(render([drill(n) for n in range(5)], TARGETS))}
    assert looked
    assert looked <= exported


def test_the_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drills").write_text(line(drill(0)) + "\n")
    out = tmp_path / "textfile" / "turnout-drill.prom"
    words = ["metrics", str(tmp_path / "drills"), "-i", str(ROOT / "inventories" / "lab"), "--out", str(out)]
    assert CliRunner().invoke(command, words, catch_exceptions=False).exit_code == 0
    before = out.read_text()
    assert out.stat().st_mode & 0o777 == 0o644

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "drills").write_text(line(drill(1)) + "\n")
    assert CliRunner().invoke(command, words).exit_code != 0
    assert out.read_text() == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]
