"""What a newcomer reads: short where it says so, every page found from the README, every command one that is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from turnout.cli import NAMES

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = (ROOT / "README.md").read_text()


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_readme_fits_on_two_screens() -> None:
    assert len(README.splitlines()) <= 120


def test_the_page_for_the_night_fits_on_two_screens() -> None:
    assert len(read("docs/on-call.md").splitlines()) <= 120


def test_every_page_is_linked_from_the_readme() -> None:
    assert PAGES
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)\)", README))
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - linked == set()


def test_what_a_person_types_is_a_command_or_playbook_that_is_there() -> None:
    known = set(NAMES)
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    found = 0
    for page in (ROOT / "README.md", *PAGES):
        text = page.read_text()
        # What is typed stands in code: at the beginning of a line of a block, or between backticks.
        for name in re.findall(r"(?:^ {4}|^|`)turnout ([a-z][a-z-]*)\b", text, re.MULTILINE):
            assert name in known, f"{page.name}: turnout {name}"
            found += 1
        for name in re.findall(r"ansible-playbook(?: -i \S+)? turnout\.ops\.(\w+)", text):
            assert name in playbooks, f"{page.name}: turnout.ops.{name}"
            found += 1
    assert found > 50


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("where", ["README.md docs/*.md", "playbooks roles plugins scripts/turnout inventories"])
def test_nobody_is_told_to_run_a_playbook_by_its_path(where: str) -> None:
    files = tracked(*where.split())
    assert files
    names = "|".join(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    told = re.compile(
        rf"ansible-playbook(?: -i \S+)? playbooks/|(?:[Rr]un|[Aa]pply|[Ww]ith|mend:) (?:playbooks/)?(?:{names})\.yml\b"
    )
    # The two ways of saying it in a checkout are explained once.
    explained = {"docs/architecture.md"}
    wrong = []
    for path in files:
        name = str(path.relative_to(ROOT))
        if name in explained or path.suffix not in (".md", ".yml", ".py", ".j2", ""):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if told.search(line.replace("`", "") if path.suffix == ".md" else line):
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert wrong == []


def test_the_page_of_the_code_begins_with_questions_and_the_files_that_answer_them() -> None:
    text = read("docs/architecture.md")
    head = text.partition("\n\n## ")[2]
    assert head.startswith("Where to look"), "the first section is the table"
    rows = re.findall(r"^\| (?!Question|---)(.+?) \| (.+?) \|$", head.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) >= 20
    for question, where in rows:
        names = re.findall(r"`([\w./-]+)`", where)
        assert names, question
        for name in names:
            assert (ROOT / name).exists(), f"{question}: {name}"


def test_every_page_that_a_file_names_is_there() -> None:
    named = 0
    for path in tracked():
        if path.is_symlink() or not path.is_file() or path.name == "CHANGELOG.md":
            continue
        for name in re.findall(r"(?<![\w/.])docs/[\w-]+\.md", path.read_text(errors="replace")):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"
            named += 1
    assert named > 20
