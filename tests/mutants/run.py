"""Break the code where a fault would cost most, one small fault at a time, and see whether a test notices.

    make mutants                        a drawn sample of each target, and the score
    make mutants TARGETS='keeper judge' only these
    make mutants MUTANTS=400 SEED=7     more of them, others
    make mutants MUTANTS=all            every one: hours

Cosmic Ray (from PyPI, in an environment of its own, hashes checked) makes the mutants; the tests nearest to the code
are run on each, the quickest first, and the first that fails ends the run. Each sample is dealt out to `AT_A_TIME`
copies of the tree. Hypothesis draws the same examples each time, those on which the tests were seen to pass on the
code as it is: a test that fails by chance would count as one that noticed.

Mutants of annotations are left out: they are never evaluated. What survives is either listed in `equal.yml` with the
reason why no test can tell it from the original, or it is a gap, printed with its line and what became of it. The last
line is one JSON object. Exit code 0 only where every target has a score of at least `LEAST`, in a sample that is not
empty, and where the tests pass on the code as it is.
"""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOL = ROOT / ".cache" / "mutants"
LEAST = 0.9  # killed of those that are not equal to the original
AT_A_TIME = 2
EDGE = "roles/edge/files/turnout_edge"


@dataclass(frozen=True)
class Target:
    """What is broken, the tests that have to notice, and how long they may take at most: `limit_s` seconds, or
    four times what they took on the code as it is, where that is more.

    `first` are those of the tests that take little time and notice much.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    limit_s: float
    first: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Return the tests in the order in which they are run; pytest runs each once."""
        return (*self.first, *self.tests)


