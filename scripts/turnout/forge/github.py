"""GitHub: check runs and commit statuses, branch protection, reviews (REST API, version 2022-11-28)."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from turnout.errors import TurnoutError
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
from turnout.forge.required import combined, merged

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


@readable
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

    reported = checks

    def heads(self, branch: str) -> list[str]:
        """Return the last commits of the last pull requests into a branch."""
        query = urllib.parse.urlencode(
            {"state": "all", "sort": "updated", "direction": "desc", "base": branch, "per_page": 2 * LOOKED_AT}
        )
        return [pull["head"]["sha"] for pull in self.client.get(f"/repos/{self.repository}/pulls?{query}", missing=[])]

    def tips(self, branch: str) -> list[str]:
        """Return the last commits of a branch."""
        query = urllib.parse.urlencode({"sha": branch, "per_page": LOOKED_AT})
        return [one["sha"] for one in self.client.get(f"/repos/{self.repository}/commits?{query}", missing=[])]

    def literal(self, context: str) -> str:
        """Return the context: GitHub knows no patterns here."""
        return context

    def covers(self, pattern: str, context: str) -> bool:
        """Tell whether a required check is a reported one."""
        return pattern == context

    def policy(self, branch: str) -> Policy | None:
        """Return what protects a branch: its own protection and every active ruleset, of the organization too."""
        if set("*?[") & set(branch):
            raise TurnoutError(
                "forge-branch-pattern",
                observed=f"checklist.forge.branches has {branch}",
                expected="names of branches: GitHub tells of each what protects it, patterns of rules included",
                remedy="write the branches by their names",
            )
        raw = self.client.get(self._protection(branch), missing={})
        return combined([*([_protected(raw)] if raw else []), *self._rulesets(branch)])

    def _rulesets(self, branch: str) -> list[Policy]:
        """Return what each ruleset asks of a branch: GitHub itself tells which are active and which names they mean."""
        rules: dict[int, list[Json]] = {}
        where = f"/repos/{self.repository}/rules/branches/{urllib.parse.quote(branch, safe='')}?per_page=100"
        for page in self.client.pages(where, missing=[]):
            for rule in page:
                rules.setdefault(int(rule.get("ruleset_id") or 0), []).append(rule)
        found = []
        for number, held in rules.items():
            ruleset = self.client.get(f"/repos/{self.repository}/rulesets/{number}", missing={})
            if ruleset.get("enforcement", "active") == "active":
                found.append(_ruled(held, ruleset.get("bypass_actors")))
        return found

    def set_policy(self, branch: str, wanted: Policy) -> None:
        """Protect a branch. What is stricter or otherwise set already is sent along, since PUT replaces all of it."""
        raw = self.client.get(self._protection(branch), missing={}) or {}
        goal = merged(_protected(raw) if raw else None, wanted, exact=True)
        body = {
            "required_status_checks": _checks(raw.get("required_status_checks") or {}, goal.contexts),
            "enforce_admins": goal.admins_too,
            "required_pull_request_reviews": _reviews(raw.get("required_pull_request_reviews") or {}, goal),
            "restrictions": _people(raw.get("restrictions")),
            **{name: _on(raw, name) for name in _SWITCHES},
        }
        self.client.send("PUT", self._protection(branch), body)
        # Not part of PUT: a branch that a rule with a pattern protected has a rule of its own now, without it.
        signatures = "required_signatures"
        if _on(raw, signatures) and not _on(self.client.get(self._protection(branch), missing={}), signatures):
            self.client.send("POST", f"{self._protection(branch)}/{signatures}", {})

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
        return sha256_at(self.client, self.repository, path, commit)

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


_SWITCHES = (
    "required_linear_history",
    "allow_force_pushes",
    "allow_deletions",
    "block_creations",
    "required_conversation_resolution",
    "lock_branch",
    "allow_fork_syncing",
)


def _on(raw: Json, name: str) -> bool:
    return bool((raw.get(name) or {}).get("enabled"))


def _protected(raw: Json) -> Policy:
    """Read a branch's protection."""
    reviews, checks = raw.get("required_pull_request_reviews"), raw.get("required_status_checks") or {}
    bypass = _people((reviews or {}).get("bypass_pull_request_allowances")) or {}
    return Policy(
        pull_request=reviews is not None,
        approvals=int((reviews or {}).get("required_approving_review_count") or 0),
        dismiss_stale=bool((reviews or {}).get("dismiss_stale_reviews")),
        contexts=tuple(_apps(checks)),
        admins_too=_on(raw, "enforce_admins"),
        bypass=tuple(f"{kind[:-1]} {name}" for kind, names in bypass.items() for name in names),
    )


