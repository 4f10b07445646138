"""OpenSLO files: what is read from them, and how every fault is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.slo import parse
from turnout.slo.model import Kind

ROOT = Path(__file__).parents[3]

GOOD = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: api-availability
  displayName: API availability
  labels: {team: web}
  annotations:
    example.org/owner: web
spec:
  description: Answers without a server error.
  service: sample
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 28d
      isRolling: true
  objectives:
    - displayName: Answered
      target: 0.995
  indicator:
    metadata:
      name: answers
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: Prometheus
            spec:
              query: http_requests_total{job="api",code=~"5.."}
              sumOver: [code, path]
              absentIsZero: true
        total:
          metricSource:
            type: Prometheus
            spec:
              query: http_requests_total{job="api"}
              sumOver: [code, path]
  alertPolicies: []
"""


def load(tmp_path, content, name="slo.yml"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return parse.load(tmp_path)


def only(tmp_path, content):
    (slo,) = load(tmp_path, content).values()
    return slo


def refused(tmp_path, content):
    with pytest.raises(TurnoutError) as caught:
        load(tmp_path, content)
    assert caught.value.code == "slo-invalid"
    return caught.value.observed


def test_a_whole_file(tmp_path):
    slo = only(tmp_path, GOOD)
    assert (slo.name, slo.title, slo.service, slo.window) == (
        "api-availability",
        "API availability",
        "sample",
        "28d",
    )
    assert slo.objective == 0.995
    assert slo.kind is Kind.AVAILABILITY
    assert slo.good is None
    assert slo.part is slo.bad
    assert slo.bad.absent_is_zero
    assert slo.total.sum_over == ("code", "path")
    assert str(slo.total.for_color("green")) == 'http_requests_total{job="api",color="green"}'
    assert slo.total.place.line == 36
    judged = slo.for_judge()
    assert judged.p0 == pytest.approx(0.005)
    assert (judged.weight, judged.warm_up_s, judged.gates_promotion) == (1.0, 0.0, True)


def test_the_least_that_is_needed(tmp_path):
    slo = only(
        tmp_path,
        """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: least}
spec:
  objectives: [{targetPercent: 99.9}]
  indicator:
    spec:
      ratioMetric: {good: {metricSource: {spec: {query: a}}}, total: {metricSource: {spec: {query: b}}}}
""",
    )
    assert slo.objective == pytest.approx(0.999)
    assert slo.good is not None
    assert slo.title == "least"
    assert slo.window == "30d"


def test_our_settings_are_annotations(tmp_path):
    slo = only(
        tmp_path,
        GOOD.replace(
            "    example.org/owner: web\n",
            "    turnout.dev/type: latency\n    turnout.dev/weight: '2.5'\n    turnout.dev/warm-up: 90s\n"
            "    turnout.dev/warm-up-allowance: '0.2'\n    turnout.dev/gates-promotion: 'false'\n",
        ),
    )
    judged = slo.for_judge()
    assert slo.kind is Kind.LATENCY
    assert (judged.weight, judged.warm_up_s, judged.warm_up_allowance) == (2.5, 90.0, 0.2)
    assert not judged.gates_promotion


def test_a_color_may_be_another_label_and_a_part_of_its_value(tmp_path):
    slo = only(
        tmp_path,
        GOOD.replace(
            "              absentIsZero: true\n",
            "              colorLabel: proxy\n              colorValue: 'api-{color}'\n",
        ),
    )
    assert str(slo.bad.for_color("blue")).endswith(',proxy="api-blue"}')


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "says"),
    [
        ("target: 0.995", "target: 1.0", 18, "spec.objectives[0].target", "100 % or above"),
        ("target: 0.995", "target: 99.5", 18, "spec.objectives[0].target", "targetPercent: 99.5"),
        ("target: 0.995", "targetPercent: 100", 18, "spec.objectives[0].targetPercent", "100 % or above"),
        ("target: 0.995", "target: 0", 18, "spec.objectives[0].target", "0 % or below"),
        ("target: 0.995", "target: -1", 18, "spec.objectives[0].target", "0 % or below"),
        ("target: 0.995", "target: most", 18, "spec.objectives[0].target", "not a number"),
        ("target: 0.995", "target: .nan", 18, "spec.objectives[0].target", "not a number"),
        ("target: 0.995", "target: 0.9\n      targetPercent: 90", 17, "spec.objectives[0]", "both"),
        ("      target: 0.995\n", "", 17, "spec.objectives[0]", "has no target"),
        (
            "    - displayName: Answered",
            "    - target: 0.9\n    - displayName: Answered",
            16,
            "spec.objectives",
            "2 objectives",
        ),
        ("        total:", "        totals:", 32, "ratioMetric.totals", "not a key"),
        ("kind: SLO", "kind: Pod", 2, "kind", "'Pod' is not a kind"),
        ("kind: SLO", "kind: SLI", 2, "kind", "write kind: SLO"),
        ("openslo/v1", "openslo/v2", 1, "apiVersion", "openslo/v1"),
        ("  service: sample", "  services: sample", 11, "spec.services", "known are"),
        ("metadata:\n  name: api-availability", "metadata:\n  title: x", 3, "metadata", "has no name"),
        ("name: api-availability", "name: API Availability", 4, "metadata.name", "is not a name"),
        (
            "    example.org/owner: web",
            "    turnout.dev/wieght: '2'",
            8,
            "turnout.dev/wieght",
            "turnout.dev/weight",
        ),
        ("    example.org/owner: web", "    turnout.dev/weight: '0'", 8, "turnout.dev/weight", "not above 0"),
        ("    example.org/owner: web", "    turnout.dev/type: speed", 8, "turnout.dev/type", "latency"),
        ("    example.org/owner: web", "    turnout.dev/warm-up: 60s", 8, "turnout.dev/warm-up", "give both"),
        (
            "    example.org/owner: web",
            "    turnout.dev/warm-up: 60s\n    turnout.dev/warm-up-allowance: '0.2'",
            8,
            "turnout.dev/warm-up",
            "not a kind of availability",
        ),
        (
            "    example.org/owner: web",
            "    turnout.dev/type: latency\n    turnout.dev/warm-up: soon\n    turnout.dev/warm-up-allowance: '1.5'",
            9,
            "turnout.dev/warm-up",
            "not a duration",
        ),
        (
            "budgetingMethod: Occurrences",
            "budgetingMethod: Timeslices",
            12,
            "spec.budgetingMethod",
            "counts events",
        ),
        (
            "budgetingMethod: Occurrences",
            "budgetingMethod: Guesswork",
            12,
            "spec.budgetingMethod",
            "not known",
        ),
        ("duration: 28d", "duration: a month", 14, "spec.timeWindow[0].duration", "not a duration"),
        ("counter: true", "counter: false", 24, "counter", "counter: true"),
        ("counter: true", "counter: 3", 24, "counter", "neither true nor false"),
        ("        bad:", "        raw:", 25, "ratioMetric.raw", "already divided"),
        ("        bad:", "        worse:", 25, "ratioMetric.worse", "not a key"),
        (
            '              query: http_requests_total{job="api"}\n',
            "",
            32,
            "ratioMetric.total",
            "has no total query",
        ),
        ("      ratioMetric:", "      thresholdMetric:", 22, "indicator.spec", "has no ratioMetric"),
        ("absentIsZero: true", "absentIsZero: perhaps", 31, "absentIsZero", "neither true nor false"),
        ("absentIsZero: true", "colorValue: green", 31, "colorValue", "same for both colors"),
        ("absentIsZero: true", "colorLabel: 'a b'", 31, "colorLabel", "not a label"),
        ("  displayName: API availability", "  name: twice", 5, "metadata.name", "given twice"),
        (
            "    - duration: 28d\n      isRolling: true\n",
            "    duration: 28d\n",
            13,
            "spec.timeWindow",
            "not a list",
        ),
        ("  labels: {team: web}", "  labels: [web]", 6, "metadata.labels", "not a mapping"),
    ],
)
def test_every_fault_names_file_line_field_and_remedy(tmp_path, old, new, line, field, says):
    assert old in GOOD
    observed = refused(tmp_path, GOOD.replace(old, new, 1))
    named = [part for part in observed.splitlines() if f"slo.yml:{line}: " in part and field in part]
    assert any(says in part for part in named), observed


