"""GitHub: check runs, statuses, paging, rate limits, errors, branch protection, reviews."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from forge_server import COMMIT, OTHER, TOKEN, FakeForge, check_run, github_protection, status
from turnout.errors import TurnoutError
from turnout.forge.github import GitHub, client
from turnout.forge.model import State
from turnout.forge.required import lacking, merged, required, wanted_policy
from turnout.migrations.review import by_pull_request

RUNS = f"/repos/team/shop/commits/{COMMIT}/check-runs"
STATUS = f"/repos/team/shop/commits/{COMMIT}/status"
PROTECTION = "/repos/team/shop/branches/main/protection"


def github(forge: FakeForge, limit_s: float = 5) -> GitHub:
    return GitHub(client(forge.base, TOKEN, limit_s=limit_s), "team/shop")


def states(forge: FakeForge, *names: str) -> dict[str, State]:
    return {check.name: check.state for check in required(names, github(forge).checks(COMMIT))}


def test_passed_failed_pending_skipped_and_missing_are_told_apart_over_several_pages(forge: FakeForge) -> None:
    forge.paged(
        RUNS,
        [
            check_run("lint", "success"),
            check_run("test", "failure"),
            check_run("build", None, status="in_progress"),
            check_run("contract", "skipped"),
            check_run("slow", "timed_out"),
        ],
        "check_runs",
    )
    forge.paged(
        STATUS,
        [status("secrets", "success"), status("scan", "error"), status("late", "pending")],
        "statuses",
        sha=COMMIT,
        state="failure",
    )
    found = states(forge, "lint", "test", "build", "contract", "slow", "secrets", "scan", "late", "vulnerability")
    assert found == {
        "lint": State.PASSED,
        "test": State.FAILED,
        "build": State.PENDING,
        "contract": State.SKIPPED,
        "slow": State.FAILED,
        "secrets": State.PASSED,
        "scan": State.FAILED,
        "late": State.PENDING,
        "vulnerability": State.MISSING,
    }
    assert len([path for _, path, _ in forge.seen if "check-runs" in path]) == 3
    assert forge.tokens == {f"Bearer {TOKEN}"}


def test_results_of_another_commit_do_not_count(forge: FakeForge) -> None:
    forge.paged(RUNS, [check_run("lint", "success", sha=OTHER)], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State.MISSING}
    forge.paged(STATUS, [status("lint", "success")], "statuses", sha=OTHER)
    with pytest.raises(TurnoutError) as caught:
        github(forge).checks(COMMIT)
    assert OTHER in caught.value.observed


def test_the_newest_run_of_a_name_counts(forge: FakeForge) -> None:
    forge.paged(RUNS, [check_run("lint", "success", at="10"), check_run("lint", "failure", at="20")], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State.FAILED}


@pytest.mark.parametrize(
    ("runs", "statuses", "found"),
    [
        # The newest of one name must not hide what failed or still runs in another workflow.
        (
            [check_run("lint", "failure", at="10", suite=1), check_run("lint", "success", at="20", suite=2)],
            [],
            "FAILED",
        ),
        (
            [
                check_run("lint", None, status="in_progress", at="10", suite=1),
                check_run("lint", "success", at="20", suite=2),
            ],
            [],
            "PENDING",
        ),
        ([check_run("lint", "success", at="20")], [status("lint", "failure", at="10")], "FAILED"),
        ([check_run("lint", "failure", at="10")], [status("lint", "success", at="20")], "FAILED"),
        ([check_run("lint", "success", at="20")], [status("lint", "pending", at="10")], "PENDING"),
        # Attempts of one workflow: the newest counts, whichever way round they are told.
        ([check_run("lint", "success", at="20"), check_run("lint", "failure", at="10")], [], "PASSED"),
        ([check_run("lint", "failure", at="10"), check_run("lint", "success", at="20")], [], "PASSED"),
        ([check_run("lint", "success", at="10"), check_run("lint", None, status="queued", at="20")], [], "PENDING"),
        (
            [
                {**check_run("lint", None, status="queued", number=9), "started_at": None},
                check_run("lint", "success", at="20", number=8),
            ],
            [],
            "PENDING",
        ),
        ([check_run("lint", "failure", number=8), check_run("lint", "success", number=9)], [], "PASSED"),
    ],
)
def test_the_worst_of_workflows_and_statuses_counts_and_of_attempts_the_newest(
    forge: FakeForge, runs: list[dict[str, Any]], statuses: list[dict[str, Any]], found: str
) -> None:
    forge.paged(RUNS, runs, "check_runs")
    forge.paged(STATUS, statuses, "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State[found]}
    assert all("filter=all" in path for _, path, _ in forge.seen if "check-runs" in path)


@pytest.mark.parametrize(
    ("conclusion", "found"),
    [
        ("neutral", "SKIPPED"),
        ("skipped", "SKIPPED"),
        ("cancelled", "FAILED"),
        ("timed_out", "FAILED"),
        ("action_required", "FAILED"),
        ("stale", "FAILED"),
        ("startup_failure", "FAILED"),
    ],
)
def test_only_success_is_a_pass(forge: FakeForge, conclusion: str, found: str) -> None:
    forge.beyond = conclusion in ("stale", "startup_failure")  # documented, and missing in the published definition
    forge.paged(RUNS, [check_run("lint", conclusion), check_run("lint", "success", suite=6)], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State[found]}


@pytest.mark.parametrize("word", ["queued", "in_progress", "waiting", "requested", "pending"])
def test_what_has_not_ended_is_pending(forge: FakeForge, word: str) -> None:
    forge.paged(RUNS, [check_run("lint", None, status=word)], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State.PENDING}


def test_a_name_with_brackets_is_itself_and_no_pattern(forge: FakeForge) -> None:
    ended = {"test [3.11]": "success", "test [3.12]": "failure", "test 3": "failure"}
    forge.paged(RUNS, [check_run(name, conclusion) for name, conclusion in ended.items()], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "test [3.11]", "test [*]", "test [3.1]") == {
        "test [3.11]": State.PASSED,
        "test [*]": State.FAILED,
        "test [3.1]": State.MISSING,
    }


def test_a_conclusion_that_is_not_known_is_no_pass(forge: FakeForge) -> None:
    forge.beyond = True
    forge.paged(RUNS, [check_run("lint", "something_new")], "check_runs")
    forge.paged(STATUS, [], "statuses", sha=COMMIT)
    assert states(forge, "lint") == {"lint": State.FAILED}


IN_A_WHILE = str(int(time.time()) + 90)


@pytest.mark.parametrize(
    ("code", "headers", "message", "told"),
    [
        (
            403,
            {"x_ratelimit_remaining": "0", "x_ratelimit_reset": IN_A_WHILE},
            "API rate limit exceeded",
            ("forge-rate-limit", "UTC"),
        ),
        (403, {"retry_after": "61"}, "You have exceeded a secondary rate limit", ("forge-rate-limit", "61 s")),
        (429, {}, "Too many requests", ("forge-rate-limit", "wait")),
        (403, {"x_ratelimit_remaining": "4999"}, "Resource not accessible", ("forge-credentials", "token")),
        (401, {}, "Bad credentials", ("forge-credentials", "token")),
        (500, {}, None, ("forge-answer", "500")),
        (422, {}, "No commit found for SHA", ("forge-answer", "No commit found")),
        (200, {}, None, ("forge-answer", "no JSON")),
    ],
)
def test_every_refusal_says_what_it_is_and_holds_no_token(
    forge: FakeForge, code: int, headers: dict[str, str], message: str | None, told: tuple[str, str]
) -> None:
    forge.on(RUNS, {"message": message} if message else "<html>a page</html>", status=code, **headers)
    with pytest.raises(TurnoutError) as caught:
        github(forge).checks(COMMIT)
    assert caught.value.code == told[0]
    assert told[1] in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(github(forge))


def test_a_forge_that_is_away_or_silent_is_told() -> None:
    gone = GitHub(client("http://127.0.0.1:9", TOKEN, limit_s=2), "team/shop")
    with pytest.raises(TurnoutError) as caught:
        gone.checks(COMMIT)
    assert caught.value.code == "forge-unreachable"


def test_the_token_does_not_follow_a_redirect_to_another_server(forge: FakeForge) -> None:
    forge.on(RUNS, {}, status=302, Location="http://localhost:9/steal")
    with pytest.raises(TurnoutError) as caught:
        github(forge).checks(COMMIT)
    assert "another server" in str(caught.value) or "302" in str(caught.value)


def test_a_policy_that_suffices_lacks_nothing(forge: FakeForge) -> None:
    forge.on(PROTECTION, github_protection())
    assert lacking(github(forge).policy("main"), wanted_policy(["lint", "test"])) == []


def test_an_unprotected_branch_lacks_all(forge: FakeForge) -> None:
    forge.on(PROTECTION, {"message": "Branch not protected"}, status=404)
    assert github(forge).policy("main") is None
    assert lacking(None, wanted_policy(["lint"])) == ["the branch is not protected"]


def test_each_lack_is_named(forge: FakeForge) -> None:
    raw = github_protection(enforce_admins={"enabled": False})
    del raw["required_pull_request_reviews"]
    forge.on(PROTECTION, raw)
    lacks = lacking(github(forge).policy("main"), wanted_policy(["lint", "scan"]))
    assert len(lacks) == 5
    assert "scan" in lacks[-1]


def test_setting_a_policy_keeps_what_is_stricter(forge: FakeForge) -> None:
    raw = github_protection()
    raw["required_pull_request_reviews"]["required_approving_review_count"] = 2
    forge.on(PROTECTION, raw)
    forge.on(PROTECTION, {}, method="PUT")
    forge.routes["GET", PROTECTION] = (200, raw)
    wanted = merged(github(forge).policy("main"), wanted_policy(["scan"]))
    github(forge).set_policy("main", wanted)
    method, _, body = forge.seen[-1]
    assert method == "PUT"
    # `checks` alone: GitHub refuses it beside `contexts`. -1 is any app, which lint was free to be reported by.
    assert body["required_status_checks"] == {
        "strict": True,
        "checks": [{"context": "lint", "app_id": -1}, {"context": "scan"}, {"context": "test", "app_id": 15368}],
    }
    assert body["required_pull_request_reviews"]["required_approving_review_count"] == 2
    assert body["required_pull_request_reviews"]["require_code_owner_reviews"] is True
    assert body["required_linear_history"] is True
    assert body["restrictions"] is None


BOB, TEAM, APP = {"login": "bob"}, {"slug": "release"}, {"slug": "mergify"}
NAMED = {"users": ["bob"], "teams": ["release"], "apps": ["mergify"]}


def test_everything_else_that_protects_a_branch_is_sent_along(forge: FakeForge) -> None:
    people = {"users": [BOB], "teams": [TEAM], "apps": [APP]}
    switches = {
        "required_linear_history": True,
        "allow_force_pushes": False,
        "allow_deletions": False,
        "block_creations": True,
        "required_conversation_resolution": True,
        "lock_branch": True,
        "allow_fork_syncing": True,
    }
    raw = github_protection(restrictions=people, **{name: {"enabled": on} for name, on in switches.items()})
    raw["required_pull_request_reviews"] |= {
        "dismissal_restrictions": people,
        "bypass_pull_request_allowances": people,
        "require_last_push_approval": True,
    }
    forge.on(PROTECTION, {}, method="PUT")
    forge.on(PROTECTION, raw)
    github(forge).set_policy("main", wanted_policy(["scan"]))
    body = next(body for method, _, body in forge.seen if method == "PUT")
    assert {name: body[name] for name in switches} == switches
    assert body["restrictions"] == NAMED
    reviews = body["required_pull_request_reviews"]
    assert reviews["dismissal_restrictions"] == reviews["bypass_pull_request_allowances"] == NAMED
    assert (reviews["require_code_owner_reviews"], reviews["require_last_push_approval"]) == (True, True)
    assert github(forge).policy("main").bypass == ("app mergify", "team release", "user bob")  # type: ignore[union-attr]


def test_signatures_are_asked_for_again_where_a_rule_of_the_branch_s_own_came_without_them(forge: FakeForge) -> None:
    forge.on(PROTECTION, {}, method="PUT")
    forge.on(f"{PROTECTION}/required_signatures", {}, method="POST")
    forge.on(PROTECTION, github_protection(required_signatures={"url": "https://x", "enabled": True}))
    github(forge).set_policy("main", wanted_policy(["scan"]))
    assert [method for method, _, _ in forge.seen if method != "GET"] == ["PUT"]
    answers = iter([(200, github_protection(required_signatures={"url": "https://x", "enabled": True}))])

    class Routes(dict[tuple[str, str], Any]):
        def get(self, key: tuple[str, str], default: Any = None) -> Any:
            return (
                next(answers, (200, github_protection())) if key == ("GET", PROTECTION) else super().get(key, default)
            )

    forge.routes = Routes(forge.routes)
    github(forge).set_policy("main", wanted_policy(["scan"]))
    assert [path for method, path, _ in forge.seen if method == "POST"] == [f"{PROTECTION}/required_signatures"]


def rule(kind: str, number: int = 1, **parameters: Any) -> dict[str, Any]:
    source = {"ruleset_source_type": "Organization", "ruleset_source": "team", "ruleset_id": number}
    return {"type": kind, **source, **({"parameters": parameters} if parameters else {})}


def pull_request_rule(number: int = 1, **changes: Any) -> dict[str, Any]:
    asked = {
        "required_approving_review_count": 2,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_review_thread_resolution": False,
    }
    return rule("pull_request", number, **(asked | changes))


def checks_rule(*names: str, number: int = 1) -> dict[str, Any]:
    checks = [{"context": name, "integration_id": 15368} for name in names]
    return rule(
        "required_status_checks", number, required_status_checks=checks, strict_required_status_checks_policy=True
    )


def ruleset(forge: FakeForge, number: int = 1, actors: list[dict[str, Any]] | None = (), **changes: Any) -> None:  # type: ignore[assignment]
    shown = {} if actors is None else {"bypass_actors": list(actors)}
    body = {"id": number, "name": "main", "source": "team", "enforcement": "active", **shown, **changes}
    forge.on(f"/repos/team/shop/rulesets/{number}", body)


RULES = "/repos/team/shop/rules/branches/{}"
ROLE = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
OWNERS = {"actor_id": 1, "actor_type": "OrganizationAdmin", "bypass_mode": "pull_request"}
ROBOT = {"actor_id": 7, "actor_type": "Integration", "bypass_mode": "always"}


@pytest.mark.parametrize(
    ("actors", "lacks", "bypass"),
    [
        ([], [], ()),
        ([ROBOT], [], ("Integration 7",)),
        ([ROLE], ["administrators may pass it over"], ()),
        ([OWNERS, ROBOT], ["administrators may pass it over"], ("Integration 7",)),
        (None, ["administrators may pass it over"], ()),  # not shown to this token: not known, so not promised
    ],
)
def test_rulesets_protect_a_branch_and_those_who_may_bypass_them_count(
    forge: FakeForge, actors: list[dict[str, Any]] | None, lacks: list[str], bypass: tuple[str, ...]
) -> None:
    forge.paged(RULES.format("main"), [pull_request_rule(), checks_rule("lint", "test"), rule("non_fast_forward")])
    ruleset(forge, actors=actors)
    found = github(forge).policy("main")
    assert lacking(found, wanted_policy(["lint", "test"]), exact=True) == lacks
    assert found is not None
    assert (found.approvals, found.bypass) == (2, bypass)


@pytest.mark.parametrize("enforcement", ["evaluate", "disabled"])
def test_a_ruleset_that_is_not_enforced_protects_nothing(forge: FakeForge, enforcement: str) -> None:
    forge.paged(RULES.format("main"), [pull_request_rule()])
    ruleset(forge, enforcement=enforcement)
    assert github(forge).policy("main") is None


def test_protection_and_rulesets_count_together_and_administrators_are_held_to_what_binds_them(
    forge: FakeForge,
) -> None:
    raw = github_protection(enforce_admins={"url": "…", "enabled": False})
    raw["required_status_checks"]["checks"] = [{"context": "lint", "app_id": None}]
    forge.on(PROTECTION, raw)
    forge.paged(RULES.format("main"), [pull_request_rule(), checks_rule("test"), checks_rule("scan", number=2)])
    ruleset(forge)
    ruleset(forge, 2, [ROLE])
    found = github(forge).policy("main")
    assert lacking(found, wanted_policy(["test"]), exact=True) == []
    assert lacking(found, wanted_policy(["lint", "scan", "test"]), exact=True) == ["administrators may pass it over"]


def test_what_a_ruleset_asks_is_not_copied_into_the_branch_s_own_protection(forge: FakeForge) -> None:
    forge.paged(RULES.format("main"), [pull_request_rule(required_approving_review_count=3), checks_rule("test")])
    ruleset(forge)
    forge.on(PROTECTION, {}, method="PUT")
    github(forge).set_policy("main", wanted_policy(["lint"]))
    body = next(body for method, _, body in forge.seen if method == "PUT")
    assert body["required_status_checks"] == {"strict": False, "checks": [{"context": "lint"}]}
    assert body["required_pull_request_reviews"]["required_approving_review_count"] == 1
    assert body["restrictions"] is None


def test_the_name_of_a_branch_is_encoded_and_a_pattern_is_refused(forge: FakeForge) -> None:
    forge.on("/repos/team/shop/branches/release%2F1.0%23a/protection", github_protection())
    found = github(forge).policy("release/1.0#a")
    assert found is not None
    assert RULES.format("release%2F1.0%23a") in forge.seen[1][1]
    with pytest.raises(TurnoutError) as caught:
        github(forge).policy("release/*")
    assert caught.value.code == "forge-branch-pattern"


def pull(**changes: Any) -> dict[str, Any]:
    return {
        "number": 42,
        "state": "closed",
        "user": {"login": "ada"},
        "head": {"sha": COMMIT},
        "merged_at": "2026-11-24T10:00:00Z",
        "html_url": "https://github.com/team/shop/pull/42",
        **changes,
    }


def review(who: str, state: str, commit: str | None = COMMIT, kind: str = "User") -> dict[str, Any]:
    user = {"login": who, "type": kind}
    return {"id": 1, "user": user, "state": state, "commit_id": commit, "body": "ok", "author_association": "MEMBER"}


def reviewed(forge: FakeForge, reviews: list[dict[str, Any]], may: str = "write", author: str = "ada") -> Any:
    """Return what counts of these reviews; everybody `may` do the same, and `author` wrote the commit."""
    forge.on("/repos/team/shop/commits", [{"sha": OTHER, "author": {"login": author}}])
    forge.paged(f"/repos/team/shop/commits/{OTHER}/pulls", [pull()])
    forge.paged("/repos/team/shop/pulls/42/reviews", reviews)
    for name in ("bob", "carol", "Ada", "zoe[bot]"):
        where = f"/repos/team/shop/collaborators/{quote(name)}/permission"
        forge.on(where, {"permission": may, "role_name": may, "user": {"login": name}})
    (found,) = github(forge).reviews("migrations/0002.sql", COMMIT)
    return found


@pytest.mark.parametrize(
    ("reviews", "approved", "stale"),
    [
        ([review("bob", "APPROVED")], ("bob",), False),
        ([review("ada", "APPROVED")], (), False),
        ([review("Ada", "APPROVED")], (), False),
        ([review("bob", "APPROVED"), review("bob", "CHANGES_REQUESTED")], (), False),
        ([review("bob", "CHANGES_REQUESTED"), review("bob", "APPROVED")], ("bob",), False),
        ([review("bob", "APPROVED"), review("bob", "COMMENTED")], ("bob",), False),
        ([review("bob", "APPROVED"), review("carol", "CHANGES_REQUESTED")], ("bob",), False),
        ([review("bob", "APPROVED", OTHER)], (), True),
        ([review("bob", "APPROVED", None)], (), True),
        ([review("bob", "APPROVED"), review("bob", "DISMISSED")], (), False),
        ([review("zoe[bot]", "APPROVED")], (), False),
        ([review("carol", "APPROVED", kind="Bot")], (), False),
        ([{**review("bob", "APPROVED"), "user": None}], (), False),
        ([], (), False),
    ],
)
def test_only_an_approval_of_the_last_commit_by_somebody_else_counts(
    forge: FakeForge, reviews: list[dict[str, Any]], approved: tuple[str, ...], stale: bool
) -> None:
    found = reviewed(forge, reviews)
    assert (found.approved_by, found.stale, found.merged) == (approved, stale, True)


@pytest.mark.parametrize(
    ("may", "approved"), [("admin", ("bob",)), ("write", ("bob",)), ("read", ()), ("none", ()), ("triage", ())]
)
def test_only_an_approval_of_somebody_who_may_write_counts(
    forge: FakeForge, may: str, approved: tuple[str, ...]
) -> None:
    found = reviewed(forge, [review("bob", "APPROVED")], may)
    assert found.approved_by == approved
    assert by_pull_request([found])[1] == (
        "pull request 42, approved by bob"
        if approved
        else "pull request 42 of ada has no approval that counts (bob may not write)"
    )


def test_who_wrote_the_change_in_a_pull_request_of_somebody_else_does_not_approve_it(forge: FakeForge) -> None:
    found = reviewed(forge, [review("bob", "APPROVED")], author="bob")
    assert found.approved_by == ()
    assert "(bob is its author)" in by_pull_request([found])[1]


def test_a_token_that_may_not_ask_who_may_write_is_told(forge: FakeForge) -> None:
    reviewed(forge, [])
    forge.paged("/repos/team/shop/pulls/42/reviews", [review("bob", "APPROVED")])
    forge.on("/repos/team/shop/collaborators/bob/permission", {"message": "Must have push access"}, status=403)
    with pytest.raises(TurnoutError) as caught:
        github(forge).reviews("migrations/0002.sql", COMMIT)
    assert caught.value.code == "forge-credentials"


def test_a_file_without_a_pull_request_has_no_review(forge: FakeForge) -> None:
    forge.on("/repos/team/shop/commits", [])
    assert github(forge).reviews("migrations/0002.sql", COMMIT) == []
