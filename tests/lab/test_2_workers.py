"""Releases whose workers do not work: none goes into service, and the old workers go on.

Later deaths, memory and the judge are in tests/more/test_7_workers_more.py.
"""

from __future__ import annotations

import yaml
from harness import APPS, SERVICE_FILE, Turnout, refused


def test_workers_that_load_for_nine_seconds_and_exit_never_go_into_service(untouched: Turnout) -> None:
    untouched.publish("2.3.1", "worker-ends=9")
    run = untouched.deploy("2.3.1", "-e", "lab_steady_s=20")
    refused(run, "sample-worker-jobs@", "was started again", "service.steady_s", "its last lines", "to mend")
    assert untouched.in_service() == "1.0.0"
    color = untouched.edge("edge1")["stable"]
    assert all(f"worker-jobs@{color}" in untouched.units(host) for host in APPS)


def test_workers_that_take_no_job_never_go_into_service(untouched: Turnout) -> None:
    """The scheduler enqueues a job a second, so that the queue fills once the old workers take none."""
    untouched.publish("2.3.2", "worker-idle")
    jobs = yaml.safe_load(SERVICE_FILE.read_text())["service"]["workers"]["jobs"]
    run = untouched.deploy("2.3.2", *untouched.with_service(workers={"jobs": {**jobs, "idle_s": 8}}))
    refused(run, "worker-idle", "taken no job for 8 s from jobs", "service.workers.jobs.idle_s")
    assert untouched.in_service() == "1.0.0"
