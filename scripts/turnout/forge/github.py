"""GitHub: check runs and commit statuses, branch protection, reviews (REST API, version 2022-11-28)."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

from turnout.errors import TurnoutError
from turnout.forge.http import Client
from turnout.forge.model import CommitCheck, Json, Policy, Review, State, digest_of, judged, last_words, moment, newest

API_VERSION = "2022-11-28"
_CONCLUSIONS = {
    "success": State.PASSED,
    "skipped": State.SKIPPED,
    "neutral": State.SKIPPED,
    "failure": State.FAILED,
    "timed_out": State.FAILED,
    "cancelled": State.FAILED,
    "action_required": State.FAILED,
    "startup_failure": State.FAILED,
    "stale": State.FAILED,
}
_STATUSES = {"success": State.PASSED, "pending": State.PENDING, "failure": State.FAILED, "error": State.FAILED}


def client(base: str, token: str | None, **options: Any) -> Client:
    """Return a client for GitHub's API at `base` (https://api.github.com, or https://HOST/api/v3)."""
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return Client(base, headers, **options)


@dataclass(frozen=True)
class GitHub:
    """One repository (`owner/name`) on GitHub."""

    client: Client
    repository: str

    def checks(self, commit: str) -> list[CommitCheck]:
        """Return check runs (Actions and apps) and commit statuses (everything else) of exactly this commit."""
        found = []
        # All of them: which are latest is said nowhere exactly, and one must not hide that of another workflow.
        for page in self.client.pages(f"/repos/{self.repository}/commits/{commit}/check-runs?filter=all&per_page=100"):
            for run in page["check_runs"]:
                if run["head_sha"] == commit:
                    found.append(_check_run(run))
        for page in self.client.pages(f"/repos/{self.repository}/commits/{commit}/status?per_page=100"):
            if page["sha"] != commit:
                raise _other_commit(commit, page["sha"])
            for status in page["statuses"]:
                state = _STATUSES.get(status["state"], State.FAILED)
                said = str(status.get("description") or status["state"])
                at = moment(status.get("updated_at"))
                number = int(status.get("id") or 0)
                url = status.get("target_url") or ""
                found.append(CommitCheck(status["context"], state, said, at, url, "status", number))
        return newest(found)

    def policy(self, branch: str) -> Policy | None:
        """Return a branch's protection."""
        raw = self.client.get(self._protection(branch), missing={})
        if not raw:
            return None
        reviews = raw.get("required_pull_request_reviews")
        checks = raw.get("required_status_checks") or {}
        names = [check["context"] for check in checks.get("checks") or []] or list(checks.get("contexts") or [])
        return Policy(
            pull_request=reviews is not None,
            approvals=int((reviews or {}).get("required_approving_review_count") or 0),
            dismiss_stale=bool((reviews or {}).get("dismiss_stale_reviews")),
            contexts=tuple(names),
            admins_too=bool((raw.get("enforce_admins") or {}).get("enabled")),
        )

    def set_policy(self, branch: str, wanted: Policy) -> None:
        """Protect a branch. What is stricter or otherwise set already is sent along, since PUT replaces all of it."""
        raw = self.client.get(self._protection(branch), missing={}) or {}
        checks, reviews = raw.get("required_status_checks") or {}, raw.get("required_pull_request_reviews") or {}
        body: dict[str, object] = {
            "required_status_checks": {"strict": bool(checks.get("strict")), "contexts": sorted(wanted.contexts)},
            "enforce_admins": wanted.admins_too,
            "required_pull_request_reviews": {
                "dismiss_stale_reviews": wanted.dismiss_stale,
                "require_code_owner_reviews": bool(reviews.get("require_code_owner_reviews")),
                "require_last_push_approval": bool(reviews.get("require_last_push_approval")),
                "required_approving_review_count": wanted.approvals,
            }
            if wanted.pull_request
            else None,
            "restrictions": _restrictions(raw.get("restrictions")),
        }
        names = ("required_linear_history", "allow_force_pushes", "allow_deletions", "required_conversation_resolution")
        body |= {name: bool((raw.get(name) or {}).get("enabled")) for name in names}
        self.client.send("PUT", self._protection(branch), body)

    def reviews(self, path: str, commit: str) -> list[Review]:
        """Return the pull requests of the newest commit that touched a file, as seen from `commit`."""
        query = urllib.parse.urlencode({"path": path, "sha": commit, "per_page": 1})
        commits = self.client.get(f"/repos/{self.repository}/commits?{query}")
        if not commits:
            return []
        found = []
        for pulls in self.client.pages(f"/repos/{self.repository}/commits/{commits[0]['sha']}/pulls?per_page=100"):
            for pull in pulls:
                where = f"/repos/{self.repository}/pulls/{pull['number']}/reviews?per_page=100"
                said = last_words(
                    (review for page in self.client.pages(where) for review in page),
                    ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"),
                )
                approvals = {name: review for name, review in said.items() if review["state"] == "APPROVED"}
                merged = pull.get("merged_at") is not None
                found.append(judged(pull, commits[0], approvals, merged=merged, objection=self._objection))
        return found

    def _objection(self, login: str, review: Json) -> str:
        """Ask whether a reviewer may write: a member of an organization need not."""
        if review["user"].get("type") == "Bot":
            return "is a bot"
        who = urllib.parse.quote(login, safe="")
        found = self.client.get(f"/repos/{self.repository}/collaborators/{who}/permission", missing={})
        return "" if found.get("permission") in ("admin", "write") else "may not write"

    def sha256(self, path: str, commit: str) -> str | None:
        """Return the checksum of a file as it is at `commit`, None where there is none."""
        where = f"/repos/{self.repository}/contents/{urllib.parse.quote(path)}?ref={commit}"
        return digest_of(self.client.get(where, missing={}))

    def _protection(self, branch: str) -> str:
        return f"/repos/{self.repository}/branches/{urllib.parse.quote(branch, safe='')}/protection"


def _check_run(run: Json) -> CommitCheck:
    done = run["status"] == "completed"
    state = _CONCLUSIONS.get(str(run.get("conclusion")), State.FAILED) if done else State.PENDING
    said = str(run.get("conclusion") if done else run["status"])
    at = moment(run.get("completed_at")) or moment(run.get("started_at"))
    # One run of one workflow is one suite, and its attempts stay in it. Checks of apps may have none.
    source = f"suite {(run.get('check_suite') or {}).get('id')} app {(run.get('app') or {}).get('id')}"
    return CommitCheck(run["name"], state, said, at, run.get("html_url") or "", source, int(run.get("id") or 0))


def _restrictions(raw: Json | None) -> dict[str, list[str]] | None:
    if not raw:
        return None
    return {
        "users": [user["login"] for user in raw.get("users") or []],
        "teams": [team["slug"] for team in raw.get("teams") or []],
        "apps": [app["slug"] for app in raw.get("apps") or []],
    }


def _other_commit(wanted: str, got: object) -> TurnoutError:
    return TurnoutError(
        "forge-answer",
        observed=f"the forge answered about commit {got}",
        expected=f"commit {wanted}",
        remedy="see checklist.forge.repository",
    )
