"""Every host: reachable, disk, memory, clock."""

from __future__ import annotations

from collections.abc import Iterator

from turnout.checklist.config import Checklist
from turnout.checklist.model import Facts, Probe, Result, Situation, Verdict, answer_of, seen_at

MANAGED = ("edge", "api", "worker", "postgres", "redis", "monitoring")
PROBE = "host"


def probes(config: Checklist, situation: Situation) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe)."""
    limit_s = max(config.limit_of(name) for name in ("disk", "memory", "clock"))
    for host in situation.hosts(*MANAGED):
        yield host, Probe(PROBE, "host", limit_s, {"paths": list(config.hosts.paths)})


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge every host, each check one row a host."""
    for host in situation.hosts(*MANAGED):
        seen = situation.seen.get(host)
        at_s = seen_at(situation, host)
        if seen is None or seen.unreachable is not None:
            why = "it was not asked" if seen is None else (seen.unreachable or "no reason given")
            remedy = f"ansible {host} -m ping tells why; bring it back, or take it out of the inventory"
            yield Result("reachable", Verdict.UNKNOWN, why.strip().splitlines()[0][:200], remedy, host)
            continue
        took_s = round(seen.answered_s - seen.asked_s, 3)
        yield Result("reachable", Verdict.PASS, "answers Ansible", "", host, at_s, took_s)
        facts, verdict, words, seconds = answer_of(situation, host, PROBE)
        for name, judged in (("disk", _disk), ("memory", _memory)):
            if facts is None:
                yield Result(name, verdict, words, f"look at {host} itself", host, at_s, seconds)
                continue
            passed, evidence, remedy = judged(config, host, facts)
            kind = Verdict.PASS if passed else Verdict.FAIL
            yield Result(name, kind, evidence, "" if passed else remedy, host, at_s, seconds)
        yield judge_clock(host, seen.clock, config.hosts.clock_skew_s)


_Judged = tuple[bool, str, str]


def room(disk: Facts, free_percent: float, free_mb: float, inodes_percent: float) -> tuple[bool, str]:
    """Return whether a file system has room, and how much: the larger of both bounds in bytes counts."""
    total, free = int(disk["total_bytes"]), int(disk["free_bytes"])
    needed = max(total * free_percent / 100, free_mb * 1e6)
    text = f"{free / 1e6:,.0f} MB free of {total / 1e6:,.0f}"
    inodes = int(disk.get("inodes") or 0)
    if inodes and int(disk["free_inodes"]) < inodes * inodes_percent / 100:
        return False, f"{text}, but only {100 * int(disk['free_inodes']) / inodes:.1f} % of the inodes"
    return free >= needed, text + ("" if free >= needed else f", {needed / 1e6:,.0f} MB wanted")


def _disk(config: Checklist, host: str, facts: Facts) -> _Judged:
    bounds = config.hosts
    told, tight = [], []
    for path, disk in facts["disks"].items():
        if disk is None:
            continue
        passed, text = room(disk, bounds.disk_free_percent, bounds.disk_free_mb, bounds.inodes_free_percent)
        told.append((path, text))
        if not passed:
            tight.append((path, text))
    shown = tight or told
    distinct: dict[str, list[str]] = {}
    for path, text in shown:
        distinct.setdefault(text, []).append(path)
    evidence = "; ".join(f"{' '.join(paths)}: {text}" for text, paths in distinct.items()) or "no path exists"
    remedy = f"free space on {host} (df -h, df -i), or change checklist.hosts"
    return not tight and bool(told), evidence, remedy


def _memory(config: Checklist, host: str, facts: Facts) -> _Judged:
    memory = facts["memory"]
    percent = 100 * memory["available_bytes"] / memory["total_bytes"]
    evidence = f"{memory['available_bytes'] / 1e6:,.0f} MB available, {percent:.0f} %"
    remedy = f"see what takes it on {host} (ps --sort=-rss), or lower checklist.hosts.memory_free_percent"
    return percent >= config.hosts.memory_free_percent, evidence, remedy


def skew(before_s: float, wall_s: float, after_s: float) -> float:
    """Return the least difference of a host's clock that explains what it said, in seconds; 0 inside the window."""
    return min(wall_s - before_s, 0.0) + max(wall_s - after_s, 0.0)


def judge_clock(host: str, clock: tuple[float, float, float] | None, bound_s: float) -> Result:
    """Judge a clock by one quick question. An answer that took longer than the bound proves nothing."""
    remedy = f"timedatectl status on {host}; start a time service (apt install systemd-timesyncd)"
    if clock is None:
        return Result("clock", Verdict.UNKNOWN, "it did not tell the time", f"run date on {host}", host)
    before_s, wall_s, after_s = clock
    off_s, window_s = skew(*clock), after_s - before_s
    if abs(off_s) > bound_s:
        evidence = f"{wall_s - (before_s + after_s) / 2:+.1f} s off, at most {bound_s:g} s wanted"
        return Result("clock", Verdict.FAIL, evidence, remedy, host, before_s, round(window_s, 3))
    if window_s > bound_s:
        evidence = f"asking took {window_s:.1f} s, too long to see {bound_s:g} s"
        remedy = f"is {host} or the way to it overloaded? try again"
        return Result("clock", Verdict.UNKNOWN, evidence, remedy, host, before_s, round(window_s, 3))
    within = abs(off_s) + window_s
    return Result("clock", Verdict.PASS, f"at most {within:.2f} s off", "", host, before_s, round(window_s, 3))
