"""Real keys, real builds, a real S3 server: shared by the tests of releases."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3_server import S3Server, running
from turnout.release.build import Built, Recipe, build
from turnout.release.sign import keygen

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Keys:
    """A key that is allowed to sign, one that is not, and the file that says so."""

    key: Path
    stranger: Path
    allowed: Path


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    line = keygen(folder / "release", "ci@example.com")
    keygen(folder / "stranger", "mallory@example.com")
    allowed = folder / "allowed_signers"
    allowed.write_text(f"# who may release\n{line}\n")
    return Keys(folder / "release", folder / "stranger", allowed)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small program with two migrations."""
    folder = tmp_path / "source"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/api").write_text("#!/bin/sh\nexec sleep 1\n")
    (folder / "bin/api").chmod(0o755)
    (folder / "lib").mkdir()
    (folder / "lib/data.txt").write_text("data\n" * 1000)
    (folder / "current").symlink_to("lib/data.txt")
    (folder / "migrations").mkdir()
    (folder / "migrations/0001_init.up.sql").write_text("CREATE TABLE a (b int);\n")
    (folder / "migrations/0001_init.down.sql").write_text("DROP TABLE a;\n")
    (folder / "migrations/0002_more.up.sql").write_text("-- turnout: kind=expand\nALTER TABLE a ADD c int;\n")
    return folder


@pytest.fixture
def recipe(source: Path) -> Recipe:
    return Recipe(
        source=source,
        name="shop",
        version="1.1.0",
        commit=COMMIT,
        environment=("DATABASE_URL",),
        migrations=Path("migrations"),
    )


@pytest.fixture
def built(recipe: Recipe, keys: Keys, tmp_path: Path) -> Built:
    return build(recipe, tmp_path / "dist", keys.key)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own, as `bucket/prefix`."""
    return f"ready/{abs(hash(request.node.nodeid)):x}"
