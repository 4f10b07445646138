"""`turnout run` on the lab: the color in service, its isolation, every signal, a lost connection, a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence

import pytest
from harness import APPS, BIN, EDGES, OTHER, ROOT, Turnout

HOST = APPS[0]
# What an exposed process is held by; the environment's variables and folders with it.
HELD_BY = (
    *("User", "Group", "WorkingDirectory", "EnvironmentFiles", "Environment", "StateDirectory", "RootDirectory"),
    *("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectProc", "ProtectClock"),
    *("ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
    *("ProtectControlGroups", "LockPersonality", "RemoveIPC", "NoNewPrivileges", "CapabilityBoundingSet"),
    *("AmbientCapabilities", "SystemCallFilter", "SystemCallErrorNumber", "SystemCallArchitectures", "UMask"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LimitNOFILE"),
)
STARTED: list[subprocess.Popen[str]] = []  # clients; a test that failed leaves its own behind
SLEEPS = ("/bin/sh", "-c", "echo begun; exec sleep 4321")


@pytest.fixture(scope="module", autouse=True)
def laid(turnout: Turnout) -> None:
    """Lay the program on the hosts, with 1.0.0 in service."""
    run = turnout.playbook("site", "--tags", "service_host")
    assert run.rc == 0, run.tail
    turnout.ensure("1.0.0")


@pytest.fixture(autouse=True)
def nothing_left(turnout: Turnout) -> Iterator[None]:
    """Hold every test to this: no unit, no process, no file in /run is left half a minute later."""
    yield
    for process in STARTED:
        process.kill()
    STARTED.clear()
    deadline = time.monotonic() + 35
    while left := turnout.ssh(
        HOST,
        "systemctl list-units --all --plain --no-legend 'sample-run*'; ls -A /run/turnout-run 2>/dev/null;"
        " pgrep -af 'sleep 4321' | grep -v pgrep",
        check=False,
    ).strip():
        assert time.monotonic() < deadline, left
        time.sleep(1)


def words(*command: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command line of a command."""
    return [str(BIN / "turnout"), "run", *options, "--", *command]


