"""What every forge says, in the same words."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import wraps
from typing import Any, Protocol

from turnout.errors import TurnoutError
from turnout.forge.http import Client

LOOKED_AT = 5
"""So many of a branch's last pull requests, and of its last commits, are looked at for what they reported."""


class State(StrEnum):
    """How a check of a commit stands. Only `passed` is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    SKIPPED = "skipped"
    MISSING = "missing"


@dataclass(frozen=True)
class CommitCheck:
    """One check of one commit: the newest attempt of its name in its `source`.

    `source` tells apart what may bear one name: the suite or run of a workflow, a commit status. `number` is its id.
    """

    name: str
    state: State
    said: str
    at: datetime | None
    url: str = ""
    source: str = ""
    number: int = 0


@dataclass(frozen=True)
class Policy:
    """How a branch is protected.

    `contexts` are the checks that must pass, `bypass` whom it lets pass it over by name. Where administrators are not
    held to all of it, `for_admins` is what they are held to, if anything.
    """

    pull_request: bool
    approvals: int
    dismiss_stale: bool
    contexts: tuple[str, ...]
    admins_too: bool
    bypass: tuple[str, ...] = ()
    for_admins: Policy | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the policy for a diff."""
        return {
            "pull_request": self.pull_request,
            "approvals": self.approvals,
            "dismiss_stale": self.dismiss_stale,
            "contexts": sorted(self.contexts),
            "admins_too": self.admins_too,
        }


@dataclass(frozen=True)
class Review:
    """What the approvals of a pull request are worth.

    `approved_by` are those whose approval counts: of its last commit, by somebody who may write, who is neither its
    author nor a bot. `passed_over` says of the others why theirs does not.
    """

    pull_request: int
    approved_by: tuple[str, ...]
    author: str
    merged: bool
    stale: bool
    url: str = ""
    passed_over: tuple[str, ...] = ()


class Forge(Protocol):
    """What the checklist asks of a forge."""

    def checks(self, commit: str) -> list[CommitCheck]:
        """Return the checks of exactly this commit: for each name and source the newest."""
        ...

    def reported(self, commit: str) -> list[CommitCheck]:
        """Return the checks of a commit that is known to be there."""
        ...

    def heads(self, branch: str) -> list[str]:
        """Return the last commits of the last pull requests into a branch, the newest first."""
        ...

    def tips(self, branch: str) -> list[str]:
        """Return the last commits of a branch, the newest first."""
        ...

    def literal(self, context: str) -> str:
        """Return how a policy requires exactly this context."""
        ...

    def covers(self, pattern: str, context: str) -> bool:
        """Tell whether a context that a policy requires means a reported one."""
        ...

    def policy(self, branch: str) -> Policy | None:
        """Return how a branch is protected, None where it is not."""
        ...

    def set_policy(self, branch: str, wanted: Policy) -> None:
        """Protect a branch at least as `wanted` says."""
        ...

    def reviews(self, path: str, commit: str) -> list[Review]:
        """Return the pull requests through which a file came to be as it is at `commit`."""
        ...

    def sha256(self, path: str, commit: str) -> str | None:
        """Return the checksum of a file as it is at `commit`, None where there is none."""
        ...


Json = Mapping[str, Any]


def readable[T: type](forge: T) -> T:
    """Let every question to a forge end with a TurnoutError where an answer is not as its API documents it."""
    for name, method in list(vars(forge).items()):
        if callable(method) and not name.startswith("_"):
            setattr(forge, name, _told(method))
    return forge


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def asked(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise TurnoutError(
                "forge-answer",
                observed=f"an answer that cannot be read: {type(error).__name__}: {str(error)[:200]}",
                expected="answers as the forge's API documents them",
                remedy="see checklist.forge (kind, url, repository), and whether something else answers at that url",
            ) from error

    return asked


def judged(
    pull: Json, commit: Json, approvals: Mapping[str, Json], *, merged: bool, objection: Callable[[str, Json], str]
) -> Review:
    """Judge the approvals (by login) of the pull request that brought `commit`.

    `objection` says why a fresh approval by somebody else does not count ("may not write"), or nothing.
    """
    authors = {_login(pull).lower(), _login(commit, "author").lower()}
    head = (pull.get("head") or {}).get("sha")
    why = {}
    for name, review in approvals.items():
        if name.lower() in authors:
            why[name] = "is its author"
        elif name.endswith("[bot]"):
            why[name] = "is a bot"
        elif review.get("stale") or not head or review.get("commit_id") != head:
            why[name] = _STALE
        else:
            why[name] = objection(name, review)
    counted = tuple(sorted(name for name, reason in why.items() if not reason))
    return Review(
        pull_request=int(pull["number"]),
        approved_by=counted,
        author=_login(pull),
        merged=merged,
        stale=not counted and _STALE in why.values(),
        url=pull.get("html_url") or "",
        passed_over=tuple(f"{name} {reason}" for name, reason in sorted(why.items()) if reason),
    )


_STALE = "approved an earlier commit"


def _login(thing: Json, key: str = "user") -> str:
    return str((thing.get(key) or {}).get("login") or "")


def last_words(reviews: Iterable[Json], states: Collection[str]) -> dict[str, Json]:
    """Return each reviewer's last review, by login, among those in one of `states`."""
    return {_login(review): review for review in reviews if review["state"] in states and _login(review)}


def sha256_at(client: Client, repository: str, path: str, commit: str) -> str | None:
    """Return the checksum of a file as it is at `commit`, None where there is none.

    GitHub's and Gitea's contents API are one: `content` in base64.
    """
    answer = client.get(f"/repos/{repository}/contents/{urllib.parse.quote(path)}?ref={commit}", missing={})
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), str):
        return None  # nothing, or a folder
    if answer.get("encoding") not in ("base64", "", None):
        raise TurnoutError(
            "forge-answer",
            observed=f"the content of {path} is told as {answer['encoding']}: it is larger than this API tells",
            expected="a migration of at most 1 MB",
            remedy="load data by a program of the release, not by a migration, or let a statement be signed for it",
        )
    return hashlib.sha256(base64.b64decode(answer["content"])).hexdigest()


def moment(value: object) -> datetime | None:
    """Return a time of an API's answer; None for none (Gitea writes 1970 or the year 1 for none)."""
    if not isinstance(value, str) or not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None and found.year > 1971 else None


def newest(checks: list[CommitCheck]) -> list[CommitCheck]:
    """Return one check for each name and source: the newest; of one time, or of none, the one with the highest id."""
    best: dict[tuple[str, str], CommitCheck] = {}
    for check in checks:
        held = best.setdefault((check.name, check.source), check)
        by_time = check.at is not None and held.at is not None and check.at != held.at
        if check.at > held.at if by_time else check.number > held.number:  # type: ignore[operator]
            best[check.name, check.source] = check
    return list(best.values())
