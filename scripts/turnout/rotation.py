"""How a credential is rotated: from what stands in the file, at the server and on the hosts to the next step.

Pure. A credential has two logins at its server, of which one is in service. A rotation takes these steps, each of which
changes one place and is done whole or not at all; a run that dies between two leaves what the next run goes on from:

1. `begin`: the file gets a new password for the idle login, under `next`: nobody reads that but the next steps;
2. `open`: the server takes it;
3. `adopt`: application hosts have logged in with it, and the file has it in the place of the old one;
4. `release`: the version in service is deployed with it, as any configuration is;
5. `forget`: once the warm time is over, the edges no longer keep a way back to a color with the old login;
6. `close`: the server no longer lets the old login in.

The rule that all steps keep: what serves, and what a rollback goes to, has a login that its server takes. So no step
touches the password of a login that either of them has, or closes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout.counts import counted
from turnout.faults import Fault

BEGIN, OPEN, ADOPT, RELEASE, FORGET, CLOSE, DONE = "begin", "open", "adopt", "release", "forget", "close", "done"

_ROTATE, _CLOSE = "ansible-playbook turnout.ops.rotate", "ansible-playbook turnout.ops.rotate -e close=true"


@dataclass(frozen=True)
class Login:
    """One of the two logins, as its server has it.

    `opened`: it lets this login in; `takes`: with the password that the file has as current; `takes_next`: with that
    under `next`. `sessions` are those that it has, as a person reads them.
    """

    opened: bool = False
    takes: bool = False
    takes_next: bool = False
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """All that is known of one credential.

    `current` and `next` are the logins that the file names, `serving` those in the environment of the color in service,
    on any host, and `back` those of a color that a rollback would go to. `laid` tells whether the color in service has
    what the file has, to the letter, on every host.
    """

    name: str
    pair: tuple[str, str]
    current: str
    next: str | None
    serving: frozenset[str]
    back: frozenset[str]
    laid: bool
    logins: Mapping[str, Login]

    def login(self, user: str) -> Login:
        """Return what the server has of a login."""
        return self.logins.get(user) or Login()


@dataclass(frozen=True)
class Step:
    """What is to be done next, to which login."""

    kind: str
    user: str = ""


def other(pair: tuple[str, str], user: str) -> str:
    """Return the other login of a pair; the first where `user` is none of them, as before the first rotation."""
    return pair[1] if user == pair[0] else pair[0]


def next_step(seen: Seen, *, closing: bool = False, warm_left_s: float = 0) -> Step | Fault:
    """Return the next step of a rotation, or (`closing`) of the old login's end; a Fault where a person is asked.

    `warm_left_s` are the seconds for which the way back counts as warm.
    """
    where = f"rotation.{seen.name}"
    if len(seen.serving) != 1:
        found = ", ".join(sorted(seen.serving)) or "none of them"
        names = " and ".join(dict.fromkeys((*seen.pair, seen.current)))
        return Fault(
            where,
            f"the color in service names {found} of {names}, in the variables that hold this credential",
            "exactly one of them, the same on every host",
            f"write service.rotation.{seen.name}.environment: every variable that holds it and no other; where hosts"
            " differ, release the version in service once more",
        )  # fmt: skip
    serving = next(iter(seen.serving))
    return _close(seen, serving, where, warm_left_s) if closing else _rotate(seen, serving, where)


def _rotate(seen: Seen, serving: str, where: str) -> Step | Fault:
    if seen.next is not None:
        if seen.next in seen.serving | seen.back:
            holder = "the color in service" if seen.next in seen.serving else "the release before it"
            return _stale(where, f"the file begins {seen.next} anew, and {holder} has that login already")
        return Step(ADOPT if seen.login(seen.next).takes_next else OPEN, seen.next)
    if seen.current != serving:
        if seen.current in seen.back:
            return _stale(where, f"the file has {seen.current}, {serving} is in service and {seen.current} before it")
        if not seen.login(seen.current).takes:
            return _stale(where, f"the file has {seen.current}, with a password that the server does not take")
        return Step(RELEASE, seen.current)
    return _begin(seen, serving, where)


def _begin(seen: Seen, serving: str, where: str) -> Step | Fault:
    """Return the first step, where all that was begun before is done."""
    if not seen.laid:
        return _stale(where, f"the file has another password for {serving} than the color in service")
    if not seen.login(serving).takes:  # after a restore of the server, whose logins are those of the backup
        return Step(OPEN, serving)
    idle = other(seen.pair, serving)
    if idle in seen.back:
        return Fault(
            where,
            f"the release before the one in service has {idle}: a rollback would go back to it",
            "a new password only for a login that nothing has",
            f"close {idle} first: {_CLOSE}",
        )
    if seen.login(idle).sessions:
        return Fault(where, _told(seen, idle), "an idle login without sessions", "end them, then the same again")
    return Step(BEGIN, idle)


def _close(seen: Seen, serving: str, where: str, warm_left_s: float) -> Step | Fault:
    fault = _not_in_service(seen, serving, where)
    if fault is not None:
        return fault
    old = other(seen.pair, serving)
    if old not in seen.back:
        return Step(CLOSE if seen.login(old).opened else DONE, old)
    if warm_left_s > 0:
        return Fault(
            where,
            f"the way back has {old}, and is warm for another {warm_left_s:.0f} s (service.warm_s)",
            "an old login that nothing goes back to",
            f"wait, then: {_CLOSE}",
        )
    return Step(FORGET, old)


def _not_in_service(seen: Seen, serving: str, where: str) -> Fault | None:
    """Return why the new login is not the one in service."""
    if seen.next is not None or seen.current != serving:
        ahead = seen.next or seen.current
        return Fault(where, f"{serving} is in service, and {ahead} is not yet", "a rotation that was released", _ROTATE)
    if not seen.laid:
        return _stale(where, f"the file has another password for {serving} than the color in service")
    if not seen.login(serving).takes:
        return Fault(where, f"the server does not take {serving} as it is in service", "a login that it takes", _ROTATE)
    return None


def _stale(where: str, observed: str) -> Fault:
    return Fault(
        where,
        observed,
        "the file as the last rotation left it",
        "take the newest file from your repository (git pull), or what is in service into it, as docs/rotation.md says",
    )


def _told(seen: Seen, user: str) -> str:
    sessions = seen.login(user).sessions
    return f"{counted(len(sessions), 'session')} of {user}: {'; '.join(sessions[:5])}{' ...' if sessions[5:] else ''}"


# What the hosts said ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The next step of each credential, or why there is none; `back` are the colors that a rollback would go to."""

    steps: Mapping[str, Step]
    faults: tuple[Fault, ...]
    back: tuple[str, ...]
    version: str


