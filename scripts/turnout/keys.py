"""What a person may write into a file, declared once.

A file is a tree of `Part`s: dataclasses whose fields are made by `key`, with what a key means, its bounds, its example.
From that come the values with their defaults and the faults (`read`), the table of keys in the docs and the JSON Schema
(`turnout.key_docs`).

pydantic validates. Its core is imported at the first use: a rollback reads no file, and does not wait for it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from keyword import iskeyword
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast, dataclass_transform, get_args, get_origin, get_type_hints

import yaml

from turnout.faults import Fault, kind_of, nearest, shown, shown_key

_ROUNDS = 4
_NAME = "[key]"  # pydantic's mark for a fault of a key's name
_MAPPING = "a mapping of keys to values"


class At(NamedTuple):
    """What is wrong with a value, and where inside it (empty: with all of it). What is empty is the `Key`'s to say.

    `example` stands in the remedy in place of the key's.
    """

    where: str
    observed: str
    expected: str = ""
    remedy: str = ""
    example: str = ""


class Wrong(ValueError):
    """Raised by a function that reads or checks one value; what it says is as in `At`."""

    def __init__(self, observed: str, expected: str = "", remedy: str = "", *, where: str = "", example: str = ""):
        super().__init__(observed)
        self.at = At(where, observed, expected, remedy, example)


@dataclass(frozen=True, kw_only=True)
class Key:
    """What may stand in one place.

    `low` and `high` bound numbers, `pattern` matches a whole text. `read` makes the value from what stands there, and
    `check` looks at (and returns) a value of the right kind; both raise `Wrong`. `form` is the type that the file has
    where it is not the field's own; `read` then gets a value of it. `item` is what a list or a mapping holds, `names`
    how a mapping's keys are called. A `hidden` value is never shown, a `secret` one is in no `repr` either. `json` is
    the schema of what `read` takes, `by_default` how the docs call the default. A `must` has to be there. `released`
    tells of a service whether a change of the value is released like code; a part decides for all it holds, or (None)
    leaves it to its keys.
    """

    means: str = ""
    expected: str = ""
    example: str = "..."
    by_default: str = ""
    unit: str = ""
    low: float = 0
    high: float = 0
    pattern: str = ""
    choices: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    check: Callable[[Any], Any] | None = None
    form: Any = None
    item: Key | None = None
    names: Key | None = None
    hidden: bool = False
    secret: bool = False
    must: bool = False
    released: bool | None = None
    observed: str = ""
    remedy: str = ""
    json: Mapping[str, Any] | None = None


def key(means: str, default: Any = MISSING, **options: Any) -> Any:
    """Return the field of a `Part` for one key, with the options of a `Key`; a default that is a class is called."""
    more = {} if default is MISSING else {"default_factory" if callable(default) else "default": default}
    return field(metadata={"key": Key(means=means, **options)}, repr=not options.get("secret"), **more)


@dataclass_transform(frozen_default=True)
class Part:
    """A mapping in a file, a frozen dataclass. A key that holds nothing (null) counts as absent.

    A field that is not made by `key` is no key of the file. Of the keys `instead` together `written` makes those that
    must be there.
    """

    instead: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Make a dataclass of it."""
        dataclass(frozen=True)(cls)

    @classmethod
    def gone(cls, name: str, value: object) -> str:  # noqa: ARG003 - a part that had other keys says more
        """Return what to write in place of a key that was there in an earlier version, empty for none."""
        return ""

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return what stands in the file as it is to be read, where a shorter form is allowed."""
        return value

    def disagreements(self) -> Iterator[At]:
        """Yield what is wrong between keys that are each right."""
        yield from ()


class Place(NamedTuple):
    """A place in a tree of parts: the type there, its key, and its default."""

    kind: Any
    key: Key
    default: Any = None
    required: bool = False
    optional: bool = False

    @property
    def keys(self) -> dict[str, Place]:
        """Return the places of a part's keys, none for anything else."""
        return _keys(self.kind) if hasattr(self.kind, "disagreements") else {}

    def inside(self, step: int | str | None, *, name: bool = False) -> Place:
        """Return the place of a key or an item; of the key's name itself with `name`, and itself for None."""
        if step is None:
            return self
        if self.keys:
            return self.keys.get(str(step), Place(str, Key()))
        inner = (get_args(self.kind) or (str,))[-1 if self.key.names else 0]
        return _place(str if name else inner, (self.key.names if name else self.key.item) or Key())

    def sample(self) -> Any:
        """Return the smallest value that is right here."""
        if self.keys:
            return {name: place.sample() for name, place in self.keys.items() if place.required}
        if self.key.names or self.key.example == "...":
            return {} if self.key.names else "..."
        loader = yaml.BaseLoader if self.kind in (str, Path) else yaml.SafeLoader
        return yaml.load(self.key.example, Loader=loader)  # noqa: S506 - our own text

    def wanted(self) -> str:
        """Return what should stand there, in words."""
        key, whole = self.key, self.kind is int
        if key.expected or key.choices:
            return key.expected or f"one of: {', '.join(key.choices)}"
        if self.kind in (int, float):
            low, high = (int(key.low), int(key.high)) if whole else (f"{key.low:g}", f"{key.high:g}")
            return f"a {'whole ' if whole else ''}number of {key.unit} from {low} to {high}"
        return "true or false" if self.kind is bool else "a text" if self.kind in (str, Path) else _MAPPING

    def example(self, name: object) -> str:
        """Return what a person may write there."""
        if self.key.example != "..." or self.kind is bool:
            return f"true, or {name}: false" if self.kind is bool else self.key.example
        value = self.key.low if self.default is None and self.kind in (int, float) else self.default
        if isinstance(value, int | float | str) and value != "":
            return f"{value:g}" if isinstance(value, float) else str(value)
        return "{key: value}" if self.keys or self.key.names else "..."


