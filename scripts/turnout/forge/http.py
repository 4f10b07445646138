"""A small client for a forge's JSON API: paging, rate limits, errors in a person's words, the token in no message."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from ssl import create_default_context
from typing import Any

from turnout.errors import TurnoutError

MAX_PAGES = 50
MAX_BYTES = 16 << 20
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*rel="next"')


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is followed only inside the same origin: the token must not go to another."""

    def redirect_request(  # noqa: PLR0917 - the library sets the signature
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if _origin(newurl) != _origin(req.full_url):
            raise urllib.error.HTTPError(req.full_url, code, "redirect to another server", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


@dataclass(frozen=True)
class Client:
    """One forge. `base` is the API's address, `limit_s` bounds each request, `headers` hold the token."""

    base: str
    headers: dict[str, str] = field(repr=False)
    limit_s: float = 10.0
    ca_file: Path | None = None
    token_variable: str = "checklist.forge.token"  # noqa: S105 - a variable's name

    def get(self, path: str, *, missing: Any = None) -> Any:
        """Return the JSON at `path`; `missing` for 404. Raises `TurnoutError`."""
        return self._send("GET", self.base + path, None, missing)[0]

    def pages(self, path: str, *, missing: Any = None) -> Iterator[Any]:
        """Yield the JSON of each page, following `Link: rel="next"`; `missing` for 404.

        Raises `TurnoutError`, also beyond MAX_PAGES.
        """
        url: str | None = self.base + path
        for _ in range(MAX_PAGES):
            body, headers = self._send("GET", str(url), None, missing)
            yield body
            found = _NEXT.search(headers.get("Link") or "")
            url = found.group(1) if found else None
            if url is None:
                return
            if _origin(url) != _origin(self.base):
                raise self._error("forge-paging", "the next page lies on another server", "pages of this forge")
        raise self._error("forge-paging", f"more than {MAX_PAGES} pages at {path}", "fewer")

    def send(self, method: str, path: str, body: object) -> Any:
        """Send `body` as JSON and return the answer's. Raises `TurnoutError`."""
        return self._send(method, self.base + path, json.dumps(body).encode(), None)[0]

    def _send(self, method: str, url: str, body: bytes | None, missing: Any) -> tuple[Any, Any]:
        headers = {"Accept": "application/json", "User-Agent": "turnout", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310 - read from config
        handlers: list[Any] = [_NoRedirect()]
        if url.startswith("https:"):
            context = create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self.limit_s) as answer:
                text = answer.read(MAX_BYTES)
                return (json.loads(text) if text else None), answer.headers
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == "GET" and missing is not None:
                return missing, error.headers
            raise self._refused(method, url, error) from None
        except ValueError:
            raise self._error("forge-answer", f"{_path(url)} answered with something that is no JSON", "JSON") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            words = "no answer in time" if isinstance(reason, TimeoutError) else str(reason)
            raise self._error("forge-unreachable", f"{self.base}: {words}", "a forge that answers") from None

    def _refused(self, method: str, url: str, error: urllib.error.HTTPError) -> TurnoutError:
        said = _message(error)
        if error.code in (403, 429) and _rate_limited(error, said):
            until = _until(error.headers)
            return TurnoutError(
                "forge-rate-limit",
                observed=f"{self.base} answers no more for now (HTTP {error.code}, rate limit{until})",
                expected="an answer",
                remedy=f"wait{until or ' a minute'}, or set {self.token_variable} to a token with a higher limit",
            )
        if error.code in (401, 403):
            return TurnoutError(
                "forge-credentials",
                observed=f"{method} {_path(url)}: HTTP {error.code}: {said}",
                expected="a token that may do this",
                remedy=f"set {self.token_variable}",
            )
        return self._error("forge-answer", f"{method} {_path(url)}: HTTP {error.code}: {said}", "success")

    def _error(self, code: str, observed: str, expected: str) -> TurnoutError:
        remedy = "see checklist.forge (url, repository), and whether the forge is up"
        return TurnoutError(code, observed=observed, expected=expected, remedy=remedy)


def _path(url: str) -> str:
    return urllib.parse.urlsplit(url).path


def _message(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read(MAX_BYTES)).get("message")
    except (ValueError, AttributeError, OSError):
        said = None
    return str(said or error.reason)[:200]


def _rate_limited(error: urllib.error.HTTPError, said: str) -> bool:
    """Tell a rate limit from a missing right: GitHub answers both with 403."""
    spent = error.headers.get("x-ratelimit-remaining") == "0" or error.headers.get("retry-after") is not None
    return error.code == 429 or spent or "rate limit" in said.lower()


def _until(headers: Any) -> str:
    if headers.get("retry-after", "").isdecimal():
        return f" for {headers['retry-after']} s"
    reset = headers.get("x-ratelimit-reset", "")
    if not reset.isdecimal():
        return ""
    at = datetime.fromtimestamp(int(reset), UTC).strftime("%H:%M:%S UTC")
    return f" until {at}, in {max(0, int(reset) - int(time.time()))} s"
