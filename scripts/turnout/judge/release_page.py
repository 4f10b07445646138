"""The HTML report of a judged release: how it ended and why, with the evidence, in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.html import page
from turnout.html.markup import Html, el, join
from turnout.html.plot import Axis, Level, Line, Mark, Span, line_chart, percent, plain, seconds
from turnout.judge.constants import DEFAULT
from turnout.judge.model import Evidence, Judgement, Rate, Verdict
from turnout.judge.outcome import (
    Outcome,
    Settled,
    many,
    outcome,
    rate_words,
    run_outcome,
    settled,
    share,
    slo_state,
    titles_of,
)
from turnout.judge.report import amount, reason, share_line
from turnout.judge.story import Event, Story, read
from turnout.slo.model import Slo

CANDIDATE, STABLE = 2, 0
"""The colors of the lines: orange and grey, neither of them the name of a color that a release can stand in."""

ROWS_KEPT = 60
"""A table of a long and restless release keeps so many of its rows, the first and the last."""

E_CEILING = 1e9
RECENT_PART = 40
"""The dashed line of a ratio looks back a fortieth of the release, and five seconds at least."""

KINDS = {
    Verdict.PROMOTE: "good",
    Verdict.CONTINUE: "info",
    Verdict.HOLD: "warn",
    Verdict.BLIND: "warn",
    Verdict.ROLLBACK: "bad",
}
TIME = Axis("time since the first scrape", time=True)


# Plots ---------------------------------------------------------------------------------------------------------------


def _spans(judgements: Sequence[Judgement]) -> list[Span]:
    """Return the stretches in which the release was held, could not be judged, or was to go back."""
    shown = {Verdict.HOLD: "held", Verdict.BLIND: "could not be judged", Verdict.ROLLBACK: "rollback"}
    found = []
    index = 0
    for verdict, group in groupby(judgements, key=lambda judgement: judgement.verdict):
        run = list(group)
        index += len(run)
        if verdict in shown:
            end = judgements[index] if index < len(judgements) else run[-1]
            kind = "info" if verdict is Verdict.BLIND else KINDS[verdict]
            found.append(Span(run[0].t_s, end.t_s, shown[verdict], kind))
    return found


def _marks(found: Settled) -> list[Mark]:
    word = "rollback" if found.by_judge else "put back"
    return [Mark(found.at.t_s, f"{word} at {seconds(found.at.t_s)}", "bad")] if found.back else []


def _share_chart(judgements: Sequence[Judgement], found: Settled) -> Html:
    points: list[tuple[float, float | None]] = [
        (judgement.t_s, judgement.share_bp / 10_000) for judgement in judgements
    ]
    points[found.count - 1] = (found.at.t_s, found.share_bp / 10_000)
    if found.back:  # from then on the share fell, edge by edge
        points[found.count :] = [(judgement.t_s, None) for judgement in judgements[found.count :]]
    return line_chart(
        "Share of the traffic",
        [Line("candidate's share", points, CANDIDATE, step=True)],
        x=TIME,
        y=Axis("of all requests", low=0.0, high=1.04, form=percent),
        marks=_marks(found),
        spans=_spans(judgements),
    )


def _evidence_axis(label: str, lines: Sequence[Line], highest_level: float) -> Axis:
    values = [y for line in lines for _, y in line.points if y is not None]
    low = min([0.3, *(value for value in values if value > 0.0)])
    high = max([highest_level * 10.0, *values])
    return Axis(label, low=max(low, 1e-4), high=min(high, E_CEILING), log=True, form=_power)


def _power(value: float) -> str:
    """Return a power of ten as an axis writes it."""
    return f"{value:g}" if 1e-3 <= value <= 1e4 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _value_chart(judgements: Sequence[Judgement], found: Settled) -> Html:
    lines = [Line("evidence against the candidate, all SLOs", [(j.t_s, j.value) for j in judgements], CANDIDATE)]
    thresholds = sorted({j.threshold for j in judgements})
    levels = [Level(level, f"rollback at {level:.0f}") for level in thresholds]
    levels.append(Level(DEFAULT.hold_value, f"held from {DEFAULT.hold_value:.0f}"))
    return line_chart(
        "Evidence for a rollback",
        lines,
        x=TIME,
        y=_evidence_axis("E, on a scale of powers of ten", lines, max(thresholds)),
        levels=levels,
        marks=_marks(found),
        spans=_spans(judgements),
        note="Begins at 1 and grows only by requests that a release which keeps its objectives would seldom give.",
    )


def _promotion_chart(judgements: Sequence[Judgement], titles: Mapping[str, str]) -> Html | None:
    """Return the evidence for the next share, for SLOs that it ever waited for; None where none was."""
    waited = [name for name in titles if any(e.name == name and e.blocks_promotion for j in judgements for e in j.slos)]
    lines = [
        Line(titles[name], _of(judgements, name, lambda e: e.promotion), number % 6 + 1, dashed=number >= 6)
        for number, name in enumerate(waited)
    ]
    lines = [line for line in lines if any(y is not None for _, y in line.points)]
    if not lines:
        return None
    wanted = DEFAULT.promotion_threshold
    return line_chart(
        "Evidence for a larger share",
        lines,
        x=TIME,
        y=_evidence_axis("E, counted anew at each share", lines, wanted),
        levels=[Level(wanted, f"enough at {wanted:.0f}")],
        note="Every SLO that has traffic must show by itself that the candidate would not be bad at the next share.",
    )


def _of(
    judgements: Sequence[Judgement], name: str, value: Callable[[Evidence], float | None]
) -> list[tuple[float, float | None]]:
    """Return one value of one SLO over time."""
    return [(j.t_s, next((value(e) for e in j.slos if e.name == name), None)) for j in judgements]


def _recent(judgements: Sequence[Judgement], rates: Sequence[Rate | None]) -> list[tuple[float, float | None]]:
    """Return the bad ratio of the last seconds at each scrape, None where they had no events."""
    span_s = max(5.0, (judgements[-1].t_s - judgements[0].t_s) / RECENT_PART)
    points: list[tuple[float, float | None]] = []
    first = 0
    for judgement, now in zip(judgements, rates, strict=True):
        while judgements[first].t_s < judgement.t_s - span_s:
            first += 1
        before = rates[first]
        ratio = None
        if now is not None and before is not None and now.total > before.total:
            ratio = max(0.0, now.bad - before.bad) / (now.total - before.total)
        points.append((judgement.t_s, ratio))
    return points


def _ratio_chart(judgements: Sequence[Judgement], found: Settled, name: str, p0: float) -> Html:
    lines = []
    rates: dict[str, list[Rate | None]] = {"candidate": [], "stable": []}
    for judgement in judgements:
        evidence = next((e for e in judgement.slos if e.name == name), None)
        rates["candidate"].append(None if evidence is None else evidence.candidate)
        rates["stable"].append(None if evidence is None else evidence.stable)
    for words, color in (("stable", STABLE), ("candidate", CANDIDATE)):
        both = list(zip(judgements, rates[words], strict=True))
        points = [(j.t_s, None if rate is None else rate.ratio) for j, rate in both]
        band = [None if rate is None or rate.ratio is None else (rate.low, rate.high) for _, rate in both]
        lines.append(Line(f"{words} since the start", points, color, band))
    recent = _recent(judgements, rates["candidate"])
    lines.append(Line("candidate, last seconds", recent, CANDIDATE, dashed=True))
    known = [y for line in lines for _, y in line.points if y is not None]
    return line_chart(
        "Bad events, of all",
        lines,
        x=TIME,
        y=Axis("bad ratio", low=0.0, high=min(1.0, max([2.0 * p0, *(1.15 * y for y in known)])), form=percent),
        levels=[Level(p0, f"allowed {percent(p0)}")],
        marks=_marks(found),
    )


def _e_chart(judgements: Sequence[Judgement], found: Settled, name: str) -> Html:
    lines = [
        Line("against its objective", _of(judgements, name, lambda e: e.e_abs), 1),
        Line("against the version in service", _of(judgements, name, lambda e: e.e_rel), 4),
    ]
    return line_chart(
        "Evidence of this SLO",
        [line for line in lines if any(y is not None for _, y in line.points)],
        x=TIME,
        y=_evidence_axis("E, on a scale of powers of ten", lines, DEFAULT.hold_relative),
        marks=_marks(found),
        note="The smaller of the two counts, so that a fault of both versions is not blamed on the new one. A rollback "
        "is decided by the mean over all SLOs, above.",
    )


# Blocks --------------------------------------------------------------------------------------------------------------


def _banner(found: Outcome) -> Html:
    return page.banner(found.kind, found.title, *found.words)


def _facts(story: Story, end: Settled | None) -> Html:
    judgements = story.judgements[: end.count] if end else ()
    blind = sum(1 for judgement in judgements if judgement.verdict is Verdict.BLIND)
    colors = None
    if "candidate" in story.facts:
        colors = f"{story.facts['candidate']} is the candidate, {story.facts.get('stable', '?')} was in service"
    started = story.started_at or (story.events[0].at if story.events else None)
    run = next((event.word("run") for event in story.events if event.kind == "start"), story.facts.get("run"))
    found: dict[str, object] = {
        "Release": story.facts.get("release"),
        "Configuration differs in": story.facts.get("differs") or None,
        "Run": run or None,
        "Started": None if started is None else f"{started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "Colors": colors,
    }
    if end:
        found |= {
            "Judged for": seconds(judgements[-1].t_s - judgements[0].t_s),
            "Highest share": share(max(end.share_bp, *(judgement.share_bp for judgement in judgements))),
            "Share of requests": share_line(judgements),
            "Scrapes": f"{many(len(judgements))}, of which {many(blind)} could not be judged",
        }
    if story.replayed:
        found["Source"] = "judged again from the recorded counters; these are not the run's own judgements"
    return page.section("The release", page.facts(found))


def _allowed(evidence: Evidence, slo: Slo | None) -> str:
    """Return the bad ratio that an SLO allows, and what it allows while the warm-up lasts."""
    if slo is None or evidence.p0 <= slo.budget + slo.warm_up_allowance / 2 or not slo.warm_up_allowance:
        return percent(evidence.p0)
    return f"{percent(slo.budget)} (warm-up: {percent(evidence.p0)})"


def _summary(found: Settled, titles: Mapping[str, str], slos: Mapping[str, Slo]) -> Html:
    """Return what each SLO said when it was settled: later scrapes saw the way back, and would tell other figures."""
    last = found.at
    rows = []
    for evidence in sorted(last.slos, key=lambda e: -e.value):
        kind, words = slo_state(evidence, last)
        rows.append(
            [
                el("a", page.words(titles[evidence.name]), href=f"#{_anchor(last, evidence.name)}"),
                page.chip(kind, words),
                rate_words(evidence.candidate),
                rate_words(evidence.stable),
                _allowed(evidence, slos.get(evidence.name)),
                amount(evidence.value),
            ]
        )
    headings = ["objective", "says", "candidate bad", "stable bad", "allowed", "E"]
    when = "when it went back" if found.back else "at the end"
    note = el("p", f"Counts are from the first scrape to {seconds(last.t_s)}.", class_="note")
    return page.section(f"By objective, {when}", note, page.table(headings, rows, numbers=(2, 3, 4, 5), tight=(1, 5)))


def _anchor(judgement: Judgement, name: str) -> str:
    """Return the anchor of an SLO's section; its number, since a name could be anything."""
    return f"slo-{next(number for number, e in enumerate(judgement.slos) if e.name == name)}"


