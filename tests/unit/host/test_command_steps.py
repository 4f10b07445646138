"""A command of a release runs once, in its color, and what ran is undone in reverse order, whatever died meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from turnout_host import commands, fence, steps

RELEASE = "1.1.0-0a1b2c3d4e5f"
SECRET = "hunter2222"


class World:
    """Commands that end at once: by exit codes of their programs, in the order of `begun`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = str(root)
        self.begun: list[str] = []
        self.codes: dict[str, int] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.on_begin = lambda _: None
        (root / "etc/shop").mkdir(parents=True)
        self.color = root / "opt/shop/green"
        self.color.parent.mkdir(parents=True)
        self.color.symlink_to(f"releases/{RELEASE}")
        (root / "etc/shop/green.env").write_text(f'TURNOUT_COLOR="green"\nSECRET_KEY="{SECRET}"\n')
        monkeypatch.setattr(commands, "begin", self.begin)
        monkeypatch.setattr(commands, "read", lambda _, ident, __="/": self.records[ident])
        monkeypatch.setattr(commands, "running", lambda *_: [])
        monkeypatch.setattr(commands, "stop", lambda _, __, ident: self.begun.append(f"stop {ident[:8]}"))
        said = f"one\n\x1b[31mkey {SECRET}\x1b[0m\n"
        monkeypatch.setattr(commands, "output_of", lambda *_: said)

    def begin(self, request: dict[str, Any], root: str, held: Any) -> dict[str, Any]:
        assert (request["detach"], request["terminal"], request["expands"]) == (True, None, True)
        assert root == self.root
        with held:
            pass
        self.on_begin(request)
        words = " ".join(request["words"])
        self.begun.append(words)
        rc = self.codes.get(words, 0)
        result = "timeout" if rc == commands.TIMED_OUT else "exit-code"
        self.records[request["id"]] = {"id": request["id"], "shown": request["words"], "rc": rc, "result": result}
        return self.records[request["id"]]

    def run(self, name: str, run: str = "r1", number: int = 5, **more: Any) -> dict[str, Any]:
        request = {
            "service": "shop", "color": "green", "release_id": RELEASE, "name": name, "words": [f"bin/{name}"],
            "undo": [f"bin/un{name}"], "timeout_s": 60, "actor": "ann", "host": "app1", "resume": False, **more,
        }  # fmt: skip
        return steps.run(request, fence.Fence("shop", run, number, self.root), self.root)

    def undo(self, release_id: str | None = RELEASE, run: str = "r2", **more: Any) -> dict[str, Any]:
        request = {
            "service": "shop",
            "color": "green",
            "release_id": release_id,
            "actor": "ann",
            "host": "app1",
            **more,
        }
        return steps.undo(request, fence.Fence("shop", run, 5, self.root), self.root)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_what_ran_is_undone_in_reverse_order_and_once(world: World) -> None:
    world.run("collect")
    world.run("plain", undo=[])
    world.run("warm")
    assert world.undo() == {"changed": True, "undone": ["warm", "collect"], "told": []}
    assert world.begun == ["bin/collect", "bin/plain", "bin/warm", "bin/unwarm", "bin/uncollect"]
    assert world.undo() == {"changed": False, "undone": [], "told": []}


def test_a_command_that_failed_tells_its_last_lines_without_a_secret(world: World) -> None:
    world.codes["bin/collect"] = 3
    with pytest.raises(commands.CommandError) as failed:
        world.run("collect")
    told = failed.value.fields
    assert told["code"] == "command-failed"
    assert told["observed"].startswith("collect (bin/collect) ended with exit code 3; its last lines:\n    one\n    ")
    assert SECRET not in str(told)
    assert "[SECRET_KEY]" in told["observed"]
    assert "\x1b" not in told["observed"]
    assert told["expected"] == "exit code 0 within 60 s"
    assert "turnout run --show" in told["remedy"]
    assert "@app1" in told["remedy"]
    assert world.undo()["undone"] == ["collect"], "it may have done a part of it"


