"""Gitea and Forgejo: commit statuses (Actions write them too), branch protection, reviews (API v1)."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from turnout.errors import TurnoutError
from turnout.forge import gitea_glob
from turnout.forge.http import Client
from turnout.forge.model import (
    LOOKED_AT,
    CommitCheck,
    Json,
    Policy,
    Review,
    State,
    judged,
    last_words,
    moment,
    newest,
    readable,
    sha256_at,
)

PAGE = 50  # Gitea's own maximum by default
_RUN = re.compile(r"/actions/runs/\d+")  # of one workflow; its attempts keep it
_STATES = {
    "success": State.PASSED,
    "pending": State.PENDING,
    "failure": State.FAILED,
    "error": State.FAILED,
    "warning": State.FAILED,
    "skipped": State.SKIPPED,
}


def client(base: str, token: str | None, **options: Any) -> Client:
    """Return a client for the API of the server at `base` (https://git.example.com)."""
    headers = {"Authorization": f"token {token}"} if token else {}
    return Client(f"{base}/api/v1", headers, **options)


@readable
@dataclass(frozen=True)
class Gitea:
    """One repository (`owner/name`) on a Gitea or Forgejo."""

    client: Client
    repository: str

    def checks(self, commit: str) -> list[CommitCheck]:
        """Return the newest status of each context, and of each run of Actions, of exactly this commit."""
        found = self.reported(commit)
        if not found and not self.client.get(f"/repos/{self.repository}/git/commits/{commit}", missing={}):
            raise TurnoutError(
                "forge-commit-unknown",
                observed=f"{self.repository} has no commit {commit}",
                expected="the commit that the release was built from",
                remedy="push it, or see checklist.forge.repository",
            )
        return found

    def reported(self, commit: str) -> list[CommitCheck]:
        """Return the same, and nothing for a commit that is not there."""
        found = []
        # By index: Gitea's own order is by seconds, so that a page's edge may tell one twice and pass over another.
        query = f"sort=highestindex&limit={PAGE}"
        for page in self.client.pages(f"/repos/{self.repository}/commits/{commit}/statuses?{query}"):
            for status in page or []:
                state = _STATES.get(str(status.get("status") or status.get("state")), State.FAILED)
                said = str(status.get("description") or status.get("status"))
                at = moment(status.get("updated_at")) or moment(status.get("created_at"))
                url = str(status.get("target_url") or "")
                run = _RUN.search(url)
                source, number = run.group() if run else "", int(status.get("id") or 0)
                found.append(CommitCheck(str(status["context"]), state, said, at, url, source, number))
        return newest(found)

    def heads(self, branch: str) -> list[str]:
        """Return the last commits of the last pull requests into a branch. Gitea before 1.24 knows no base_branch."""
        query = urllib.parse.urlencode({"state": "all", "sort": "recentupdate", "base_branch": branch, "limit": PAGE})
        pulls = self.client.get(f"/repos/{self.repository}/pulls?{query}", missing=[])
        return [
            pull["head"]["sha"] for pull in pulls or [] if pull["base"]["ref"] == branch and pull["head"].get("sha")
        ]

    def tips(self, branch: str) -> list[str]:
        """Return the last commits of a branch."""
        query = urllib.parse.urlencode({"sha": branch, "limit": LOOKED_AT, **_BRIEF})
        found = self.client.get(f"/repos/{self.repository}/commits?{query}", missing=[])
        return [one["sha"] for one in found or []]

    def literal(self, context: str) -> str:
        """Return the pattern that matches exactly this context: contexts of a rule are patterns."""
        return gitea_glob.literal(context)

    def covers(self, pattern: str, context: str) -> bool:
        """Tell whether a pattern of a rule matches a context."""
        return gitea_glob.matches(pattern, context)

    def policy(self, branch: str) -> Policy | None:
        """Return a branch's protection: that of the rule which holds for it."""
        raw = self._rule(branch)
        if not raw:
            return None
        contexts = tuple(raw.get("status_check_contexts") or ())
        return Policy(
            # Nobody may push at all: what comes in comes by pull request.
            pull_request=not raw.get("enable_push"),
            approvals=int(raw.get("required_approvals") or 0),
            dismiss_stale=bool(raw.get("dismiss_stale_approvals") or raw.get("ignore_stale_approvals")),
            # Without any, everything that was reported must have passed.
            contexts=(contexts or ("*",)) if raw.get("enable_status_check") else (),
            admins_too=bool(raw.get("block_admin_merge_override", raw.get("apply_to_admins", False))),
            bypass=_bypass(raw),
        )

    def set_policy(self, branch: str, wanted: Policy) -> None:
        """Protect a branch; fields that are not named here stay as they are.

        Where a rule with a pattern holds for the branch, the branch gets a rule of its name with all that one says:
        other branches are nobody's business here.
        """
        body: dict[str, object] = {
            "enable_push": not wanted.pull_request,
            "required_approvals": wanted.approvals,
            "dismiss_stale_approvals": wanted.dismiss_stale,
            "enable_status_check": bool(wanted.contexts),
            "status_check_contexts": sorted(wanted.contexts),
            # The same in Gitea's and in Forgejo's words; each passes over the other's.
            "block_admin_merge_override": wanted.admins_too,
            "apply_to_admins": wanted.admins_too,
        }
        held = self._rule(branch) or {}
        name = _name(held)
        if name and not _for_others(name, branch):
            self.client.send("PATCH", self._address(name), body)
            return
        body = {key: value for key, value in held.items() if key not in _OF_A_RULE} | body
        if self.client.get(self._address(branch), missing={}):
            self.client.send("PATCH", self._address(branch), body)
        else:
            names = {"branch_name": branch, "rule_name": branch}
            self.client.send("POST", f"/repos/{self.repository}/branch_protections", body | names)

    def reviews(self, path: str, commit: str) -> list[Review]:
        """Return the pull request of the newest commit that touched a file, as seen from `commit`."""
        query = urllib.parse.urlencode({"path": path, "sha": commit, "limit": 1, **_BRIEF})
        commits = self.client.get(f"/repos/{self.repository}/commits?{query}")
        if not commits:
            return []
        pull = self.client.get(f"/repos/{self.repository}/commits/{commits[0]['sha']}/pull", missing={})
        if not pull:
            return []
        reviews: list[Json] = []
        for page in self.client.pages(f"/repos/{self.repository}/pulls/{pull['number']}/reviews?limit={PAGE}"):
            reviews += page or []
        # By id: in which order they are told is not documented.
        reviews.sort(key=lambda review: int(review.get("id") or 0))
        said = last_words(reviews, ("APPROVED", "REQUEST_CHANGES"))
        approvals = {n: r for n, r in said.items() if r["state"] == "APPROVED" and not r.get("dismissed")}
        return [judged(pull, commits[0], approvals, merged=bool(pull.get("merged")), objection=_objection)]

    def sha256(self, path: str, commit: str) -> str | None:
        """Return the checksum of a file as it is at `commit`, None where there is none."""
        return sha256_at(self.client, self.repository, path, commit)

    def _rule(self, branch: str) -> Json | None:
        """Return the rule that holds for a branch: the first by priority, names before patterns, older before newer."""
        rules = self.client.get(f"/repos/{self.repository}/branch_protections", missing=[])
        if not rules:
            return self.client.get(self._address(branch), missing={}) or None
        order = sorted(
            rules,
            key=lambda rule: (
                int(rule.get("priority") or 0),
                gitea_glob.special(_name(rule)),
                moment(rule.get("created_at")) or _LONG_AGO,
            ),
        )
        return next((rule for rule in order if _holds(_name(rule), branch)), None)

    def _address(self, rule: str) -> str:
        return f"/repos/{self.repository}/branch_protections/{urllib.parse.quote(rule, safe='')}"


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_OF_A_RULE = ("rule_name", "branch_name", "created_at", "updated_at")
_BRIEF = {"stat": "false", "verification": "false", "files": "false"}


def _name(rule: Json) -> str:
    return str(rule.get("rule_name") or rule.get("branch_name") or "")


def _for_others(name: str, branch: str) -> bool:
    """Tell whether a rule holds for other branches too."""
    return gitea_glob.special(name) and name != branch


def _holds(name: str, branch: str) -> bool:
    """Tell whether a rule holds for a branch; checklist.forge.branches may name a rule with a pattern as well."""
    if gitea_glob.special(name):
        return name == branch or gitea_glob.matches(name, branch, "/")
    return name.casefold() == branch.casefold()


def _bypass(rule: Json) -> tuple[str, ...]:
    if not rule.get("enable_bypass_allowlist"):
        return ()
    return (*(rule.get("bypass_allowlist_usernames") or ()), *(rule.get("bypass_allowlist_teams") or ()))


def _objection(_: str, review: Json) -> str:
    """Take Gitea's own word on a reviewer: official are those who may write, or whom the branch's rule lets approve."""
    if int(review["user"].get("id") or 0) < 0:
        return "is a bot"  # Gitea's own users: Actions, a ghost
    return "" if review.get("official") else "may not write"
