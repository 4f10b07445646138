"""The lock of the edges, which deploys, rollbacks and migrations hold too, asked for through Ansible."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .job import Job

PROGRAM = "/usr/local/sbin/turnout-edge"
ASK_LIMIT_S = 60.0
_HOST = re.compile(r"^(?P<host>\S+) \| (?P<word>[A-Z]+)!?(?: \| rc=(?P<rc>-?\d+))? (?:>>|=>)", re.MULTILINE)

HELD, LOCKED = 0, 4  # turnout-edge's exit codes


@dataclass(frozen=True)
class Answer:
    """What an edge said. `code` is turnout-edge's exit code, or None where the edge did not answer."""

    host: str
    code: int | None
    words: str


def read_answers(text: str) -> list[Answer]:
    """Return the answers in what `ansible` printed for its raw module, one block for each host."""
    heads = list(_HOST.finditer(text))
    answers = []
    for index, head in enumerate(heads):
        end = heads[index + 1].start() if index + 1 < len(heads) else len(text)
        body = text[head.end() : end].strip()
        unreachable = head["word"] == "UNREACHABLE" or head["rc"] is None
        answers.append(Answer(head["host"], None if unreachable else int(head["rc"]), _words(body)))
    return answers


def _words(body: str) -> str:
    """Return the message in turnout-edge's JSON answer, or the first line of anything else."""
    for line in body.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            error = said.get("error") or {}
            return str(error.get("observed") or said.get("message") or "")
    return body.splitlines()[0] if body else "it said nothing"


def quote(word: str) -> str:
    """Return a word for the edge's shell."""
    return "'" + word.replace("'", "'\\''") + "'"


class Edges:
    """The edges of an inventory, and one run's lock on them."""

    def __init__(self, job: Job, run: str) -> None:
        self.ansible, self.inventory, self.directory = job.ansible, job.inventory, job.directory
        self.run, self.purpose, self.ttl_s = run, f"scheduled {job.name}", job.lock_ttl_s

    def command(self, pattern: str, *words: str) -> list[str]:
        """Return the command that asks the edges of a pattern."""
        asked = " ".join(quote(word) for word in (PROGRAM, "--quiet", *words, "--run", self.run))
        return [self.ansible, pattern, "-i", self.inventory, "--become", "-m", "ansible.builtin.raw", "-a", asked]

    def environment(self) -> dict[str, str]:
        """Return the environment in which Ansible prints what `read_answers` reads."""
        return {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0"}

    def ask(self, pattern: str, *words: str) -> list[Answer]:
        """Ask edges; return what each said. Where Ansible itself cannot run, that is one answer of nobody."""
        try:
            done = subprocess.run(
                self.command(pattern, *words),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ASK_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as fault:
            return [Answer("ansible", None, str(fault))]
        answers = read_answers(done.stdout)
        if not answers and done.returncode:
            return [Answer("ansible", None, (done.stderr or done.stdout).strip()[-300:])]
        return answers

    def take(self) -> list[Answer]:
        """Try to take the lock: on the first edge, which decides between two that ask at once, then on the others."""
        words = ("lock", "take", "--owner", f"turnout-scheduled@{os.uname().nodename}", "--purpose", self.purpose)
        words += ("--ttl-s", f"{self.ttl_s:g}", "--pid", str(os.getpid()))
        answers = self.ask("edge[0]", *words)
        if any(one.code not in (HELD, None) for one in answers):
            return answers
        answers += self.ask("edge:!edge[0]", *words)
        if any(one.code not in (HELD, None) for one in answers):
            self.release()
        return answers

    def beat_command(self) -> list[str]:
        """Return the command that renews the lock."""
        return self.command("edge", "beat")

    def release(self) -> None:
        """Release the lock where it is held; harmless where it is not."""
        self.ask("edge", "lock", "release")
