"""What a release carries of packs, who is asked which, and what the ledger keeps of the cage."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from shop import declaration, document, stable
from turnout.acceptance import extra
from turnout.acceptance.asking import NOBODY, Asker
from turnout.acceptance.declared import Budget
from turnout.acceptance.packs import Carrier, find
from turnout.acceptance.record import Release, record
from turnout.errors import TurnoutError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RELEASE = Release("1.5.0", "a" * 64)
OUTCOME: dict[str, Any] = {
    "packs": ["contract", "access"], "requests": 812, "took_s": 41.5, "questions_sha256": "b" * 64,
    "stable_sha256": None, "findings": [], "unknown": [],
}  # fmt: skip
FINDING = {"pack": "contract", "operation": "GET /tasks", "field": "response.title", "what": "is missing"}


def artifact(folder: Path, version: str, files: dict[str, str]) -> Carrier:
    """Return a release whose artifact has these files."""
    source = folder / version
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    file = folder / f"{version}.tar.zst"
    subprocess.run(["tar", "--create", "--zstd", f"--file={file}", f"--directory={source}", "."], check=True)
    return Carrier(file, "tarball", version)


def declared(folder: Path, version: str, **changes: Any) -> Carrier:
    files = {"acceptance/acceptance.yml": yaml.safe_dump(declaration() | changes), "bin/api": "x"}
    return artifact(folder, version, files | {changes.get("document", "openapi.yml"): json.dumps(document())})


def measured(*checks: tuple[str, str, str], **changes: Any) -> dict[str, Any]:
    made = [{"name": name, "outcome": outcome, "detail": detail} for name, outcome, detail in checks]
    return {
        "started": "2026-03-01T11:50:00.000000Z", "checks": made, "causes": [], "egress_blocked": 7,
        "sizes": {"backup_age_s": 600.0}, "notes": {"backup": "20260301-114000F"}, **changes,
    }  # fmt: skip


def test_packs_and_both_documents_are_taken_out_of_the_artifacts_and_nothing_else(tmp_path: Path) -> None:
    before = declared(tmp_path, "1.4.0", document="api/old.yml")
    found = find(declared(tmp_path, "1.5.0"), before, tmp_path / "out")
    assert (found.declared, found.packs) == (True, ("contract", "compatible", "access"))
    assert found.document == str(tmp_path / "out" / "stable" / "api" / "old.yml")
    kept = {str(path.relative_to(found.folder)) for path in Path(found.folder).rglob("*") if path.is_file()}
    assert kept == {"acceptance/acceptance.yml", "openapi.yml"}
    assert "1.5.0 is asked contract, compatible, access: 11 operations" in found.told
    assert "compatible with 1.4.0" in found.told


def test_the_document_of_a_release_that_declares_no_packs_is_the_one_at_the_same_place(tmp_path: Path) -> None:
    before = artifact(tmp_path, "1.4.0", {"openapi.yml": json.dumps(stable())})
    assert find(declared(tmp_path, "1.5.0"), before, tmp_path / "out").document.endswith("/stable/openapi.yml")
    without = artifact(tmp_path, "1.3.0", {"bin/api": "x"})
    found = find(declared(tmp_path, "1.6.0"), without, tmp_path / "other")
    assert (found.document, "compatible" in found.packs) == ("", True)
    assert "not known without -e stable_document=FILE" in found.told


def test_before_the_first_release_nothing_is_to_be_compatible_with(tmp_path: Path) -> None:
    found = find(declared(tmp_path, "1.0.0"), None, tmp_path / "out")
    assert found.packs == ("contract", "access")
    assert "nothing is in service yet" in found.told


def test_a_release_without_packs_and_an_image_are_told_plainly(tmp_path: Path) -> None:
    none = find(artifact(tmp_path, "1.5.0", {"bin/api": "x"}), None, tmp_path / "out")
    assert (none.declared, "this release declares no packs" in none.told) == (False, True)
    image = Carrier(tmp_path / "1.5.0.oci.tar.zst", "oci-archive", "1.5.0")
    assert "-e packs=FOLDER" in find(image, None, tmp_path / "out").told
    declared(tmp_path, "1.6.0")
    assert find(image, None, tmp_path / "out", packs=tmp_path / "1.6.0").declared
    with pytest.raises(TurnoutError, match=r"has no acceptance/acceptance\.yml"):
        find(image, None, tmp_path / "out", packs=tmp_path / "1.5.0")


def test_a_damaged_artifact_and_a_missing_extra_are_refused_with_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.tar.zst").write_bytes(b"no archive")
    with pytest.raises(TurnoutError) as refused:
        find(Carrier(tmp_path / "broken.tar.zst", "tarball", "1.5.0"), None, tmp_path / "out")
    assert refused.value.code == "artifact-unreadable"
    sound = declared(tmp_path, "1.5.0")
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TurnoutError) as refused:
        find(sound, None, tmp_path / "other")
    assert (refused.value.code, refused.value.remedy) == ("acceptance-extra", "pip install 'turnout[acceptance]'")


@pytest.mark.parametrize(
    ("cage", "outcome", "lost", "verdict", "words"),
    [
        (measured(("smoke", "pass", "")), OUTCOME, "", "pass", ""),
        (measured(), {**OUTCOME, "findings": [FINDING]}, "", "fail", "GET /tasks, response.title: is missing"),
        (measured(("migrate", "fail", "no such column")), None, "", "fail", "migrate: no such column"),
        (measured(("worker-jobs", "fail", "it ended")), OUTCOME, "", "fail", "worker-jobs: it ended"),
        # What says nothing of the release is no pass, and no fault of it.
        (measured(("target_reached", "fail", "a segment is damaged")), OUTCOME, "", "not known", "is damaged"),
        (measured(("asked", "fail", "the questions took longer")), OUTCOME, "", "not known", "took longer"),
        (measured(causes=["no whole backup"]), None, "", "not known", "no whole backup"),
        (measured(), {**OUTCOME, "unknown": [{"pack": "a", "operation": "b", "why": "c"}]}, "", "not known", "a: b: c"),
        (measured(), OUTCOME, "the way to the cage was lost", "not known", "the way to the cage was lost"),
        (None, OUTCOME, "", "not known", "no record of the cage"),
        (None, None, "the drill host was lost", "not known", "the drill host was lost"),
        (measured(), None, "", "not known", "nothing was asked"),
    ],
)  # fmt: skip
def test_the_verdict_is_of_three_values(
    cage: dict[str, Any] | None, outcome: dict[str, Any] | None, lost: str, verdict: str, words: str
) -> None:
    entry = record(RELEASE, cage, outcome, now=NOW, lost=lost)
    assert (entry["kind"], entry["sha256"], entry["verdict"]) == ("acceptance", "a" * 64, verdict)
    assert words in " ".join(entry["causes"] + entry["unknown"])


def test_the_entry_says_what_data_it_was_on_and_what_was_blocked() -> None:
    entry = record(RELEASE, measured(), OUTCOME, now=NOW)
    assert (entry["backup"], entry["blocked"], entry["requests"]) == ("20260301-114000F", 7, 812)
    assert entry["backup_s"] == datetime(2026, 3, 1, 11, 40, tzinfo=UTC).timestamp()
    assert entry["at_s"] == NOW.timestamp()
    assert entry["summary"] == "contract, access: 812 requests, 7 outgoing calls blocked"


def test_a_command_names_the_host_and_the_color_that_were_asked_and_hides_other_headers() -> None:
    headers = {"X-Turnout-Color": "green", "Host": "shop.example.com", "X-Key": "s3cret-key"}
    asker = Asker("http://127.0.0.1:8001", Budget(), reading=True, headers=headers)
    sent = asker.prepared(NOBODY, requests.Request("GET", "http://127.0.0.1:8001/tasks"))
    command = asker.curl(sent)
    assert "Host: shop.example.com" in command
    assert "X-Turnout-Color: green" in command
    assert '"$HEADER_3"' in command
    assert "s3cret" not in command
