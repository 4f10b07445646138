"""A rehearsal passes only where the bad release went back, the good one was taken back, and nothing was lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from turnout.rehearsal import BACK, FAILING, GOOD, MENDED, Look, Stage, evidence, exposed_s, grown, lines, look

VERSIONS = {FAILING: "1.2.0", GOOD: "1.1.0"}
EDGES = ["edge1", "edge2"]
REST = Look("1.0.0", True, 100, 0, 20, 0, ())


def line(seq: int, second: float, action: str, share_bp: int = 0, event: str = "result") -> dict[str, Any]:
    return {
        "seq": seq, "ts": f"2026-03-01T03:00:{second:06.3f}Z", "event": event, "action": action,
        "state": {"share_bp": share_bp},
    }  # fmt: skip


JOURNAL = (
    line(1, 1, "move", 500),
    line(2, 2, "rollback"),
    line(3, 10, "prepare"),
    line(4, 11, "move", 500, "intent"),
    line(5, 11.5, "move", 500),
    line(6, 12.5, "move", 2500),
    line(7, 14.0, "rollback"),
    line(8, 14.5, "settle"),
)


def course(**after_stage: Look) -> list[dict[str, Look]]:
    """Return looks before the first stage and after each, on both edges."""
    steps = [
        replace(REST, journal=JOURNAL[:2]),
        after_stage.get("failing", replace(REST, responses=300, errors_5xx=4, sent=60, lost=3, journal=JOURNAL)),
        after_stage.get("good", replace(REST, serves="1.1.0", responses=500, errors_5xx=4, sent=90, lost=3)),
        after_stage.get("back", replace(REST, responses=600, errors_5xx=4, sent=120, lost=3)),
    ]
    return [dict.fromkeys(EDGES, step) for step in steps]


STAGES = [
    Stage(FAILING, 2, 30.0, "green fails on this edge"),
    Stage(GOOD, 0, 40.0, ""),
    Stage(BACK, 0, 2.5, ""),
]


def test_a_rehearsal_that_went_as_it_must_passes_with_its_figures() -> None:
    entry = evidence(STAGES, course(), VERSIONS, EDGES)
    assert (entry["verdict"], entry["causes"], entry["stable"]) == ("pass", [], "1.0.0")
    failing, good, back = entry["stages"]
    assert (failing["sent"], failing["lost"], failing["errors_5xx"], failing["responses"]) == (80, 6, 8, 400)
    assert failing["exposed_s"] == {"edge1": 2.5, "edge2": 2.5}
    assert failing["cause"] == "green fails on this edge"
    assert (good["sent"], good["lost"], good["seconds"]) == (60, 0, 40.0)
    assert (back["lost"], back["seconds"]) == (0, 2.5)
    said = "\n".join(lines(entry))
    assert "edge1 2.5 s, edge2 2.5 s" in said
    assert "verdict: pass" in said


@pytest.mark.parametrize(
    ("stages", "looks", "words"),
    [
        ([replace(STAGES[0], code=0), *STAGES[1:]], course(), "was released all the same"),
        ([STAGES[0], replace(STAGES[1], code=2, cause="disk full")], course(), "release of 1.1.0 failed: disk full"),
        ([*STAGES[:2], replace(STAGES[2], code=4)], course(), "the rollback failed: exit code 4"),
        (STAGES, course(good=replace(REST, sent=90, lost=3)), "edge1 serves 1.0.0, not 1.1.0"),
        (STAGES, course(failing=replace(REST, serves="1.2.0", sent=60)), "edge2 serves 1.2.0, not 1.0.0"),
        (STAGES, course(back=replace(REST, sent=120, at_rest=False, lost=3)), "edge1 is not at rest"),
        (STAGES, course(back=replace(REST, sent=120, lost=4)), "2 of 60 requests were lost in stage back"),
        (STAGES, course(failing=replace(REST, sent=20)), "no request was sent in stage failing"),
        (STAGES, course(failing=replace(REST, sent=60, journal=JOURNAL[:6])), "of a share and of no way back"),
        (STAGES, course(failing=replace(REST, sent=60, journal=JOURNAL[:3])), "stopped before any traffic met it"),
    ],
)
def test_what_went_otherwise_fails_it_and_is_named(
    stages: list[Stage], looks: list[dict[str, Look]], words: str
) -> None:
    entry = evidence(stages, looks, VERSIONS, EDGES)
    assert entry["verdict"] == "fail"
    assert any(words in cause for cause in entry["causes"]), entry["causes"]


def test_a_bad_release_that_stayed_is_taken_back_by_hand_and_still_fails_it() -> None:
    stages = [Stage(FAILING, 0, 30.0, ""), Stage(MENDED, 0, 2.0, ""), *STAGES[1:]]
    looks = course(failing=replace(REST, serves="1.2.0", sent=60, lost=3, journal=()))
    looks.insert(2, dict.fromkeys(EDGES, replace(REST, sent=70, lost=3)))
    entry = evidence(stages, looks, VERSIONS, EDGES)
    assert entry["causes"] == ["1.2.0 was built to fail and was released all the same"]
    assert [row["stage"] for row in entry["stages"]] == [FAILING, MENDED, GOOD, BACK]


def test_an_edge_that_did_not_answer_throughout_is_named() -> None:
    looks = course()
    del looks[2]["edge2"]
    entry = evidence(STAGES, looks, VERSIONS, EDGES)
    assert entry["causes"] == ["edge2 did not answer throughout: what users met there is not known"]


@pytest.mark.parametrize(("ran", "missing"), [(0, "failing, good"), (1, "good"), (2, "back")])
def test_a_stage_that_was_not_run_is_no_pass(ran: int, missing: str) -> None:
    entry = evidence(STAGES[:ran], course()[: ran + 1], VERSIONS, EDGES)
    assert entry["verdict"] == "fail"
    assert f"not run: {missing}" in entry["causes"]


def test_a_candidate_that_never_had_a_share_exposed_nobody() -> None:
    assert exposed_s(REST, replace(REST, journal=(line(1, 1, "prepare"), line(2, 2, "settle")))) is None
    assert exposed_s(replace(REST, journal=JOURNAL[:2]), replace(REST, journal=JOURNAL)) == 2.5


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    assert (grown(30, 20), grown(5, 20)) == (10, 5)


def test_what_an_edge_shows_is_read() -> None:
    shown = {
        "stable": "blue", "agree": True, "candidate": None, "lock": {"held": False},
        "releases": {"blue": {"release": "1.0.0"}, "green": None},
        "backends": {"blue": {"hrsp_2xx": 7, "hrsp_5xx": 2}, "green": {"hrsp_2xx": 1, "hrsp_5xx": None}},
        "journal": [line(1, 1, "move", 5)],
    }  # fmt: skip
    seen = look(shown, {"sent": 9, "lost": 1})
    assert (seen.serves, seen.at_rest, seen.responses, seen.errors_5xx) == ("1.0.0", True, 10, 2)
    assert (seen.sent, seen.lost, len(seen.journal)) == (9, 1, 1)
    assert not look({**shown, "lock": {"held": True}}, {}).at_rest
    assert look({"stable": None, "lock": {"held": False}, "backends": None}, {}).serves is None
