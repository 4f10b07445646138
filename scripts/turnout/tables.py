"""Tables for a terminal: columns by what they hold, long cells wrapped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO

GAP = 2  # spaces between two columns
UNLIMITED = 10_000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")  # they would move the cursor, or more


def lines(
    rows: Sequence[Sequence[object]], *, most: Sequence[int] = (), right: Sequence[int] = (), ruled: bool = False
) -> list[str]:
    """Return the rows as lines, the first row being the head where there is one.

    `most` are the widths that the first columns may have at most, `right` the columns that are set to the right, by
    number; `ruled` draws a line under the head.
    """
    if not rows:
        return []
    from rich.cells import cell_len  # noqa: PLC0415 - most commands, and most of Ansible's processes, show no table
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    texts = [[_CONTROLS.sub("?", " ".join(str(cell).splitlines())) for cell in row] for row in rows]
    limits = [*most, *[UNLIMITED] * (len(texts[0]) - len(most))]
    widths = [min(limit, max(cell_len(row[column]) for row in texts)) for column, limit in enumerate(limits)]
    if ruled:
        texts.insert(1, ["-" * width for width in widths])
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    for column, width in enumerate(widths):
        table.add_column(width=width, justify="right" if column in right else "left", overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))  # text, so that a bracket in a message is a bracket
    out = StringIO()
    Console(file=out, width=sum(widths) + GAP * len(widths), color_system=None).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]