def test_a_total_that_is_absent_cannot_be_called_zero(tmp_path):
    head, _, tail = GOOD.rpartition("sumOver: [code, path]")
    assert "missing traffic look like none" in refused(tmp_path, head + "absentIsZero: true" + tail)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: s.replace(
                "  indicator:\n    metadata:\n      name: answers\n    spec:\n",
                "  indicatorRef: answers\n  other:\n",
            ),
            "write the indicator inline",
        ),
        (lambda s: s.split("        total:")[0], "has no total query"),
        (lambda s: s.split("  indicator:")[0], "has no indicator"),
        (lambda s: s.split("spec:")[0], "has no spec"),
        (
            lambda s: s.replace("        bad:", "        good: {metricSource: {spec: {query: a}}}\n        bad:"),
            "both good and bad",
        ),
        (lambda s: s.replace("kind: SLO\n", ""), "has no kind"),
        (lambda _: "- 1\n", "is not a mapping"),
        (lambda _: "a: [\n", "not YAML"),
        (lambda _: "", "is empty"),
        (
            lambda s: s.replace("counter: true", "counter: !!python/object:os.system 1"),
            "neither true nor false",
        ),
    ],
)
def test_what_is_missing_or_no_slo_at_all(tmp_path, change, says):
    assert says in refused(tmp_path, change(GOOD))


