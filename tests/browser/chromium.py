"""Open a page in headless Chromium, measure it, ask which requests it made, take its picture.

The browser is spoken to over two pipes (`--remote-debugging-pipe`: JSON messages that end in NUL), so no port is open
and nothing beside the standard library is needed. Each browser has a new profile and dies with its `with` block.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
ANSWER_LIMIT_S = 30.0

# What sticks out of the window to the right: the page scrolls sideways where there is anything.
TOO_WIDE = """
[...document.querySelectorAll('body *')]
  .filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.right > WIDTH + 1; })
  .filter(e => !e.closest('svg, .frame, .track'))
  .map(e => e.tagName + '.' + e.className + ' ' + Math.round(e.getBoundingClientRect().right))
"""


@dataclass
class Page:
    """An opened page. `requests` are the addresses that it asked for beside itself; `errors` its console's."""

    browser: Browser
    session: str
    width: int
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol on this page."""
        return self.browser.call(method, session=self.session, **parameters)

    def js(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def too_wide(self) -> list[str]:
        """Return what sticks out to the right, and the page itself where it scrolls sideways."""
        # Not innerWidth: a phone zooms out where a page is too wide, and the window is said to be as wide as the page.
        found = list(self.js(TOO_WIDE.replace("WIDTH", str(self.width))))
        wide = self.js("document.documentElement.scrollWidth")
        return found + ([f"page {wide} of {self.width}"] if wide > self.width else [])

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page, below its fold too."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, to: int, of: int, process: subprocess.Popen[bytes]) -> None:
        self._to, self._of, self.process = to, of, process
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; events that come meanwhile are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _read(self, deadline: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._of], [], [], left)[0], f"Chromium did not answer {waiting_for}"
            part = os.read(self._of, 1 << 20)
            assert part, f"Chromium ended while {waiting_for} was waited for"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def event(self, method: str, session: str) -> dict[str, Any]:
        """Wait for an event and return its parameters."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while True:
            for message in self._events:
                if message.get("method") == method and message.get("sessionId") == session:
                    found: dict[str, Any] = message["params"]
                    return found
            self._events.append(self._read(deadline, method))

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool = False) -> Page:
        """Open a file in a window of `width` pixels, and wait until it is there whole."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, width)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        address = path.resolve().as_uri()
        page.call("Page.navigate", url=address)
        self.event("Page.loadEventFired", session)
        time.sleep(0.2)  # whatever a page would ask for after it was loaded
        page.js("1")
        for message in self._events:
            parameters = message.get("params", {})
            if message.get("method") == "Network.requestWillBeSent" and parameters["request"]["url"] != address:
                page.requests.append(parameters["request"]["url"])
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                page.errors.append(json.dumps(parameters))
        return page


def _pipe() -> tuple[int, int]:
    """Return a pipe whose numbers are above those that Chromium's ends get."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run Chromium for the time of the block."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "chromium is needed: make setup, or apt-get install chromium"
    profile = tempfile.mkdtemp(prefix="turnout-chromium-")
    theirs_in, ours_out = _pipe()
    ours_in, theirs_out = _pipe()
    # Chromium wants its ends as files 3 and 4.
    words = ["bash", "-c", 'r=$1 w=$2; shift 2; exec "$@" 3<&"$r" 4>&"$w"', "bash", str(theirs_in), str(theirs_out)]
    process = subprocess.Popen(
        [*words, program, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    running = Browser(ours_out, ours_in, process)
    try:
        yield running
    finally:
        with contextlib.suppress(OSError, AssertionError):
            running.call("Browser.close")
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_out)
        os.close(ours_in)
        shutil.rmtree(profile, ignore_errors=True)
