"""The pack `idempotent`: what is delivered twice, at once, out of order and again after a kill has one effect.

It is first delivered once: more deliveries prove something only where one has its effect.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from turnout.acceptance import hooks
from turnout.acceptance.asking import NOBODY, Answer, Asker
from turnout.acceptance.counting import Counter, UnreadableError
from turnout.acceptance.deliveries import Delivery
from turnout.acceptance.findings import Findings, Script
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.world import World, unique

PACK = "idempotent"
_AT_ONCE = 10
_POLL_S = (0.02, 0.25)
Sent = list[requests.PreparedRequest]


@dataclass
class _Seen:
    """What one way of delivering led to. `script` repeats it, given its requests."""

    growth: int
    leaves: Any
    answers: list[Answer] = field(default_factory=list)


class Idempotent:
    """Asks the pack of one candidate."""

    def __init__(self, world: World, asker: Asker, findings: Findings, counter: Counter, given: Hooks) -> None:
        self._world = world
        self._asker = asker
        self._findings = findings
        self._counter = counter
        self._hooks = given
        self.count = 0

    def ask(self, delivery: Delivery) -> None:
        """Ask one delivery; raises SpentError."""
        try:
            once = self._seen(delivery, self._accepted)
        except UnreadableError as error:
            self._not_known(delivery, str(error))
            return
        if once.growth == 0:
            self._not_known(
                delivery, f"one delivery had no effect within {delivery.within_seconds:g} s: correct its count, or "
                "start the candidate's workers",
            )  # fmt: skip
            return
        if once.growth != delivery.effect:
            self._found(delivery, "once", _counted(once, delivery), once, lambda sent: [[one] for one in sent])
            return
        self._compare(delivery, once, "twice", self._twice, lambda sent: [[one] for one in (*sent, *sent)])
        self._compare(
            delivery, once, "ten at once", self._at_once, lambda sent: [[one] * _AT_ONCE for one in sent]
        )  # fmt: skip
        if len(delivery.send) > 1:
            self._compare(
                delivery, once, "out of order", self._reversed, lambda sent: [[one] for one in (*sent[::-1], *sent)]
            )
        if self._hooks.kill:
            self._killed(delivery, once)
        else:
            self._not_known(delivery, "the workers were not killed in the middle of it: --kill COMMAND")

    def _killed(self, delivery: Delivery, once: _Seen) -> None:
        ways: list[tuple[str, Callable[[Sent], list[Answer]]]] = [("killed while asked", self._killed_in)]
        for seconds in delivery.kill_seconds:
            ways.append((f"killed {seconds:g} s after", functools.partial(self._killed_after, seconds=seconds)))
        for named, way in ways:
            self._compare(delivery, once, named, way, lambda sent: [[one] for one in (*sent, *sent)])

    # Ways of delivering ------------------------------------------------------------------------------------------

    def _accepted(self, sent: Sent) -> list[Answer]:
        answers = self._in_order(sent)
        refused = next((one for one in answers if not one.accepted), None)
        if refused is not None:
            said = refused.why or f"answered {refused.status}"
            raise UnreadableError(f"a delivery was refused ({said}), so that more of them prove nothing")
        return answers

    def _in_order(self, sent: Sent) -> list[Answer]:
        return [self._asker.again(one) for one in sent]

    def _twice(self, sent: Sent) -> list[Answer]:
        return [*self._in_order(sent), *self._in_order(sent)]

    def _at_once(self, sent: Sent) -> list[Answer]:
        return [answer for one in sent for answer in self._asker.together([one] * _AT_ONCE)]

    def _reversed(self, sent: Sent) -> list[Answer]:
        """Deliver the last first; what was refused for it comes again, as it does of a provider."""
        answers = [self._asker.again(one) for one in reversed(sent)]
        again = [one for one, answer in zip(sent, reversed(answers), strict=True) if not answer.accepted]
        return [*answers, *self._in_order(again)]

    def _killed_in(self, sent: Sent) -> list[Answer]:
        failed: list[str] = []
        killing = threading.Thread(target=lambda: failed.append(hooks.call(self._hooks.kill)))
        killing.start()
        self._in_order(sent)
        killing.join()
        return self._after_kill(failed[0] if failed else "it was not run", sent)

    def _killed_after(self, sent: Sent, seconds: float) -> list[Answer]:
        self._in_order(sent)
        time.sleep(seconds)
        return self._after_kill(hooks.call(self._hooks.kill), sent)

    def _after_kill(self, failed: str, sent: Sent) -> list[Answer]:
        if failed:
            raise UnreadableError(f"the command of --kill: {failed}")
        return self._in_order(sent)

    # What came of it ---------------------------------------------------------------------------------------------

    def _compare(
        self, delivery: Delivery, once: _Seen, named: str, way: Callable[[Sent], list[Answer]],
        script: Callable[[Sent], Script],
    ) -> None:  # fmt: skip
        try:
            seen = self._seen(delivery, way)
        except UnreadableError as error:
            self._not_known(delivery, f"{named}: {error}")
            return
        broken = next((one for one in seen.answers if one.status is None or one.status >= 500), None)
        if seen.growth != delivery.effect:
            self._found(delivery, named, _counted(seen, delivery), seen, script)
        elif seen.leaves != once.leaves and delivery.leaves is not None:
            what = f"{delivery.leaves.request} reads another value than after one delivery in order"
            self._found(delivery, named, what, seen, script)
        elif broken is not None:
            what = broken.why or f"answered {broken.status}, so that it is sent again and again"
            self._found(delivery, named, what, seen, script)

    def _seen(self, delivery: Delivery, way: Callable[[Sent], list[Answer]]) -> _Seen:
        """Deliver with objects and an id that are new; raises UnreadableError and SpentError."""
        variables = self._new_variables()
        before = self._counter.count(delivery.count, variables)
        answers = way(self._requests(delivery, variables))
        growth = self._settled(delivery, variables, before)
        leaves = self._counter.value(delivery.leaves, variables) if delivery.leaves is not None else None
        self.count += len(answers)
        return _Seen(growth, leaves, answers)

    def _settled(self, delivery: Delivery, variables: Mapping[str, Any], before: int) -> int:
        """Return how much the count grew, once the effect is there and no second one has followed."""
        deadline, pause = time.monotonic() + delivery.within_seconds, _POLL_S[0]
        while self._counter.count(delivery.count, variables) - before < delivery.effect:
            if time.monotonic() >= deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, _POLL_S[1])
        time.sleep(delivery.watch_seconds)
        return self._counter.count(delivery.count, variables) - before

    def _new_variables(self) -> dict[str, Any]:
        self._world.renew()
        return {**self._world.variables, "unique": unique()}

    def _requests(self, delivery: Delivery, variables: Mapping[str, Any]) -> Sent:
        who = (self._world.a if delivery.account else None) or NOBODY
        return [self._asker.prepared(who, self._world.request(one, variables)) for one in delivery.send]

    def _found(self, delivery: Delivery, named: str, what: str, seen: _Seen, script: Callable[[Sent], Script]) -> None:
        def again() -> Script:
            variables = self._new_variables()
            read = [self._counter.request(delivery.count, variables)] if delivery.count.request else []
            read += [self._counter.request(delivery.leaves, variables)] if delivery.leaves is not None else []
            return [*script(self._requests(delivery, variables)), *([one] for one in read)]

        self._findings.add(PACK, _named(delivery), named, what, answer=seen.answers[0], again=again)

    def _not_known(self, delivery: Delivery, why: str) -> None:
        self._findings.not_known(PACK, _named(delivery), why)


def _named(delivery: Delivery) -> str:
    """Return the operation that a delivery begins with, as a finding names it."""
    return f"{delivery.name}: {delivery.send[0].request}"


def _counted(seen: _Seen, delivery: Delivery) -> str:
    return f"counted {seen.growth} in place of {delivery.effect}"
