"""The manifest of a release, `<service>-<version>.release.yml`: what it is, what it needs, what it weighs.

The signature is over the bytes of the manifest, and the manifest holds the artifact's sha256: whoever trusts the
signer can trust the artifact.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, nearest, shown, shown_key
from turnout.keys import At, Key, Part, Wrong, key, plain, read
from turnout.release.schema import BUILD, BY_NUMBER, HIGHEST, ORDERS, Migration, SchemaRange, sha256
from turnout.service.environment import KEY, RESERVED, value_fault
from turnout.service.layout import ROOTFS, Layout
from turnout.service.model import Service
from turnout.service.values import NAME

FORMAT = 1
MAX_BYTES = 4 << 20  # a manifest of this size would list some 20,000 migrations
SUFFIX = ".release.yml"
SIGNATURE_SUFFIX = ".sig"

TARBALL = "tarball"
OCI_ARCHIVE = "oci-archive"
KIND_SUFFIXES = {TARBALL: ".tar.zst", OCI_ARCHIVE: ".oci.tar.zst"}

VERSION = r"[0-9A-Za-z](?:[0-9A-Za-z.+_-]{0,62}[0-9A-Za-z+_-])?"
VERSION_WORDS = "1 to 64 letters, digits and .+_- (first a letter or digit, no dot last)"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_ORDER = "manifest", "name", "version", "commit", "built_at", "artifact", "environment", "schema", "order", "migrations"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def _folder(text: str) -> str:
    if ".." in text.split("/"):
        raise Wrong(shown(text), "a folder without ..", "build it again")
    return text


def _variable(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(shown(value))
    return value


def _all_carried(environment: dict[str, str]) -> dict[str, str]:
    for name in environment.keys() - carried(environment).keys():
        expected = "a variable of the image"
        raise Wrong("a variable that no unit can carry", expected, "build it again", where=f".{shown_key(name)}")
    return environment


def _time(value: Any) -> datetime:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        # YAML reads an unquoted time into UTC, and older loaders drop the zone.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Wrong(shown(value)) from None


class Image(Part):
    """What an image says of itself: the machine it is for (as OCI names it), where it begins, its environment."""

    architecture: str = key("machine", pattern="[a-z0-9_]{1,32}", expected="a machine as OCI names it", example="amd64")
    working_dir: str = key(
        "where it begins", pattern=r"/[A-Za-z0-9._/+-]*", expected="a folder from /", example="/app", check=_folder
    )
    environment: Mapping[str, str] = key(
        "variables that it brings",
        dict,
        names=Key(expected="a variable"),
        item=Key(expected="a text", read=_variable, json={"type": "string"}),
        check=_all_carried,
        example="{}",
    )


class Artifact(Part):
    """The file that holds the release. `unpacked_bytes` is what it takes on a host's disk.

    `image` is there where `kind` is an image.
    """

    kind: str = key("what the file is", choices=tuple(KIND_SUFFIXES), example=TARBALL)
    file: str = key("its name", expected="the name from name, version and kind", example="shop-1.1.0.tar.zst")
    sha256: str = sha256()
    bytes: int = key("its size", low=1, high=HIGHEST, unit="bytes", example="1048576")
    unpacked_bytes: int = key("size on a host", high=HIGHEST, unit="bytes", example="4194304")
    image: Image | None = key("what an image says of itself", None)

    def disagreements(self) -> Iterator[At]:
        """An image says how it is run, and files do not."""
        if (self.image is None) == (self.kind == OCI_ARCHIVE):
            observed = "no such key" if self.image is None else f"an image in a {self.kind}"
            yield At(".image", observed, f"an image with kind: {OCI_ARCHIVE}, and none otherwise", "build it again")


class Manifest(Part):
    """A release manifest, checked."""

    name: str = key("the service", pattern=NAME, expected="the service's name", example="shop")
    version: str = key("the version", pattern=VERSION, expected=VERSION_WORDS, example='"1.1.0"')
    commit: str = key(
        "what it was built from",
        pattern=_COMMIT,
        expected="the git commit, 40 or 64 hex digits",
        example="0" * 40,
        remedy=BUILD,
    )
    built_at: datetime = key(
        "when it was built",
        read=_time,
        json={"type": "string"},
        expected="a time such as 2026-01-02T03:04:05Z",
        example="'2026-01-02T03:04:05Z'",
    )
    artifact: Artifact = key("the file that holds the release")
    schema: SchemaRange = key("states of the database that it runs on", example="{min: 0, max: 0}")
    environment: tuple[str, ...] = key(
        "variables that it needs",
        (),
        expected="a list of names of variables",
        example="[DATABASE_URL]",
        item=Key(
            pattern=KEY.pattern,
            expected="names of variables, each once: letters, digits and _, no digit first",
            example="DATABASE_URL",
            remedy="write e.g. DATABASE_URL (the name only: values belong into the service file)",
        ),
    )
    migrations: tuple[Migration, ...] = key(
        "migrations that it carries", (), expected="a list of migrations", example="[]"
    )
    order: str = key("what orders them: their numbers, or only this list", BY_NUMBER, choices=ORDERS, example=BY_NUMBER)
    manifest: int = key(
        "version of this format", FORMAT, must=True, low=FORMAT, high=FORMAT, unit="the format", example=str(FORMAT)
    )

    def disagreements(self) -> Iterator[At]:
        """The file's name follows from what is signed, so that it can never lead out of a store or a folder."""
        wanted = artifact_file(self.name, self.version, self.artifact.kind)
        if self.artifact.file != wanted:
            expected = f"{wanted!r}, from name, version and kind"
            yield At(".artifact.file", shown(self.artifact.file), expected, f"write file: {wanted}")
        highest = max((one.version for one in self.migrations), default=0)
        if self.schema.max < highest:
            observed = f"{self.schema.max}, below migration {highest}, which the release carries itself"
            yield At(".schema.max", observed, f"at least {highest}", f"write max: {highest}")
        for index, name in enumerate(self.environment):
            if name in self.environment[:index]:
                yield At(f".environment[{index}]", f"{name} a second time", "each name once", f"remove {name}")
        for index, (one, two) in enumerate(itertools.pairwise(self.migrations), start=1):
            if two.version <= one.version:
                observed, expected = f"{two.version} after {one.version}", "numbers that grow, each once"
                remedy = "give every migration a number of its own, and sort them"
                yield At(f".migrations[{index}].version", observed, expected, remedy)

    @property
    def release_id(self) -> str:
        """Return what the release is called on a host: `<version>-<first 12 of the artifact's sha256>`."""
        return f"{self.version}-{self.artifact.sha256[:12]}"

    @property
    def file(self) -> str:
        """Return the name of the manifest's own file."""
        return manifest_file(self.name, self.version)

    @property
    def signature_file(self) -> str:
        """Return the name of the signature's file."""
        return self.file + SIGNATURE_SUFFIX

    def layout(self, base: str) -> Layout:
        """Return how processes see this release when it is laid in the folder `base`."""
        image = self.artifact.image
        if image is None:
            return Layout(base)
        return Layout(image.working_dir, f"{base}/{ROOTFS}", image.environment)

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values, in the order of the file."""
        value = plain(self, secrets=True)
        artifact = {name: one for name, one in value["artifact"].items() if one is not None}
        built_at = self.built_at.astimezone(UTC).strftime(_TIME)
        value |= {"built_at": built_at, "artifact": artifact}
        value["migrations"] = [{k: v for k, v in one.items() if k != "after" or v} for one in value["migrations"]]
        return {name: value[name] for name in _ORDER if name != "order" or self.order != BY_NUMBER}

    def dump(self) -> bytes:
        """Return the file's bytes; the same manifest always gives the same bytes."""
        text = yaml.safe_dump(self.as_dict(), sort_keys=False, default_flow_style=False, width=1000)
        return text.encode()

    def check_against(self, service: Service) -> tuple[Fault, ...]:
        """Return why this release cannot run as `service` is described, empty when it can."""
        faults: list[Fault] = []
        if self.name != service.name:
            faults.append(
                Fault(
                    "release.name",
                    f"{self.name!r}",
                    f"{service.name!r}, as service.name says",
                    f"build the release with --name {service.name}, or deploy with the inventory of {self.name}",
                )
            )
        for name in self.environment:
            if name not in service.environment:
                likely = nearest(name, service.environment)
                hint = f" (the service file has {likely})" if likely else ""
                faults.append(
                    Fault(
                        f"service.environment.{name}",
                        f"no such key{hint}",
                        f"a value: release {self.version} requires it",
                        f"add `{name}: ...` to service.environment",
                    )
                )
        if self.migrations and service.migrate is None:
            faults.append(
                Fault(
                    "service.migrate",
                    "no such key",
                    f"commands that apply the {counted(len(self.migrations), 'migration')} of release {self.version}",
                    "add migrate: {up: ..., version: ...} to the service, or build without --migrations",
                )
            )
        return tuple(faults)


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those variables of an image that a unit can carry and that are not Turnout's or the host's to set."""
    return {
        key: value
        for key, value in sorted(environment.items())
        if KEY.fullmatch(key) and key not in {*RESERVED, "HOME"} and value_fault(value) is None
    }


def manifest_file(name: str, version: str) -> str:
    """Return the name of a manifest's file in a store."""
    return f"{name}-{version}{SUFFIX}"


