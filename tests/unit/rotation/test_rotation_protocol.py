"""The steps of a rotation, killed between any two, with releases, rollbacks and old files in between.

Never is a state reached in which what serves, or what a rollback goes to, has a login that the server does not take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from turnout import rotated_file
from turnout.faults import Fault
from turnout.rotation import (
    ADOPT,
    BEGIN,
    CLOSE,
    DONE,
    FORGET,
    OPEN,
    RELEASE,
    Login,
    Seen,
    Step,
    next_step,
)

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
PAIR = ("shop_a", "shop_b")
OTHER = {"blue": "green", "green": "blue"}
Credential = tuple[str, int]


@dataclass(frozen=True)
class File:
    current: Credential
    next: Credential | None = None


@dataclass
class World:
    """A server, a file, two colors, and edges that know which of them serves and which is the way back."""

    file: File = File(("shop_a", 0))
    server: dict[str, int] = field(default_factory=lambda: {"shop_a": 0})
    colors: dict[str, Credential] = field(default_factory=lambda: {"blue": ("shop_a", 0)})
    stable: str = "blue"
    previous: str | None = None
    warm: bool = False
    passwords: int = 0
    taken: list[str] = field(default_factory=list)

    def takes(self, credential: Credential) -> bool:
        return self.server.get(credential[0]) == credential[1]

    def seen(self) -> Seen:
        current, following = self.file.current, self.file.next
        return Seen(
            "database", PAIR, current[0], following and following[0],
            frozenset([self.colors[self.stable][0]]),
            frozenset([self.colors[self.previous][0]] if self.previous else []),
            self.colors[self.stable] == current,
            {
                user: Login(
                    user in self.server, self.takes((user, current[1])), bool(following and self.takes(following))
                )
                for user in PAIR
            },
        )  # fmt: skip

    def step(self, *, closing: bool) -> Step | Fault:
        """Take the next step, and no other."""
        step = next_step(self.seen(), closing=closing, warm_left_s=60 if self.warm else 0)
        if isinstance(step, Step):
            self.taken.append(step.kind)
            getattr(self, step.kind)(step.user)
        return step

    def begin(self, user: str) -> None:
        self.passwords += 1
        self.file = replace(self.file, next=(user, self.passwords))

    def open(self, user: str) -> None:
        of = self.file.next if self.file.next and self.file.next[0] == user else self.file.current
        assert of[0] == user
        self.server[user] = of[1]

    def adopt(self, user: str) -> None:
        assert self.file.next
        assert self.takes(self.file.next), "tried from the hosts"
        self.file = File(self.file.next)

    def release(self, user: str) -> None:
        assert self.file.current[0] == user
        self.deploy()

    def deploy(self) -> None:
        """As the checklist does, refuse a login that the server does not take."""
        if self.takes(self.file.current):
            self.colors[OTHER[self.stable]] = self.file.current
            self.previous, self.stable, self.warm = self.stable, OTHER[self.stable], True

    def forget(self, user: str) -> None:
        assert self.previous
        assert self.colors[self.previous][0] == user
        self.previous = None

    def close(self, user: str) -> None:
        self.server.pop(user)

    def done(self, user: str) -> None:
        assert user not in self.server


def sound(world: World) -> None:
    assert world.takes(world.colors[world.stable]), world
    if world.previous:
        assert world.takes(world.colors[world.previous]), world


class Rotations(RuleBasedStateMachine):
    """Each rule is one step of somebody, after which the run may be dead."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.old_files: list[File] = []

    @rule()
    def rotate(self) -> None:
        self.old_files.append(self.world.file)
        self.world.step(closing=False)

    @rule()
    def close(self) -> None:
        self.world.step(closing=True)

    @rule()
    def release(self) -> None:
        self.world.deploy()

    @precondition(lambda self: self.world.previous)
    @rule()
    def roll_back(self) -> None:
        self.world.stable, self.world.previous = self.world.previous, None

    @precondition(lambda self: self.world.previous)
    @rule()
    def a_release_fails_and_what_it_was_laid_over_is_gone(self) -> None:
        self.world.previous = None

    @rule()
    def get_cold(self) -> None:
        self.world.warm = False

    @precondition(lambda self: self.old_files)
    @rule()
    def somebody_else_has_an_old_file(self) -> None:
        self.world.file = self.old_files[len(self.old_files) // 2]

    @invariant()
    def what_serves_and_the_way_back_have_a_login(self) -> None:
        sound(self.world)


Rotations.TestCase.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
TestRotations = Rotations.TestCase


def rotated(world: World, *, closing: bool) -> list[str]:
    """Run to the end, and return the steps."""
    world.taken.clear()
    for _ in range(10):
        step = world.step(closing=closing)
        sound(world)
        if isinstance(step, Fault) or step.kind in (RELEASE, CLOSE, DONE):
            return list(world.taken)
    raise AssertionError(world)


def test_a_rotation_takes_all_its_steps_and_so_does_the_one_after_it() -> None:
    world = World()
    for user in ("shop_b", "shop_a", "shop_b"):
        assert rotated(world, closing=False) == [BEGIN, OPEN, ADOPT, RELEASE]
        assert world.colors[world.stable][0] == user
        assert rotated(world, closing=True) == [], "it is warm"
        world.warm = False
        assert rotated(world, closing=True) == [FORGET, CLOSE]
        assert list(world.server) == [user]
        assert rotated(world, closing=True) == [DONE]


@pytest.mark.parametrize("killed_after", range(4))
def test_a_run_that_died_is_gone_on_with_and_makes_no_third_password(killed_after: int) -> None:
    world = World()
    for _ in range(killed_after):
        world.step(closing=False)
    if killed_after < 4:
        rotated(world, closing=False)
    assert world.passwords == 1
    assert world.colors[world.stable] == ("shop_b", 1)


def test_a_second_rotation_before_the_first_is_closed_is_refused_while_a_rollback_needs_the_old_login() -> None:
    world = World()
    rotated(world, closing=False)
    refused = world.step(closing=False)
    assert isinstance(refused, Fault)
    assert "a rollback would go back to it" in refused.observed
    assert "-e close=true" in refused.remedy


def test_after_a_rollback_the_same_login_is_released_again() -> None:
    world = World()
    rotated(world, closing=False)
    world.stable, world.previous = "blue", None
    assert rotated(world, closing=False) == [RELEASE]
    assert world.passwords == 1


def test_nothing_is_closed_that_was_not_released() -> None:
    world = World()
    for _ in range(3):
        world.step(closing=False)
        refused = world.step(closing=True)
        assert isinstance(refused, Fault)
        assert refused.remedy == "ansible-playbook turnout.ops.rotate"


def test_an_old_file_is_refused_and_changes_nothing() -> None:
    world = World()
    old = world.file
    rotated(world, closing=False)
    world.file = old
    refused = world.step(closing=False)
    assert isinstance(refused, Fault)
    assert "git pull" in refused.remedy
    world.warm = False
    world.file = File(("shop_b", 1))
    rotated(world, closing=True)
    world.file = old
    refused = world.step(closing=False)
    assert isinstance(refused, Fault)
    assert "does not take" in refused.observed


def test_after_a_restore_the_server_is_told_the_password_that_is_in_service() -> None:
    world = World()
    world.server = {"shop_a": 7}
    assert world.step(closing=False) == Step(OPEN, "shop_a")
    sound(world)


SEEN = World().seen()


@pytest.mark.parametrize("serving", [frozenset(), frozenset(PAIR)])
def test_where_the_login_in_service_cannot_be_told_nothing_is_done(serving: frozenset[str]) -> None:
    for closing in (False, True):
        refused = next_step(replace(SEEN, serving=serving), closing=closing)
        assert isinstance(refused, Fault)
        assert "service.rotation.database.environment" in refused.remedy


def test_sessions_of_the_idle_login_are_shown() -> None:
    sessions = tuple(f"pid {n} from 10.0.0.{n}" for n in range(7))
    seen = replace(SEEN, logins={**SEEN.logins, "shop_b": Login(opened=True, sessions=sessions)})
    refused = next_step(seen)
    assert isinstance(refused, Fault)
    assert refused.observed.startswith("7 sessions of shop_b: pid 0 from 10.0.0.0; ")


def test_before_the_first_rotation_a_login_outside_of_the_pair_serves() -> None:
    seen = replace(SEEN, current="shop", serving=frozenset(["shop"]), logins={"shop": Login(opened=True, takes=True)})
    assert next_step(seen) == Step(BEGIN, "shop_a")


def test_every_kind_of_step_that_the_playbook_asks_for_is_one() -> None:
    files = [PLAYBOOKS / "rotate.yml", *(PLAYBOOKS / "tasks").glob("rotate_*.yml")]
    lines = [line for file in files for line in file.read_text().splitlines() if "kind" in line]
    asked = {word for line in lines for word in re.findall(r"'([a-z]+)'(?=[],]| in )", line)}
    assert asked - {"postgres", "redis", "kind"} == {
        BEGIN,
        OPEN,
        ADOPT,
        RELEASE,
        FORGET,
    }  # CLOSE and DONE need no asking


def test_a_first_rotation_that_died_before_its_release_is_gone_on_with() -> None:
    """What serves then has a login that is none of the pair, and the file has the first of the pair already."""
    content = {"rotated": {"database": {"user": "shop", "password": "old", "next": {"user": "a", "password": "new"}}}}
    entry = yaml.safe_load(rotated_file.adopted(content, ["database"]))["rotated"]["database"]
    assert entry == {"user": "a", "password": "new", "before": "shop"}
    assert rotated_file.users(entry) == ["a", "shop"]
    taken = {"a": Login(opened=True, takes=True), "shop": Login(opened=True)}
    seen = Seen("database", ("a", "b"), "a", None, frozenset({"shop"}), frozenset(), False, taken)
    assert next_step(seen) == Step("release", "a")
