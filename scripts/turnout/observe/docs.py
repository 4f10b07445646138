"""The table of alerts in the docs, made from what is declared and laid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.observe import laid, load

BEGIN = "<!-- turnout dashboard docs --into THIS_PAGE writes this table -->"
END = "<!-- end of the table of alerts -->"


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, severity, what is wrong and what to do first, of every alert but those of the SLOs."""
    for one in load.load().alerts:
        yield one.name, one.severity, _words(one.summary), _words(one.action)
    for other in laid.alerts():
        yield other.name, other.severity, _words(other.summary), _words(other.action)


def _words(summary: str) -> str:
    """Return a summary with what is filled in as a word: `{{ $labels.host }}` as HOST, a value as N."""
    text = re.sub(r"\{\{ *\$labels\.(\w+) *\}\}", lambda found: found[1].upper(), summary)
    return re.sub(r"\{\{ *\$value[^}]*\}\}", "N", text)


def table() -> str:
    """Return the table in Markdown."""
    cells = ((f"`{name}`", severity, what, first) for name, severity, what, first in rows())
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(["| Alert | Severity | What is wrong | First |", "|---|---|---|---|", *lines])


def with_table(page: Path) -> str:
    """Return a page's text with the table in its place; raises `TurnoutError` where it has none."""
    text = page.read_text(encoding="utf-8")
    head, found, rest = text.partition(f"{BEGIN}\n")
    _, ended, tail = rest.partition(END)
    if not found or not ended:
        raise TurnoutError(
            "docs-table",
            observed=f"{page} has no such place",
            expected=f"a page with the lines {BEGIN} and {END}",
            remedy="write both lines where the table belongs, or print it: turnout dashboard docs",
        )
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"
