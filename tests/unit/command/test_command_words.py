"""Which words of a command line are Ansible's: as its own parser says, wherever they stand."""

from __future__ import annotations

import pytest
from ansible.cli.playbook import PlaybookCLI
from turnout.command.words import FLAGS, VALUE_OPTIONS, asks_or_tells_all, given, split, values


def test_the_options_are_those_of_ansibles_own_parser() -> None:
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    options = [action for action in cli.parser._actions if action.option_strings]
    with_value = {name for action in options if action.nargs != 0 for name in action.option_strings}
    flags = {name for action in options if action.nargs == 0 for name in action.option_strings}
    assert set(VALUE_OPTIONS) == with_value
    assert set(FLAGS) == flags


@pytest.mark.parametrize(
    ("line", "ours", "options"),
    [
        ("1.4.2", ["1.4.2"], []),
        ("1.4.2 -i inventories/production --check", ["1.4.2"], ["-i", "inventories/production", "--check"]),
        ("-i inventories/production 1.4.2", ["1.4.2"], ["-i", "inventories/production"]),
        ("--inventory=lab 1.4.2", ["1.4.2"], ["--inventory=lab"]),
        ("--inventory lab 1.4.2", ["1.4.2"], ["--inventory", "lab"]),
        ("--inv lab 1.4.2", ["1.4.2"], ["--inv", "lab"]),
        ("-ilab 1.4.2", ["1.4.2"], ["-ilab"]),
        ("-vvi lab 1.4.2", ["1.4.2"], ["-vvi", "lab"]),
        ("-bK 1.4.2", ["1.4.2"], ["-bK"]),
        ("--check 1.4.2 -e resume=true", ["1.4.2"], ["--check", "-e", "resume=true"]),
        ("--become 1.4.2", ["1.4.2"], ["--become"]),
        ("1.4.2 -e", ["1.4.2"], ["-e"]),
        ("-- 1.4.2", ["1.4.2"], []),
        ("", [], []),
    ],
)
def test_words_are_told_apart_wherever_they_stand(line: str, ours: list[str], options: list[str]) -> None:
    assert split(line.split()) == (ours, options)


def test_values_of_an_option_are_found_in_every_form() -> None:
    options = ["-e", "a=1", "--extra-vars=b=2", "-ec=3", "--extra-vars", "d=4", "-i", "e=5"]
    assert values(options, "-e", "--extra-vars") == ["a=1", "b=2", "c=3", "d=4"]


@pytest.mark.parametrize(
    ("line", "talks"),
    [
        ("-i lab", False),
        ("-vvv", True),
        ("-bk", True),
        ("-ik", False),
        ("--vault-id a@prompt", True),
        ("--vault-id a@file", False),
    ],
)
def test_a_command_line_that_asks_is_known(line: str, talks: bool) -> None:
    assert asks_or_tells_all(line.split()) is talks


def test_an_option_is_seen_in_every_form() -> None:
    for line in ("-i lab", "-ilab", "-vilab", "--inventory lab", "--inventory=lab"):
        assert given(line.split(), "-i", "--inventory"), line
    for line in ("", "-e i=lab", "-v", "-l lab"):
        assert not given(line.split(), "-i", "--inventory"), line
