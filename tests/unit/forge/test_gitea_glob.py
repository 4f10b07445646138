"""Patterns of Gitea and Forgejo: what they match, and that what was quoted matches itself alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.forge.gitea_glob import literal, matches, special

TEXT = st.text(st.sampled_from("ab*?[]{}\\,!-^/ (.|)\n"), max_size=12)


@given(TEXT, TEXT)
def test_what_was_quoted_matches_itself_alone(text: str, other: str) -> None:
    assert matches(literal(text), text)
    assert matches(literal(text), other) is (text == other)


@given(TEXT, TEXT)
def test_any_pattern_is_read_or_means_itself(pattern: str, text: str) -> None:
    assert matches(pattern, text, "/") in (True, False)
    if not special(pattern):
        assert matches(pattern, text) is (pattern == text)


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("a*c", "a/c", False),
        ("a**c", "a/x/c", True),
        ("a?c", "a/c", False),
        ("[ab]-{x,y{1,2}}", "b-y2", True),
        ("[!ab]", "a", False),
        ("[a-c]", "b", True),
        (r"\*", "*", True),
        ("a.c", "abc", False),
        ("a,b", "a,b", True),
        ("a[", "a[", True),
        ("a{b", "a{b", True),
    ],
)
def test_each_sign_means_what_it_does_there(pattern: str, text: str, matched: bool) -> None:
    assert matches(pattern, text, "/") is matched
