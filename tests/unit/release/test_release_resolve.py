"""From a version's name to verified files: every way in which a release can be wrong is refused."""

import errno
import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from turnout.errors import TurnoutError
from turnout.release.build import Built, build
from turnout.release.publish import publish
from turnout.release.resolve import Resolved, resolve, verify_files
from turnout.release.sign import sign
from turnout.release.store import FolderStore, open_store


class Setting:
    """A published release that a test may spoil."""

    def __init__(self, built: Built, keys, tmp_path: Path) -> None:
        self.keys = keys
        self.folder = tmp_path / "store"
        self.cache = tmp_path / "cache"
        publish(built.manifest_path, FolderStore(self.folder))
        self.manifest = self.folder / built.manifest.file
        self.signature = self.folder / built.manifest.signature_file
        self.artifact = self.folder / built.manifest.artifact.file

    def resolve(self, version: str = "1.1.0", name: str = "shop") -> Resolved:
        return resolve(name, version, FolderStore(self.folder), self.keys.allowed, self.cache)

    def code(self, version: str = "1.1.0", name: str = "shop") -> str:
        with pytest.raises(TurnoutError) as caught:
            self.resolve(version, name)
        assert not list(self.cache.rglob(".*"))
        return caught.value.code


@pytest.fixture
def setting(built, keys, tmp_path) -> Setting:
    return Setting(built, keys, tmp_path)


def test_a_release_is_resolved_to_verified_files(setting, built):
    found = setting.resolve()
    assert found.manifest == built.manifest
    assert found.artifact_path.read_bytes() == built.artifact_path.read_bytes()
    assert found.manifest_path.read_bytes() == built.manifest_path.read_bytes()
    assert found.signer.principal == "ci@example.com"
    assert found.downloaded


def test_a_verified_copy_is_used_again(setting):
    setting.resolve()
    assert not setting.resolve().downloaded


def test_a_spoilt_copy_is_fetched_again(setting):
    cached = setting.resolve().artifact_path
    content = bytearray(cached.read_bytes())
    content[10] ^= 1
    cached.write_bytes(content)
    found = setting.resolve()
    assert found.downloaded
    assert found.artifact_path.read_bytes() != bytes(content)


def test_an_unknown_release_is_told_with_what_there_is(setting):
    with pytest.raises(TurnoutError) as caught:
        setting.resolve("1.2.0")
    assert caught.value.code == "release-unknown"
    assert "1.1.0" in caught.value.expected


@pytest.mark.parametrize("version", ["../1.1.0", "1/1", "", "1.1.0\n"])
def test_a_version_that_plays_tricks_is_refused(setting, version):
    assert setting.code(version) == "release-version"


def test_a_name_that_plays_tricks_is_refused(setting):
    assert setting.code(name="../shop") == "release-name"


def test_a_missing_signature(setting):
    setting.signature.unlink()
    assert setting.code() == "signature-missing"


def test_a_signature_by_a_key_that_is_not_allowed(setting):
    setting.signature.write_bytes(sign(setting.manifest.read_bytes(), setting.keys.stranger))
    assert setting.code() == "signer-unknown"


def test_a_manifest_that_was_changed_after_signing(setting):
    text = setting.manifest.read_text()
    setting.manifest.write_text(text.replace("min: 2", "min: 0"))
    assert setting.code() == "signature-wrong"


def test_a_signature_is_verified_before_the_manifest_is_read(setting):
    setting.manifest.write_text("{[ no yaml")
    assert setting.code() == "signature-wrong"


def test_a_truncated_artifact(setting):
    setting.artifact.write_bytes(setting.artifact.read_bytes()[:-1])
    assert setting.code() == "artifact-truncated"


def test_an_empty_artifact(setting):
    setting.artifact.write_bytes(b"")
    assert setting.code() == "artifact-truncated"


def test_a_wrong_checksum(setting):
    content = bytearray(setting.artifact.read_bytes())
    content[-1] ^= 1
    setting.artifact.write_bytes(content)
    assert setting.code() == "artifact-wrong"


def test_an_artifact_that_is_longer_than_signed(setting):
    setting.artifact.write_bytes(setting.artifact.read_bytes() + b"x")
    assert setting.code() == "artifact-wrong"


def test_a_missing_artifact(setting):
    setting.artifact.unlink()
    assert setting.code() == "artifact-missing"


