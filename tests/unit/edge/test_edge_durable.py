"""What was answered for is on the disk: data before its name, the name before anything that relies on it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_model import Fuse, ModelClock, ModelFiles, ModelHAProxy, edge_in_flight, release
from turnout_edge import cli
from turnout_edge.edge import Config, Edge
from turnout_edge.journal import Journal
from turnout_edge.request import Who
from turnout_edge.store import Files
from turnout_edge.watch import Watch

Story = list[tuple[str, str]]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    """Every call that writes, names or secures something, in order: (what, which file)."""
    told: Story = []

    def path_of(descriptor: int) -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())

    def watched(name: str, subject: Callable[..., str]) -> None:
        call = getattr(os, name)

        def told_and_done(*arguments: Any, **named: Any) -> Any:
            told.append((name, subject(*arguments)))
            return call(*arguments, **named)

        monkeypatch.setattr(os, name, told_and_done)

    watched("write", lambda descriptor, _: path_of(descriptor))
    watched("fsync", path_of)
    watched("rename", lambda _, target: str(target))
    return told


def test_a_replaced_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_answer(
    tmp_path: Path, story: Story
) -> None:
    path = tmp_path / "state.json"
    Files().replace(str(path), b"x")
    temporary = str(tmp_path / ".state.json.turnout-new")
    assert story == [("write", temporary), ("fsync", temporary), ("rename", str(path)), ("fsync", str(tmp_path))]


def test_a_beat_waits_for_no_disk(tmp_path: Path, story: Story) -> None:
    path = tmp_path / "lock.json"
    Files().replace(str(path), b"x", durable=False)
    assert [what for what, _ in story] == ["write", "rename"]


def test_a_line_is_on_the_disk_before_the_answer_and_a_new_journals_name_too(tmp_path: Path, story: Story) -> None:
    path = str(tmp_path / "journal.jsonl")
    Files().append(path, b"1\n")
    assert story == [("write", path), ("fsync", path), ("fsync", str(tmp_path))]
    story.clear()
    Files().append(path, b"2\n")
    assert story == [("write", path), ("fsync", path)]


class Told(ModelHAProxy):
    """A HAProxy that tells the story when it is told something."""

    def __init__(self, story: Story) -> None:
        super().__init__(Fuse(), ModelFiles(Fuse()))
        self.story = story

    def ask(self, command: str) -> str:
        if command.startswith(("set ", "add ", "del ")):
            self.story.append(("tell", command))
        return super().ask(command)


@pytest.fixture
def edge(tmp_path: Path, story: Story) -> Edge:
    """An edge with real files, whose candidate has a quarter of the users."""
    (tmp_path / "state").mkdir()
    (tmp_path / "haproxy").mkdir()
    config = {
        "service": "sample",
        "socket": "/none",
        "map": str(tmp_path / "haproxy" / "share.map"),
        "backends": {"blue": "sample-blue", "green": "sample-green"},
        "state_dir": str(tmp_path / "state"),
        "require_watch": False,
    }
    made = Edge(Config(config), Files(), ModelClock())
    made.haproxy = Told(story)
    made.write_map(0)
    ask(made, "lock take --run A --ttl-s 600")
    ask(made, "prepare --run A --color blue", record=release("1.0.0"))
    ask(made, "move --run A --share-bp 10000")
    for word in ("ready --color blue", "confirm", "commit"):
        ask(made, f"{word} --run A")
    ask(made, "prepare --run A --color green", record=release("1.1.0"))
    ask(made, "move --run A --share-bp 2500")
    story.clear()
    return made


def ask(edge: Edge, words: str, record: dict[str, Any] | None = None) -> dict[str, Any]:
    arguments = words.split() + (["--release", json.dumps(record)] if record else [])
    command, options = cli.parse(arguments)
    return cli.COMMANDS[command](edge, Who(options.run, "tester"), options)


@pytest.mark.parametrize(
    "words",
    [
        "move --run A --share-bp 5000",
        "rollback",
        "rollback --run R --quarantine 5xx",
        "lock take --run B --break",
        "lock release --run A",
        "move --run A --share-bp 5000 --lease-s 5",
        "lease arm --run A --lease-s 5",
        "rollback --run A",
        "schema --run A --version 3 --last-contract 0",
        "journal --run A --event start --action deploy",
    ],
)
def test_every_step_of_a_command_is_on_the_disk_before_the_next_is_taken(edge: Edge, words: str, story: Story) -> None:
    ask(edge, words)
    assert any(what == "fsync" for what, _ in story)
    for index, (what, path) in enumerate(story):
        if what == "rename":
            assert story[index - 1][0] == "fsync", f"{path} got its name before its data was on the disk"
            assert story[index + 1] == ("fsync", str(Path(path).parent)), f"the name {path} is not on the disk"
        elif what == "write":
            assert story[index + 1] == ("fsync", path), f"{path} was written, and not waited for"


@pytest.mark.parametrize("words", ["move --run A --share-bp 5000", "rollback"])
def test_intent_state_and_map_are_on_the_disk_before_haproxy_is_told(edge: Edge, words: str, story: Story) -> None:
    ask(edge, words)
    told_at = next(index for index, (what, _) in enumerate(story) if what == "tell")
    before = [Path(path).name for what, path in story[:told_at] if what in ("rename", "write")]
    wanted = ["journal.jsonl", "state.json", "share.map"]
    assert [name for name in before if name in wanted] == wanted
    after = [(what, Path(path).name) for what, path in story[told_at:] if what == "fsync"]
    assert ("fsync", "journal.jsonl") in after, "the result"


def test_a_pruned_journal_is_on_the_disk_before_the_old_one_is_gone(tmp_path: Path, story: Story) -> None:
    journal = Journal(Files(), str(tmp_path / "journal.jsonl"))
    journal.PRUNE_ABOVE_BYTES, journal.KEEP_BYTES = 2_000, 1_000  # type: ignore[misc]
    for _ in range(50):
        journal.append({"ts": "t", "event": "note", "detail": "x" * 40})
    story.clear()
    assert journal.prune() > 0
    assert [what for what, _ in story] == ["write", "fsync", "rename", "fsync"]


def test_a_lease_that_is_renewed_while_the_watchdog_waits_for_the_lock_moves_nobody() -> None:
    """The beat was there first: what was seen before the wait says nothing any more."""
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 2500 --lease-s 5")
    edge.time.advance(6)
    waits = 0

    @contextlib.contextmanager
    def renewed_first() -> Iterator[None]:
        nonlocal waits
        waits += 1
        edge.run("beat --run A")
        yield

    edge.locked = renewed_first  # type: ignore[method-assign]
    Watch(edge).decide()
    assert waits == 1
    assert edge.shares()["green"] == 2500
    assert edge.run("show")["lease"]["armed"] is True
    assert edge.run("show")["lock"]["run"] == "A"
    edge.time.advance(6)
    edge.locked = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    Watch(edge).decide()
    assert edge.shares()["green"] == 0
