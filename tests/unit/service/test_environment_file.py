"""Environment files, by the grammar of each reader. Cases of compose-go's, docker's and systemd's own documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_examples import full, small
from test_read_by_systemd import LIBRARY, by_systemd, raw
from turnout.faults import Fault, FaultsError
from turnout.service import load
from turnout.service.environment import env_text
from turnout.service.environment_file import EnvironmentFileError, parse


def read(text: str, syntax: str | None) -> dict[str, str]:
    return {name: entry.value for name, entry in parse(text, syntax).items()}


COMPOSE = [
    ("A=b", "b"),
    ("A = b", "b"),
    ("A= b ", "b"),
    ("export A=b", "b"),
    ("  export\tA=b", "b"),
    ("A: b", "b"),
    ("A=", ""),
    ('A=""', ""),
    ("A=b=c=", "b=c="),
    ("A=b # comment", "b"),
    ("A=b# no comment", "b# no comment"),
    ('A="b # c" # comment', "b # c"),
    ("A='b # c' # comment", "b # c"),
    ("A='$B ${C}'", "$B ${C}"),
    (r"A='Let\'s go!'", "Let's go!"),
    (r"A='some\tvalue'", r"some\tvalue"),
    (r'A="some\tvalue"', "some\tvalue"),
    (r"A=some\tvalue", r"some\tvalue"),
    (r'A="{\"hello\": \"json\"}"', '{"hello": "json"}'),
    (r'A="a\$B"', "a$B"),
    (r'A="a\${B}"', "a${B}"),
    ("A=a$$B", "a$B"),
    ("A=cost5$", "cost5$"),
    ("A=$5", "$5"),
    ("A=`date`", "`date`"),
    (r'A="a\\b"', r"a\b"),
    (r"A=a\\b", r"a\\b"),
    (r'A="\0123"', "S"),
    (r'A="\x07"', r"\x07"),
    ("A=${B:-c}", "c"),
    ("A=${B-c}", "c"),
    ("A=${B:+c}", ""),
    ("A=${B:-${C:-d}}e", "de"),
    ("B=x\nA=$B", "x"),
    ("B=x\nA=${B}y", "xy"),
    ('B=x\nA="q $B"', "q x"),
    ("B=\nA=${B:-c}", "c"),
    ("B=\nA=${B-c}", ""),
    ("B=x\nA=${B:+c}", "c"),
    ("A=100%", "100%"),
    ("\ufeff# c\n\n  # d\nA=b\r\n", "b"),
    ("A=first\nA=b", "b"),
    ('A="one\ntwo"', "one\ntwo"),
]


@pytest.mark.parametrize(("text", "value"), COMPOSE)
def test_compose(text: str, value: str) -> None:
    assert read(text, "compose")["A"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ('A="b"', '"b"'),
        ("A='b'", "'b'"),
        ("A=b # c", "b # c"),
        ("A=b ", "b "),
        ("A= b", " b"),
        ("  A=b", "b"),
        ("A=$B ${C} `d` \\", "$B ${C} `d` \\"),
        ("A=", ""),
        ("A=b=c", "b=c"),
        ("\ufeffA=b\r\n", "b"),
        ("# c\n\n  # d\nA=b", "b"),
    ],
)
def test_docker(text: str, value: str) -> None:
    assert read(text, "docker")["A"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A = b  ", "b"),
        ('A="b c"', "b c"),
        ("A='b\\c'", "b\\c"),
        ("A=b # c", "b # c"),
        ("A=b \\\n  c", "b   c"),
        ('A="b" \'c\' d', "bcd"),
        (r'A="\$b \` \" \\ \n"', '$b ` " \\ \\n'),
        (r"A=a\$b", "a$b"),
        ("A=$B", "$B"),
        ("; c\n# d\nA=b", "b"),
        ("A=a\"b\"", 'a"b"'),
        ('A="b\nc"', "b\nc"),
    ],
)  # fmt: skip
def test_systemd(text: str, value: str) -> None:
    assert read(text, "systemd")["A"] == value
    if LIBRARY:
        assert by_systemd(text)["A"] == value


@pytest.mark.skipif(not LIBRARY, reason="systemd's library is not here to be asked")
@settings(max_examples=500, deadline=None)
@given(st.lists(raw, max_size=4))
def test_what_is_read_in_systemd_s_syntax_is_what_systemd_reads(values: list[str]) -> None:
    text = "".join(f"V{number}={value}\n" for number, value in enumerate(values))
    try:
        found = read(text, "systemd")
    except EnvironmentFileError:
        return
    assert found == by_systemd(text)


@pytest.mark.parametrize(
    ("text", "syntax", "line"),
    [
        ("A=b\nC", "compose", 2),
        ("A=b\nC\nD=e", "compose", 2),
        ("A=b\nA B=c", "compose", 2),
        ("lol$wut", "compose", 1),
        ("A=b\n\nC='d", "compose", 3),
        ('A="b', "compose", 1),
        ('A="b" c', "compose", 1),
        ("A=$HOME", "compose", 1),
        ("A=${HOME}", "compose", 1),
        ("A=${B:?needed}", "compose", 1),
        ("A=${B/x/y}", "compose", 1),
        ("A=${B", "compose", 1),
        ("A=b\nC", "docker", 2),
        ("export A=b", "docker", 1),
        ("A =b", "docker", 1),
        ("=b", "docker", 1),
        ("export A=b", "systemd", 1),
        ("A=b\nnothing", "systemd", 2),
        ("A='b\nC=d", "systemd", 1),
        ('A="b', "systemd", 1),
        ("# c \\\nA=b", "systemd", 1),
    ],
)
def test_what_cannot_be_read_is_told_by_its_line(text: str, syntax: str, line: int) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        parse(text, syntax)
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["A=b\nC=d e\n# f\n\nG=h=i\n", "A=\n", ""])
def test_where_all_read_the_same_nothing_has_to_be_declared(text: str) -> None:
    assert read(text, None) == read(text, "docker")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('A=b\nC="d"', 2),
        ("A=b # c", 1),
        ("A=a\\b", 1),
        ("A=b\nexport C=d", 2),
        ("A=$$B", 1),
        ("A=b\nC=d ", 2),
        ("A=b\n; c=d", 2),
        ("B=a\nA=$B", 2),
    ],
)
def test_where_they_differ_the_reader_is_asked_for(text: str, line: int) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        parse(text, None)
    assert caught.value.line == line
    assert "environment_syntax" in caught.value.remedy


def faults(value: Any, inventory: Path) -> list[Fault]:
    with pytest.raises(FaultsError) as caught:
        load(value, base_dir=inventory)
    assert "hunter2" not in str(caught.value)
    return list(caught.value.faults)


def test_a_file_takes_the_place_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export PASSWORD='hun$ter2\\x'\nWORKERS=8 # on each host\n")
    value = {**small(), "environment_file": ".env", "environment_syntax": "compose"}
    value["api"]["command"] = "bin/api --workers ${WORKERS}"
    service = load({**value, "environment": {"DEBUG": "1"}}, base_dir=tmp_path)
    assert dict(service.environment) == {"PASSWORD": "hun$ter2\\x", "WORKERS": "8", "DEBUG": "1"}
    if LIBRARY:
        assert by_systemd(env_text(service, "blue", "1"))["PASSWORD"] == "hun$ter2\\x"
    assert "hun$ter2" not in repr(service)


def test_names_are_those_that_the_program_asks_for(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("http_proxy=http://p:1\nConnectionStrings__Shop=Host=h;Password=hunter2\n")
    service = load({**small(), "environment_file": ".env"}, base_dir=tmp_path)
    assert dict(service.environment) == {
        "http_proxy": "http://p:1",
        "ConnectionStrings__Shop": "Host=h;Password=hunter2",
    }
    assert "hunter2" not in repr(service)
    if LIBRARY:
        assert by_systemd(env_text(service, "blue", "1"))["http_proxy"] == "http://p:1"


def test_so_it_does_for_migrations_and_as_text(tmp_path: Path) -> None:
    value = full()
    value["migrate"] |= {"environment": {}, "environment_file": "MIGRATE_URL=x\n"}
    assert dict(load(value, base_dir=tmp_path).migrate.environment) == {"MIGRATE_URL": "x"}


def test_faults_of_a_file_have_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop.env").write_text("A=b\nPORT=80\nDEBUG=hunter2\na.b=x\n")
    value = {**small(), "environment_file": "shop.env", "environment": {"DEBUG": "hunter2"}}
    found = {fault.path: fault for fault in faults(value, tmp_path)}
    assert found["service.environment.PORT"].place == "shop.env:2"
    assert found["service.environment.PORT"].remedy == "remove PORT from shop.env"
    assert "shop.env:3" in found["service.environment.DEBUG"].observed
    assert found["service.environment.a.b"].place == "shop.env:4"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (None, "correct the path"),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "lookup('ansible.builtin.unvault', inventory_dir ~ '/shop.env')"),
        ('A="hunter2"\n', "environment_syntax: compose"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_what_to_write(tmp_path: Path, text: str | None, remedy: str) -> None:
    if text is not None:
        (tmp_path / "shop.env").write_text(text)
    (fault,) = faults({**small(), "environment_file": "shop.env"}, tmp_path)
    assert fault.path == "service.environment_file"
    assert remedy in fault.remedy
