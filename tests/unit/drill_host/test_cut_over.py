"""A cut over that fails, or is killed, at any of its steps: what serves afterwards, what is said, and what a second one
makes of it. Folders and renames are real; systemctl and the servers are not (tests/more/test_8_restore.py has those).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from turnout_drill import cutover, place, redis_restore
from turnout_drill.errors import BrokenOff
from turnout_drill.shell import ProgramError


class Killed(BaseException):
    """What is left of a program that was killed: no handler of its own has any effect any more."""


class World:
    """A host with one server. Every step of a cut over goes by here, and may fail, or be the last."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.serves: str | None = "old"
        self.steps: list[str] = []
        self.fails: Callable[[int], bool] = lambda _: False
        self.killed_at: int | None = None
        self.will_not_start: set[str] = set()
        self.apart = True
        """Whether the server runs that was validated: a transient unit, which is gone once it was stopped."""

    def step(self, what: str) -> None:
        if self.killed_at is not None and len(self.steps) >= self.killed_at:
            raise Killed
        self.steps.append(what)
        if self.fails(len(self.steps) - 1):
            raise OSError(5, f"Input/output error at {what}")

    def run(self, argv: list[str], *, allowed: tuple[int, ...] = (0,), **_: Any) -> bytes:
        try:
            self.step(" ".join(argv[:2]))
        except OSError as error:
            raise ProgramError(str(error)) from None
        if argv[0].endswith("pg_controldata"):
            return b"Latest checkpoint's REDO WAL file:    000000020000000000000007\n"
        if argv[0] == "systemctl" and "turnout-drill" not in argv[-1]:
            self.command(argv[1])
        elif argv[:2] == ["systemctl", "stop"]:
            if not self.apart and 5 not in allowed:
                raise ProgramError(f"systemctl ended with code 5: Failed to stop {argv[-1]}: Unit not loaded.")
            self.apart = False
        return b"f" if argv[0] == "psql" else b""

    def systemctl(self, *words: str) -> None:
        """As the program's own: nobody looks whether it succeeds."""
        with contextlib.suppress(OSError, ProgramError):
            self.step(" ".join(words))
            if "start" in words:
                self.command("start")

    def command(self, word: str) -> None:
        if word == "stop":
            self.serves = None
        elif word == "start" and self.serves is None:
            found = self.words()
            if len(found) != 1 or found & self.will_not_start:
                raise ProgramError(f"the server does not start on {sorted(found)}")
            self.serves = found.pop()

    def words(self) -> set[str]:
        """Return whose files lie where the server looks: old, new, or both in a mess."""
        found = {path.read_text() for path in self.data.rglob("word*") if not _aside(path, self.data)}
        whole = len([path for path in self.data.glob("**/word*") if not _aside(path, self.data)]) == 2
        return found if whole else {"part", *found}

    def obey(self, said: str) -> None:
        """Do what a message tells a person to do."""
        told = said.partition("by hand: ")[2].partition("; or mend")[0]
        for command in re.split(r" && |, (?=find |mv |rmdir |systemctl )", told):
            words = shlex.split(command.replace("{}", "X"))
            if words[0] == "systemctl":
                self.command(words[1])
            elif words[0] == "mv" and words[1].endswith("/*"):
                for path in Path(words[1][:-2]).iterdir():
                    path.rename(Path(words[2]) / path.name)
            elif words[0] == "mv":
                Path(words[1]).rename(words[2])
            elif words[0] == "find":
                for path in self.data.iterdir():
                    if not path.name.startswith("before-"):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                assert words[0] == "rmdir", command
                Path(words[1]).rmdir()


def _aside(path: Path, data: Path) -> bool:
    return path.relative_to(data).parts[0].startswith(("before-", "restored-", "moving-"))


