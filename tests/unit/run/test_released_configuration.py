"""A change of the configuration alone is a release: what is decided of it, told of it, and gone back to."""

from __future__ import annotations

from typing import Any

import pytest
from test_preflight import LIMITS, SERVICE, a_host, an_edge, manifest
from turnout.preflight import Decision, decide, slot_faults
from turnout.status import collect, render
from turnout.way_back import plan

NEW, OLD = "a1b2c3", "d4e5f6"
SHA = "b" * 64
RELEASE_ID = "1.1.0-bbbbbbbbbbbb"


def edge(configuration: str | None = OLD, **more: Any) -> dict[str, Any]:
    """Return an edge that serves 1.1.0 on blue."""
    record = {"release": "1.1.0", "release_id": RELEASE_ID, "sha256": SHA, "complete": True, "schema": None}
    record |= {"configuration": configuration} if configuration else {}
    return {**an_edge(), "releases": {"blue": record, "green": None}, **more}


def host(*differs: str, configuration: str | None = OLD, form: int | None = 1) -> dict[str, Any]:
    """Return a host where 1.1.0 stands in blue, with a configuration that differs in these keys."""
    told = {"id": configuration, "format": form, "differs": list(differs)}
    blue = {"release_id": RELEASE_ID, "version": "1.1.0", "complete": True, "configuration": told}
    return {**a_host(), "colors": {"blue": blue, "green": {}}}


def judge(edges: list[dict[str, Any]], hosts: list[dict[str, Any]], **more: Any) -> Decision:
    return decide(
        manifest=manifest(low=1, high=1, kinds=()),
        service=SERVICE,
        edges={f"edge{number}": one for number, one in enumerate(edges)},
        hosts={f"app{number}": one for number, one in enumerate(hosts)},
        asked_s=(1_000.0, 1_010.0),
        run="r1",
        limits=LIMITS,
        **{"configuration": NEW, **more},
    )


def test_the_same_artifact_with_the_same_configuration_is_in_service_already() -> None:
    found = judge([edge(), edge()], [host(), host()])
    assert (found.already, found.faults, found.differs) == (True, (), ())
    assert found.stable_named == "1.1.0 with configuration d4e5f6"


def test_another_value_on_any_host_makes_a_candidate_and_is_told_by_name() -> None:
    found = judge([edge(), edge()], [host(), host("environment.LOG_LEVEL"), host("api.drain_s")])
    assert (found.already, found.faults, found.candidate) == (False, (), "green")
    assert found.differs == ("api.drain_s", "environment.LOG_LEVEL")
    assert (found.named, found.stable_named) == ("1.1.0 with configuration a1b2c3", "1.1.0 with configuration d4e5f6")
    assert (found.stable_configuration, found.stable_release) == (OLD, "1.1.0")


def test_a_new_version_tells_what_else_it_changes() -> None:
    old = edge()
    old["releases"]["blue"] |= {"release": "1.0.0", "sha256": "d" * 64, "release_id": "1.0.0-dddddddddddd"}
    stands = host("environment.P")
    stands["colors"]["blue"] |= {"release_id": "1.0.0-dddddddddddd", "version": "1.0.0"}
    found = judge([old], [stands])
    assert (found.faults, found.differs, found.already) == ((), ("environment.P",), False)


@pytest.mark.parametrize(("differs", "already"), [((), True), (("environment.P",), False)])
def test_a_record_of_before_counts_as_another_one_only_where_its_variables_differ(
    differs: tuple[str, ...], already: bool
) -> None:
    found = judge([edge(None)], [host(*differs, configuration=None, form=None)])
    assert (found.already, found.faults) == (already, ())
    assert (found.stable_named, found.stable_configuration) == ("1.1.0", None)


def test_a_record_of_a_newer_turnout_is_refused() -> None:
    newer = host(form=2)
    newer["colors"]["blue"]["configuration"]["differs"] = None
    (fault,) = judge([edge()], [newer]).faults
    assert fault.path == "app0" and "format 2" in fault.observed and "format 1" in fault.expected


