"""Elements of a page. Text is escaped unless it is `Html`, and only this package makes `Html`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_APART = frozenset(
    {"html", "head", "body", "main", "section", "div", "figure", "dl", "ol", "ul", "table", "thead", "tbody", "tr"}
)
"""What holds elements side by side or below each other: a blank between them is not seen, and keeps the words of two
apart where a page is copied or read without its style."""
_VOID = frozenset({"br", "hr", "link", "meta", "line", "path", "rect", "circle"})


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return a value as text of a page: markup stays, anything else is escaped.

    Characters that no page may hold (NUL and other controls) become U+FFFD, so that they are seen.
    """
    if isinstance(value, Html):
        return value
    return Html(escape(_CONTROL.sub("\ufffd", str(value)), quote=True))


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element. Children of None are left out, and so are attributes of None or False.

    Attribute names are written with `_` for `-` and a trailing `_` where Python has the word for itself: `class_`,
    `data_points`. Names are the caller's own words, never data.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.fullmatch(attribute):
            raise ValueError(f"{attribute!r} is no attribute's name")
        words.append(attribute if value is True else f'{attribute}="{text(value)}"')
    opened = f"<{' '.join(words)}>"
    if name in _VOID:
        # Inside SVG a void element must be closed; HTML allows the slash.
        return Html(opened[:-1] + "/>")
    return Html(f"{opened}{join(children, chr(10) if name in _APART else '')}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Return parts one after the other, each escaped unless it is markup; those of None are left out."""
    return Html(text(between).join(text(part) for part in parts if part is not None))
