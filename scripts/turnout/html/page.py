"""The shell of a page and its blocks: banner, facts, table. Light and dark, narrow and wide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from turnout.html.markup import Html, el, join, text
from turnout.html.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The browser itself refuses scripts and requests, whatever a page were made to hold."""

SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "info": "•"}
"""What says the same as the color, for those who do not see it."""


LONG = 20
"""A word of more letters may be broken where it would not fit: a digest, the id of a run. Shorter ones never are."""


def words(value: object) -> Html:
    """Return text for a narrow place: its long words may be broken there, its others are kept whole."""
    if isinstance(value, Html):
        return value
    parts = re.split(r"(\s+)", str(value))
    if all(len(part) <= LONG for part in parts):
        return text(value)
    return el("span", *(el("span", part, class_="long") if len(part) > LONG else part for part in parts))


def document(title: str, *blocks: object, lang: str = "en") -> str:
    """Return a whole page, complete in itself."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),  # otherwise a browser may ask for one
        el("title", title),
        el("style", Html(STYLE)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', el('main', *blocks)), lang=lang)}\n"


def banner(kind: str, title: object, *words: object) -> Html:
    """Return the one thing that a reader must see first. `kind` is good, bad, warn or info."""
    sign = el("span", SIGNS[kind], class_="sign", aria_hidden="true")
    return el("section", sign, el("div", el("h2", title), *(el("p", word) for word in words)), class_=f"banner {kind}")


def section(title: object, *blocks: object, id_: str | None = None) -> Html:
    """Return a part of the page under a heading."""
    return el("section", el("h2", title), *blocks, id_=id_)


def facts(pairs: Mapping[str, object]) -> Html:
    """Return names with their values; those of None are left out."""
    rows = [join([el("dt", words(name)), el("dd", value)], "\n") for name, value in pairs.items() if value is not None]
    return el("dl", *rows, class_="facts")


def chip(kind: str, word: object) -> Html:
    """Return a word with its sign, such as a verdict in a table."""
    return el("span", el("span", SIGNS[kind], aria_hidden="true"), " ", word, class_=f"chip {kind}")


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[int] = (), tight: Sequence[int] = ()
) -> Html:
    """Return a table; on a narrow screen each row becomes a small list with the headings beside the values.

    `numbers` are the columns that are aligned as numbers, `tight` those of short words that are never broken. An empty
    cell is left out of the narrow form.
    """

    def kind(index: int) -> str | None:
        words = [word for word, those in (("number", numbers), ("tight", tight)) if index in those]
        return " ".join(words) or None

    head = el("tr", *(el("th", words(h), class_=kind(i), scope="col") for i, h in enumerate(headings)))
    body = [
        el(
            "tr",
            *(
                el(
                    "td",
                    words(cell),
                    class_=kind(index),
                    data_label=heading,
                    data_empty=text(cell) == "",
                )
                for index, (heading, cell) in enumerate(zip(headings, row, strict=True))
            ),
        )
        for row in rows
    ]
    return el("table", el("thead", head), el("tbody", *body))
