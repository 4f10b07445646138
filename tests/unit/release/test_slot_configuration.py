"""The configuration that stands in a color: compared by name where its values lie, put back with its release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_slot_module import SECRET, Host, host

__all__ = ["host"]  # a fixture

RECORD = "etc/shop/green.configuration.json"


def environment(**variables: str) -> str:
    given = {"TURNOUT_COLOR": "green", "TURNOUT_RELEASE": "1.0.0", **variables}
    return "".join(f'{name}="{value}"\n' for name, value in sorted(given.items()))


def configuration(**changes: str) -> str:
    keys = {"api.command": '"bin/api"', "api.drain_s": "30", **changes}
    return json.dumps({name.replace("__", "."): value for name, value in keys.items()})


def stand(host: Host, release_id: str, name: str, **params: Any) -> dict[str, Any]:
    """Stand a release with a configuration in green."""
    given = {"environment": environment(P=SECRET), "configuration": configuration(), "configuration_id": name}
    return host.activate(release_id, **{**given, **params})


def told(host: Host, **params: Any) -> dict[str, Any]:
    given = {"environment": environment(P=SECRET), "configuration": configuration()}
    found: dict[str, Any] = host.do("info", **{**given, **params})["colors"]["green"]["configuration"]
    return found


def test_the_same_configuration_differs_in_nothing(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    assert told(host) == {"id": "a1b2c3", "format": 1, "differs": []}
    other = environment(P=SECRET, TURNOUT_COLOR="blue", TURNOUT_RELEASE="2.0.0")
    assert told(host, environment=other)["differs"] == []


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"environment": environment(P=f"{SECRET}2")}, ["environment.P"]),
        ({"environment": environment(P=SECRET, NEW="1")}, ["environment.NEW"]),
        ({"environment": environment()}, ["environment.P"]),
        ({"configuration": configuration(api__drain_s="31")}, ["api.drain_s"]),
        ({"configuration": configuration(user='"x"'), "environment": environment()}, ["environment.P", "user"]),
        ({"configuration": "{}"}, ["api.command", "api.drain_s"]),
    ],
)
def test_what_differs_is_told_by_name(host: Host, params: dict[str, str], names: list[str]) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    assert told(host, **params)["differs"] == names


def test_a_variable_changed_by_hand_differs_too(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    (host.root / "etc/shop/green.env").write_text(environment(P="by hand"))
    assert told(host)["differs"] == ["environment.P"]


def test_a_variable_of_any_case_is_compared(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    held = host.root / "etc/shop/green.env"
    held.write_text(held.read_text() + 'http_proxy="x"\n')
    assert told(host)["differs"] == ["environment.http_proxy"]


def test_a_release_of_before_has_no_name_and_differs_by_its_variables_alone(host: Host) -> None:
    host.activate(host.lay("1.0.0"), environment=environment(P=SECRET))
    assert told(host) == {"id": None, "format": None, "differs": []}
    assert told(host, environment=environment(P="x"))["differs"] == ["environment.P"]
    assert told(host, configuration=configuration(api__drain_s="31"))["differs"] == []


def test_who_asks_for_no_comparison_gets_none(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    assert told(host, environment=None, configuration=None) == {"id": "a1b2c3", "format": 1, "differs": None}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "id": "../x", "salt": "", "keys": {}}']
)
def test_a_damaged_record_counts_as_none(host: Host, text: bytes) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    (host.root / RECORD).write_bytes(text)
    assert told(host) == {"id": None, "format": None, "differs": []}


def test_a_record_of_a_newer_turnout_is_named_and_not_compared(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3")
    (host.root / RECORD).write_text(json.dumps({"format": 2, "id": "a1b2c3", "what": "else"}))
    assert told(host) == {"id": "a1b2c3", "format": 2, "differs": None}


def test_the_record_holds_no_value_and_is_for_root_only(host: Host) -> None:
    stand(host, host.lay("1.0.0"), "a1b2c3", configuration=configuration(api__health__headers__X=f'"{SECRET}"'))
    record = host.root / RECORD
    assert SECRET not in record.read_text() and "bin/api" not in record.read_text()
    assert record.stat().st_mode & 0o7777 == 0o600


def test_two_records_of_one_value_tell_nothing_of_each_other(host: Host) -> None:
    release_id = host.lay("1.0.0")
    stand(host, release_id, "a1b2c3")
    blue = {"environment": environment(), "configuration": configuration(), "configuration_id": "a1b2c3"}
    host.activate(release_id, "blue", **blue)
    green, other = (
        json.loads((host.root / f"etc/shop/{color}.configuration.json").read_text()) for color in ("green", "blue")
    )
    assert green["keys"].keys() == other["keys"].keys()
    assert not set(green["keys"].values()) & set(other["keys"].values())


def test_standing_it_there_again_changes_nothing(host: Host) -> None:
    release_id = host.lay("1.0.0")
    stand(host, release_id, "a1b2c3")
    before = host.picture()
    assert stand(host, release_id, "a1b2c3")["changed"] is False
    assert host.picture() == before


def test_a_configuration_is_put_back_with_its_release(host: Host) -> None:
    release_id = host.lay("1.0.0")
    stand(host, release_id, "a1b2c3")
    host.do("settled", color="green")
    before = host.picture()
    stand(host, release_id, "d4e5f6", environment=environment(P="bad"), configuration=configuration(api__drain_s="1"))
    assert told(host)["differs"] == ["api.drain_s", "environment.P"]
    result = host.do("restored", color="green", release_id=release_id, configuration_id="d4e5f6")
    assert (result["release_id"], result["configuration"], result["complete"]) == (release_id, "a1b2c3", True)
    assert host.picture() == before


def test_what_another_configuration_of_the_same_artifact_displaced_is_not_restored(host: Host) -> None:
    release_id = host.lay("1.0.0")
    stand(host, release_id, "a1b2c3")
    host.do("settled", color="green")
    stand(host, release_id, "d4e5f6", environment=environment(P="two"))
    before = host.picture()
    result = host.do("restored", color="green", release_id=release_id, configuration_id="777777")
    assert (result["changed"], result["configuration"]) == (False, "d4e5f6")
    assert host.picture() == before


def test_the_confirmed_configuration_is_what_is_kept_aside(host: Host) -> None:
    old, release_id = host.lay("0.9.0"), host.lay("1.0.0")
    stand(host, old, "000000")
    host.do("settled", color="green")
    stand(host, release_id, "a1b2c3")  # displaces 0.9.0, and its run ends before it is confirmed
    third = {"environment": environment(P="three"), "confirmed": release_id, "confirmed_configuration": "d4e5f6"}
    assert stand(host, release_id, "777777", **third)["displaced"] == old
    assert (
        host.do("restored", color="green", release_id=release_id, configuration_id="777777")["configuration"]
        == "000000"
    )


def test_a_name_that_is_none_is_refused(host: Host) -> None:
    assert (
        host.fails("active", release_id="1-" + "a" * 12, color="green", configuration_id="../../x")
        == "configuration-id"
    )


def test_the_difference_of_a_task_shows_no_digest(host: Host, tmp_path: Path) -> None:
    release_id = host.lay("1.0.0")
    stand(host, release_id, "a1b2c3")
    result = stand(host, release_id, "d4e5f6", configuration=configuration(api__drain_s="1"))
    record = json.loads((host.root / RECORD).read_text())
    assert "/etc/shop/green.configuration.json" in result["changes"]
    assert not any(digest in json.dumps(result) for digest in [*record["keys"].values(), record["salt"]])
