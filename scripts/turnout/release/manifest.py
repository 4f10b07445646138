"""The manifest of a release, `<service>-<version>.release.yml`: what it is, what it needs, what it weighs.

The signature is over the bytes of the manifest, and the manifest holds the artifact's sha256: whoever trusts the
signer can trust the artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, Reader, nearest, reader_of, shown
from turnout.release.schema import KINDS, Migration, SchemaRange
from turnout.service.environment import KEY, RESERVED, value_fault
from turnout.service.layout import ROOTFS, Layout
from turnout.service.load import NAME
from turnout.service.model import Service

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
_SHA256 = r"[0-9a-f]{64}"
_MAX_WHOLE = 10**18
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Image:
    """What an image says of itself: the machine it is for (as OCI names it), where it begins, its environment."""

    architecture: str
    working_dir: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """The file that holds the release. `unpacked_bytes` is what it takes on a host's disk.

    `image` is there where `kind` is an image.
    """

    kind: str
    file: str
    sha256: str
    bytes: int
    unpacked_bytes: int
    image: Image | None = None


@dataclass(frozen=True)
class Manifest:
    """A release manifest, checked."""

    name: str
    version: str
    commit: str
    built_at: datetime
    artifact: Artifact
    environment: tuple[str, ...]
    schema: SchemaRange
    migrations: tuple[Migration, ...]

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
        artifact = self.artifact
        return {
            "manifest": FORMAT,
            "name": self.name,
            "version": self.version,
            "commit": self.commit,
            "built_at": self.built_at.astimezone(UTC).strftime(_TIME),
            "artifact": {
                "kind": artifact.kind,
                "file": artifact.file,
                "sha256": artifact.sha256,
                "bytes": artifact.bytes,
                "unpacked_bytes": artifact.unpacked_bytes,
                **({"image": asdict(artifact.image)} if artifact.image else {}),
            },
            "environment": list(self.environment),
            "schema": {"min": self.schema.min, "max": self.schema.max},
            "migrations": [migration.as_dict() for migration in self.migrations],
        }

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
        for key in self.environment:
            if key not in service.environment:
                likely = nearest(key, service.environment)
                hint = f" (the service file has {likely})" if likely else ""
                faults.append(
                    Fault(
                        f"service.environment.{key}",
                        f"no such key{hint}",
                        f"a value: release {self.version} requires it",
                        f"add `{key}: ...` to service.environment",
                    )
                )
        if self.migrations and service.migrate is None:
            faults.append(
                Fault(
                    "service.migrate",
                    "no such key",
                    f"commands that apply the {len(self.migrations)} migrations of release {self.version}",
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
    manifest = _manifest(reader_of(value, "manifest", faults))
    if faults:
        raise FaultsError("manifest-invalid", file, faults)
    return manifest


def _yaml(data: bytes, file: str) -> object:
    remedy = "build and publish the release again: turnout release build, turnout release publish"
    if len(data) > MAX_BYTES:
        raise TurnoutError(
            "manifest-invalid",
            observed=f"{file} has {len(data)} bytes",
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


def _manifest(reader: Reader) -> Manifest:
    reader.whole("manifest", FORMAT, FORMAT, unit="the format", example=str(FORMAT))
    name = reader.text("name", required=True, pattern=NAME, expected="the service's name", example="shop")
    version = reader.text("version", required=True, pattern=VERSION, expected=VERSION_WORDS, example='"1.1.0"')
    commit = reader.text(
        "commit",
        required=True,
        pattern=_COMMIT,
        expected="the git commit, 40 or 64 hex digits",
        example="...",
    )
    migrations = _migrations(reader)
    manifest = Manifest(
        name=name,
        version=version,
        commit=commit,
        built_at=_built_at(reader),
        artifact=_artifact(reader.mapping("artifact", required=True), name, version),
        environment=_environment(reader),
        schema=_schema(reader.mapping("schema", required=True, example="{min: 0, max: 0}"), migrations),
        migrations=migrations,
    )
    reader.done()
    return manifest


def _built_at(reader: Reader) -> datetime:
    expected = "a time such as 2026-01-02T03:04:05Z"
    fallback = datetime.fromtimestamp(0, UTC)
    if not reader.need("built_at", expected, "'2026-01-02T03:04:05Z'"):
        return fallback
    value = reader.raw("built_at")
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        # YAML reads an unquoted time into UTC, and older loaders drop the zone.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        reader.fault("built_at", shown(value), expected, "write the time in UTC, with a Z")
        return fallback


def _artifact(reader: Reader, name: str, version: str) -> Artifact:
    kind = reader.text(
        "kind",
        required=True,
        pattern="|".join(KIND_SUFFIXES),
        expected=f"one of {', '.join(KIND_SUFFIXES)}",
        example=TARBALL,
    )
    # The name follows from what is signed already, so that it can never lead out of a store or a folder.
    wanted = artifact_file(name, version, kind or TARBALL)
    file = reader.text("file", required=True, expected=f"the name {wanted}", example=wanted)
    if file and file != wanted:
        reader.fault("file", shown(file), f"{wanted!r}, from name, version and kind", f"write file: {wanted}")
    artifact = Artifact(
        kind=kind,
        file=wanted,
        sha256=reader.text(
            "sha256", required=True, pattern=_SHA256, expected="64 hex digits in lower case", example="..."
        ),
        bytes=reader.whole("bytes", 1, _MAX_WHOLE, unit="bytes", example="1048576"),
        unpacked_bytes=reader.whole("unpacked_bytes", 0, _MAX_WHOLE, unit="bytes", example="4194304"),
        image=_image(reader.mapping("image", required=True)) if kind == OCI_ARCHIVE else None,
    )
    reader.done()
    return artifact


def _image(reader: Reader) -> Image:
    environment = reader.mapping("environment")
    variables: dict[str, str] = {}
    for key in (key for key in environment.value if isinstance(key, str)):
        variables[key] = environment.text(key, expected="a text", example='""')
        if not carried({key: variables[key]}):
            environment.fault(key, "a variable that no unit can carry", "a variable of the image", "build it again")
    environment.done()
    image = Image(
        architecture=reader.text(
            "architecture",
            required=True,
            pattern="[a-z0-9_]{1,32}",
            expected="a machine as OCI names it",
            example="amd64",
        ),
        working_dir=reader.text(
            "working_dir", required=True, pattern=r"/[A-Za-z0-9._/+-]*", expected="a folder from /", example="/app"
        ),
        environment=variables,
    )
    if ".." in image.working_dir.split("/"):
        reader.fault("working_dir", shown(image.working_dir), "a folder without ..", "build it again")
    reader.done()
    return image


def _environment(reader: Reader) -> tuple[str, ...]:
    keys: list[str] = []
    items = reader.items("environment", expected="a list of names of variables", example="[DATABASE_URL]")
    for index, item in enumerate(items):
        if isinstance(item, str) and KEY.fullmatch(item) and item not in keys:
            keys.append(item)
            continue
        observed = f"{item} a second time" if item in keys else shown(item)
        reader.fault(
            f"environment[{index}]",
            observed,
            "names of variables, each once: capital letters, digits and _",
            "write e.g. DATABASE_URL (the name only: values belong into the service file)",
        )
    return tuple(keys)


def _schema(reader: Reader, migrations: Iterable[Migration]) -> SchemaRange:
    schema = SchemaRange(
        min=reader.whole("min", 0, _MAX_WHOLE, unit="the lowest migration", example="0"),
        max=reader.whole("max", 0, _MAX_WHOLE, unit="the highest migration", example="0"),
    )
    if schema.min > schema.max:
        reader.fault("min", f"{schema.min}, above max ({schema.max})", "at most max", "lower min or raise max")
    highest = max((m.version for m in migrations), default=0)
    if schema.max < highest:
        reader.fault(
            "max",
            f"{schema.max}, below migration {highest}, which the release carries itself",
            f"at least {highest}",
            f"write max: {highest}",
        )
    reader.done()
    return schema


def _migrations(reader: Reader) -> tuple[Migration, ...]:
    migrations: list[Migration] = []
    items = reader.items("migrations", expected="a list of migrations", example="[]")
    for index, item in enumerate(items):
        entry = reader_of(item, f"{reader.path}.migrations[{index}]", reader.faults)
        migration = Migration(
            version=entry.whole("version", 1, _MAX_WHOLE, unit="the number", example="1"),
            id=entry.text("id", required=True, pattern=r"[^\s/]{1,200}", expected="a name", example="0001_init"),
            kind=entry.text(
                "kind",
                required=True,
                pattern="|".join(KINDS),
                expected=f"one of {', '.join(KINDS)}",
                example=KINDS[0],
            ),
            sha256=entry.text(
                "sha256",
                required=True,
                pattern=_SHA256,
                expected="64 hex digits in lower case",
                example="...",
            ),
        )
        entry.done()
        if migrations and migration.version <= migrations[-1].version:
            entry.fault(
                "version",
                f"{migration.version} after {migrations[-1].version}",
                "numbers that grow, each once",
                "give every migration a number of its own, and sort them",
            )
        migrations.append(migration)
    return tuple(migrations)
