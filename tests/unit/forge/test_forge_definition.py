"""What the published definitions do not know fails a test: no fake and no request can drift from the server."""

from __future__ import annotations

from typing import Any

import pytest
from forge_definition import Drift, definition
from forge_server import COMMIT, check_run, gitea_rule

GITEA = "/api/v1/repos/team/shop"
PROTECTION = "/repos/team/shop/branches/main/protection"
PUT: dict[str, Any] = {
    "required_status_checks": None,
    "enforce_admins": True,
    "required_pull_request_reviews": None,
    "restrictions": None,
}


@pytest.mark.parametrize(
    ("forge", "method", "url", "body", "fault"),
    [
        ("gitea", "GET", f"{GITEA}/commits/{COMMIT}/state", None, "no such operation"),
        ("gitea", "DELETE", f"{GITEA}/branch_protections/main", None, "no such operation"),
        ("gitea", "GET", f"{GITEA}/commits/{COMMIT}/statuses?per_page=50", None, "no such parameter: per_page"),
        ("gitea", "GET", f"{GITEA}/branch_protections/release/1.0", None, "no such operation"),
        ("gitea", "POST", f"{GITEA}/branch_protections", {"approvals": 1}, "no such key: approvals"),
        ("gitea", "POST", f"{GITEA}/branch_protections", {"required_approvals": "1"}, "is not of type"),
        ("gitea", "PATCH", f"{GITEA}/branch_protections/main", {"rule_name": "main"}, "no such key: rule_name"),
        ("github", "GET", "/repos/team/shop/pulls?state=merged", None, "is not one of"),
        ("github", "GET", "/repos/team/shop/pulls?per_page=all", None, "is not of type"),
        ("github", "PUT", PROTECTION, {"enforce_admins": True}, "required property"),
        ("github", "PUT", PROTECTION, PUT | {"locked": True}, "no such key: locked"),
        (
            "github",
            "PUT",
            PROTECTION,
            PUT | {"required_status_checks": {"strict": True, "contexts": ["a"], "checks": [{"context": "a"}]}},
            "should not be valid",
        ),
    ],
)
def test_a_request_that_is_not_published_is_a_fault(forge: str, method: str, url: str, body: Any, fault: str) -> None:
    with pytest.raises(Drift, match=fault):
        definition(forge).request(method, url, body)


def test_an_answer_has_all_that_the_server_says_beside_what_was_given() -> None:
    (whole,) = definition("gitea").answer("GET", f"{GITEA}/branch_protections", [gitea_rule()])
    assert (whole["required_approvals"], whole["ignore_stale_approvals"], whole["priority"]) == (2, False, 0)
    answer = {"total_count": 1, "check_runs": [check_run("lint", "success")]}
    (run,) = definition("github").answer("GET", f"/repos/team/shop/commits/{COMMIT}/check-runs", answer)["check_runs"]
    assert (run["name"], run["external_id"]) == ("lint", None)


@pytest.mark.parametrize(
    "given", [{"required_aprovals": 1}, {"required_approvals": "one"}, {"status_check_contexts": [1]}]
)
def test_an_answer_that_no_server_gives_is_a_fault(given: dict[str, Any]) -> None:
    with pytest.raises(Drift):
        definition("gitea").answer("GET", f"{GITEA}/branch_protections/main", given)
