"""The JSON Schema of a manifest, for tools that read or write one: it comes from the declaration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from turnout.cli import cli
from turnout.key_docs import schema
from turnout.release.manifest import Artifact, Image, Manifest, parse
from turnout.release.schema import Migration, SchemaRange

SCHEMA = schema(Manifest, "")


def written(image: Image | None = None) -> dict[str, Any]:
    kind, suffix = ("oci-archive", "oci.tar.zst") if image else ("tarball", "tar.zst")
    artifact = Artifact(kind, f"shop-1.1.0.{suffix}", "b" * 64, 1000, 4096, image)
    migrations = (Migration(1, "0001_init", "expand", "c" * 64),)
    built_at = datetime(2026, 1, 2, tzinfo=UTC)
    manifest = Manifest(
        name="shop",
        version="1.1.0",
        commit="a" * 40,
        built_at=built_at,
        artifact=artifact,
        environment=("DATABASE_URL",),
        schema=SchemaRange(1, 3),
        migrations=migrations,
    )
    assert parse(manifest.dump()) == manifest
    return manifest.as_dict()


@pytest.mark.parametrize("image", [None, Image("amd64", "/app", {"PATH": "/bin"})])
def test_it_takes_what_a_build_writes(image: Image | None) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(written(image))] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("manifest", 2),
        ("name", "Shop"),
        ("version", 1.1),
        ("commit", "abc"),
        ("artifact", {"kind": "zip"}),
        ("environment", ["a.b"]),
        ("schema", {"min": "1", "max": 2}),
        ("migrations", [{"version": 1, "id": "x", "kind": "destroy", "sha256": "c" * 64}]),
        ("signed_by", "me"),
    ],
)
def test_it_refuses_what_the_loader_refuses_by_its_shape(key: str, value: Any) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({**written(), key: value})


@pytest.mark.parametrize("key", ["manifest", "name", "version", "commit", "built_at", "artifact", "schema"])
def test_it_wants_what_the_loader_wants(key: str) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({name: value for name, value in written().items() if name != key})


def test_the_command_prints_it() -> None:
    assert "unpacked_bytes" in CliRunner().invoke(cli, ["schema", "manifest"], catch_exceptions=False).output
