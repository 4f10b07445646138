"""What hosts and servers say becomes what a rotation knows: logins in environment files, and one plan of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import Places
from ansible_collections.turnout.ops.plugins.modules.laid_logins import look
from turnout.rotation import BEGIN, FORGET, Step, plan, told

VARIABLES = {"database": {"users": ["shop", "shop_a", "shop_b"], "environment": ["DATABASE_URL", "PGUSER"]}}


def laid(root: Path, **colors: str) -> Places:
    (root / "etc/shop").mkdir(parents=True)
    for color, text in colors.items():
        (root / f"etc/shop/{color}.env").write_text(text)
    return Places(root, "shop")


def test_a_login_is_found_by_its_whole_name_in_its_own_variables(tmp_path: Path) -> None:
    blue = 'DATABASE_URL="postgresql://shop_a:pw@db/x"\nOTHER="shop_b"\n'
    places = laid(tmp_path, blue=blue, green='PGUSER="shop"\nDATABASE_URL="host=db user=shop_b"\n')
    found = look(places, VARIABLES, blue)
    assert found["blue"]["database"] == {"users": ["shop_a"], "same": True}
    assert found["green"]["database"] == {"users": ["shop", "shop_b"], "same": False}


def test_a_color_without_environment_has_none(tmp_path: Path) -> None:
    assert set(look(laid(tmp_path, blue=""), VARIABLES, "")) == {"blue"}


CREDENTIALS = {"database": {"kind": "postgres", "pair": ["shop_a", "shop_b"], "current": "shop_a", "next": None}}
EDGE = {
    "stable": "blue", "previous": None, "candidate": None, "agree": True, "releases": {"blue": {"release": "1.4.2"}},
    "handover": {"at": "2026-01-31T02:50:00.000Z"},
}  # fmt: skip
HOST = {"blue": {"database": {"users": ["shop_a"], "same": True}}}
OPEN = {"opened": True, "takes": True, "takes_next": False, "sessions": ["pid 1"]}
SHUT = {"opened": False, "takes": False, "takes_next": False, "sessions": []}
SERVER = {"logins": {"shop_a": OPEN, "shop_b": SHUT}, "faults": [], "standby": False}
FAULT = {"observed": "o", "expected": "e", "remedy": "r"}
NOW_S = 1769827860.0  # a minute later


def decided(**changed: Any) -> Any:
    given = {"edges": {"edge1": EDGE}, "hosts": {"app1": HOST}, "servers": {"database": {"data1": SERVER}}, **changed}
    return plan(CREDENTIALS, given["edges"], given["hosts"], given["servers"], closing=changed.get("closing", False),
                warm_s=3600, now_s=given.get("now_s", NOW_S))  # fmt: skip


def test_the_first_rotation_begins_with_the_idle_login() -> None:
    found = decided()
    assert (found.faults, found.steps, found.version) == ((), {"database": Step(BEGIN, "shop_b")}, "1.4.2")
    assert told(found) == ["database: shop_b gets a new password, is tried from every host, and released with 1.4.2"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"servers": {}}, "no host is in group postgres"),
        ({"servers": {"database": {"data1": {**SERVER, "standby": True}}}}, "no host of group postgres takes writes"),
        ({"edges": {}}, "no edge"),
        ({"edges": {"edge1": {**EDGE, "candidate": "green"}}}, "green is being released"),
        ({"edges": {"edge1": EDGE, "edge2": {**EDGE, "stable": "green"}}}, "edge2: green"),
        ({"hosts": {"app1": HOST, "app2": {"blue": {"database": {"users": []}}}}}, "names none of them"),
        ({"hosts": {"app1": HOST, "app2": {"blue": {"database": {"users": ["shop_b"]}}}}}, "shop_a, shop_b of"),
        (
            {"servers": {"database": {"data1": {**SERVER, "faults": [FAULT]}}}},
            "o",
        ),
    ],
)  # fmt: skip
def test_what_stands_against_it_is_told(changed: dict[str, Any], words: str) -> None:
    assert words in " ".join(fault.observed for fault in decided(**changed).faults)


def test_a_way_back_with_the_old_login_ends_only_when_it_is_cold() -> None:
    edge = {**EDGE, "previous": "green"}
    host = {**HOST, "green": {"database": {"users": ["shop_b"], "same": False}}}
    server = {**SERVER, "logins": {"shop_a": OPEN, "shop_b": {**OPEN, "takes": False}}}
    given = {"edges": {"edge1": edge}, "hosts": {"app1": host}, "servers": {"database": {"data1": server}}}
    warm = decided(**given, closing=True)
    assert "warm for another 3540 s" in warm.faults[0].observed
    cold = decided(**given, closing=True, now_s=NOW_S + 3600)
    assert (cold.steps, cold.back) == ({"database": Step(FORGET, "shop_b")}, ("green",))
