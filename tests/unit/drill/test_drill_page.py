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


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drills(), max_size=5, unique_by=lambda one: one.id))
def test_any_history_makes_a_page_a_table_and_a_document(found: list[Drill]) -> None:
    found.sort(key=lambda one: one.ended)
    whole = summarize(found, TARGETS, F)
    assert page(whole).endswith("</html>\n")
    assert "Release gate: closed" in text(whole) or "open" in text(whole)
    assert document(whole, "x").startswith("# Recovery objectives\n")
