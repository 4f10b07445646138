"""From the configuration to the questions for each host, and from all answers to one table of results."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.checklist import waivers
from turnout.checklist.catalog import CATALOG, NAMES
from turnout.checklist.checks import forge, hosts, migrations, monitoring, outside, postgres, redis, release
from turnout.checklist.config import Checklist
from turnout.checklist.engine import Task
from turnout.checklist.model import Probe, Result, Situation, Verdict
from turnout.faults import Fault


def probes(config: Checklist, situation: Situation, salt: str) -> dict[str, list[Probe]]:
    """Return every host's questions. They hold secrets."""
    asked: dict[str, list[Probe]] = {}
    for host, probe in (
        *hosts.probes(config, situation),
        *postgres.probes(config, situation),
        *redis.probes(config, situation),
        *outside.probes(config, situation),
        *monitoring.probes(config, situation),
        *release.probes(config, situation, salt),
    ):
        asked.setdefault(host, []).append(probe)
    return asked


def tasks(config: Checklist, situation: Situation, artifact: Path | None) -> list[Task]:
    """Return what the controller looks at itself, while the hosts look at themselves.

    `artifact` is the verified artifact on the controller.
    """
    found = [*forge.tasks(config, situation), *migrations.tasks(config, situation, artifact)]
    if config.s3 is not None:
        s3, limit_s = config.s3, config.limit_of("s3")
        found.append(Task("s3", limit_s, lambda: outside.s3_probe(s3, limit_s, situation.now_s)))
    return found


def digests(environment: Mapping[str, str], salt: str) -> dict[str, str]:
    """Return each variable's digest, as the hosts make it of what is laid."""
    key = bytes.fromhex(salt)
    return {name: hmac.digest(key, value.encode(), hashlib.sha256).hex()[:16] for name, value in environment.items()}


def as_plain(result: Result) -> dict[str, object]:
    """Return a result of the controller's own as plain data, on its way to where it is judged."""
    names = ("check", "evidence", "remedy", "subject", "at_s", "seconds")
    return {**{name: getattr(result, name) for name in names}, "verdict": result.verdict.value}


def from_plain(value: Mapping[str, Any]) -> Result:
    """Return the result that `as_plain` made plain."""
    return Result(**{**value, "verdict": Verdict(value["verdict"])})


@dataclass(frozen=True)
class Outcome:
    """The whole checklist: every result, in the order of the catalogue, and waivers that do not count."""

    results: tuple[Result, ...]
    refused_waivers: tuple[Fault, ...]

    @property
    def obstacles(self) -> tuple[Result, ...]:
        """The rows that stop the release."""
        return tuple(result for result in self.results if result.obstacle)

    @property
    def passed(self) -> bool:
        """Whether the release may begin."""
        return not self.obstacles and not self.refused_waivers


def judge(config: Checklist, situation: Situation, own: Sequence[Result]) -> Outcome:
    """Judge everything that was seen; `own` are the results of the controller's tasks.

    Waivers of which one is refused do not count at all: whoever wrote one badly is told before anything is let pass.
    """
    results = [
        *migrations.judge(config, situation, list(own)),
        *hosts.judge(config, situation),
        *postgres.judge(config, situation),
        *redis.judge(config, situation),
        *outside.judge(config, situation),
        *monitoring.judge(config, situation),
        *release.judge(config, situation),
    ]
    results = [result for result in results if result.check not in config.skip]
    results += not_configured(results, config.skip)
    refused = waivers.refusals(config.waivers, release=situation.release, now_s=situation.now_s)
    if not refused:
        results = waivers.apply(results, config.waivers)
    order = {name: index for index, name in enumerate(NAMES)}
    results.sort(key=lambda result: order[result.check])
    return Outcome(tuple(results), tuple(refused))


def not_configured(results: Iterable[Result], skip: Sequence[str] = ()) -> list[Result]:
    """Return a row for every check that nothing was said about or in `skip`: none is skipped in silence."""
    told = {result.check for result in results}
    return [
        Result(entry.name, Verdict.NOT_CONFIGURED, "switched off: checklist.skip")
        if entry.name in skip
        else Result(entry.name, Verdict.NOT_CONFIGURED, entry.passes, _needs(entry.needs))
        for entry in CATALOG
        if entry.name not in told
    ]


def _needs(needs: str) -> str:
    return f"to have it looked at: {needs if ' ' in needs else f'checklist.{needs}'}" if needs else ""
