"""turnout-scheduled: a job runs alone and in its time, its output is kept, and how it ended is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[3] / "roles" / "schedule" / "files"
sys.path.insert(0, str(FILES))

from turnout_scheduled.edges import read_answers
from turnout_scheduled.errors import Trouble
from turnout_scheduled.job import parse

RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from turnout_scheduled.cli import main; "
    "sys.exit(main(sys.argv[1:]))"
)


class Host:
    """A host's folder of jobs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "jobs").mkdir()

    def lay(self, name: str, script: str, **more: Any) -> None:
        job = {"name": name, "command": ["/bin/sh", "-c", script], "state_folder": str(self.place / name), **more}
        (self.place / "jobs" / f"{name}.json").write_text(json.dumps(job))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(FILES), *words], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TURNOUT_SCHEDULE": str(self.place / "jobs")},
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return process.returncode, out + err

    def logs(self, name: str) -> list[str]:
        return [path.read_text() for path in sorted((self.place / name / "log").iterdir())]

    def last(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / name / "last.json").read_text())
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_job_that_ends_well_is_silent_and_its_output_kept_private(host: Host) -> None:
    host.lay("good", "echo out; echo err >&2")
    assert host.run("good") == (0, "")
    (log,) = host.logs("good")
    assert "out\nerr\n" in log
    (path,) = (host.place / "good" / "log").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (host.last("good")["code"], host.last("good")["reason"]) == (0, "")
    assert "good" in host.run("--list")[1]


def test_a_job_that_fails_passes_its_exit_code_on_and_shows_its_last_words(host: Host) -> None:
    host.lay("bad", "echo the disk is full; exit 7")
    code, said = host.run("bad")
    assert code == 7
    assert "bad failed: it ended with exit code 7" in said
    assert "the disk is full" in said
    assert host.last("bad")["code"] == 7
    assert "exit 7" in host.run("--list")[1]


def test_a_job_killed_by_a_signal_says_so(host: Host) -> None:
    host.lay("killed", "kill -KILL $$")
    code, said = host.run("killed")
    assert (code, "SIGKILL" in said) == (137, True)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_job_that_takes_too_long_is_ended_with_all_that_it_started(host: Host) -> None:
    host.lay("long", f"sleep 300 & echo $! > {host.place}/child; wait", timeout_s=1)
    started = time.monotonic()
    code, said = host.run("long")
    assert code == 124
    assert "it had not ended after 1 s" in said
    assert time.monotonic() - started < 20
    assert not alive(int((host.place / "child").read_text()))


def test_what_a_job_leaves_running_does_not_keep_it(host: Host) -> None:
    host.lay("leaves", f"sleep 300 & echo $! > {host.place}/child; echo done")
    started = time.monotonic()
    assert host.run("leaves")[0] == 0
    assert time.monotonic() - started < 20
    assert not alive(int((host.place / "child").read_text()))


def until(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_second_run_is_refused_with_the_pid_of_the_first(host: Host) -> None:
    host.lay("once", f"touch {host.place}/began; while [ ! -e {host.place}/go ]; do sleep 0.05; done")
    first = host.start("once")
    until(host.place / "began")
    code, said = host.run("once")
    assert code == 75
    assert f"runs already (pid {first.pid})" in said
    (host.place / "go").touch()
    assert first.wait(timeout=30) == 0
    assert host.last("once")["code"] == 0


def test_told_to_end_it_ends_the_job_first(host: Host) -> None:
    host.lay("told", f"trap 'echo cleaned up; exit 3' TERM; touch {host.place}/began; while :; do sleep 0.05; done")
    process = host.start("told")
    until(host.place / "began")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "told to end by SIGTERM" in said
    assert "cleaned up" in host.logs("told")[0]


def test_output_is_limited_and_the_newest_files_are_kept(host: Host) -> None:
    host.lay("loud", "head -c 300000 /dev/zero | tr '\\0' x", output_limit_bytes=1000, keep=2)
    for _ in range(3):
        assert host.run("loud")[0] == 0
    logs = host.logs("loud")
    assert len(logs) == 2
    for log in logs:
        assert log.count("x") < 1100
        assert "the rest of the output was dropped" in log


def test_a_program_that_is_not_there_is_a_failure_in_words(host: Host) -> None:
    host.lay("absent", "")
    job = json.loads((host.place / "jobs" / "absent.json").read_text())
    (host.place / "jobs" / "absent.json").write_text(json.dumps({**job, "command": ["/nonexistent/program"]}))
    code, said = host.run("absent")
    assert code == 127
    assert "could not be started" in said


def test_an_alertmanager_that_is_down_is_told_and_hides_nothing(host: Host) -> None:
    host.lay("bad", "exit 5", alertmanager="http://127.0.0.1:9")
    code, said = host.run("bad")
    assert code == 5
    assert "Alertmanager was not told" in said


def test_an_unknown_job_names_the_known_ones(host: Host) -> None:
    host.lay("good", "true")
    code, said = host.run("god")
    assert code == 2
    assert "one of the jobs of this host: good" in said
    assert host.run()[0] == 2


GOOD = {"name": "a", "command": ["true"], "state_folder": "/x"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command": []}, "field command is not there"),
        ({"command": "true"}, "field command"),
        ({"command": [1]}, "field command"),
        ({"timeout_s": 0}, "field timeout_s is 0"),
        ({"timeout_s": "5"}, "field timeout_s"),
        ({"keep": True}, "field keep"),
        ({"keep": 1.5}, "field keep"),
        ({"lock": "maybe"}, "field lock is maybe"),
        ({"lock": "required"}, "without ansible and inventory"),
        ({"alertmanager": "file:///etc/passwd"}, "field alertmanager"),
        ({"environment": {"A": 1}}, "field environment"),
        ({"colour": "blue"}, "field colour is not known"),
    ],
)
def test_a_wrong_job_names_its_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Trouble) as trouble:
        parse({**GOOD, **change}, "a.json")
    assert words in str(trouble.value)
    assert "a.json" in str(trouble.value)


# What `ansible` prints for its raw module, as seen on the lab.
SAID = """edge1 | CHANGED | rc=0 >>
{"ok": true, "changed": true, "message": "the lock is run r1's"}

edge2 | FAILED | rc=4 >>
{"ok": false, "error": {"code": "lock", "observed": "the lock is held by run r0 (deploy, ann@laptop, pid 7)"}}
non-zero return code
edge3 | UNREACHABLE! => {
    "changed": false,
    "msg": "Failed to connect to the host via ssh: timed out",
    "unreachable": true
}
"""


def test_answers_of_the_edges_are_read() -> None:
    one, two, three = read_answers(SAID)
    assert (one.host, one.code, one.words) == ("edge1", 0, "the lock is run r1's")
    assert (two.host, two.code) == ("edge2", 4)
    assert two.words == "the lock is held by run r0 (deploy, ann@laptop, pid 7)"
    assert (three.host, three.code) == ("edge3", None)
    assert read_answers("") == []
