"""Redis and the queues in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from turnout.checklist.checks.release import edges, stable_color
from turnout.checklist.config import Checklist, Queue
from turnout.checklist.model import Facts, Probe, Result, Situation, Verdict, answer_of, seen_at
from turnout.counts import counted
from turnout.faults import nearest

PROBE = "redis"
DRAIN_FLOOR = 0.001
"""Jobs a second below which a queue counts as standing still."""


def queue_probe(queue: Queue) -> str:
    """Return the id of a queue's probe."""
    return f"queue:{queue.name}"


def _askers(situation: Situation) -> list[str]:
    return situation.hosts("worker") or situation.hosts("api")


def probes(config: Checklist, situation: Situation) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe): every application host asks Redis, the first worker host looks at the queues."""
    if config.redis.url is None:
        return
    access = {"url": config.redis.look_url, "ca_file": config.redis.ca_file}
    asking = {"redis", "redis-memory", "redis-persistence"} - set(config.skip)
    for host in situation.hosts("api", "worker") if asking else ():
        yield host, Probe(PROBE, "redis", config.limit_of("redis"), {**access, "application_url": config.redis.url})
    for queue in config.queues:
        if queue.layout != "prometheus":
            arguments = {**access, **queue.arguments, "layout": queue.layout, "sample_s": queue.sample_s}
            limit_s = max(config.limit_of("queue"), queue.sample_s + 2)
            yield _askers(situation)[0], Probe(queue_probe(queue), "queue", limit_s, arguments)


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge every login, then the server by the first answer, then the queues in it."""
    if config.redis.url is not None:
        yield from _server(config, situation)
    elif config.redis.why:
        remedy = "to have it looked at: let checklist.redis.url_from or .variables name where it is"
        yield Result("redis", Verdict.NOT_CONFIGURED, config.redis.why, remedy)
    for queue in config.queues:
        if queue.layout == "prometheus":
            continue
        if config.redis.url is None:
            remedy = "checklist.redis.url_from: the variable of service.environment with Redis's address"
            yield Result("queue", Verdict.UNKNOWN, "no address of Redis is known", remedy, queue.name)
            continue
        host = _askers(situation)[0]
        facts, verdict, words, seconds = answer_of(situation, host, queue_probe(queue))
        at_s = seen_at(situation, host)
        if facts is None:
            remedy = f"ask Redis from {host}; see checklist.queues"
            if "NOPERM" in words:
                remedy = "ansible-playbook turnout.ops.site (a Redis of your own: give the user that looks +@read)"
            yield Result("queue", verdict, words, remedy, queue.name, at_s, seconds)
        else:
            first = stable_color(situation) is None and bool(edges(situation))
            yield replace(judge_queue(queue, facts, first_release=first), at_s=at_s, seconds=seconds)


def _server(config: Checklist, situation: Situation) -> Iterator[Result]:
    first: tuple[str, Facts, float | None] | None = None
    worst = (Verdict.UNKNOWN, "nobody was asked")
    for host in situation.hosts("api", "worker"):
        facts, verdict, words, seconds = answer_of(situation, host, PROBE)
        at_s = seen_at(situation, host)
        if facts is None:
            remedy = f"from {host}: is Redis up? see service.environment.{config.redis.url_from}"
            worst = (verdict, words)
            yield Result("redis", verdict, words, remedy, host, at_s, seconds)
            continue
        first = first or (host, facts, seconds)
        evidence = f"version {facts.get('redis_version')}, {facts.get('role')}, up {facts.get('uptime_in_seconds')} s"
        is_replica = facts.get("role") != "master"
        if is_replica or facts.get("loading"):
            evidence += ": a replica takes no writes" if is_replica else ": still loading"
            yield Result("redis", Verdict.FAIL, evidence, "let the address name the master", host, at_s, seconds)
        else:
            yield Result("redis", Verdict.PASS, evidence, "", host, at_s, seconds)
    for name, judged in (("redis-memory", _memory), ("redis-persistence", _persistence)):
        if first is None:
            yield Result(name, worst[0], worst[1], "see the row redis")
            continue
        host, facts, seconds = first
        yield replace(judged(config, situation, facts), check=name, at_s=seen_at(situation, host), seconds=seconds)


def _row(problems: list[str], evidence: str, remedy: str) -> Result:
    if problems:
        return Result("", Verdict.FAIL, "; ".join(problems) + f" ({evidence})", remedy)
    return Result("", Verdict.PASS, evidence)


