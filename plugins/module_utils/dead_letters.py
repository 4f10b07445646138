# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Dead letters of a queue: grouped by type and cause, shown without what is declared as secret, sent again, deleted.

A replay goes in batches, and within them in windows that are taken before the next one is sent, so that no job of a
user waits for longer than is allowed. It ends when too many of a batch are dead again. Whatever it is ended by, each
job is on one side (dead_letter_layouts.py).
"""

from __future__ import annotations

import collections
import hashlib
import json
import re
import time

from ansible_collections.turnout.ops.plugins.module_utils import dead_letter_layouts, queues
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session

FIRST_BATCH = 10
"""The most jobs of a first batch: what fails again is seen by few of them."""
LOOK_S = 0.2
"""Seconds between two looks at a batch."""
ALWAYS_HIDDEN = re.compile(
    r"passw|secret|token|authori[sz]ation|credential|api_?key|private_?key|cookie", re.IGNORECASE
)
HIDDEN = "(hidden)"
# What differs between two causes of one kind: quoted words, addresses, ids, numbers.
_VARYING = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S+@\S+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b0x[0-9a-f]+\b"
    r"|\b(?=[0-9a-f]*[0-9])[0-9a-f]{12,}\b|\d+(?:[.:]\d+)*",
    re.IGNORECASE,
)
CAUSE_LENGTH = 160


def cause_of(text: str) -> str:
    """Return the first line of an error without what differs from job to job."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _VARYING.sub("#", line)[:CAUSE_LENGTH]


def group_of(letter) -> str:
    """Return the id of the group of jobs with the same queue, type and kind of cause: 8 hexadecimal digits."""
    named = "\0".join((letter.queue, letter.type, cause_of(letter.cause)))
    return hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:8]


def grouped(letters: list) -> list:
    """Return the groups, the greatest first: `group`, `queue`, `type`, `cause`, `count`, `oldest`, `newest` (s)."""
    found: dict = {}
    for letter in letters:
        name = group_of(letter)
        group = found.setdefault(
            name,
            {"group": name, "queue": letter.queue, "type": letter.type, "cause": cause_of(letter.cause), "count": 0,
             "oldest": None, "newest": None},
        )  # fmt: skip
        group["count"] += 1
        if letter.at is not None:
            group["oldest"] = min(group["oldest"] or letter.at, letter.at)
            group["newest"] = max(group["newest"] or letter.at, letter.at)
    return sorted(found.values(), key=lambda group: (-group["count"], group["group"]))


def selected(letters: list, choice: dict, now: float) -> list:
    """Return the jobs that `group`, `ids`, `older_s` and `newer_s` all allow, the oldest first."""
    ids = set(choice.get("ids") or ())
    older_s, newer_s = choice.get("older_s"), choice.get("newer_s")
    found = []
    for letter in letters:
        age_s = None if letter.at is None else now - letter.at
        if choice.get("group") and group_of(letter) != choice["group"]:
            continue
        if ids and letter.id not in ids:
            continue
        # A job whose age is not known is neither old nor young.
        if older_s is not None and (age_s is None or age_s < older_s):
            continue
        if newer_s is not None and (age_s is None or age_s > newer_s):
            continue
        found.append(letter)
    return sorted(found, key=lambda letter: (letter.at or 0.0, letter.id))


def redacted(payload: str | None, keys: list) -> str:
    """Return a payload with the values of `keys` hidden at any depth, and of keys that name a secret.

    A key `[0]` is the first of a list at the top. What is no JSON is not shown at all, since no key can be found in it.
    """
    if payload is None:
        return "(not readable without the application)"
    try:
        value = json.loads(payload)
    except ValueError:
        return f"({len(payload)} characters that are no JSON)"
    names = {key.lower() for key in keys}

    def hide(part, depth: int):
        if isinstance(part, dict):
            return {
                name: HIDDEN if name.lower() in names or ALWAYS_HIDDEN.search(name) else hide(one, depth + 1)
                for name, one in part.items()
            }
        if isinstance(part, list):
            return [
                HIDDEN if depth == 0 and f"[{at}]" in names else hide(one, depth + 1) for at, one in enumerate(part)
            ]
        return part

    return json.dumps(hide(value, 0), ensure_ascii=False)


def shown(letters: list, keys: list, most: int) -> list:
    """Return the first jobs as they are shown."""
    return [
        {"id": one.id, "queue": one.queue, "type": one.type, "group": group_of(one), "at": one.at,
         "cause": one.cause.splitlines()[0][:CAUSE_LENGTH] if one.cause else "", "payload": redacted(one.payload, keys)}
        for one in letters[:most]
    ]  # fmt: skip


class Ended(Exception):
    """A replay that stops by itself; its text says why."""