Facts = Mapping[str, Any]


def plan(
    credentials: Mapping[str, Facts],
    edges: Mapping[str, Facts],
    hosts: Mapping[str, Facts],
    servers: Mapping[str, Mapping[str, Facts]],
    *,
    closing: bool,
    warm_s: float,
    now_s: float,
) -> Plan:
    """Return what is to be done, from what all have said.

    `credentials` have `pair`, `current` and `next` by name; `edges` what `turnout-edge show` said; `hosts` what
    `turnout.ops.laid_logins` returned; `servers` by credential what `turnout.ops.login_pair` returned on each host.
    """
    faults = _at_rest(edges)
    first = next(iter(edges.values()), {})
    stable = str(first.get("stable") or "")
    back = tuple(sorted({str(edge["previous"]) for edge in edges.values() if edge.get("previous")}))
    version = str(((first.get("releases") or {}).get(stable) or {}).get("release") or "")
    if faults:
        return Plan({}, tuple(faults), back, version)
    left_s = max((warm_s - (now_s - _since_s(edge)) for edge in edges.values()), default=0.0)
    steps: dict[str, Step] = {}
    for name, one in credentials.items():
        writers = [said for said in servers.get(name, {}).values() if not said.get("standby")]
        wrong = [Fault(f"rotation.{name}", **fault) for said in writers for fault in said.get("faults") or ()]
        if not writers:
            kind = one["kind"]
            wrong.append(
                Fault(
                    f"rotation.{name}",
                    f"no host of group {kind} takes writes" if servers.get(name) else f"no host is in group {kind}",
                    f"the host of {kind}'s server in group {kind}, where its administrator logs in",
                    f"put it into group {kind} of the inventory",
                )
            )
        laid = {color: [host.get(color, {}).get(name, {}) for host in hosts.values()] for color in (stable, *back)}
        serving = [frozenset(host.get("users") or ()) for host in laid[stable]]
        seen = Seen(
            name,
            (one["pair"][0], one["pair"][1]),
            one["current"],
            one.get("next"),
            frozenset().union(*serving) if all(serving) else frozenset(),
            frozenset(user for color in back for host in laid[color] for user in host.get("users") or ()),
            all(host.get("same") for host in laid[stable]),
            _logins([said.get("logins") or {} for said in writers]),
        )
        step = next_step(seen, closing=closing, warm_left_s=left_s)
        if isinstance(step, Fault):
            wrong.append(step)
        else:
            steps[name] = step
        faults += wrong
    return Plan(steps, tuple(faults), back, version)