def _shortened(rows: Sequence[Sequence[object]], columns: int) -> list[Sequence[object]]:
    """Return rows as they are, or the first and the last of very many with a word about the rest."""
    if len(rows) <= ROWS_KEPT:
        return list(rows)
    half = ROWS_KEPT // 2
    between: list[object] = [f"{len(rows) - 2 * half} more", *[""] * (columns - 1)]
    return [*rows[:half], between, *rows[-half:]]


def _verdicts(judgements: Sequence[Judgement], found: Settled) -> Html:
    """Return the stretches of one verdict at one share, up to what settled the release."""

    def stretch(judgement: Judgement) -> tuple[Verdict, int]:
        return judgement.verdict, found.share_bp if judgement is found.at else judgement.share_bp

    rows = []
    for (verdict, share_bp), group in groupby(judgements[: found.count], key=stretch):
        run = list(group)
        said = reason(run[-1])
        begin, end = seconds(run[0].t_s), seconds(run[-1].t_s)
        rows.append(
            [
                begin if begin == end else f"{begin} to {end}",
                share(share_bp),
                page.chip(KINDS[verdict], verdict.value),
                f"{amount(run[-1].value)} of {run[-1].threshold:.0f}",
                said,
            ]
        )
    headings = ["time", "share", "verdict", "E", "why"]
    return page.section(
        "What the judge said", page.table(headings, _shortened(rows, len(headings)), numbers=(1,), tight=(0, 1, 2, 3))
    )


