"""Plots: lines with bands over time, and waterfalls of phases.

The drawing is SVG that stretches to the page's width with strokes that do not, and all words are HTML beside and over
it. So a plot is as readable on a phone as on a wide screen. Nothing here knows what is plotted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, isnan, log10

from turnout.html.markup import Html, el, join

WIDTH, HEIGHT = 1000.0, 300.0
"""The drawing's own units; it is stretched to whatever place there is."""

NB = "\u00a0"
"""Keeps a number and its unit in one line."""

POINTS_KEPT = 600
"""A line of more points is thinned to about so many, keeping every extreme: more than a screen has columns for."""

COLORS = 6
"""Lines can have colors 1 to 6 of the page's palette; 0 is grey."""


def plain(value: float) -> str:
    """Return a number with three digits and no needless zeros."""
    return f"{value:.3g}"


def percent(ratio: float) -> str:
    """Return a ratio as percent: 0.00123 as 0.123 %."""
    return f"{100 * ratio:.3g}{NB}%"


def seconds(value: float) -> str:
    """Return a duration in the largest units that say it exactly enough: 12 s, 2 min, 1 h 30 min."""
    if abs(value) < 10 and value != round(value):
        return f"{value:.2g}{NB}s"
    whole = round(abs(value))
    sign = "-" if value < 0 and whole else ""
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s")]
    return sign + (" ".join(f"{number}{NB}{unit}" for number, unit in parts if number) or f"0{NB}s")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it measures, how its numbers are written, and its ends where they are not the data's own.

    `log` is for values above 0; those at or below `low` are drawn at the edge. What lies beyond `high` is cut off.
    `time` is for values in seconds: ticks stand at whole seconds, minutes and hours, and are written so. `room` is the
    part of the drawing that stays free beyond either end, so that a point there is seen whole.
    """

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    time: bool = False
    form: Callable[[float], str] = plain
    room: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points of (x, y) in the order of x; a y of None is a gap.

    `band` has a (low, high) for each point, or None where there is none. `color` is 0 to `COLORS`. `step` holds each
    value until the next. `dots` draws the points and no line between them.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    color: int = 1
    band: Sequence[tuple[float, float] | None] = ()
    dashed: bool = False
    step: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with its name, such as a threshold."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at a moment, with a few words."""

    x: float
    label: str
    kind: str = "info"


@dataclass(frozen=True, slots=True)
class Span:
    """A shaded stretch of x: `kind` is good, bad, warn or info."""

    start: float
    end: float
    label: str
    kind: str = "warn"


# Ticks ---------------------------------------------------------------------------------------------------------------

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def nice_step(span: float, most: int) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that cuts `span` into at most `most` parts."""
    if span <= 0.0:
        return 1.0
    raw = span / most
    power = 10.0 ** floor(log10(raw))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= raw * (1 - 1e-9))


def linear_ticks(low: float, high: float, most: int = 4, *, time: bool = False) -> list[float]:
    """Return round numbers from `low` to `high`."""
    if high <= low:
        return [low]
    step = nice_step(high - low, most)
    if time:
        step = next((float(s) for s in _TIME_STEPS if (high - low) / s <= most), 86400.0 * ceil(step / 86400.0))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return powers of ten from `low` to `high`, above 0 both."""
    first, last = ceil(log10(low) - 1e-9), floor(log10(high) + 1e-9)
    stride = max(1, ceil((last - first + 1) / most))
    return [10.0**power for power in range(first, last + 1, stride)]


# Scales --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scale:
    """An axis with its ends decided: from a value to a part of the drawing, 0 to 1."""

    axis: Axis
    low: float
    high: float

    def __call__(self, value: float) -> float:
        if self.axis.log:
            value = log10(max(value, self.low))
            low, high = log10(self.low), log10(self.high)
        else:
            low, high = self.low, self.high
        # A little beyond the frame is enough to be cut off by it; infinity could not be written.
        part = self.axis.room + (value - low) / (high - low) * (1.0 - 2.0 * self.axis.room)
        return min(2.0, max(-1.0, part))

    def ticks(self) -> list[float]:
        if self.axis.log:
            return log_ticks(self.low, self.high)
        return linear_ticks(self.low, self.high, time=self.axis.time)


def _scale(axis: Axis, values: Sequence[float]) -> _Scale:
    known = [value for value in values if isfinite(value) and (value > 0.0 or not axis.log)]
    low = axis.low if axis.low is not None else min(known, default=1.0 if axis.log else 0.0)
    high = axis.high if axis.high is not None else max(known, default=10.0 if axis.log else 1.0)
    if axis.log:
        low, high = (low, high) if low > 0.0 else (min(high, 1.0) / 10.0 if high > 0.0 else 1.0, high)
        high = high if high > low else low * 10.0
    elif high <= low:
        high = low + (abs(low) or 1.0)
    return _Scale(axis, low, high)