def _logins(said: list[Facts]) -> dict[str, Login]:
    """Return each login as all its servers have it: one that any lets in is open, and taken is what all take."""
    users = {user for one in said for user in one}
    found = {}
    for user in users:
        ones = [one.get(user) or {} for one in said]
        found[user] = Login(
            any(one.get("opened") for one in ones),
            all(one.get("takes") for one in ones),
            all(one.get("takes_next") for one in ones),
            tuple(session for one in ones for session in one.get("sessions") or ()),
        )
    return found


def _at_rest(edges: Mapping[str, Facts]) -> list[Fault]:
    faults = []
    for name, edge in edges.items():
        if edge.get("candidate") or not edge.get("agree"):
            observed = f"{edge.get('candidate')} is being released" if edge.get("candidate") else "HAProxy disagrees"
            remedy = "ansible-playbook turnout.ops.status, then ansible-playbook turnout.ops.rollback"
            faults.append(Fault(name, observed, "an edge at rest", remedy))
    if (
        not edges
        or len({edge.get("stable") for edge in edges.values()}) > 1
        or not all(edge.get("stable") for edge in edges.values())
    ):
        seen = ", ".join(f"{name}: {edge.get('stable') or 'nothing'}" for name, edge in edges.items()) or "no edge"
        remedy = (
            "ansible-playbook turnout.ops.status; release a version first, or: ansible-playbook turnout.ops.rollback"
        )
        faults.append(Fault("edges", seen, "one release in service on every edge", remedy))
    return faults


def _since_s(edge: Facts) -> float:
    """Return when the edge last had a word about a release, seconds since the epoch; 0 where it had none."""
    at = str((edge.get("handover") or {}).get("at") or "")
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0


_WORDS = {
    BEGIN: "{name}: {user} gets a new password, is tried from every host, and released with {version}",
    OPEN: "{name}: the server is told the password of {user} that the file has",
    ADOPT: "{name}: {user}, begun by an earlier run, is tried from every host, and released with {version}",
    RELEASE: "{name}: {user}, made by an earlier run, is released with {version}",
    FORGET: "{name}: the way back to {back}, which has {user}, ends; then {user} is let in no more",
    CLOSE: "{name}: {user} is let in no more",
    DONE: "{name}: {user} is closed already",
}


def told(decided: Plan) -> list[str]:
    """Return what is next, for a person."""
    more = {"version": decided.version, "back": " and ".join(decided.back)}
    return [_WORDS[one.kind].format(name=name, user=one.user, **more) for name, one in decided.steps.items()]