def _place(hint: Any, key: Key, default: Any = None, **more: bool) -> Place:
    optional = isinstance(hint, types.UnionType) and types.NoneType in get_args(hint)
    kind = key.form or (next(one for one in get_args(hint) if one is not types.NoneType) if optional else hint)
    return Place(kind, key, default, optional=optional, **more)


@functools.cache
def _keys(part: Any) -> dict[str, Place]:
    hints = get_type_hints(part)
    return {  # Python has no field that is called `from` or `for`
        one.name.rstrip("_"): _place(
            hints[one.name],
            one.metadata["key"],
            one.default,
            required=one.metadata["key"].must or (one.default is MISSING and one.default_factory is MISSING),
        )
        for one in fields(part)
        if "key" in one.metadata
    }


# Values ----------------------------------------------------------------------------------------------------------


def read[T](model: type[T], value: object, path: str, faults: list[Fault], *, base_dir: Path = Path()) -> T | None:
    """Return the value as `model`, or None where it cannot be one; every fault goes to `faults`.

    Relative files are taken from `base_dir`. After a fault reading goes on with an example in place of what is wrong,
    so that what is wrong between keys is told too.
    """
    from pydantic_core import ValidationError  # noqa: PLC0415 - see the head of this file

    raw, root = _plain(value), Place(model, Key())
    told: list[Fault] = []
    for turn in range(_ROUNDS):
        try:
            found = _validator(cast("Any", model)).validate_python(raw, context=base_dir)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if turn == 0:
                told = [_fault(root, path, raw, one) for one in errors]
            for one in errors:
                raw = _mended(root, raw, one["loc"])
            continue
        between = [Fault(path + at.where, *at[1:4]) for at in _disagreements(found)]
        faults += told + [one for one in between if not any(_touch(one.path, other.path) for other in told)]
        return cast("T", found)
    faults += told
    return None


def _plain(value: Any) -> Any:
    """Return a value of plain types: Ansible's own are templates that are filled in when asked."""
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, str) else key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return str(value)
    return list(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, bytes) else value


@functools.cache
def _validator(model: Any) -> Any:
    from pydantic_core import SchemaValidator  # noqa: PLC0415

    return SchemaValidator(_schema(Place(model, Key())))


def _schema(place: Place) -> Any:
    """Return how pydantic's core validates a value."""
    key, kind = place.key, place.kind
    if key.read and not key.form and not key.names:
        return {"type": "function-plain", "function": {"type": "no-info", "function": key.read}}
    result: Any = {"type": "bool", "strict": True}
    if place.keys:
        parts = {
            name: {"type": "typed-dict-field", "required": one.required, "schema": _schema(one)}
            for name, one in place.keys.items()
        }
        result = {"type": "typed-dict", "extra_behavior": "forbid", "fields": parts}
        result = {**_function("before", _present, result, kind), "schema": result}
        result = _function("after", _made, result, kind, info=True)
    elif key.names:
        names, values = _schema(_place(str, key.names)), _schema(place.inside(""))
        result = {"type": "dict", "strict": True, "keys_schema": names, "values_schema": values}
    elif get_origin(kind) is tuple:
        result = {"type": "tuple", "variadic_item_index": 0, "items_schema": [_schema(place.inside(0))]}
    elif kind in (int, float):
        result = {"type": kind.__name__, "strict": True, "ge": kind(key.low), "le": kind(key.high)}
        result |= {"allow_inf_nan": False} if kind is float else {}
    elif kind in (str, Path):
        whole = key.pattern or "|".join(key.choices)
        wanted = f"^(?:{whole})$" if whole else r"\S" if place.required else ""
        result = {"type": "str", "strict": True, "pattern": wanted}
        if kind is Path or place.optional:
            result = _function("after", _text, result, place, info=True)
    for function in (key.read, key.check):
        result = _function("after", function, result) if function else result
    return result


def _function(when: str, function: Callable[..., Any], schema: Any, *first: Any, info: bool = False) -> Any:
    call = {"type": "with-info" if info else "no-info", "function": functools.partial(function, *first)}
    return {"type": f"function-{when}", "function": call, "schema": schema}