def artifact_file(name: str, version: str, kind: str) -> str:
    """Return the name of an artifact's file in a store."""
    return f"{name}-{version}{KIND_SUFFIXES[kind]}"


def check_version(version: str) -> str:
    """Return the version when it can be one (it becomes a part of file names); else raise `TurnoutError`."""
    if re.fullmatch(VERSION, version) and ".." not in version:
        return version
    raise TurnoutError(
        "release-version",
        observed=f"the version {shown(version)}",
        expected=VERSION_WORDS,
        remedy="give a version such as 1.1.0: -e release=1.1.0",
    )


def check_name(name: str) -> str:
    """Return the service's name when it can be one (it becomes a part of file names); else raise `TurnoutError`."""
    if re.fullmatch(NAME, name):
        return name
    raise TurnoutError(
        "release-name",
        observed=f"the service name {shown(name)}",
        expected="1 to 31 lower-case letters, digits and inner hyphens, a letter first",
        remedy="give the name that stands in service.name, such as shop",
    )


def parse(data: bytes, *, file: str = "release.yml") -> Manifest:
    """Read a manifest. Raises `FaultsError` (code `manifest-invalid`) with every fault in it."""
    return from_dict(_yaml(data, file), file=file)


def from_dict(value: object, *, file: str = "release.yml") -> Manifest:
    """Check a manifest's plain values; the reverse of `Manifest.as_dict`. Raises as `parse` does."""
    faults: list[Fault] = []
    manifest = read(Manifest, value, "manifest", faults)
    if faults or manifest is None:
        raise FaultsError("manifest-invalid", file, faults)
    return manifest


def _yaml(data: bytes, file: str) -> object:
    remedy = "build and publish the release again: turnout release build, turnout release publish"
    if len(data) > MAX_BYTES:
        raise TurnoutError(
            "manifest-invalid",
            observed=f"{file} has {counted(len(data), 'byte')}",
            expected=f"a release manifest, which has at most {MAX_BYTES}",
            remedy=remedy,
        )
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place is not None else ""
        raise TurnoutError(
            "manifest-invalid",
            observed=f"{file} is no YAML{where}",
            expected="a release manifest",
            remedy=remedy,
        ) from error
