# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ask many things at the same time, each with its own time limit, and say plainly what could not be known."""

from __future__ import annotations

import errno
import ssl
import threading
import time
import urllib.error


class ProbeError(Exception):
    """What was asked gave no answer. `kind` is one of the words below; the message holds no secret.

    - `refused`: the machine answers and nobody listens there, or the server says that it is not in service;
    - `credentials`: the server answers and does not let us in;
    - `timeout`, `unreachable`: no answer at all;
    - `error`: an answer that cannot be used.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def kind_of(error: BaseException) -> str:
    """Return which kind of ProbeError another exception stands for."""
    if isinstance(error, ProbeError):
        return error.kind
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return kind_of(error.reason)
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "error"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "refused" if error.errno == errno.ECONNREFUSED else "unreachable"


def ask_all(questions: dict) -> dict:
    """Ask all questions at once; return {id: answer}.

    `questions` maps an id to (function, limit in seconds); the function takes the limit and returns plain data. An
    answer is a dict with `ok`, `seconds`, and `data` or `problem` (kind and text). A function that has not come back
    at its limit counts as timed out; its thread is a daemon, so that it holds up neither the others nor the end of
    the process.
    """
    answers: dict = {}
    lock = threading.Lock()
    started = time.monotonic()

    def run(name, function, limit_s):
        try:
            answer = {"ok": True, "data": function(limit_s)}
        except Exception as error:
            answer = {"ok": False, "problem": {"kind": kind_of(error), "text": describe(error)}}
        answer["seconds"] = round(time.monotonic() - started, 3)
        with lock:
            answers.setdefault(name, answer)

    threads = {}
    for name, (function, limit_s) in questions.items():
        threads[name] = threading.Thread(target=run, args=(name, function, limit_s), daemon=True)
        threads[name].start()
    for name, (_, limit_s) in sorted(questions.items(), key=lambda item: item[1][1]):
        threads[name].join(max(0.0, started + limit_s - time.monotonic()))
        with lock:
            answers.setdefault(
                name,
                {
                    "ok": False,
                    "seconds": round(time.monotonic() - started, 3),
                    "problem": {"kind": "timeout", "text": f"no answer within {limit_s:g} s"},
                },
            )
    with lock:
        return dict(answers)


def describe(error: BaseException) -> str:
    """Return an exception in a person's words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return describe(error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
