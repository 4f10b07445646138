"""Run every check and test, layer by layer, and show where the time goes.

    python tests/run.py            all layers but the last: unit, lint, image, molecule, lab
    python tests/run.py lint unit  only these
    python tests/run.py more       what takes too long for every change: tests/more, on the lab

Unit tests run beside the making of the lab's image and Molecule's scenarios, which mostly wait for hosts. The lab's own
tests measure: beside them run only linters, with what of the processors nobody else wants at that moment.

A suite that finds nothing to check is a failure, so that a misspelt folder cannot pass for a clean one. Exit code 0
only where everything passed; the last line is `N passed, N failed`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from turnout.lab.topology import Lab

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# Generous: a limit is there so that nothing hangs for ever, not to measure.
LINT_LIMIT_S = 1500
UNIT_LIMIT_S = 1200
IMAGE_LIMIT_S = 1200
SCENARIO_LIMIT_S = 1200
LAB_UP_LIMIT_S = 600
LAB_LIMIT_S = 3000
MORE_LIMIT_S = 5400
# Most unit tests that take long wait for a server: more of them at a time than there are cores.
UNIT_WORKERS = 4
# The niceness of what takes only idle time.
LAST = 19
# How many files of tests are listed with their seconds.
SLOWEST_FILES = 15
# What hypothesis is told (tests/unit/conftest.py): the same examples where everything runs.
EXAMPLES: dict[str, str] = {}


@dataclass(frozen=True)
class Result:
    """What one suite came to; `failures` names what failed, one line each. `why` is told last, where it is all seen.

    `files` holds the seconds of each file of tests, where there are such.
    """

    layer: str
    suite: str
    passed: int
    failures: tuple[str, ...]
    skipped: int
    seconds: float
    why: tuple[str, ...] = ()
    files: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Finished:
    """One ended command: its exit code (None where the time limit ended it) and its output where it was caught."""

    code: int | None
    output: str
    seconds: float

    def why_not(self) -> str | None:
        """Return what was wrong, or None where the command succeeded."""
        if self.code is None:
            return f"no end after {self.seconds:.0f} s"
        return f"exit code {self.code}" if self.code else None


_running: set[subprocess.Popen[str]] = set()


def run(
    command: list[str],
    limit_s: float,
    *,
    catch: bool = False,
    behind: int = 0,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a command from the project's root with its own tools first on PATH.

    It gets a process group of its own, which is ended as a whole at the time limit and on Ctrl-C. `behind` is its
    niceness: with 19 it gets only what the others leave of the processors.
    """
    if behind:
        first = ["chrt", "--idle", "0"] if behind == LAST else ["nice", "-n", str(behind)]
        command = [*first, *command]
    tools_first = {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    # fmt: off
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(env or {}), **tools_first}, stdin=subprocess.DEVNULL, text=True,
        start_new_session=True,
        stdout=subprocess.PIPE if catch else None, stderr=subprocess.STDOUT if catch else None,
    ) as process:
        # fmt: on
        _running.add(process)
        if behind:
            # Where Linux shares the processors between sessions first, niceness counts only within its own.
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text(str(behind))
        try:
            output, _ = process.communicate(timeout=limit_s)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            output, code = _end(process), None
        except BaseException:
            _end(process)
            raise
        finally:
            _running.discard(process)
    return Finished(code, output or "", time.monotonic() - started)


