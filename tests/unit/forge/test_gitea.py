"""Gitea and Forgejo: statuses of Actions, paging, branch protection that is created or changed, reviews."""

from __future__ import annotations

from typing import Any

import pytest
from forge_server import COMMIT, OTHER, TOKEN, FakeForge, gitea_rule, status
from turnout.errors import TurnoutError
from turnout.forge.gitea import Gitea, client
from turnout.forge.model import CommitCheck, State
from turnout.forge.required import lacking, matching, merged, required, wanted_policy

API = "/api/v1/repos/team/shop"
STATUSES = f"{API}/commits/{COMMIT}/statuses"
RULE = f"{API}/branch_protections/main"


def gitea(forge: FakeForge) -> Gitea:
    return Gitea(client(forge.base, TOKEN, limit_s=5), "team/shop")


def entry(context: str, state: str, at: str = "10") -> dict[str, Any]:
    return status(context, state, key="status", at=at)


def states(forge: FakeForge, *names: str) -> dict[str, State]:
    return {check.name: check.state for check in required(names, gitea(forge).checks(COMMIT))}


def test_jobs_of_actions_are_found_by_their_name_over_several_pages(forge: FakeForge) -> None:
    forge.paged(
        STATUSES,
        [
            entry("CI / lint (push)", "success"),
            entry("CI / test (push)", "failure", "20"),
            entry("CI / test (push)", "success", "10"),
            entry("CI / build (push)", "pending"),
            entry("CI / contract (push)", "skipped"),
            entry("vulnerability", "warning"),
            entry("scan/secrets", "success"),
        ],
    )
    found = states(forge, "lint", "test", "build", "contract", "vulnerability", "scan/*", "deploy")
    assert found == {
        "lint": State.PASSED,
        "test": State.FAILED,
        "build": State.PENDING,
        "contract": State.SKIPPED,
        "vulnerability": State.FAILED,
        "scan/*": State.PASSED,
        "deploy": State.MISSING,
    }
    assert forge.tokens == {f"token {TOKEN}"}


def test_the_worst_of_several_jobs_of_one_name_counts(forge: FakeForge) -> None:
    forge.paged(STATUSES, [entry("CI / test (push)", "success"), entry("CI / test (pull_request)", "failure")])
    assert states(forge, "test") == {"test": State.FAILED}


RUN = "/team/shop/actions/runs/{}/jobs/0"


@pytest.mark.parametrize(
    ("statuses", "found"),
    [
        # Of one second: the highest id is the newest, in whichever order they are told.
        ([(4, "success", RUN.format(1)), (3, "pending", RUN.format(1))], "PASSED"),
        ([(3, "success", RUN.format(1)), (4, "failure", RUN.format(1))], "FAILED"),
        ([(3, "pending", "https://ci/1"), (4, "failure", "https://ci/1"), (5, "success", "https://ci/2")], "PASSED"),
        # Another workflow that has a job of the same name: what failed or runs there counts.
        ([(3, "failure", RUN.format(1)), (4, "success", RUN.format(2))], "FAILED"),
        ([(3, "pending", RUN.format(1)), (4, "success", RUN.format(2))], "PENDING"),
        ([(3, "failure", RUN.format(1)), (4, "success", RUN.format(1))], "PASSED"),
        ([(3, "warning", RUN.format(1))], "FAILED"),
        ([(3, "error", RUN.format(1))], "FAILED"),
        ([(3, "skipped", RUN.format(1))], "SKIPPED"),
    ],
)
def test_the_newest_of_a_run_and_the_worst_of_runs_counts(
    forge: FakeForge, statuses: list[tuple[int, str, str]], found: str
) -> None:
    forge.paged(STATUSES, [status("CI / test (push)", s, key="status", number=n, url=u) for n, s, u in statuses])
    assert states(forge, "test") == {"test": State[found]}
    # By index: an order by seconds could tell an entry twice and pass over another, at the edge of a page.
    assert all("sort=highestindex" in path for _, path, _ in forge.seen)


def test_a_job_and_a_status_of_one_name_and_the_jobs_of_a_matrix_count_together(forge: FakeForge) -> None:
    forge.paged(
        STATUSES,
        [
            entry("lint", "success"),
            entry("CI / lint (push)", "failure"),
            entry("CI / test (3.11) (push)", "success"),
            entry("CI / test (3.12) (push)", "pending"),
            entry("CI / scan [deep] (push)", "success"),
        ],
    )
    assert states(forge, "lint", "test", "test (3.11)", "scan [deep]") == {
        "lint": State.FAILED,
        "test": State.PENDING,
        "test (3.11)": State.PASSED,
        "scan [deep]": State.PASSED,
    }


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("build / unit", "CI / build / unit (push)"),  # a slash in the job's name, or a workflow that is called
        ("unit", "CI / build / unit (push)"),
        ("CI / lint", "CI / lint (push)"),
        ("CI / build / unit", "CI / build / unit (3.12) (push)"),
        ("test", "CI / test (a) (b) (pull_request)"),
        ("test (a)", "CI / test (a) (b) (pull_request)"),
    ],
)
def test_a_name_means_the_job_with_its_workflow_or_without(name: str, context: str) -> None:
    ended = [CommitCheck(one, State.PASSED, "", None) for one in (context, "CI / other (push)", "CI / unittest (push)")]
    assert [check.name for check in matching(name, ended)] == [context]


