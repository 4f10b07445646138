"""A rehearsal on real edges: a failing release goes back by itself, a good one is taken back by hand."""

from __future__ import annotations

import json
import threading
import time

from harness import EDGES, Run, Turnout


def ledger(turnout: Turnout, name: str) -> list[dict[str, object]]:
    """Return what the ledger of an edge says of rehearsals."""
    lines = json.loads(turnout.ssh(name, "turnout-edge ledger --tail 50"))["lines"]
    return [one for one in lines if one["kind"] == "rehearsal"]


# What each edge asks itself is then an answer that the fault spoils, often enough for the guard.
BUSY = ("-e", "rehearsal_url=http://127.0.0.1/api/tasks/", "-e", "rehearsal_rate=60")


def arm(turnout: Turnout) -> None:
    """Spoil 1.2.0 as soon as it has a share."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        seen = turnout.edge("edge1")
        if seen["candidate"] and seen["share_bp"]:
            turnout.arm("1.2.0")
            return
        time.sleep(0.3)


def rehearse(turnout: Turnout, *options: str) -> Run:
    return turnout.playbook("rehearse_rollback", *options)


def test_a_rehearsal_leaves_the_service_as_it_was_and_its_evidence_in_the_ledgers(on_1_0_0: Turnout) -> None:
    # Good until its key is set, so that it passes the smoke tests and users meet it.
    on_1_0_0.publish("1.2.0", "5xx=0.5", armed=True)
    on_1_0_0.disarm("1.2.0")
    arming = threading.Thread(target=arm, args=(on_1_0_0,), daemon=True)
    arming.start()
    before = {name: len(ledger(on_1_0_0, name)) for name in EDGES}
    run = rehearse(on_1_0_0, "-e", "failing=1.2.0", "-e", "good=1.1.0", *BUSY)
    assert run.rc == 0, run.tail
    assert "verdict: pass" in run.out
    assert on_1_0_0.in_service() == "1.0.0"
    for name in EDGES:
        entries = ledger(on_1_0_0, name)
        assert len(entries) == before[name] + 1
        failing, good, back = entries[-1]["stages"]
        assert (failing["stage"], failing["release"], good["release"], back["stage"]) == (
            "failing", "1.2.0", "1.1.0", "back",
        )  # fmt: skip
        assert failing["code"] != 0
        assert "5xx" in failing["cause"]
        assert failing["exposed_s"][name] > 0
        assert failing["lost"] > 0
        assert all(stage["sent"] > 0 for stage in (failing, good, back))
        assert (good["lost"], back["lost"]) == (0, 0)
        assert entries[-1]["verdict"] == "pass"
        assert "inactive" in on_1_0_0.ssh(name, "systemctl is-active turnout-rehearsal-probe || true")


def test_what_must_not_be_rehearsed_is_refused_before_anything_moves(on_1_0_0: Turnout) -> None:
    for options, words in (
        (("-e", "failing=1.2.0", "-e", "good=1.1.0", "-e", "rehearsal_allowed=false"), "does not allow rehearsals"),
        (("-e", "good=1.1.0"), "rehearsal-versions"),
        (("-e", "failing=1.2.0", "-e", "good=1.0.0"), "serves 1.0.0"),
    ):
        run = rehearse(on_1_0_0, *options)
        assert run.rc != 0
        assert " ".join(words.split()) in " ".join(run.out.split()), run.tail
    assert on_1_0_0.in_service() == "1.0.0"


def test_a_version_that_does_not_fail_is_taken_back_and_fails_the_rehearsal(on_1_0_0: Turnout) -> None:
    on_1_0_0.publish("1.3.0")
    run = rehearse(on_1_0_0, "-e", "failing=1.1.0", "-e", "good=1.3.0")
    assert run.rc != 0
    assert "1.1.0 was built to fail and was released all the same" in run.out
    assert on_1_0_0.in_service() == "1.0.0"
    assert ledger(on_1_0_0, "edge1")[-1]["verdict"] == "fail"
