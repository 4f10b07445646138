"""Plain series selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.slo.selector import Matcher, Selector, SelectorError, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", Selector("a")),
        (" a:b_c ", Selector("a:b_c")),
        ("a{}", Selector("a")),
        ('a{b="c"}', Selector("a", (Matcher("b", "=", "c"),))),
        ("a { b != 'c' , d=~`5..`, }", Selector("a", (Matcher("b", "!=", "c"), Matcher("d", "=~", "5..")))),
        ('a{b="say \\"x\\" \\\\ }"}', Selector("a", (Matcher("b", "=", 'say "x" \\ }'),))),
        ('{__name__="a",b="c"}', Selector("a", (Matcher("b", "=", "c"),))),
    ],
)
def test_selectors_are_read(text, wanted):
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "a{b}",
        "a{b=c}",
        'a{b="c"} or d',
        "a[5m]",
        "rate(a[5m])",
        "sum by (x) (a)",
        'a{b="c" d="e"}',
        "1",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(SelectorError):
        parse(text)


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True).filter(lambda n: n != "__name__")
matchers = st.builds(Matcher, names, st.sampled_from(["=", "!="]), st.text(max_size=12))


@given(st.builds(Selector, names, st.lists(matchers, max_size=4).map(tuple)))
def test_what_is_written_is_read_back(selector):
    assert parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("matcher", "value", "wanted"),
    [
        (Matcher("code", "=~", "5.."), "503", True),
        (Matcher("code", "=~", "5.."), "5033", False),
        (Matcher("code", "!~", "5..|"), "", False),
        (Matcher("code", "=", ""), "", True),
        (Matcher("code", "!=", "x"), "", True),
    ],
)
def test_matchers_match_whole_values(matcher, value, wanted):
    assert matcher.accepts(value) is wanted
