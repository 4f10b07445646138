"""Label patterns as Prometheus has them: what it refuses, what it takes, and that every SLO's tests can be made."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from turnout.cli import cli
from turnout.errors import TurnoutError
from turnout.slo.patterns import PatternError, accepts, compiled, texts

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: api
  displayName: TITLE
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.999}]
  indicator:
    spec:
      ratioMetric:
        counter: true
        WHICH:
          metricSource: {type: Prometheus, spec: {query: 'http_requests_total{code=~"PATTERN"}'}}
        total:
          metricSource: {type: Prometheus, spec: {query: http_requests_total}}
"""
TAKEN = [
    "[^234]..", "[^23]..", "5.{2}", "5[[:digit:]]{2}", "(?i)error", "5..", "(?:4|5).{2}", r"\\pN{3}", r"5\\d\\d",
    "(?s)5..", r"5..\\z", r"\\Q5.0\\E", "(?P<class>5)..", "[[:^alpha:]]{3}", "(?i:err)or|5..", "5[0-9]{2,}?", "x*[^x]",
    r"\\x35..", r"\\p{Nd}00", "[^[:space:]]+", "5..|", "[(?<]5..|5..",  # codespell:ignore nd
    r"\\p{Greek}+", r"\\x{1F600}", r"\\a", r"5\\\\C|5..", r"\\Q\\C(?<n>\\E",
]  # fmt: skip
REFUSED = [
    "(?!2|3|4).*", "(?=5).*", "(?<=5)..", "(?<!2)00", r"(5)\\1{2}", "(?>5)..", "5.++", r"5..\\Z", "(?P=name)",
    "5..{1001}", "[5-0]", "(", "5**+", r"(?(1)a|b)", r"\\G5", "a{1001}",
    "(?<n>5)..", r"\\C5.", r"5\\\\\\C.", r"\\Q5..", "(?P<klasse\u00e9>5)..",
]  # fmt: skip


def folder(tmp_path: Path, pattern: str, title: str = "T", which: str = "bad") -> Path:
    text = SLO.replace("PATTERN", pattern).replace("TITLE", title).replace("WHICH", which)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos/api.yml").write_text(text)
    return tmp_path / "slos"


def said(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["slo", *words])
    told = str(done.exception) if isinstance(done.exception, TurnoutError) else ""
    assert not done.exception or told or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output + told


@pytest.mark.parametrize("which", ["bad", "good"])
@pytest.mark.parametrize("pattern", TAKEN)
def test_what_prometheus_takes_passes_check_rules_and_their_tests(tmp_path: Path, pattern: str, which: str) -> None:
    slos = folder(tmp_path, pattern, which=which)
    assert said("check", str(slos))[0] == 0
    code, output = said("rules", str(slos), "--out", str(tmp_path / "out"), "--test")
    assert code == 0, output


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_prometheus_refuses_is_refused_with_its_line(tmp_path: Path, pattern: str) -> None:
    code, output = said("check", str(folder(tmp_path, pattern)))
    assert code != 0
    assert "would refuse (RE2)" in " ".join(output.split()), output
    assert "Traceback" not in output


def test_promtool_says_the_same_of_all_of_them(tmp_path: Path) -> None:
    """RE2 and Go's regexp have one grammar; where they did not, promtool would be right."""
    for number, pattern in enumerate([*TAKEN, *REFUSED]):
        rule = {"record": "a", "expr": f'b{{c=~"{pattern}"}}'}
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
        tool = Path(sys.executable).with_name("promtool")
        done = subprocess.run([tool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (pattern in TAKEN), (pattern, done.stdout, done.stderr)


@pytest.mark.parametrize("title", ["Availability of /users/{{id}}", "{{ $value }}", "a }} b {{", "100 % of {{{x}}}"])
def test_braces_in_a_title_are_shown_as_they_are(tmp_path: Path, title: str) -> None:
    slos = folder(tmp_path, "5..", title=f'"{title}"')
    code, output = said("rules", str(slos), "--out", str(tmp_path / "out"), "--test")
    assert code == 0, output
    tests = (tmp_path / "out/tests/slo-api.yml").read_text()
    assert f"shop: {title} burns 14.4 times its budget" in yaml.safe_dump(yaml.safe_load(tests), width=1000)


@given(st.text(alphabet="ab5.[]^-(){}|*+?\\dpLQEx:0,<>Pi$zA", max_size=14))
def test_texts_of_any_valid_pattern_are_matched_by_it_and_nothing_is_raised(pattern: str) -> None:
    try:
        compiled(pattern)
    except PatternError:
        return
    assert all(accepts(pattern, text) for text in texts(pattern))


def test_a_character_that_nobody_would_guess_is_found_in_no_time() -> None:
    """Of 131,000 characters: `turnout slo rules` looks for one again and again, and took seconds for one label."""
    began_s = time.process_time()
    for code in range(0x1F600, 0x1F600 + 50):
        assert texts(f"\\x{{{code:X}}}") == [chr(code)]
    assert texts(r"\x{10FFFD}") == []
    assert time.process_time() - began_s < 1


def test_promtool_is_found_where_the_environment_is_not_activated(tmp_path: Path) -> None:
    slos = folder(tmp_path, "5..")
    program = Path(sys.executable).with_name("turnout")
    done = subprocess.run(
        [program, "slo", "rules", slos, "--out", tmp_path / "out", "--test"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