def _end(process: subprocess.Popen[str]) -> str:
    """End a whole process group: in order first, so that tests can clean up, then by force."""
    for sign, patience_s in ((signal.SIGINT, 60), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
            output, _ = process.communicate(timeout=patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return output or ""
    return ""


def _end_all() -> None:
    """Tell every process group that other threads wait for to end; those threads collect them."""
    for sign, patience_s in ((signal.SIGINT, 60), (signal.SIGKILL, 10)):
        for process in list(_running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
        deadline = time.monotonic() + patience_s
        while _running and time.monotonic() < deadline:
            time.sleep(0.1)


# -- lint --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """A linter, and how its answer tells how many files it looked at."""

    name: str
    command: tuple[str, ...]
    looked_at: str


def playbooks() -> list[str]:
    """Return the playbooks that people run."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "playbooks").glob("*.yml"))


def lint_checks() -> list[Check]:
    """Return every static check."""
    texts = "git ls-files -z --cached --others --exclude-standard"
    return [
        Check("ruff format", ("ruff", "format", "--check"), r"(\d+) files? already formatted"),
        Check("ruff", ("sh", "-c", "ruff check && ruff check --show-files | wc -l"), r"^(\d+)$"),
        Check("mypy", ("mypy",), r"no issues found in (\d+) source file"),
        Check(
            "playbook syntax",
            ("ansible-playbook", "--syntax-check", *playbooks()),
            r"playbook: \S+",
        ),
        Check("ansible-lint", ("ansible-lint", "--nocolor"), r"in (\d+) files processed"),
        Check("spelling", ("sh", "-c", f"{texts} | xargs -0 codespell && {texts} | tr -cd '\\0' | wc -c"), r"^(\d+)$"),
        Check("links", ("python", "tests/links.py"), r"^(\d+) pages"),
    ]


def lint() -> Iterator[Result]:
    """Run every linter to its end, so that all that is wrong is seen at once."""
    for check in lint_checks():
        done = run(list(check.command), LINT_LIMIT_S, catch=True, behind=LAST)
        found = re.search(check.looked_at, done.output, re.MULTILINE)
        wrong = done.why_not()
        if wrong is None and (found is None or found.groups() == ("0",)):
            wrong = "it looked at no file"
        if wrong is not None:
            print(done.output)
        failures = () if wrong is None else (f"{check.name}: {wrong}",)
        yield Result("lint", check.name, 1 - len(failures), failures, 0, done.seconds)


# -- pytest ------------------------------------------------------------------------------------------------------


def pytest(
    layer: str,
    folder: str,
    limit_s: float,
    *options: str,
    catch: bool = False,
    behind: int = 0,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run one folder of tests; the counts come from pytest's own report.

    With `catch` its output comes in one piece at its end, where others write meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="turnout-test-") as place:
        report = Path(place) / "report.xml"
        command = [sys.executable, "-m", "pytest", folder, "--durations=30", f"--junit-xml={report}", *options]
        done = run(command, limit_s, catch=catch, behind=behind, env=env)
        passed, failures, skipped, files = _read(report)
    print(done.output, end="", flush=True)
    wrong = done.why_not()
    if passed + skipped + len(failures) == 0:
        failures = [f"{folder}: no test was collected"]
    elif wrong is not None and not failures:
        failures = [f"{folder}: {wrong}"]
    return Result(layer, folder, passed, tuple(failures), skipped, done.seconds, files=files)


def _read(report: Path) -> tuple[int, list[str], int, tuple[tuple[str, float], ...]]:
    if not report.exists():
        return 0, [], 0, ()
    passed, skipped, failures = 0, 0, []
    files: Counter[str] = Counter()
    # pytest wrote the file a moment ago: nobody else's XML is read here.
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        files[str(case.get("classname")).rpartition(".")[2]] += float(case.get("time") or 0)
        if case.find("failure") is not None or case.find("error") is not None:
            failures.append(f"{case.get('classname')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failures, skipped, tuple(files.most_common(SLOWEST_FILES))


def unit() -> Iterator[Result]:
    """Run the tests of the Python core: seconds, no lab."""
    options = (f"--numprocesses={UNIT_WORKERS}", "--dist=worksteal")
    # Molecule beside it is what takes longest: it goes first.
    yield pytest("unit", "tests/unit", UNIT_LIMIT_S, *options, catch=True, behind=5, env=EXAMPLES)


# -- the lab's image ---------------------------------------------------------------------------------------------


def image() -> Iterator[Result]:
    """Make the image of the lab's hosts where it is not there."""
    yield turnout_lab("image", "image", IMAGE_LIMIT_S)


def turnout_lab(layer: str, word: str, limit_s: float) -> Result:
    """Run `turnout lab WORD`; return what came of it."""
    command = ["turnout", "lab", word]
    done = run([str(BIN / command[0]), *command[1:]], limit_s)
    wrong = done.why_not()
    failures = () if wrong is None else (f"{' '.join(command)}: {wrong}",)
    return Result(layer, " ".join(command), 1 - len(failures), failures, 0, done.seconds)


# -- on the lab --------------------------------------------------------------------------------------------------


def molecule() -> Iterator[Result]:
    """Run every Molecule scenario, on the lab that the next layer goes on with: it is provisioned only once."""
    lab = Lab.from_environment()
    # Beside a galaxy.yml Molecule wants its scenarios elsewhere, and warns each time unless it is told where they are.
    place = {"MOLECULE_GLOB": "molecule/*/molecule.yml"}
    env = {"TURNOUT_LAB": lab.name, "TURNOUT_LAB_SUBNET": lab.subnet, **place}
    scenarios = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    if not scenarios:
        yield Result("molecule", "molecule", 0, ("molecule: there is no scenario",), 0, 0.0)
    for name in scenarios:
        print(f"-- molecule {name}", flush=True)
        # Molecule would take a lab that an earlier run left for its own, and create none.
        run([str(BIN / "molecule"), "reset", "--scenario-name", name], SCENARIO_LIMIT_S, catch=True, env=env)
        with tempfile.NamedTemporaryFile("r", prefix="turnout-molecule-", errors="replace") as kept:
            show_and_keep = ["bash", "-c", 'set -o pipefail; "$@" 2>&1 | tee "$0"', kept.name]
            command = [str(BIN / "molecule"), "test", "--scenario-name", name, "--destroy=never"]
            done = run([*show_and_keep, *command], SCENARIO_LIMIT_S, env=env)
            told = kept.read()
        wrong = done.why_not()
        if not (ROOT / "molecule" / name / "verify.yml").exists():
            wrong = "it verifies nothing: it has no verify.yml"
        failures = () if wrong is None else (f"molecule {name}: {wrong}",)
        yield Result("molecule", name, 1 - len(failures), failures, 0, done.seconds, first_fault(told) if wrong else ())


def first_fault(told: str) -> tuple[str, ...]:
    """Return the lines of a playbook's output around its first failure: the task's name, and what it said.

    What a machine keeps of a long output is often its end alone. (Molecule calls things CRITICAL that are no failure.)
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", told).splitlines()
    faults = [at for at, line in enumerate(lines) if re.search(r"fatal: |FAILED[! ]|^E {2,}", line)]
    return tuple(lines[max(0, faults[0] - 6) : faults[0] + 24]) if faults else tuple(lines[-30:])


def lab() -> Iterator[Result]:
    """Bring the lab up and run what drives it from outside, as a person would."""
    up = turnout_lab("lab", "up", LAB_UP_LIMIT_S)
    yield up
    if not up.failures:
        yield pytest("lab", "tests/lab", LAB_LIMIT_S)


def more() -> Iterator[Result]:
    """Run the tests of the lab that take too long for every change."""
    up = turnout_lab("more", "up", LAB_UP_LIMIT_S)
    yield up
    if not up.failures:
        # They share the fixtures of tests/lab.
        env = {"PYTHONPATH": str(ROOT / "tests" / "lab")}
        yield pytest("more", "tests/more", MORE_LIMIT_S, "-p", "conftest", env=env)


# One stage after the other; the rows of a stage run beside each other, the layers of a row in order.
STAGES = ((("unit",), ("image", "molecule")), (("lab", "more"), ("lint",)))
LAYERS: dict[str, Callable[[], Iterator[Result]]] = {
    "unit": unit,
    "lint": lint,
    "image": image,
    "molecule": molecule,
    "lab": lab,
    "more": more,
}
ON_REQUEST = ("more",)


def table(results: list[Result]) -> str:
    """Return the summary: every suite with its time and its part of the whole."""
    whole = sum(result.seconds for result in results) or 1.0
    rows = [("LAYER", "SUITE", "PASSED", "FAILED", "SKIPPED", "SECONDS", "PART")]
    rows += [
        (
            result.layer,
            result.suite,
            str(result.passed),
            str(len(result.failures)),
            str(result.skipped),
            f"{result.seconds:.1f}",
            f"{result.seconds / whole:.0%}",
        )
        for result in results
    ]
    passed, failed, skipped = (str(count) for count in totals(results))
    rows.append(("", "all", passed, failed, skipped, f"{whole:.1f}", "100%"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def totals(results: list[Result]) -> tuple[int, int, int]:
    """Return how many passed, failed and were skipped."""
    return (
        sum(result.passed for result in results),
        sum(len(result.failures) for result in results),
        sum(result.skipped for result in results),
    )


def results_of(names: list[str]) -> list[Result]:
    """Run layers, some beside each other (see above); return what their suites came to."""

    def in_order(row: tuple[str, ...]) -> list[Result]:
        found = []
        for name in row:
            if name in names:
                print(f"\n== {name}", flush=True)
                found += list(LAYERS[name]())
        return found

    results: list[Result] = []
    for rows in STAGES:
        with ThreadPoolExecutor(len(rows)) as pool:
            try:
                results += [result for part in pool.map(in_order, rows) for result in part]
            except BaseException:
                _end_all()
                raise
    return results


def main(arguments: list[str]) -> int:
    """Run the layers named, or all; return the exit code."""
    unknown = [name for name in arguments if name not in LAYERS]
    if unknown:
        print(f"error[test-layer]: there is no layer {', '.join(unknown)}", file=sys.stderr)
        print(f"  expected: any of {', '.join(LAYERS)}\n  to mend:  make test", file=sys.stderr)
        return 2
    # A shell that puts a command into the background has it ignore Ctrl-C, and all that it starts: tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    if not arguments:
        EXAMPLES["TURNOUT_SAME_EXAMPLES"] = "1"
    results = results_of(arguments or [name for name in LAYERS if name not in ON_REQUEST])
    passed, failed, skipped = totals(results)
    for result in results:
        if result.files:
            print(f"\n== {result.suite}: the files that took longest")
            print(*(f"{seconds:8.1f} s  {name}" for name, seconds in result.files), sep="\n")
    print(f"\n== where the time went\n{table(results)}\n{time.monotonic() - started:.0f} s in all, as a clock counts")
    for result in results:
        for failure in result.failures:
            print(f"FAILED {failure}")
        print(*(f"  {line}" for line in result.why), sep="\n", end="\n" if result.why else "")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
