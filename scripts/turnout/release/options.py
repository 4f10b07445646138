"""`turnout-release.yml` in the source: what a team would otherwise type at every `turnout release build`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, Reader, reader_of, shown
from turnout.release.build import OPTIONS_FILE


@dataclass(frozen=True)
class Options:
    """The file's content; None where it says nothing. Paths are as written, relative to the source."""

    name: str | None = None
    version: str | None = None
    commit: str | None = None
    environment: tuple[str, ...] | None = None
    environment_file: str | None = None
    migrations: str | None = None
    schema_min: int | None = None
    schema_max: int | None = None
    image_archive: str | None = None
    key: str | None = None
    out: str | None = None


def read_options(source: Path) -> Options:
    """Return what stands in the source's `turnout-release.yml`, nothing when there is none.

    Raises `FaultsError` (code `options-invalid`) with every fault.
    """
    file = source / OPTIONS_FILE
    try:
        value = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        return Options()
    except NotADirectoryError:
        return Options()  # the build tells that the source is no folder
    except (OSError, yaml.YAMLError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place is not None else ""
        raise TurnoutError(
            "options-invalid",
            observed=f"{file} cannot be read as YAML{where}",
            expected="keys and values, such as `name: shop`",
            remedy="correct or remove the file",
        ) from None
    faults: list[Fault] = []
    options = _options(reader_of({} if value is None else value, OPTIONS_FILE, faults))
    if faults:
        raise FaultsError("options-invalid", str(file), faults)
    return options


def _options(reader: Reader) -> Options:
    schema = reader.mapping("schema", example="{min: 1, max: 3}")
    environment = None
    if reader.has("environment"):
        names = reader.items("environment", expected="a list of names of variables", example="[DATABASE_URL]")
        for index, name in enumerate(names):
            if not isinstance(name, str):
                reader.fault(f"environment[{index}]", shown(name), "the name of a variable", "write e.g. DATABASE_URL")
        environment = tuple(str(name) for name in names)
    options = Options(
        name=reader.optional_text("name", expected="the service's name", example="shop"),
        version=reader.optional_text("version", expected="the version as a text", example='"1.1.0"'),
        commit=reader.optional_text("commit", expected="a git commit", example="HEAD"),
        environment=environment,
        environment_file=reader.optional_text("environment_file", expected="a path", example="env.keys"),
        migrations=reader.optional_text("migrations", expected="a folder", example="migrations"),
        schema_min=_limit(schema, "min"),
        schema_max=_limit(schema, "max"),
        image_archive=reader.optional_text("image_archive", expected="a path", example="image.tar"),
        key=reader.optional_text("key", expected="a path", example="~/.config/turnout/release_ed25519"),
        out=reader.optional_text("out", expected="a folder", example="dist"),
    )
    schema.done()
    reader.done()
    return options


def _limit(schema: Reader, key: str) -> int | None:
    return schema.whole(key, 0, 10**18, unit="a migration", default=0, example="1") if schema.has(key) else None
