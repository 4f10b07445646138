"""The table of checks in docs/checklist.md: `python -m turnout.checklist.reference` prints it, a test compares it."""

from __future__ import annotations

from turnout.checklist.catalog import CATALOG


def table() -> str:
    """Return the catalogue as a table in Markdown."""
    rows = ["| Check | Asked of | Passes where | Looked at with |", "|---|---|---|---|"]
    for entry in CATALOG:
        needs = "always" if not entry.needs else entry.needs if " " in entry.needs else f"`checklist.{entry.needs}`"
        rows.append(f"| `{entry.name}` | {entry.asks} | {entry.passes} | {needs} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
