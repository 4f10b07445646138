"""What is asked of the program and cannot be read back is refused; and an answer that cannot be printed was one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_model import ModelEdge, edge_in_flight, edge_with_stable, release, state_of
from turnout_edge import cli
from turnout_edge.edge import Config
from turnout_edge.errors import EXIT_REFUSED, EXIT_USAGE, Trouble
from turnout_edge.follow import Follower, said_here
from turnout_edge.shapes import LONGEST_LEASE_S
from turnout_edge.store import FileLock
from turnout_edge.watch import Watch, run_watch

FILES = Path(__file__).parents[3] / "roles" / "edge" / "files"
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(FILES)!r}); from turnout_edge.cli import main; sys.exit(main(sys.argv[1:]))"
)


def refused(edge: ModelEdge, words: str, **named: Any) -> Trouble:
    """Return the error with which a command is refused, and see that it wrote nothing."""
    before = dict(edge.disk.data)
    with pytest.raises(Trouble) as caught:
        edge.run(words, **named)
    assert edge.disk.data == before
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.observed and caught.value.expected and caught.value.remedy
    return caught.value


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lease_s", ["90000", "86400.5", "inf", "nan", "0", "-1"])
@pytest.mark.parametrize("words", ["move --share-bp 2500", "lease arm"])
def test_a_lease_is_no_longer_than_what_is_read_back(words: str, lease_s: str) -> None:
    if words == "lease arm" and lease_s == "0":
        return  # none is named: the length of edge.json
    edge = edge_in_flight(0)
    trouble = refused(edge, f"{words} --run A --lease-s {lease_s}")
    assert trouble.code == "lease"
    assert "86400" in trouble.expected
    assert edge.shares()["green"] == 0


def test_the_longest_lease_holds() -> None:
    edge = edge_in_flight(0)
    edge.run(f"move --run A --share-bp 2500 --lease-s {LONGEST_LEASE_S}")
    Watch(edge).tick()
    assert edge.shares()["green"] == 2500


def test_a_lease_of_edge_json_that_is_too_long_is_refused_and_keeps_no_rollback() -> None:
    edge = edge_in_flight(2500)
    edge.config.lease_s = 90_000.0
    assert "edge.json" in refused(edge, "lease arm --run A").remedy
    edge.run("rollback")
    assert edge.shares()["green"] == 0


@pytest.mark.parametrize("ttl_s", ["inf", "nan", "-1", "1e10"])
def test_a_time_to_live_can_be_read_back(ttl_s: str) -> None:
    assert refused(ModelEdge(), f"lock take --run A --ttl-s {ttl_s}").code == "ttl"


def test_a_fence_can_be_read_back() -> None:
    assert refused(ModelEdge(), f"lock take --run A --fence {2**63}").code == "fence"


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"\\ud800"', "1e999", "[" * 100_000, "9" * 5000])
@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "--run", "A", "--color", "green", "--release"),
        ("adopt", "--color", "blue", "--force", "--reason", "x", "--release"),
        ("journal", "--run", "A", "--event", "note", "--json"),
        ("ledger", "--run", "A", "--json"),
    ],
)
def test_json_that_could_not_be_read_back_is_refused(words: tuple[str, ...], value: str) -> None:
    edge = edge_with_stable()
    before = dict(edge.disk.data)
    command, options = cli.parse([*words, '{"kind": "x", "release": "1.1.0", "complete": true, "x": ' + value + "}"])
    with pytest.raises(Trouble) as caught:
        cli.perform(edge, command, cli.Who("A", "tester"), options)
    assert caught.value.code == "json"
    assert caught.value.exit_code == EXIT_USAGE
    assert len(caught.value.observed) < 500
    assert edge.disk.data == before


def test_a_release_in_words_that_are_no_utf_8_is_refused() -> None:
    edge = edge_with_stable()
    command, options = cli.parse(["prepare", "--run", "A", "--color", "green", "--release", '{"release": "\udcfc"}'])
    with pytest.raises(Trouble) as caught:
        cli.perform(edge, command, cli.Who("A", "tester"), options)
    assert caught.value.code == "json"


def test_a_change_that_would_leave_a_state_nobody_can_read_is_refused() -> None:
    edge = ModelEdge()
    edge.run("lock take", run="")
    with pytest.raises(Trouble) as caught:
        edge.run("prepare --color blue", run="", release=release("1.0.0"))
    assert caught.value.code == "unsound"
    assert "declared_by" in caught.value.observed
    assert state_of(edge).candidate is None


@pytest.mark.parametrize("text", [b'{"service": "\\ud800"}', b"[" * 100_000, b'{"lease_s": NaN}', b"\xff", b""])
def test_an_edge_json_that_cannot_be_read_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "edge.json").write_bytes(text)
    with pytest.raises(Trouble) as caught:
        Config.load(str(tmp_path / "edge.json"))
    assert caught.value.code == "config"


# -- what a peer says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"service": "sample", "age_s": 1' + b"0" * 400 + b"}\n",
        b'{"service": "sample", "age_s": NaN}\n',
        b'{"service": "sample", "age_s": 1e999}\n',
        b'{"service": "\\ud800", "age_s": 1}\n',
        b'{"service": NaN, "age_s": 1}\n',
    ],
)
def test_no_line_of_a_peer_ends_what_follows_it(tmp_path: Path, line: bytes) -> None:
    follower = Follower(str(tmp_path / "peers.json"))
    assert follower.keep("edge2", line) is False
    assert follower.heard == {}


def test_an_error_that_nobody_foresaw_ends_no_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Enough(BaseException):
        pass

    follower = Follower(str(tmp_path / "peers.json"))
    times: list[float] = []

    def wait(seconds: float) -> None:
        times.append(seconds)
        if len(times) == 2:
            raise Enough

    def fail(*_: object) -> None:
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr("turnout_edge.follow.time.sleep", wait)
    monkeypatch.setattr(follower, "follow_once", fail)
    peer = {"name": "edge2", "address": "192.0.2.2", "user": "u", "key": "k", "known_hosts": "h"}
    with pytest.raises(Enough):
        follower.follow(peer)
    assert capsys.readouterr().err.count("OverflowError") == 1


def test_an_edge_whose_own_word_has_no_sound_moment_says_so(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    told.write_text('{"service": "sample", "boot": 1' + "0" * 400 + "}")
    config = {"service": "s", "socket": "/s", "map": "/m", "backends": {}, "state_dir": "/d", "told_file": str(told)}
    assert said_here(Config(config))["age_s"] is None


# -- answers that cannot be printed ------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An edge.json of an edge without HAProxy, which knows nothing yet."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "share.map").write_text("green 0\n")
    path = tmp_path / "edge.json"
    data = {"service": "sample", "socket": str(tmp_path / "none.sock"), "map": str(tmp_path / "share.map")}
    data |= {"backends": {"blue": "b", "green": "g"}, "state_dir": str(state), "require_watch": False}  # type: ignore[dict-item]
    path.write_text(json.dumps(data))
    return path


def words_of(config: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "--config", str(config), *words]


def shell(config: Path, words: str, to: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a shell, its output sent elsewhere."""
    command = ["sh", "-c", f'"$@" {to}', "sh", *words_of(config, *words.split())]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=60, check=False)


