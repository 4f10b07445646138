"""The fence of an application host: in whatever order runs come, none changes anything after a newer one was here."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout_host import fence as library
from turnout_host.fence import Fence, FenceError, parse, recorded

RANKS = st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "c", "run-10", "run-9"]))


def record_of(root: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((root / "var/lib/turnout-slots/shop/fence.json").read_text())
    return answer


def code_of(root: Path, run: str, number: int) -> str | None:
    try:
        Fence("shop", run, number, str(root)).check()
    except FenceError as refused:
        return str(refused.fields["code"])
    return None


def test_the_first_run_is_recorded(tmp_path: Path) -> None:
    assert recorded("shop", str(tmp_path)) is None
    assert code_of(tmp_path, "r1", 3) is None
    assert recorded("shop", str(tmp_path)) == {"fence": 3, "run": "r1"}
    assert abs(record_of(tmp_path)["at"] - time.time()) < 60
    assert (tmp_path / "var/lib/turnout-slots/shop/fence.json").stat().st_mode & 0o777 == 0o600


def test_a_run_that_was_overtaken_is_told_by_whom_and_what_to_do(tmp_path: Path) -> None:
    Fence("shop", "R2", 8, str(tmp_path)).check()
    with pytest.raises(FenceError) as refused:
        Fence("shop", "R", 7, str(tmp_path)).check()
    assert refused.value.fields["code"] == "fence"
    assert refused.value.fields["observed"] == "run R (fence 7) was overtaken by run R2 (fence 8)"
    assert "turnout.ops.status, then deploy or rollback again" in refused.value.fields["remedy"]


@given(st.lists(RANKS, max_size=12))
def test_a_run_goes_on_exactly_while_no_newer_one_was_here(runs: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, newest = Path(folder), None
        for number, run in runs:
            overtaken = newest is not None and newest > (number, run)
            assert code_of(root, run, number) == ("fence" if overtaken else None)
            newest = max(newest, (number, run)) if newest else (number, run)
            assert recorded("shop", folder) == {"fence": newest[0], "run": newest[1]}


def test_a_wait_ends_when_its_run_is_overtaken_and_records_nothing(tmp_path: Path) -> None:
    older, newer = Fence("shop", "a", 1, str(tmp_path)), Fence("shop", "b", 2, str(tmp_path))
    older.still()
    assert recorded("shop", str(tmp_path)) is None
    older.check()
    older.still()
    newer.check()
    with pytest.raises(FenceError, match="overtaken by run b"):
        older.still()


def test_services_do_not_share_a_fence(tmp_path: Path) -> None:
    Fence("shop", "b", 9, str(tmp_path)).check()
    Fence("blog", "a", 1, str(tmp_path)).check()


def test_a_newer_run_is_not_recorded_while_an_older_one_changes_something(tmp_path: Path) -> None:
    order: list[str] = []

    def newer() -> None:
        Fence("shop", "b", 2, str(tmp_path)).check()
        order.append("newer")

    other = threading.Thread(target=newer)
    with Fence("shop", "a", 1, str(tmp_path)).held():
        other.start()
        time.sleep(0.2)
        order.append("older")
    other.join()
    assert order == ["older", "newer"]


def test_an_older_run_changes_nothing_after_a_newer_one_changed_something(tmp_path: Path) -> None:
    """Many change one file at once (each opens the lock for itself); none finds there what a newer one wrote."""
    value = tmp_path / "value"
    value.write_text("0")
    numbers = [*range(0, 40, 2), *range(1, 41, 2)] * 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: _change(str(tmp_path), number), numbers))
    assert set(answers) == {"changed", "refused"}
    assert value.read_text() == "39"


def _change(root: str, number: int) -> str:
    value = Path(root) / "value"
    try:
        with Fence("shop", f"run-{number:02}", number, root).held():
            found = int(value.read_text())
            time.sleep(0.001)
            value.write_text(str(number))
            return "changed" if found <= number else "went back"
    except FenceError:
        return "refused"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b'{"fence": "7", "run": "a"}', b'{"fence": -1, "run": "a"}',
        b'{"fence": true, "run": "a"}', b'{"fence": 1.5, "run": "a"}', b'{"fence": 7}', b'{"fence": 7, "run": ""}',
        b'{"fence": 7, "run": 5}', b'{"fence": 7, "run": "a\\nb"}', b"[" * 100_000, b"9" * 10_000,
        b'{"fence": 7, "run": "a"',
    ],
)  # fmt: skip
def test_a_damaged_record_counts_as_unknown_and_is_said_and_made_anew(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "var/lib/turnout-slots/shop/fence.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    assert recorded("shop", str(tmp_path)) is None
    fence = Fence("shop", "r1", 1, str(tmp_path))
    fence.check()
    (note,) = fence.notes
    assert "damaged" in note and str(file) in note
    assert recorded("shop", str(tmp_path)) == {"fence": 1, "run": "r1"}
    fence.check()
    assert len(fence.notes) == 1


@given(st.binary(max_size=60))
def test_no_record_makes_the_program_fall(text: bytes) -> None:
    found = parse(text)
    assert isinstance(found, str | tuple)


def test_a_record_that_cannot_be_written_stops_the_change(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/turnout-slots"
    folder.mkdir(parents=True)
    (folder / "shop").touch()
    with pytest.raises(FenceError) as refused:
        Fence("shop", "r1", 1, str(tmp_path)).check()
    assert refused.value.fields["code"] == "host-files"


@pytest.mark.parametrize("name", ["fence.json", ".fence.json.turnout-new", "fence.lock"])
def test_what_is_no_file_where_one_is_to_be_is_moved_aside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "var/lib/turnout-slots/shop"
    (folder / name / "inside").mkdir(parents=True)
    assert code_of(tmp_path, "r1", 1) is None
    assert recorded("shop", str(tmp_path)) == {"fence": 1, "run": "r1"}
    (aside,) = folder.glob(f"{name}.not-a-file-*")
    assert (aside / "inside").is_dir()


def full(monkeypatch: pytest.MonkeyPatch, number: int, *, lock: bool) -> None:
    """Have the disk take no record any more, nor a new lock file; what is below /run is memory."""
    replace, hold = library.atomic.replace, library.Lock._hold

    def refuse(path: str) -> None:
        if "/run/" not in path:
            raise OSError(number, os.strerror(number), path)

    def no_record(path: str, content: bytes, mode: int) -> None:
        refuse(path)
        replace(path, content, mode)

    def no_lock(self: library.Lock, path: str, deadline: float) -> None:
        refuse(path)
        hold(self, path, deadline)

    monkeypatch.setattr(library.atomic, "replace", no_record)
    if lock:
        monkeypatch.setattr(library.Lock, "_hold", no_lock)


@pytest.mark.parametrize("lock", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_run_on_a_full_disk_is_recorded_in_memory_and_the_greater_record_counts(
    tmp_path: Path, number: int, lock: bool
) -> None:
    root = str(tmp_path)
    Fence("shop", "a", 3, root).check()
    with pytest.MonkeyPatch.context() as patch:
        full(patch, number, lock=lock)
        fence = Fence("shop", "b", 5, root)
        with fence.held():
            pass
        (note,) = fence.notes
        assert "run/turnout/fence/shop/fence.json" in note and "df -h" in note
        assert code_of(tmp_path, "a", 4) == "fence"
    assert record_of(tmp_path)["fence"] == 3
    assert recorded("shop", root) == {"fence": 5, "run": "b"}
    assert code_of(tmp_path, "a", 4) == "fence"
    assert code_of(tmp_path, "c", 6) is None
    assert recorded("shop", root) == {"fence": 6, "run": "c"} and record_of(tmp_path)["fence"] == 6


def test_a_lock_that_is_never_given_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LOCK_WAIT_S", 0.1)
    with Fence("shop", "a", 1, str(tmp_path)).held():
        assert code_of(tmp_path, "b", 2) == "fence-busy"
    assert code_of(tmp_path, "b", 2) is None


@pytest.mark.parametrize(("run", "number"), [("", 1), (None, 1), ("a\n", 1), ("a" * 201, 1), ("a", -1), ("a", True)])
def test_a_caller_without_a_run_or_a_number_is_refused(tmp_path: Path, run: Any, number: Any) -> None:
    with pytest.raises(FenceError) as refused:
        Fence("shop", run, number, str(tmp_path))
    assert refused.value.fields["code"] == "fence-unknown"


def test_the_record_is_on_disk_before_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    original = library.os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        original(descriptor)

    monkeypatch.setattr(library.os, "fsync", fsync)
    with Fence("shop", "a", 1, str(tmp_path)).held():
        assert synced == [".fence.json.turnout-new", "shop"]


# Formats ------------------------------------------------------------------------------------------------------------


def write_record(root: Path, record: dict[str, Any]) -> None:
    path = root / "var/lib/turnout-slots/shop/fence.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_a_record_says_its_format_and_one_without_counts_as_before(tmp_path: Path) -> None:
    Fence("shop", "a", 3, str(tmp_path)).check()
    assert record_of(tmp_path)["format"] == 1
    write_record(tmp_path, {"fence": 5, "run": "b"})
    assert code_of(tmp_path, "c", 4) == "fence"
    fence = Fence("shop", "c", 6, str(tmp_path))
    fence.check()
    assert fence.notes == []


def test_a_record_of_a_newer_format_is_named_and_keeps_no_rollback_from_going_on(tmp_path: Path) -> None:
    write_record(tmp_path, {"fence": 5, "run": "b", "format": 2, "more": {}})
    fence = Fence("shop", "c", 6, str(tmp_path))
    fence.check()
    (note,) = fence.notes
    assert "fence.json is of format 2" in note
    assert "turnout.ops.site --tags service_host" in note
    assert "its number counts" in note


@given(st.integers(2, 99), st.none() | st.text(max_size=5) | st.integers(-3, 9), st.none() | st.text(max_size=5))
def test_whatever_a_newer_record_holds_an_older_run_is_refused_where_its_number_can_be_read(
    number: int, fence: Any, run: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_record(Path(folder), {"fence": fence, "run": run, "format": number})
        readable = isinstance(parse(json.dumps({"fence": fence, "run": run}).encode()), tuple)
        code = code_of(Path(folder), "0", 0)
        assert (code == "fence") == (readable and (fence, run) > (0, "0"))
        assert code in ("fence", None)
