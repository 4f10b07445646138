"""Collects what packs find: each thing once, with the shortest request that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import requests

from turnout.acceptance.asking import Answer, Asker, SpentError
from turnout.acceptance.outcome import Finding, Unknown
from turnout.acceptance.world import World, reads
from turnout.errors import TurnoutError

Script = list[list[requests.PreparedRequest]]
"""Requests that follow each other; those of an inner list go out at once, and are the same."""
Again = Callable[[], requests.PreparedRequest | Script | str]
"""A request, several, or the command itself."""


@dataclass
class _Found:
    answer: Answer
    again: Again | None
    times: int = 1

    @property
    def size(self) -> int:
        return len(self.answer.sent.url or "") + len(cast("Any", self.answer.sent.body) or b"")


class Findings:
    """What was found so far, and what is not known."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str], _Found] = {}
        self.unknown: list[Unknown] = []

    def add(
        self, pack: str, operation: str, field: str, what: str, *,
        answer: Answer, again: Again | None = None,
    ) -> None:  # fmt: skip
        """Note one; `again` makes the request anew, with objects that are there."""
        key, new = (pack, operation, field, what), _Found(answer, again)
        before = self._found.get(key)
        if before is not None:
            new = new if new.size < before.size else before
            new.times = before.times + 1
        self._found[key] = new

    def has(self, pack: str, operation: str, field: str) -> bool:
        """Tell whether something was found there."""
        return (pack, operation, field) in {key[:3] for key in self._found}

    def of(self, pack: str, operation: str) -> bool:
        """Tell whether anything was found of an operation."""
        return (pack, operation) in {key[:2] for key in self._found}

    def not_known(self, pack: str, operation: str, why: str) -> None:
        """Note what could not be asked."""
        one = Unknown(pack, operation, why)
        if one not in self.unknown:
            self.unknown.append(one)

    def finished(self, world: World, asker: Asker) -> tuple[tuple[Finding, ...], dict[str, str]]:
        """Return the findings with their commands, and the secrets that these name.

        A request that changes something gets an object that no other request uses up; what reads comes last.
        """
        commands: dict[tuple[str, str, str, str], str] = {}
        for key, one in sorted(self._found.items(), key=lambda row: reads(str(row[1].answer.sent.method))):
            sent: requests.PreparedRequest | Script | str = one.answer.sent
            if one.again is not None:
                world.used_up = world.used_up or not reads(str(one.answer.sent.method))
                try:
                    world.objects()
                    sent = one.again()
                except (SpentError, TurnoutError):
                    pass  # nothing can be made any more: the request as it was sent
            commands[key] = _command(asker, sent)
        return tuple(
            Finding(*key[:3], asker.hidden(key[3]), one.answer.status, commands[key], one.times)
            for key, one in self._found.items()
        ), asker.variables() if commands else {}


def _command(asker: Asker, sent: requests.PreparedRequest | Script | str) -> str:
    """Return the command of a request, or of several that follow each other."""
    if isinstance(sent, str):
        return asker.hidden(sent)
    if isinstance(sent, requests.PreparedRequest):
        return asker.curl(sent)
    groups = [(asker.curl(one[0]), len(one)) for one in sent]
    return "; ".join(
        one if times == 1 else f"(for _ in $(seq {times}); do {one} & done; wait)" for one, times in groups
    )