def _present(part: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return part.written({name: one for name, one in value.items() if one is not None or name not in _keys(part)})


def _made(part: Any, value: dict[str, Any], info: Any) -> Any:
    folders = {name: info.context / one.default for name, one in _keys(part).items() if isinstance(one.default, Path)}
    return part(**{f"{name}_" if iskeyword(name) else name: one for name, one in {**folders, **value}.items()})


def _text(place: Place, text: str, info: Any) -> str | Path | None:
    if not text and place.optional and not place.key.pattern:
        return None
    return info.context / text if place.kind is Path else text


def plain(value: Any, *, secrets: bool) -> Any:
    """Return a part as plain values; without `secrets` what is kept out of its `repr` is left out here too."""
    if hasattr(value, "plain"):
        return value.plain(secrets=secrets)
    if isinstance(value, Part):
        kept = (one for one in fields(cast("Any", value)) if secrets or one.repr)
        return {one.name: plain(getattr(value, one.name), secrets=secrets) for one in kept}
    if isinstance(value, tuple):
        return [plain(item, secrets=secrets) for item in value]
    if isinstance(value, dict):
        return {name: plain(one, secrets=secrets) for name, one in value.items()}
    return str(value) if isinstance(value, Path) else value


# Faults ----------------------------------------------------------------------------------------------------------


def _fault(place: Place, path: str, value: Any, error: Any) -> Fault:
    """Return what pydantic found wrong as a person is told it."""
    is_name = error["loc"][-1:] == (_NAME,)
    *parents, last = error["loc"][: -1 if is_name else None] or (None,)
    for step in parents:
        path, value, place = _joined(path, step), _inside(value, step), place.inside(step)
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown(path, last, place, error["input"])
    here = place.inside(last, name=is_name)
    key, where = here.key, path if last is None else _joined(path, last)
    if error["type"] == "missing":
        observed = "nothing (null)" if isinstance(value, dict) and last in value else "no such key"
        return Fault(where, observed, here.wanted(), key.remedy or f"add `{last}: {here.example(last)}` to {path}")
    at = getattr(error.get("ctx", {}).get("error"), "at", At("", ""))
    seen = last if is_name else error["input"]
    write = f"write e.g. {key.example}"
    if isinstance(last, str):
        write = f"write {last}: {at.example or here.example(last)}{_quotes(here, seen)}"
    elif here.keys:
        write = f"write it as {_MAPPING}"
    observed = at.observed or key.observed or _observed(here, seen)
    return Fault(where + at.where, observed, at.expected or here.wanted(), at.remedy or key.remedy or write)


def _observed(place: Place, value: object) -> str:
    if isinstance(value, str) and not value.strip() and place.kind in (str, Path):
        return "an empty text"
    private = place.key.hidden or place.key.secret or place.keys or place.key.names
    return kind_of(value) if private else shown(value)


def _quotes(place: Place, value: object) -> str:
    if place.kind in (str, Path) and isinstance(value, int | float):
        return "; a number must stand in quotes to be a text"
    digits = place.kind in (int, float) and isinstance(value, str) and value.strip().isdigit()
    return " (no quotes; from a template: `| int`)" if digits else ""


def _unknown(path: str, name: object, part: Place, value: object) -> Fault:
    now = part.kind.gone(name, value) if part.keys else ""
    if now:
        return Fault(f"{path}.{name}", "a key of an earlier version", "what stands in its place now", now)
    likely = nearest(str(name), part.keys)
    remedy = f"rename it to `{likely}`, or remove it" if likely else f"remove it from {path}"
    known = f"one of: {', '.join(sorted(part.keys))}"
    return Fault(f"{path}.{shown_key(name)}", "a key that Turnout does not know", known, remedy)


def _joined(path: str, step: object) -> str:
    return f"{path}[{step}]" if isinstance(step, int) else f"{path}.{shown_key(step)}"


def _inside(value: Any, step: int | str) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _touch(*paths: str) -> bool:
    """Tell whether one of two paths holds the other."""
    short, long = sorted(paths, key=len)
    return long == short or long.startswith((f"{short}.", f"{short}["))


def _disagreements(value: Any) -> Iterator[At]:
    inner: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, Part):
        yield from value.disagreements()
        inner = ((f".{one.name}", getattr(value, one.name)) for one in fields(cast("Any", value)))
    elif isinstance(value, tuple):
        inner = ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        inner = ((f".{name}", item) for name, item in value.items())
    for where, one in inner:
        yield from (at._replace(where=where + at.where) for at in _disagreements(one))


def _mended(place: Place, raw: Any, loc: Sequence[int | str]) -> Any:
    """Return what was written with a right value, or nothing, in the place of a fault."""
    is_name = loc[-1:] == (_NAME,)
    *parents, last = loc[: -1 if is_name else None] or (None,)
    holder = raw
    for step in parents:
        holder, place = _inside(holder, step), place.inside(step)
    here = place.inside(last)
    if last is None:
        return here.sample()
    if isinstance(holder, dict) and (is_name or not (here.required or place.key.names)):
        holder.pop(last, None)
    elif isinstance(holder, dict | list):
        holder[cast("Any", last)] = here.sample()
    return raw
