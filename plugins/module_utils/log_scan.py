# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Look for secrets and personal data in what a service writes: its units' journal, and log files.

What is found is told by its name, place and time, never by its text. Secrets come as keyed digests of their words, so
that nobody who reads a task's options has them; a line's words are digested in the same way and compared.
"""

from __future__ import annotations

import datetime
import functools
import glob
import gzip
import hashlib
import json
import os
import re
import stat
import subprocess
import time
import urllib.parse

LINE_LENGTH = 16_384
"""Characters of a line that are looked at."""
PLACES = 3
"""Places that are told of one kind of finding."""
_WORD = re.compile(r"[^\s\"'`<>=:,;&?#/@|()\[\]{}\\]+")
_TIME = re.compile(rb"\W?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?)")
_MASKED = re.compile(r"\*{3}|x{4}|hidden|redacted|filtered|masked|\[|<|null\b|none\b|true\b|false\b|\$", re.IGNORECASE)


def words(text: str) -> list:
    """Return the parts of a text between what separates them in lines, addresses and JSON."""
    return _WORD.findall(text)


def digest(word: str, salt: str) -> str:
    """Return the keyed digest of a word: 16 bytes in hexadecimal."""
    return hashlib.blake2b(word.encode("utf-8", "replace"), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def _luhn(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * one, 10)) if at % 2 else one for at, one in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in moved)) % 97 == 1


def _no_unit(text: str) -> bool:
    """Tell whether an address is no unit of systemd, such as shop-api@blue.service."""
    return text.rpartition(".")[2] not in ("service", "timer", "socket", "mount", "slice", "scope", "target", "path")


def _told(text: str) -> bool:
    """Tell whether a value is one, and no mask of it."""
    return not _MASKED.match(text)


# Name: what must stand in a line before it is looked at closely (small letters), the expression, and what its first
# group must be.
BUILT_IN = {
    "authorization": (
        "authorization",
        re.compile(r"authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+([^\s\"',;]{8,})", re.I),
        _told,
    ),
    "aws-key": ("a", re.compile(r"\b((?:AKIA|ASIA)[A-Z0-9]{16})\b"), None),
    "card": ("", re.compile(r"(?<![\w.-])((?:\d[ -]?){12,18}\d)(?![\w.-])"), _luhn),
    "email": ("@", re.compile(r"(?<![\w.+-])([\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})\b"), _no_unit),
    "iban": ("", re.compile(r"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?)\b"), _iban),
    "jwt": ("eyj", re.compile(r"\b(eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"), None),
    "named-secret": (
        "",
        re.compile(
            r"(?:passw(?:or)?d|secret|api_?key|access_?token|client_?secret)[\"']?\s*[:=]\s*[\"']?"
            r"([^\s\"',;&}]{6,})",
            re.I,
        ),
        _told,
    ),
    "private-key": ("private key", re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)"), None),
    "url-password": ("://", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:([^\s/@\"']{3,})@", re.I), _told),
}  # fmt: skip
_HAS_DIGITS = re.compile(r"\d{4}")
_HAS_NAME = re.compile(r"passw|secret|api_?key|access_?token", re.IGNORECASE)


class Scanner:
    """What is looked for. `question` has `patterns` {name: expression}, `ignore`, `salt` and `secrets`.

    A secret is {"name": text, "words": [digest of each word, in their order]}.
    """

    def __init__(self, question: dict) -> None:
        self.declared = [(name, re.compile(text)) for name, text in sorted(question["patterns"].items())]
        self.built_in = [(name, *BUILT_IN[name]) for name in BUILT_IN if name not in question["ignore"]]
        self.secrets: dict = {}
        for secret in question["secrets"]:
            self.secrets.setdefault(secret["words"][0], []).append((secret["name"], secret["words"]))
        self._digest = functools.lru_cache(maxsize=65_536)(functools.partial(digest, salt=question["salt"]))

    def names(self, text: str) -> set:
        """Return the names of what a line holds."""
        line = text[:LINE_LENGTH]
        found = self._patterns(line) | self._of_secrets(line)
        if "%" in line:
            found |= self._of_secrets(urllib.parse.unquote(line))
        return found

    def _patterns(self, line: str) -> set:
        small, digits, named = line.lower(), _HAS_DIGITS.search(line), _HAS_NAME.search(line)
        found = {name for name, expression in self.declared if expression.search(line)}
        for name, needs, expression, right in self.built_in:
            if needs and needs not in small:
                continue
            if (name in ("card", "iban") and not digits) or (name == "named-secret" and not named):
                continue
            if any(right is None or right(one[1]) for one in expression.finditer(line)):
                found.add(name)
        return found

    def _of_secrets(self, line: str) -> set:
        if not self.secrets:
            return set()
        digests = [self._digest(word) for word in words(line)]
        found = set()
        for at, one in enumerate(digests):
            for name, wanted in self.secrets.get(one, ()):
                if digests[at : at + len(wanted)] == wanted:
                    found.add(name)
        return found


class Report:
    """What was found and how much was looked at. Moments are seconds since the epoch, by the host's clock."""

    def __init__(self, scanner: Scanner, *, limit_s: float, most_bytes: int) -> None:
        self.scanner, self.left = scanner, most_bytes
        self.until = time.monotonic() + limit_s
        self.found: dict = {}
        self.lines = self.bytes = 0
        self.cut: list = []

    def see(self, source: str, text: str, at: float | None, place: str) -> bool:
        """Look at one line; return whether there is time and room for another."""
        self.lines += 1
        self.bytes += len(text)
        self.left -= len(text)
        for name in self.scanner.names(text):
            one = self.found.setdefault(
                (source, name), {"source": source, "pattern": name, "count": 0, "first": at, "last": at, "places": []}
            )
            one["count"] += 1
            if at is not None:
                one["first"], one["last"] = min(one["first"] or at, at), max(one["last"] or at, at)
            if len(one["places"]) < PLACES:
                one["places"].append(place)
        return self.left > 0 and (self.lines % 64 != 0 or time.monotonic() < self.until)

    @property
    def over(self) -> bool:
        """Tell whether the bounds are reached."""
        return self.left <= 0 or time.monotonic() >= self.until


