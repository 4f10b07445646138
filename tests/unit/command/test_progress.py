"""The line of a phase: what is done now, and how long it may still take."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from turnout.command.progress import Screen, State, duration, number, remaining, story, wanted


def past(home: Path, name: str, playbook: str, how: str, *seconds: int) -> None:
    """Write a past run whose phases began at these seconds; the last one is its end."""
    rows: list[dict[str, object]] = [{"ts": "2026-01-01T00:00:00+00:00", "event": "start", "playbook": playbook}]
    moments = [f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00" for second in seconds]
    phases = len(moments) - 1
    for index, moment in enumerate(moments[:-1], start=1):
        rows.append({"ts": moment, "event": "phase", "phase": f"{index}/{phases} shift to {name}"})
    rows.append({"ts": moments[-1], "event": "end", "how": how})
    (home / name).mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (home / name / "events.jsonl").write_text("no json\n" + text)


def test_the_time_left_is_the_median_of_good_runs_of_the_same_playbook(tmp_path: Path) -> None:
    past(tmp_path, "1", "deploy", "ok", 0, 10, 40)
    past(tmp_path, "2", "deploy", "ok", 0, 10, 30)
    past(tmp_path, "3", "deploy", "ok", 0, 20, 80)
    past(tmp_path, "4", "deploy", "failed", 0, 1, 2)
    past(tmp_path, "5", "status", "ok", 0, 1, 2)
    (tmp_path / "6").mkdir()
    assert remaining(tmp_path, "deploy") == {"1/2": 40.0, "2/2": 30.0}
    assert remaining(tmp_path, "restore") == {}
    assert remaining(tmp_path / "absent", "deploy") == {}


def test_a_phase_tells_its_task_and_the_time_left_and_ends_in_one_line() -> None:
    state = State({"2/3": 30.0})
    assert state.line(0.0) == ""
    assert state.take({"event": "phase", "phase": "1/3 check"}, 1.0) == ""
    assert state.line(3.0) == "    2 s  1/3 check"
    assert state.take({"event": "phase", "phase": "2/3 shift"}, 4.0) == "    3 s  1/3 check  done"
    state.take({"event": "doing", "task": "Hold the step"}, 5.0)
    assert state.line(14.0) == "   10 s  2/3 shift | Hold the step | about 20 s left"
    assert state.line(40.0) == "   36 s  2/3 shift | Hold the step"
    state.take({"event": "failed", "ignored": True}, 41.0)
    state.take({"event": "unreachable", "ignored": False}, 41.0)
    assert state.take({"event": "end", "how": "failed"}, 42.0) == "   38 s  2/3 shift  FAILED"
    assert state.line(43.0) == ""
    state.take({"event": "phase", "phase": "3/3 promote"}, 44.0)
    assert state.take({"event": "end", "how": "failed"}, 45.0) == "    1 s  3/3 promote  NOT done"


@pytest.mark.parametrize(
    ("options", "environment", "terminal", "line"),
    [
        ([], {"TERM": "xterm"}, True, True),
        ([], {"TERM": "xterm"}, False, False),
        ([], {"TERM": "dumb"}, True, False),
        ([], {}, True, False),
        ([], {"TERM": "xterm", "TURNOUT_PROGRESS": "plain"}, True, False),
        (["-v"], {"TERM": "xterm"}, True, False),
        (["--ask-vault-pass"], {"TERM": "xterm"}, True, False),
    ],
)
def test_the_line_is_for_terminals_where_nobody_is_asked(
    options: list[str], environment: dict[str, str], terminal: bool, line: bool
) -> None:
    assert wanted(environment, options, terminal) is line


def test_small_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 99.4, 100, 3600, 360_000)] == [
        "0 s",
        "99 s",
        "2 min",
        "60 min",
        "100 h",
    ]
    assert (number("3/7 lay"), number("Exposure of units")) == ("3/7", "Exposure of units")
    assert (story("turnout.ops.restore_drill"), story("a.b/deploy.yml")) == ("restore_drill", "deploy")


def test_output_goes_past_whole_and_a_half_written_event_waits(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    stream = io.StringIO()
    screen = Screen(folder, "deploy", stream)
    screen.output(b"[WARNING]: [bold] cut")
    assert stream.getvalue() == ""
    screen.output("\u00fc\nnext".encode())
    file = folder / "events.jsonl"
    file.write_text('{"event": "phase", "phase": "1/1 all"}\n{"event": "en')
    screen.draw()
    with file.open("a") as more:
        more.write('d", "how": "ok"}\n')
    screen.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[WARNING]: [bold] cut\u00fc"
    assert [line.strip() for line in lines if "1/1" in line][-1] == "0 s  1/1 all  done"
    assert lines[-1] == "next"


def test_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    screen = Screen(tmp_path, "deploy", Closed())
    (tmp_path / "events.jsonl").write_text('{"event": "phase", "phase": "1/1 all"}\n')
    screen.output(b"line\n")
    screen.draw()
    screen.close()
