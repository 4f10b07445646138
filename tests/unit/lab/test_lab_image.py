"""The image's recipe: its hash, its sources, and what is kept of the machine's apt settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.lab import image
from turnout.lab.image import Mirror, kept_apt_options, mirror_in, recipe_hash, sources_text

DEB822 = """\
Types: deb deb-src
# a comment with URIs: http://nowhere.example/
URIs: https://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: https://mirror.example/security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://tools.example/apt
Suites: stable-tools
Components: main
"""
ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
"""


def test_the_hash_is_the_same_for_the_same_recipe() -> None:
    assert recipe_hash("trixie") == recipe_hash("trixie")


def test_the_hash_changes_with_the_suite_and_with_any_text() -> None:
    files = {"build.sh": "a", "setup.sh": "b"}
    hashes = {
        recipe_hash("trixie", files),
        recipe_hash("bookworm", files),
        recipe_hash("trixie", files | {"build.sh": "a "}),
        recipe_hash("trixie", files | {"third.sh": ""}),
    }
    assert len(hashes) == 4


def test_the_hash_changes_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_hash("trixie")
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "another"))
    assert recipe_hash("trixie") != before


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_two_recipes_never_run_together_into_one_hash(a: str, b: str, c: str, d: str) -> None:
    first, second = {"x": a, "y": b}, {"x": c, "y": d}
    assert (recipe_hash("trixie", first) == recipe_hash("trixie", second)) == (first == second)


def test_every_script_of_the_recipe_is_in_the_hash() -> None:
    folder = Path(image.__file__).parent / "recipe"
    assert sorted(path.name for path in folder.iterdir()) == sorted(image.RECIPE_FILES)


@pytest.mark.parametrize("name", image.RECIPE_FILES)
def test_every_script_of_the_recipe_is_one_that_a_shell_reads(name: str) -> None:
    path = Path(image.__file__).parent / "recipe" / name
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_an_unknown_suite_is_refused_with_those_there_are() -> None:
    with pytest.raises(TurnoutError) as caught:
        image.reference("sarge")
    assert caught.value.code == "lab-suite"
    assert "trixie, bookworm" in caught.value.expected


@pytest.mark.parametrize(
    ("text", "mirror"),
    [
        (DEB822, Mirror("https://mirror.example/debian", "https://mirror.example/security")),
        (ONE_LINE, Mirror("http://mirror.example/debian", "http://security.example/debian-security")),
        ("", Mirror("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")),
        (
            DEB822.replace("Types: deb deb-src", "Types: deb\nEnabled: no"),
            Mirror("http://deb.debian.org/debian", "https://mirror.example/security"),
        ),
        (
            "deb file:///srv/mirror bookworm main\n",
            Mirror("http://deb.debian.org/debian", "http://deb.debian.org/debian-security"),
        ),
    ],
    ids=["deb822", "one-line", "none", "disabled", "not reachable by http"],
)
def test_the_machines_own_mirror_is_found_in_its_sources(text: str, mirror: Mirror) -> None:
    assert mirror_in(text, "bookworm") == mirror


@given(st.text())
def test_whatever_the_sources_say_there_is_a_mirror(text: str) -> None:
    found = mirror_in(text, "bookworm")
    assert found.archive
    assert found.security


def test_the_sources_name_the_suite_its_updates_and_its_security() -> None:
    lines = sources_text("trixie", Mirror("http://a/debian", "http://b/security")).splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["http://a/debian", "trixie", "main"],
        ["http://a/debian", "trixie-updates", "main"],
        ["http://b/security", "trixie-security", "main"],
    ]
    assert all("signed-by=" in line for line in lines)


def test_proxies_and_date_checks_are_kept_and_nothing_else() -> None:
    dump = (
        'APT::Architecture "amd64";\nAcquire::Check-Valid-Until "false";\nAcquire::http::Proxy "http://p:3128/";\n'
        'Acquire::https::Proxy "";\nAcquire::Retries "3";\nDir::Cache "var/cache/apt";\n'
    )
    assert kept_apt_options(dump)[:-1] == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://p:3128/";',
    ]
