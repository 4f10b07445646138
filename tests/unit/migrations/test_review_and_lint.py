"""Reviews on record, files by their checksums, the way back, squawk, and rehearsals in the ledger."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Literal

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checklist"))

from checklist_bed import NOW_S, manifest, read, situation
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.checklist.checks import migrations as check
from turnout.checklist.model import Result, Verdict
from turnout.errors import TurnoutError
from turnout.forge.model import Review
from turnout.migrations import files, lint, review
from turnout.release.schema import Migration

UP, DOWN = b"ALTER TABLE tasks ADD COLUMN IF NOT EXISTS x bigint;\n", b"ALTER TABLE tasks DROP COLUMN x;\n"


def migration(content: bytes = UP, version: int = 2) -> Migration:
    return Migration(version, f"{version:04d}_more", "expand", hashlib.sha256(content).hexdigest())


def artifact(folder: Path, contents: dict[str, bytes], name: str = "shop-1.tar.zst") -> Path:
    packed = folder / name
    subprocess.run(["zstd", "-q", "-f", "-", "-o", str(packed)], input=tar_of(contents, "w"), check=True)
    return packed


@pytest.mark.parametrize(
    ("path", "down"),
    [
        ("migrations/0002_more.sql", "migrations/0002_more.rollback.sql"),
        ("db/0002_more.up.sql", "db/0002_more.down.sql"),
        ("m/0002_more/up.sql", "m/0002_more/down.sql"),
        ("migrations/2_more.sql", "migrations/2_more.undo.sql"),
    ],
)
def test_files_are_known_by_their_checksums_and_their_way_back_by_its_name(
    tmp_path: Path, path: str, down: str
) -> None:
    found = files.read(artifact(tmp_path, {path: UP, down: DOWN, "bin/api": b"x"}), [migration(), migration(b"?", 3)])
    assert list(found) == ["0002_more"]
    assert (found["0002_more"].path, found["0002_more"].down) == (path, down)


def test_the_way_back_of_another_migration_is_none(tmp_path: Path) -> None:
    held = {"m/0002_more.sql": UP, "m/0012_more.rollback.sql": DOWN, "other/0002_more.rollback.sql": DOWN}
    assert files.read(artifact(tmp_path, held), [migration()])["0002_more"].down is None


def image(folder: Path, *layers: dict[str, bytes]) -> Path:
    """Write an OCI archive of these layers, compressed as a release's artifact is."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> dict[str, str]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}"}

    described = [blob(tar_of(layer, "w:gz")) for layer in layers]
    manifest = blob(json.dumps({"layers": described}).encode())
    index = json.dumps({"manifests": [manifest]}).encode()
    return artifact(folder, {**blobs, "index.json": index}, "shop-1.oci.tar.zst")


def tar_of(contents: dict[str, bytes], mode: Literal["w", "w:gz"]) -> bytes:
    """Return a tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_files_of_an_image_are_those_of_its_upper_layers(tmp_path: Path) -> None:
    path, down = "app/m/0002_more.sql", "app/m/0002_more.rollback.sql"
    found = files.read(image(tmp_path, {path: b"older", down: DOWN, "etc/x": b""}, {path: UP}), [migration()])
    assert (found["0002_more"].path, found["0002_more"].down) == (path, down)
    gone = {"app/m/.wh.0002_more.rollback.sql": b""}
    assert files.read(image(tmp_path, {path: UP, down: DOWN}, gone), [migration()])["0002_more"].down is None


def test_a_broken_artifact_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "shop-1.tar.zst"
    broken.write_bytes(b"no zstd at all")
    foreign = artifact(tmp_path, {"no": b"image"}, "shop-2.oci.tar.zst")
    for path in (tmp_path / "absent.oci.tar.zst", foreign, broken):
        with pytest.raises(TurnoutError) as caught:
            files.read(path, [migration()])
        assert caught.value.code == "migrations-unreadable"


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder with a statement about 0002_more, signed, and the reviewers' file."""
    key, folder = tmp_path / "key", tmp_path / "reviews"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    folder.mkdir()
    text = folder / "0002_more"
    text.write_bytes(review.statement(migration()))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", review.NAMESPACE, "-f", str(key), str(text)], check=True)
    public = key.with_suffix(".pub").read_text().split()
    reviewers = tmp_path / "reviewers"
    reviewers.write_text(f'bob@example.org namespaces="{review.NAMESPACE}" {public[0]} {public[1]}\n')
    return folder, reviewers


def test_a_signed_statement_counts_for_exactly_this_content(signed: tuple[Path, Path]) -> None:
    assert review.by_statement(migration(), *signed) == (True, "signed by bob@example.org")
    counts, words = review.by_statement(migration(b"changed since"), *signed)
    assert (counts, "does not fit" in words) == (False, True)


def test_a_statement_of_a_stranger_or_without_a_signature_does_not_count(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    stranger = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    public = stranger.with_suffix(".pub").read_text().split()
    signed[1].write_text(f"eve@example.org {public[0]} {public[1]}\n")
    assert review.by_statement(migration(), *signed)[0] is False
    assert review.by_statement(migration(version=3), *signed)[0] is False
    assert review.by_statement(migration(), None, None)[0] is False


def test_a_statement_by_a_revoked_key_does_not_count(signed: tuple[Path, Path], tmp_path: Path) -> None:
    revoked = tmp_path / "revoked"
    public = next(path for path in signed[0].parent.rglob("*.pub"))
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), str(public)], check=True)
    counts, words = review.by_statement(migration(), *signed, revoked)
    assert not counts
    assert "revokes" in words


