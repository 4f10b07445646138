"""Which migrations are pending, and what the release in service knows of them, where only a list orders them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "checklist"))

from checklist_bed import manifest as plain_manifest
from turnout.preflight import schema_faults, unforeseen
from turnout.release.manifest import Manifest, from_dict
from turnout.release.schema import Migration, SchemaRange, late_ones, pending, seen_by, state_after, state_in_database


def release(*names: str, contract: tuple[str, ...] = (), order: str = "list") -> Manifest:
    """Return a release that carries these migrations."""
    listed = tuple(
        Migration(place, name, "contract" if name in contract else "expand", "a" * 64)
        for place, name in enumerate(names, 1)
    )
    base = from_dict(plain_manifest(migrations=[], schema={"min": 0, "max": 0}))
    return replace(base, migrations=listed, order=order, schema=SchemaRange(len(listed), len(listed)))


IN_SERVICE = {"release": "1.0.0", "schema": {"min": 3, "max": 3}}  # it carries auth.1, shop.1 and shop.2


def test_what_a_release_puts_in_between_comes_after_what_is_applied() -> None:
    new = release("auth.1", "auth.2", "shop.1", "shop.2", "shop.3", contract=("shop.1",))
    seen = seen_by(new, ["auth.2", "shop.3"])
    state = state_in_database(seen, 3, {"version": 3, "last_contract": 2})
    assert [one.id for one in pending(seen, state)] == ["auth.2", "shop.3"]
    assert (state_after(seen, state).version, state_after(seen, state).last_contract) == (5, 2)
    assert schema_faults(seen, state, IN_SERVICE) == [], "shop.1 was applied long ago"


def test_a_contract_migration_in_between_is_refused_while_the_release_in_service_cannot_know_it() -> None:
    new = release("auth.1", "auth.2", "shop.1", "shop.2", contract=("auth.2",))
    seen = seen_by(new, ["auth.2"])
    faults = schema_faults(seen, state_in_database(seen, 3, {}), IN_SERVICE)
    assert [(one.path, "auth.2" in one.observed) for one in faults] == [("migrations", True)]
    assert schema_faults(seen, state_in_database(seen, 3, {}), {}) == [], "nothing is in service"


def test_a_list_that_got_shorter_is_refused_where_the_release_in_service_needs_more() -> None:
    squashed = release("auth.1", "shop.1_squashed")
    (fault,) = schema_faults(seen_by(squashed, []), state_in_database(squashed, 2, {}), IN_SERVICE)
    assert fault.path == "schema"
    assert "--schema-min 2" in fault.remedy


def test_a_number_below_an_applied_one_is_told_where_it_takes_away() -> None:
    numbered = release("1_a", "2_b", "3_c", contract=("2_b",), order="number")
    late = late_ones(numbered, state_in_database(numbered, 3, {}), ["2_b"])
    assert [one.id for one in late] == ["2_b"]
    assert [one.path for one in unforeseen(late, [], IN_SERVICE)] == ["migrations"]
    assert (
        unforeseen(
            late_ones(release("1_a", order="number"), state_in_database(numbered, 3, {}), ["1_a"]), [], IN_SERVICE
        )
        == []
    )


def test_what_only_the_tool_knows_counts_as_contract() -> None:
    (fault,) = unforeseen([], ["auth.0013_new"], IN_SERVICE)
    assert "auth.0013_new" in fault.observed
    assert unforeseen([], ["auth.0013_new"], {}) == [], "nothing is in service"


def test_the_order_of_a_list_travels_in_the_manifest_and_only_then() -> None:
    listed = release("auth.1", "shop.1")
    assert from_dict(listed.as_dict()) == listed
    assert listed.as_dict()["order"] == "list"
    numbered = release("1_a", order="number").as_dict()
    assert "order" not in numbered
    assert "after" not in numbered["migrations"][0]
