"""The report of a judged release: says how it ended and why, shows every point, and harms nobody who opens it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import drawn_runs
import pytest
from click.testing import CliRunner
from drawn_runs import SLOS, Drawn
from turnout.cli import cli
from turnout.errors import TurnoutError
from turnout.judge import records, release_page, story
from turnout.judge.model import Rate
from turnout.judge.report import judgement_from, judgement_json, status_line
from turnout.slo import parse

EVIL = "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"
DRAWN = {
    "rolled back": Drawn(bad=0.2, onset_s=20),
    "in service": Drawn(seconds=150),
    "undecided": Drawn(seconds=80, blind_from_s=20),
    "bad in the watch": Drawn(seconds=200, onset_s=120, bad=0.2, bad_slo="latency-tasks"),
}


@pytest.fixture(scope="module")
def slos():
    return parse.load(SLOS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return {name: drawn_runs.write(base / name.replace(" ", "-"), drawn) for name, drawn in DRAWN.items()}


def words(html):
    """Return what a reader sees of a page, without its markup."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text.replace("\u00a0", " ").replace("\u202f", " "))


def report(run, slos):
    return words(release_page.render(story.read(run, slos), slos))


def test_a_judgement_survives_the_way_to_a_file_and_back(runs):
    for run in runs.values():
        judgements = drawn_runs.replayed(run)
        assert [judgement_from(json.loads(json.dumps(judgement_json(j)))) for j in judgements] == judgements


def test_what_is_shown_is_what_the_run_itself_decided(runs, slos):
    for run in runs.values():
        told = story.read(run, slos)
        assert not told.replayed
        assert list(told.judgements) == drawn_runs.replayed(run)
        assert told.started_at == drawn_runs.STARTED


def test_a_rollback_names_the_objective_its_figures_and_how_sure_it_is(runs, slos):
    said = report(runs["rolled back"], slos)
    last = drawn_runs.replayed(runs["rolled back"])[-1]
    worst = next(e for e in last.slos if e.name == "api-availability")
    assert f"Rolled back after {last.t_s:.0f} s, at {last.share_bp / 100:g} % of the traffic" in said
    assert f"API availability: {worst.candidate.bad:.0f} of {worst.candidate.total:.0f}" in said
    assert "0.5 % is allowed" in said
    assert "with a probability of at most 0.8 %" in said
    assert "The run did not do what it was asked to" in said
    assert "green is the candidate, blue was in service" in said


def test_a_release_that_went_through_is_said_to_be_in_service(runs, slos):
    said = report(runs["in service"], slos)
    assert "In service It reached all of the traffic" in said
    assert "Nothing in the evidence speaks against it" in said
    assert "did not do" not in said


def test_without_the_runs_own_word_nothing_is_said_to_be_confirmed(runs, slos):
    said = report(runs["in service"] / "release.jsonl", slos)
    assert "Had all the traffic when the record ended" in said
    assert "judged again from the recorded counters" in said


def test_what_could_not_be_seen_is_no_pass_and_is_named(runs, slos):
    said = report(runs["undecided"], slos)
    last = drawn_runs.replayed(runs["undecided"])[-1]
    assert last.share_bp < 10_000
    assert f"Put back undecided, at {last.share_bp / 100:g} % of the traffic" in said
    assert "nothing could be judged for 60 s" in said
    assert "What could not be seen" in said
    assert "up is 0 for app2:8002" in said


def test_a_fault_in_the_watch_says_that_there_was_nothing_to_compare_with(runs, slos):
    said = report(runs["bad in the watch"], slos)
    assert "at 100 % of the traffic" in said
    assert "Latency of /api/tasks/:" in said
    assert "no other version left to compare it with" in said
    assert "500 decides" in said
    assert "at most 0.2 %" in said