def _problems(story: Story) -> Html | None:
    if not story.problems:
        return None
    rows = [
        [problem, many(len(times)), seconds(times[0]), seconds(times[-1])] for problem, times in story.problems.items()
    ]
    note = el("p", "None of these is ever a pass: while nothing can be seen, the share does not grow.", class_="note")
    headings = ["what", "scrapes", "from", "to"]
    return page.section(
        "What could not be seen", note, page.table(headings, _shortened(rows, len(headings)), numbers=(1, 2, 3))
    )


_EVENT_WORDS: dict[str, tuple[str, str]] = {
    "start": ("info", "start"),
    "phase": ("info", "phase"),
    "said": ("info", "edge"),
    "verdict": ("info", "verdict"),
    "decision": ("warn", "decision"),
    "failed": ("bad", "failed"),
    "unreachable": ("bad", "unreachable"),
    "end": ("info", "end"),
}


def _event_text(event: Event) -> str:
    """Return what an event says."""
    if event.kind == "start":
        return f"{event.word('playbook')} begins"
    if event.kind == "end":
        return "done" if event.word("how") == "ok" else "not done"
    if event.kind == "task":
        hosts = event.more.get("hosts")
        states = ", ".join(f"{host} {state}" for host, state in hosts.items()) if isinstance(hosts, dict) else ""
        return f"{event.word('task')}: {states}"
    first = {"phase": "phase", "verdict": "verdict", "decision": "action"}.get(event.kind)
    where = f" at {share(int(event.more['share_bp']))}" if isinstance(event.more.get("share_bp"), int) else ""
    parts = [event.word(first) + where if first else "", event.word("task"), event.word("host")]
    parts += [event.word("message"), event.word("why")]
    return ": ".join(part for part in parts if part) or event.kind


