"""The check of links: what it finds broken, what it leaves alone, and that it says so where it found no page."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def links() -> ModuleType:
    return load("links", "links.py")


@pytest.fixture
def place(links: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(links, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "other.md").write_text(
        '# Other\n\n## What the "x" is, and why\n\n## `make x-y`\n\n## Twice\n\n## Twice\n'
    )
    (tmp_path / "drawing.svg").write_text("<svg/>")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "[a](other.md)",
        "[a](other.md#what-the-x-is-and-why)",
        "[a](other.md#make-x-y)",
        "[a](other.md#twice) [b](other.md#twice-1)",
        "[a](#here)",
        "![a](drawing.svg)",
        "[a](https://example.org/#nothing) [b](mailto:a@example.org)",
        "```\n[a](gone.md)\n```\n\n`[b](gone.md)`\n\n    [c](gone.md)",
        '<img src="drawing.svg">',
    ],
)
def test_a_link_that_leads_somewhere_is_no_fault(links: ModuleType, place: Path, text: str) -> None:
    (place / "page.md").write_text(f"# Here\n\n{text}\n")
    assert links.faults(links.pages()) == []


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("[a](gone.md)", "gone.md"),
        ("[over two\nlines](gone.md)", "gone.md"),
        ("[a][1]\n\n[1]: gone.md", "gone.md"),
        ("| [a](gone.md) | b |\n|---|---|\n| c | d |", "gone.md"),
        ("- one\n  - [a](gone.md)", "gone.md"),
        ("![a](gone.svg)", "gone.svg"),
        ('<img src="gone.svg">', "gone.svg"),
        ("<picture><source srcset='gone.svg'></picture>", "gone.svg"),
        ("[a](other.md#gone)", "other.md#gone"),
        ("[a](other.md#twice-2)", "other.md#twice-2"),
        ("[a](#gone)", "#gone"),
        ("[a](/other.md)", "/other.md"),
        ("[a](../outside.md)", "../outside.md"),
    ],
)
def test_a_link_that_leads_nowhere_is_told_with_its_page_and_target(
    links: ModuleType, place: Path, text: str, target: str
) -> None:
    (place.parent / "outside.md").write_text("# It is there, but nobody who clones gets it\n")
    (place / "page.md").write_text(f"# Here\n\n{text}\n")
    (fault,) = links.faults(links.pages())
    assert "page.md:" in fault
    assert target in fault
    assert "expected:" in fault
    assert "to mend:" in fault


def test_its_exit_code_and_last_line_tell_what_was_looked_at(
    links: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "page.md").write_text("[a](other.md) [b](other.md)\n")
    assert links.main() == 0
    assert capsys.readouterr().out == "2 pages, 2 links\n"
    (place / "page.md").write_text("[a](gone.md)\n")
    assert links.main() == 1
    captured = capsys.readouterr()
    assert captured.out == "2 pages, 1 links\n"
    assert "gone.md" in captured.err


def test_no_page_at_all_is_told_as_none(links: ModuleType, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "other.md").unlink()
    assert links.main() == 0
    assert capsys.readouterr().out == "0 pages, 0 links\n"
