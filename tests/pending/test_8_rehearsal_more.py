"""A rehearsal whose failing version does not fail."""

from __future__ import annotations

from harness import Turnout
from test_8_rehearsal import ledger, rehearse


def test_a_version_that_does_not_fail_is_taken_back_and_fails_the_rehearsal(on_1_0_0: Turnout) -> None:
    on_1_0_0.publish("1.3.0")
    run = rehearse(on_1_0_0, "-e", "failing=1.1.0", "-e", "good=1.3.0")
    assert run.rc != 0
    assert "1.1.0 was built to fail and was released all the same" in run.out
    assert on_1_0_0.in_service() == "1.0.0"
    assert ledger(on_1_0_0, "edge1")[-1]["verdict"] == "fail"
