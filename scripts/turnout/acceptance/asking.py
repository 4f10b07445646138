"""Sends requests to the candidate, and to nothing else: bounded in number, time and size, no redirect followed."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, cast

import requests
from requests.cookies import RequestsCookieJar
from urllib3.exceptions import InsecureRequestWarning

from turnout.acceptance.curl import curl, hidden
from turnout.acceptance.declared import Budget
from turnout.acceptance.steps import READS
from turnout.errors import TurnoutError

AGENT = "turnout-acceptance"
MOST_BYTES = 8_000_000
_CHUNK = 65_536
_NO_SECRETS = ("host", "x-turnout-color")  # which service and color is meant


class SpentError(Exception):
    """Raised where the budget of a run has no request or no time left."""


@dataclass(frozen=True)
class Identity:
    """As whom a request is asked. `secrets` are values with the names of the variables that stand for them."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[tuple[str, str], ...] = ()
    cookies: RequestsCookieJar = field(default_factory=RequestsCookieJar)
    variables: Mapping[str, Any] = field(default_factory=dict)


NOBODY = Identity("nobody")


@dataclass(frozen=True)
class Answer:
    """What came back: a response, or why there is none."""

    sent: requests.PreparedRequest
    response: requests.Response | None
    why: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status, None without an answer."""
        return None if self.response is None else self.response.status_code

    @property
    def accepted(self) -> bool:
        """Whether what was asked was done."""
        return self.status is not None and self.status < 400

    @property
    def text(self) -> str:
        """Headers and body, to look for marks in."""
        if self.response is None:
            return ""
        headers = "\n".join(f"{name}: {value}" for name, value in self.response.headers.items())
        return f"{headers}\n\n{self.response.content.decode('utf-8', errors='replace')}"


class Asker:
    """The way to the candidate. `reading` lets only GET and HEAD pass."""

    def __init__(
        self, url: str, budget: Budget, *, reading: bool, headers: Mapping[str, str], verify: bool | str = True
    ) -> None:
        self.url = url.rstrip("/")
        self.reading = reading
        self.sent = 0
        self.secrets = tuple(
            (value, f"HEADER_{number}")
            for number, (name, value) in enumerate(headers.items(), 1)
            if value and name.lower() not in _NO_SECRETS
        )
        self._headers = headers
        self._budget = budget
        self._ends = time.monotonic() + budget.seconds
        self._verify = verify
        self._lock = threading.Lock()
        self.ca_file = Path(verify) if isinstance(verify, str) else None
        self.answer_seconds = budget.answer_seconds
        self.watched: dict[str, str] = {}
        self.carried: dict[str, Answer] = {}
        self.shown: dict[str, Answer] = {}
        if verify is False:
            warnings.simplefilter("ignore", InsecureRequestWarning)
        self._session = self._new_session()

    def ask(self, who: Identity, request: requests.Request, cookies: RequestsCookieJar | None = None) -> Answer:
        """Send one request; raises SpentError. `cookies` takes those that the answer sets."""
        sent = self.prepared(who, request)
        self._counted([sent])
        answer = self._sent(self._session, sent)
        if cookies is not None and answer.response is not None:
            requests.cookies.extract_cookies_to_jar(cookies, sent, answer.response.raw)
        return answer

    def again(self, sent: requests.PreparedRequest) -> Answer:
        """Send a request as it is; raises SpentError."""
        self._counted([sent])
        return self._sent(self._session, sent)

    def together(self, sent: Sequence[requests.PreparedRequest]) -> list[Answer]:
        """Send requests at once, each once over a connection of its own; raises SpentError."""
        self._counted(sent)
        gate = threading.Barrier(len(sent))

        def one(request: requests.PreparedRequest) -> Answer:
            with self._new_session() as session:
                gate.wait()
                return self._sent(session, request, repeated=False)

        with ThreadPoolExecutor(len(sent)) as pool:
            return list(pool.map(one, sent))

    def raw(self, sent: requests.PreparedRequest, send: Callable[[], Answer]) -> Answer:
        """Count a request that goes out by `send`, and look at its answer; raises SpentError."""
        self._counted([sent])
        return self._looked_at(send())

    def watch(self, canaries: Mapping[str, str]) -> None:
        """Look for these values, each by a name, in every answer of 400 or above from now on."""
        self.watched = {name: value for name, value in canaries.items() if value}

    def _looked_at(self, answer: Answer) -> Answer:
        for name, value in self.watched.items():
            if value in _said(answer.sent):
                self.carried[name] = answer
            if answer.status is not None and answer.status >= 400 and value in answer.text:
                self.shown.setdefault(name, answer)
        return answer

    def _counted(self, sent: Sequence[requests.PreparedRequest]) -> None:
        """Count requests before they are sent; raises SpentError."""
        if self.reading and any(one.method not in READS for one in sent):
            raise AssertionError("a request that writes while only reading")  # a defect: packs ask what reads
        with self._lock:
            if self.sent + len(sent) > self._budget.requests:
                raise SpentError(f"the budget of {self._budget.requests} requests was used up")
            if time.monotonic() >= self._ends:
                raise SpentError(f"the budget of {self._budget.seconds} seconds was used up")
            self.sent += len(sent)

    def _sent(self, session: requests.Session, sent: requests.PreparedRequest, *, repeated: bool = True) -> Answer:
        return self._looked_at(self._answered(session, sent, repeated=repeated))

    def _answered(self, session: requests.Session, sent: requests.PreparedRequest, *, repeated: bool) -> Answer:
        for last in (False, True) if repeated else (True,):
            try:
                response = session.send(sent, timeout=self._budget.answer_seconds, allow_redirects=False, stream=True)
                why = self._read(response)
            except requests.Timeout:
                return Answer(sent, None, f"no answer within {self._budget.answer_seconds} s")
            except requests.RequestException as error:
                # Once more on a new connection: a server may close one that was idle at any time.
                if last:
                    return Answer(sent, None, f"the connection ended without an answer ({type(error).__name__})")
            else:
                break
        return Answer(sent, None if why else response, why)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no proxy and no .netrc: the candidate is meant, and nothing in between
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.verify = self._verify
        return session

    def _read(self, response: requests.Response) -> str:
        """Read the body; return why there is none. An event stream is left when it has begun."""
        deadline, body = time.monotonic() + self._budget.answer_seconds, b""
        endless = response.headers.get("Content-Type", "").startswith("text/event-stream")
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if endless:
                break
            if time.monotonic() > deadline:
                response.close()
                return f"an answer that did not end within {self._budget.answer_seconds} s"
            if len(body) > MOST_BYTES:
                response.close()
                return f"an answer of more than {MOST_BYTES} bytes"
        if endless:
            response.close()
        response._content = body  # requests has no other place for a body that was read in parts
        return ""

    def prepared(self, who: Identity, request: requests.Request) -> requests.PreparedRequest:
        """Return a request as it goes out; raises ValueError or requests.RequestException for what none can be."""
        written = {
            name: value
            for name, value in dict(request.headers or {}).items()
            if name.lower() not in ("x-schemathesis-testcaseid", "user-agent", "accept-encoding", "connection")
        }
        given = {name.lower() for name in (*who.headers, *self._headers)}
        written = {name: value for name, value in written.items() if name.lower() not in given}
        jar = who.cookies.copy()
        for name, value in dict(cast("Any", request.cookies) or {}).items():
            jar.set(name, str(value))
        return requests.Request(
            request.method, request.url, {"User-Agent": AGENT, **written, **self._headers, **who.headers},
            files=request.files, data=request.data, json=request.json, params=request.params, cookies=jar,
        ).prepare()  # fmt: skip

    def curl(self, sent: requests.PreparedRequest) -> str:
        """Return the command that repeats a request."""
        headers = {str(name): _str(value) for name, value in sent.headers.items()}
        return curl(str(sent.method), str(sent.url), headers, body_bytes(sent.body), self.secrets)

    def keep_secret(self, who: Identity) -> None:
        """Let no command show what is an account's, as whomever it asks."""
        self.secrets += tuple(one for one in who.secrets if one[0] not in dict(self.secrets))

    def variables(self) -> dict[str, str]:
        """Return the secrets that commands name, by their variables."""
        return {variable: value for value, variable in self.secrets}

    def hidden(self, text: str) -> str:
        """Return a text without secrets."""
        return hidden(text, self.secrets)


