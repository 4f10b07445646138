"""`turnout acceptance`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from shop import declaration, document, serving, stable

FIELDS = {
    "format", "release", "questions_sha256", "stable_sha256", "verdict", "packs", "reading", "seed", "url", "began_at",
    "took_s", "requests", "asked", "findings", "unknown",
}  # fmt: skip


def release(folder: Path, *mutants: str) -> Path:
    (folder / "acceptance").mkdir(parents=True)
    declared = declaration(frozenset(mutants)) | {"budget": {"examples": 4}}
    (folder / "acceptance/acceptance.yml").write_text(yaml.safe_dump(declared))
    (folder / "openapi.yml").write_text(json.dumps(document(frozenset(mutants))))
    return folder


def turnout(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from turnout.cli import main; main()", "acceptance", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def test_check_names_packs_and_document(tmp_path: Path) -> None:
    done = turnout("check", release(tmp_path / "app"))
    assert done.returncode == 0
    assert "contract, compatible, access" in done.stdout
    assert "openapi.yml, 11 operations" in done.stdout


def test_a_sound_candidate_ends_with_0_and_its_outcome_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "stable.json").write_text(json.dumps(stable()))
    folder = release(tmp_path / "app")
    manifest = {
        "name": "shop",
        "version": "1.1.0",
        "commit": "0" * 40,
        "built_at": "2026-01-02T03:04:05Z",
        "manifest": 1,
    }
    artifact = {"kind": "tarball", "file": "shop-1.1.0.tar.zst", "sha256": "a" * 64, "bytes": 1, "unpacked_bytes": 1}
    whole = {**manifest, "artifact": artifact, "environment": [], "schema": {"min": 0, "max": 0}, "migrations": []}
    (tmp_path / "shop.yml").write_text(yaml.safe_dump(whole))
    with serving() as shop:
        done = turnout(
            "run", folder, "--url", shop.url, "--stable", tmp_path / "stable.json", "--out", tmp_path / "o.json",
            "--manifest", tmp_path / "shop.yml",
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pass: 0 findings, 0 not known; contract, compatible, access; ")
    outcome = json.loads((tmp_path / "o.json").read_text())
    assert outcome.keys() == FIELDS
    assert (outcome["format"], outcome["verdict"]) == (1, "pass")
    assert outcome["release"] == {"name": "shop", "version": "1.1.0", "sha256": "a" * 64}
    assert outcome["asked"].keys() == {"contract", "compatible", "access"}


def test_a_finding_ends_with_1_and_its_command_runs_with_the_written_variables(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.sh"
    with serving("read by another") as shop:
        done = turnout(
            "run", release(tmp_path / "app"), "--url", shop.url, "--only", "access", "--variables", secrets, "--json"
        )
        outcome = json.loads(done.stdout)
        (finding,) = outcome["findings"]
        assert (done.returncode, finding["operation"], finding["field"]) == (1, "GET /tasks/{task_id}", "as B")
        assert secrets.stat().st_mode & 0o777 == 0o600
        token = next(line for line in secrets.read_text().splitlines() if line.startswith("export B_TOKEN="))
        assert token.partition("=")[2] not in done.stdout + done.stderr
        again = subprocess.run(
            ["bash", "-c", f". {secrets}; {finding['curl']}"], capture_output=True, text=True, check=True, timeout=20
        )
        assert '"title": "buy ' in again.stdout


def test_text_for_a_person_shows_a_table_and_the_commands(tmp_path: Path) -> None:
    with serving("status undocumented") as shop:
        done = turnout("run", release(tmp_path / "app"), "--url", shop.url, "--only", "contract")
    assert done.returncode == 1
    assert "answered 203; the document says 200, 401, 404" in done.stdout
    assert "curl -sS -i -g --path-as-is -X GET" in done.stdout
    assert "fail: " in done.stdout.splitlines()[-1]


def test_without_stables_document_compatible_is_not_known(tmp_path: Path) -> None:
    with serving() as shop:
        done = turnout("run", release(tmp_path / "app"), "--url", shop.url, "--only", "compatible")
    assert done.returncode == 1
    assert "not known: compatible: everything: there is no document of the release in service: --stable FILE" in (
        done.stdout
    )


def test_a_header_from_the_environment_goes_along_and_is_never_shown(tmp_path: Path) -> None:
    with serving("status undocumented") as shop:
        done = turnout(
            "run", release(tmp_path / "app"), "--url", shop.url, "--only", "contract", "--header-from",
            "X-Candidate=WAY_IN", WAY_IN="let-me-in-please",
        )  # fmt: skip
    assert "let-me-in-please" not in done.stdout + done.stderr
    assert '"$HEADER_1"' in done.stdout


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--url", "ftp://127.0.0.1"], "acceptance-url", "no address of HTTP"),
        (["--url", "http://user:secret-word@127.0.0.1"], "acceptance-url", "a user, ? or #"),
        (["--url", "http://127.0.0.1:CLOSED"], "candidate-unreachable", "curl -i http://127.0.0.1:"),
        (["--url", "http://127.0.0.1:1", "--stable", "gone.yml"], "acceptance-stable", "no such file"),
        (["--url", "http://127.0.0.1:1", "--header-from", "X-A=NOT_SET_HERE"], "acceptance-header", "X-A"),
        (["--url", "http://192.0.2.7:8001"], "acceptance-cage", "--cage for a candidate in a cage"),
        (["--url", "http://127.0.0.1:1", "--database-from", "NOT_SET_HERE"], "acceptance-database", "export NOT_SET"),
        (["--url", "http://127.0.0.1:1", "--manifest", "gone.yml"], "file-fault", "gone.yml"),
    ],
)
def test_what_cannot_be_asked_is_refused_without_a_traceback(
    tmp_path: Path, arguments: list[str], code: str, said: str
) -> None:
    filled = [one.replace("CLOSED", str(closed_port())) for one in arguments]
    done = turnout("run", release(tmp_path / "app"), *filled)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error[{code}]")
    assert said.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert "secret-word" not in done.stderr


def test_a_recipe_that_the_candidate_refuses_is_told_by_its_step(tmp_path: Path) -> None:
    folder = release(tmp_path / "app")
    file = folder / "acceptance/acceptance.yml"
    declared = yaml.safe_load(file.read_text())
    declared["accounts"]["steps"][1]["json"] = {"name": "nobody", "password": "another-secret-word"}
    file.write_text(yaml.safe_dump(declared))
    with serving() as shop:
        done = turnout("run", folder, "--url", shop.url)
    assert done.returncode == 2
    assert "error[acceptance-recipe]: accounts.steps[1], POST /login, as account A: answered 401" in done.stderr
    assert "another-secret-word" not in done.stderr


def test_a_pack_that_the_release_does_not_declare_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "app")
    (folder / "acceptance/acceptance.yml").write_text("packs: [contract]\n")
    done = turnout("run", folder, "--url", "http://127.0.0.1:1", "--only", "access")
    assert done.returncode == 2
    assert "error[acceptance-pack]" in done.stderr


def test_without_the_extra_a_person_is_told_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['schemathesis'] = None; from turnout.cli import main; main()"
    arguments = ["acceptance", "run", str(release(tmp_path / "app")), "--url", "http://127.0.0.1:1"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error[acceptance-extra]" in done.stderr
    assert "pip install 'turnout[acceptance]'" in done.stderr
    assert "Traceback" not in done.stderr
