"""The check `migrations-reviewed` as a whole: artifact, forge and signed statements together."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "checklist"))
sys.path.insert(0, str(Path(__file__).parents[1] / "forge"))

import pytest
from checklist_bed import manifest, read, situation
from forge_server import OTHER, FakeForge, forge
from test_review_and_lint import DOWN, UP, artifact
from turnout.checklist import engine
from turnout.checklist.checks import migrations as check
from turnout.checklist.model import Verdict

__all__ = ["forge"]
API = "/api/v1/repos/team/shop"
PATH = "migrations/0002_more.sql"


def rows(forge: FakeForge, tmp_path: Path, *, files: dict[str, bytes] | None = None) -> dict[str, tuple[Verdict, str]]:
    config = read(
        {
            "forge": {"kind": "gitea", "url": forge.base, "repository": "team/shop", "token": "t0ken-of-the-forge"},
            "migrations": {},
            "limit_s": 120,
        }
    )
    carried = [{"version": 2, "id": "0002_more", "kind": "expand", "sha256": hashlib.sha256(UP).hexdigest()}]
    seen = situation(manifest=manifest(migrations=carried))
    packed = artifact(tmp_path, {PATH: UP, "migrations/0002_more.rollback.sql": DOWN} if files is None else files)
    found = engine.run(list(check.tasks(config, seen, packed)))
    assert "t0ken" not in str(found)
    return {row.check: (row.verdict, row.evidence) for row in found}


def approve(forge: FakeForge, content: bytes = UP, **pull: Any) -> None:
    """Let the forge tell of a merged pull request that bob approved, and of the file."""
    forge.on(f"{API}/commits", [{"sha": OTHER}])
    told = {"number": 7, "user": {"login": "ada"}, "head": {"sha": OTHER}, "merged": True, "html_url": "https://x/7"}
    forge.on(f"{API}/commits/{OTHER}/pull", {**told, **pull})
    forge.on(
        f"{API}/pulls/7/reviews",
        [{"user": {"login": "bob", "id": 3}, "state": "APPROVED", "commit_id": OTHER, "official": True}],
    )
    forge.on(f"{API}/contents/{PATH}", {"content": base64.b64encode(content).decode(), "encoding": "base64"})


def test_an_approved_pull_request_with_the_same_file_passes(forge: FakeForge, tmp_path: Path) -> None:
    approve(forge)
    found = rows(forge, tmp_path)
    assert found["migrations-reviewed"][0] is Verdict.PASS
    assert "approved by bob" in found["migrations-reviewed"][1]
    assert found["migrations-linted"][0] is Verdict.PASS


def test_a_file_that_is_not_what_was_reviewed_fails(forge: FakeForge, tmp_path: Path) -> None:
    approve(forge, content=UP + b"DROP TABLE tasks;\n")
    verdict, evidence = rows(forge, tmp_path)["migrations-reviewed"]
    assert verdict is Verdict.FAIL
    assert "is not what the release carries" in evidence


@pytest.mark.parametrize(
    ("pull", "word"), [({"merged": False}, "is not merged"), ({"user": {"login": "bob"}}, "no approval")]
)
def test_without_an_approval_that_counts_it_fails(
    forge: FakeForge, tmp_path: Path, pull: dict[str, Any], word: str
) -> None:
    approve(forge, **pull)
    verdict, evidence = rows(forge, tmp_path)["migrations-reviewed"]
    assert verdict is Verdict.FAIL
    assert word in evidence


def test_without_a_way_back_or_without_its_file_it_fails(forge: FakeForge, tmp_path: Path) -> None:
    approve(forge)
    verdict, evidence = rows(forge, tmp_path, files={PATH: UP})["migrations-reviewed"]
    assert (verdict, "no down script" in evidence) == (Verdict.FAIL, True)
    found = rows(forge, tmp_path, files={"bin/api": b"x"})
    assert found["migrations-reviewed"][0] is Verdict.FAIL
    assert found["migrations-linted"][0] is Verdict.UNKNOWN


def test_a_forge_that_refuses_makes_it_not_known(forge: FakeForge, tmp_path: Path) -> None:
    forge.on(f"{API}/commits", {"message": "token is required"}, status=401)
    assert rows(forge, tmp_path)["migrations-reviewed"][0] is Verdict.UNKNOWN
