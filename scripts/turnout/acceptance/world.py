"""The accounts and objects of a run: made by the recipe, and made again when a question used them up."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import requests
from requests.cookies import RequestsCookieJar

from turnout.acceptance.asking import NOBODY, Answer, Asker, Identity, body_bytes, cookie_secrets, variable
from turnout.acceptance.declared import Acceptance
from turnout.acceptance.recipe import filled, found, names_in
from turnout.acceptance.steps import READS, Request, Signed, Step
from turnout.errors import TurnoutError

_SHORTEST_SECRET = 4
_OF_TURNOUT = {"account", "unique", "mark"}


def unique() -> str:
    """Return a text that no run has used."""
    return secrets.token_hex(6)


class World:
    """Accounts A and B, nobody, and what A has. Without accounts in the declaration, or while reading, only nobody."""

    def __init__(self, asker: Asker, declared: Acceptance, base: str) -> None:
        self.asker = asker
        self.declared = declared
        self.base = f"{asker.url}{base}"
        self.mark = f"mark{secrets.token_hex(10)}"
        self.a: Identity | None = None
        self.b: Identity | None = None
        self.variables: dict[str, Any] = {}
        self.used_up = True

    def begin(self) -> None:
        """Make both accounts; raises `TurnoutError` where the recipe does not do it."""
        if self.declared.accounts is None or self.asker.reading:
            return
        self.a, self.b = self._account("a", self.mark), self._account("b", f"mark{secrets.token_hex(10)}")
        self.asker.keep_secret(self.a)
        self.asker.keep_secret(self.b)
        if self.a.headers == self.b.headers and self.a.cookies.get_dict() == self.b.cookies.get_dict():
            raise TurnoutError(
                "acceptance-same-account",
                observed="both accounts have the same headers and cookies",
                expected="two accounts, which are told apart by accounts.headers or by cookies",
                remedy="give a and b other variables, and headers such as Authorization: Bearer ${token}",
            )

    def objects(self) -> Mapping[str, Any]:
        """Return A's variables with those of its objects, which are made again where they were used up."""
        if self.used_up and self.a is not None:
            self.renew()
        return self.variables

    def renew(self) -> None:
        """Make A's objects again; raises `TurnoutError`."""
        if self.a is None:
            return
        variables = {**self.a.variables, "unique": unique()}
        jar = self.a.cookies.copy()
        for index, step in enumerate(self.declared.objects):
            self._step(f"objects[{index}]", step, self.a, variables, jar)
        self.variables = variables
        self.used_up = False

    def variables_of(self, who: Identity) -> Mapping[str, Any]:
        """Return what bodies are filled with: A's objects in any case, and a mark that is A's only where A asks."""
        if who is self.a or self.b is None:
            return self.variables
        return {**self.variables, **self.b.variables}

    def parameter(self, name: str) -> Any:
        """Return what of A stands in a parameter, None where nothing does."""
        text = self.declared.parameters.get(name)
        if text is None or any(one not in self.variables for one in names_in(text)):
            return None
        return filled(text, self.variables)

    def _account(self, side: str, mark: str) -> Identity:
        accounts = self.declared.accounts
        assert accounts is not None  # noqa: S101 - `begin` has looked
        given = getattr(accounts, side)
        variables: dict[str, Any] = {**given, "account": side, "unique": unique(), "mark": mark}
        jar = RequestsCookieJar()
        for index, step in enumerate(accounts.steps):
            self._step(f"accounts.steps[{index}]", step, NOBODY, variables, jar)
        headers = {name: str(filled(text, variables)) for name, text in accounts.headers.items()}
        known = [
            (str(value), variable(side, name))
            for name, value in variables.items()
            if name not in _OF_TURNOUT and len(str(value)) >= _SHORTEST_SECRET
        ]
        known += [
            (headers[name], variable(side, name))
            for name, text in accounts.headers.items()
            if headers[name] and not any(len(str(variables[one])) >= _SHORTEST_SECRET for one in names_in(text))
        ]
        return Identity(side.upper(), headers, (*known, *cookie_secrets(side, jar)), jar, variables)

    def _step(self, where: str, step: Step, who: Identity, variables: dict[str, Any], jar: RequestsCookieJar) -> None:
        """Ask one request of the recipe, and put what it captures into `variables`."""
        account = str(variables["account"]).upper()
        request = self.request(step, variables)
        answer = self.asker.ask(Identity(account, who.headers, (), jar, {}), request, jar)
        if answer.status is None or not self._right(step, answer):
            expected = step.status or "a status from 200 to 299"
            raise _failed(
                where, step, account, observed=answer.why or f"answered {answer.status}", expected=f"{expected}",
                remedy=f"correct acceptance.{where} in acceptance/acceptance.yml, or the candidate",
            )  # fmt: skip
        for name, place in step.capture.items():
            variables[name] = self._captured(where, step, account, name=name, place=place, answer=answer)

    @staticmethod
    def _right(step: Step, answer: Answer) -> bool:
        return answer.status == step.status if step.status else answer.status in range(200, 300)

    @staticmethod
    def _captured(where: str, step: Step, account: str, *, name: str, place: str, answer: Answer) -> Any:
        assert answer.response is not None  # noqa: S101 - the status was right
        kind, _, header = place.partition(":")
        try:
            if kind == "header":
                return answer.response.headers[header]
            value = found(answer.response.json(), place)
        except (LookupError, ValueError):
            value = None
        if isinstance(value, str | int | float):
            return value
        raise _failed(
            where, step, account, observed=f"an answer with no text or number at {place}",
            expected="what the recipe captures",
            remedy=f"correct acceptance.{where}.capture.{name} in acceptance/acceptance.yml",
        )  # fmt: skip

    def request(self, step: Request, variables: Mapping[str, Any]) -> requests.Request:
        """Return a request of the recipe, filled in."""
        path, _, query = str(filled(step.path, variables, in_path=True)).partition("?")
        made = requests.Request(
            step.method,
            f"{self.base}{path}",
            headers={name: str(filled(text, variables)) for name, text in step.headers.items()},
            params=parse_qsl(query, keep_blank_values=True),
            json=filled(step.json, variables),
            data={name: str(filled(text, variables)) for name, text in step.form.items()},
        )
        signed = getattr(step, "signed", None)
        return made if signed is None else sign(made, signed, variables)


def sign(request: requests.Request, signed: Signed, variables: Mapping[str, Any]) -> requests.Request:
    """Return a request with its signature, over the body as it is sent."""
    sent = requests.Request(request.method, request.url, json=request.json, data=request.data).prepare()
    body = body_bytes(sent.body)
    known = {"time": str(int(time.time())), "body": body.decode(), "signature": ""}
    secret = str(filled(signed.secret, variables)).encode()
    known["signature"] = hmac.new(secret, str(filled(signed.of, known)).encode(), signed.algorithm).hexdigest()
    kind = {name: value for name, value in sent.headers.items() if name == "Content-Type"}
    headers = {**kind, **dict(request.headers or {}), signed.header: str(filled(signed.text, known))}
    return requests.Request(request.method, request.url, headers, data=body, params=request.params)


def reads(method: str) -> bool:
    """Tell whether a method only reads."""
    return method in READS


def _failed(where: str, step: Step, account: str, *, observed: str, expected: str, remedy: str) -> TurnoutError:
    return TurnoutError(
        "acceptance-recipe",
        observed=f"{where}, {step.request}, as account {account}: {observed}",
        expected=expected,
        remedy=remedy,
    )