def run(turnout: Turnout, *command: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a terminal and without input."""
    return subprocess.run(
        words(*command, options=options), cwd=ROOT, env=turnout.env(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def start(turnout: Turnout, *command: str) -> tuple[subprocess.Popen[str], str]:
    """Start a command that first says `begun`; return it and its id."""
    process = subprocess.Popen(
        words(*command), cwd=ROOT, env=turnout.env(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    STARTED.append(process)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    return process, process.stderr.readline().split()[2].rstrip(":")


def shown(turnout: Turnout, name: str) -> str:
    """Return what --show tells."""
    return turnout.turnout("run", "--show", name)


def test_environment_user_and_exit_code_are_the_commands(turnout: Turnout) -> None:
    color = turnout.edge(EDGES[0])["stable"]
    done = run(turnout, "/bin/sh", "-c", 'id -un; pwd -P; echo "$TURNOUT_COLOR $TURNOUT_RELEASE"; echo no >&2; exit 7')
    assert done.returncode == 7, done.stderr
    release = turnout.edge(EDGES[0])["releases"][color]["release_id"]
    assert done.stdout.splitlines() == ["sample", f"/opt/sample/releases/{release}", f"{color} 1.0.0"]
    assert "no" in done.stderr.splitlines()
    ledger = turnout.edge(EDGES[0])["ledger"][-1]
    assert (ledger["kind"], ledger["color"], ledger["release"]) == ("command", color, release)
    assert ledger["id"].endswith(f"@{HOST}")


def test_words_arrive_as_they_are(turnout: Turnout) -> None:
    done = run(turnout, "printf", "%s\\n", "$HOME", "${HOME}", "a b", "%i", "it's", 'say "x"')
    assert done.stdout.splitlines() == ["$HOME", "${HOME}", "a b", "%i", "it's", 'say "x"'], done.stderr


def test_isolation_is_that_of_the_api(turnout: Turnout) -> None:
    color = turnout.edge(EDGES[0])["stable"]
    process, name = start(turnout, *SLEEPS)
    unit = f"sample-run@{color}-{name.partition('@')[0]}.service"
    wanted = " ".join(f"-p {key}" for key in HELD_BY)
    api, ours = (
        sorted(turnout.ssh(HOST, f"systemctl show {one} {wanted}").splitlines())
        for one in (f"sample-api@{color}.service", unit)
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert len(api) == len(HELD_BY)
    assert ours == api


@pytest.mark.parametrize(
    ("number", "rc"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGUSR1, 138)],
)
def test_a_signal_reaches_the_command(turnout: Turnout, number: signal.Signals, rc: int) -> None:
    process, name = start(turnout, *SLEEPS)
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == rc
    assert time.monotonic() - began < 8
    assert "begun" in shown(turnout, name)


def test_one_that_does_not_heed_sigterm_is_killed(turnout: Turnout) -> None:
    process, _ = start(turnout, "/bin/sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1; done")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert process.returncode == 137


def _kill_client(process: subprocess.Popen[str]) -> None:
    process.kill()


def _kill_ssh(process: subprocess.Popen[str]) -> None:
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    for pid in children.split():
        os.kill(int(pid), signal.SIGKILL)


def _stop_client(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(23)  # longer than the host waits for a sign of life
    process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("lose", [_kill_client, _kill_ssh, _stop_client])
def test_a_command_ends_with_its_client(turnout: Turnout, lose: object) -> None:
    process, name = start(turnout, *SLEEPS)
    assert callable(lose)
    lose(process)
    _, errors = process.communicate(timeout=60)
    if lose is not _kill_client:
        assert process.returncode == 2
        assert "error[run-lost]" in errors, errors
    time.sleep(3)
    told = shown(turnout, name)
    assert "its client was gone" in told, told
    assert told.endswith("begun\n"), told


def test_a_detached_one_goes_on_and_is_followed(turnout: Turnout) -> None:
    done = run(turnout, "/bin/sh", "-c", "echo first; sleep 12; echo last; exit 4", options=["--detach"])
    assert done.returncode == 0, done.stderr
    name = done.stdout.strip()
    left = subprocess.Popen(
        [str(BIN / "turnout"), "run", "--attach", name], cwd=ROOT, env=turnout.env(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert left.stdout is not None
    assert left.stdout.readline() == "first\n"
    left.send_signal(signal.SIGINT)
    _, errors = left.communicate(timeout=20)
    assert left.returncode == 130
    assert f"turnout run --stop {name}" in errors
    followed = subprocess.run(
        [str(BIN / "turnout"), "run", "--attach", name], cwd=ROOT, env=turnout.env(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (followed.returncode, followed.stdout) == (4, "first\nlast\n"), followed.stderr


def test_a_limit_ends_it(turnout: Turnout) -> None:
    done = run(turnout, *SLEEPS, options=["--timeout", "3"])
    assert done.returncode == 124
    assert "its limit of 3 s" in done.stderr, done.stderr


def test_a_terminal_is_a_terminal(turnout: Turnout) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(  # noqa: S606
            BIN / "turnout", words("/bin/bash", "--norc", "-i"), turnout.env() | {"TERM": "vt100"}
        )
    said = bytearray()

    def until(text: bytes, limit_s: float = 40) -> None:
        deadline = time.monotonic() + limit_s
        while text not in said:
            assert time.monotonic() < deadline, bytes(said)
            if select.select([terminal], [], [], 0.5)[0]:
                with contextlib.suppress(OSError):
                    said.extend(os.read(terminal, 4096))
        del said[: said.index(text) + len(text)]

    until(b"$ ")
    os.write(terminal, b"echo [$(id -un) $TERM $(tty)]\n")
    until(b"[sample vt100 /dev/pts/")
    os.write(terminal, b"sleep 4321\n")
    time.sleep(1)
    os.write(terminal, b"\x03echo after-$?\n")
    until(b"after-130")
    os.write(terminal, b"read x; echo got-$x\nhello\n")
    until(b"got-hello")
    os.write(terminal, b"exit 5\n")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if select.select([terminal], [], [], 0.2)[0]:
                os.read(terminal, 4096)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
    assert os.waitstatus_to_exitcode(status) == 5


def test_a_release_waits_for_a_command_in_the_color_that_it_needs(turnout: Turnout) -> None:
    color = turnout.edge(EDGES[0])["stable"]
    process, name = start(turnout, *SLEEPS)
    try:
        first = turnout.deploy("1.1.0")  # goes to the other color: the command is no hindrance
        assert first.rc == 0, first.tail
        assert turnout.edge(EDGES[0])["stable"] == OTHER[color]
        turnout.publish("1.0.0")
        refused = turnout.deploy("1.0.0", "-e", "again=test")
        assert refused.rc != 0
        # A cell of a table, on several lines.
        assert re.search(rf"a command of root runs in\s.*?\b{color}\b.*?\(/bin/sh -c echo", refused.out, re.DOTALL)
        assert f"--stop {name}" in refused.out, refused.tail
        assert process.poll() is None
        back = turnout.rollback()
        assert back.rc == 0, back.tail
        assert process.poll() is None
    finally:
        turnout.turnout("run", "--stop", name)
        process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        (("bin/nothing-of-the-kind",), (), "run-program"),
        (("echo",), ("--host", "nobody"), "run-host"),
        (("echo a | tr a b",), (), "run-words"),
    ],
)
def test_it_is_refused_before_anything(
    turnout: Turnout, command: Sequence[str], options: Sequence[str], code: str
) -> None:
    before = turnout.ssh(HOST, "ls /var/lib/turnout-slots/sample/commands")
    done = run(turnout, *command, options=options)
    assert done.returncode == 2
    assert f"error[{code}]" in done.stdout + done.stderr, done.stderr
    assert turnout.ssh(HOST, "ls /var/lib/turnout-slots/sample/commands") == before