class Bed:
    """A restore beside a server's data, the plan of its cut over, and the world around."""

    def __init__(
        self, world: World, plan: dict[str, Any], cut_over: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        self.world, self.plan, self._cut_over = world, plan, cut_over

    def cut_over(self) -> dict[str, Any]:
        return self._cut_over(self.plan)


def fill(folder: Path, word: str) -> None:
    for name in ("word", "base/word"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(word)


def state(folder: Path, **known: Any) -> None:
    (folder / "state.json").write_text(json.dumps(known))


@pytest.fixture(params=["postgres", "redis"])
def bed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    store = request.param
    me = pwd.getpwuid(os.getuid())
    monkeypatch.setattr("pwd.getpwnam", lambda _: me)
    monkeypatch.setattr(place, "run", lambda *_, **__: b"")
    monkeypatch.setattr(place, "systemctl", lambda *_: None)
    monkeypatch.setattr(place.subprocess, "run", lambda *_, **__: None)
    restores = tmp_path / "restores"
    folder = restores / "r1"
    (folder / "tablespaces").mkdir(parents=True)
    state(folder, kept=True, validated=True, store=store)
    if store == "postgres":
        data = tmp_path / "clusters/17/main"
        fill(folder / "pgdata", "new")
        (folder / "pgdata/pg_wal/archive_status").mkdir(parents=True)
        (folder / "pgdata/postgresql.auto.conf").write_text("archive_mode = 'off'\n")
        (tmp_path / "etc/17/main").mkdir(parents=True)
        (tmp_path / "etc/17/main/postgresql.conf").write_text("")
        monkeypatch.setattr(cutover, "_START_LIMIT_S", 1)  # a world in which nothing works is waited for that long
        monkeypatch.setattr(cutover, "CLUSTERS", tmp_path / "clusters")
        monkeypatch.setattr(cutover, "CONFIGURATIONS", tmp_path / "etc")
        plan = {"version": "17", "cluster": "main", "port": 5432}
        act = cutover.cut_over
    else:
        data = tmp_path / "redis"
        fill(folder / "redis", "new")
        (tmp_path / "redis.conf").write_text("")
        monkeypatch.setattr(redis_restore, "_CONFIGURATION", tmp_path / "redis.conf")
        plan = {"data_directory": str(data), "port": 6379, "password": "x"}
        act = redis_restore.cut_over
    fill(data, "old")
    world = World(data)
    for module in (cutover, redis_restore):
        monkeypatch.setattr(module, "run", world.run)
        monkeypatch.setattr(module, "systemctl", world.systemctl)
        monkeypatch.setattr(module, "unit_active", lambda _: world.serves is not None)
    monkeypatch.setattr(redis_restore.redis, "keys", lambda *_: world.step("keys"))
    _step_before(monkeypatch, world, os, "rename")
    _step_before(monkeypatch, world, Path, "rename")
    _step_before(monkeypatch, world, Path, "rmdir")
    _step_before(monkeypatch, world, Path, "unlink")
    _step_before(monkeypatch, world, place.Place, "say")
    _step_before(monkeypatch, world, place.Place, "remove")
    return Bed(world, {"id": "r1", "directory": str(restores), "store": store, **plan}, act)


def _step_before(monkeypatch: pytest.MonkeyPatch, world: World, owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def stepping(*arguments: Any, **options: Any) -> Any:
        world.step(name)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, stepping)


def test_the_restored_data_serves_and_the_old_is_kept(bed: Bed) -> None:
    kept = bed.cut_over()["kept"]
    assert bed.world.serves == "new"
    assert (Path(kept) / "word").read_text() == "old"
    assert not (Path(bed.plan["directory"]) / "r1").exists()


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"kept": True, "store": "itself"},
        {"validated": True, "store": "itself"},
        {"kept": True, "validated": False, "store": "itself"},
        {"deadline": 1.0, "store": "itself"},
        {"kept": True, "validated": True, "store": "another"},
        {"kept": True, "validated": True},
    ],
)
def test_one_that_was_never_validated_is_refused(bed: Bed, known: dict[str, Any]) -> None:
    """As a restore leaves it that still runs, that failed a check, or that is of another store."""
    if known.get("store") == "itself":
        known = {**known, "store": bed.plan["store"]}
    state(Path(bed.plan["directory"]) / "r1", **known)
    with pytest.raises(BrokenOff, match="there is no validated restore r1"):
        bed.cut_over()
    assert bed.world.steps == []
    assert bed.world.serves == "old"


