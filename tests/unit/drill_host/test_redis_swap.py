"""The data directory of Redis, changed for the restored one and back, however far it came."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from turnout_drill import redis_restore


@pytest.fixture
def swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> redis_restore.Swap:
    """A data directory with old files, and restored ones elsewhere."""
    monkeypatch.setattr(redis_restore.pwd, "getpwnam", lambda _: pwd.getpwuid(os.getuid()))
    data, restored = tmp_path / "data", tmp_path / "restored"
    for folder, word in ((data, "old"), (restored, "new")):
        (folder / "appendonlydir").mkdir(parents=True)
        (folder / "appendonlydir/x").write_text(word)
        (folder / "dump.rdb").write_text(word)
    (data / "nodes.conf").write_text("old")
    (data / "before-earlier").mkdir()
    made = redis_restore.Swap(data, "id")
    made.stage(restored)
    return made


def seen(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


OLD = {"appendonlydir/x": "old", "dump.rdb": "old", "nodes.conf": "old"}


def test_there_and_back(swap: redis_restore.Swap) -> None:
    swap.to_restored()
    aside = {f"before-id/{name}": word for name, word in OLD.items()}
    assert seen(swap.data) == {"appendonlydir/x": "new", "dump.rdb": "new", **aside}
    assert swap.kept_where() == str(swap.kept)
    (swap.data / "temp-1.rdb").write_text("of a start that failed")
    swap.to_old()
    assert seen(swap.data) == OLD
    assert sorted(path.name for path in swap.data.iterdir()) == [
        "appendonlydir", "before-earlier", "dump.rdb", "nodes.conf",
    ]  # fmt: skip


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_one_that_breaks_at_any_rename_is_undone(
    swap: redis_restore.Swap, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, done = Path.rename, []

    def breaks(path: Path, target: Any) -> Path:
        done.append(path)
        if len(done) == fails_at:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", breaks)
        with pytest.raises(OSError, match="Input/output error"):
            swap.to_restored()
    swap.to_old()
    assert seen(swap.data) == OLD


def test_what_an_earlier_one_left_aside_is_not_touched(swap: redis_restore.Swap, tmp_path: Path) -> None:
    swap.to_restored()
    with pytest.raises(FileExistsError, match="the old data lies in"):
        redis_restore.Swap(swap.data, "id").stage(tmp_path / "restored")