def _named(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/test_{name}.py" for name in names)


TARGETS = (
    Target(
        "edge",
        (EDGE,),
        ("tests/unit/edge",),
        300,
        _named(
            "tests/unit/edge",
            *("edge_commands", "edge_limits", "edge_show", "edge_lock_and_lease", "edge_fence", "edge_quarantine"),
            *("edge_resolve", "edge_texts", "edge_durable", "edge_follow", "page_watch", "edge_peers", "edge_crash"),
            *("edge_machine", "edge_rubbish"),
        ),
    ),
    Target(
        "keeper",
        ("scripts/turnout/keeper.py", "scripts/turnout/keeping.py"),
        ("tests/unit/run",),
        240,
        _named("tests/unit/run", "keeping_limits", "keeper_parts", "keeping", "keeper"),
    ),
    Target("judge", ("scripts/turnout/judge/core.py",), ("tests/unit/judge/test_core.py",), 60),
    Target("signing", ("scripts/turnout/release/sign.py",), ("tests/unit/release/test_release_sign.py",), 60),
    Target(
        "drill",
        ("scripts/turnout/drill/arithmetic.py",),
        ("tests/unit/drill",),
        90,
        _named("tests/unit/drill", "drill_arithmetic", "drill_record"),
    ),
)


type Key = tuple[str, str, str]
"""File, line of the original, what the mutant makes of it."""


@dataclass(frozen=True)
class Mutant:
    """One small fault: where, what kind, and the line that it changes, as it stands in the original."""

    file: str
    operator: str
    row: int
    line: str
    job: str
    becomes: str = ""

    @property
    def key(self) -> Key:
        """What names it in `equal.yml`: line numbers change too easily."""
        return self.file, self.line, self.becomes


@dataclass
class Score:
    """What came of one target's sample."""

    target: str
    made: int = 0
    killed: int = 0
    timed_out: int = 0
    """Of those killed: the tests did not end in time."""
    equal: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    fault: str = ""
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Killed of those that a test could kill; 0 where none was made."""
        of = self.killed + len(self.survivors)
        return self.killed / of if of else 0.0


def known_equal() -> dict[Key, str]:
    """Return the mutants that are equal to the original, with the reason. Raises ValueError for one without."""
    found = {}
    for entry in yaml.safe_load((HERE / "equal.yml").read_text()) or []:
        if not str(entry.get("why") or "").strip():
            raise ValueError(f"equal.yml: {entry.get('line')!r} has no reason (why)")
        for becomes in [entry["becomes"]] if isinstance(entry["becomes"], str) else entry["becomes"]:
            found[str(entry["file"]), str(entry["line"]).strip(), str(becomes).strip()] = str(entry["why"])
    return found


def annotations(source: str) -> set[tuple[int, int]]:
    """Return the places (row, column) of the operators and names inside annotations, which nothing evaluates."""
    places: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        noted = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            noted += node.body
        for tree in filter(None, noted):
            for row in range(tree.lineno, (tree.end_lineno or tree.lineno) + 1):
                first = tree.col_offset if row == tree.lineno else 0
                last = (tree.end_col_offset or 0) if row == tree.end_lineno else 10_000
                places |= {(row, column) for column in range(first, last + 1)}
    return places


def copy_tree(place: Path) -> None:
    """Copy what git knows of into `place`, with today's content: mutants are made there, never here."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    for shared in (".venv", ".cache"):
        (place / shared).symlink_to(ROOT / shared)


def environment(place: Path) -> dict[str, str]:
    """Return the environment of a test run: the copy's package goes before the checkout's."""
    return {**os.environ, "PYTHONPATH": str(place / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"}


def test_command(target: Target) -> list[str]:
    """Return the command that has to fail on a mutant."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    return [sys.executable, "-m", "pytest", *options, *target.order]


def draw(session: Path, place: Path, count: int | None, seed: int) -> list[Mutant]:
    """Return a drawn sample of the session's mutants."""
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "select job_id, module_path, operator_name, start_pos_row, start_pos_col from mutation_specs "
            "order by module_path, start_pos_row, start_pos_col, operator_name, occurrence, operator_args"
        ).fetchall()
    sources = {row[1]: (place / row[1]).read_text() for row in rows}
    silent = {name: annotations(source) for name, source in sources.items()}
    found = [
        Mutant(file, operator.removeprefix("core/"), row, sources[file].splitlines()[row - 1].strip(), job)
        for job, file, operator, row, column in rows
        if (row, column) not in silent[file]
    ]
    if count is not None and len(found) > count:
        found = random.Random(seed).sample(found, count)  # noqa: S311 - a sample that can be drawn again
    return found


def keep(session: Path, mutants: Sequence[Mutant]) -> None:
    """Drop all other mutants from the session."""
    kept = {mutant.job for mutant in mutants}
    with sqlite3.connect(session) as database:
        for (job,) in database.execute("select job_id from work_items").fetchall():
            if job not in kept:
                database.execute("delete from mutation_specs where job_id = ?", (job,))
                database.execute("delete from work_items where job_id = ?", (job,))


def becomes(diff: str) -> str:
    """Return what a mutant makes of the line: what its difference adds."""
    added = [line[1:].strip() for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return " ".join(filter(None, added))


@dataclass
class Part:
    """A copy of the tree, and the mutants that are tried in it."""

    result: Score
    place: Path
    mutants: list[Mutant]


def prepare(target: Target, folder: Path, count: int | None, seed: int) -> tuple[Score, list[Part]]:
    """See the tests pass on a copy, draw the sample, and deal it out to copies."""
    started = time.monotonic()
    result = Score(target.name)
    place = folder / target.name
    copy_tree(place)
    began = time.monotonic()
    sound = subprocess.run(
        test_command(target), cwd=place, env=environment(place), capture_output=True, text=True, check=False
    )
    if sound.returncode:
        result.fault = f"its tests do not pass on the code as it is:\n{sound.stdout[-2000:]}"
        return result, []
    limit_s = max(target.limit_s, 4 * (time.monotonic() - began))
    paths = ", ".join(json.dumps(name) for name in target.files)
    words = " ".join(test_command(target))
    (place / "mutants.toml").write_text(
        f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = {limit_s:.0f}\nexcluded-modules = []\n"
        f'test-command = {json.dumps(words)}\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    cosmic_ray(place, "init")
    made = draw(place / "mutants.sqlite", place, count, seed)
    result.made = len(made)
    parts = []
    for number in range(min(AT_A_TIME, len(made))):
        part = Part(result, folder / f"{target.name}-{number}", made[number::AT_A_TIME])
        copy_tree(part.place)
        for name in ("mutants.toml", "mutants.sqlite"):
            shutil.copy2(place / name, part.place / name)
        keep(part.place / "mutants.sqlite", part.mutants)
        parts.append(part)
    result.seconds = time.monotonic() - started
    return result, parts


def cosmic_ray(place: Path, action: str) -> None:
    """Run Cosmic Ray's `init` or `exec` in a copy."""
    words = [str(TOOL / "bin" / "cosmic-ray"), action, "mutants.toml", "mutants.sqlite"]
    subprocess.run(words, cwd=place, env=environment(place), check=True, capture_output=True)


def attempt(part: Part, equal: dict[Key, str]) -> None:
    """Try a part's mutants one by one, and add what came of them to the target's score."""
    started = time.monotonic()
    cosmic_ray(part.place, "exec")
    with sqlite3.connect(part.place / "mutants.sqlite") as database:
        rows = database.execute("select job_id, test_outcome, diff, output from work_results").fetchall()
    outcomes = {job: (str(outcome or "").lower(), becomes(diff or ""), output) for job, outcome, diff, output in rows}
    result = part.result
    for mutant in part.mutants:
        outcome, made_of_it, output = outcomes.get(mutant.job, ("", "", ""))
        made = replace(mutant, becomes=made_of_it)
        if "surviv" not in outcome and outcome:
            result.killed += 1
            result.timed_out += output == "timeout"
        elif made.key in equal:
            result.equal += 1
        else:
            result.survivors.append(made)
    result.seconds += time.monotonic() - started
    print(f"{result.target}: {result.killed} killed so far, {len(result.survivors)} survived", file=sys.stderr)


def chosen(names: Sequence[str]) -> list[Target]:
    """Return the targets named, or all. Raises SystemExit for one that is not there."""
    unknown = sorted(set(names) - {target.name for target in TARGETS})
    if unknown:
        known = ", ".join(target.name for target in TARGETS)
        print(f"error[mutants-target]: there is no target {', '.join(unknown)}\n  expected: {known}", file=sys.stderr)
        print("  to mend:  make mutants TARGETS='...'", file=sys.stderr)
        raise SystemExit(2)
    return [target for target in TARGETS if not names or target.name in names]


def main() -> int:
    """Score every target, print the table and what survived."""
    word = os.environ.get("MUTANTS") or "60"
    count = None if word == "all" else int(word)
    seed = int(os.environ.get("SEED") or 1)
    equal = known_equal()
    targets = chosen((os.environ.get("TARGETS") or "").split())
    with (
        tempfile.TemporaryDirectory(prefix="turnout-mutants-") as folder,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        prepared = [pool.submit(prepare, target, Path(folder), count, seed) for target in targets]
        tried = [pool.submit(attempt, part, equal) for one in as_completed(prepared) for part in one.result()[1]]
        scores = [one.result()[0] for one in prepared]
        for one in tried:
            one.result()
    print(f"{'TARGET':<10}{'MADE':>6}{'KILLED':>8}{'EQUAL':>7}{'SURVIVED':>10}{'SCORE':>8}{'SECONDS':>9}")
    for one in scores:
        print(
            f"{one.target:<10}{one.made:>6}{one.killed:>8}{one.equal:>7}{len(one.survivors):>10}{one.rate:>8.1%}"
            f"{one.seconds:>9.0f}"
        )
    for one in scores:
        if one.fault:
            print(f"{one.target}: {one.fault}")
        for mutant in one.survivors:
            print(f"survived: {mutant.file}:{mutant.row}  {mutant.operator}\n  - {mutant.line}\n  + {mutant.becomes}")
    good = all(one.rate >= LEAST and not one.fault for one in scores)
    print(
        json.dumps(
            {
                "seed": seed,
                "sample": word,
                "least": LEAST,
                "passed": good,
                "targets": {
                    one.target: {
                        "made": one.made, "killed": one.killed, "timed_out": one.timed_out, "equal": one.equal,
                        "survived": len(one.survivors), "score": round(one.rate, 4), "seconds": round(one.seconds),
                    }
                    for one in scores
                },
            }
        )
    )  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