def journal(report: Report, units: list, since: float, more: tuple = ()) -> None:
    """Look at the journal of units, the newest lines first. Raises OSError, and ValueError with journalctl's words."""
    if not units:
        return
    asked = ["journalctl", "--quiet", "--no-pager", "--all", "--reverse", "--output=json", f"--since=@{since:.0f}",
             "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT", *more, *(f"--unit={unit}" for unit in units)]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C"}
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        ended = True
        for raw in process.stdout or ():
            entry = json.loads(raw)
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            # What systemd says of a unit has that one in a field of its own.
            unit = str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "?")
            ended = report.see(unit, _message(entry.get("MESSAGE")), at, f"{at:.6f}")
            if not ended:
                report.cut.append(f"journal before {at:.0f}")
                process.kill()
                break
        told = (process.stderr.read() if process.stderr else b"").decode("utf-8", "replace").strip()
        code = process.wait()
    if ended and code and "No data available" not in told and (code != 1 or told):
        raise ValueError(f"journalctl ended with {code}: {told[-300:]}")


def _message(said: object) -> str:
    """Return a line's text; journald tells what is no UTF-8 as a list of bytes, and several of a field as a list."""
    if isinstance(said, list):
        if all(isinstance(one, int) for one in said):
            return bytes(said).decode("utf-8", "replace")
        return "\n".join(_message(one) for one in said)
    return str(said or "")


def files(report: Report, patterns: list, since: float) -> list:
    """Look at the log files that were written since a moment, the newest first; return the patterns without a file.

    A file that is larger than what may still be read is looked at from its end. Raises OSError for one that cannot be
    read.
    """
    there, absent = {}, []
    for pattern in patterns:
        found = glob.glob(pattern)
        if not found:
            absent.append(pattern)
        for path in found:
            state = os.stat(path, follow_symlinks=False)
            if stat.S_ISREG(state.st_mode) and state.st_mtime >= since:
                there[path] = state.st_mtime
    for path in sorted(there, key=lambda one: -there[one]):
        if report.over:
            report.cut.append(path)
        else:
            _file(report, path, since)
    return absent


def _file(report: Report, path: str, since: float) -> None:
    # A file that a service's user may put there: no link is followed, and nothing that would wait is opened.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as raw:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        number: int | None = 0
        stream = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        if stream is raw and os.fstat(handle).st_size > report.left:
            raw.seek(-report.left, os.SEEK_END)
            raw.readline()
            number = None  # nobody counted the lines before
            report.cut.append(f"the beginning of {path}")
        while line := stream.readline(LINE_LENGTH):
            if number is not None:
                number += 1
            at = _moment(line)
            if at is not None and at < since:
                continue
            place = f"line {number}" if number is not None else f"{raw.tell()} bytes from the beginning, about"
            if not report.see(path, line.decode("utf-8", "replace"), at, place):
                report.cut.append(f"the rest of {path}")
                return


def _moment(line: bytes) -> float | None:
    """Return the moment at which a line begins, where it begins with one."""
    found = _TIME.match(line)
    if found is None:
        return None
    text = found[1].decode().replace(",", ".")
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        return None


def scan(question: dict) -> dict:
    """Look; return `found`, `lines`, `bytes`, `cut` (what was not looked at) and `absent` (patterns without a file).

    `question`: as `Scanner` takes it, and `units`, `files`, `hours`, `limit_s`, `most_bytes`; `journal` has further
    words for journalctl. Raises OSError and ValueError.
    """
    since = time.time() - float(question["hours"]) * 3600
    report = Report(Scanner(question), limit_s=float(question["limit_s"]), most_bytes=int(question["most_bytes"]))
    absent = files(report, question["files"], since)
    journal(report, question["units"], since, tuple(question.get("journal") or ()))
    found = sorted(report.found.values(), key=lambda one: (one["source"], one["pattern"]))
    return {"found": found, "lines": report.lines, "bytes": report.bytes, "cut": report.cut, "absent": absent}
