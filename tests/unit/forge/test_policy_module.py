"""forge_policy: what is lacking is set once, read back, and nothing is set in check mode."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checklist"))

from checklist_bed import read, situation
from forge_definition import FORGEJO
from forge_server import TOKEN, FakeForge, check_run, gitea_rule, status
from turnout.checklist import engine
from turnout.checklist.checks import forge as check
from turnout.checklist.model import Verdict
from turnout.errors import TurnoutError
from turnout.forge.open import open_forge
from turnout.forge.protect import protect

SERVICE = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
}
API = "/api/v1/repos/team/shop"
RULES = f"{API}/branch_protections"
HEAD = "ab" * 20
OTHER_HEAD = "cd" * 20


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
                body = {key: value for key, value in forge.seen[-1][2].items() if key not in FORGEJO}
                path = f"{RULES}/{body.get('rule_name', 'main')}"
                held = (super().get(("GET", path)) or (200, {}))[1]
                self["GET", path] = (200, {**held, **body})
                return (201, body)
            return super().get(key, default)

    forge.routes = Routes(forge.routes)


def report(forge: FakeForge, *contexts: str, commit: str = HEAD, branch: str = "main", pull: bool = True) -> None:
    """Let a commit report contexts: the last one of a pull request into the branch, or of the branch itself."""
    base = {"ref": branch}
    held = [one for one in forge.routes.get(("GET", f"{API}/pulls"), (200, []))[1] if one["base"] != base]
    if pull:
        forge.on(f"{API}/pulls", [{"number": 7, "base": base, "head": {"sha": commit}}, *held])
    else:
        forge.on(f"{API}/commits", [{"sha": commit}])
    forge.on(f"{API}/commits/{commit}/statuses", [status(one, "success", key="status") for one in contexts])


def sent(forge: FakeForge) -> list[str]:
    return [method for method, _, _ in forge.seen if method != "GET"]


def test_check_mode_tells_and_sets_nothing(forge: FakeForge) -> None:
    report(forge, "lint")
    lacked, before, after = protect(params(forge), dry_run=True)
    assert lacked == {"main": ["the branch is not protected"]}
    assert before == {"main": "not protected"}
    assert after["main"]["approvals"] == 1
    assert sent(forge) == []


def test_the_second_run_changes_nothing(forge: FakeForge) -> None:
    follow(forge)
    report(forge, "lint")
    protect(params(forge), dry_run=False)
    assert sent(forge) == ["POST"]
    lacked, before, after = protect(params(forge), dry_run=False)
    assert lacked == {"main": []}
    assert before == after
    assert sent(forge) == ["POST"]


def test_a_policy_that_did_not_take_is_told(forge: FakeForge) -> None:
    report(forge, "lint")
    forge.on(RULES, {}, method="POST", status=201)
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge), dry_run=False)
    assert caught.value.code == "forge-policy-not-taken"


def test_nothing_is_set_where_one_branch_cannot_be_read(forge: FakeForge) -> None:
    follow(forge)
    report(forge, "lint")
    forge.on(f"{RULES}/develop", {"message": "token is required"}, status=401)
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge, branches=["main", "develop"]), dry_run=False)
    assert sent(forge) == []
    assert TOKEN not in str(caught.value)


def test_without_a_forge_it_says_what_to_write(forge: FakeForge) -> None:
    with pytest.raises(TurnoutError) as caught:
        protect({**params(forge), "checklist": "{}"}, dry_run=True)
    assert "checklist.forge" in caught.value.remedy


def contexts_set(forge: FakeForge, *names: str) -> list[str]:
    """Protect main, and return the contexts that were sent; the second run sends nothing."""
    follow(forge)
    protect(params(forge, required=list(names)), dry_run=False)
    done = [one for one in forge.seen if one[0] != "GET"]
    body = done[-1][2]
    lacked, _, _ = protect(params(forge, required=list(names)), dry_run=False)
    assert lacked == {"main": []}
    assert len([one for one in forge.seen if one[0] != "GET"]) == len(done)
    contexts: list[str] = body["status_check_contexts"]
    return contexts


def test_contexts_are_set_as_pull_requests_reported_them(forge: FakeForge) -> None:
    report(forge, "CI / lint (pull_request)", "CI / lint (push)", "CI / test (3.11) (pull_request)", "scan/secrets")
    assert contexts_set(forge, "lint", "test", "scan/*") == [
        "CI / lint (pull_request)",
        "CI / test (3.11) (pull_request)",
        "scan/secrets",
    ]


def test_brackets_are_quoted_since_contexts_of_a_rule_are_patterns(forge: FakeForge) -> None:
    report(forge, "CI / test [3.11] (pull_request)")
    assert contexts_set(forge, "test [3.11]") == ["CI / test \\[3.11\\] (pull_request)"]


def test_commits_of_the_branch_count_where_no_pull_request_reported(forge: FakeForge) -> None:
    report(forge, "CI / lint (push)", pull=False)
    assert contexts_set(forge, "lint") == ["CI / lint (push)"]


def test_a_workflow_that_was_renamed_counts_by_its_new_name(forge: FakeForge) -> None:
    report(forge, "old / lint (pull_request)", "old / test (pull_request)")
    forge.on(f"{API}/commits/{OTHER_HEAD}/statuses", [status("new / lint (pull_request)", "success", key="status")])
    pulls = forge.routes["GET", f"{API}/pulls"][1]
    forge.on(f"{API}/pulls", [{"number": 8, "base": {"ref": "main"}, "head": {"sha": OTHER_HEAD}}, *pulls])
    assert contexts_set(forge, "lint", "test") == ["new / lint (pull_request)", "old / test (pull_request)"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_name_that_nothing_reported_is_refused_with_those_that_were(forge: FakeForge, dry_run: bool) -> None:
    report(forge, "CI / lint (pull_request)", "CI / build (pull_request)")
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge, required=["lint", "compile"]), dry_run=dry_run)
    assert caught.value.code == "forge-context-unknown"
    assert "nothing reported compile" in caught.value.observed
    assert "CI / build (pull_request), CI / lint (pull_request)" in caught.value.observed
    assert sent(forge) == []


def test_what_runs_after_the_merge_only_is_refused_since_a_pull_request_would_wait_for_ever(forge: FakeForge) -> None:
    report(forge, "CI / lint (pull_request)")
    report(forge, "CI / lint (push)", "CI / deploy (push)", commit=OTHER_HEAD, pull=False)
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge, required=["lint", "deploy"]), dry_run=True)
    assert "nothing reported deploy, but after the merge CI / deploy (push)" in caught.value.observed


def test_a_job_name_that_was_required_by_mistake_is_told_and_taken_out(forge: FakeForge) -> None:
    report(forge, "CI / lint (pull_request)")
    forge.on(f"{RULES}/main", gitea_rule(status_check_contexts=["lint", "docs"]))
    lacked, _, _ = protect(params(forge), dry_run=True)
    assert "lint is required and nothing reports it: nothing can be merged" in lacked["main"]
    assert contexts_set(forge, "lint") == ["CI / lint (pull_request)", "docs"]


@pytest.mark.parametrize(
    ("held", "suffices"),
    [
        ("CI / lint (pull_request)", True),
        ("CI / lint (push)", True),
        ("CI / lint*", True),
        ("*{lint,style}*", True),
        ("CI / *", False),  # any job of it would do, so lint need not run
        ("*", False),
        ("CI / test (pull_request)", False),
    ],
)
def test_a_pattern_of_a_rule_counts_where_it_means_that_job_alone(forge: FakeForge, held: str, suffices: bool) -> None:
    report(forge, "CI / lint (pull_request)", "CI / lint (push)", "CI / test (pull_request)")
    forge.on(f"{RULES}/main", gitea_rule(status_check_contexts=[held]))
    lacked, _, after = protect(params(forge), dry_run=True)
    assert (lacked["main"] == []) is suffices
    assert held in after["main"]["contexts"]


def test_all_that_was_reported_must_still_pass_where_no_context_was_named(forge: FakeForge) -> None:
    report(forge, "CI / lint (pull_request)")
    forge.on(f"{RULES}/main", gitea_rule(status_check_contexts=[]))
    assert contexts_set(forge, "lint") == ["*", "CI / lint (pull_request)"]


EARLY, LATE = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"


@pytest.mark.parametrize(
    ("rules", "branch", "approvals"),
    [
        ({"main": {}}, "main", 2),
        ({"MAIN": {}}, "main", 2),  # names are compared without case
        ({"m*": {}}, "main", 2),
        ({"release/*": {}}, "release/1.0", 2),
        ({"release/*": {}}, "release/1.0/x", None),
        ({"release/**": {}}, "release/1.0/x", 2),
        ({"{main,develop}": {}}, "develop", 2),
        ({"release-[0-9].?": {}}, "release-1.2", 2),
        ({"release-[!0-9]": {}}, "release-1", None),
        ({"ma[in": {}}, "main", None),
        ({"feature": {}}, "main", None),
        ({"m*": {}, "main": {"required_approvals": 4}}, "main", 4),  # names before patterns
        ({"m*": {"priority": 1}, "main": {"priority": 2, "required_approvals": 4}}, "main", 2),  # but priority first
        ({"m*": {"created_at": LATE}, "ma*": {"required_approvals": 4, "created_at": EARLY}}, "main", 4),
    ],
)  # fmt: skip
def test_the_rule_that_holds_for_a_branch_is_found_as_gitea_finds_it(
    forge: FakeForge, rules: dict[str, dict[str, Any]], branch: str, approvals: int | None
) -> None:
    forge.on(RULES, [gitea_rule(rule_name=name, **more) for name, more in rules.items()])
    found = open_forge("gitea", forge.base, "team/shop", TOKEN, limit_s=5).policy(branch)
    assert (found.approvals if found else None) == approvals


def test_a_branch_under_a_pattern_gets_a_rule_of_its_name_with_all_that_the_pattern_asked(forge: FakeForge) -> None:
    follow(forge)
    report(forge, "lint", branch="release/1.0")
    strict = {"require_signed_commits": True, "enable_push_whitelist": False, "protected_file_patterns": "*.key"}
    rule = gitea_rule(rule_name="release/*", branch_name="", priority=3, created_at="2026-11-01T00:00:00Z", **strict)
    forge.on(RULES, [rule])
    lacked, _, _ = protect(params(forge, branches=["release/1.0"]), dry_run=True)
    assert lacked == {"release/1.0": ["checks that are not required: lint"]}
    with pytest.raises(TurnoutError):  # this server does not keep it; what was sent is what matters here
        protect(params(forge, branches=["release/1.0"]), dry_run=False)
    (method, path, body) = next(one for one in forge.seen if one[0] != "GET")
    assert (method, path, body["rule_name"]) == ("POST", RULES, "release/1.0")
    assert {name: body[name] for name in strict} == strict
    assert (body["priority"], body["required_approvals"], "created_at" in body) == (3, 2, False)
    assert body["status_check_contexts"] == ["CI / lint (push)", "lint", "test"]


def test_the_name_of_a_rule_is_encoded_in_its_address(forge: FakeForge) -> None:
    follow(forge)
    report(forge, "lint", branch="release/1.0 rc")
    forge.on(RULES, [gitea_rule(rule_name="release/1.0 rc")])
    with pytest.raises(TurnoutError):
        protect(params(forge, branches=["release/1.0 rc"]), dry_run=False)
    assert [path for method, path, _ in forge.seen if method == "PATCH"] == [f"{RULES}/release%2F1.0%20rc"]


def test_github_is_asked_for_the_checks_that_a_pull_request_reported(forge: FakeForge) -> None:
    repo = "/repos/team/shop"
    forge.on(f"{repo}/pulls", [{"number": 7, "base": {"ref": "main"}, "head": {"sha": HEAD}}])
    runs = [check_run(name, "success", sha=HEAD) for name in ("lint", "build (3.11)", "build (3.12)")]
    forge.paged(f"{repo}/commits/{HEAD}/check-runs", runs, "check_runs")
    forge.paged(f"{repo}/commits/{HEAD}/status", [status("scan", "success")], "statuses", sha=HEAD)
    lacked, _, after = protect(params(forge, kind="github", required=["lint", "build", "scan"]), dry_run=True)
    assert lacked == {"main": ["the branch is not protected"]}
    assert after["main"]["contexts"] == ["build (3.11)", "build (3.12)", "lint", "scan"]
    with pytest.raises(TurnoutError) as caught:
        protect(params(forge, kind="github", required=["lint", "e2e"]), dry_run=True)
    assert "nothing reported e2e" in caught.value.observed
    assert "build (3.11), build (3.12), lint, scan" in caught.value.observed


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (["CI / lint (pull_request)"], (Verdict.PASS, "1 check required")),
        (["CI / test (pull_request)"], (Verdict.FAIL, "checks that are not required: CI / lint (pull_request)")),
        (["lint"], (Verdict.FAIL, "lint is required and nothing reports it: nothing can be merged")),
        ([], (Verdict.FAIL, "checks that are not required: CI / lint (pull_request)")),
        (None, (Verdict.FAIL, "lint is not required, and nothing reported it")),
    ],
)
def test_the_checklist_sees_a_rule_that_lets_nothing_in(
    forge: FakeForge, held: list[str] | None, found: tuple[Verdict, str]
) -> None:
    report(forge, *(["CI / test (pull_request)"] if held is None else ["CI / lint (pull_request)", "CI / test (push)"]))
    forge.on(f"{RULES}/main", gitea_rule(status_check_contexts=held or []))
    config = read(json.loads(params(forge)["checklist"]))
    rows = engine.run([task for task in check.tasks(config, situation()) if task.check == "branch-policy"])
    assert [(row.verdict, found[1] in row.evidence) for row in rows] == [(found[0], True)]