def _memory(config: Checklist, _situation: Situation, facts: Facts) -> Result:
    used, most = int(facts["used_memory"]), int(facts.get("maxmemory") or 0)
    policy, evicted = str(facts.get("maxmemory_policy")), int(facts.get("evicted_keys") or 0)
    evidence = f"{used / 1e6:.1f} MB used of {f'{most / 1e6:.0f} MB' if most else 'no bound'}, {policy}"
    problems = []
    if most and 100 * used / most > config.redis.max_memory_percent:
        problems.append(f"{100 * used / most:.0f} % used, at most {config.redis.max_memory_percent:g} % wanted")
    if evicted and not config.redis.evictions:
        problems.append(f"{counted(int(evicted), 'key')} evicted since its start")
    if most and policy != "noeviction" and not config.redis.evictions:
        problems.append(f"policy {policy} may evict jobs")
    remedy = "raise maxmemory and set maxmemory-policy noeviction, or checklist.redis.evictions: true for a cache"
    return _row(problems, evidence, remedy)


def _persistence(config: Checklist, situation: Situation, facts: Facts) -> Result:
    wanted, aof = config.redis.persistence, bool(facts.get("aof_enabled"))
    saved_s = int(facts.get("rdb_last_save_time") or 0)
    age_s = max(0.0, situation.now_s - saved_s)
    changes = int(facts.get("rdb_changes_since_last_save") or 0)
    evidence = (
        f"append-only file {'on' if aof else 'off'}; snapshot {age_s:.0f} s old, {counted(changes, 'change')} since"
    )
    problems = []
    if wanted == "aof" and not aof:
        problems.append("the append-only file is off")
    if aof and facts.get("aof_last_write_status") not in (None, "ok"):
        problems.append("the last write of the append-only file failed")
    if facts.get("rdb_last_bgsave_status") not in (None, "ok") and wanted != "none":
        problems.append("the last snapshot failed")
    if wanted == "rdb" and changes and age_s > config.redis.max_rdb_age_s:
        problems.append(f"the snapshot is older than {config.redis.max_rdb_age_s:g} s")
    return _row(problems, evidence, "see Redis's log and its disk; redis-cli INFO persistence")


_FIGURES = (
    ("depth", "max_depth", "waiting"),
    ("oldest_s", "max_oldest_s", "s old is the oldest"),
    ("retry", "max_retry", "to be tried again"),
    ("dead", "max_dead", "dead letters"),
    ("lost", "max_lost", "held by no live worker"),
)
_RESUME = {
    "asynq": "asynq queue resume {names}",
    "rq": "rq resume",
    "sidekiq": 'Sidekiq::Queue.new("{name}").unpause!',
}


def judge_queue(queue: Queue, facts: Mapping[str, object], *, first_release: bool = False) -> Result:
    """Judge one queue by its figures, whoever told them. A figure that has a bound and is not known is not a pass.

    Before the `first_release` nobody has made the queue or serves it, which is told and is no fault.
    """
    if "missing" in facts:
        return _not_there(queue, facts, first_release=first_release)

    def figure(name: str) -> float | None:
        value = facts.get(name)
        return None if value is None else float(str(value))

    depth = figure("depth")
    problems: list[str] = []
    remedies: list[str] = []
    unknown: list[str] = []
    for name, key, words in _FIGURES:
        value, bound = figure(name), queue.bound(key)
        if bound is None:
            continue
        if value is None:
            unknown.append(f"{name} is not known")
        elif value > bound:
            by = ", ".join(map(str, _list(facts, "holders"))) if name == "lost" else ""
            problems.append(f"{value:g} {words}{f' ({by})' if by else ''}, at most {bound:g}")
            remedies.append(_DO.get(name, "see why workers do not keep up") + f", or raise {key}")
    for problem, remedy in _standing(queue, facts, first_release=first_release):
        problems.append(problem)
        remedies.append(remedy)
    drain = drain_s(depth or 0.0, figure("arrived_per_s"), figure("served_per_s"), figure("net_per_s"))
    if queue.max_drain_s is not None and depth:
        if drain is None:
            unknown.append("its rates are not known")
        elif drain > queue.max_drain_s:
            taking = "it does not shrink" if drain == float("inf") else f"{drain:.0f} s to drain"
            problems.append(f"{taking}, at most {queue.max_drain_s:g} s")
            remedies.append("see why workers do not keep up, or raise max_drain_s")
    evidence = _told(facts, drain)
    if problems:
        remedy = f"{'; '.join(dict.fromkeys(remedies))} (checklist.queues, name: {queue.name})"
        return Result("queue", Verdict.FAIL, f"{'; '.join(problems)} ({evidence})", remedy, queue.name)
    if unknown:
        remedy = f"say how it is known (checklist.queues: time_field, served_key), or drop the bound of {queue.name}"
        return Result("queue", Verdict.UNKNOWN, f"{'; '.join(unknown)} ({evidence})", remedy, queue.name)
    return Result("queue", Verdict.PASS, evidence, "", queue.name)


