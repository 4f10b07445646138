"""The page of a report of drills, in a real browser."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from drill_examples import F, drill, drills
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turnout.drill.html import page
from turnout.drill.objectives import Objectives
from turnout.drill.record import Check, Drill, Mode, Outcome, Sizes
from turnout.drill.summary import Summary, summarize
from turnout.drill.table import document, text

TARGETS = Objectives(rpo_s=60, rto_s=600, max_age_s=172_800, detect_s=60, decide_s=300)
EVIL = '</style></svg><script>alert(1)</script><img src="http://127.0.0.1:9/x.png" onerror=alert(1)>'


def history(detail: str) -> list[Drill]:
    return [
        drill(0),
        drill(1, mode=Mode.RANDOM),
        drill(2, lost_s=75.0, seconds={"copy": 30.0}, sizes=Sizes(3 * 10**9, 10**8, 3600.0, 86_400.0)),
        drill(3, checks=(Check("rows", Outcome.FAIL, 0.1, detail),), seconds={"smoke": None}),
        drill(4, seconds={"copy": 500.0}),
    ]


def summary(drills_: list[Drill]) -> Summary:
    return summarize(drills_, TARGETS, F + timedelta(days=5))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it_and_nothing_sticks_out(
    chromium: Any, tmp_path: Path, width: int, dark: bool
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(summary(history("a-word-that-knows-no-end-" + 20 * "abcdefgh"))))
    opened = chromium.open(path, width=width, dark=dark)
    assert opened.too_wide() == []
    assert (opened.requests, opened.errors) == ([], [])
    assert "closed" in opened.js("document.querySelector('.banner').innerText")
    assert opened.js("document.querySelectorAll('.waterfall').length") == 2
    assert opened.js("document.querySelector('.waterfall').querySelectorAll('li').length") == 12
    assert opened.js("document.querySelectorAll('svg path.line').length") == 3


def test_the_waterfall_is_drawn_to_scale(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(summary(history("gone"))))
    opened = chromium.open(path, width=1280)
    widths = opened.js(
        "[...document.querySelector('.waterfall').querySelectorAll('li')].map(li => {"
        " const bar = li.querySelector('i, .bar, .track > *').getBoundingClientRect();"
        " const track = li.querySelector('.track').getBoundingClientRect();"
        " return [(bar.left - track.left) / track.width, bar.width / track.width]; })"
    )
    phases = history("gone")[4].phases
    whole = sum(phase.seconds for phase in phases)
    start = 0.0
    for phase, (left, width) in zip(phases, widths, strict=True):
        assert left == pytest.approx(start / whole, abs=0.01), phase.name
        assert width == pytest.approx(phase.seconds / whole, abs=0.01), phase.name
        start += phase.seconds


def test_words_of_a_check_do_nothing_in_a_browser(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(summary(history(EVIL))))
    opened = chromium.open(path, width=1280)
    assert opened.js("document.scripts.length + document.images.length") == 0
    assert opened.requests == []
    assert "<script>alert(1)" in opened.js("document.body.innerText")


NETBOX = Sizes(50_000_000, 67_000_000, 34.0, 86_400.0)


@pytest.mark.parametrize(
    "found",
    [
        [],
        [drill(5, sizes=NETBOX)],
        [drill(0, seconds={"copy": 900.0}), drill(5)],
        [drill(5, seconds={"target": 30.0}, sizes=Sizes(2 * 10**9, 5 * 10**8, 3_240.0, 32_400.0))],
        history("gone"),
    ],
    ids=["none", "one of little WAL", "a miss of long ago", "projected miss", "failed"],
)
def test_no_line_that_the_gate_goes_by_is_worse_than_the_gate(found: list[Drill]) -> None:
    whole = summarize(found, TARGETS, F + timedelta(days=5, hours=1))
    shown = page(whole)
    opened = 'class="banner good"' in shown
    assert opened == ("Release gate: open" in text(whole)) == ("Release gate: open" in document(whole, "x"))
    for said in (shown, text(whole), document(whole, "x")):
        assert not (opened and "MISSED" in said)


def test_what_is_too_little_to_project_is_a_dash_with_what_would_be_enough() -> None:
    whole = summarize([drill(5, sizes=NETBOX)], TARGETS, F + timedelta(days=5, hours=1))
    for said in (page(whole), text(whole), document(whole, "x")):
        assert "Worst case: -, not enough drills to project: of 1 drill the longest replayed 67 MB" in said
        assert "GB of WAL" not in said
    (line,) = (row for row in text(whole).splitlines() if row.startswith("RTO, projected"))
    assert line.split()[-2:] == ["-", "-"]


def test_the_projection_says_its_basis_and_how_far_it_goes() -> None:
    whole = summarize([drill(5)], TARGETS, F + timedelta(days=5, hours=1))
    words = "1 drill with enough WAL, up to 500 MB and 12 h after a backup; that is projected 2 times as far"
    for said in (page(whole), text(whole), document(whole, "x")):
        assert words in said


@pytest.mark.parametrize("ages_h", [[0.02], [1], [1, 30], [2, 24 * 90]])
def test_the_axis_of_time_ends_now(chromium: Any, tmp_path: Path, ages_h: list[float]) -> None:
    now = F + timedelta(days=200)
    found = [
        drill(n, started=at, ended=at)
        for n, at in enumerate(now - timedelta(hours=hours) for hours in sorted(ages_h, reverse=True))
    ]
    path = tmp_path / "page.html"
    path.write_text(page(summarize(found, TARGETS, now)))
    opened = chromium.open(path, width=1280)
    ticks = opened.js(
        "[...document.querySelectorAll('.x-ticks')].slice(0, 2).map(t => [...t.children].map(s => s.innerText))"
    )
    for of in ticks:
        assert of[-1] == "now"
        assert not any(word.startswith(("-", "in ")) for word in of)
    inside = "r.left > f.left && r.right < f.right"
    measured = f"const [f, r] = [p.closest('.frame'), p].map(e => e.getBoundingClientRect()); return {inside};"
    assert all(opened.js(f"[...document.querySelectorAll('path.dots')].map(p => {{ {measured} }})")[:2])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drills(), max_size=5, unique_by=lambda one: one.id))
def test_any_history_makes_a_page_a_table_and_a_document(found: list[Drill]) -> None:
    found.sort(key=lambda one: one.ended)
    whole = summarize(found, TARGETS, F)
    assert page(whole).endswith("</html>\n")
    assert "Release gate: closed" in text(whole) or "open" in text(whole)
    assert document(whole, "x").startswith("# Recovery objectives\n")
