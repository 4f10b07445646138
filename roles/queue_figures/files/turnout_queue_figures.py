#!/usr/bin/env python3
"""Tells node exporter how the queues of checklist.queues stand: jobs that wait, the oldest, retries, dead letters.

Asks Redis every `every_s` seconds and replaces one file of figures. A queue that cannot be looked at keeps the moment
of its last look and has no other figures: what is not known is not told. No address and no password is written out.
"""

from __future__ import annotations

import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)  # the modules that read queues lie beside it

from ansible_collections.turnout.ops.plugins.module_utils.answers import kind_of
from ansible_collections.turnout.ops.plugins.module_utils.queues import look

FIGURES = {
    "depth": ("turnout_queue_jobs", "Jobs that wait."),
    "oldest_s": ("turnout_queue_oldest_seconds", "Age of the oldest job that waits."),
    "retry": ("turnout_queue_retry_jobs", "Jobs that wait for another try."),
    "dead": ("turnout_queue_dead_jobs", "Jobs that were given up."),
    "lost": ("turnout_queue_lost_jobs", "Jobs that no live worker holds any more."),
}
LOOKED = "turnout_queue_looked_timestamp_seconds"
LIMIT = "turnout_queue_limit"
LOOK_S = 10.0


def quoted(text: str) -> str:
    """Return a label's value as Prometheus reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def text_of(seen: dict, looked: dict, limits: dict) -> str:
    """Return the file of figures: what was seen of each queue, when, and its limits in checklist.queues."""
    lines = []
    for field, (name, means) in FIGURES.items():
        values = [(queue, one[field]) for queue, one in sorted(seen.items()) if one.get(field) is not None]
        if values:
            lines += [f"# HELP {name} {means}", f"# TYPE {name} gauge"]
            lines += [f"{name}{{queue={quoted(queue)}}} {float(value):g}" for queue, value in values]
    if looked:
        lines += [f"# HELP {LOOKED} When a queue was looked at last.", f"# TYPE {LOOKED} gauge"]
        lines += [f"{LOOKED}{{queue={quoted(queue)}}} {at:.3f}" for queue, at in sorted(looked.items())]
    lines += [f"# HELP {LIMIT} What checklist.queues allows a queue.", f"# TYPE {LIMIT} gauge"]
    lines += [
        f"{LIMIT}{{queue={quoted(queue)},of={quoted(of)}}} {float(value):g}"
        for queue, ours in sorted(limits.items())
        for of, value in sorted(ours.items())
    ]
    return "\n".join(lines) + "\n"


def look_at_all(queues: dict, looked: dict, now) -> dict:
    """Return what was seen of each queue, and note in `looked` when; what could not be seen is said on stderr."""
    seen = {}
    for name, queue in queues.items():
        try:
            found = look(queue["arguments"], LOOK_S)
        except Exception as error:
            print(f"queue {name}: {kind_of(error)}", file=sys.stderr, flush=True)  # its text may hold an address
            continue
        if "depth" not in found:
            missing = ", ".join(map(str, found.get("missing", ())))
            print(f"queue {name}: no {found.get('what', 'queue')} {missing}", file=sys.stderr, flush=True)
            continue
        seen[name], looked[name] = found, now()
    return seen


def replace(path: str, text: str) -> None:
    """Write a file in one step."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(beside, 0o644)
    os.replace(beside, path)


def main(arguments: list) -> None:
    """Look again and again; with `once` one time."""
    with open(arguments[0], encoding="utf-8") as stream:
        settings = json.load(stream)
    looked = dict.fromkeys(settings["queues"], 0.0)  # a queue that was never seen was seen too long ago
    limits = {name: queue["limits"] for name, queue in settings["queues"].items()}
    while True:
        began = time.monotonic()
        seen = look_at_all(settings["queues"], looked, time.time)
        replace(settings["textfile"], text_of(seen, looked, limits))
        if "once" in arguments[1:]:
            return
        time.sleep(max(1.0, settings["every_s"] - (time.monotonic() - began)))


if __name__ == "__main__":
    main(sys.argv[1:])
