"""The pack `cold`: answers stay in time when the cache was emptied, and as declared while it is stopped."""

from __future__ import annotations

import time

from turnout.acceptance import hooks
from turnout.acceptance.asking import NOBODY, Answer, Asker
from turnout.acceptance.caches import Cold, Warm
from turnout.acceptance.findings import Findings
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.steps import Request
from turnout.acceptance.world import World, unique

PACK = "cold"
_PAUSE_S = 0.1


class Cooled:
    """Asks the pack of one candidate."""

    def __init__(self, world: World, asker: Asker, findings: Findings, given: Hooks) -> None:
        self._world = world
        self._asker = asker
        self._findings = findings
        self._hooks = given

    def ask(self, cold: Cold) -> None:
        """Ask everything; raises SpentError. A cache that was stopped is started again in any case."""
        asks = [one for one in cold.asks if self._is_warm(one)]
        if self._called("cache_empty", "it was not emptied"):
            for one in asks:
                self._judge(one, "emptied", ())
        if not self._hooks.cache_start:
            self._findings.not_known(PACK, "cache", "it was not stopped: --cache-stop and --cache-start COMMAND")
            return
        try:
            if self._called("cache_stop", "it was not stopped"):
                for one in asks:
                    self._judge(one, "stopped", one.degraded)
        finally:
            started = self._called("cache_start", "it was not started again")
        if started:
            self._recovered(cold, asks)

    def _is_warm(self, one: Warm) -> bool:
        """Tell whether it is answered in time while the cache is there; asked twice, as the first one fills it."""
        self._timed(one)
        answer, took = self._timed(one)
        if answer.accepted and took <= one.within_seconds:
            return True
        why = f"{_said(answer, took)} with the cache, so that its loss proves nothing"
        self._findings.not_known(PACK, one.request, why)
        return False

    def _judge(self, one: Warm, named: str, degraded: tuple[int, ...]) -> None:
        answer, took = self._timed(one)
        if took <= one.within_seconds and (answer.accepted or answer.status in degraded):
            return
        also = f" or {', '.join(map(str, degraded))}" if degraded else ""
        what = f"{_said(answer, took)}; declared: an answer{also} within {one.within_seconds:g} s"
        self._findings.add(PACK, one.request, f"cache {named}", what, answer=answer)

    def _recovered(self, cold: Cold, asks: list[Warm]) -> None:
        deadline = time.monotonic() + cold.recover_seconds
        for one in asks:
            while True:
                answer, took = self._timed(one)
                if answer.accepted and took <= one.within_seconds:
                    break
                if time.monotonic() >= deadline:
                    what = f"{_said(answer, took)}, {cold.recover_seconds:g} s after the cache was there again"
                    self._findings.add(PACK, one.request, "cache started again", what, answer=answer)
                    break
                time.sleep(_PAUSE_S)

    def _called(self, name: str, otherwise: str) -> bool:
        command, option = getattr(self._hooks, name), f"--{name.replace('_', '-')}"
        failed = hooks.call(command) if command else f"{option} COMMAND is not given"
        if failed:
            said = f"the command of {option}: {failed}" if command else failed
            self._findings.not_known(PACK, "cache", f"{otherwise}: {said}")
        return not failed

    def _timed(self, one: Warm) -> tuple[Answer, float]:
        who = (self._world.a if one.account else None) or NOBODY
        known = {**self._world.objects(), "unique": unique()}
        request = self._world.request(Request(one.request, one.json, one.form, one.headers), known)
        sent = self._asker.prepared(who, request)
        began = time.monotonic()
        return self._asker.again(sent), time.monotonic() - began


def _said(answer: Answer, took: float) -> str:
    return f"{answer.why or f'answered {answer.status}'} after {took:.1f} s"
