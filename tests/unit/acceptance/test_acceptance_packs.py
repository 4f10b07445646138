"""Packs against a real server: a sound API passes, each mutant of it is caught by its pack and repeated by one curl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from shop import Shop, declaration, document, serving, stable
from turnout.acceptance.load import Questions, load
from turnout.acceptance.outcome import Finding, Outcome
from turnout.acceptance.run import Asked, run

SECRETS = re.compile(r"(first|second)-pass-phrase|Bearer [A-Za-z0-9_-]{20,}")


def questions(folder: Path, mutants: tuple[str, ...] = (), **changed: Any) -> Questions:
    (folder / "acceptance").mkdir(parents=True, exist_ok=True)
    (folder / "acceptance/acceptance.yml").write_text(yaml.safe_dump(declaration(frozenset(mutants)) | changed))
    (folder / "openapi.yml").write_text(json.dumps(document(frozenset(mutants))))
    found = load(folder)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def stable_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("stable") / "openapi.json"
    file.write_text(json.dumps(stable()))
    return file


def ask(folder: Path, shop: Shop, stable_file: Path, mutants: tuple[str, ...] = (), **more: Any) -> Outcome:
    changed = more.pop("changed", {})
    return run(questions(folder, mutants, **changed), Asked(url=shop.url, stable=stable_file, **more))


@dataclass(frozen=True)
class Mutant:
    name: str
    pack: str
    operation: str
    field: str
    shows: str
    """What stands in the answer that the request gets when it is repeated."""


TASK = "/tasks/{task_id}"
MUTANTS = [
    Mutant("field renamed", "contract", f"GET {TASK}", "response.title", '"name":'),
    Mutant("status undocumented", "contract", f"GET {TASK}", "status", "^HTTP/1.1 203"),
    Mutant("content type wrong", "contract", "GET /tasks", "Content-Type", "Content-Type: text/plain"),
    Mutant("crash", "contract", "POST /tasks", "status", "^HTTP/1.1 500"),
    Mutant("zero byte crashes", "contract", "POST /tasks", "status", "^HTTP/1.1 500"),
    Mutant("login crashes", "contract", "POST /login", "status", "^HTTP/1.1 500"),
    Mutant("number crashes", "contract", f"GET {TASK}", "status", "^HTTP/1.1 500"),
    Mutant("route undocumented", "contract", "GET /debug", "route", '"heap"'),
    Mutant("method undocumented", "contract", f"PUT {TASK}", "route", "^HTTP/1.1 400"),
    Mutant("state undocumented", "contract", f"GET {TASK}", "response.state", '"archived"'),
    Mutant("title null", "contract", f"GET {TASK}", "response.title", '"title": null'),
    Mutant("header missing", "contract", "POST /tasks", "Location", "^HTTP/1.1 201"),
    Mutant("enum narrowed silently", "contract", "POST /tasks", "request.state", "state is none of the known"),
    Mutant("optional field required", "contract", "POST /tasks", "request.note", "note is missing"),
    Mutant("field removed", "compatible", f"GET {TASK}", "response.note", '"title":'),
    Mutant("enum narrowed", "compatible", "POST /tasks", "request.state", "state is none of the known"),
    Mutant("request field required", "compatible", "POST /tasks", "request.list", "list is missing"),
    Mutant("operation removed", "compatible", f"GET {TASK}/document", "operation", "^HTTP/1.1 40[45]"),
    Mutant("query required", "compatible", "GET /tasks", "query.state", "state is missing"),
    Mutant("field retyped", "compatible", f"GET {TASK}", "response.id", r'"id": "\d+"'),
    Mutant("success renumbered", "compatible", f"DELETE {TASK}", "status", "^HTTP/1.1 200"),
    Mutant("account wanted", "compatible", "GET /health", "security", "^HTTP/1.1 401"),
    Mutant("read by another", "access", f"GET {TASK}", "as B", '"title": "buy '),
    Mutant("read by nobody", "access", f"GET {TASK}", "as nobody", '"title": "buy '),
    Mutant("document read by another", "access", f"GET {TASK}/document", "as B", "task buy "),
    Mutant("changed by another", "access", f"PATCH {TASK}", "as B", "^HTTP/1.1 200"),
    Mutant("deleted by another", "access", f"DELETE {TASK}", "as B", "^HTTP/1.1 204"),
    Mutant("deleted by nobody", "access", f"DELETE {TASK}", "as nobody", "^HTTP/1.1 204"),
    Mutant("refused and done", "access", f"DELETE {TASK}", "as B", "^HTTP/1.1 404"),
    Mutant("list leaks", "access", "GET /tasks", "as B", '"title": "buy '),
    Mutant("board leaks", "access", "GET /board", "as nobody", '"text": "sell '),
    Mutant("filter leaks", "access", "GET /tasks", "as B", '"title": "buy '),
    Mutant("refusal leaks", "access", f"GET {TASK}", "as B", "no such task: buy "),
    Mutant("created by nobody", "access", "POST /tasks", "as nobody", "^HTTP/1.1 201"),
]


def repeated(curl: str, variables: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", curl], capture_output=True, text=True, errors="replace", timeout=20, check=True,
        env={"PATH": os.environ["PATH"], **variables},
    )  # fmt: skip
    return done.stdout.replace("\r\n", "\n")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mutant_is_caught_by_its_pack_and_its_request_repeats_it(
    mutant: Mutant, tmp_path: Path, stable_file: Path
) -> None:
    with serving(mutant.name) as shop:
        outcome = ask(tmp_path, shop, stable_file, (mutant.name,))
        assert outcome.verdict == "fail"
        found = [
            one
            for one in outcome.findings
            if (one.pack, one.operation, one.field) == (mutant.pack, mutant.operation, mutant.field)
        ]
        assert found, [str(one) for one in outcome.findings]
        assert not SECRETS.search(json.dumps(outcome.as_dict()))
        for one in found:
            said = repeated(one.curl, outcome.variables)
            assert re.search(mutant.shows, said, re.MULTILINE), (one.curl, said)
            assert said.startswith(f"HTTP/1.1 {one.status}")
        if mutant.name == "login crashes":
            assert '"$A_PASSWORD"' in found[0].curl or '"$B_PASSWORD"' in found[0].curl


def test_the_sound_api_passes_ten_times(tmp_path: Path, stable_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    took, asked = [], []
    for number in range(10):
        with serving() as shop:
            began = time.monotonic()
            outcome = ask(tmp_path, shop, stable_file, changed={"seed": number})
            took.append(time.monotonic() - began)
            asked.append(outcome.requests)
        assert (outcome.verdict, outcome.findings, outcome.unknown) == ("pass", (), ())
    with capsys.disabled():
        print(f"\n10 sound runs: {min(took):.1f} to {max(took):.1f} s, {min(asked)} to {max(asked)} requests each")


def test_the_same_seed_asks_the_same(tmp_path: Path, stable_file: Path) -> None:
    def asked() -> list[str]:
        with serving() as shop:
            ask(tmp_path, shop, stable_file)
            return shop.asked

    first, second = asked(), asked()
    assert len(first) > 100
    assert first == second


@pytest.fixture
def sound() -> Iterator[Shop]:
    with serving() as shop:
        yield shop


def test_reading_asks_nothing_that_changes(sound: Shop, tmp_path: Path, stable_file: Path) -> None:
    outcome = ask(tmp_path, sound, stable_file, reading=True)
    assert {one.partition(" ")[0] for one in sound.asked} == {"GET"}
    assert outcome.findings == ()
    assert outcome.verdict == "pass"
    assert outcome.reading


def test_reading_finds_what_reading_can_find(tmp_path: Path, stable_file: Path) -> None:
    with serving("read by nobody", "route undocumented") as shop:
        shop.tasks[1] = {"id": 1, "title": "x", "state": "open", "note": None, "owner": 9}
        outcome = ask(tmp_path, shop, stable_file, reading=True)
    assert ("contract", "GET /debug") in {(one.pack, one.operation) for one in outcome.findings}


@pytest.mark.parametrize("pack", ["contract", "compatible", "access"])
def test_only_one_pack_is_asked_where_one_is_named(sound: Shop, tmp_path: Path, stable_file: Path, pack: str) -> None:
    assert ask(tmp_path, sound, stable_file, only=(pack,)).packs == (pack,)


def test_what_a_budget_leaves_unasked_is_not_known_and_no_pass(sound: Shop, tmp_path: Path, stable_file: Path) -> None:
    outcome = ask(tmp_path, sound, stable_file, changed={"budget": {"requests": 40}})
    assert outcome.requests <= 40
    assert outcome.verdict == "not known"
    assert outcome.findings == ()
    assert any("budget" in one.why for one in outcome.unknown)


def test_a_finding_names_secrets_by_variables(tmp_path: Path, stable_file: Path) -> None:
    with serving("field renamed") as shop:
        outcome = ask(tmp_path, shop, stable_file)
        (finding,) = [one for one in outcome.findings if one.pack == "contract"]
    assert isinstance(finding, Finding)
    assert '"$A_TOKEN"' in finding.curl
    assert outcome.variables["A_TOKEN"]
    assert "variables" not in outcome.as_dict()
    assert outcome.variables["A_TOKEN"] not in json.dumps(outcome.as_dict())


def test_an_operation_that_never_accepted_anything_is_not_known(sound: Shop, tmp_path: Path) -> None:
    (tmp_path / "acceptance").mkdir()
    (tmp_path / "acceptance/acceptance.yml").write_text("packs: [contract, compatible]\nbudget: {examples: 3}\n")
    answered = {number: {"description": ""} for number in ("200", "404")}
    paths = {"/nothing": {"get": {"responses": answered}}}
    (tmp_path / "openapi.yml").write_text(
        json.dumps({"openapi": "3.0.3", "info": {"title": "n", "version": "1"}, "paths": paths})
    )
    found = load(tmp_path)
    assert found is not None
    outcome = run(found, Asked(url=sound.url, stable=tmp_path / "openapi.yml"))
    assert (outcome.verdict, outcome.findings) == ("not known", ())
    assert [(one.pack, one.operation) for one in outcome.unknown] == [
        ("contract", "GET /nothing"),
        ("compatible", "GET /nothing"),
    ]
    assert "no request was accepted (404)" in outcome.unknown[0].why
