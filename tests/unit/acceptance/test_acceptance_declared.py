"""What a release declares in acceptance/: what is right is read, what is wrong is told with file, field and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from turnout.acceptance.declared import PACKS
from turnout.acceptance.load import load, needed
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError

BEARER = {"security": [{"bearer": []}]}
OK = {"responses": {"200": {"description": "ok"}}}


def declaration() -> dict[str, Any]:
    return {
        "packs": ["contract", "compatible", "access"],
        "accounts": {
            "a": {"user": "ada", "password": "one"},
            "b": {"user": "bob", "password": "two"},
            "steps": [
                {
                    "request": "POST /login",
                    "json": {"user": "${user}", "password": "${password}"},
                    "capture": {"token": "/token"},
                }
            ],
            "headers": {"Authorization": "Bearer ${token}"},
        },
        "objects": [
            {"request": "POST /tasks", "json": {"title": "${mark}"}, "status": 201, "capture": {"task_id": "/id"}}
        ],
        "parameters": {"task_id": "${task_id}"},
        "public": ["POST /login"],
    }


def openapi() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/login": {"post": OK},
            "/tasks": {"get": {**OK, **BEARER}, "post": {**OK, **BEARER}},
            "/tasks/{task_id}": {"get": {**OK, **BEARER}},
        },
    }


def lay(root: Path, declared: Any, document: Any) -> Path:
    (root / "acceptance").mkdir(parents=True, exist_ok=True)
    for file, value in (("acceptance/acceptance.yml", declared), ("openapi.yml", document)):
        if value is not None:
            (root / file).write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return root


def faults_of(root: Path) -> list[Fault]:
    with pytest.raises(FaultsError) as caught:
        load(root)
    assert caught.value.code == "acceptance-invalid"
    for fault in caught.value.faults:
        assert fault.place, fault
        assert fault.remedy, fault
        assert fault.observed, fault
    return list(caught.value.faults)


def test_a_right_declaration_is_read_with_its_document(tmp_path: Path) -> None:
    questions = load(lay(tmp_path, declaration(), openapi()))
    assert questions is not None
    assert questions.declared.packs == ("contract", "compatible", "access")
    assert questions.declared.accounts is not None
    assert questions.declared.accounts.steps[0].capture == {"token": "/token"}
    assert [one.name for one in questions.document.operations] == [
        "POST /login",
        "GET /tasks",
        "POST /tasks",
        "GET /tasks/{task_id}",
    ]
    assert len(questions.sha256) == 64


@pytest.mark.parametrize("head", [{"swagger": "2.0"}, {"openapi": "3.0.3"}, {"openapi": "3.1.0"}])
def test_every_version_of_the_document_is_read(tmp_path: Path, head: dict[str, str]) -> None:
    document = {**head, **{name: one for name, one in openapi().items() if name != "openapi"}}
    assert load(lay(tmp_path, {"packs": ["contract"]}, document)) is not None


def test_a_release_without_the_folder_has_no_packs(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    with pytest.raises(TurnoutError) as caught:
        needed(tmp_path)
    assert caught.value.code == "acceptance-missing"
    with pytest.raises(TurnoutError) as caught:
        needed(tmp_path / "absent")
    assert caught.value.code == "release-missing"


@pytest.mark.parametrize(
    ("pack", "observed", "remedy"),
    [
        ("contrakt", "'contrakt', which is no pack", "write contract"),
        ("failure-mode", "which is no pack", "write failure-modes"),
        (7, "which is no pack", f"remove it; the packs are {', '.join(PACKS)}"),
    ],
)
def test_an_unknown_pack_is_refused_with_the_nearest_one(
    tmp_path: Path, pack: object, observed: str, remedy: str
) -> None:
    (fault,) = faults_of(lay(tmp_path, {**declaration(), "packs": ["access", pack]}, openapi()))
    assert (fault.path, fault.place) == ("acceptance.packs[1]", "acceptance/acceptance.yml")
    assert observed in fault.observed
    assert fault.remedy == remedy


@pytest.mark.parametrize(
    "reference", ["https://example.com/schemas.yml#/Task", "other.yml#/Task", "//example.com/x", "file:///etc/passwd"]
)
def test_a_reference_out_of_the_document_is_refused(tmp_path: Path, reference: str) -> None:
    document = openapi()
    document["paths"]["/tasks"]["get"]["responses"] = {
        "200": {"description": "", "content": {"application/json": {"schema": {"$ref": reference}}}}
    }
    (fault,) = faults_of(lay(tmp_path, declaration(), document))
    assert fault.path == "paths./tasks.get.responses.200.content.application/json.schema.$ref"
    assert fault.place == "openapi.yml"
    assert "copy what it leads to into the document" in fault.remedy


def test_a_reference_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    document = openapi()
    document["components"] = {"schemas": {"A": {"$ref": "#/components/schemas/B"}}}
    (fault,) = faults_of(lay(tmp_path, declaration(), document))
    assert fault.path == "components.schemas.A.$ref"
    assert "leads nowhere" in fault.observed


def test_an_operation_without_security_is_refused_where_access_is_asked(tmp_path: Path) -> None:
    document = openapi()
    del document["paths"]["/tasks/{task_id}"]["get"]["security"]
    (fault,) = faults_of(lay(tmp_path, declaration(), document))
    assert (fault.path, fault.place) == ("paths./tasks/{task_id}.get.security", "openapi.yml")
    assert "add `GET /tasks/{task_id}` to public in acceptance/acceptance.yml" in fault.remedy
    assert load(lay(tmp_path, {**declaration(), "packs": ["contract"]}, document)) is not None


def test_security_of_the_whole_document_counts_and_an_empty_one_does_not(tmp_path: Path) -> None:
    document = {**openapi(), **BEARER}
    for item in document["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
    document["paths"]["/login"]["post"]["security"] = []
    assert load(lay(tmp_path, declaration(), document)) is not None
    document["paths"]["/tasks"]["get"] = {**OK, "security": [{}, {"bearer": []}]}
    (fault,) = faults_of(lay(tmp_path, declaration(), document))
    assert fault.path == "paths./tasks.get.security"


def test_a_path_of_an_object_that_nothing_of_account_a_stands_in_is_refused(tmp_path: Path) -> None:
    declared = {**declaration(), "parameters": {}}
    (fault,) = faults_of(lay(tmp_path, declared, openapi()))
    assert fault.path == "paths./tasks/{task_id}.get.parameters.task_id"
    assert load(lay(tmp_path, {**declared, "shared": ["GET /tasks/{task_id}"]}, openapi())) is not None


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the declaration with one place changed; a value of None removes it."""
    declared = declaration()
    node: Any = declared
    *steps, last = path.split(".")
    for step in steps:
        node = node[int(step)] if step.isdigit() else node[step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return declared


@pytest.mark.parametrize(
    ("path", "value", "field", "remedy"),
    [
        ("packs", [], "acceptance.packs", "packs: [contract]"),
        ("packs", None, "acceptance.packs", "add `packs: [contract]`"),
        ("document", "../openapi.yml", "acceptance.document", "copy the document into the release"),
        ("document", "missing.yml", "the file", "missing.yml"),
        ("accounts.steps.0.request", "login", "acceptance.accounts.steps[0].request", "POST /api/tasks/"),
        ("accounts.steps.0.request", "FETCH /login", "acceptance.accounts.steps[0].request", "POST /api/tasks/"),
        ("accounts.steps.0.capture", {"token": "token"}, "acceptance.accounts.steps[0].capture.token", "/id"),
        ("accounts.steps.0.json", {"u": "${usr}"}, "acceptance.accounts.steps[0].json", "write ${user}"),
        ("accounts.steps.0.json", {"u": "$user"}, "acceptance.accounts.steps[0].json", "write $$"),
        ("accounts.steps.0.jsn", {}, "acceptance.accounts.steps[0].jsn", "rename it to `json`"),
        ("accounts.steps.0.form", {"a": "b"}, "acceptance.accounts.steps[0].form", "remove json or form"),
        ("accounts.headers", {"Authorization": "${tokn}"}, "acceptance.accounts.headers.Authorization", "${token}"),
        ("accounts.b", {"user": "bob"}, "acceptance.accounts.b", "add password to b"),
        ("accounts", None, "acceptance.accounts", "add accounts"),
        ("objects.0.json", {"title": "x"}, "acceptance.objects", "${mark}"),
        ("objects.0.status", "201", "acceptance.objects[0].status", "no quotes"),
        ("objects.0.capture", {"mark": "/id"}, "acceptance.objects[0].capture.mark", "rename mark"),
        ("parameters", {"task_id": "${task}"}, "acceptance.parameters.task_id", "write ${task_id}"),
        ("parameters", {"task_id": "${task_id}", "task": "x"}, "acceptance.parameters.task", "rename it to task_id"),
        ("public", ["POST /logn"], "acceptance.public[0]", "write POST /login"),
        ("public", ["/login"], "acceptance.public[0]", "GET /api/health/"),
        ("budget", {"requests": 0}, "acceptance.budget.requests", "requests: 3000"),
    ],
)
def test_what_is_wrong_is_told_with_its_field_and_remedy(
    tmp_path: Path, path: str, value: object, field: str, remedy: str
) -> None:
    faults = faults_of(lay(tmp_path, changed(path, value), openapi()))
    assert any(fault.path == field and remedy in fault.remedy for fault in faults), faults


@pytest.mark.parametrize(
    ("text", "observed", "line"),
    [
        ("packs: [contract\nseed: 1\n", "expected", 2),
        ("packs: [contract]\npacks: [access]\n", "the key packs twice", 2),
    ],
)
def test_a_recipe_that_is_no_yaml_is_refused_with_its_line(tmp_path: Path, text: str, observed: str, line: int) -> None:
    (fault,) = faults_of(lay(tmp_path, text, openapi()))
    assert fault.place == f"acceptance/acceptance.yml:{line}"
    assert observed in fault.observed


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "the document"),
        ({"openapi": 3.1, "paths": {"/a": {"get": OK}}}, "openapi"),
        ({"openapi": "4.0.0", "paths": {"/a": {"get": OK}}}, "openapi"),
        ({"openapi": "3.1.0", "paths": {}}, "paths"),
        ({"openapi": "3.1.0", "paths": {"a": {"get": OK}}}, "paths.a"),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": {}}}}, "paths./a.get.responses"),
        ({"openapi": "3.1.0", "paths": {"/a": []}}, "paths./a"),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, document: object, field: str) -> None:
    faults = faults_of(lay(tmp_path, {"packs": ["contract"]}, document))
    assert field in [fault.path for fault in faults]
    assert {fault.place for fault in faults} == {"openapi.yml"}


def test_no_message_shows_a_value_of_an_account(tmp_path: Path) -> None:
    secret = "hunter2-very-secret"
    declared = changed("accounts.a.password", ["a", secret])
    declared["accounts"]["b"]["password"] = {"x": secret}
    declared["accounts"]["headers"]["X-Key"] = {"y": secret}
    with pytest.raises(FaultsError) as caught:
        load(lay(tmp_path, declared, openapi()))
    assert secret not in str(caught.value)
    assert secret not in str(caught.value.as_dict())
