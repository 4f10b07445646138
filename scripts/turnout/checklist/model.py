"""The words of the checklist: a verdict, a result with its evidence, and what is known when it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from turnout.service.model import Service

Facts = Mapping[str, Any]


class Verdict(StrEnum):
    """What a check came to. Only `pass` is a pass: not known is none, and nothing is skipped in silence."""

    PASS = "pass"  # noqa: S105 - a word, no password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_CONFIGURED = "not configured"
    """Nobody said what is to be looked at. Listed, and no obstacle."""


@dataclass(frozen=True)
class Result:
    """One row of the table.

    `subject` tells which of several (a host, an SLO, a migration). `at_s` is when the evidence is from, in seconds
    since the epoch (None: unknown), `seconds` how long asking took. No text may hold a secret.
    """

    check: str
    verdict: Verdict
    evidence: str
    remedy: str = ""
    subject: str = ""
    at_s: float | None = None
    seconds: float | None = None
    waiver: Waiver | None = None

    @property
    def name(self) -> str:
        """Return the name that a waiver uses: `check` or `check@subject`."""
        return f"{self.check}@{self.subject}" if self.subject else self.check

    @property
    def obstacle(self) -> bool:
        """Whether the release stops here."""
        return self.verdict in (Verdict.FAIL, Verdict.UNKNOWN) and self.waiver is None

    def waived(self, waiver: Waiver) -> Result:
        """Return the same result with a waiver on it."""
        return replace(self, waiver=waiver)

    def as_dict(self, now_s: float) -> dict[str, object]:
        """Return the result for JSON, with the age of its evidence at `now_s`."""
        return {
            "check": self.check,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "obstacle": self.obstacle,
            "evidence": self.evidence,
            "age_s": None if self.at_s is None else round(max(0.0, now_s - self.at_s), 1),
            "seconds": self.seconds,
            "remedy": self.remedy,
            "waiver": None if self.waiver is None else self.waiver.as_dict(),
        }


@dataclass(frozen=True)
class Waiver:
    """Somebody's word that one check may be passed over for one release, until a moment."""

    check: str
    reason: str
    who: str
    release: str
    expires_s: float

    def covers(self, result: Result) -> bool:
        """Whether the waiver names this result: the check as a whole, or this subject of it."""
        return self.check in (result.check, result.name)

    def as_dict(self) -> dict[str, object]:
        """Return the waiver as ledger and report keep it."""
        return {
            "check": self.check,
            "reason": self.reason,
            "who": self.who,
            "release": self.release,
            "expires_s": self.expires_s,
        }


@dataclass(frozen=True)
class Probe:
    """A question to a host. `arguments` may hold secrets: they travel in a parameter that is never shown."""

    id: str
    kind: str
    limit_s: float
    arguments: Facts = field(repr=False, default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the probe as the module on the host takes it."""
        return {"id": self.id, "kind": self.kind, "limit_s": self.limit_s, "arguments": dict(self.arguments)}


@dataclass(frozen=True)
class HostSeen:
    """What one host answered; `unreachable` holds the reason where Ansible did not reach it.

    `asked_s` and `answered_s` are the controller's clock around the questions. `clock` is (controller's, host's,
    controller's) clock around one quick question.
    """

    answers: Facts = field(default_factory=dict)
    asked_s: float = 0.0
    answered_s: float = 0.0
    clock: tuple[float, float, float] | None = None
    unreachable: str | None = None


@dataclass(frozen=True)
class Situation:
    """Everything that is known before anything is judged.

    `groups` maps a group to its hosts; `manifest` is the release's manifest, as a mapping; `seen` maps a host to what
    it answered; `environment_digests` maps each variable of the inventory to its digest, keyed as on the hosts.
    """

    service: Service
    manifest: Facts
    groups: Mapping[str, Sequence[str]]
    now_s: float
    seen: Mapping[str, HostSeen] = field(default_factory=dict)
    environment_digests: Mapping[str, str] = field(default_factory=dict)

    def hosts(self, *groups: str) -> list[str]:
        """Return the hosts of these groups, each once, in the inventory's order."""
        return list(dict.fromkeys(host for group in groups for host in self.groups.get(group, ())))

    @property
    def release(self) -> str:
        """The version to be released."""
        return str(self.manifest.get("version") or "")


_REFUSED = "refused"


def answer_of(situation: Situation, host: str, probe: str) -> tuple[Facts | None, Verdict, str, float | None]:
    """Return (data, verdict, words, seconds) of a probe's answer.

    With data the verdict is PASS and to be judged further. Without, it is FAIL where the machine itself said that
    nothing is in service there, and UNKNOWN for anything else.
    """
    seen = situation.seen.get(host)
    if seen is None:
        return None, Verdict.UNKNOWN, "the host was not asked", None
    if seen.unreachable is not None:
        return None, Verdict.UNKNOWN, f"{host} could not be reached", None
    answer = seen.answers.get(probe)
    if answer is None:
        return None, Verdict.UNKNOWN, f"{host} gave no answer to this question", None
    seconds = answer.get("seconds")
    if answer.get("ok"):
        data: Facts = answer.get("data") or {}
        return data, Verdict.PASS, "", seconds
    problem = answer.get("problem") or {}
    kind, text = str(problem.get("kind")), str(problem.get("text"))
    verdict = Verdict.FAIL if kind == _REFUSED else Verdict.UNKNOWN
    words = {
        _REFUSED: f"not in service: {text}",
        "timeout": f"no answer: {text}",
        "unreachable": f"out of reach: {text}",
        "credentials": f"login refused: {text}",
    }.get(kind, text)
    return None, verdict, words, seconds


def seen_at(situation: Situation, host: str) -> float | None:
    """Return when a host was asked, on the controller's clock: an upper bound of its evidence's age."""
    seen = situation.seen.get(host)
    return seen.asked_s if seen is not None and seen.unreachable is None else None
