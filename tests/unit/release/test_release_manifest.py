"""Manifests: written, read back, and refused with every fault."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.release.manifest import Artifact, Image, Manifest, check_name, check_version, from_dict, parse
from turnout.release.schema import Migration, SchemaRange, SchemaState, pending, runs_on, state_after
from turnout.service import load
from turnout.service.layout import Layout


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "shop",
        "version": "1.1.0",
        "commit": "a" * 40,
        "built_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "artifact": Artifact("tarball", "shop-1.1.0.tar.zst", "b" * 64, 1000, 4096),
        "environment": ("DATABASE_URL",),
        "schema": SchemaRange(1, 3),
        "migrations": (Migration(1, "0001_init", "expand", "c" * 64), Migration(3, "0003_drop", "contract", "d" * 64)),
    }
    return Manifest(**{**values, **changes})


def faults_of(value: Any) -> dict[str, str]:
    with pytest.raises(FaultsError) as caught:
        parse(yaml.safe_dump(value).encode())
    assert caught.value.code == "manifest-invalid"
    return {fault.path: fault.observed for fault in caught.value.faults}


def test_what_is_written_is_read_back():
    assert parse(manifest().dump()) == manifest()


def test_the_same_manifest_has_the_same_bytes():
    assert manifest().dump() == manifest().dump()


@pytest.mark.parametrize("version", ["1.10", "1e3", "2026-01-01", "0x10", "007", "true", "1_000", "null"])
def test_versions_that_yaml_could_take_for_something_else_survive(version):
    artifact = Artifact("tarball", f"shop-{version}.tar.zst", "b" * 64, 1, 1)
    assert parse(manifest(version=version, artifact=artifact, commit="1" * 40).dump()).version == version


def test_the_release_id_holds_version_and_checksum():
    assert manifest().release_id == "1.1.0-" + "b" * 12


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("manifest", 2),
        ("name", "Shop"),
        ("version", 1.1),
        ("version", "../1"),
        ("version", "1/2"),
        ("version", ""),
        ("commit", "abc"),
        ("built_at", "yesterday"),
        ("artifact", None),
        ("artifact", "file"),
        ("artifact.kind", "zip"),
        ("artifact.file", "../../etc/passwd"),
        ("artifact.file", "shop-1.1.0.tar"),
        ("artifact.sha256", "B" * 64),
        ("artifact.sha256", "b" * 63),
        ("artifact.bytes", 0),
        ("artifact.bytes", "1000"),
        ("artifact.bytes", -5),
        ("environment", "DATABASE_URL"),
        ("environment", ["a.b"]),
        ("environment", ["A", "A"]),
        ("schema", None),
        ("schema.min", 4),
        ("schema.max", 2),
        ("schema.min", "1"),
        ("migrations", {"a": 1}),
        ("migrations", [{"version": 1, "id": "x", "kind": "destroy", "sha256": "c" * 64}]),
        ("migrations", [{"version": 0, "id": "x", "kind": "expand", "sha256": "c" * 64}]),
        ("migrations", [{"version": 1, "id": "a/b", "kind": "expand", "sha256": "c" * 64}]),
        ("signed_by", "me"),
        ("artifact.url", "http://x"),
    ],
)
def test_a_wrong_manifest_is_refused(path, value):
    content = manifest().as_dict()
    *parents, last = path.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    assert any(where.startswith(f"manifest.{path}") or path == "manifest" for where in faults_of(content))


@pytest.mark.parametrize("key", [key for key in manifest().as_dict() if key not in ("environment", "migrations")])
def test_a_missing_key_is_refused(key):
    content = manifest().as_dict()
    del content[key]
    assert f"manifest.{key}" in faults_of(content)


def test_migrations_must_grow():
    content = manifest().as_dict()
    content["migrations"] = content["migrations"][::-1]
    assert "manifest.migrations[1].version" in faults_of(content)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a: [", b"- 1", b"", b"x" * 5_000_000, b"!!python/object:os.system {}"])
def test_bytes_that_are_no_manifest_are_refused(data):
    with pytest.raises(TurnoutError) as caught:
        parse(data)
    assert caught.value.code == "manifest-invalid"


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(data):
    with pytest.raises(TurnoutError):
        parse(data)


@pytest.mark.parametrize("version", ["1.1.0", "1", "v2", "2026.01.02+build_5-rc.1", "a" * 64])
def test_versions_like_these_are_taken(version):
    assert check_version(version) == version


@pytest.mark.parametrize(
    "version", ["", ".", "..", "1..2", "-1", "a/b", "a\\b", "a b", "1\n", "a" * 65, "ü", "1.", "%s"]
)
def test_versions_that_could_play_tricks_are_refused(version):
    with pytest.raises(TurnoutError) as caught:
        check_version(version)
    assert caught.value.code == "release-version"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "a b"])
def test_names_that_could_play_tricks_are_refused(name):
    with pytest.raises(TurnoutError):
        check_name(name)


def service(**changes: Any) -> Any:
    value = {
        "name": "shop",
        "releases": {"source": "/srv", "allowed_signers": "x"},
        "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
        "migrate": {"up": "bin/up", "version": "bin/version"},
        "environment": {"DATABASE_URL": "secret"},
    }
    return load({**value, **changes}, base_dir=Path())


def test_a_release_that_fits_has_no_fault():
    assert manifest().check_against(service()) == ()


def image_manifest(**changes):
    """Return a manifest's plain values of an image."""
    tarball = manifest()
    file = tarball.artifact.file.replace(".tar.zst", ".oci.tar.zst")
    image = Image("amd64", "/app", {"PATH": "/bin"})
    value = replace(tarball, artifact=replace(tarball.artifact, kind="oci-archive", file=file, image=image)).as_dict()
    value["artifact"]["image"].update(changes)
    return value


