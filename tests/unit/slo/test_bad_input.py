"""What a person can get wrong in an SLO file or a plan, as the command says it: file, field, and what mends it.

A query that returns nothing or several kinds of series is asked of a real Prometheus in tests of the judge's reader.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from turnout.errors import TurnoutError
from turnout.judge.plan import plan

SHIPPED = Path(__file__).parents[3] / "inventories" / "lab" / "slos" / "api-availability.yml"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("turnout")
    return subprocess.run([program, "slo", "check", folder], capture_output=True, text=True, check=False, timeout=120)


def without_total(text: str) -> str:
    head, _, tail = text.partition("        total:\n")
    assert tail
    return head


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        (
            lambda text: text.replace("target: 0.995", "target: 1"),
            "spec.objectives[0].target",
            "write an objective below 100 %",
        ),
        (
            lambda text: text.replace("target: 0.995", "target: 1.2"),
            "spec.objectives[0].target",
            "write an objective below 100 %",
        ),
        (without_total, "spec.indicator.spec.ratioMetric", "total"),
        (lambda text: text.replace("kind: SLO", "kind: Slo"), "kind", "kind: SLO"),
        (lambda text: text.replace("type: availability", "type: uptime"), "turnout.dev/type", "latency"),
    ],
    ids=["objective of 100 %", "objective above 100 %", "no total query", "unknown kind", "unknown type"],
)
def test_the_command_names_file_field_and_remedy_and_shows_no_traceback(tmp_path, change, field, remedy):
    text = SHIPPED.read_text()
    changed = change(text)
    assert changed != text
    (tmp_path / "api.yml").write_text(changed)
    done = check(tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (named,) = [line for line in done.stderr.splitlines() if f"{tmp_path}/api.yml:" in line]
    assert field in named
    assert remedy in done.stderr
    assert "to mend:" in done.stderr


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"shares_bp": (2500, 500, 10_000)}, "steps[1].share_bp", "let the shares grow"),
        ({"bake_s": 60.0}, "bake_s", "write bake_s: 300 or more"),
    ],
    ids=["steps that do not grow", "bake time shorter than the fastest window"],
)
def test_a_plan_names_file_field_and_remedy(change, field, remedy):
    sound = {"shares_bp": (500, 10_000), "patience_s": 600.0, "bake_s": 300.0, "where": "group_vars/all/service.yml"}
    assert plan(**sound).bake_s == 300.0
    with pytest.raises(TurnoutError) as caught:
        plan(**(sound | change))
    assert f"group_vars/all/service.yml: {field}" in caught.value.observed
    assert remedy in caught.value.remedy