class Replay:
    """Jobs that go back to their queue. All times in seconds, `rate` in jobs/s, `stop_at` a part of a batch."""

    def __init__(self, session, layout, arguments: dict, every: list, chosen: list) -> None:
        self.session, self.layout, self.arguments = session, layout, arguments
        pace = arguments["pace"]
        self.rate, self.batch, self.stop_at = float(pace["rate"]), int(pace["batch"]), float(pace["stop_at"])
        self.max_delay_s, self.settle_s = pace.get("max_delay_s"), float(pace["settle_s"])
        self.deadline = time.monotonic() + float(arguments["limit_s"])
        self.chosen = chosen
        self.expected = collections.Counter(layout.identity(one) for one in every)
        self.moved = self.done = self.again = self.gone = 0
        self.window, self.in_window = 1, 1  # the first look is at the queue as it is
        self.speeds: collections.deque = collections.deque(maxlen=5)

    def run(self) -> str:
        """Send every job again; return why it ended: `done`, or what stopped it."""
        left, size = list(self.chosen), min(self.batch, FIRST_BATCH)
        try:
            while left:
                part, left = left[:size], left[size:]
                self._batch(part)
                size = self.batch
        except Ended as ended:
            return str(ended)
        return "done"

    def _batch(self, part: list) -> None:
        sent, began = [], time.monotonic()
        for number, letter in enumerate(part):
            self._see_time()
            if self.max_delay_s is not None and self.in_window >= self.window:
                self._wait_for_room(sent)
            if _moved(self.session, self.layout.replay(letter)):
                sent.append(letter)
                self.moved += 1
                self.in_window += 1
            else:
                self.gone += 1  # somebody else took it meanwhile
            self.expected[self.layout.identity(letter)] -= 1
            behind = began + (number + 1) / self.rate - time.monotonic()
            if behind > 0:
                time.sleep(behind)
        if sent:
            self._settle(sent)

    def _see_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise Ended("time is up")

    def _wait_for_room(self, sent: list) -> None:
        """Wait until every job that was sent is taken, and suit the next window to how quickly they were.

        A job of a user that comes behind a window waits as long as the window takes: a third of what is allowed.
        """
        began = time.monotonic()
        while self._waits(sent, began):
            self._see_time()
            if time.monotonic() - began > self.settle_s:
                raise Ended(f"jobs are not taken from the queue for {self.settle_s:g} s")
            time.sleep(min(LOOK_S, self.max_delay_s / 10))
        # The slowest of the last windows counts: one that was quick by chance must not make the next one too great.
        self.speeds.append(self.in_window / max(time.monotonic() - began, 1e-3))
        self.window = max(1, min(2 * self.window, self.batch, int(min(self.speeds) * self.max_delay_s / 3)))
        self.in_window = 0

    def _waits(self, sent: list, began: float) -> bool:
        """Tell whether a job waits that came before `began`. Entries of plain lists tell no such time: the own ones."""
        if self.arguments["layout"] == "list":
            return bool(self.layout.waiting(sent))
        passed_s = time.monotonic() - began  # before Redis's clock is asked: a slow look makes no job younger
        reader = queues.READERS[self.arguments["layout"]]
        seen = reader(self.session, self.arguments, queues.redis_now(self.session))
        return bool(seen.get("depth")) and float(seen.get("oldest_s") or 0.0) > passed_s

    def _settle(self, sent: list) -> None:
        """Wait until the batch is done or dead again, and end the replay where too many are."""
        until = min(time.monotonic() + self.settle_s, self.deadline)
        taken = None
        while True:
            waiting = self.layout.waiting(sent)
            again = self.layout.dead_again(sent, self.expected)
            if again > self.stop_at * len(sent):
                self.again += again
                raise Ended(f"{again} of {len(sent)} of a batch are dead again")
            if not waiting:
                taken = taken or time.monotonic()
                if time.monotonic() - taken >= self.layout.HIDDEN_S:
                    break
            elif time.monotonic() > until:
                self.again += again
                raise Ended(f"{len(waiting)} of {len(sent)} of a batch are not done after {self.settle_s:g} s")
            time.sleep(LOOK_S)
        self.again += again
        self.done += len(sent) - again
        if again:  # they are counted
            self.expected = collections.Counter(self.layout.identity(one) for one in self.layout.read())


def _moved(session, move) -> bool:
    return bool(session.call("EVAL", move.script, len(move.keys), *move.keys, *move.arguments))


def act(arguments: dict) -> dict:
    """List, show, replay or drop dead letters, as `do` says; return what there was and what became of it.

    Raises ProbeError for what Redis answers, for names that it does not know, and for a job that cannot be sent again.
    """
    layout_name = arguments["layout"]
    if layout_name not in dead_letter_layouts.LAYOUTS:
        raise ProbeError("missing", f"the layout {layout_name} keeps no dead letters in Redis")
    session = Session(arguments["url"], float(arguments["limit_s"]) + 30, arguments.get("ca_file"))
    try:
        layout = dead_letter_layouts.LAYOUTS[layout_name](session, arguments)
        now = queues.redis_now(session)
        every = layout.read()
        chosen = selected(every, arguments.get("select") or {}, now)
        answer = {"dead": len(every), "selected": len(chosen), "groups": grouped(chosen), "now": now}
        do = arguments["do"]
        if do == "show":
            answer["letters"] = shown(chosen, arguments.get("redact") or [], int(arguments["most"]))
        if do in ("replay", "drop"):
            refused = next((why for why in (layout.refusal(one, do) for one in chosen) if why), None)
            if refused:
                raise ProbeError("refused", refused)
        if do == "drop" and not arguments.get("check"):
            answer["dropped"] = sum(_moved(session, layout.drop(letter)) for letter in chosen)
        elif do == "replay" and not arguments.get("check"):
            answer |= _replayed(session, layout, arguments, every, chosen)
        return answer
    finally:
        session.close()


def _replayed(session, layout, arguments: dict, every: list, chosen: list) -> dict:
    replay = Replay(session, layout, arguments, every, chosen)
    ended = replay.run()
    return {"moved": replay.moved, "done": replay.done, "again": replay.again, "gone": replay.gone, "ended": ended}
