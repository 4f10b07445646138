"""The configuration of a release: what of the service file reaches its processes, and is released with the artifact.

Each key says in `turnout.service.model` whether it is part of it (`released`). Two configurations are compared on the
hosts, where their values lie; a record holds a name of six hexadecimal digits, made with a key that only root reads on
the edges: nobody can try out from a record which short password it may stand for.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from turnout.keys import Key, Part, Place, plain
from turnout.service.model import Service

ENVIRONMENT = "environment."  # what compares the variables on a host is the color's environment file
_DIGITS = 6


def configuration(service: Service) -> dict[str, str]:
    """Return each value that is released by its key's path, as JSON. HOLDS SECRETS.

    What is as Turnout has it by itself is left out: a default that is written out is no change, nor a key that only a
    newer Turnout knows.
    """
    return dict(_values(Place(Service, Key()), service, "", None))


def identity(services: Iterable[Service], key: bytes) -> str:
    """Return the name of a configuration, the same for the same values, of the services as the hosts have them."""
    wholes = sorted({json.dumps(configuration(one), sort_keys=True) for one in services})
    return hmac.digest(key, json.dumps(wholes).encode(), "sha256").hex()[:_DIGITS]


def _values(place: Place, value: Any, path: str, released: bool | None) -> Iterator[tuple[str, str]]:
    if isinstance(value, Part):
        for name, inner in place.keys.items():
            one = getattr(value, "from_" if name == "from" else name)
            decided = inner.key.released if released is None else released
            if decided is not False and one is not None and one != inner.default:
                yield from _values(inner, one, f"{path}.{name}".lstrip("."), decided)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _values(place.inside(name), one, f"{path}.{name}", released)
    else:
        yield path, json.dumps(plain(value, secrets=True), sort_keys=True)