def test_an_image_is_run_in_its_own_files():
    found = from_dict(image_manifest())
    assert from_dict(found.as_dict()) == found
    assert found.check_against(service()) == ()
    assert found.layout("/opt/shop/blue") == Layout("/app", "/opt/shop/blue/rootfs", {"PATH": "/bin"})
    assert manifest().layout("/opt/shop/blue") == Layout("/opt/shop/blue")


@pytest.mark.parametrize(
    "changes",
    [
        {"working_dir": "app"}, {"working_dir": "/app/../.."}, {"working_dir": "/a\nExecStart=/x"},
        {"working_dir": None}, {"architecture": "AMD 64"}, {"environment": {"PORT": "1"}},
        {"environment": {"A": "x\nB=y"}}, {"environment": {"A": 1}}, {"environment": {1: "A"}}, {"entrypoint": "x"},
    ],
)  # fmt: skip
def test_an_image_that_says_what_no_unit_can_carry_is_refused(changes):
    with pytest.raises(FaultsError):
        from_dict(image_manifest(**changes))


def test_an_image_must_say_how_it_is_run_and_files_must_not():
    value = image_manifest()
    del value["artifact"]["image"]
    with pytest.raises(FaultsError):
        from_dict(value)
    value = manifest().as_dict()
    value["artifact"]["image"] = image_manifest()["artifact"]["image"]
    with pytest.raises(FaultsError):
        from_dict(value)


def test_a_release_that_does_not_fit_is_told_with_all_reasons():
    unfit = service(name="other", environment={"DATABASE_URI": "secret"}, migrate=None)
    faults = manifest().check_against(unfit)
    assert [fault.path for fault in faults] == ["release.name", "service.environment.DATABASE_URL", "service.migrate"]
    assert "DATABASE_URI" in faults[1].observed
    assert "secret" not in str(faults)


@pytest.mark.parametrize(
    ("low", "high", "version", "last_contract", "runs"),
    [
        (1, 3, 3, 0, True),
        (1, 3, 1, 0, True),
        (1, 3, 0, 0, False),  # a migration that it needs is missing
        (1, 3, 9, 0, True),  # newer expand migrations do no harm
        (1, 3, 9, 3, True),
        (1, 3, 9, 4, False),  # a contract migration that it does not know
        (0, 0, 0, 0, True),
    ],
)
def test_the_schema_rule(low, high, version, last_contract, runs):
    assert runs_on(SchemaRange(low, high), SchemaState(version, last_contract)) is runs


@given(st.integers(0, 6), st.integers(0, 6))
def test_applying_the_pending_migrations_leaves_none_pending(version, last_contract):
    state = SchemaState(version, min(version, last_contract))
    after = state_after(manifest(), state)
    assert pending(manifest(), after) == ()
    assert after.version >= state.version
    assert after.last_contract in (state.last_contract, 3)