@pytest.mark.parametrize("bed", ["postgres"], indirect=True)
@pytest.mark.parametrize(("in_service", "refused"), [((2, 3), True), ((2, 3, 4), True), ((2,), False), ((), False)])
def test_one_whose_timeline_the_archive_has_from_another_is_refused(
    bed: Bed, in_service: tuple[int, ...], refused: bool
) -> None:
    """Two restores were made, the other was cut over: this one's timeline has that one's number."""
    restored = Path(bed.plan["directory"]) / "r1/pgdata/pg_wal"
    for number in (2, 3):
        (restored / f"{number:08X}.history").write_text("1\t0/3000000\tno recovery target specified\n")
    for number in in_service:
        mark = bed.world.data / f"pg_wal/archive_status/{number:08X}.history.done"
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("")
    # One that was never archived is in nobody's way.
    (bed.world.data / "pg_wal/archive_status").mkdir(parents=True, exist_ok=True)
    (bed.world.data / "pg_wal/archive_status/00000003.history.ready").write_text("")
    if not refused:
        bed.cut_over()
        assert bed.world.serves == "new"
        return
    with pytest.raises(BrokenOff, match=r"has archived timeline 3.*turnout-drill remove r1.*nothing was changed"):
        bed.cut_over()
    assert (bed.world.steps, bed.world.serves) == ([], "old")


MOST_STEPS = 36


@pytest.mark.parametrize("at", range(MOST_STEPS))
def test_killed_while_it_is_put_back_a_second_one_mends_it(bed: Bed, at: int) -> None:
    """The restored does not start; whoever puts the old back is killed; what hindered the restored is mended."""
    world = bed.world
    world.will_not_start = {"new"}
    world.killed_at = at
    try:
        bed.cut_over()
    except Killed:
        pass
    except BrokenOff:
        assert world.serves == "old"
    world.killed_at, world.will_not_start = None, set()
    bed.cut_over()
    assert world.serves == "new", world.steps


@pytest.mark.parametrize("at", range(MOST_STEPS))
def test_killed_between_any_two_steps_a_second_one_mends_it(bed: Bed, at: int) -> None:
    world = bed.world
    world.killed_at = at
    try:
        bed.cut_over()
    except Killed:
        pass
    else:
        assert world.serves == "new"
        assert at >= 10, world.steps  # it has more steps than that
        return
    if world.serves is None and at % 2:
        # The host was booted, and its units were started on whatever lay there.
        try:
            world.command("start")
        except ProgramError:
            world.serves = None
    world.killed_at = None
    try:
        bed.cut_over()
    except BrokenOff as end:
        # Killed while its place was removed: it serves, and there is nothing left to cut over to.
        assert "there is no validated restore" in end.cause, (world.steps, end.cause)
    assert world.serves == "new", world.steps
    aside = [path for name in ("before-r1", "main.before-r1") for path in world.data.parent.rglob(f"{name}/word")]
    assert [path.read_text() for path in aside] == ["old"]


@pytest.mark.parametrize("at", range(MOST_STEPS))
@pytest.mark.parametrize("rest", [False, True], ids=["one-fault", "every-step-from-there-on"])
def test_what_fails_at_any_step_is_put_back_or_told_exactly(bed: Bed, at: int, rest: bool) -> None:
    """Either the old server runs again, or the message has the commands by which it does."""
    world = bed.world
    world.fails = (lambda step: step >= at) if rest else (lambda step: step == at)
    try:
        bed.cut_over()
    except BrokenOff as end:
        said = end.cause
    except OSError as error:
        pytest.fail(f"told as {error!r} at {world.steps}")
    else:
        assert world.serves == "new", world.steps
        return
    world.fails = lambda _: False
    if "the restored data serves" in said:
        assert world.serves == "new"
        return
    if "by hand: " in said:
        world.obey(said)
    elif "was told to start again" in said:
        world.command(said.split("systemctl ")[-1].split()[0])
    else:
        assert re.search("nothing was changed|put back", said), said
    assert world.serves == "old", (said, world.steps)
    # And a second one goes well once the cause is mended.
    bed.cut_over()
    assert world.serves == "new"


def test_a_restore_that_does_not_start_is_taken_out_again(bed: Bed) -> None:
    bed.world.will_not_start = {"new"}
    with pytest.raises(BrokenOff, match=r"did not start in its place, the old (one|data) was put back"):
        bed.cut_over()
    assert bed.world.serves == "old"


def test_neither_starts_and_both_are_told(bed: Bed) -> None:
    bed.world.will_not_start = {"new", "old"}
    with pytest.raises(BrokenOff, match=r"putting the old data back failed too.*does not run") as end:
        bed.cut_over()
    bed.world.will_not_start = set()
    bed.world.obey(end.value.cause if "by hand: " in end.value.cause else "by hand: systemctl start x")
    assert bed.world.serves == "old"