def _ruled(rules: list[Json], bypass: list[Json] | None) -> Policy:
    """Read one ruleset's rules. Who may bypass it is shown to its administrators only: unknown is no promise."""
    by_type = {str(rule["type"]): rule.get("parameters") or {} for rule in rules}
    reviews, checks = by_type.get("pull_request"), by_type.get("required_status_checks") or {}
    return Policy(
        pull_request=reviews is not None,
        approvals=int((reviews or {}).get("required_approving_review_count") or 0),
        dismiss_stale=bool((reviews or {}).get("dismiss_stale_reviews_on_push")),
        contexts=tuple(check["context"] for check in checks.get("required_status_checks") or []),
        admins_too=bypass is not None and all(actor["actor_type"] in _BY_NAME for actor in bypass),
        bypass=tuple(
            f"{actor['actor_type']} {actor.get('actor_id') or ''}".strip()
            for actor in bypass or []
            if actor["actor_type"] in _BY_NAME
        ),
    )


_BY_NAME = ("Integration", "DeployKey", "Team", "User")
"""Who is let bypass a ruleset by name; every other kind (a role, an organization's owners) takes in administrators."""


def _apps(checks: Json) -> dict[str, int | None]:
    """Return each required check with the app that must report it, None for any."""
    held = {check["context"]: check.get("app_id") for check in checks.get("checks") or []}
    return held or dict.fromkeys(checks.get("contexts") or [])


def _checks(held: Json, contexts: Iterable[str]) -> dict[str, object] | None:
    """Return the required checks to be set. GitHub takes `checks` or `contexts`, and refuses both (HTTP 422).

    A new one names no app: GitHub takes the one that has reported it. -1 keeps what any may report so.
    """
    apps = _apps(held)
    checks = [
        {"context": name, "app_id": -1 if apps[name] is None else apps[name]} if name in apps else {"context": name}
        for name in sorted(contexts)
    ]
    return {"strict": bool(held.get("strict")), "checks": checks} if checks or held else None


def _reviews(held: Json, goal: Policy) -> dict[str, object] | None:
    if not goal.pull_request:
        return None
    body: dict[str, object] = {
        "dismiss_stale_reviews": goal.dismiss_stale,
        "require_code_owner_reviews": bool(held.get("require_code_owner_reviews")),
        "require_last_push_approval": bool(held.get("require_last_push_approval")),
        "required_approving_review_count": goal.approvals,
    }
    for name in ("dismissal_restrictions", "bypass_pull_request_allowances"):
        if people := _people(held.get(name)):
            body[name] = people
    return body


def _people(raw: Json | None) -> dict[str, list[str]] | None:
    """Return whom a protection names, as it wants to be told; None for no such thing, which is not nobody."""
    if not raw:
        return None
    names = {"users": "login", "teams": "slug", "apps": "slug"}
    return {kind: [one[name] for one in raw.get(kind) or [] if one] for kind, name in names.items()}


def _other_commit(wanted: str, got: object) -> TurnoutError:
    return TurnoutError(
        "forge-answer",
        observed=f"the forge answered about commit {got}",
        expected=f"commit {wanted}",
        remedy="see checklist.forge.repository",
    )
