"""A command's watch and its client, joined as on a host, with a stand-in for systemd that runs what it is given."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout_host import watched
from turnout_host.commands import OUTPUT_LIMIT

ROOT = Path(__file__).resolve().parents[3]
HOST_FILES = ROOT / "roles/service_host/files"
IDENT = "20261130-093612-a1b2"
# systemd-run: the command in a group of its own, whose end it puts on record as ExecStopPost= does.
SYSTEMD_RUN = """#!{python}
import os, subprocess, sys
sys.path.insert(0, {files!r})
from turnout_host import commands
commands.folder_of = lambda *_: {kept!r}
words = sys.argv[sys.argv.index("--") + 1 :]
open({kept!r} + "/starting", "w").close()
__import__("time").sleep({slow_s})
process = subprocess.Popen(["/bin/sh", "-c", "echo $$ > {kept}/pid; exec \\"$@\\"", "sh", *words], process_group=0)
rc = process.wait()
how = ("exited", str(rc)) if rc >= 0 else ("killed", __import__("signal").Signals(-rc).name[3:])
commands.ended("shop", {ident!r}, dict(SERVICE_RESULT="x", EXIT_CODE=how[0], EXIT_STATUS=how[1]))
"""
SYSTEMCTL = """#!/bin/sh
pid=$(cat {kept}/pid)
case "$1" in kill) /bin/kill -${{2#--signal=}} -- -$pid;; stop) /bin/kill -TERM -- -$pid;; esac
"""
WATCH = """
import sys
sys.path.insert(0, {files!r})
from turnout_host import commands, watched
commands.RUN = {run!r}
commands.folder_of = lambda *_: {kept!r}
watched.FIRST_S, watched.SILENT_S, watched.TICK_S = {first_s}, 4.0, 0.1
watched._ready = lambda: None
sys.exit(watched.main({handed!r}))
"""
CLIENT = """
import json, sys
sys.path.insert(0, {scripts!r})
from turnout.command import attached
from turnout.command.attached import Attached
from turnout.errors import TurnoutError
attached.BEAT_S = 0.5
try:
    end = Attached({argv!r}, "x@app1", terminal=False, follow={follow}).run()
except TurnoutError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
except KeyboardInterrupt as stopped:
    sys.exit(128 + int(stopped.args[0]))
sys.exit(end.get("rc", 99))
"""


class Bed:
    """One watch, and what a client of it runs."""

    def __init__(self, root: Path) -> None:
        self.kept, self.run = root / "kept", root / "run"
        self.programs = root / "programs"
        for folder in (self.kept, self.run / IDENT, self.programs):
            folder.mkdir(parents=True)
        self.names = {
            "kept": str(self.kept),
            "files": str(HOST_FILES),
            "ident": IDENT,
            "python": sys.executable,
            "slow_s": 0.0,
        }
        self.env = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        self.watch: subprocess.Popen[bytes] | None = None
        self.clients: list[subprocess.Popen[bytes]] = []
        self.lay()

    def lay(self, slow_s: float = 0.0) -> None:
        """Lay the stand-ins; the unit starts after `slow_s`."""
        for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
            (self.programs / name).write_text(text.format(**self.names | {"slow_s": slow_s}))
            (self.programs / name).chmod(0o755)

    def begin(self, *words: str, detach: bool = False, first_s: float = 20.0) -> None:
        record: dict[str, Any] = {
            "service": "shop", "color": "blue", "id": IDENT, "terminal": None, "detach": detach,
            "client_uid": os.getuid(), "begun_at": time.time(), "timeout_s": 600,
        }  # fmt: skip
        (self.kept / "record.json").write_text(json.dumps(record))
        handed = self.run / ".handed.json"
        handed.write_text(json.dumps({**record, "argv": ["systemd-run", "--", *words]}))
        code = WATCH.format(**self.names, run=str(self.run), handed=str(handed), first_s=first_s)
        self.watch = subprocess.Popen([sys.executable, "-c", code], env=self.env)
        deadline = time.monotonic() + 20
        while not (self.run / IDENT / "socket").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def client(self, *, follow: bool = False, **streams: Any) -> subprocess.Popen[bytes]:
        attach = (
            f"import sys; sys.path.insert(0, {str(HOST_FILES)!r}); print('a login shell says this', flush=True);"
            f"from turnout_host import commands, watched; commands.RUN = {str(self.run)!r};"
            f"sys.exit(watched.attach({IDENT!r}))"
        )
        code = CLIENT.format(scripts=str(ROOT / "scripts"), argv=[sys.executable, "-c", attach], follow=follow)
        given_streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        self.clients.append(subprocess.Popen([sys.executable, "-c", code], env=self.env, **given_streams))
        return self.clients[-1]

    def done(self) -> dict[str, Any]:
        """Wait for the watch's end; return what is on record."""
        assert self.watch is not None
        assert self.watch.wait(30) == 0
        record: dict[str, Any] = {}
        for name in ("record.json", "ended.json", "seen.json"):
            if (self.kept / name).exists():
                record |= json.loads((self.kept / name).read_text())
        return record


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    for process in (*made.clients, made.watch):
        if process and process.poll() is None:
            process.kill()
            process.wait()
        if process and process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


@given(st.lists(st.tuples(st.sampled_from([b"I", b"O", b"X"]), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_are_read_as_they_were_written_however_they_are_cut(sent: list[tuple[bytes, bytes]], cut: int) -> None:
    stream = b"".join(watched.frame(kind, data) for kind, data in sent)
    data, found = bytearray(), []
    for at in range(0, len(stream), cut):
        data += stream[at : at + cut]
        found += watched.frames(data)
    assert found == sent
    assert not data


def test_output_error_and_exit_code_are_the_commands_and_the_output_is_kept(bed: Bed) -> None:
    bed.begin("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    output, errors = bed.client().communicate(timeout=30)
    assert (output, errors) == (b"out\n", b"err\n")
    assert bed.clients[0].returncode == 7
    assert bed.done()["rc"] == 7
    assert sorted((bed.kept / "output").read_bytes().splitlines()) == [b"err", b"out"]


def test_input_of_any_size_arrives(bed: Bed) -> None:
    bed.begin("/usr/bin/wc", "-c")
    output, _ = bed.client(stdin=subprocess.PIPE).communicate(b"x" * 3_000_000, timeout=60)
    assert output.strip() == b"3000000"


def test_input_that_the_command_does_not_read_holds_nothing_up(bed: Bed) -> None:
    bed.begin("/bin/sh", "-c", "echo up; exec sleep 60")
    client = bed.client(stdin=subprocess.PIPE)
    assert client.stdin is not None
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    os.set_blocking(client.stdin.fileno(), False)
    for _ in range(40):
        try:
            client.stdin.write(b"x" * 100_000)
            client.stdin.flush()
        except BlockingIOError:
            break
    client.send_signal(signal.SIGINT)
    assert client.wait(20) == 130


@pytest.mark.parametrize(
    ("number", "rc"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGUSR2, 140)],
)
def test_a_signal_of_the_client_is_the_commands(bed: Bed, number: signal.Signals, rc: int) -> None:
    bed.begin("/bin/sh", "-c", "echo up; exec sleep 60")
    client = bed.client()
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    client.send_signal(number)
    assert client.wait(20) == rc
    assert bed.done()["rc"] == rc


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_command_ends_where_its_client_is_gone_or_silent(bed: Bed, number: signal.Signals) -> None:
    bed.begin("/bin/sh", "-c", "echo up; exec sleep 60")
    client = bed.client()
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    client.send_signal(number)
    record = bed.done()
    assert (record["rc"], record["why"]) == (143, "its client was gone")
    assert (bed.kept / "output").read_bytes() == b"up\n"


def test_a_command_whose_client_goes_while_its_unit_starts_is_ended_all_the_same(bed: Bed) -> None:
    bed.lay(slow_s=1.5)
    bed.begin("/bin/sleep", "60")
    client = bed.client()
    deadline = time.monotonic() + 20
    while not (bed.kept / "starting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.kill()
    assert bed.done()["rc"] == 143


def test_one_to_which_no_client_comes_is_not_begun(bed: Bed) -> None:
    bed.begin("/bin/sh", "-c", f"touch {bed.kept}/ran", first_s=0.3)
    assert "it was not begun" in bed.done()["why"]
    assert not (bed.kept / "ran").exists()


def test_a_detached_one_goes_on_and_is_told_from_its_beginning(bed: Bed) -> None:
    bed.begin("/bin/sh", "-c", f"echo first; while [ ! -e {bed.kept}/go ]; do sleep 0.05; done; echo last", detach=True)
    left = bed.client(follow=True)
    assert left.stdout is not None
    assert left.stdout.readline() == b"first\n"
    left.send_signal(signal.SIGINT)
    assert left.wait(20) == 130
    stays = bed.client(follow=True)
    assert stays.stdout is not None
    assert stays.stdout.readline() == b"first\n"
    (bed.kept / "go").touch()
    assert stays.communicate(timeout=30)[0] == b"last\n"
    assert stays.returncode == 0


def test_a_second_client_of_an_attached_command_gets_nothing(bed: Bed) -> None:
    bed.begin("/bin/sh", "-c", "echo up; exec sleep 60")
    first = bed.client()
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    second = bed.client()
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 2
    assert b"error[run-unconnected]" in errors
    assert first.poll() is None


def test_more_output_than_is_kept_is_shown_whole_and_said(bed: Bed) -> None:
    size = OUTPUT_LIMIT + 1000
    bed.begin("/usr/bin/head", "-c", str(size), "/dev/zero")
    output, _ = bed.client().communicate(timeout=60)
    assert len(output) == size
    bed.done()
    kept = (bed.kept / "output").read_bytes()
    assert kept.endswith(b"\n[1000 more bytes were not kept]\n")
    assert len(kept) < OUTPUT_LIMIT + 100
