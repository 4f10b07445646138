"""The workflow that we hand out has a job for every check that the checklist wants by default."""

from __future__ import annotations

from pathlib import Path

import yaml
from turnout.checklist.config import REQUIRED_CHECKS

WORKFLOW = Path(__file__).parents[3] / "examples/ci/workflow.yml"


def test_every_required_check_is_a_job_that_can_end() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert set(REQUIRED_CHECKS) <= {job["name"] for job in jobs.values()}
    assert all(name == job["name"] for name, job in jobs.items())
    assert all(job["timeout-minutes"] and job["steps"] for job in jobs.values())


def test_it_runs_what_it_promises() -> None:
    text = WORKFLOW.read_text()
    for words in ("go vet", "gofmt -l", "go test -race", "govulncheck", "gitleaks", "$MIGRATE down", "go build"):
        assert words in text