def test_a_signed_manifest_under_another_version_is_refused(setting):
    for suffix in (".release.yml", ".release.yml.sig"):
        shutil.copy(setting.folder / f"shop-1.1.0{suffix}", setting.folder / f"shop-1.2.0{suffix}")
    assert setting.code("1.2.0") == "manifest-other"


def test_an_allowed_signers_file_that_is_missing(setting, tmp_path):
    with pytest.raises(TurnoutError) as caught:
        resolve("shop", "1.1.0", FolderStore(setting.folder), tmp_path / "none", setting.cache)
    assert caught.value.code == "signers-missing"


def test_a_cache_that_cannot_be_written_is_told(setting, tmp_path):
    setting.cache.write_text("a file")
    with pytest.raises(TurnoutError) as caught:
        setting.resolve()
    assert caught.value.code == "cache-unwritable"


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def __init__(self, descriptor: int, mode: str) -> None:
        super().__init__()
        os.close(descriptor)

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_cache_is_no_fault_of_the_store(setting, monkeypatch):
    monkeypatch.setattr("turnout.release.resolve.os.fdopen", FullDisk)
    with pytest.raises(TurnoutError) as caught:
        setting.resolve()
    assert caught.value.code == "cache-unwritable"
    assert "No space left" in caught.value.observed


def test_the_cache_keeps_the_releases_used_last(setting, recipe, keys, tmp_path):
    for number in range(12):
        one = build(replace(recipe, version=f"2.{number}"), tmp_path / "dist", keys.key)
        publish(one.manifest_path, FolderStore(setting.folder))
        setting.resolve(f"2.{number}")
    kept = {path.name.partition("-")[0] for path in (setting.cache / "shop").iterdir()}
    assert kept == {f"2.{number}" for number in range(2, 12)}


def test_a_release_from_s3_is_resolved(s3, bucket, built, keys, tmp_path):
    store = open_store(f"s3://{bucket}/shop", s3=s3.access())
    assert publish(built.manifest_path, store).written == (
        "shop-1.1.0.tar.zst",
        "shop-1.1.0.release.yml.sig",
        "shop-1.1.0.release.yml",
    )
    assert publish(built.manifest_path, store).written == ()
    reader = open_store(f"s3://{bucket}/shop", s3=s3.access(s3.reader))
    found = resolve("shop", "1.1.0", reader, keys.allowed, tmp_path / "cache")
    assert found.artifact_path.read_bytes() == built.artifact_path.read_bytes()
    with pytest.raises(TurnoutError) as caught:
        resolve("shop", "9", reader, keys.allowed, tmp_path / "cache")
    assert caught.value.code == "release-unknown"


# Publishing -----------------------------------------------------------------------------------------------------


def publish_code(*arguments) -> str:
    with pytest.raises(TurnoutError) as caught:
        publish(*arguments)
    return caught.value.code


def test_an_unsigned_release_is_not_published(recipe, tmp_path):
    built = build(recipe, tmp_path / "dist", None)
    assert publish_code(built.manifest_path, FolderStore(tmp_path / "store")) == "signature-missing"
    assert not (tmp_path / "store").exists()


def test_a_spoilt_artifact_is_not_published(built, tmp_path):
    built.artifact_path.write_bytes(built.artifact_path.read_bytes()[:-5])
    assert publish_code(built.manifest_path, FolderStore(tmp_path / "store")) == "artifact-truncated"


def test_a_release_signed_by_a_stranger_is_not_published_where_that_is_checked(recipe, keys, tmp_path):
    built = build(recipe, tmp_path / "dist", keys.stranger)
    store = FolderStore(tmp_path / "store")
    assert publish_code(built.manifest_path, store, keys.allowed) == "signer-unknown"


def test_another_build_under_a_published_version_is_refused(recipe, source, keys, tmp_path):
    store = FolderStore(tmp_path / "store")
    publish(build(recipe, tmp_path / "one", keys.key).manifest_path, store)
    (source / "bin/api").write_text("other")
    other = build(recipe, tmp_path / "two", keys.key)
    assert publish_code(other.manifest_path, store) == "release-published"


def test_a_missing_manifest_is_told(tmp_path):
    assert publish_code(tmp_path / "none.release.yml", FolderStore(tmp_path / "store")) == "release-unknown"


def test_local_files_are_verified_too(built, keys):
    manifest, signer = verify_files(built.manifest_path, keys.allowed)
    assert (manifest, signer.principal) == (built.manifest, "ci@example.com")
    built.artifact_path.write_bytes(b"other")
    with pytest.raises(TurnoutError):
        verify_files(built.manifest_path, keys.allowed)
