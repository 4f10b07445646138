"""A short form of the fault matrix (make fault-matrix): one seeded case of each kind, under load.

TURNOUT_FAULTS_SEED draws others: faults, hosts and moments.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.cases import FAULT, Case, Moment
from faults.inflict import SECOND_VERSION, undo_everything
from faults.trial import Trial
from harness import Turnout

SEED = int(os.environ.get("TURNOUT_FAULTS_SEED", "1"))
# What a fault may be, of which action, and in which phases: those in which something is at stake. None of the faults
# that last a minute: the matrix has them.
KINDS = {
    "controller": ("deploy", ("playbook-killed", "controller-killed", "ctrl-c"), ("6/7 ", "7/7 ")),
    "network": ("deploy", ("cut-to-edge", "cut-from-edge", "cut-both"), ("6/7 ", "7/7 ")),
    "host": ("rollback", ("edge-frozen", "edge-rebooted", "app-rebooted"), ("1/3 ", "2/3 ")),
    "people": ("deploy", ("second-rollback",), ("5/7 ", "6/7 ", "7/7 ")),
}


def case_of(kind: str, seed: int) -> Case:
    """Draw the case of a kind."""
    chance = random.Random(f"{kind} {seed}")  # noqa: S311 - a draw, not a secret
    action, faults, phases = KINDS[kind]
    fault = FAULT[chance.choice(faults)]
    host = chance.choice(fault.hosts) if fault.hosts else ""
    moment = Moment(chance.choice(phases), round(chance.uniform(0, 2), 3), drawn=True)
    return Case(action, fault.name, host, chance.random() < 0.5, moment)


@pytest.fixture(scope="module")
def whole(turnout: Turnout) -> Turnout:
    """Return the lab without the faults that a killed test may have left."""
    undo_everything(turnout)
    turnout.publish(SECOND_VERSION)
    return turnout


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_costs_no_request_no_job_and_leaves_what_one_rollback_mends(whole: Turnout, kind: str) -> None:
    seen = Trial(whole, case_of(kind, SEED)).run()
    assert seen.passed, "\n".join([seen.case, *seen.problems, str(seen.figures)])