def judged_on(run, slos, **decided):
    """Let the judge go on after its rollback, as it does while the edges go back; `decided` changes its decision."""
    lines = [json.loads(line) for line in (run / "judgements.jsonl").read_text().splitlines()]
    last = lines[-1]
    for n in (1, 2):
        later = json.loads(json.dumps(last))
        later |= {"t": last["t"] + n, "value": 9e5, "at": last["at"].replace("+00:00", f".{n}00+00:00")}
        for slo in later["slos"].values():
            slo["candidate"] |= {"total": 8888.0, "bad": 777.0}
        lines.append(later)
    (run / "judgements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    events = [{**event, **decided} if event["event"] == "decision" else event for event in events]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return report(run, slos)


def test_every_figure_of_a_rollback_is_of_the_moment_in_which_it_was_decided(tmp_path, slos):
    run = drawn_runs.write(tmp_path / "run", DRAWN["rolled back"])
    last = drawn_runs.replayed(run)[-1]
    worst = next(e for e in last.slos if e.name == "api-availability")
    said = judged_on(run, slos)
    assert "8888" not in said.replace(" ", "")
    assert "777" not in said
    assert "9e+05" not in said
    figures = f"{worst.candidate.bad:.0f} of {worst.candidate.total:.0f}"
    assert said.count(figures) >= 4  # banner, table, verdicts, journal
    assert f"By objective, when it went back Counts are from the first scrape to {last.t_s:.0f} s." in said
    assert f"Judged for {last.t_s:.0f} s" in said


def test_the_share_of_a_rollback_is_the_one_that_was_in_force_in_every_place(tmp_path, slos):
    run = drawn_runs.write(tmp_path / "run", DRAWN["rolled back"])
    before = f"{drawn_runs.replayed(run)[-1].share_bp / 100:g} % of the traffic"
    # A record of an older judge: it was told of a share only when every edge had it.
    said = judged_on(run, slos, share_bp=7500)
    assert "at 75 % of the traffic" in said
    assert before not in said.partition("What the judge said")[0].partition("The whole")[0]
    assert "Highest share 75 %" in said
    assert "75 % ✗ rollback" in said
    assert "rollback at 75 %" in said


@pytest.mark.parametrize("action", ["rollback", "undecided"])
def test_an_edge_that_went_back_by_itself_is_not_told_as_the_judges_rollback(tmp_path, slos, action):
    run = drawn_runs.write(tmp_path / "run", DRAWN["rolled back"])
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    verdict = next(i for i, e in enumerate(events) if e.get("verdict") == "rollback")
    (decision,) = (e for e in events if e["event"] == "decision")
    events.remove(decision)
    before = drawn_runs.replayed(run)[-4].t_s + 0.5
    at = (drawn_runs.STARTED + timedelta(seconds=before)).isoformat()
    events.insert(verdict, {**decision, "ts": at, "action": action, "share_bp": 2500, "why": "edge1: 9 of its 12"})
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    said = report(run, slos)
    assert "Rolled back after" not in said
    assert ("Put back at 25 % of the traffic, not by its SLOs" in said) == (action == "rollback")
    assert ("Put back undecided, at 25 % of the traffic" in said) == (action == "undecided")
    assert "edge1: 9 of its 12" in said
    assert f"Judged for {before - 0.5:.0f} s" in said


def test_the_line_of_a_scrape_has_events_and_bad_ones_of_the_same_objective(runs):
    (first, *_), *_ = [drawn_runs.replayed(runs["rolled back"])]
    few, many = (replace(first.slos[i], candidate=Rate(*n, 0.0, 1.0)) for i, n in enumerate([(3.0, 3.0), (43.0, 1.0)]))
    assert "       3 events      3 bad" in status_line(replace(first, slos=(many, few)))


def test_a_run_that_was_never_judged_is_reported_too(tmp_path, slos):
    events = [
        {"ts": "2026-03-04T14:30:00+00:00", "event": "start", "playbook": "deploy", "run": "r1"},
        {"ts": "2026-03-04T14:30:05+00:00", "event": "failed", "task": "Look", "host": "app2", "message": "disk full"},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    said = report(tmp_path, slos)
    assert "Never judged" in said
    assert "First cause (Look, app2): disk full" in said


def charts(slos):
    """Return how many plots a report has: share, rollback, promotion, and two for each SLO."""
    return 3 + 2 * len(slos)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", DRAWN)
def test_in_a_browser_every_plot_is_there_with_every_point(chromium, runs, slos, name, width):
    path = release_page.write(runs[name], slos)
    page = chromium.open(path, width=width, dark=width < 600)
    assert page.requests == []
    assert page.errors == []
    assert page.too_wide() == []
    judgements = drawn_runs.replayed(runs[name])
    assert page.js("document.querySelectorAll('figure.chart svg').length") == charts(slos)
    lines = page.js(
        "[...document.querySelectorAll('svg path.line')].map(p => [p.dataset.line, +p.dataset.points, "
        "+p.dataset.drawn, (p.getAttribute('d').match(/[MLH]/g) || []).length, p.getBoundingClientRect().width])"
    )
    assert len(lines) >= charts(slos)
    for line, points, drawn, vertices, _ in lines:
        assert points == len(judgements), line
        assert vertices == drawn, line
    by_name = {}
    for line, *numbers in lines:
        by_name.setdefault(line, []).append(numbers)
    ((_, drawn, _, wide),) = by_name["evidence against the candidate, all SLOs"]
    assert drawn == len(judgements)
    assert wide > 0.6 * width
    assert len(by_name["candidate since the start"]) == len(slos)
    assert page.js("document.querySelectorAll('svg path.band').length") >= len(slos)
    # Readable: no text below 12 pixels, on either screen.
    smallest = page.js(
        "Math.min(...[...document.querySelectorAll('main *')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 12


def test_a_release_named_like_a_script_is_harmless_everywhere(chromium, tmp_path, slos):
    run = drawn_runs.write(tmp_path / "run", Drawn(seconds=40, bad=0.3, release=EVIL))
    for file in ("judgements.jsonl", "events.jsonl"):
        text = (run / file).read_text()
        changed = text.replace('"worker-success"', json.dumps(EVIL)).replace("app1", json.dumps(EVIL)[1:-1])
        assert changed != text
        (run / file).write_text(changed)
    told = json.loads((run / "judge.json").read_text())
    (run / "judge.json").write_text(json.dumps({**told, "run": EVIL, "candidate": EVIL}))
    path = release_page.write(run, slos)
    page = chromium.open(path, width=390)
    assert page.js("document.scripts.length + document.images.length") == 0
    assert page.requests == []
    assert page.errors == []
    assert page.too_wide() == []
    assert page.js("document.querySelector('h1').innerText") == f"Release {EVIL}"
    assert page.js("document.title").startswith("Release <script>")


def test_an_hour_long_report_stays_small(tmp_path, slos):
    run = drawn_runs.write(tmp_path / "run", Drawn(seconds=130))
    lines = [json.loads(line) for line in (run / "judgements.jsonl").read_text().splitlines()]
    last = lines[-1]
    more = [{**last, "t": last["t"] + n, "value": 1 + n % 7} for n in range(1, 3600)]
    (run / "judgements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines + more))
    path = release_page.write(run, slos)
    assert path.stat().st_size < 1_500_000
    assert f'data-points="{len(lines) + 3599}"' in path.read_text()


# What cannot be reported ---------------------------------------------------------------------------------------------


def fault(source, slos):
    with pytest.raises(TurnoutError) as caught:
        release_page.write(source, slos)
    return caught.value


def test_the_half_line_of_a_killed_judge_is_left_out(tmp_path, slos):
    run = drawn_runs.write(tmp_path / "run", Drawn(seconds=20))
    with (run / "judgements.jsonl").open("a") as file:
        file.write('{"t": 20, "verd')
    assert len(story.read(run, slos).judgements) == 20


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("judgements.jsonl", '{"t": 20, "verd\n', "judgements.jsonl: line 21"),
        ("judgements.jsonl", '{"t": 20}\n', "line 21: field 'slos'"),
        ("judgements.jsonl", "[]\n", "line 21: no object"),
        ("events.jsonl", '{"event": "end"}\n', "field ts"),
        ("events.jsonl", '{"ts": "2026-03-04T10:00:00", "event": "end"}\n', "no time with a zone"),
    ],
)
def test_a_broken_line_is_an_error_that_names_file_line_and_remedy(tmp_path, slos, file, line, words):
    run = drawn_runs.write(tmp_path / "run", Drawn(seconds=20))
    with (run / file).open("a") as opened:
        opened.write(line)
    error = fault(run, slos)
    assert error.code == "report-malformed"
    assert words in error.observed
    assert "sed -i.bak" in error.remedy
    assert not (run / "report.html").exists()


def test_a_folder_without_a_run_is_an_error(tmp_path, slos):
    assert fault(tmp_path, slos).code == "report-empty"
    assert fault(tmp_path / "nowhere.jsonl", slos).code == "record-unreadable"


def test_the_command_writes_the_file_and_says_where(runs, tmp_path):
    runner = CliRunner(catch_exceptions=False)
    out = tmp_path / "out.html"
    done = runner.invoke(cli, ["judge", "report", str(runs["in service"]), "--slos", str(SLOS), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(out)
    assert out.read_text().startswith("<!DOCTYPE html>")
    recording = tmp_path / "release.jsonl"
    recording.write_text((runs["in service"] / "release.jsonl").read_text())
    done = runner.invoke(cli, ["judge", "report", str(recording), "--slos", str(SLOS)])
    assert done.output.strip() == str(tmp_path / "release.html")
    with pytest.raises(TurnoutError, match="No such file"):
        runner.invoke(cli, ["judge", "report", str(recording), "--slos", str(SLOS), "--out", str(tmp_path / "no/x")])


def test_a_replayed_recording_draws_every_scrape(runs, slos):
    recording = runs["rolled back"] / "release.jsonl"
    html = release_page.render(story.read(recording, slos), slos)
    assert f'data-points="{len(records.read(recording).scrapes)}"' in html
