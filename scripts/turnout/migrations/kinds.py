"""What a migration of Django, Alembic or Rails does, read from its text: whether it only adds.

Nothing is run. Only what is known to leave the release before it working is `expand`; what drops, renames, alters, runs
SQL or code, and what is not understood, is `contract`. SQL is `expand` unless it says otherwise: its author knows.
"""

from __future__ import annotations

import ast
import re

from turnout.release.schema import CONTRACT, EXPAND

_DJANGO_ADDS = (
    *("CreateModel", "AddIndex", "AddIndexConcurrently", "AlterModelOptions", "AlterModelManagers"),
    *("AlterModelTableComment", "CreateExtension", "BloomExtension", "BtreeGinExtension", "BtreeGistExtension"),
    *("CITextExtension", "CryptoExtension", "HStoreExtension", "TrigramExtension", "UnaccentExtension"),
    "CreateCollation",
)
_ALEMBIC_ADDS = ("create_table", "create_index", "add_column", "create_table_comment")
_SQLALCHEMY = ("sa", "sqlalchemy", "postgresql", "mysql", "func", "text", "literal_column", "false", "true", "null")
_RAILS_COLUMNS = ("add_column", "add_columns", "add_reference", "add_belongs_to", "add_timestamps")
_RAILS_ADDS = (
    *_RAILS_COLUMNS,
    *("create_table", "create_join_table", "add_index", "create_enum", "create_enum_type", "add_enum_value"),
    *("enable_extension", "change_table_comment", "change_column_comment"),
)
_RAILS_WHERE = r"(?:if|unless)\s+!?\w+_exists\?[^&|{]*"
_RAILS_NEUTRAL = re.compile(rf"(?:end(?:\s+{_RAILS_WHERE})?|\}}|\)|disable_ddl_transaction!|else|{_RAILS_WHERE})")


def kind_of(suffix: str, text: str) -> str:
    """Return the kind of a migration that declares none, by the suffix of its file."""
    if suffix == ".sql":
        return EXPAND
    if suffix == ".py":
        try:
            module = ast.parse(text)
        except (SyntaxError, ValueError):
            return CONTRACT
        adds = _django(module) if "migrations.Migration" in text else _alembic(module)
        return EXPAND if adds else CONTRACT
    return EXPAND if suffix == ".rb" and _rails(text) else CONTRACT


def _last(call: ast.expr) -> str:
    """Return the last name of what is called: AddField of migrations.AddField."""
    return call.attr if isinstance(call, ast.Attribute) else call.id if isinstance(call, ast.Name) else ""


