"""`turnout judge replay`: recorded releases through the command, as a person or a program calls it."""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner
from turnout.cli import cli
from turnout.errors import TurnoutError

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: {name}
spec:
  service: sample
  budgetingMethod: Occurrences
  objectives:
    - target: 0.995
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource: {{type: Prometheus, spec: {{query: 'errors_total'}}}}
        total:
          metricSource: {{type: Prometheus, spec: {{query: 'requests_total'}}}}
"""


@pytest.fixture
def slos(tmp_path):
    folder = tmp_path / "slos"
    folder.mkdir()
    for name in ("api", "worker"):
        (folder / f"{name}.yml").write_text(SLO.format(name=name), encoding="utf-8")
    return folder


class Recorder:
    """Writes a release as a recorder does."""

    def __init__(self, path, names=("api", "worker"), history_s=1800, history_bad=0.001, burst=1):
        self.path, self.names = path, names
        self.rng = random.Random(7)
        self.sums = {name: [0, 0, 0, 0] for name in names}
        self.lines = []
        for t in range(-history_s, 0):
            bad = burst * (self.rng.random() < 200 * history_bad / burst)
            self.line(t, 0, None, stable=(200, bad), candidate=None)

    def line(self, t, share_bp, next_share_bp, *, stable, candidate):
        slos = {}
        for name, sums in self.sums.items():
            for index, count in enumerate((*(stable or (0, 0)), *(candidate or (0, 0)))):
                sums[index] += count
            slos[name] = {
                "stable": {"total": sums[0], "bad": sums[1]} if stable else None,
                "candidate": {"total": sums[2], "bad": sums[3]} if candidate else None,
            }
        self.lines.append(json.dumps({"t": t, "share_bp": share_bp, "next_share_bp": next_share_bp, "slos": slos}))

    def scrapes(self, count, *, start=0, share_bp=500, next_share_bp=2500, stable=(190, 0), candidate=(10, 0)):
        for t in range(start, start + count):
            self.line(t, share_bp, next_share_bp, stable=stable, candidate=candidate)

    def save(self):
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return str(self.path)


def replay(*arguments):
    result = CliRunner(catch_exceptions=False).invoke(cli, ["judge", "replay", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_bad_release_is_rolled_back_and_stays_so(tmp_path, slos):
    recorder = Recorder(tmp_path / "bad.jsonl")
    recorder.scrapes(10)
    recorder.scrapes(10, start=10, candidate=(10, 10))
    recorder.scrapes(10, start=20)
    found = rows(replay(recorder.save(), "--slos", slos, "--json"))
    assert len(found) == 30
    assert [row["t"] for row in found] == list(range(30))
    assert all(row["file"] == str(tmp_path / "bad.jsonl") for row in found)
    verdicts = [row["verdict"] for row in found]
    first = verdicts.index("rollback")
    assert first in (11, 12)
    assert set(verdicts[first:]) == {"rollback"}
    assert verdicts[0] == "blind"
    evidence = found[-1]["slos"]["api"]
    assert {"E_abs", "E_rel", "phi", "stable", "candidate"} <= set(evidence)
    assert evidence["candidate"]["low"] <= evidence["candidate"]["rate"] <= evidence["candidate"]["high"]


def test_history_gives_phi_and_is_not_judged(tmp_path, slos):
    calm = Recorder(tmp_path / "calm.jsonl")
    rough = Recorder(tmp_path / "rough.jsonl", history_bad=0.002, burst=40)
    for recorder in (calm, rough):
        recorder.scrapes(5)
    found = rows(replay(calm.save(), rough.save(), "--slos", slos, "--json"))
    assert [row["file"].rsplit("/", 1)[1] for row in found] == ["calm.jsonl"] * 5 + ["rough.jsonl"] * 5
    assert found[0]["slos"]["api"]["phi"] < 2
    assert found[5]["slos"]["api"]["phi"] > 20


def test_each_file_begins_anew(tmp_path, slos):
    bad, good = Recorder(tmp_path / "bad.jsonl"), Recorder(tmp_path / "good.jsonl")
    bad.scrapes(20, candidate=(10, 10))
    good.scrapes(60)
    together = rows(replay(bad.save(), good.save(), "--slos", slos, "--json"))
    assert together[19]["verdict"] == "rollback"
    assert together[20:] == rows(replay(good.save(), "--slos", slos, "--json"))


def test_blind_is_said_where_there_is_nothing_to_judge(tmp_path, slos):
    recorder = Recorder(tmp_path / "blind.jsonl", history_s=60)
    recorder.scrapes(5)
    recorder.scrapes(5, start=5, candidate=None)
    recorder.scrapes(5, start=10, stable=None, candidate=None)
    recorder.scrapes(5, start=15, candidate=(0, 0))
    verdicts = [row["verdict"] for row in rows(replay(recorder.save(), "--slos", slos, "--json"))]
    assert set(verdicts[5:]) == {"blind"}


def test_an_slo_that_the_recording_never_names_is_left_out_and_said(tmp_path, slos):
    recorder = Recorder(tmp_path / "one.jsonl", names=("api",))
    recorder.scrapes(40)
    result = replay(recorder.save(), "--slos", slos, "--json")
    assert "never names worker" in result.stderr
    assert set(rows(result)[-1]["slos"]) == {"api"}
    assert rows(result)[-1]["verdict"] == "promote"


def test_an_slo_that_nobody_declares_is_an_error_with_its_line(tmp_path, slos):
    recorder = Recorder(tmp_path / "odd.jsonl", names=("login",), history_s=3)
    recorder.scrapes(3)
    with pytest.raises(TurnoutError) as caught:
        replay(recorder.save(), "--slos", slos)
    assert f"{tmp_path / 'odd.jsonl'}: line 1: field slos" in caught.value.observed
    assert "login" in caught.value.observed


def test_a_recording_that_names_no_slo_is_an_error(tmp_path, slos):
    recorder = Recorder(tmp_path / "none.jsonl", names=(), history_s=3)
    recorder.scrapes(3)
    with pytest.raises(TurnoutError, match="no line names an SLO"):
        replay(recorder.save(), "--slos", slos)


def test_people_get_a_table_with_reasons(tmp_path, slos):
    recorder = Recorder(tmp_path / "bad.jsonl")
    recorder.scrapes(10)
    recorder.scrapes(10, start=10, candidate=(10, 10))
    printed = replay(recorder.save(), "--slos", slos).output
    assert "rolled back at" in printed
    assert "candidate" in printed
    assert "allowed 0.5 %" in printed


def test_the_command_ends_with_status_2_and_no_traceback_on_bad_input(tmp_path, slos):
    path = tmp_path / "bad.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(TurnoutError, match="line 1: field t"):
        replay(path, "--slos", slos)
