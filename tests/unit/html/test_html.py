"""Pages and plots: escaped, complete in themselves, readable in a real browser on a phone and on a wide screen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.html import page, plot
from turnout.html.markup import Html, el, text
from turnout.html.plot import Axis, Bar, Level, Line, Mark, Span

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x00 & \u202e"
WIDTHS = (390, 1280)
POINTS = [(float(t), 0.001 * (1 + t % 7)) for t in range(120)]


def shown(*blocks):
    return page.document("A page", el("h1", "A page"), *blocks)


def chart(points, **more):
    line = Line("one", points, band=[None if y is None else (0.5 * y, 2 * y) for _, y in points])
    return plot.line_chart("A plot", [line], x=Axis("time", time=True), y=Axis("rate", form=plot.percent), **more)


def drawn(html):
    """Return how many points of each line a browser will draw: its moves and lines."""
    return [len(re.findall(r"[ML]", d)) for d in re.findall(r'class="line[^"]*" d="([^"]*)"', html)]


def everything(words="words"):
    """Return a page with every kind of block, each with `words` in every place for text."""
    return shown(
        page.banner("bad", words, words),
        page.section(words, page.facts({words: words}), page.chip("good", words), page.table([words], [[words]])),
        page.section("plots", chart(POINTS, note=words, levels=[Level(0.004, words)], marks=[Mark(60, words)])),
        plot.line_chart(words, [Line(words, POINTS)], x=Axis(words), y=Axis(words), spans=[Span(10, 30, words)]),
        plot.waterfall_chart(words, [Bar(words, 0, 3, words), Bar(words, 3, 60)], note=words),
    )


def test_whatever_is_shown_is_escaped_everywhere():
    html = everything(EVIL)
    assert "<script" not in html
    assert "<img" not in html
    assert "\x00" not in html
    assert "&lt;script&gt;alert(1)" in html


@given(st.text())
def test_text_never_ends_the_element_or_attribute_that_it_stands_in(words):
    escaped = text(words)
    assert not set(escaped) & set("<>\"'")
    assert text(escaped) == escaped
    assert el("p", words, title=words) == f'<p title="{escaped}">{escaped}</p>'


def test_an_attribute_is_left_out_where_it_is_none_and_a_wrong_name_is_refused():
    assert el("p", None, "a", id_=None, hidden=True) == "<p hidden>a</p>"
    with pytest.raises(ValueError, match="no attribute"):
        el("p", **{"x onclick": "1"})


def test_a_page_asks_for_nothing_and_allows_nothing():
    html = everything()
    assert "default-src 'none'" in text(html) or "default-src &#x27;none&#x27;" in html
    assert not re.findall(r"(?:src|href)=\"(?!data:,)", html)
    assert "url(" not in html


def test_every_point_of_a_short_line_is_drawn_and_a_gap_is_a_gap():
    assert drawn(chart(POINTS)) == [120]
    gap = [(float(t), None if 40 <= t < 60 else 1.0) for t in range(120)]
    html = chart(gap)
    assert drawn(html) == [100]
    (d,) = re.findall(r'class="line[^"]*" d="([^"]*)"', html)
    assert d.count("M") == 2


def test_a_point_by_itself_is_seen():
    html = chart([(0.0, None), (1.0, 0.5), (2.0, None)])
    assert "h0" in html
    assert 'data-drawn="1"' in html


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=5000))
def test_a_thinned_line_keeps_its_ends_and_its_extremes(values):
    points = [(float(i), y) for i, y in enumerate(values)]
    kept = plot.thin(points)
    assert kept[0] == 0
    assert kept[-1] == len(points) - 1
    assert kept == sorted(set(kept))
    assert len(kept) <= max(plot.POINTS_KEPT, 1.5 * plot.POINTS_KEPT + 2)
    known = [y for _, y in points if y is not None]
    if known:
        seen = [points[i][1] for i in kept if points[i][1] is not None]
        assert (min(seen), max(seen)) == (min(known), max(known))
    assert (None in values) == any(points[i][1] is None for i in kept)


def test_a_line_of_steps_is_drawn_where_it_changes():
    points = [(float(t), 500.0 if t < 50 else 2500.0) for t in range(100)]
    assert plot.thin_steps(points) == [0, 50, 99]
    assert plot.thin_steps([]) == []


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8), st.booleans())
def test_ticks_lie_inside_and_are_few(low, span, most, time):
    ticks = plot.linear_ticks(low, low + span, most, time=time)
    assert len(ticks) <= most + 1
    edge = 1e-6 * max(span, 1.0)
    assert all(low - edge <= tick <= low + span + edge for tick in ticks)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 s"), (0.25, "0.25 s"), (12, "12 s"), (120, "2 min"), (5400, "1 h 30 min"), (-90, "-1 min 30 s")],
)
def test_durations_are_said_as_people_say_them(value, said):
    assert plot.seconds(value).replace(plot.NB, " ") == said


@pytest.mark.parametrize("values", [[], [None], [0.0], [0.0, 0.0], [1e200, 1.0], [float("inf"), 1.0], [-1.0, 0.0]])
@pytest.mark.parametrize("log", [True, False])
def test_any_values_make_a_plot(values, log):
    points = [(float(i), y) for i, y in enumerate(values)]
    html = plot.line_chart("odd", [Line("a", points)], x=Axis("x"), y=Axis("y", log=log))
    assert isinstance(html, Html)
    assert "nan" not in html
    assert "inf" not in html.replace("info", "")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_all_of_it_and_nothing_sticks_out(chromium, tmp_path, width, dark):
    path = tmp_path / "page.html"
    path.write_text(everything("a rather long line of words, and a-word-that-knows-no-end-" + 12 * "abcdefgh"))
    opened = chromium.open(path, width=width, dark=dark)
    assert opened.too_wide() == []
    assert opened.requests == []
    assert opened.errors == []
    assert opened.js("document.querySelectorAll('svg path.line').length") == 2
    assert opened.js("document.querySelector('svg path.line').getBoundingClientRect().width") > 0.6 * width
    assert opened.js("document.querySelectorAll('.waterfall li').length") == 2
    background = opened.js("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(18, 21, 27)" if dark else "rgb(247, 248, 250)")


def test_a_name_that_is_a_script_does_nothing_in_a_browser(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(everything(EVIL))
    opened = chromium.open(path, width=1280)
    assert opened.js("document.scripts.length + document.images.length") == 0
    assert opened.requests == []
    assert "<script>alert(1)" in opened.js("document.querySelector('.banner').innerText")


def test_what_would_ask_for_something_or_stick_out_is_caught(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<img src="http://127.0.0.1:9/x.png"><div class=wide style="width:3000px">wide</div>')
    opened = chromium.open(path, width=390)
    assert opened.requests == ["http://127.0.0.1:9/x.png"]
    assert any("wide" in found for found in opened.too_wide())


BROKEN_WORDS = """
[...document.querySelectorAll('h1, h2, h3, th, dt, summary, .words > span:first-child, .chip')]
  .filter(e => e.getClientRects().length).flatMap(e => {
    const found = [], walker = document.createTreeWalker(e, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());)
      for (const word of node.data.matchAll(/[^\\s\\u00a0-]{2,20}(?=[\\s-]|$)/g)) {
        if (word.index > 0 && !/[\\s-]/.test(node.data[word.index - 1])) continue;
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) found.push(word[0]);
      }
    return found;
  })
