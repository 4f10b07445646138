"""What is in service is an artifact and a configuration: on the edge's records, in its words and in its quarantine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from edge_model import ModelEdge, edge_with_stable, release, state_of
from turnout_edge.errors import Trouble
from turnout_edge.show import table

SHA = "ab" * 32


def record(configuration: str | None, version: str = "1.1.0") -> dict[str, Any]:
    named = {} if configuration is None else {"configuration": configuration}
    return {**release(version), "sha256": SHA, "release_id": f"{version}-abababababab", **named}


def confirmed(configuration: str | None, run: str, color: str, edge: ModelEdge | None = None) -> ModelEdge:
    edge = edge or edge_with_stable()
    edge.run("lock release --run A")
    edge.run(f"lock take --run {run} --owner tester --purpose deploy")
    edge.run(f"prepare --run {run} --color {color}", release=record(configuration))
    edge.run(f"move --run {run} --share-bp 10000")
    edge.run(f"ready --run {run} --color {color}")
    edge.run(f"confirm --run {run}")
    edge.run(f"commit --run {run}")
    return edge


def both() -> ModelEdge:
    """An edge on which 1.1.0 with another configuration was confirmed over 1.1.0."""
    return confirmed("d4e5f6", "B", "blue", confirmed("a1b2c3", "A", "green"))


def write(edge: ModelEdge, entry: dict[str, str]) -> None:
    edge.run("ledger --run X", json=json.dumps(entry))


def held(edge: ModelEdge) -> set[str]:
    return set(edge.run("show")["quarantine"])


def test_words_and_records_name_the_configuration() -> None:
    edge = both()
    assert {color: one["configuration"] for color, one in state_of(edge).releases.items() if one} == {
        "green": "a1b2c3",
        "blue": "d4e5f6",
    }
    back = edge.run("rollback", quarantine="5xx")
    assert "all traffic is back on green (1.1.0 with configuration a1b2c3)" in back["message"]
    assert "blue (1.1.0 with configuration d4e5f6) has none" in back["message"]
    assert "1.1.0 with configuration d4e5f6 is in quarantine" in back["message"]
    entry = next(one for one in reversed(edge.ledger.tail(9)) if one["kind"] == "rollback")
    assert entry["from"] == {"color": "blue", "release": "1.1.0", "configuration": "d4e5f6"}
    assert entry["to"] == {"color": "green", "release": "1.1.0", "configuration": "a1b2c3"}
    shown = table(edge.run("show"))
    assert "1.1.0 a1b2c3" in shown and "1.1.0 d4e5f6 -> 1.1.0 a1b2c3" in shown


def test_a_record_of_before_has_none_and_is_named_as_before() -> None:
    edge = confirmed(None, "A", "green")
    back = edge.run("rollback")
    assert "green (1.1.0) has none" in back["message"]
    entry = next(one for one in reversed(edge.ledger.tail(9)) if one["kind"] == "rollback")
    assert entry["from"] == {"color": "green", "release": "1.1.0"}


def test_a_configuration_goes_into_quarantine_with_its_artifact_and_no_other() -> None:
    edge = both()
    edge.run("rollback", quarantine="5xx")
    found = edge.run("show")["quarantine"]
    assert found[f"{SHA} d4e5f6"]["configuration"] == "d4e5f6"
    assert f"{SHA} a1b2c3" not in found


def test_a_word_for_one_configuration_lets_no_other_out() -> None:
    edge = both()
    for configuration in ("111111", "222222"):
        data = {"kind": "quarantine", "release": "1.1.0", "sha256": SHA, "configuration": configuration, "why": "x"}
        write(edge, data)
    write(edge, {"kind": "again", "sha256": SHA, "configuration": "111111"})
    assert f"{SHA} 111111" not in held(edge) and f"{SHA} 222222" in held(edge)
    # One of before, without a configuration, was about the artifact; so was a word.
    write(edge, {"kind": "quarantine", "release": "1.1.0", "sha256": SHA, "why": "x"})
    assert SHA in held(edge)
    write(edge, {"kind": "again", "sha256": SHA, "configuration": "333333"})
    assert held(edge) == {f"{SHA} 222222"}
    write(edge, {"kind": "again", "sha256": SHA})
    assert held(edge) == set()


def test_another_configuration_is_not_declared_over_a_candidate_with_users() -> None:
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=record("a1b2c3"))
    edge.run("move --run A --share-bp 2500 --lease-s 10")
    edge.run("prepare --run A --color green", release=record("a1b2c3"))
    with pytest.raises(Trouble) as caught:
        edge.run("prepare --run A --color green", release=record("d4e5f6"))
    assert caught.value.code == "candidate-serves"
    assert "1.1.0 with configuration d4e5f6" in str(caught.value.as_json())


def test_a_record_whose_configuration_is_no_text_is_refused() -> None:
    edge = edge_with_stable()
    with pytest.raises(Trouble) as caught:
        edge.run("prepare --run A --color green", release={**record(None), "configuration": 7})
    assert caught.value.code == "release-record"
