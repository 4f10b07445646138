"""Check the links of every page: the files and headings that they name are there. Needs no network.

The last line tells how many pages and links were looked at. Exit code 1 where a link leads nowhere.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
"""What begins with a scheme (https:, mailto:) is not ours to check."""
IN_HTML = re.compile(r"""<(?:a|img|source)\b[^>]*?\s(?:href|src|srcset)=["']([^"'\s]+)""")


def pages() -> list[Path]:
    """Return every page that git keeps or would keep."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file())


def parsed(page: Path) -> list[Token]:
    """Return what a page is made of."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def targets(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Yield every link and picture with the line at which its paragraph begins."""
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            yield from ((line, found) for found in IN_HTML.findall(token.content))
        for part in token.children or ():
            if part.type == "html_inline":
                yield from ((line, found) for found in IN_HTML.findall(part.content))
            target = part.attrGet("href" if part.type == "link_open" else "src")
            if part.type in ("link_open", "image") and isinstance(target, str):
                yield line, target


def anchors(tokens: Sequence[Token]) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    found: dict[str, int] = {}
    made = set()
    for before, token in itertools.pairwise(tokens):
        if before.type != "heading_open":
            continue
        text = "".join(part.content for part in token.children or () if part.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        made.add(f"{slug}-{count}" if count else slug)
    return made


def faults(of: Sequence[Path]) -> list[str]:
    """Return what is wrong with the links of these pages."""
    told = []
    for page in of:
        for line, target in targets(parsed(page)):
            if ELSEWHERE.match(target):
                continue
            why = _wrong(page, target)
            if why is not None:
                told.append(f"error[link]: {page.relative_to(ROOT)}:{line} links to {target}, but {why}")
    return told


def _wrong(page: Path, target: str) -> str | None:
    name, _, anchor = unquote(target).partition("#")
    file = (page.parent / name).resolve() if name else page
    mend = f"\n  to mend:  correct the link in {page.relative_to(ROOT)}"
    if name.startswith("/") or not file.is_relative_to(ROOT.resolve()):
        return f"that is outside of the repository\n  expected: a path from the page's own folder{mend}"
    if not file.exists():
        return f"there is no such file\n  expected: a file or folder at {file.relative_to(ROOT.resolve())}{mend}"
    if anchor and file.suffix == ".md":
        known = anchors(parsed(file))
        if anchor not in known:
            return f"there is no such heading\n  expected: one of {', '.join(sorted(known)) or 'none'}{mend}"
    return None


def main() -> int:
    """Check every page; return the exit code."""
    of = pages()
    wrong = faults(of)
    for fault in wrong:
        print(fault, file=sys.stderr)
    print(f"{len(of)} pages, {sum(1 for page in of for _ in targets(parsed(page)))} links")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
