"""What a job is: one JSON file that the role schedule laid, read strictly."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields

from .errors import Trouble

FOLDER = "/etc/turnout/schedule"
LOCKS = ("required", "preferred", "none")


@dataclass(frozen=True)
class Job:
    """A job: what to run, how long, and whom to tell.

    `lock` is about the lock of the edges, which deploys take too: `required` runs only with it, `preferred` also where
    no edge can be reached (nobody can deploy then either), `none` never asks for it. Times are in seconds.
    """

    name: str
    command: list[str]
    state_folder: str
    directory: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    lock: str = "none"
    wait_s: float = 1800.0
    timeout_s: float = 7200.0
    ansible: str = ""
    inventory: str = ""
    lock_ttl_s: float = 120.0
    beat_s: float = 20.0
    keep: int = 30
    output_limit_bytes: int = 20_000_000
    alertmanager: str = ""
    alert_s: float = 172_800.0
    severity: str = "ticket"
    labels: dict[str, str] = field(default_factory=dict)


def load(name: str, folder: str = FOLDER) -> Job:
    """Return the job of that name. Raises Trouble."""
    path = os.path.join(folder, f"{name}.json")
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
    except (OSError, ValueError) as fault:
        known = ", ".join(names(folder)) or "none"
        raise Trouble(
            "job-unknown", f"{path}: {fault}", f"one of the jobs of this host: {known}", "turnout-scheduled --list"
        ) from fault
    return parse(raw, path)


def names(folder: str = FOLDER) -> list[str]:
    """Return the names of this host's jobs."""
    try:
        return sorted(entry.removesuffix(".json") for entry in os.listdir(folder) if entry.endswith(".json"))
    except OSError:
        return []


def parse(raw: object, path: str) -> Job:
    """Return the job that an object describes; raises Trouble that names file and field."""

    def bad(what: str, expected: str) -> Trouble:
        return Trouble("job-invalid", f"{path}: {what}", expected, "ansible-playbook turnout.ops.schedule")

    if not isinstance(raw, dict):
        raise bad("holds no object", "one JSON object")
    known = {one.name: one for one in fields(Job)}
    for key in raw:
        if key not in known:
            raise bad(f"field {key} is not known", ", ".join(known))
    for key in ("name", "command", "state_folder"):
        if not raw.get(key):
            raise bad(f"field {key} is not there", "a name, a command and a folder for its state")
    kinds = {"str": (str,), "float": (int, float), "int": (int,), "list[str]": (list,), "dict[str, str]": (dict,)}
    for key, value in raw.items():
        if isinstance(value, bool) or not isinstance(value, kinds[str(known[key].type)]):
            raise bad(f"field {key} is {json.dumps(value)[:60]}", f"a {known[key].type}")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if not all(isinstance(one, str) for one in inner):
            raise bad(f"field {key} holds something that is no text", f"a {known[key].type}")
        if isinstance(value, (int, float)) and not 0 < value < 1e15:
            raise bad(f"field {key} is {value}", "a number above 0")
    job = Job(**raw)
    if job.lock not in LOCKS:
        raise bad(f"field lock is {job.lock}", ", ".join(LOCKS))
    if job.lock != "none" and not (job.ansible and job.inventory):
        raise bad(f"field lock is {job.lock}, without ansible and inventory", "both: Ansible asks the edges")
    if job.alertmanager and not job.alertmanager.startswith(("http://", "https://")):
        raise bad(f"field alertmanager is {job.alertmanager}", "an address as http://mon1:9093, or nothing")
    return job