# Lines ---------------------------------------------------------------------------------------------------------------


def thin(points: Sequence[tuple[float, float | None]], most: int = POINTS_KEPT) -> list[int]:
    """Return which points are drawn, by index: all where there are few.

    Of more, each of `most`/2 stretches keeps its lowest and its highest point, a gap where it has one, and the ends
    stay: what stood out still does.
    """
    count = len(points)
    if count <= most:
        return list(range(count))
    kept = {0, count - 1}
    stretches = max(1, most // 2)
    for number in range(stretches):
        part = range(number * count // stretches, (number + 1) * count // stretches)
        known = [(y, index) for index in part if (y := points[index][1]) is not None]
        if known:
            kept.update((min(known)[1], max(known)[1]))
        gap = next((index for index in part if points[index][1] is None), None)
        if gap is not None:
            kept.add(gap)
    return sorted(kept)


def thin_steps(points: Sequence[tuple[float, float | None]]) -> list[int]:
    """Return which points of a line of steps are drawn: the ends, and where the value changes."""
    inner = (index for index, (one, two) in enumerate(pairwise(points), start=1) if one[1] != two[1])
    return sorted({*inner, 0, len(points) - 1}) if points else []


def _runs(line: Line, drawn: Sequence[int]) -> Iterator[list[int]]:
    """Yield stretches of the drawn points without a gap."""
    run: list[int] = []
    for index in drawn:
        y = line.points[index][1]
        if y is None or isnan(y):
            if run:
                yield run
            run = []
        else:
            run.append(index)
    if run:
        yield run


def _place(x: _Scale, y: _Scale, point: tuple[float, float | None]) -> tuple[str, str]:
    """Return a point in the drawing's units."""
    value = point[1]
    assert value is not None  # noqa: S101 - gaps are cut out before
    return f"{x(point[0]) * WIDTH:.1f}", f"{(1 - y(value)) * HEIGHT:.1f}"


def _path(line: Line, x: _Scale, y: _Scale) -> Html:
    drawn = thin_steps(line.points) if line.step else thin(line.points)
    words: list[str] = []
    count = 0
    for run in _runs(line, drawn):
        for number, index in enumerate(run):
            left, top = _place(x, y, line.points[index])
            count += 1
            if number == 0 or line.dots:
                words.append(f"M{left} {top}h0" if line.dots or len(run) == 1 else f"M{left} {top}")
            else:
                words.append(f"H{left}V{top}" if line.step else f"L{left} {top}")
    kind = "dots" if line.dots else "dashed" if line.dashed else None
    return el(
        "path",
        el("title", line.name),
        class_=" ".join(word for word in ("line", f"c{line.color}", kind) if word),
        d="".join(words),
        data_line=line.name,
        data_points=len(line.points),
        data_drawn=count,
    )


def _band(line: Line, x: _Scale, y: _Scale) -> Html | None:
    """Return the shaded band of a line, one area for each stretch that has one."""
    points: list[tuple[float, float | None]] = [
        (point[0], None if edge is None else edge[1] - edge[0])
        for point, edge in zip(line.points, line.band, strict=True)
    ]
    areas: list[str] = []
    for run in _runs(Line(line.name, points), thin(points)):
        edges = [(line.points[index][0], *edge) for index in run if (edge := line.band[index]) is not None]
        upper = [f"{x(at) * WIDTH:.1f} {(1 - y(high)) * HEIGHT:.1f}" for at, _, high in edges]
        lower = [f"{x(at) * WIDTH:.1f} {(1 - y(low)) * HEIGHT:.1f}" for at, low, _ in reversed(edges)]
        areas.append(f"M{'L'.join(upper + lower)}Z")
    if not areas:
        return None
    return el("path", class_=f"band c{line.color}", d="".join(areas), data_band=line.name)


def _numbers(lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None and isfinite(y)]
    return xs, ys


def _at(part: float) -> str:
    """Return a part of the width or height as CSS writes it."""
    return f"{100 * min(1.0, max(0.0, part)):.2f}%"


def _side(part: float, edge: float = 0.3) -> str:
    """Return on which side of its place a label stands, so that it stays inside the frame."""
    return "start" if part < edge else "end" if part > 1.0 - edge else "middle"


def _legend(lines: Sequence[Line], spans: Sequence[Span]) -> Html | None:
    entries = [
        el(
            "span",
            el("i", class_=" ".join(w for w in ("key", f"c{line.color}", "dashed" if line.dashed else None) if w)),
            line.name + (" (shaded: 95 % interval)" if line.band else ""),
        )
        for line in lines
    ]
    seen: dict[tuple[str, str], None] = dict.fromkeys((span.kind, span.label) for span in spans)
    entries += [el("span", el("i", class_=f"key area {kind}"), label) for kind, label in seen]
    return el("div", *entries, class_="legend") if entries else None


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: Axis,
    y: Axis,
    levels: Sequence[Level] = (),
    marks: Sequence[Mark] = (),
    spans: Sequence[Span] = (),
    note: str | None = None,
) -> Html:
    """Return lines over a common x, with thresholds, moments and stretches of note.

    `title` says what is seen, `note` how to read it. A plot without a single point says that there is none.
    """
    xs, ys = _numbers(lines)
    heading = el("figcaption", el("b", title), None if note is None else el("span", note, class_="note"))
    if not ys:
        return el("figure", heading, el("p", "nothing was measured", class_="empty"), class_="chart")
    across = _scale(x, xs + [mark.x for mark in marks] + [end for span in spans for end in (span.start, span.end)])
    reach = ys + [level.y for level in levels]
    up = _scale(Axis(y.label, y.low, y.high if y.high is not None or y.log else 1.08 * max(reach), y.log), reach)
    up = _Scale(y, up.low, up.high)
    ticks_x, ticks_y = across.ticks(), up.ticks()
    drawn: list[Html | None] = [
        el(
            "rect",
            class_=f"span {span.kind}",
            x=f"{across(span.start) * WIDTH:.1f}",
            y=0,
            width=f"{max(0.0, across(span.end) - across(span.start)) * WIDTH:.1f}",
            height=f"{HEIGHT:g}",
        )
        for span in spans
    ]
    drawn += [_rule(class_="grid", y=(1 - up(tick)) * HEIGHT) for tick in ticks_y]
    drawn += [_band(line, across, up) for line in lines if line.band]
    drawn += [_rule(class_="level", y=(1 - up(level.y)) * HEIGHT) for level in levels]
    drawn += [_rule(class_=f"mark {mark.kind}", x=across(mark.x) * WIDTH) for mark in marks]
    drawn += [_path(line, across, up) for line in lines]
    svg = el(
        "svg",
        *drawn,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}: {', '.join(line.name for line in lines)}",
    )
    words = [
        *(el("span", level.label, class_="level", style=f"top:{_at(1 - up(level.y))}") for level in levels),
        *(
            el("span", mark.label, class_=f"mark {_side(across(mark.x))}", style=f"left:{_at(across(mark.x))}")
            for mark in marks
        ),
    ]
    left = [el("span", y.form(tick), style=f"top:{_at(1 - up(tick))}") for tick in ticks_y]
    form = seconds if x.time and x.form is plain else x.form
    below = [el("span", form(tick), class_=_side(across(tick)), style=f"left:{_at(across(tick))}") for tick in ticks_x]
    return el(
        "figure",
        heading,
        _legend(lines, spans),
        el("div", y.label, class_="y-label"),
        el(
            "div",
            el("div", *left, class_="y-ticks", aria_hidden="true"),
            el("div", svg, *words, class_="frame"),
            el("div", *below, class_="x-ticks", aria_hidden="true"),
            class_="plot",
        ),
        el("div", x.label, class_="x-label"),
        class_="chart",
    )


