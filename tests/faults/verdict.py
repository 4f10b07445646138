"""What is demanded of a case, and what was seen: pure, so that a bad run cannot pass for a good one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from load.report import Record

# A frozen application host takes connections still: HAProxy finds it by checks that get no answer (edge_check_fall
# looks, each as long as service.api.health.timeout_s, and what lies between them).
CHECKS_S = 12.0
# After an edge is back: connections that were opened while it was not.
GRACE_S = 2.0
COLORS = ("blue", "green")


@dataclass(frozen=True)
class Outage:
    """A host that the fault itself held, from one moment to another of the monotonic clock."""

    host: str
    t0: float
    t1: float
    edge: bool

    def held(self, record: Record, edge: str) -> bool:
        """Tell whether this outage itself can have failed a request that went to `edge`.

        A frozen edge holds every request to it. A frozen or rebooted application host holds what it had, and what
        it got until the edges' checks took it out.
        """
        if record.end < self.t0:
            return False
        if self.edge:
            return edge == self.host and record.start <= self.t1 + GRACE_S
        return record.start <= min(self.t1, self.t0 + CHECKS_S)


@dataclass(frozen=True)
class Look:
    """What one edge said of itself at one moment; what it serves was read from its HAProxy."""

    edge: str
    stable: str
    release: str
    candidate: str
    serving_bp: Mapping[str, int]
    agree: bool
    armed: bool
    stage: str = ""
    lock: str = ""
    unfinished: tuple[str, ...] = ()
    watch: bool = True

    @classmethod
    def of(cls, name: str, shown: Mapping[str, Any]) -> Look:
        """Read the answer of `turnout-edge show`."""
        stable = shown.get("stable") or ""
        lock = shown.get("lock") or {}
        records = shown.get("releases") or {}
        return cls(
            edge=name,
            stable=stable,
            release=str(((records.get(stable) or {}) if stable else {}).get("release", "")),
            candidate=shown.get("candidate") or "",
            serving_bp=dict(shown.get("serving") or {}),
            agree=bool(shown.get("agree")),
            armed=bool((shown.get("lease") or {}).get("armed")),
            stage=str((shown.get("handover") or {}).get("stage") or ""),
            lock=str(lock.get("run")) if lock.get("held") else "",
            unfinished=tuple(str(run.get("run", run) if isinstance(run, Mapping) else run) for run in _list(shown)),
            watch=bool(shown.get("watch", True)),
        )

    @property
    def at_rest(self) -> bool:
        """Tell whether all users are on what is stable here, and nothing is under way that could change it."""
        whole = bool(self.stable) and self.serving_bp.get(self.stable) == 10_000
        return whole and self.agree and not (self.armed and self.stage in ("ready", "confirmed"))

    def __str__(self) -> str:
        served = " ".join(f"{color} {bp}" for color, bp in sorted(self.serving_bp.items()) if bp)
        words = [f"{self.edge}: stable {self.stable} ({self.release}), serves {served}"]
        words += [f"candidate {self.candidate}"] if self.candidate else []
        words += ["HAProxy, map and state differ"] if not self.agree else []
        words += [f"stage {self.stage}"] if self.stage else []
        words += ["lease armed"] if self.armed else []
        return ", ".join(words)


def _list(shown: Mapping[str, Any]) -> Sequence[Any]:
    found = shown.get("unfinished") or ()
    return [found] if isinstance(found, Mapping | str) else list(found)


def one_color(looks: Mapping[str, Look | None], exempt: Iterable[str] = ()) -> bool:
    """Tell whether every edge that is not exempt answered, is at rest, and serves what the others serve."""
    counted = [look for edge, look in looks.items() if edge not in set(exempt)]
    if not counted or any(look is None or not look.at_rest for look in counted):
        return False
    return len({(look.stable, look.release) for look in counted if look}) == 1


@dataclass
class Seen:
    """All that was seen of one case; what is wrong is added as it is found."""

    case: str
    action: str
    fault: str
    host: str = ""
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def wrong(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(text)

    @property
    def passed(self) -> bool:
        """Tell whether nothing was wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return it for the state file and for the report."""
        return {**asdict(self), "passed": self.passed}


def judge_requests(
    seen: Seen, records: Sequence[Record], names: Mapping[str, str], outages: Sequence[Outage], rate: float
) -> None:
    """Hold the load to its promise: what failed was held by the host that was frozen or rebooted.

    `names`: which edge has an address.
    """
    edge_of = {record.edge: names.get(record.edge.partition(":")[0], record.edge) for record in records}
    failed = [record for record in records if record.error]
    held = [r for r in failed if any(outage.held(r, edge_of[r.edge]) for outage in outages)]
    lost = [record for record in failed if record not in set(held)]
    spanned = max((r.due for r in records), default=0.0) - min((r.due for r in records), default=0.0)
    seen.figures |= {
        "requests": len(records),
        "held": len(held),
        "failed": len(lost),
        "rate": round(len(records) / spanned, 1) if spanned else 0.0,
    }
    if not records:
        seen.wrong("the load sent nothing: nothing is known of users")
    elif spanned and len(records) / spanned < 0.9 * rate:
        seen.wrong(f"the load reached {len(records) / spanned:.0f} requests/s, not {rate:.0f}")
    if lost:
        kinds = Counter(f"{edge_of[r.edge]} {r.error}" for r in lost)
        said = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(4))
        seen.wrong(f"{len(lost)} of {len(records)} requests failed: {said}; first at {min(r.end for r in lost):.2f}")


def judge_apart(
    seen: Seen,
    records: Sequence[Record],
    names: Mapping[str, str],
    *,
    between: tuple[float, float],
    exempt: Iterable[str],
) -> None:
    """Ask the users: from when all was to be settled, until it was mended, they met one release everywhere."""
    since, until = between
    left_out = set(exempt)
    met: dict[str, Counter[str]] = {}
    for record in records:
        edge = names.get(record.edge.partition(":")[0], record.edge)
        if since <= record.start and record.end <= until and record.release and edge not in left_out:
            met.setdefault(edge, Counter())[record.release] += 1
    if len({release for releases in met.values() for release in releases}) > 1:
        told = "; ".join(f"{edge}: {dict(releases)}" for edge, releases in sorted(met.items()))
        seen.wrong(f"users met several releases after all was settled: {told}")


def judge_settled(
    seen: Seen, took_s: float | None, bound_s: float, looks: Mapping[str, Look | None], when: str
) -> None:
    """Hold the edges to the bound in which they come to one color by themselves."""
    seen.figures["settled_s"] = max(seen.figures.get("settled_s") or 0.0, round(took_s or bound_s, 1))
    if took_s is None or took_s > bound_s:
        told = "; ".join(str(look or f"{edge}: no answer") for edge, look in sorted(looks.items()))
        seen.wrong(f"{when}: not on one color within {bound_s:.0f} s by themselves ({told})")


def judge_jobs(seen: Seen, found: Mapping[str, Any], *, reruns_allowed: bool, froze: bool = False) -> None:
    """Hold workers and scheduler to theirs: no job lost or done twice, never two schedulers.

    A queue that delivers at least once gives the jobs of a worker that froze to another one, and the first goes on with
    its own when it wakes up: after that (`froze`) a job may have been done twice, and it is told how many were.
    """
    slots = found.get("slots") or {}
    seen.figures |= {
        "jobs": found.get("acknowledged", 0),
        "slots_missing": len(slots.get("missing") or ()),
        "slots_doubled": len(slots.get("doubled") or ()),
    }
    if not found.get("acknowledged"):
        seen.wrong("no job was accepted: nothing is known of jobs")
    if found.get("lost"):
        seen.wrong(f"{len(found['lost'])} jobs lost: {found['lost'][:5]}")
    if froze:
        seen.figures["jobs_doubled"] = len(found.get("doubled") or ())
    elif found.get("doubled"):
        seen.wrong(f"{len(found['doubled'])} jobs succeeded twice: {found['doubled'][:5]}")
    if found.get("rerun") and not reruns_allowed:
        seen.wrong(f"{len(found['rerun'])} jobs were begun twice: {found['rerun'][:5]}")
    if "slots" not in found:
        seen.wrong("the scheduler's slots were not looked at")
    elif slots.get("doubled"):
        seen.wrong(f"two schedulers: slots {slots['doubled'][:5]} came twice ({len(slots['doubled'])} in all)")


def judge_mended(
    seen: Seen,
    looks: Mapping[str, Look | None],
    units: Mapping[str, Iterable[str]],
    workers: Sequence[str],
    expected: Iterable[str],
) -> None:
    """Demand of one `rollback.yml` that nothing remains: traffic, locks, records, every unit on every host."""
    for edge, look in sorted(looks.items()):
        if look is None:
            seen.wrong(f"after rollback.yml {edge} does not answer")
            continue
        if not look.at_rest or look.candidate or look.armed:
            seen.wrong(f"after rollback.yml {look}")
        if look.lock:
            seen.wrong(f"after rollback.yml {edge} is locked by {look.lock}")
        if look.unfinished:
            seen.wrong(f"after rollback.yml {edge} calls runs unfinished: {', '.join(look.unfinished)}")
        if not look.watch:
            seen.wrong(f"after rollback.yml no watchdog runs on {edge}")
    served = {(look.stable, look.release) for look in looks.values() if look}
    if len(served) != 1 or None in looks.values():
        seen.wrong(f"after rollback.yml the edges serve {sorted(served)}")
        return
    color, release = served.pop()
    if release not in set(expected):
        seen.wrong(f"after rollback.yml {release} is in service, not {' or '.join(expected)}")
    schedulers = []
    for host, found in sorted(units.items()):
        running = set(found)
        schedulers += [f"{host}:{unit.partition('@')[2]}" for unit in running if unit.startswith("scheduler@")]
        missing = {f"api@{color}", f"worker-jobs@{color}"} - running if host in workers else {f"api@{color}"} - running
        stray = {unit for unit in running if unit.startswith("worker-jobs@")} - {f"worker-jobs@{color}"}
        if missing:
            seen.wrong(f"after rollback.yml {', '.join(sorted(missing))} does not run on {host}")
        if stray:
            seen.wrong(f"after rollback.yml {', '.join(sorted(stray))} still runs on {host}")
    if [where.partition(":")[2] for where in schedulers] != [color]:
        seen.wrong(f"after rollback.yml schedulers run at {schedulers or 'no place'}, not one in {color}")
