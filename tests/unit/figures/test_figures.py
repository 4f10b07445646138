"""docs/figures.md: made from what the benches print last; older figures are kept; no page quotes what it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import load
from turnout.errors import TurnoutError

ROOT = Path(__file__).resolve().parents[3]
STAMP = {"commit": "abc1234", "date": "2026-01-02", "machine": {"cores": 2, "memory_gib": 8.0, "kernel": "6.1.0"}}
ROLLBACK = {
    "bench": "rollback",
    "figures_s": {
        "rollback.yml": {"min": 0.42, "median": 0.5, "max": 0.6},
        "ansible edge -m ping": {"min": 0.7, "median": 0.75, "max": 0.8},
        "turnout-edge rollback": {"min": 0.03, "median": 0.04, "max": 0.05},
    },
    "ratio": 0.667,
    "ok": True,
}


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return load("figures", "figures.py")


@pytest.fixture
def place(figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which figures are kept, with one older figure of two benches."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(figures, "DATA", tmp_path / "docs" / "figures.json")
    monkeypatch.setattr(figures, "PAGE", tmp_path / "docs" / "figures.md")
    monkeypatch.setattr(figures, "stamp", lambda: dict(STAMP))
    old = {"commit": "0000001", "figures": [["an older figure", "9.99 s"]], "held": True}
    figures.keep({"rollback": old, "replay": old})
    return tmp_path


def bench(figures: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Have a bench be this shell script."""
    real = figures.BENCHES[name]
    monkeypatch.setitem(figures.BENCHES, name, figures.replace(real, program=("sh", "-c", script)))


# -- the page that is kept ---------------------------------------------------------------------------------------


def test_the_page_is_what_the_data_says(figures: ModuleType) -> None:
    assert figures.page(figures.load()) == (ROOT / "docs" / "figures.md").read_text(), "run: make figures FIGURES=none"


def test_every_bench_is_among_them_and_the_other_way_round(figures: ModuleType) -> None:
    written = {path.stem for path in (ROOT / "tests" / "bench").glob("[a-z]*.py")}
    assert written == {name for name, one in figures.BENCHES.items() if one.command.startswith("make bench-")}
    for one in figures.BENCHES.values():
        target = one.command.split()[1]
        assert target.startswith("bench-") or re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_figure_says_where_it_comes_from(figures: ModuleType) -> None:
    entries = figures.load()
    assert entries
    for name, entry in entries.items():
        assert entry.get("commit") or entry.get("source"), name


# -- running -----------------------------------------------------------------------------------------------------


