"""Whether new workers take jobs, by the figures of a queue in two looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checklist_bed import SERVICE
from turnout.checklist.config import Queue
from turnout.checklist.config import load as load_checklist
from turnout.checklist.taken import Watched, idle_s_of, kinds_of, taken
from turnout.faults import FaultsError
from turnout.service import Service, load

OLD = {"depth": 5, "net_per_s": 1.0}


@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        ({"depth": 0}, {"depth": 0}, True),  # nothing waits
        (OLD, {"depth": 0}, True),
        (OLD, {"depth": 4, "net_per_s": 0.0}, True),
        (OLD, {"depth": 9, "net_per_s": -2.0}, True),
        (OLD, {"depth": 9, "served_per_s": 3.0}, True),  # fills faster than it is served
        (OLD, {"depth": 9, "served_per_s": 0.0}, False),
        (OLD | {"oldest_at": 100.0}, {"depth": 9, "oldest_at": 100.001}, False),  # the same job is the oldest
        (OLD | {"oldest_at": 100.0}, {"depth": 9, "oldest_at": 101.0}, True),
        (OLD | {"head": "a"}, {"depth": 9, "head": "a"}, False),
        (OLD | {"head": "a"}, {"depth": 9, "head": "b"}, True),
        (OLD, {"depth": 5, "net_per_s": 0.0, "head": "a", "paused": ["mails"]}, True),  # the checklist tells of that
        (OLD, {"depth": 9, "net_per_s": 4.0}, None),
    ],
)  # fmt: skip
def test_what_counts_as_taken(first: dict[str, Any], second: dict[str, Any], seen: bool | None) -> None:
    assert taken(first, second) is seen


def test_a_queue_that_fills_and_of_which_nothing_is_taken_waits_and_is_told() -> None:
    watched = Watched()
    assert watched.add({"jobs": {"depth": 3, "head": "a"}, "mails": {"depth": 1, "head": "a"}}) == ["jobs", "mails"]
    assert watched.add({"jobs": {"depth": 9, "head": "a"}, "mails": {"depth": 2, "head": "b"}}) == ["jobs"]
    assert watched.told == {"mails": "jobs are taken"}
    fault = watched.fault(["jobs"], 60, ["bulk", "rare"])
    assert "error[worker-idle]" in fault and "60 s from jobs (3 waited, now 9)" in fault and "mails" not in fault
    assert (
        "workers (bulk, rare) have" in fault
        and "service.workers.bulk.idle_s, service.workers.rare.idle_s" in fault
        and "expected" in fault
    )


def test_what_cannot_be_known_holds_nothing_up() -> None:
    watched = Watched()
    assert watched.add({"away": None, "gone": {"missing": ["x"]}, "dumb": {"depth": 3}}) == []
    assert all(told.startswith("not known") for told in watched.told.values()) and len(watched.told) == 3


def service(**workers: dict[str, Any]) -> Service:
    given = {name: {"command": "bin/worker", **one} for name, one in workers.items()}
    return load({**SERVICE, "workers": given}, base_dir=Path("/inventory"))


def test_how_long_a_queue_may_wait_is_said_by_the_kinds_that_serve_it() -> None:
    kinds = service(
        bulk={"quiesce_signal": "SIGTSTP", "idle_s": 90}, mails={"quiesce_signal": "SIGTSTP", "idle_s": 5}, rare={}
    )
    mails, both, every = (
        Queue("m", "asynq", workers=("mails",)),
        Queue("b", "asynq", workers=("mails", "bulk")),
        Queue("e", "asynq"),
    )
    assert [idle_s_of(queue, kinds, first=False) for queue in (mails, both, every)] == [5, 90, None]
    assert idle_s_of(every, kinds, first=True) == 90
    assert idle_s_of(every, service(), first=True) is None
    assert kinds_of(every, kinds) == ("bulk", "mails", "rare")


def test_a_queue_names_kinds_that_there_are() -> None:
    queues = [{"name": "m", "layout": "asynq", "workers": ["mailz"]}]
    with pytest.raises(FaultsError) as caught:
        load_checklist({"queues": queues}, service=service(mails={}), base_dir=Path("/inventory"))
    (fault,) = caught.value.faults
    assert (fault.path, fault.remedy) == ("checklist.queues[0].workers[0]", "write workers: [mails], or remove the key")