def _option(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def _is(value: ast.expr | None, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


# Django -----------------------------------------------------------------------------------------------------------


def _django(module: ast.Module) -> bool:
    classes = [one for one in module.body if isinstance(one, ast.ClassDef) and one.name == "Migration"]
    if len(classes) != 1:
        return False
    operations: ast.expr | None = None
    for line in classes[0].body:
        if isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef | ast.AugAssign):
            return False  # it has operations that are not written out
        if isinstance(line, ast.Assign | ast.AnnAssign):
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if any(_last(target) == "operations" for target in targets):
                operations = line.value
    return operations is None or _django_list(operations)


def _django_list(value: ast.expr | None) -> bool:
    return isinstance(value, ast.List | ast.Tuple) and all(map(_django_adds, value.elts))


def _django_adds(operation: ast.expr) -> bool:
    if not isinstance(operation, ast.Call):
        return False
    name = _last(operation.func)
    first = operation.args[0] if operation.args else None
    if name == "SeparateDatabaseAndState":
        inside = _option(operation, "database_operations") or first
        return inside is None or _is(inside, None) or _django_list(inside)
    if name == "RunPython":
        return isinstance(first, ast.Attribute) and first.attr == "noop"
    if name == "AddField":
        field = _option(operation, "field") or (operation.args[2] if len(operation.args) > 2 else None)
        return isinstance(field, ast.Call) and _django_may_be_left_out(field)
    return name in _DJANGO_ADDS


def _django_may_be_left_out(field: ast.Call) -> bool:
    """Tell whether a release that does not know the new column can write rows.

    Django drops a `default` from the database once the column is there; `db_default` stays.
    """
    if _last(field.func) in ("ManyToManyField", "GeneratedField"):
        return True
    if _is(_option(field, "primary_key"), True):
        return False
    if _is(_option(field, "unique"), True) or _last(field.func) == "OneToOneField":
        return _is(_option(field, "null"), True)
    return _is(_option(field, "null"), True) or _option(field, "db_default") is not None


# Alembic -----------------------------------------------------------------------------------------------------------


def _alembic(module: ast.Module) -> bool:
    upgrade = next((one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == "upgrade"), None)
    return upgrade is not None and all(_alembic_adds(line, {"op"}) for line in upgrade.body)


def _alembic_adds(line: ast.stmt, roots: set[str]) -> bool:
    if isinstance(line, ast.Pass | ast.Import | ast.ImportFrom):
        return True
    if isinstance(line, ast.With):
        for item in line.items:
            call = item.context_expr
            if not isinstance(call, ast.Call) or _last(call.func) not in ("batch_alter_table", "autocommit_block"):
                return False
            if isinstance(item.optional_vars, ast.Name) and not _option(call, "recreate"):
                roots = roots | {item.optional_vars.id}
        return all(_alembic_adds(one, roots) for one in line.body)
    if not isinstance(line, ast.Expr):
        return False
    if isinstance(line.value, ast.Constant):
        return True
    return isinstance(line.value, ast.Call) and _alembic_call_adds(line.value, roots)


def _alembic_call_adds(call: ast.Call, roots: set[str]) -> bool:
    target = call.func
    if not isinstance(target, ast.Attribute) or not isinstance(target.value, ast.Name) or target.value.id not in roots:
        return False
    inner = [one for one in ast.walk(call) if isinstance(one, ast.Call) and one is not call]
    if any(_rooted_in(one.func, roots) and _last(one.func) != "f" for one in inner):
        return False
    # What stands in a variable, or comes from a function of the team's own, is not known.
    spread = any(
        isinstance(one, ast.Starred) or (isinstance(one, ast.keyword) and not one.arg) for one in ast.walk(call)
    )
    if spread or not all(map(_alembic_part, inner)):
        return False
    if target.attr == "create_index":
        return not _option(call, "unique") or _is(_option(call, "unique"), False)
    if target.attr == "add_column":
        columns = [one for one in inner if _last(one.func) == "Column"]
        return len(columns) == 1 and _alembic_may_be_left_out(columns[0])
    return target.attr in _ALEMBIC_ADDS


def _alembic_part(call: ast.Call) -> bool:
    """Tell whether a call makes a column, a type or an expression: a class, or what SQLAlchemy itself has."""
    return _last(call.func)[:1].isupper() or _rooted_in(call.func, {"op", *_SQLALCHEMY})


def _rooted_in(target: ast.expr, roots: set[str]) -> bool:
    while isinstance(target, ast.Attribute | ast.Call):
        target = target.value if isinstance(target, ast.Attribute) else target.func
    return isinstance(target, ast.Name) and target.id in roots


def _alembic_may_be_left_out(column: ast.Call) -> bool:
    nullable = _option(column, "nullable")
    given = _option(column, "server_default")
    if any((given_so := _option(column, name)) and not _is(given_so, False) for name in ("unique", "primary_key")):
        return False
    return nullable is None or _is(nullable, True) or (given is not None and not _is(given, None))


# Rails ------------------------------------------------------------------------------------------------------------


def _rails(text: str) -> bool:
    """Tell whether each statement of `change` or `up` is one that adds (guides.rubyonrails.org, "Migrations")."""
    if not re.search(r"^\s*class\s+\S+\s*<\s*ActiveRecord::Migration\b", text, re.MULTILINE) or "<<" in text.replace(
        "class <<", ""
    ):
        return False
    depth, inside, seen = 0, False, False
    for statement in _ruby_statements(text):
        begins = re.match(r"def\s+(?:self\.)?(\w+[?!=]?)", statement)
        if begins:
            if re.match(r"def\s+\S+\s*=", statement):
                return False
            depth, inside = 1, begins[1] in ("change", "up")
            if not inside and begins[1] != "down":
                return False  # a helper of its own
            seen = seen or inside
            continue
        if not depth:
            if not re.match(r"(class\b|end\b|disable_ddl_transaction!$|#|$)", statement):
                return False
            continue
        if inside and not _rails_adds(statement, depth):
            return False
        depth += len(re.findall(r"\bdo\b|\{|^(?:if|unless|case|begin|while)\b", statement))
        depth -= len(re.findall(r"\}|(?:^|\s)end(?=$|[\s.])", statement))
    return seen


def _rails_adds(statement: str, depth: int) -> bool:
    if _RAILS_NEUTRAL.fullmatch(statement):
        return True
    if statement.startswith("t."):
        # In create_table; change_table is none of the additions, so its block is never looked at.
        return depth > 1
    name = re.match(r"\w*", statement)[0]  # type: ignore[index]  # it matches always
    rest = statement[len(name) :]
    unclear = re.search(r"\b(execute|remove|drop|rename|change|reversible|safety_assured|force(:|\s*=>))", rest)
    if name not in _RAILS_ADDS or unclear:
        return False
    if "**" in rest:
        return False
    unique = re.search(r"\bunique(:|\s*=>)(?!\s*false\b)", rest)
    if name not in _RAILS_COLUMNS:
        return not (unique and name == "add_index")
    may_be_null = re.search(r"\bnull(:|\s*=>)\s*true", rest) or name != "add_timestamps"
    must = re.search(r"\bnull(:|\s*=>)(?!\s*true\b)", rest) or not may_be_null
    given = re.search(r"\bdefault(:|\s*=>)(?!\s*nil\b)", rest)
    return not unique and bool(given or not must)


def _ruby_statements(text: str) -> list[str]:
    """Return the statements of a Ruby file, one a line, without comments and with empty strings."""
    text = re.sub(r"^=begin\b.*?^=end\b.*?$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|#[^\n]*""", lambda m: "" if m[0][0] == "#" else "''", text)
    text = re.sub(r"(?:,|\\|\(|\[)[ \t]*\n\s*|\n\s*(?=\.\w|\)|\])", " ", text)
    return [part.strip() for line in text.splitlines() for part in line.split(";") if part.strip()]