def test_a_bench_that_ran_is_kept_with_commit_date_and_machine(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(figures, monkeypatch, "rollback", f"echo a table; echo '{json.dumps(ROLLBACK)}'")
    assert figures.main(["rollback"]) == 0
    kept = json.loads((place / "docs" / "figures.json").read_text())["benches"]["rollback"]
    assert kept == {**STAMP, "held": True, "result": ROLLBACK}
    assert "a table" in capsys.readouterr().out, "what a bench prints is seen while it runs"
    text = (place / "docs" / "figures.md").read_text()
    assert (
        "| `turnout rollback`, from pressing return to the bad version's last answer | 0.50 s (0.42 to 0.60) |" in text
    )
    assert "`abc1234`, 2026-01-02, on 2 cores, 8.0 GiB, Linux 6.1.0" in text


def test_a_bench_that_was_not_run_again_keeps_its_older_figure(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(figures, monkeypatch, "rollback", f"echo '{json.dumps(ROLLBACK)}'")
    figures.main(["rollback"])
    text = (place / "docs" / "figures.md").read_text()
    assert "`0000001`" in text.partition("## `make bench-replay`")[2].partition("\n## ")[0]
    assert text.count("9.99 s") == 1


def test_a_bound_that_did_not_hold_is_kept_and_said(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(figures, monkeypatch, "rollback", f"echo '{json.dumps({**ROLLBACK, 'ok': False})}'; exit 1")
    assert figures.main(["rollback"]) == 1
    assert "**A bound did not hold.**" in (place / "docs" / "figures.md").read_text()


@pytest.mark.parametrize(
    "answer",
    [
        ("echo no JSON here", "no JSON object"),
        ("true", "printed nothing"),
        ("echo '[1]'", "no JSON object"),
        ('echo \'{"bench": "switch"}\'', "bench switch"),
        ('echo \'{"bench": "rollback"}\'', "figures_s"),
        ("echo 'a table'; exit 3", "exit code 3"),
    ],
)
def test_output_that_cannot_be_read_leaves_the_older_figure_and_is_told(
    figures: ModuleType,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: tuple[str, str],
) -> None:
    script, observed = answer
    before = (place / "docs" / "figures.json").read_text()
    bench(figures, monkeypatch, "rollback", script)
    assert figures.main(["rollback"]) == 1
    told = capsys.readouterr().err
    assert "error[figures-" in told
    assert observed in told
    assert "expected:" in told
    assert "to mend:  make bench-rollback" in told
    assert "Traceback" not in told
    assert (place / "docs" / "figures.json").read_text() == before


def test_the_benches_after_one_that_failed_are_run(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(figures, monkeypatch, "switch", "exit 2")
    bench(figures, monkeypatch, "rollback", f"echo '{json.dumps(ROLLBACK)}'")
    assert figures.main(["switch", "rollback"]) == 1
    assert "0.50 s (0.42 to 0.60)" in (place / "docs" / "figures.md").read_text()


def test_a_bench_that_is_not_there_is_named_with_those_that_are_and_nothing_runs(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(figures, monkeypatch, "rollback", f"touch {place}/ran; echo '{json.dumps(ROLLBACK)}'")
    assert figures.main(["rollback", "rolback"]) == 2
    told = capsys.readouterr().err
    assert "error[figures-bench]: there is no bench rolback" in told
    assert "expected: any of " in told
    assert "to mend:  make figures FIGURES='rollback'" in told
    assert not (place / "ran").exists()


def test_data_that_cannot_be_read_is_told_and_not_overwritten(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(figures, monkeypatch, "rollback", f"touch {place}/ran; echo '{json.dumps(ROLLBACK)}'")
    for text in (
        "<<<<<<< HEAD",
        "[]",
        '{"format": 1}',
        '{"format": 2, "benches": {}}',
        '{"format": 1, "benches": {"x": 1}}',
    ):
        (place / "docs" / "figures.json").write_text(text)
        assert figures.main(["rollback"]) == 2
        told = capsys.readouterr().err
        assert "error[figures-data]" in told
        assert "git checkout docs/figures.json" in told
        assert (place / "docs" / "figures.json").read_text() == text
    assert not (place / "ran").exists()


def test_ctrl_c_ends_it_in_words_and_keeps_what_was_measured_before(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(one: Any) -> dict[str, Any]:
        if one.name == "switch":
            raise KeyboardInterrupt
        return {**STAMP, "held": True, "result": ROLLBACK}

    monkeypatch.setattr(figures, "measured", measured)
    assert figures.main(["rollback", "switch"]) == 130
    told = capsys.readouterr().err
    assert "make bench-switch was ended" in told
    assert "make figures FIGURES='switch'" in told
    assert "0.50 s (0.42 to 0.60)" in (place / "docs" / "figures.md").read_text()


def test_none_writes_the_page_anew_and_runs_nothing(figures: ModuleType, place: Path) -> None:
    (place / "docs" / "figures.md").unlink()
    assert figures.main(["none"]) == 0
    assert (place / "docs" / "figures.md").read_text() == figures.page(figures.load())


def test_without_a_name_every_bench_runs_but_those_that_take_hours(
    figures: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(
        figures, "measured", lambda one: ran.append(one.name) or {"commit": "x", "figures": [], "held": True}
    )
    assert figures.main([]) == 0
    assert sorted(ran) == sorted(path.stem for path in (ROOT / "tests" / "bench").glob("[a-z]*.py"))


def test_the_figures_that_are_written_do_not_count_as_a_change_of_the_tree(figures: ModuleType) -> None:
    def dirty(status: str) -> bool:
        changed: bool = figures.changed(status)
        return changed

    assert not dirty("")
    assert not dirty(" M docs/figures.json\n M docs/figures.md\n")
    assert dirty(" M docs/figures.md\n M roles/edge/tasks/main.yml\n")


# -- what each bench says ----------------------------------------------------------------------------------------

RESULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "switch": (
        {
            "requests": 1000, "rate": 300.4, "failed": 0, "failures": {}, "p99_switching_ms": 30.1,
            "p99_quiet_ms": 27.0, "p99_ratio": 1.115, "deploys": 2, "rollbacks": 2,
            "deploy_s": {"min": 47.1, "median": 48.9, "max": 53.5},
            "rollback_s": {"min": 9.0, "median": 9.4, "max": 10.0},
            "jobs": {"acknowledged": 17121, "lost": 0, "doubled": 0, "rerun": 0,
                     "slots": {"missing": 0, "doubled": 0}},
        },
        ["1,000 at 300.4/s, 0 failed", "48.90 s (47.10 to 53.50)", "9.40 s (9.00 to 10.00)", "17,121, 0 lost"],
    ),
    "canary": (
        {
            "rate": 200.0,
            "kinds": [
                {"kind": "healthy", "runs": 10, "median_s": 32.0, "p95_s": 37.0, "failed_median": 0, "ratio": None},
                {"kind": "5xx 100 %", "runs": 10, "median_s": 1.1, "p95_s": 1.6, "failed_median": 14, "ratio": 2.0},
            ],
        },
        ["| healthy, 10 runs | 32.0 s, p95 37.0 s, 0 failed requests |", "1.1 s, p95 1.6 s, 14 failed requests"],
    ),
    "replay": ({"scrapes": 3600, "slos": 6, "fastest_s": 1.234}, ["1.23 s"]),
    "edge_latency": (
        {"requests": 19987, "counted": 19987, "cpu_percent_at_1000_per_s": 2.5, "memory_mb": 18.4, "routes": 10,
         "buckets": 10, "series": 1232, "series_of_mtail_itself": 60, "kilobytes_a_scrape": 125},
        ["| 2.5 % |", "| 18.4 MB |", "with 10 routes, 10 bounds", "1,232 and 60 of its own, 125 kB", "19,987, 19,987"],
    ),
    "static": (
        {"application_per_s": 2100, "application_p99_ms": 9.04, "edge_per_s": 1900, "edge_p99_ms": 10.2,
         "edge_cache_per_s": 4000, "edge_cache_p99_ms": 3.0},
        ["| the application alone | 2,100 requests/s, p99 9.0 ms |", "1,900 requests/s",
         "4,000 requests/s, p99 3.0 ms"],
    ),
    "simulate": (
        {"seconds": 820, "not_kept": ["b"], "releases": 10000, "seed": 1, "bounds": [{"what": "a"}, {"what": "b"}]},
        ["1 of 2", "820 s", "10,000"],
    ),
    "share": (
        {
            "healthy": [{"name": "400 users", "false": 0.0003}],
            "far": [
                {"name": "half", "found": 0.559, "median_s": 94.5},
                {"name": "more", "found": 0.0, "median_s": None},
            ],
        },
        ["| healthy: 400 users | 0.030 % falsely held |", "| half | 56 % found, median 94 s |", "| more | 0 % found |"],
    ),
    "checklist": (
        {"figures_s": {"a hundred checks": [8.1, 7.6, 7.9]}, "slowest_s": 5.0},
        ["| a hundred checks on ten hosts, the slowest of 5 s | 7.90 s (7.60 to 8.10) |"],
    ),
    "rpo": (
        {
            "trials": [{"tps": 5000.0}, {"tps": 5800.0}], "worst_difference_s": 0.84, "truth_median_s": 3.2,
            "truth_max_s": 6.2,
        },
        ["0.84 s", "5,000 to 5,800", "6.20 s"],
    ),
    "drill": (
        {
            "database_bytes": 2166358016, "cp_s": 11.0, "by_hand_s": 13.3, "restore_phases_s": 14.5,
            "own_steps_s": 0.44, "own_steps_part": 0.033, "rto_measured_s": 18.5,
        },
        ["2,066 MB", "11.00 s", "13.30 s", "14.50 s", "0.44 s", "3.3 %"],
    ),
    "faults": (
        {
            "suite": "fault-matrix", "cases": 20, "passed": 18, "requests": 50510, "requests_held": 146,
            "requests_failed": 0, "jobs": 5025, "slots_doubled": 0, "settled_s_max": 11.5,
        },
        ["18 of 20", "50,510, 0 failed, 146 held", "5,025", "11.50 s"],
    ),
    "mutants": (
        {
            "seed": 1, "sample": "60",
            "targets": {
                "judge": {"made": 60, "killed": 58, "equal": 0, "survived": 2, "score": 0.9667, "seconds": 332},
            },
        },
        ["| `judge` | 96.7 %: 58 killed of 60 made, 0 equal, 2 survived, in 332 s |"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_result_becomes_lines_of_the_page(figures: ModuleType, name: str) -> None:
    result, told = RESULTS[name]
    text = figures.page({name: {**STAMP, "held": True, "result": result}})
    for part in told:
        assert part in text


def test_a_result_of_every_bench_is_tried_here(figures: ModuleType) -> None:
    assert set(RESULTS) | {"rollback"} == set(figures.BENCHES)


def test_a_result_that_lacks_a_key_names_bench_and_key(figures: ModuleType) -> None:
    with pytest.raises(TurnoutError) as fault:
        figures.page({"replay": {**STAMP, "held": True, "result": {"scrapes": 1}}})
    assert "replay" in str(fault.value)
    assert "fastest_s" in str(fault.value) or "slos" in str(fault.value)


# -- other pages -------------------------------------------------------------------------------------------------

MEASURED = re.compile(r"(?<![\w.,-])(\d[\d.,]*\d|\d)\s?(?:s|ms|min|minutes?|hours?|seconds?|%|requests?|MB|GB)(?![\w])")


def section(page: str, heading: str) -> str:
    """Return one section of a page, with those below it."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no section {heading!r}"
    return found.group(1)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("README.md", lambda page: page),
        # The one part of another page that tells what was measured; what the others state are settings and bounds.
        ("docs/judge.md", lambda page: section(page, "### Where we lose")),
    ],
)
def test_no_page_quotes_a_figure_that_is_not_in_figures_md(name: str, part: Callable[[str], str]) -> None:
    known = set(re.findall(r"(?<![\w.,])\d[\d.,]*\d|\d", (ROOT / "docs" / "figures.md").read_text()))
    quoted = MEASURED.findall(part((ROOT / name).read_text()))
    assert [number for number in quoted if number not in known] == []


def test_the_measure_of_what_counts_as_a_figure() -> None:
    assert MEASURED.findall("in 0.48 s (12 ms), 3 % of 7,617 requests; 36 minutes") == [
        "0.48",
        "12",
        "3",
        "7,617",
        "36",
    ]
    assert MEASURED.findall("1.0.0 served, Debian 12 or 13, port 9090, two steps, `api1`") == []
