"""Recorded releases: what is read, and what is refused with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.judge import records
from turnout.judge.counters import Counter
from turnout.judge.model import MISSING, Pair, Scrape

GOOD = {
    "t": 1,
    "share_bp": 500,
    "next_share_bp": 2500,
    "slos": {"api": {"stable": {"total": 10, "bad": 1}, "candidate": None}},
}


def changed(**changes):
    line = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = line
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return json.dumps(line)


def write(tmp_path, *lines):
    path = tmp_path / "release.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_line_becomes_a_scrape(tmp_path):
    recording = records.read(
        write(tmp_path, json.dumps(GOOD | {"t": -1, "note": "kept by the recorder"}), "", json.dumps(GOOD))
    )
    assert recording.scrapes == (Scrape(1.0, 500, 2500, {"api": Pair(Counter(10.0, 1.0), None)}),)
    assert len(recording.history) == 1
    assert recording.names == {"api": 1}


def test_history_needs_no_shares(tmp_path):
    path = write(tmp_path, changed(t=-5, share_bp=..., next_share_bp=...), changed())
    assert len(records.read(path).history) == 1


def test_a_last_step_may_leave_the_next_share_out_and_an_slo_may_be_null(tmp_path):
    recording = records.read(write(tmp_path, changed(next_share_bp=..., slos__api=None)))
    assert recording.scrapes[0].next_share_bp is None
    assert recording.scrapes[0].slos == {"api": MISSING}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", "(line)"),
        ("[1]", "(line)"),
        ('{"t": NaN}', "(line)"),
        (changed(t=...), "field t"),
        (changed(t="1"), "field t"),
        (changed(t=True), "field t"),
        (changed(share_bp=...), "field share_bp"),
        (changed(share_bp=-1), "field share_bp"),
        (changed(share_bp=10_001), "field share_bp"),
        (changed(share_bp=0.5), "field share_bp"),
        (changed(next_share_bp="x"), "field next_share_bp"),
        (changed(next_share_bp=500), "field next_share_bp"),
        (changed(next_share_bp=100), "field next_share_bp"),
        (changed(share_bp=10_000, next_share_bp=10_000), "field next_share_bp"),
        (changed(slos=...), "field slos"),
        (changed(slos=[]), "field slos"),
        (changed(slos__api=3), "field slos.api"),
        (changed(slos__api__candidate=...), "field slos.api.candidate"),
        (changed(slos__api__stable=7), "field slos.api.stable"),
        (changed(slos__api__stable__bad=...), "field slos.api.stable.bad"),
        (changed(slos__api__stable__bad=None), "field slos.api.stable.bad"),
        (changed(slos__api__stable__total=-1), "field slos.api.stable.total"),
        (changed(slos__api__stable__total="10"), "field slos.api.stable.total"),
        (changed(slos__api__stable__total=10**400), "field slos.api.stable.total"),
    ],
)
def test_a_malformed_line_is_an_error_that_names_file_line_and_field(tmp_path, line, field):
    path = write(tmp_path, changed(t=0), line)
    with pytest.raises(TurnoutError) as caught:
        records.read(path)
    assert caught.value.code == "record-malformed"
    assert f"{path}: line 2:" in caught.value.observed
    assert field in caught.value.observed
    assert "2d" in caught.value.remedy


def test_a_clock_that_runs_back_is_malformed(tmp_path):
    with pytest.raises(TurnoutError, match="line 2: field t"):
        records.read(write(tmp_path, changed(t=5), changed(t=4)))


@pytest.mark.parametrize("content", ["", "\n\n", changed(t=-1)])
def test_a_recording_without_a_scrape_of_the_release_is_an_error(tmp_path, content):
    with pytest.raises(TurnoutError) as caught:
        records.read(write(tmp_path, content))
    assert caught.value.code == "record-empty"


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, name):
    with pytest.raises(TurnoutError) as caught:
        records.read(tmp_path / name)
    assert caught.value.code == "record-unreadable"


counts = st.none() | st.builds(
    lambda a, b: Counter(float(a + b), float(b)), st.integers(0, 2**40), st.integers(0, 2**40)
)


@given(
    st.floats(0.0, 1e9),
    st.integers(0, 9_999),
    st.dictionaries(st.text(min_size=1, max_size=8), st.builds(Pair, counts, counts), max_size=4),
)
def test_what_is_written_is_read_back(t_s, share_bp, slos):
    scrape = Scrape(t_s, share_bp, 10_000, slos)
    assert records.parse(records.line(scrape)) == scrape
