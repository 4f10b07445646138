"""Migrations that hold the way there and the way back in one file: which part is which.

The marks are those of goose, sql-migrate, micrate, dbmate, rambler, node-pg-migrate, tern, Play, MyBatis and
node-sqlite, from their documentation; Liquibase's formatted SQL has its way back in comments.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

_MARK = re.compile(
    r"^\s*--+\s*(?:\+(?:goose|migrate|micrate)\s+|migrate:|rambler\s+)(?P<way>up|down)\b"
    r"|^\s*--[\s-]*(?P<node>up|down)\s+migration\b"
    r"|^\s*--[\s-]*(?P<alone>up|down)[\s-]*$"
    r"|^\s*(?:#|--)[\s-]*!(?P<play>up|down)s\b"
    r"|^\s*--\s*//\s*@UNDO\b(?P<undo>)"
    r"|^\s*-{4}\s*create above / drop below\s*-{4}(?P<tern>)",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"^\s*--\s*(?:\+goose\s+NO\s+TRANSACTION|\+migrate\s+Up\b.*\bnotransaction|migrate:up\b.*\btransaction:false"
    r"|transactional:\s*false|no-transaction|changeset\b.*\brunInTransaction:false)\b",
    re.IGNORECASE,
)
_LIQUIBASE = re.compile(r"^\s*--\s*rollback\s+\S", re.IGNORECASE)
_COMMENT = re.compile(r"\s*(--.*)?")

# Where code says how it is undone, and what of that undoes nothing. Comments are taken out before.
_CODE_COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
_NOTHING = r"\s*(?:async\s*)?(?:function\s*\w*\s*)?\([^()]*\)\s*(?::\s*[\w<>?]+\s*)?(?:=>\s*)?\{\s*\}"
_SCRIPT = (
    r"^\s*(?:(?:module\.)?exports\.|(?:(?:export|const|let|var|public|static|async|function)\s+)*)"
    rf"down\s*(?!{_NOTHING})(?:\(|[:=](?!{_NOTHING})(?!\s*(?:false|null|undefined)\b))"
)
_CODE = {
    **dict.fromkeys((".js", ".cjs", ".mjs", ".ts", ".mts", ".cts"), re.compile(_SCRIPT, re.MULTILINE)),
    ".php": re.compile(rf"\bfunction\s+down(?!{_NOTHING})\s*\("),
    ".cs": re.compile(rf"\bvoid\s+Down(?!{_NOTHING})\s*\("),
    ".go": re.compile(r"\bAdd(?:Named)?Migration\w*\([^)]*,\s*(?!nil\b)\w+\s*,?\s*\)"),
    ".exs": re.compile(r"^\s*def\s+(?:change|down)\b", re.MULTILINE),
    ".rb": re.compile(r"^\s*def\s+(?:self\.)?(?:change|down)\b", re.MULTILINE),
}


class Part(NamedTuple):
    """What applies a migration (its lines keep their numbers), whether the rest undoes it, whether in a transaction."""

    text: str
    has_down: bool
    in_transaction: bool


def up_part(text: str, suffix: str = ".sql") -> Part:
    """Return the part of a migration's text that applies it."""
    if suffix == ".py":
        return Part(text, _python_goes_back(text), True)
    if suffix in _CODE:
        return Part(text, bool(_CODE[suffix].search(_CODE_COMMENT.sub("", text))), True)
    kept, undoes, way, alone = [], False, "up", False
    for line in text.split("\n"):
        mark = _MARK.match(line)
        if mark:
            way = (mark["way"] or mark["node"] or mark["alone"] or mark["play"] or "down").lower()
        alone = alone or bool(_ALONE.match(line) and (way == "up" or "+goose" in line))
        undoes = undoes or bool(_LIQUIBASE.match(line)) or (way == "down" and not _COMMENT.fullmatch(line))
        kept.append(line if way == "up" else "")
    return Part("\n".join(kept), undoes, not alone)


def _python_goes_back(text: str) -> bool:
    """Tell whether a Django or Alembic migration, or one of yoyo's, can be undone."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    calls = [one for one in ast.walk(module) if isinstance(one, ast.Call)]
    names = [one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", "") for one in calls]
    if "migrations.Migration" in text:
        return _all_undo(calls, names, ("RunSQL", "RunPython"), ("reverse_sql", "reverse_code"))
    down = next((one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == "downgrade"), None)
    if down is not None:
        return any(not isinstance(one, ast.Pass | ast.Raise) and not _is_text(one) for one in down.body)
    return "step" in names and _all_undo(calls, names, ("step",), ("rollback",))


def _all_undo(calls: list[ast.Call], names: list[str], kinds: tuple[str, ...], options: tuple[str, ...]) -> bool:
    """Tell whether each call of these kinds says how it is undone, as its second argument or by name."""
    told = [one for one, name in zip(calls, names, strict=True) if name in kinds]
    return all(len(one.args) > 1 or any(key.arg in options for key in one.keywords) for one in told)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