def _event_row(story: Story, event: Event) -> list[object]:
    kind, word = _EVENT_WORDS.get(event.kind, ("info", event.kind))
    if event.more.get("ignored"):
        kind = "warn"
    t_s = story.t_s(event.at)
    since = "" if t_s is None else seconds(round(t_s, 1) if abs(t_s) < 10 else round(t_s))
    return [f"{event.at.astimezone(UTC):%H:%M:%S}", since, page.chip(kind, word), _event_text(event)]


def _journal(story: Story) -> Html | None:
    """Return what happened in the run, and below it every task."""
    if not story.events:
        return None
    headings = ["clock (UTC)", "release", "what", "said"]
    told = [_event_row(story, event) for event in story.events if event.kind != "task"]
    tasks = [_event_row(story, event) for event in story.events if event.kind == "task"]
    return page.section(
        "Journal of the run",
        page.table(headings, _shortened(told, len(headings)), numbers=(1,), tight=(0, 1, 2)),
        el(
            "details",
            el("summary", f"Every task ({len(tasks)})"),
            page.table(headings, tasks, numbers=(1,), tight=(0, 1, 2)),
        )
        if tasks
        else None,
    )


def _slo(judgements: Sequence[Judgement], found: Settled, evidence: Evidence, title: str, slo: Slo | None) -> Html:
    about = slo.description if slo is not None and slo.description else None
    objective = slo.budget if slo is not None else evidence.p0
    bursts = None
    if evidence.phi > 1.0:
        bursts = (
            f"Bad events of the version in service came {plain(evidence.phi)} at a time before the release, so each "
            "counts for that much less here."
        )
    notes = [el("p", words, class_="note") for words in (about, bursts) if words]
    return page.section(
        title,
        *notes,
        _ratio_chart(judgements, found, evidence.name, objective),
        _e_chart(judgements, found, evidence.name),
        id_=_anchor(judgements[-1], evidence.name),
    )