def test_all_faults_are_reported_at_once(tmp_path):
    observed = refused(tmp_path, GOOD.replace("0.995", "1").replace("  service:", "  servise:").replace("28d", "x"))
    assert observed.startswith("3 faults")


def test_two_files_with_one_name_are_a_fault_that_names_both(tmp_path):
    (tmp_path / "a.yml").write_text(GOOD, encoding="utf-8")
    observed = refused(tmp_path, GOOD)
    assert "a.yml:1" in observed
    assert "slo.yml:1" in observed


def test_several_documents_in_a_file(tmp_path):
    other = GOOD.replace("name: api-availability", "name: other")
    assert list(load(tmp_path, f"{GOOD}---\n{other}")) == ["api-availability", "other"]


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_a_folder_without_slos_is_an_error(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TurnoutError) as caught:
        parse.load(tmp_path / where)
    assert caught.value.code == "slo-missing"


def test_queries_of_another_system_load_but_do_not_pass_the_check(tmp_path):
    slos = load(
        tmp_path,
        GOOD.replace("type: Prometheus", "type: Datadog", 1).replace('{job="api"}', '{job="api"}[5m]'),
    )
    with pytest.raises(TurnoutError) as caught:
        parse.check(slos)
    assert "slo.yml:29: " in caught.value.observed
    assert "'Datadog'" in caught.value.observed
    assert "holds a range" in caught.value.observed


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sum(rate(http_requests_total[5m]))", "holds a function"),
        ("rate(a[1m])", "holds a function"),
        ("a offset 5m", "holds an offset"),
        ("a + b", "not a plain"),
        ("{job='x'}", "names no metric"),
        ("a{b=~'('}", "pattern that Prometheus would refuse"),
        ("a{b='c'", "not a plain"),
    ],
)
def test_queries_that_are_no_counter_selectors(tmp_path, query, says):
    slos = load(tmp_path, GOOD.replace('http_requests_total{job="api"}', f'"{query}"'))
    with pytest.raises(TurnoutError) as caught:
        parse.check(slos)
    assert "slo.yml:36: " in caught.value.observed
    assert says in caught.value.observed


def test_rules_need_a_service(tmp_path):
    with pytest.raises(TurnoutError, match=r"spec.service: is not there"):
        parse.check(load(tmp_path, GOOD.replace("  service: sample\n", "")))


@settings(deadline=None)
@given(st.text(max_size=200) | st.from_regex(r"[a-zA-Z:\- \n{}\[\]0-9.&*!|>]{0,80}", fullmatch=True))
def test_any_text_is_read_or_refused_with_one_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "x.yml").write_text(content, encoding="utf-8", newline="")
    try:
        parse.load(folder)
    except TurnoutError as error:
        assert "x.yml" in error.observed


@settings(deadline=None)
@given(st.data())
def test_a_file_with_any_one_value_replaced_never_ends_in_a_traceback(tmp_path_factory, data):
    document = yaml.safe_load(GOOD)
    paths = []

    def walk(node, path):
        paths.append(path)
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            walk(value, (*path, key))

    walk(document, ())
    path = data.draw(st.sampled_from(paths[1:]))
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([[1]])
    )
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    folder = tmp_path_factory.mktemp("one")
    (folder / "x.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        parse.check(parse.load(folder))
    except TurnoutError as error:
        assert "x.yml" in error.observed


def test_the_shipped_slos_are_what_the_issue_names():
    slos = parse.load(ROOT / "inventories/lab/slos")
    parse.check(slos)
    assert set(slos) == {
        "api-availability",
        "latency-tasks",
        "latency-static-data",
        "latency-login",
        "worker-success",
        "worker-queue-delay",
    }
    by_haproxy = parse.load(ROOT / "examples/slos")
    parse.check(by_haproxy)
    assert by_haproxy["api-availability"].objective == slos["api-availability"].objective
