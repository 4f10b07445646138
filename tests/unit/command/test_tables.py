"""Tables for a terminal."""

from __future__ import annotations

from turnout import tables


def test_columns_are_as_wide_as_what_they_hold() -> None:
    rows = [("name", "s", "why"), ("edge1", 7, "up"), ("e", 12.5, "")]
    assert tables.lines(rows, right=(1,)) == ["name      s  why", "edge1     7  up", "e      12.5"]


def test_a_long_cell_is_wrapped_and_a_word_that_is_too_long_is_cut() -> None:
    rows = [("what", "why"), ("a b c", "x" * 7)]
    assert tables.lines(rows, most=(3, 5), ruled=True) == [
        "wha  why", "t", "---  -----", "a b  xxxxx", "c    xx"
    ]  # fmt: skip


def test_what_looks_like_markup_is_text() -> None:
    rows = [("a", "b"), ("[bold]x[/bold]", ":smile: [/]"), ("line\nbreak", "\x1b[31m")]
    shown = tables.lines(rows)
    assert "[bold]x[/bold]" in shown[1]
    assert ":smile: [/]" in shown[1]
    assert shown[2].startswith("line break")
    assert "\x1b" not in "".join(shown)


def test_wide_signs_are_counted_as_the_terminal_does() -> None:
    assert tables.lines([("日本", "x"), ("a", "y")]) == ["日本  x", "a     y"]