def _how_to_read() -> Html:
    words = (
        "An SLO says which part of the events may be bad. At every scrape the judge counts the bad events of the "
        "candidate and of the version in service, and asks two questions: is the candidate worse than its objective "
        "allows, and is it worse than the version in service?",
        "E is the evidence that it is, like the winnings of a bet that is fair as long as the candidate is healthy: it "
        "begins at 1, and a healthy release ever multiplies it by 125 with a probability of at most 0.8 %, however "
        "often one looks. That is why the judge may act at once.",
        "A shaded band is where the true ratio lies with 95 % confidence (Wilson's interval, wider where bad events "
        "come in bursts). It is there for the reader; no decision hangs on it.",
    )
    return page.section("How to read this", *(el("p", paragraph) for paragraph in words))


# The page ------------------------------------------------------------------------------------------------------------


def render(story: Story, slos: Mapping[str, Slo], *, made_at: datetime | None = None) -> str:
    """Return the report as one HTML document. `made_at` is told at its end."""
    judgements = story.judgements
    titles = titles_of(story, {name: slo.title or name for name, slo in slos.items()})
    ended, end = outcome(story, titles), settled(story) if story.judgements else None
    run = run_outcome(story)
    name = story.facts.get("release")
    heading = f"Release {name}" if name else "Release report"
    blocks: list[Html | None] = [
        el("h1", heading),
        el("p", story.source, class_="sub"),
        _banner(ended),
        None if run is None else _banner(run),
        _facts(story, end),
    ]
    if end:
        blocks += [
            _summary(end, titles, slos),
            page.section(
                "The whole",
                _share_chart(judgements, end),
                _value_chart(judgements, end),
                _promotion_chart(judgements, titles),
            ),
            _verdicts(judgements, end),
            _problems(story),
            *(_slo(judgements, end, e, titles[e.name], slos.get(e.name)) for e in judgements[-1].slos),
        ]
    blocks += [_journal(story), _how_to_read() if judgements else None]
    if made_at is not None:
        blocks.append(el("p", f"Made by Turnout on {made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.", class_="sub"))
    return page.document(f"{heading}: {ended.title}", join(blocks))


def write(source: Path, slos: Mapping[str, Slo], out: Path | None = None) -> Path:
    """Write the report of a run's folder or of a recorded release, and return its file.

    Without `out` it is `report.html` in the run's folder, or beside the recording with its name. This is what the end
    of a deploy calls. Raises `TurnoutError` for what cannot be read or written.
    """
    html = render(read(source, slos), slos, made_at=datetime.now(UTC))
    if out is None:
        out = source / "report.html" if source.is_dir() else source.with_suffix(".html")
    try:
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise TurnoutError(
            "report-unwritable",
            observed=f"{out}: {error.strerror or error}",
            expected="a file that can be written",
            remedy="turnout judge report SOURCE --slos DIR --out FILE, with a FILE in a folder that is yours",
        ) from error
    return out
