"""Prometheus series selectors: read, narrowed and written.

An SLO names its counters as plain selectors, `http_requests_total{job="api",code=~"5.."}`. From them come the
judge's raw reads, the `rate()` of the rules and the series of the unit tests, so a query that already holds
functions could serve only one of the three.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from turnout.slo import patterns

_NAME = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)")
_MATCHER = re.compile(
    r"""\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)\s*"""
)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'", "r": "\r"}


class SelectorError(ValueError):
    """Text that is not a plain series selector; says what it is instead."""


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    """One condition on a label."""

    label: str
    op: str
    value: str

    def __str__(self) -> str:
        """Return the matcher in PromQL."""
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op}"{value}"'

    def accepts(self, value: str) -> bool:
        """Whether a label's value fulfils it; a missing label has the value ''. Patterns match the whole
        value."""
        if self.op in ("=", "!="):
            return (value == self.value) == (self.op == "=")
        return patterns.accepts(self.value, value) == (self.op == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's name and the conditions on its labels."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    def __str__(self) -> str:
        """Return the selector in PromQL."""
        return f"{self.metric}{{{','.join(str(m) for m in self.matchers)}}}" if self.matchers else self.metric

    def where(self, label: str, value: str) -> Selector:
        """Return this selector with one more condition, `label="value"`."""
        return Selector(self.metric, (*self.matchers, Matcher(label, "=", value)))


def _unquote(quoted: str) -> str:
    body = quoted[1:-1]
    if quoted[0] == "`":
        return body
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), "\\" + m.group(1)), body)


def _what_instead(text: str) -> str:
    if re.search(r"\b(rate|irate|increase|delta|sum|avg|count|max|min|histogram_quantile)\s*(by\b|without\b|\()", text):
        return "holds a function; the judge takes raw differences itself, and the rules add rate() and sum()"
    if re.search(r"\[[^\]]*\]\s*(offset\b.*)?$", text):
        return "holds a range; the windows come from the rules and from the judge's scrapes"
    if re.search(r"\boffset\b|@", text):
        return "holds an offset"
    return "is not a plain series selector"


def parse(text: str) -> Selector:
    """Return the selector that a text holds; raises `SelectorError` for anything more or less."""
    name = _NAME.match(text)
    position = name.end() if name else len(text) - len(text.lstrip())
    metric = name.group(1) if name else ""
    matchers: list[Matcher] = []
    rest = text[position:].lstrip()
    if rest.startswith("{"):
        position = text.index("{", position) + 1
        while not text[position:].lstrip().startswith("}"):
            match = _MATCHER.match(text, position)
            if match is None:
                raise SelectorError(_what_instead(text))
            matchers.append(Matcher(match.group(1), match.group(2), _unquote(match.group(3))))
            position = match.end()
            if text[position : position + 1] == ",":
                position += 1
            elif text[position : position + 1] != "}":
                raise SelectorError(_what_instead(text))
        position = text.index("}", position) + 1
        rest = text[position:]
    if rest.strip():
        raise SelectorError(_what_instead(text))
    named = [m for m in matchers if m.label == "__name__" and m.op == "="]
    if not metric and len(named) == 1:
        metric = named[0].value
        matchers = [m for m in matchers if m is not named[0]]
    if not metric:
        raise SelectorError("names no metric")
    for matcher in matchers:
        if matcher.op in ("=~", "!~"):
            try:
                patterns.compiled(matcher.value)
            except patterns.PatternError as error:
                message = f"holds a pattern that Prometheus would refuse (RE2): {matcher.value!r}: {error}"
                raise SelectorError(message) from None
    return Selector(metric, tuple(matchers))
