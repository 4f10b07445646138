"""The host of the scheduler and the timers is killed, frozen and cut off: another takes over in time, never two run.

`TURNOUT_TAKEOVERS` says how often it is killed, 20 times where nothing is said.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from harness import APPS, Turnout
from turnout.lab.topology import host_named

TAKEOVER_S = 60
THAW_S = 1.5  # a second, and what it takes to thaw a host here
KILLS = int(os.environ.get("TURNOUT_TAKEOVERS", "20"))
SLOTS = "SELECT slot, extract(epoch from at) FROM scheduler_enqueues WHERE kind = 'tick' AND slot >= {since}"


BEAT_S = 10
BEATS = "sample:beats"
BEAT = (
    '/usr/bin/python3 -c "import os, redis, time; '
    f"redis.Redis.from_url(os.environ['REDIS_URL']).rpush('{BEATS}', int(time.time()))"
    '"'
)
TIMERS = {"beat": {"command": BEAT, "on_calendar": f"*:*:0/{BEAT_S}", "persistent": True}}


def beats(turnout: Turnout, since: float) -> Counter[int]:
    """Return the timer's slots since a moment, and how often each was started."""
    said = turnout.redis(f"lrange {BEATS} 0 -1").split()
    return Counter(int(at) // BEAT_S for at in said if int(at) >= since)


@pytest.fixture(scope="module")
def taking_over(turnout: Turnout) -> Iterator[tuple[Turnout, tuple[str, str]]]:
    """Return the lab with 1.0.0 in service, whose scheduler another host takes over."""
    with_it = turnout.with_service(takeover_s=TAKEOVER_S, timers=TIMERS)
    try:
        run = turnout.playbook("site", *with_it, "--tags", "service_host")
        assert run.rc == 0, run.tail
        version = "1.1.0" if turnout.in_service() == "1.0.0" else "1.0.0"
        run = turnout.deploy(version, *with_it, "-e", "lab_steady_s=3")
        assert run.rc == 0, run.tail
        yield turnout, with_it
    finally:
        for host in APPS:
            turnout.hosts.start(host_named(host))
        assert turnout.playbook("site", "--tags", "service_host").rc == 0
        run = turnout.deploy(turnout.in_service() or "1.0.0")
        assert run.rc == 0, run.tail


def runners(turnout: Turnout, hosts: tuple[str, ...] = APPS) -> list[str]:
    """Return the hosts on which a scheduler runs."""
    return [host for host in hosts if any(unit.startswith("scheduler@") for unit in turnout.units(host))]


def until_on(turnout: Turnout, host: str, limit_s: float) -> float:
    """Wait until the scheduler runs on that host; return for how long."""
    began_s = time.monotonic()
    while host not in runners(turnout, (host,)):
        assert time.monotonic() - began_s <= limit_s, f"no scheduler on {host} within {limit_s} s"
        time.sleep(0.5)
    return time.monotonic() - began_s


def slots(turnout: Turnout, since: float) -> dict[int, list[float]]:
    """Return the scheduler's slots (one a second) since a moment, each with the times at which it was enqueued."""
    query = SLOTS.format(since=int(since))
    said = turnout.ssh("data1", f'cd / && sudo -u postgres psql -XAt -d sample -c "{query}"')
    found: dict[int, list[float]] = {}
    for line in said.split():
        slot, at = line.split("|")
        found.setdefault(int(slot), []).append(float(at))
    return found


def other(host: str) -> str:
    return next(name for name in APPS if name != host)


@pytest.mark.parametrize("number", range(KILLS))
def test_the_killed_host_is_replaced_in_time_and_no_slot_comes_twice(
    taking_over: tuple[Turnout, tuple[str, str]], number: int
) -> None:
    turnout, _ = taking_over
    (home,) = runners(turnout)
    since = time.time()
    turnout.hosts.kill(host_named(home))
    try:
        took_s = until_on(turnout, other(home), TAKEOVER_S + 10)
    finally:
        turnout.hosts.start(host_named(home))
    time.sleep(12)  # the old one is back, and stays down
    assert runners(turnout) == [other(home)]
    seen = slots(turnout, since)
    assert [slot for slot, times in seen.items() if len(times) > 1] == []
    late = max(times[0] - slot for slot, times in seen.items())
    count = beats(turnout, since)
    print(f"takeover {number}: {took_s:.1f} s without, timer's slots {sorted(count.items())}")
    # One that makes up for missed ones may be started in the slot of another.
    assert sum(count.values()) <= len(count) + 1, count
    lacking = {slot for slot in range(min(count), max(count)) if slot not in count}
    assert len(lacking) <= TAKEOVER_S / BEAT_S, lacking
    assert late <= TAKEOVER_S + 5, late  # the sample makes up for slots: none was without a scheduler for longer


@pytest.mark.parametrize("how", ["frozen", "cut off"])
def test_a_host_that_comes_back_has_stopped_its_own(taking_over: tuple[Turnout, tuple[str, str]], how: str) -> None:
    turnout, _ = taking_over
    (home,) = runners(turnout)
    since, thawed = time.time(), 0.0
    edges = " ".join(turnout.address(edge) for edge in ("edge1", "edge2"))
    if how == "frozen":
        turnout.hosts.pause(host_named(home))
    else:
        turnout.ssh(home, f"for edge in {edges}; do ip route add blackhole $edge; done")
    try:
        until_on(turnout, other(home), TAKEOVER_S + 10)
        if how == "cut off":
            assert runners(turnout) == [other(home)]
    finally:
        if how == "frozen":
            thawed = time.time()
            turnout.hosts.unpause(host_named(home))
        else:
            turnout.ssh(home, f"for edge in {edges}; do ip route del blackhole $edge; done")
    time.sleep(5)
    assert runners(turnout) == [other(home)]
    twice = {slot: times for slot, times in slots(turnout, since).items() if len(times) > 1}
    # What runs on a host that wakes goes on until its watch has looked (docs/architecture.md).
    late = {slot: times for slot, times in twice.items() if not any(0 <= at - thawed <= THAW_S for at in times)}
    assert late == {}, (thawed, twice)


def test_a_watch_that_stands_still_is_started_anew_and_the_clock_of_the_host_does_not_count(
    taking_over: tuple[Turnout, tuple[str, str]],
) -> None:
    turnout, _ = taking_over
    (home,) = runners(turnout)
    pid = turnout.ssh(home, "systemctl show -P MainPID turnout-scheduler-watch@sample").strip()
    turnout.ssh(home, f"kill -STOP {pid}")
    time.sleep(25)
    assert turnout.ssh(home, "systemctl show -P MainPID turnout-scheduler-watch@sample").strip() != pid
    time.sleep(TAKEOVER_S)
    assert runners(turnout) == [home]


def test_a_rollback_while_the_home_is_gone_leaves_the_color_to_the_taker(
    taking_over: tuple[Turnout, tuple[str, str]],
) -> None:
    turnout, with_it = taking_over
    (home,) = runners(turnout)
    turnout.hosts.kill(host_named(home))
    try:
        run = turnout.rollback(*with_it)
        assert "takes over by itself" in run.out, run.tail
        color = turnout.edge("edge1")["stable"]
        until_on(turnout, other(home), TAKEOVER_S + 10)
        assert f"scheduler@{color}" in turnout.units(other(home))
    finally:
        turnout.hosts.start(host_named(home))
    time.sleep(12)
    assert turnout.schedulers() == [f"{other(home)}:{color}"]
