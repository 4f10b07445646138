"""The table, the JSON object, the options and the state file of the fault matrix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faults.cases import FAULTS, Timeline
from faults.matrix import Options, State
from faults.table import result_line, summary, table
from faults.verdict import Seen


def ended(fault: str, *problems: str, action: str = "deploy") -> dict[str, object]:
    figures = {"requests": 100, "held": 2, "failed": 0, "settled_s": 3.5, "jobs": 10, "slots_doubled": 0}
    return Seen(f"{action} / {fault}", action, fault, problems=list(problems), figures=figures, seconds=40.0).as_json()


def test_a_matrix_that_ran_no_case_is_not_well() -> None:
    assert summary([])["ok"] is False


def test_one_failed_case_makes_the_whole_fail_and_is_named() -> None:
    told = summary([ended("ctrl-c"), ended("asleep", "two schedulers")], seed=3)
    assert (told["ok"], told["cases"], told["passed"], told["failed"], told["seed"]) == (False, 2, 1, 1, 3)
    assert told["failures"] == [{"case": "deploy / asleep", "problems": ["two schedulers"]}]
    assert told["by_fault"] == {"asleep": {"cases": 1, "passed": 0}, "ctrl-c": {"cases": 1, "passed": 1}}
    assert json.loads(json.dumps(told)) == told


def test_all_passed_is_well() -> None:
    assert summary([ended("ctrl-c")])["ok"] is True


def test_the_table_has_a_row_for_each_action_and_fault_and_one_for_all() -> None:
    rows = table([ended("ctrl-c"), ended("ctrl-c", "x"), ended("ctrl-c", action="rollback")]).splitlines()
    assert len(rows) == 4
    assert rows[1].split()[:4] == ["deploy", "ctrl-c", "2", "1"]
    assert rows[2].split()[:4] == ["rollback", "ctrl-c", "1", "1"]
    assert rows[3].split()[:3] == ["all", "3", "2"]


def test_a_failed_case_tells_its_problems_as_it_ends() -> None:
    assert "two schedulers" in result_line(ended("asleep", "two schedulers"), 1, 2)
    assert "FAILED" not in result_line(ended("asleep"), 1, 2)


def test_options_come_from_the_environment() -> None:
    assert Options.read({}) == Options()
    read = Options.read({"SEED": "7", "ROUNDS": "all", "MINUTES": "30", "FILTER": "6/7", "RESUME": "1", "LIST": "0"})
    assert read == Options(seed=7, rounds=len(FAULTS), minutes=30, words="6/7", resume=True, only_list=False)


@pytest.mark.parametrize("wrong", [{"MINUTES": "soon"}, {"SEED": "-1"}, {"ROUNDS": "every"}])
def test_an_option_that_is_no_number_is_refused_by_its_name(wrong: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match=next(iter(wrong))):
        Options.read(wrong)


def test_a_matrix_that_was_killed_in_the_middle_of_a_line_goes_on_after_the_last_whole_one(tmp_path: Path) -> None:
    state = State(tmp_path / "faults", 1)
    assert state.done() == []
    assert state.timelines() == {}
    state.keep({"deploy": Timeline((("a #1", 0.0),), 3.0)})
    state.add(Seen("one", "deploy", "ctrl-c"))
    with state.path.open("a") as lines:
        lines.write('{"case": "two", "acti')
    assert [seen["case"] for seen in state.done()] == ["one"]
    state.add(Seen("three", "deploy", "ctrl-c"))
    assert [seen["case"] for seen in state.done()] == ["one", "three"]
    assert state.timelines() == {"deploy": Timeline((("a #1", 0.0),), 3.0)}
    state.begin()
    assert state.done() == []
