"""forge_policy: what is lacking is set once, read back, and nothing is set in check mode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from forge_server import TOKEN, FakeForge
from turnout.errors import TurnoutError
from turnout.forge.protect import protect

SERVICE = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
}
RULES = "/api/v1/repos/team/shop/branch_protections"


def params(forge: FakeForge, **more: Any) -> dict[str, str]:
    configured = {
        "kind": "gitea", "url": forge.base, "repository": "team/shop", "token": TOKEN, "required": ["lint"],
        "branches": ["main"], **more,
    }  # fmt: skip
    return {
        "service": json.dumps(SERVICE),
        "checklist": json.dumps({"forge": configured}),
        "inventory_dir": "/inventory",
    }


def follow(forge: FakeForge) -> None:
    """Let the server keep what it is told, as a real one does."""

    class Routes(dict[tuple[str, str], Any]):
        def get(self, key: tuple[str, str], default: Any = None) -> Any:
            if key[0] in ("POST", "PATCH"):
                body = forge.seen[-1][2]
                path = f"{RULES}/{body.get('rule_name', 'main')}"
                held = (super().get(("GET", path)) or (200, {}))[1]
                self["GET", path] = (200, {**held, **body})
                return (201, body)
            return super().get(key, default)

    forge.routes = Routes(forge.routes)


def sent(forge: FakeForge) -> list[str]:
    return [method for method, _, _ in forge.seen if method != "GET"]


def test_check_mode_tells_and_sets_nothing(forge: FakeForge) -> None:
    lacked, before, after = protect(params(forge), dry_run=True)
    assert lacked == {"main": ["the branch is not protected"]}
    assert before == {"main": "not protected"}
    assert after["main"]["approvals"] == 1
    assert sent(forge) == []


def test_the_second_run_changes_nothing(forge: FakeForge) -> None:
    follow(forge)
    protect(params(forge), dry_run=False)
    assert sent(forge) == ["POST"]
    lacked, before, after = protect(params(forge), dry_run=False)
    assert lacked == {"main": []}
    assert before == after
    assert sent(forge) == ["POST"]


def test_a_policy_that_did_not_take_is_told(forge: FakeForge) -> None:
    forge.on(RULES, {}, method="POST", status=201)
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge), dry_run=False)
    assert caught.value.code == "forge-policy-not-taken"


def test_nothing_is_set_where_one_branch_cannot_be_read(forge: FakeForge) -> None:
    follow(forge)
    forge.on(f"{RULES}/develop", {"message": "token is required"}, status=401)
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge, branches=["main", "develop"]), dry_run=False)
    assert sent(forge) == []
    assert TOKEN not in str(caught.value)


def test_without_a_forge_it_says_what_to_write(forge: FakeForge) -> None:
    with pytest.raises(TurnoutError) as caught:
        protect({**params(forge), "checklist": "{}"}, dry_run=True)
    assert "checklist.forge" in caught.value.remedy