def _rule(*, class_: str, x: float | None = None, y: float | None = None) -> Html:
    """Return a straight line across the drawing, at one x or one y."""
    if y is not None:
        return el("line", class_=class_, x1=0, x2=f"{WIDTH:g}", y1=f"{y:.1f}", y2=f"{y:.1f}")
    return el("line", class_=class_, x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=f"{HEIGHT:g}")


# Waterfall -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase: when it began and how long it took, in seconds. `kind` is info, good, bad or warn."""

    name: str
    start_s: float
    length_s: float
    note: str = ""
    kind: str = "info"


def waterfall_chart(title: str, bars: Sequence[Bar], *, note: str | None = None) -> Html:
    """Return phases one below the other, each at its time, with its seconds in words."""
    heading = el("figcaption", el("b", title), None if note is None else el("span", note, class_="note"))
    if not bars:
        return el("figure", heading, el("p", "nothing was measured", class_="empty"), class_="chart")
    begin = min(bar.start_s for bar in bars)
    whole = max(bar.start_s + bar.length_s for bar in bars) - begin or 1.0
    rows = [
        el(
            "li",
            el(
                "div",
                el("span", bar.name),
                el("span", join([seconds(bar.length_s), bar.note] if bar.note else [seconds(bar.length_s)], ", ")),
                class_="words",
            ),
            el(
                "div",
                el(
                    "div",
                    class_=f"bar {bar.kind}",
                    style=f"left:{_at((bar.start_s - begin) / whole)};width:{_at(bar.length_s / whole)}",
                ),
                class_="track",
            ),
            data_start=f"{bar.start_s - begin:.3f}",
            data_length=f"{bar.length_s:.3f}",
        )
        for bar in bars
    ]
    total = el("p", f"{seconds(whole)} from first to last", class_="note")
    return el("figure", heading, el("ol", *rows, class_="waterfall"), total, class_="chart")
