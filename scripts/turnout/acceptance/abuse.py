"""The pack `abuse`: what must be refused is refused as declared, others are answered meanwhile, no secret is shown."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from turnout.acceptance import raw
from turnout.acceptance.abuses import Abuse, Attack, Malformed, ManyHeaders, Slow, TooLarge, Tries
from turnout.acceptance.asking import NOBODY, Answer, Asker, Identity, SpentError, body_bytes
from turnout.acceptance.canaries import Logs
from turnout.acceptance.counting import Counter, UnreadableError
from turnout.acceptance.curl import worded
from turnout.acceptance.declared import Acceptance
from turnout.acceptance.deliveries import Delivery
from turnout.acceptance.findings import Findings, Script
from turnout.acceptance.steps import Request
from turnout.acceptance.world import World, unique

PACK = "abuse"
Judged = TooLarge | ManyHeaders | Slow | Malformed
_HONEST_PAUSE_S = 0.05
_SLOW_PAUSE_S = 0.2
_LOGGED_S = 0.5


class Abused:
    """Asks the pack of one candidate."""

    def __init__(self, world: World, asker: Asker, findings: Findings, counter: Counter, logs: Logs) -> None:
        self._world = world
        self._asker = asker
        self._findings = findings
        self._counter = counter
        self._logs = logs

    def ask(self, declared: Acceptance) -> None:
        """Ask everything; raises SpentError."""
        abuse = declared.abuse
        assert abuse is not None  # noqa: S101 - the declaration was checked
        if abuse.honest is None:
            self._findings.not_known(PACK, "honest", "nothing says what another client asks meanwhile: abuse.honest")
        for one in abuse.bodies:
            for named, chunks in (("body", False), ("chunked body", True)):
                with self._meanwhile(abuse, f"a {named} too large"):
                    self._too_large(one, named, chunks=chunks)
        for many in abuse.headers:
            with self._meanwhile(abuse, "too many headers"):
                self._many_headers(many)
        for slow in abuse.slow:
            with self._meanwhile(abuse, "slow requests"):
                self._slow(slow)
        for malformed in abuse.malformed:
            with self._meanwhile(abuse, "broken JSON"):
                self._malformed(malformed)
        for tries in abuse.tries:
            with self._meanwhile(abuse, "repeated requests"):
                self._tries(tries)
        for delivery in declared.idempotent:
            if any(one.signed is not None for one in delivery.send):
                self._signatures(delivery, abuse.signatures)
        self._canaries()

    # What is refused ---------------------------------------------------------------------------------------------

    def _too_large(self, attack: TooLarge, named: str, *, chunks: bool) -> None:
        sent = self._prepared(attack)
        first = body_bytes(sent.body)[: attack.bytes]
        filler = b" " if "json" in str(sent.headers.get("Content-Type", "")) else b"x"

        def pieces() -> Iterator[bytes]:
            left = attack.bytes - len(first)
            yield first
            while left > 0:
                yield filler * min(left, raw.PIECE)
                left -= raw.PIECE

        body = raw.chunked(one for one in pieces() if one) if chunks else pieces()
        length = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {attack.bytes}"
        answer = self._raw(sent, [raw.head(sent, length)], body)
        what = f"a {named} of {attack.bytes} bytes"
        self._judged(
            attack, named, what, answer,
            lambda: self._with_body(
                self._prepared(attack), f"head -c {attack.bytes} /dev/zero | tr '\\0' '{filler.decode()}'",
                *(["-H 'Transfer-Encoding: chunked'"] if chunks else []),
            ),
        )  # fmt: skip

    def _many_headers(self, attack: ManyHeaders) -> None:
        sent = self._prepared(attack)
        body = body_bytes(sent.body)
        more = [f"X-Header-{number}: {number}" for number in range(attack.count)]
        answer = self._raw(sent, [raw.head(sent, *more, f"Content-Length: {len(body)}")], [body])
        again = f"$(seq -f '-HX-Header-%.0f:1' {attack.count})"
        self._judged(
            attack, "headers", f"{attack.count} headers", answer,
            lambda: f"{self._asker.curl(self._prepared(attack))} {again}",
        )  # fmt: skip

    def _slow(self, attack: Slow) -> None:
        for named in ("slow head", "slow body"):
            sent = self._prepared(attack)
            whole = raw.head(sent, f"Content-Length: {round(2 * attack.seconds / _SLOW_PAUSE_S)}")
            first = whole[: -len("\r\n\r\n")] if named == "slow head" else whole
            last = b"\r\nX-Slow: x" if named == "slow head" else b" "

            def endless(first: bytes = first, last: bytes = last) -> Iterator[bytes]:
                yield first
                while True:
                    yield last

            ask = functools.partial(self._raw, sent, [], seconds=attack.seconds, pause=_SLOW_PAUSE_S)
            with ThreadPoolExecutor(attack.connections) as pool:
                answers = list(pool.map(lambda _, ask=ask: ask(endless()), range(attack.connections)))
            worst = next((one for one in answers if one.response is None and one.why != raw.CLOSED), answers[0])
            if worst.response is None and worst.why == raw.CLOSED:
                continue
            self._judged(
                attack, named, f"a {named}", worst,
                lambda: self._streamed(self._prepared(attack), attack.seconds),
            )  # fmt: skip

    def _malformed(self, attack: Malformed) -> None:
        text = body_bytes(self._prepared(attack).body)
        broken = {
            "cut off": text[: max(1, len(text) - 1)],
            "followed by more": text + b"}]",
            "no text": text[:-1] + b"\xff\xfe" + text[-1:],
            "nested without end": b"[" * 20_000,
            "empty": b"",
        }
        for named, body in broken.items():
            answer = self._asker.again(_with(self._prepared(attack), body))
            self._judged(
                attack, f"JSON {named}", f"JSON that is {named}", answer,
                lambda body=body: self._asker.curl(_with(self._prepared(attack), body)),  # type: ignore[misc]
            )  # fmt: skip

    def _tries(self, attack: Tries) -> None:
        passed: list[Answer] = []
        for _ in range(attack.times):
            answer = self._asker.again(self._prepared(attack, renewed=False))
            if answer.status not in attack.refused:
                passed.append(answer)
            if answer.status is None or answer.status >= 500:
                break
        last = passed[-1] if passed else None
        if last is not None and (last.status is None or last.status >= 500):
            self._found(attack, "repeated", last.why or f"answered {last.status}", last, [[last.sent]])
        elif last is not None and len(passed) > attack.most:
            what = f"{len(passed)} of {attack.times} were not refused by {_listed(attack.refused)}"
            what += f"; at most {attack.most} may pass"
            self._found(attack, "repeated", what, last, [[last.sent] * attack.times])

    def _signatures(self, delivery: Delivery, refused: Sequence[int]) -> None:
        named = f"{delivery.name}: {delivery.send[0].request}"
        for one in delivery.send:
            if one.signed is None:
                continue
            for wrong in ("no signature", "a signature by another secret", "the signature of another body"):
                self._world.renew()
                variables = {**self._world.variables, "unique": unique()}
                sent = self._asker.prepared(
                    (self._world.a if delivery.account else None) or NOBODY, self._world.request(one, variables)
                )
                if wrong == "no signature":
                    del sent.headers[one.signed.header]
                elif wrong == "a signature by another secret":
                    value = str(sent.headers[one.signed.header])
                    sent.headers[one.signed.header] = value[:-1] + ("0" if value[-1] != "0" else "1")
                else:
                    sent = _with(sent, body_bytes(sent.body) + b" ")
                try:
                    before = self._counter.count(delivery.count, variables)
                    answer = self._asker.again(sent)
                    time.sleep(delivery.watch_seconds)
                    grown = self._counter.count(delivery.count, variables) - before
                except UnreadableError as error:
                    self._findings.not_known(PACK, named, f"{wrong}: {error}")
                    continue
                if answer.status not in refused or grown:
                    what = f"{wrong}: {answer.why or f'answered {answer.status}'}" + (
                        f", and counted {grown}" if grown else f"; declared: {_listed(refused)}"
                    )
                    self._findings.add(PACK, named, "signature", what, answer=answer)

    # How others fare ---------------------------------------------------------------------------------------------

    @contextmanager
    def _meanwhile(self, abuse: Abuse, during: str) -> Iterator[None]:
        """Ask what is honest for as long as the block lasts."""
        if abuse.honest is None:
            yield
            return
        honest, ended, seen = abuse.honest, threading.Event(), list[tuple[float, Answer]]()
        request = self._counter.request(honest, {**self._world.objects(), "unique": unique()})

        def asking() -> None:
            while not seen or not ended.wait(_HONEST_PAUSE_S):
                began = time.monotonic()
                try:
                    (answer,) = self._asker.together([request])
                except SpentError:
                    return
                seen.append((time.monotonic() - began, answer))

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        for took, answer in sorted(seen, key=lambda one: -one[0]):
            if not answer.accepted or took > honest.within_seconds:
                said = answer.why or f"answered {answer.status}"
                what = f"{said} after {took:.1f} s; declared: {honest.within_seconds:g} s"
                self._findings.add(PACK, honest.request, f"during {during}", what, answer=answer)
                break

    # What is shown -----------------------------------------------------------------------------------------------

    def _canaries(self) -> None:
        for name, answer in self._asker.shown.items():
            what = f"the answer {answer.status} shows the canary {name}"
            self._findings.add(PACK, _of(answer.sent), f"canary {name}", what, answer=answer)
        if not self._asker.watched:
            return
        if not self._logs.given:
            why = "no log was looked at for canaries: --log FILE, or --log-command COMMAND"
            self._findings.not_known(PACK, "canaries", why)
            return
        time.sleep(_LOGGED_S)
        for source, text, failed in self._logs.read():
            if failed:
                self._findings.not_known(PACK, "canaries", f"{source}: {failed}")
            for name, value in self._asker.watched.items():
                carrier = self._asker.carried.get(name)
                if carrier is not None and value in text:
                    what = f"{source} shows the canary {name}"
                    self._findings.add(PACK, _of(carrier.sent), f"log of canary {name}", what, answer=carrier)

    # Requests ----------------------------------------------------------------------------------------------------

    def _who(self, attack: Attack) -> Identity:
        return (self._world.a if attack.account else None) or NOBODY

    def _prepared(self, attack: Attack, *, renewed: bool = True) -> requests.PreparedRequest:
        variables: Mapping[str, Any] = self._world.objects() if renewed else self._world.variables
        return self._asker.prepared(self._who(attack), self._world.request(attack, {**variables, "unique": unique()}))

    def _raw(
        self, sent: requests.PreparedRequest, first: list[bytes], body: Any, seconds: float = 0, pause: float = 0
    ) -> Answer:
        def pieces() -> Iterator[bytes]:
            yield from first
            yield from body

        return self._asker.raw(
            sent, lambda: raw.send(
                sent, pieces(), seconds=seconds or self._asker.answer_seconds, ca_file=self._asker.ca_file, pause=pause
            )
        )  # fmt: skip

    def _judged(self, attack: Judged, field: str, what: str, answer: Answer, again: Callable[[], str]) -> None:
        if answer.status not in attack.refused:
            said = answer.why or f"answered {answer.status}"
            self._findings.add(
                PACK,
                attack.request,
                field,
                f"{what}: {said}; declared: {_listed(attack.refused)}",
                answer=answer,
                again=again,
            )

    def _found(self, attack: Request, field: str, what: str, answer: Answer, script: Script) -> None:
        self._findings.add(PACK, attack.request, field, what, answer=answer, again=lambda: script)

    def _with_body(self, sent: requests.PreparedRequest, filler: str, *more: str) -> str:
        first = worded(body_bytes(sent.body).decode(errors="replace"), self._asker.secrets)
        bare = _with(sent, b"")
        return f"(printf %s {first}; {filler}) | {' '.join([self._asker.curl(bare), *more])} --data-binary @-"

    def _streamed(self, sent: requests.PreparedRequest, seconds: float) -> str:
        bare = self._asker.curl(_with(sent, b""))
        return f"(sleep {seconds:g}; printf x) | {bare} --max-time {seconds:g} -T -"


def _with(sent: requests.PreparedRequest, body: bytes) -> requests.PreparedRequest:
    """Return a request with another body, and nothing else changed."""
    made = sent.copy()
    made.body = body
    made.headers["Content-Length"] = str(len(body))
    return made


def _of(sent: requests.PreparedRequest) -> str:
    return f"{sent.method} {urlsplit(str(sent.url)).path}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