def cookie_secrets(who: str, jar: RequestsCookieJar) -> list[tuple[str, str]]:
    """Return the cookies of an account with the names of the variables that stand for them."""
    return [(one.value, variable(who, f"cookie_{one.name}")) for one in jar if one.value]


def variable(who: str, name: str) -> str:
    """Return the name of a shell's variable for a secret of an account."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in f"{who}_{name}").upper()


def reached(asker: Asker) -> None:
    """Ask for / once; raises `TurnoutError` where nothing answers at all."""
    answer = asker.ask(NOBODY, requests.Request("GET", f"{asker.url}/"))
    if answer.response is None:
        raise TurnoutError(
            "candidate-unreachable",
            observed=f"{asker.url}: {answer.why}",
            expected="the candidate, which answers HTTP there",
            remedy=f"start it, or open the way to it, and look: curl -i {asker.url}/",
        )


def _said(sent: requests.PreparedRequest) -> str:
    """Return all that a request says, to look for marks in."""
    headers = "\n".join(_str(value) for value in sent.headers.values())
    return f"{sent.url}\n{headers}\n{body_bytes(sent.body).decode('utf-8', errors='replace')}"


def _str(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def body_bytes(body: Any) -> bytes:
    """Return a body as it is sent."""
    if body is None:
        return b""
    return body.encode("utf-8") if isinstance(body, str) else bytes(body)
