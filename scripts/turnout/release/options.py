"""`turnout-release.yml` in the source: what a team would otherwise type at every `turnout release build`."""

from __future__ import annotations

from pathlib import Path

import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError
from turnout.keys import Key, Part, key, read
from turnout.release.build import OPTIONS_FILE
from turnout.release.schema import HIGHEST


class Limits(Part):
    """The range of migrations, where it is not what the files tell."""

    min: int | None = key("lowest that it needs", None, high=HIGHEST, unit="a migration", example="1")
    max: int | None = key("highest that it knows", None, high=HIGHEST, unit="a migration", example="1")


class Options(Part):
    """The file's content; None where it says nothing. Paths are as written, relative to the source."""

    name: str | None = key("the service's name", None, expected="the service's name", example="shop")
    version: str | None = key("the version", None, expected="the version as a text", example='"1.1.0"')
    commit: str | None = key("what it is built from", None, expected="a git commit", example="HEAD")
    environment: tuple[str, ...] | None = key(
        "variables that it needs",
        None,
        expected="a list of names of variables",
        example="[DATABASE_URL]",
        item=Key(expected="the name of a variable", example="DATABASE_URL"),
    )
    environment_file: str | None = key("a file that lists them", None, expected="a path", example="env.keys")
    migrations: str | None = key("their folder", None, expected="a folder", example="migrations")
    schema: Limits = key("states of the database", Limits, example="{min: 1, max: 3}")
    image_archive: str | None = key("an image in place of files", None, expected="a path", example="image.tar")
    out: str | None = key("where the release goes", None, expected="a folder", example="dist")
    key: str | None = key("the key that signs", None, expected="a path", example="~/.config/turnout/release_ed25519")


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
    options = read(Options, {} if value is None else value, OPTIONS_FILE, faults)
    if faults or options is None:
        raise FaultsError("options-invalid", str(file), faults)
    return options