@given(st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_pull_request_counts_only_merged_and_approved(merged: bool, approved: bool, stale: bool) -> None:
    one = Review(7, ("bob",) if approved else (), "ada", merged, stale)
    assert review.by_pull_request([one])[0] == (merged and approved)
    assert review.by_pull_request([])[0] is False


def test_a_released_migration_may_not_change() -> None:
    assert review.changed({"0002_more": migration().sha256}, migration()) is None
    assert review.changed({}, migration()) is None
    assert review.changed({"0002_more": "f" * 64}, migration()) is not None


def test_squawk_finds_what_blocks_and_passes_what_is_allowed() -> None:
    found = lint.findings("CREATE INDEX i ON tasks (x);", allowed=["prefer-robust-stmts"])
    assert [line.split(": ")[1] for line in found] == ["require-concurrent-index-creation"]
    assert lint.findings(UP.decode(), allowed=[]) == []
    assert (
        lint.findings(
            "CREATE INDEX i ON tasks (x);", allowed=["prefer-robust-stmts", "require-concurrent-index-creation"]
        )
        == []
    )
    assert lint.findings("THIS IS NO SQL", allowed=[]) != []


CONFIG: dict[str, Any] = {"migrations": {"copy": False}}


def edge(*entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "stable": "blue",
        "agree": True,
        "releases": {},
        "schema": {"version": 1, "last_contract": 0},
        "ledger": list(entries),
    }


def seen(*entries: dict[str, Any], version: Any = 1) -> Any:
    schema = {"version": version} if version is not None else "timeout"
    slots = {"blue": {"migrations": {"0001_init": "b" * 64}}, "green": {}}
    return situation({"edge1": {"edge": edge(*entries)}, "app1": {"schema": schema, "slots": slots}})


def rehearsal(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "migration-rehearsal", "verdict": "pass", "causes": [], "migrations": {"0002_more": "c" * 64},
        "at_s": NOW_S - 3600, "backup_s": None, "summary": "went well", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "config", "expected"),
    [
        ([rehearsal()], {}, Verdict.PASS),
        ([], {}, Verdict.FAIL),
        ([rehearsal(migrations={"0002_more": "d" * 64})], {}, Verdict.FAIL),
        ([rehearsal(migrations={})], {}, Verdict.FAIL),
        ([rehearsal(verdict="fail", causes=["a lock"])], {}, Verdict.FAIL),
        ([rehearsal(verdict="fail", causes=["a lock"]), rehearsal()], {}, Verdict.PASS),
        ([rehearsal(), rehearsal(verdict="fail", causes=["a lock"])], {}, Verdict.FAIL),
        ([rehearsal(verdict="unknown", unknown=["no room"])], {}, Verdict.UNKNOWN),
        ([rehearsal(), rehearsal(verdict="unknown", unknown=["no room"])], {}, Verdict.PASS),
        ([rehearsal(verdict="fail", causes=["a lock"]), rehearsal(verdict="unknown")], {}, Verdict.FAIL),
        ([rehearsal(at_s=NOW_S - 8 * 86400)], {}, Verdict.FAIL),
        ([rehearsal()], {"copy": True}, Verdict.FAIL),
        ([rehearsal(backup_s=NOW_S - 86400)], {"copy": True}, Verdict.PASS),
        ([rehearsal(backup_s=NOW_S - 3 * 86400)], {"copy": True}, Verdict.FAIL),
        ([rehearsal(migrations={"0002_more": "c" * 64, "0003": "e" * 64})], {}, Verdict.PASS),
    ],
)
def test_only_a_young_rehearsal_of_exactly_these_migrations_counts(
    entries: list[dict[str, Any]], config: dict[str, Any], expected: Verdict
) -> None:
    rows = check.judge(read({"migrations": {"copy": False, **config}}), seen(*entries), [])
    assert [row.verdict for row in rows if row.check == "migrations-rehearsed"] == [expected]


def own(
    name: str, verdict: Verdict = Verdict.PASS, checks: tuple[str, ...] = (check.REVIEWED, check.LINTED)
) -> list[Result]:
    return [Result(one, verdict, "seen", subject=name) for one in checks]


def test_only_pending_migrations_are_rows_and_none_of_them_is_missing() -> None:
    rows = check.judge(read(CONFIG), seen(rehearsal()), own("0001_init", Verdict.FAIL) + own("0002_more"))
    assert {(row.check, row.subject) for row in rows if row.subject} == {
        (check.REVIEWED, "0002_more"),
        (check.LINTED, "0002_more"),
    }
    silent = check.judge(read(CONFIG), seen(rehearsal()), [])
    assert {row.verdict for row in silent if row.check != check.REHEARSED} == {Verdict.UNKNOWN}


def test_nothing_pending_is_a_pass_and_an_unknown_schema_is_none() -> None:
    assert {row.verdict for row in check.judge(read(CONFIG), seen(version=2), own("0001_init", Verdict.FAIL))} == {
        Verdict.PASS
    }
    rows = check.judge(read(CONFIG), seen(version=None), own("0001_init", Verdict.FAIL))
    assert {row.verdict for row in rows} == {Verdict.FAIL, Verdict.UNKNOWN}


def test_a_migration_that_changed_since_it_was_released_fails_its_review() -> None:
    changed = manifest(migrations=[{"version": 2, "id": "0001_init", "kind": "expand", "sha256": "d" * 64}])
    slots = {"blue": {"migrations": {"0001_init": "b" * 64}}, "green": {}}
    answers = {"edge1": {"edge": edge()}, "app1": {"schema": {"version": 1}, "slots": slots}}
    rows = check.judge(read(CONFIG), situation(answers, manifest=changed), own("0001_init"))
    assert [row.verdict for row in rows if row.check == check.REVIEWED] == [Verdict.FAIL]
