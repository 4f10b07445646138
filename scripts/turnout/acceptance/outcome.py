"""What a run of packs found, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

FORMAT = 1
PASS, FAIL, NOT_KNOWN = "pass", "fail", "not known"


@dataclass(frozen=True)
class Finding:
    """One thing that broke. `field` is where (`response.title`, `status`, `as B`), `curl` repeats it.

    `status` is the HTTP status that was answered, None where nothing was. No field holds a secret.
    """

    pack: str
    operation: str
    field: str
    what: str
    status: int | None
    curl: str
    times: int = 1


@dataclass(frozen=True)
class Unknown:
    """What could not be asked, or whose answer proves nothing."""

    pack: str
    operation: str
    why: str


@dataclass(frozen=True)
class Outcome:
    """The whole. `variables` holds the secrets that `curl` commands name; it is never written with the rest.

    `questions_sha256` is of declaration and document, `stable_sha256` of stable's document. `artifact_sha256` is the
    release's, where it is known.
    """

    name: str | None
    version: str | None
    artifact_sha256: str | None
    questions_sha256: str
    stable_sha256: str | None
    packs: tuple[str, ...]
    reading: bool
    seed: int
    url: str
    began_at: datetime
    took_s: float
    requests: int
    asked: Mapping[str, int]
    findings: tuple[Finding, ...]
    unknown: tuple[Unknown, ...]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> str:
        """`fail` with a finding, `not known` where something was not asked, else `pass`."""
        return FAIL if self.findings else NOT_KNOWN if self.unknown else PASS

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as its JSON has it."""
        return {
            "format": FORMAT,
            "release": {"name": self.name, "version": self.version, "sha256": self.artifact_sha256},
            "questions_sha256": self.questions_sha256,
            "stable_sha256": self.stable_sha256,
            "verdict": self.verdict,
            "packs": list(self.packs),
            "reading": self.reading,
            "seed": self.seed,
            "url": self.url,
            "began_at": self.began_at.isoformat(),
            "took_s": round(self.took_s, 3),
            "requests": self.requests,
            "asked": dict(self.asked),
            "findings": [asdict(one) for one in self.findings],
            "unknown": [asdict(one) for one in self.unknown],
        }