"""
"""Words of up to 20 letters that a browser breaks, in headings, heads of columns and names."""

STICKS_OUT = """
[...document.querySelectorAll('section *')].filter(e => !e.closest('svg, .frame, .track, .x-ticks, .y-ticks'))
  .filter(e => e.getBoundingClientRect().right > e.closest('section').getBoundingClientRect().right + 1)
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 40))
"""
"""What is wider than the card that it stands in."""


def wide(cell="x"):
    heads = ["ended (UTC)", "objective", "verdict", "inconclusive", "candidate bad", "predicted"]
    return page.table([*heads, *heads[:5]], [[cell] * 11] * 3, numbers=(4, 5))


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_no_word_of_a_heading_is_broken_and_the_page_does_not_scroll_sideways(chromium, tmp_path, width):
    digest = "sha256:" + 64 * "a"
    path = tmp_path / "page.html"
    path.write_text(
        shown(
            el("h2", "Internationalization of the unavailable"),
            page.banner("bad", f"Release {digest}", digest),
            page.section(f"Latency of {digest}", page.facts({"Unavailability": digest, digest: "x"}), wide()),
            page.section("Übersicht 日本語 der Dienstgütevereinbarungen", wide(digest)),
            page.section(
                "words",
                page.table(["internationalization", digest], [["words " * 50, digest]]),
                wide("a few words and 2026-03-04"),
                page.table([digest], [[digest]]),
            ),
        )
    )
    opened = chromium.open(path, width=width)
    assert opened.js(BROKEN_WORDS) == []
    assert opened.too_wide() == []
    assert opened.js(STICKS_OUT) == []


def test_cells_that_stand_side_by_side_have_a_blank_between_them_without_the_style(chromium, tmp_path):
    path = tmp_path / "page.html"
    chips = [page.chip("good", "pass"), "seen"]
    blocks = [page.table(["check", "state", "said"], [["changes_have_objects", *chips]]), page.facts({"Run": "r1"})]
    path.write_text(shown(*blocks, plot.waterfall_chart("w", [Bar("copy", 0, 3), Bar("target", 3, 60)])))
    opened = chromium.open(path, width=1280)
    whole = opened.js("document.querySelector('main').textContent")
    for apart in ("changes_have_objects✓", "passseen", "checkstate", "Runr1", "copy3"):
        assert apart not in whole.replace(plot.NB, "")
    assert "changes_have_objects" in whole.split()
