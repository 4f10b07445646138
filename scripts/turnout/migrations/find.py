"""The migrations in a folder, in the order in which their tool applies them.

By the numbers of their names, or, for tools whose names have none or whose numbers do not order them (Alembic, Django
with several applications, Flyway's dotted versions, yoyo's dependencies), by what the files say themselves.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, nearest
from turnout.migrations.kinds import kind_of
from turnout.release.schema import BY_LIST, BY_NUMBER, CONTRACT, HIGHEST, KINDS, Migration
from turnout.release.store import file_sha256

DOWN = re.compile(r"\.(down|rollback|revert|undo)(\.|$)|/(down|rollback|revert|undo)\.", re.IGNORECASE)
_BESIDE = re.compile(r"\.d\.[cm]?ts$|\.map$")
"""What TypeScript's compiler lays beside a migration."""
INSIDE_FOLDER = ("up.sql", "migration.sql", "up.py")
"""Files that are a migration by the name of their folder (Diesel, Prisma)."""
FLYWAY = re.compile(r"(?P<way>[VU])(?P<version>\d+(?:[._]\d+)*)__.+\.[A-Za-z]+")
_DIGITS = re.compile(r"\d+(?:[-_.T:]\d+)*(?![A-Za-z\d])|\d+")
_DATE = re.compile(r"((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)(.*)")
_MONTH = re.compile(r"((?:19|20)\d\d)[-_.](0[1-9]|1[0-2])(?![-_.T]?\d)")
_LARAVEL = re.compile(r"\d{4}_\d\d_\d\d_\d{6}(?=_)")  # its own first ones are of the year 0001
_TIME_DIGITS = 6  # HHMMSS
_NUMBERED = re.compile(r"\d+[-_. ].+")
_HEADER_LINES = 20
_KIND = re.compile(r"turnout:\s*kind\s*=\s*(\S+)")
_YOYO_DEPENDS = re.compile(r"^--\s*depends:\s*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """The migrations, in order, and what orders them: `number` or `list`."""

    migrations: tuple[Migration, ...] = ()
    order: str = BY_NUMBER


@dataclass(frozen=True)
class _Node:
    """A migration that says by itself which others it follows, by their names."""

    path: Path
    name: str
    follows: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()


def number_of(name: str) -> int | None:
    """Return the number that a name begins with, None without one.

    A date and the digits that follow it are one number of 14 digits (2019-02-26-002946_x: 20190226002946), a date alone
    one of 8, a month alone (2019-02_x) one of 6.
    """
    found = _LARAVEL.match(name)
    if found is not None:
        return int(found[0].replace("_", ""))
    found = _DIGITS.match(name)
    if found is None:
        return None
    date = _DATE.match(found[0])
    if date is None:
        month = _MONTH.match(name)
        if month is not None:
            return int(month[1] + month[2])
        return int(re.match(r"\d+", name)[0])  # type: ignore[index]  # it begins with a digit
    day, rest = date[1] + date[3] + date[4], re.sub(r"\D", "", date[5])
    return int(day + rest.zfill(_TIME_DIGITS) if rest else day)


def find(folder: Path) -> Found:
    """Return the migrations in a folder. Raises `FaultsError` (code `migrations-invalid`) with every fault.

    Django's are looked for in every `migrations` package below it, Alembic's and Flyway's in all of it; others lie in
    the folder itself: a file `NNNN_name.sql` (also `.up.sql`, `.py`, ...) or a folder `NNNN_name` with `up.sql` or
    `migration.sql`. Files for the way back and names without a number are passed over.
    """
    if not folder.is_dir():
        raise TurnoutError(
            "migrations-missing",
            observed=f"there is no folder {folder}",
            expected="the folder of the migrations, relative to the source",
            remedy="give --migrations the right folder, or leave it out",
        )
    faults: list[Fault] = []
    for nodes_of in (_django, _alembic, _flyway, _yoyo):
        nodes = nodes_of(folder)
        if nodes:
            migrations = _by_list(nodes, faults)
            found = Found(migrations, BY_LIST)
            break
    else:
        found = Found(_by_number(folder, faults))
    if not found.migrations and not faults:
        faults.append(
            Fault(str(folder), "no migration", "files such as 0001_init.up.sql", "check --migrations, or leave it out")
        )
    if faults:
        raise FaultsError("migrations-invalid", f"the migrations in {folder}", faults)
    return found


# By number --------------------------------------------------------------------------------------------------------


def _by_number(folder: Path, faults: list[Fault]) -> tuple[Migration, ...]:
    found: dict[int, Migration] = {}
    for path in sorted(folder.iterdir()):
        file, name = path, path.name
        if not _NUMBERED.fullmatch(name) or DOWN.search(name) or _BESIDE.search(name):
            continue
        if path.is_dir():
            inside = next((path / one for one in INSIDE_FOLDER if (path / one).is_file()), None)
            if inside is None:
                continue
            file = inside
        else:
            name = re.sub(r"(\.up)?\.[A-Za-z]+$", "", name)
        number = number_of(name) or 0
        if number < 1 or number > HIGHEST:
            faults.append(Fault(path.name, f"number {number}", "a number from 1", "renumber it"))
        if re.search(r"\s", name):
            faults.append(Fault(path.name, "a name with blanks", "a name without", "rename it"))
        migration = Migration(number, name, _kind(file, path.name, faults), file_sha256(file))
        other = found.setdefault(number, migration)
        if other is not migration:
            observed = f"number {number}, as {other.id}"
            faults.append(Fault(path.name, observed, "a number of its own", "rename one of them"))
    return tuple(found[number] for number in sorted(found))


def _kind(file: Path, name: str, faults: list[Fault]) -> str:
    """Return the kind that a comment at the beginning declares, in any comment syntax; else what the file does."""
    text = file.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines()[:_HEADER_LINES]:
        declared = _KIND.search(line)
        if declared is None:
            continue
        kind = declared[1].rstrip("*/-> ;")
        if kind not in KINDS:
            remedy = f"write: turnout: kind={nearest(kind, KINDS) or CONTRACT}"
            faults.append(Fault(name, f"turnout: kind={kind}", f"one of {', '.join(KINDS)}", remedy))
        return kind
    return kind_of(file.suffix, text)


# By what the files say --------------------------------------------------------------------------------------------


def _by_list(nodes: list[_Node], faults: list[Fault]) -> tuple[Migration, ...]:
    """Return the migrations, each after those that it follows; where that leaves a choice, by name."""
    names = {node.name: node for node in sorted(nodes, key=lambda node: _natural(node.name))}
    if len(names) < len(nodes):
        twice = sorted({node.name for node in nodes if names[node.name] is not node})
        faults += [Fault(name, "two files of this name", "a name of its own", "rename one of them") for name in twice]
    # What a squashed migration replaces is followed by whatever followed that.
    stands_for = {old: node.name for node in nodes for old in node.replaces if old not in names}
    graph = {
        name: [one for one in (stands_for.get(other, other) for other in node.follows) if one in names and one != name]
        for name, node in names.items()
    }
    order: list[str] = []
    try:
        sorter = graphlib.TopologicalSorter(graph)
        sorter.prepare()
        ready: list[str] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=_natural)
            order.append(ready.pop(0))
            sorter.done(order[-1])
    except graphlib.CycleError as error:
        circle = " -> ".join(map(str, error.args[1]))
        faults.append(Fault(circle, "a circle", "migrations that follow each other", "mend what they depend on"))
    migrations = []
    for place, name in enumerate(order, 1):
        path = names[name].path
        before = order[place - 2 : place - 1]
        after = tuple(sorted(graph[name])) or ("base",)
        linear = place == 1 or list(after) == before
        kind = _kind(path, path.name, faults)
        migrations.append(Migration(place, name, kind, file_sha256(path), () if linear else after))
    return tuple(migrations)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _modules(files: Iterator[Path], has: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(files):
        text = path.read_text(encoding="utf-8", errors="replace")
        if has in text:
            try:
                yield path, ast.parse(text)
            except (SyntaxError, ValueError):
                continue


def _assigned(body: list[ast.stmt]) -> dict[str, object]:
    """Return the names that are set to plain values; to None where the value is computed."""
    values: dict[str, object] = {}
    for line in body:
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
                try:
                    values[target.id] = ast.literal_eval(line.value)
                except (ValueError, TypeError, SyntaxError, MemoryError):
                    values[target.id] = None
    return values


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, tuple | list | set) else ()


def _django(folder: Path) -> list[_Node]:
    """Django's migrations (docs.djangoproject.com, "Migrations", "Migration files") of every application."""
    packages = [folder] if folder.name == "migrations" else []
    packages += [path for path in folder.rglob("migrations") if path.is_dir()]
    nodes = []
    for package in packages:
        label = _label(package.parent.resolve())
        for path, module in _modules(package.glob("[!_]*.py"), "migrations.Migration"):
            for cls in module.body:
                if isinstance(cls, ast.ClassDef) and cls.name == "Migration" and cls.bases:
                    says = {
                        target.id: line.value
                        for line in cls.body
                        if isinstance(line, ast.Assign)
                        for target in line.targets
                        if isinstance(target, ast.Name)
                    }
                    follows, replaces = _pairs(says.get("dependencies")), _pairs(says.get("replaces"))
                    nodes.append(_Node(path, f"{label}.{path.stem}", follows, replaces))
    by_name = sorted(node.name for node in nodes)

    def resolved(name: str) -> str:
        app, _, which = name.partition(".")
        own = [one for one in by_name if one.startswith(f"{app}.")]
        return own[0 if which == "__first__" else -1] if own and which in ("__first__", "__latest__") else name

    return [_Node(one.path, one.name, tuple(map(resolved, one.follows)), one.replaces) for one in nodes]


def _label(app: Path) -> str:
    """Return an application's label: `label` of its AppConfig, else the last part of its name."""
    try:
        module = ast.parse((app / "apps.py").read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return app.name
    for cls in module.body:
        label = _assigned(cls.body).get("label") if isinstance(cls, ast.ClassDef) else None
        if isinstance(label, str):
            return label
    return app.name


def _pairs(value: ast.expr | None) -> tuple[str, ...]:
    """Return `app.name` of a list of (app, name); what is no such pair (swappable_dependency) is no file's name."""
    found = []
    for item in value.elts if isinstance(value, ast.List | ast.Tuple) else []:
        try:
            app, name = ast.literal_eval(item)
            found.append(f"{app}.{name}")
        except (ValueError, TypeError, SyntaxError):
            continue
    return tuple(found)


def _alembic(folder: Path) -> list[_Node]:
    """Alembic's revisions (alembic.sqlalchemy.org, "Tutorial", "Create a Migration Script")."""
    nodes = []
    for path, module in _modules(folder.rglob("*.py"), "down_revision"):
        says = _assigned(module.body)
        if isinstance(says.get("revision"), str) and "down_revision" in says:
            follows = _names(says["down_revision"]) + _names(says.get("depends_on"))
            nodes.append(_Node(path, str(says["revision"]), follows))
    return nodes


def _flyway(folder: Path) -> list[_Node]:
    """Flyway's versioned migrations; repeatable ones (R__) have no place in an order."""
    found = []
    for path in folder.rglob("V*__*"):
        match = FLYWAY.fullmatch(path.name)
        if match and path.is_file():
            version = [int(part) for part in re.split(r"[._]", match["version"])]
            while version[1:] and version[-1] == 0:
                version.pop()
            found.append((version, path))
    found.sort(key=lambda one: (one[0], one[1].name))
    names = [path.name.rpartition(".")[0] for _, path in found]
    return [
        _Node(path, name, (before,) if before else ())
        for (_, path), name, before in zip(found, names, ["", *names], strict=False)
    ]


def _yoyo(folder: Path) -> list[_Node]:
    """yoyo's migrations, where any says what it depends on (`__depends__`, `-- depends:`)."""
    nodes, any_says = [], False
    for path in sorted(folder.glob("[!_]*")):
        if path.suffix not in (".py", ".sql") or DOWN.search(path.name) or path.is_dir():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".sql":
            said = _YOYO_DEPENDS.search(text)
            follows = tuple(said[1].split()) if said else ()
        else:
            try:
                said_py = _assigned(ast.parse(text).body) if "__depends__" in text else {}
            except (SyntaxError, ValueError):
                said_py = {}
            follows = _names(said_py.get("__depends__"))
        any_says = any_says or bool(follows)
        nodes.append(_Node(path, path.stem, follows))
    return nodes if any_says else []