@pytest.mark.parametrize("to", ["> /dev/full", ">&-", "> /dev/full 2> /dev/full", ">&- 2>&-", "2>&-", "2> /dev/full"])
@pytest.mark.parametrize("words", ["journal --run R --event note", "journal --run R --event note --human", "lock beat"])
def test_an_answer_that_cannot_be_printed_keeps_its_exit_code(config: Path, words: str, to: str) -> None:
    done = shell(config, words, to)
    assert done.returncode == (EXIT_USAGE if words == "lock beat" else 0)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    journal = config.parent / "state" / "journal.jsonl"
    assert words == "lock beat" or journal.read_text().count('"event":"note"') == 1


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_help_and_version_that_cannot_be_printed_are_no_traceback(words: str) -> None:
    command = ["sh", "-c", '"$@" > /dev/full', "sh", sys.executable, "-c", PROGRAM, words]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_answer_is_printed_in_whatever_the_terminal_speaks(config: Path, encoding: str) -> None:
    action = "größe→"
    done = shell(config, f"journal --run R --event note --action {action}", "", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert json.loads(done.stdout.decode(encoding))["line"]["action"] == action
    done = shell(config, f"journal --run R --event note --action {action} --human", "", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert b"of run R" in done.stdout


# -- the lock of all work ----------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A turnout-edge that was stopped while it works: no SIGTERM reaches it."""
    code = f"""
        import sys, time; sys.path.insert(0, {str(FILES)!r})
        from turnout_edge.cli import Uninterrupted
        from turnout_edge.store import FileLock
        with Uninterrupted(), FileLock({str(config.parent / "state" / "flock")!r}):
            print("holds", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holds\n"
        holder.send_signal(signal.SIGSTOP)
        yield holder
        holder.kill()


def test_the_remedy_for_a_holder_that_hangs_ends_it(
    config: Path, hanging: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileLock, "WAIT_S", 0.1)
    code, answer, _ = cli.answer_to(["rollback", "--config", str(config)])
    assert (code, answer["error"]["code"]) == (EXIT_REFUSED, "busy")
    remedy = f"kill -CONT {hanging.pid}; kill -9 {hanging.pid}"
    assert remedy in answer["error"]["remedy"]
    subprocess.run(["sh", "-c", remedy], check=True, timeout=10)
    hanging.wait(timeout=10)
    assert cli.answer_to(["lock", "take", "--run", "A", "--config", str(config)])[0] == 0


def test_nobody_is_told_to_kill_a_process_that_only_stands_in_the_file(
    config: Path, hanging: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileLock, "WAIT_S", 0.1)
    flock = config.parent / "state" / "flock"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        flock.write_text(f"{stranger.pid}\n")  # the holder found the disk full, and could not write its own
        error = cli.answer_to(["rollback", "--config", str(config)])[1]["error"]
        stranger.kill()
    assert f"kill -9 {hanging.pid}" in error["remedy"]
    assert str(stranger.pid) not in error["remedy"] + error["observed"]
    monkeypatch.setattr("turnout_edge.store.holder_of", lambda path: None)
    error = cli.answer_to(["rollback", "--config", str(config)])[1]["error"]
    assert "pid unknown" in error["observed"]
    assert "kill" not in error["remedy"]
    assert "/proc/locks" in error["remedy"] and str(flock.stat().st_ino) in error["remedy"]


@pytest.mark.parametrize("kind", ["file", "loop", "dangling", "file above"])
@pytest.mark.parametrize("words", ["rollback", "watch"])
def test_a_state_folder_that_is_none_is_told(config: Path, kind: str, words: str) -> None:
    folder = config.parent / "state"
    folder.rmdir()
    if kind == "file":
        folder.touch()
    elif kind == "file above":
        folder.touch()
        config.write_text(config.read_text().replace(str(folder), str(folder / "deeper")))
    else:
        folder.symlink_to(folder if kind == "loop" else "nowhere")
    code, answer, _ = cli.answer_to([words, "--config", str(config)])
    assert (code, answer["error"]["code"]) == (EXIT_USAGE, "state-dir")
    assert "state" in answer["error"]["observed"]
    if kind != "file above":
        subprocess.run(["sh", "-c", answer["error"]["remedy"]], check=True)
        FileLock(str(folder / "flock")).__enter__().__exit__()


def test_a_watchdog_whose_folder_is_gone_says_so(tmp_path: Path) -> None:
    edge = ModelEdge()
    edge.config.state_dir = str(tmp_path / "none")
    with pytest.raises(Trouble) as caught:
        run_watch(edge)
    assert caught.value.code == "state-dir"