_DO = {
    "dead": "try the dead letters again or delete them",
    "lost": "see which worker died; live workers take such jobs up again where the library does so",
}


def _list(facts: Mapping[str, object], name: str) -> list[object]:
    found = facts.get(name)
    return list(found) if isinstance(found, list | tuple) else []


def _not_there(queue: Queue, facts: Mapping[str, object], *, first_release: bool) -> Result:
    missing, known = ([str(name) for name in _list(facts, part)] for part in ("missing", "known"))
    there = f"there are: {', '.join(known)}" if known else "there is none at all"
    text = f"Redis knows no {facts['what']} called {', '.join(missing)}; {there}"
    if not missing:
        text = f"Redis knows no {facts['what']}"
    if first_release:
        return Result("queue", Verdict.PASS, f"the first release: {text}", "", queue.name)
    meant = [near for near in (nearest(name, known) for name in missing) if near]
    remedy = f"write {', '.join(meant)}" if meant else "correct the name"
    key = {"list": "keys", "stream": "keys"}.get(queue.layout, "queues")
    if str(facts["what"]).startswith("consumer group"):
        key = "group"
    remedy += (
        f" in checklist.queues ({key} of {queue.name}), or see that the address is the one that the application uses"
    )
    return Result("queue", Verdict.FAIL, text, remedy, queue.name)


def _standing(queue: Queue, facts: Mapping[str, object], *, first_release: bool) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) of what stands still: paused queues, nobody who serves one, jobs and groups overdue."""
    paused = [str(name) for name in _list(facts, "paused")]
    if paused:
        command = _RESUME.get(queue.layout, "let it go on").format(names=" ".join(paused), name=paused[0])
        remedy = f"{command}, or a waiver for queue@{queue.name} where it is meant (checklist.waivers)"
        yield f"paused: {', '.join(paused)}", remedy
    wanted, workers = queue.bound("min_workers"), facts.get("workers")
    if wanted is not None and isinstance(workers, Mapping) and not first_release:
        few = [f"{name} {count}" for name, count in sorted(workers.items()) if int(count) < wanted]
        if few:
            yield (
                f"live workers: {', '.join(few)}, at least {wanted:g}",
                "start the workers of the release in service (turnout status names their units), or lower min_workers",
            )
    bound, overdue_s = queue.bound("max_overdue_s"), float(str(facts.get("overdue_s") or 0))
    if bound is not None and overdue_s > bound:
        what = "job or retry is" if facts["overdue"] == 1 else "jobs or retries are"
        yield (
            f"{facts['overdue']} scheduled {what} overdue, one {overdue_s:.0f} s, at most {bound:g} s",
            "see that a process runs that takes up what is due, or raise max_overdue_s",
        )
    stuck = [str(name) for name in _list(facts, "stuck")]
    if bound is not None and stuck:
        yield (
            f"groups that are not aggregated: {', '.join(stuck)}, for longer than {bound:g} s",
            "see that a server with a GroupAggregator runs, or raise max_overdue_s",
        )


def drain_s(depth: float, arrived: float | None, served: float | None, net: float | None) -> float | None:
    """Return the seconds until a queue is empty at these rates (jobs/s): infinite where it does not shrink.

    Depth over (service rate - arrival rate); where only the net rate is known, depth over minus it. None: unknown.
    """
    if depth <= 0:
        return 0.0
    if arrived is not None and served is not None:
        shrink = served - arrived
    elif net is not None:
        shrink = -net
    else:
        return None
    return depth / shrink if shrink > DRAIN_FLOOR else float("inf")


def _told(facts: Mapping[str, object], drain: float | None) -> str:
    names = (("depth", "waiting"), ("active", "active"), ("retry", "retries"), ("dead", "dead"), ("lost", "lost"))
    parts = [f"{float(str(facts[key])):g} {word}" for key, word in names if facts.get(key) is not None]
    if facts.get("oldest_s") is not None:
        parts.append(f"oldest {float(str(facts['oldest_s'])):.1f} s")
    for key, word in (("arrived_per_s", "in"), ("served_per_s", "out")):
        if facts.get(key) is not None:
            parts.append(f"{float(str(facts[key])):.1f}/s {word}")
    if drain not in (None, float("inf"), 0.0):
        parts.append(f"empty in {drain:.0f} s")
    workers = facts.get("workers")
    if "lost" in facts:
        counts = sorted(workers.items()) if isinstance(workers, Mapping) else []
        parts.append(f"workers: {', '.join(f'{name} {count}' for name, count in counts) or '-'}")
    if absent := _list(facts, "absent"):
        parts.append(f"no key {', '.join(map(str, absent))}: empty, or another name")
    return ", ".join(parts)