def test_the_limit_is_named_with_its_key(world: World) -> None:
    world.codes["bin/collect"] = commands.TIMED_OUT
    with pytest.raises(commands.CommandError, match="was ended after 60 s") as failed:
        world.run("collect")
    assert "timeout_s" in failed.value.fields["remedy"]


def test_what_did_not_begin_is_nothing_to_undo(world: World) -> None:
    def refuse(_: object) -> None:
        raise commands.CommandError("run-program", "there is no bin/collect", "a program", "name one")

    world.on_begin = refuse
    with pytest.raises(commands.CommandError):
        world.run("collect")
    assert world.undo() == {"changed": False, "undone": [], "told": []}


def test_one_that_was_cut_off_is_undone(world: World) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    world.on_begin = killed
    with pytest.raises(KeyboardInterrupt):
        world.run("collect")
    world.on_begin = lambda _: None
    assert world.undo()["undone"] == ["collect"]


def test_a_run_that_goes_on_does_not_run_again_what_ended_well(world: World) -> None:
    world.run("collect")
    world.codes["bin/warm"] = 1
    with pytest.raises(commands.CommandError):
        world.run("warm")
    world.codes.clear()
    assert world.run("collect", resume=True)["changed"] is False
    assert world.run("warm", resume=True)["changed"] is True
    assert world.run("collect", resume=True, words=["bin/collect", "--all"])["changed"] is True, "it is another one"
    assert world.run("warm")["changed"] is True, "only where a run goes on"
    assert world.undo()["undone"] == ["warm", "collect"]


def test_what_another_release_left_is_not_undone(world: World) -> None:
    world.run("collect", release_id="1.0.0-0a1b2c3d4e5f")
    assert world.undo(None) == {"changed": False, "undone": [], "told": []}
    world.run("collect")
    assert world.undo("1.2.0-0a1b2c3d4e5f") == {"changed": False, "undone": [], "told": []}
    assert world.undo(None)["undone"] == ["collect"], "a rollback undoes what stands there"


def test_an_undo_that_fails_is_told_and_the_others_go_on(world: World) -> None:
    world.run("collect")
    world.run("warm")
    world.codes["bin/unwarm"] = 4
    done = world.undo()
    assert done["undone"] == ["collect"]
    assert len(done["told"]) == 1
    assert "warm (undo: bin/unwarm) ended with exit code 4" in done["told"][0]
    assert SECRET not in done["told"][0]
    assert world.undo()["changed"] is False


def test_a_put_back_that_was_killed_goes_on_where_it_was(world: World) -> None:
    world.run("collect")
    world.run("warm")

    def killed(request: Any) -> None:
        if request["words"] == ["bin/uncollect"]:
            raise KeyboardInterrupt

    world.on_begin = killed
    with pytest.raises(KeyboardInterrupt):
        world.undo()
    world.on_begin = lambda _: None
    assert world.undo()["undone"] == ["collect"]


def test_what_still_runs_is_ended_before_it_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("collect")
    (ident,) = world.records
    monkeypatch.setattr(commands, "running", lambda *_: [ident])
    world.undo()
    assert world.begun == ["bin/collect", f"stop {ident[:8]}", "bin/uncollect"]


def test_an_overtaken_run_begins_nothing(world: World) -> None:
    fence.Fence("shop", "r9", 9, world.root).check()
    with pytest.raises(fence.FenceError, match="overtaken"):
        world.run("collect")
    assert world.begun == []


def test_nothing_is_done_where_it_is_only_asked(world: World) -> None:
    world.run("collect")
    assert world.undo(check=True) == {"changed": True, "undone": ["collect"], "told": []}
    assert world.undo()["undone"] == ["collect"]


def test_a_damaged_record_counts_as_none(world: World) -> None:
    world.run("collect")
    path = Path(steps.path_of("shop", "green", world.root))
    path.write_text("{")
    assert world.undo() == {"changed": False, "undone": [], "told": []}
    assert world.run("collect")["changed"] is True


def test_the_end_is_seen_also_where_nothing_of_it_is_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LOOK_S", 0)
    monkeypatch.setattr(commands, "read", lambda *_: {"id": "x", "shown": []})
    with pytest.raises(commands.CommandError, match="ended, and how is not on record"):
        world.run("collect")
