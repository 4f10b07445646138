"""`turnout release build` takes the packs into the release, and refuses what the packs could not be asked with."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from test_acceptance_declared import declaration, lay, openapi
from turnout.errors import TurnoutError
from turnout.release.build import Recipe, build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def source(tmp_path: Path, **changed: object) -> Path:
    folder = tmp_path / "source"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/api").write_text("#!/bin/sh\n")
    return lay(folder, {**declaration(), **changed}, openapi())


def recipe(folder: Path) -> Recipe:
    return Recipe(source=folder, name="shop", version="1.0.0", commit=COMMIT)


def test_the_declaration_and_the_document_lie_in_the_release(tmp_path: Path) -> None:
    built = build(recipe(source(tmp_path)), tmp_path / "dist", None)
    data = subprocess.run(["zstd", "-dcq", built.artifact_path], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
    assert {"acceptance/acceptance.yml", "openapi.yml"} <= set(names)


def test_a_wrong_declaration_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TurnoutError) as caught:
        build(recipe(source(tmp_path, packs=["contrakt"])), tmp_path / "dist", None)
    assert caught.value.code == "acceptance-invalid"
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("left_out", ["acceptance/", "openapi.yml", "acceptance/acceptance.yml"])
def test_packs_that_turnoutignore_leaves_out_are_refused(tmp_path: Path, left_out: str) -> None:
    folder = source(tmp_path)
    (folder / ".turnoutignore").write_text(f"{left_out}\n")
    with pytest.raises(TurnoutError) as caught:
        build(recipe(folder), tmp_path / "dist", None)
    assert caught.value.code == "acceptance-left-out"
    assert left_out.rstrip("/") in caught.value.observed
    assert ".turnoutignore" in caught.value.remedy
    assert not list((tmp_path / "dist").glob("*"))