@pytest.mark.parametrize(
    ("held", "configuration", "refused"),
    [
        ({f"{SHA} {NEW}": {"configuration": NEW}}, NEW, True),
        ({f"{SHA} {NEW}": {"configuration": NEW}}, "777777", False),  # a good configuration of the same artifact
        ({SHA: {}}, NEW, True),  # of before: about the artifact
        ({f"{'c' * 64} {NEW}": {"configuration": NEW}}, NEW, False),
    ],
)
def test_quarantine_is_of_an_artifact_with_its_configuration(
    held: dict[str, Any], configuration: str, refused: bool
) -> None:
    entry = {"ts": "t", "run": "r0", "why": "5xx"}
    quarantine = {key: {**one, **entry} for key, one in held.items()}
    found = judge([edge(quarantine=quarantine)], [host("environment.P")], configuration=configuration)
    assert (bool(found.faults), found.quarantined) == (refused, refused)
    if SHA not in held and refused:
        assert "1.1.0 with configuration a1b2c3 was rolled back by itself" in found.faults[0].observed
    again = judge([edge(quarantine=quarantine)], [host("environment.P")], configuration=configuration, again="not it")
    assert again.faults == ()


@pytest.mark.parametrize(("left", "faults"), [(NEW, 0), ("777777", 1), (None, 0)])
def test_a_run_is_resumed_with_the_configuration_that_it_began_with(left: str | None, faults: int) -> None:
    releases = edge()["releases"]
    green = {key: value for key, value in {**releases["blue"], "configuration": left}.items() if value is not None}
    begun = edge(candidate="green", releases={**releases, "green": green})
    found = judge([begun], [host("environment.P")], resume=True)
    assert len(found.faults) == faults
    if faults:
        assert "1.1.0 with configuration 777777 on green" in found.faults[0].observed
        assert "resume=true" not in found.faults[0].remedy


@pytest.mark.parametrize(
    ("believed", "stands", "differs"), [(OLD, OLD, False), (OLD, NEW, True), (None, NEW, False), (OLD, None, False)]
)
def test_a_host_with_another_configuration_than_the_edges_believe_is_seen(
    believed: str | None, stands: str | None, differs: bool
) -> None:
    faults = slot_faults({"edge1": edge(believed)}, {"app1": host(configuration=stands)}, ("stable",))
    assert bool(faults) is differs
    if differs:
        assert f"{RELEASE_ID} with configuration {NEW} stands in blue" in faults[0].observed
        assert f"{RELEASE_ID} with configuration {OLD}" in faults[0].expected


def test_the_status_names_configurations_and_a_dash_where_none_is_on_record() -> None:
    releases = {"blue": edge()["releases"]["blue"], "green": edge(None)["releases"]["blue"]}
    entry = {"ts": "t", "kind": "release", "release": "1.1.0", "configuration": OLD, "color": "blue", "run": "r"}
    back = {
        "ts": "t",
        "kind": "rollback",
        "to": {"color": "blue", "release": "1.1.0", "configuration": OLD},
        "run": "q",
    }
    shown = edge(releases=releases, ledger=[entry, back], service="sample")
    status = collect(
        {"edge1": shown}, {"app1": {**host(), "units": {}}, "app2": {**host(configuration=None), "units": {}}}
    )
    assert status["hosts"]["app1"]["colors"]["blue"]["configuration"] == OLD
    rows = {line.split()[0]: line.split() for line in render(status).splitlines() if line.split()}
    assert rows["blue"][:3] == ["blue", "1.1.0", OLD]
    assert rows["green"][:3] == ["green", "1.1.0", "-"]
    assert rows["app1"][1:3] == ["1.1.0", OLD] and rows["app2"][1:3] == ["1.1.0", "-"]
    text = render(status)
    assert "release  1.1.0 with configuration d4e5f6 on blue" in text
    assert "rollback  1.1.0 with configuration d4e5f6 on blue" in text


def test_a_way_back_names_the_configuration_that_goes_and_the_one_that_serves() -> None:
    answer = {
        "ok": True,
        "before": {"candidate": "green"},
        "after": {"stable": "blue", "previous": None},
        "candidate_release": {"release_id": RELEASE_ID, "configuration": NEW},
        "releases": edge()["releases"],
    }
    found = plan({"edge1": answer, "edge2": answer}).as_dict()
    assert (found["candidate_id"], found["candidate_configuration"]) == (RELEASE_ID, NEW)
    assert found["configurations"] == [OLD]
