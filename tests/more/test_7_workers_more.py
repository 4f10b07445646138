"""Workers that die late, by memory, and with the judge: none goes into service (`tests/lab/test_2_workers.py`)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from harness import APPS, Turnout, refused

RATE = 40.0


@pytest.fixture
def little_memory(turnout: Turnout) -> Iterator[None]:
    """Let no worker of the sample have more than 200 MB on the application hosts.

    By address space, not by MemoryMax: cgroups of version 1 give containers no memory controller.
    """
    folder = "/etc/systemd/system/sample-worker-jobs@.service.d"
    lines = r"[Service]\nLimitAS=200M\n"
    for host in APPS:
        turnout.ssh(host, f"mkdir -p {folder} && printf '{lines}' > {folder}/test.conf && systemctl daemon-reload")
    yield
    for host in APPS:
        turnout.ssh(host, f"rm -r {folder} && systemctl daemon-reload")


def test_workers_that_crash_after_30_s_never_go_into_service(on_1_0_0: Turnout) -> None:
    on_1_0_0.publish("2.4.1", "worker-ends=30")
    run = on_1_0_0.deploy("2.4.1", "-e", "lab_steady_s=45")
    refused(run, "sample-worker-jobs@", "service.steady_s")
    assert on_1_0_0.in_service() == "1.0.0"


@pytest.mark.usefixtures("little_memory")
def test_workers_that_eat_memory_never_go_into_service(on_1_0_0: Turnout) -> None:
    on_1_0_0.publish("2.4.2", "worker-eats=10")
    run = on_1_0_0.deploy("2.4.2", "-e", "lab_steady_s=45")
    refused(run, "sample-worker-jobs@", "service.steady_s")
    assert on_1_0_0.in_service() == "1.0.0"


@pytest.mark.parametrize("fault", ["worker-ends=9", "worker-ends=30", "worker-idle"])
def test_with_the_judge_neither(on_1_0_0: Turnout, fault: str) -> None:
    version = f"2.5.{int(time.time())}"
    on_1_0_0.publish(version, fault)
    on_1_0_0.until_scraped()
    with on_1_0_0.load(rate=RATE, new_connections="0.3") as load:
        run = on_1_0_0.judged(version, [], "-e", "lab_steady_s=45")
    assert run.rc != 0, run.tail
    assert on_1_0_0.in_service() == "1.0.0"
    assert load.report["failed"] == 0, load.report["failures"]
