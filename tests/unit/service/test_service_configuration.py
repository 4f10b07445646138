"""What of a service file is released like code: decided key by key, named without a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from service_examples import full as example
from service_examples import small
from turnout import service as services
from turnout.keys import Key, Part, Place, key
from turnout.service.configuration import configuration, identity
from turnout.service.model import Service

KEY = b"k" * 32
SECRET = "hunter2"


class Inner(Part):
    """A part with a key that nobody decided on."""

    new: int = key("new", 1)


class Outer(Part):
    """It, everywhere it may stand."""

    one: Inner = key("undecided", Inner)
    many: tuple[Inner, ...] = key("a list", ())
    named: dict[str, Inner] = key("by name", dict, names=Key(), item=Key())
    whole: Inner = key("decided as a whole", Inner, released=False)


def loaded(value: dict[str, Any]) -> Service:
    return services.load(value, base_dir=Path())


def full(**changes: Any) -> Service:
    """Return the whole example; `a__b=value` sets the key b of the part a, None takes it away."""
    value = example()
    for path, one in changes.items():
        *parents, last = path.split("__")
        part = value
        for step in parents:
            part = part[step]
        if one is None:
            part.pop(last, None)
        else:
            part[last] = one
    return loaded(value)


def differing(one: Service, two: Service) -> set[str]:
    """Return the names by which two configurations differ."""
    a, b = configuration(one), configuration(two)
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


def decisions(place: Place, path: str = "") -> Iterator[tuple[str, bool | None]]:
    """Yield the path of each key that decides for itself and all below it, and whether it is released."""
    for name, inner in place.keys.items():
        here, released = f"{path}{name}", inner.key.released
        is_many = get_origin(inner.kind) is tuple or inner.key.names
        below = inner.inside(0) if is_many else inner
        if released is None and below.keys:
            yield from decisions(below, f"{here}.")
        else:
            yield here, released


def test_of_every_key_it_is_decided_whether_it_is_released() -> None:
    undecided = [path for path, released in decisions(Place(Service, Key())) if released is None]
    assert undecided == [], "write released=True (it reaches a process of the release) or False at each in model.py"


def test_an_undecided_key_is_seen_wherever_it_stands() -> None:
    assert list(decisions(Place(Outer, Key()))) == [
        ("one.new", None),
        ("many.new", None),
        ("named.new", None),
        ("whole", False),
    ]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"environment__NEW_ONE": SECRET}, {"environment.NEW_ONE"}),
        ({"api__command": "bin/api --fast"}, {"api.command"}),
        ({"api__ports": {"blue": 8001, "green": 8042}}, {"api.ports.green"}),
        ({"api__health": {"path": "/other/"}}, None),
        ({"api__drain_s": 31}, {"api.drain_s"}),
        ({"workers__jobs__instances": 7}, {"workers.jobs.instances"}),
        ({"workers__jobs__stop_signal": "SIGINT"}, {"workers.jobs.stop_signal"}),
        ({"scheduler__command": "bin/other"}, {"scheduler.command"}),
        ({"user": "somebody"}, {"user"}),
    ],
)
def test_what_reaches_a_process_is_part_of_it(change: dict[str, Any], names: set[str] | None) -> None:
    found = differing(full(), full(**change))
    if names is None:
        assert "api.health.path" in found
    else:
        assert found == names


@pytest.mark.parametrize(
    "change",
    [
        {"steps": [{"share_bp": 10_000, "hold_s": 1}]},
        {"steady_s": 46},
        {"warm_s": 1},
        {"bucket": {"cookie": "other"}},
        {"guard": {"min_5xx": 9}},
        {"smoke": [{"path": "/other/"}]},
        {"packages": ["libpq5"]},
        {"workers__jobs__idle_s": 61},
        {"releases__keep": 9},
    ],
)
def test_what_only_edge_judge_or_controller_use_is_not(change: dict[str, Any]) -> None:
    assert differing(full(), full(**change)) == set()


def test_a_default_that_is_written_out_changes_nothing() -> None:
    plain, written = small(), small()
    written["api"] |= {"drain_s": 30, "stop_signal": "SIGTERM"}
    assert differing(loaded(plain), loaded(written)) == set()


def test_a_name_says_nothing_of_a_value_without_the_key() -> None:
    one = identity([full(environment__P=SECRET)], KEY)
    assert len(one) == 6 and int(one, 16) >= 0
    assert identity([full(environment__P=SECRET)], b"x" * 32) != one  # who has no key cannot try words
    assert identity([full(environment__P="hunter3")], KEY) != one
    assert identity([full(environment__P=SECRET)], KEY) == one


def test_hosts_with_the_same_values_count_once_and_their_order_does_not_count() -> None:
    a, b = full(environment__P="a"), full(environment__P="b")
    assert identity([a, a, a], KEY) == identity([a], KEY)
    assert identity([a, b, a], KEY) == identity([b, a], KEY) != identity([a], KEY)