def test_a_commit_that_the_forge_does_not_know_is_told_and_one_without_checks_is_missing(forge: FakeForge) -> None:
    forge.on(STATUSES, [])
    with pytest.raises(TurnoutError) as caught:
        gitea(forge).checks(COMMIT)
    assert caught.value.code == "forge-commit-unknown"
    forge.on(f"{API}/git/commits/{COMMIT}", {"sha": COMMIT})
    assert states(forge, "lint") == {"lint": State.MISSING}


def test_a_wrong_token_is_told_without_it(forge: FakeForge) -> None:
    forge.on(STATUSES, {"message": "token is required", "url": "/api/swagger"}, status=401)
    with pytest.raises(TurnoutError) as caught:
        gitea(forge).checks(COMMIT)
    assert caught.value.code == "forge-credentials"
    assert TOKEN not in str(caught.value)


def test_a_rule_that_suffices_lacks_nothing(forge: FakeForge) -> None:
    forge.on(RULE, gitea_rule())
    assert lacking(gitea(forge).policy("main"), wanted_policy(["lint", "test"])) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"enable_push": True}, "push"),
        ({"required_approvals": 0}, "approvals"),
        ({"dismiss_stale_approvals": False}, "stale"),
        ({"enable_status_check": False}, "lint"),
        ({"block_admin_merge_override": False}, "administrators"),
    ],
)
def test_each_lack_is_named(forge: FakeForge, change: dict[str, Any], word: str) -> None:
    forge.on(RULE, gitea_rule(**change))
    (lack,) = lacking(gitea(forge).policy("main"), wanted_policy(["lint", "test"]))
    assert word in lack


def test_a_rule_is_made_where_there_is_none_and_changed_where_there_is(forge: FakeForge) -> None:
    forge.on(f"{API}/branch_protections", {}, method="POST", status=201)
    gitea(forge).set_policy("main", wanted_policy(["lint"]))
    method, path, body = forge.seen[-1]
    assert (method, path, body["rule_name"]) == ("POST", f"{API}/branch_protections", "main")
    assert body["status_check_contexts"] == ["lint"]
    forge.on(RULE, gitea_rule())
    forge.on(RULE, {}, method="PATCH")
    forge.routes["GET", RULE] = (200, gitea_rule())
    gitea(forge).set_policy("main", merged(gitea(forge).policy("main"), wanted_policy(["lint", "scan"])))
    method, path, body = forge.seen[-1]
    assert (method, path) == ("PATCH", RULE)
    assert body["required_approvals"] == 2
    assert body["status_check_contexts"] == ["CI / lint (push)", "scan", "test"]


def said(state: str, who: str = "bob", number: int = 1, **more: Any) -> dict[str, Any]:
    user = {"login": who, "id": 3}
    return {
        "id": number, "user": user, "state": state, "commit_id": COMMIT, "official": True, "stale": False,
        "dismissed": False, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reviews", "approved", "stale"),
    [
        ([said("APPROVED")], ("bob",), False),
        ([said("APPROVED", stale=True)], (), True),
        ([said("APPROVED", commit_id=OTHER)], (), True),
        ([said("APPROVED", dismissed=True)], (), False),
        ([said("APPROVED", official=False)], (), False),
        ([said("APPROVED", who="ada")], (), False),
        ([said("APPROVED", who="ADA")], (), False),
        ([said("APPROVED", who="gitea-actions", user={"login": "gitea-actions", "id": -2})], (), False),
        ([said("APPROVED", who="renovate[bot]")], (), False),
        ([said("APPROVED", user=None)], (), False),
        ([said("APPROVED"), said("REQUEST_CHANGES", number=2)], (), False),
        ([said("REQUEST_CHANGES", number=2), said("APPROVED")], (), False),
        ([said("APPROVED"), said("COMMENT", number=2)], ("bob",), False),
        ([said("APPROVED"), said("REQUEST_CHANGES", "carol", 2)], ("bob",), False),
        ([said("COMMENT")], (), False),
    ],
)
def test_only_a_fresh_approval_of_somebody_who_may_write_counts(
    forge: FakeForge, reviews: list[dict[str, Any]], approved: tuple[str, ...], stale: bool
) -> None:
    forge.on(f"{API}/commits", [{"sha": OTHER, "author": {"login": "ada"}}])
    pull = {"number": 7, "user": {"login": "ada"}, "head": {"sha": COMMIT}, "merged": True, "html_url": "https://x/7"}
    forge.on(f"{API}/commits/{OTHER}/pull", pull)
    forge.paged(f"{API}/pulls/7/reviews", reviews)
    (found,) = gitea(forge).reviews("migrations/0002.sql", COMMIT)
    assert (found.approved_by, found.stale, found.merged) == (approved, stale, True)


def test_a_pattern_means_only_what_it_matches(forge: FakeForge) -> None:
    forge.paged(STATUSES, [entry("CI / test (push)", "success"), entry("test-windows", "failure")])
    checks = gitea(forge).checks(COMMIT)
    assert [check.name for check in matching("test*", checks)] == ["test-windows"]
    assert [check.name for check in matching("test", checks)] == ["CI / test (push)"]
