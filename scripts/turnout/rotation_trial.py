"""How a login is tried from the hosts of a service, before anything is released: as the application would come in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from turnout.checklist import addresses
from turnout.checklist.config import Checklist
from turnout.errors import TurnoutError
from turnout.service.model import Rotation, Service

_LIMIT_S = 20


def trials(service: Service, checklist: Checklist, names: Collection[str]) -> list[dict[str, Any]]:
    """Return the probes that log in by the variables of these credentials. HOLDS SECRETS.

    Where they hold no address (user and password in variables apart), the checklist knows where the server is. Raises
    TurnoutError for a credential that neither tells how to try.
    """
    found: list[dict[str, Any]] = []
    for name in names:
        rotated = service.rotation[name]
        mine = list(_postgres(service, checklist, rotated) if rotated.postgres else _redis(service, checklist, rotated))
        if not mine:
            kind = "postgres" if rotated.postgres else "redis"
            raise TurnoutError(
                "rotate-untried",
                observed=f"{', '.join(rotated.environment)} hold no address of {kind}",
                expected="an address by which a new login can be tried before it is released",
                remedy=f"let checklist.{kind}.variables name the variables with host, port, user and password",
            )
        found += [{"id": f"{name}:{at}", "limit_s": _LIMIT_S, **one} for at, one in enumerate(mine)]
    return found


def _postgres(service: Service, checklist: Checklist, rotated: Rotation) -> list[dict[str, Any]]:
    own = {name: value for name, value in service.environment.items() if name.startswith("PG")}
    targets: list[dict[str, str]] = []
    for name in rotated.environment:
        try:
            target = addresses.postgres(service.environment[name])
        except addresses.UnreadableError:
            target = None
        targets += [target] if target else []
    if not targets and checklist.postgres.target is not None:
        targets = [dict(checklist.postgres.target)]
    more = {"environment": own, "user": service.user, "home": f"/var/lib/{service.name}"}
    return [{"kind": "postgres", "arguments": {"address": one, **more}} for one in targets]


def _redis(service: Service, checklist: Checklist, rotated: Rotation) -> list[dict[str, Any]]:
    found = [addresses.redis(service.environment[name], checklist.redis.master) for name in rotated.environment]
    urls = [one for one in found if one] or [one for one in [checklist.redis.url] if one]
    return [{"kind": "redis_login", "arguments": {"url": one, "ca_file": checklist.redis.ca_file}} for one in urls]
