"""The preflight's decision: every fault at once, none invented."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.preflight import Decision, Limits, decide, schema_faults, slot_faults
from turnout.release.manifest import Manifest, parse
from turnout.release.schema import SchemaState, runs_on, state_after

SERVICE = {
    "name": "sample",
    "api": {"ports": {"blue": 8001, "green": 8002}},
    "workers": {"jobs": {"metrics_port": {"blue": 9101, "green": 9102}}},
}
LIMITS = Limits(disk_reserve_bytes=1_000, clock_skew_s=5)


def manifest(
    version: str = "1.1.0", *, low: int = 2, high: int = 2, kinds: tuple[str, ...] = ("expand", "expand")
) -> Manifest:
    return parse(
        json.dumps(
            {
                "manifest": 1,
                "name": "sample",
                "version": version,
                "commit": "a" * 40,
                "built_at": "2026-01-02T03:04:05Z",
                "artifact": {
                    "kind": "tarball",
                    "file": f"sample-{version}.tar.zst",
                    "sha256": "b" * 64,
                    "bytes": 1_000,
                    "unpacked_bytes": 3_000,
                },
                "environment": [],
                "schema": {"min": low, "max": high},
                "migrations": [
                    {"version": number, "id": f"{number:04}_step", "kind": kind, "sha256": "c" * 64}
                    for number, kind in enumerate(kinds, start=1)
                ],
            }
        ).encode()
    )


def an_edge() -> dict[str, Any]:
    return {
        "stable": "blue",
        "previous": None,
        "candidate": None,
        "share_bp": 0,
        "green_bp": 0,
        "live": {"reachable": True, "green_bp": 0, "error": None},
        "agree": True,
        "releases": {
            "blue": {"release": "1.0.0", "sha256": "d" * 64, "schema": {"min": 1, "max": 1}, "complete": True},
            "green": None,
        },
        "schema": {"version": 1, "last_contract": 0},
        "unfinished": [],
    }


def a_host() -> dict[str, Any]:
    return {
        "colors": {"blue": {"release_id": "1.0.0-dddddddddddd", "complete": True}, "green": {}},
        "units": {"sample-api@green.service": {"load": "loaded", "active": "inactive"}},
        "disk": {"path": "/opt", "free_bytes": 10_000_000},
        "clock": {"wall_s": 1_000.0},
        "ports": {},
        "complete": False,
    }


def judge(
    edges: dict[str, dict[str, Any]] | None = None,
    hosts: dict[str, dict[str, Any]] | None = None,
    release: Manifest | None = None,
    again: str = "",
    resume: bool = False,
) -> Decision:
    return decide(
        manifest=release or manifest(),
        service=SERVICE,
        edges=edges or {"edge1": an_edge(), "edge2": an_edge()},
        hosts=hosts or {"app1": a_host(), "app2": a_host()},
        asked_s=(1_000.0, 1_010.0),
        run="r1",
        limits=LIMITS,
        again=again,
        resume=resume,
    )


def test_edges_that_do_not_route_to_a_web_process_yet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = {"ports": {"blue": 8003, "green": 8004}}
    monkeypatch.setitem(SERVICE, "web", {"admin": admin})
    knows = {**an_edge(), "backends": {"blue": {"web": {"admin": {}}}, "green": {"web": {"admin": {}}}}}
    lacks = {**an_edge(), "backends": {"blue": {}, "green": {}}}
    (fault,) = judge({"edge1": knows, "edge2": lacks}).faults
    assert (fault.path, fault.remedy) == ("edge2", "ansible-playbook turnout.ops.site --tags edge")
    assert "service file: admin" in fault.expected
    monkeypatch.delitem(SERVICE, "web")
    (fault,) = judge({"edge1": knows, "edge2": lacks}).faults
    assert (fault.path, fault.observed) == ("edge1", "it routes requests to the web processes admin")


def test_a_port_of_a_web_process_that_another_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVICE, "web", {"admin": {"ports": {"blue": 8003, "green": 8004}}})
    taken = {**a_host(), "ports": {"8004": {"listening": True, "unit": "other.service", "pid": 7}}}
    (fault,) = judge(hosts={"app1": taken, "app2": a_host()}).faults
    assert "port 8004 is taken by other.service" in fault.observed
    assert fault.expected == "free for sample-web-admin@green.service"


def test_a_release_that_went_back_by_itself_needs_a_word() -> None:
    entry = {"ts": "2026-01-02T03:04:05Z", "run": "r0", "why": "E 300 of 125: api: 10/40 bad", "release": "1.1.0"}
    edges = {"edge1": an_edge(), "edge2": {**an_edge(), "quarantine": {"b" * 64: entry}}}
    (fault,) = judge(edges).faults
    assert fault.path == "edge2"
    assert "r0" in fault.observed and "api: 10/40 bad" in fault.observed
    assert 'again="the reason"' in fault.remedy
    assert judge(edges, again="  ").faults
    allowed = judge(edges, again="the queue was broken")
    assert (allowed.faults, allowed.quarantined) == ((), True)
    others = {"edge1": {**an_edge(), "quarantine": {"e" * 64: entry}}}
    assert (judge(others).faults, judge(others).quarantined) == ((), False)


def test_a_sound_pair_of_edges_and_hosts_gets_the_idle_color() -> None:
    decision = judge()
    assert decision.faults == ()
    assert (decision.candidate, decision.stable, decision.stable_release) == ("green", "blue", "1.0.0")
    assert not decision.already


def test_before_the_first_release_blue_is_the_candidate() -> None:
    edge = {**an_edge(), "stable": None, "releases": {"blue": None, "green": None}, "schema": None}
    decision = judge({"edge1": edge, "edge2": copy.deepcopy(edge)})
    assert (decision.candidate, decision.stable, decision.faults) == ("blue", None, ())


def test_what_serves_everywhere_is_in_service_already() -> None:
    edge = an_edge()
    edge["releases"]["blue"]["sha256"] = "b" * 64
    host = a_host()
    host["colors"]["blue"]["release_id"] = "1.1.0-bbbbbbbbbbbb"
    assert judge({"edge1": edge}, {"app1": host}).already


def test_a_release_that_one_host_lost_is_not_in_service_already() -> None:
    edge = an_edge()
    edge["releases"]["blue"]["sha256"] = "b" * 64
    assert not judge({"edge1": edge}, {"app1": a_host()}).already


def _believing(stable: str, previous: str | None = None) -> dict[str, Any]:
    edge = an_edge()
    edge["releases"] = {"blue": {"release": "1.0.0", "release_id": stable}, "green": None}
    if previous:
        edge["previous"] = "green"
        edge["releases"]["green"] = {"release": "0.9.0", "release_id": previous}
    return edge


def _holding(blue: str | None, green: str | None = None) -> dict[str, Any]:
    host = a_host()
    host["colors"] = {
        "blue": {"release_id": blue, "complete": blue is not None},
        "green": {"release_id": green, "complete": green is not None},
    }
    return host


OLD, NEW = "1.0.0-dddddddddddd", "1.2.0-eeeeeeeeeeee"


def test_slots_that_hold_what_the_edges_believe_are_no_fault() -> None:
    edges = {"edge1": _believing(OLD, NEW), "edge2": _believing(OLD, NEW)}
    assert slot_faults(edges, {"app1": _holding(OLD, NEW), "app2": _holding(OLD, NEW)}) == []
    # What an edge does not know is not compared: no way back, or a record of before ids were kept.
    assert slot_faults({"edge1": _believing(OLD)}, {"app1": _holding(OLD, NEW)}) == []
    assert slot_faults({"edge1": an_edge()}, {"app1": _holding(NEW)}) == []


@pytest.mark.parametrize(
    ("host", "color", "observed"),
    [
        (_holding(NEW, OLD), "blue", f"{NEW} stands in blue, which serves"),
        (_holding(None, OLD), "blue", "nothing stands in blue, which serves"),
        (_holding(OLD, NEW), "green", f"{NEW} stands in green, the way back"),
        (_holding(OLD, None), "green", "nothing stands in green, the way back"),
    ],
)
def test_a_slot_that_differs_names_the_host_the_color_and_both_releases(
    host: dict[str, Any], color: str, observed: str
) -> None:
    believing = _believing(OLD, OLD)
    (fault,) = slot_faults({"edge1": believing, "edge2": believing}, {"app1": _holding(OLD, OLD), "app2": host})
    assert (fault.path, fault.observed) == ("app2", observed)
    assert OLD in fault.expected and "edge1, edge2" in fault.expected
    assert ("-e release=1.0.0" in fault.remedy) == (color == "blue")


def test_a_release_that_is_not_whole_is_no_way_back() -> None:
    host = _holding(OLD, OLD)
    host["colors"]["green"]["complete"] = False
    (fault,) = slot_faults({"edge1": _believing(OLD, OLD)}, {"app1": host})
    assert "not whole" in fault.observed


def test_a_release_does_not_begin_where_another_one_stands_in_the_color_that_serves() -> None:
    edges = {"edge1": _believing(OLD)}
    (fault,) = judge(edges, {"app1": _holding(OLD), "app2": _holding(NEW)}).faults
    assert (fault.path, NEW in fault.observed, OLD in fault.expected) == ("app2", True, True)
    # A host without a release there serves nobody: it is told, and the release brings it in.
    decision = judge(edges, {"app1": _holding(OLD), "app2": _holding(None)})
    assert decision.faults == ()
    assert "app2: nothing stands in blue, which serves" in decision.notes
    # The release in service, once more, is the remedy.
    edges["edge1"]["releases"]["blue"]["sha256"] = "b" * 64
    assert judge(edges, {"app1": _holding(OLD), "app2": _holding(NEW)}).faults == ()


def test_a_host_without_the_program_that_fences_is_told_before_anything_happens() -> None:
    host = {**a_host(), "tools": {"fence": False}}
    (fault,) = judge(hosts={"app1": a_host(), "app2": host}).faults
    assert (fault.path, "--tags service_host --limit app2" in fault.remedy) == ("app2", True)


def _port_taken(host: dict[str, Any]) -> None:
    host["ports"] = {"8002": {"listening": True, "pid": 7, "unit": "other.service"}}


def _worker_port_taken(host: dict[str, Any]) -> None:
    host["ports"] = {"9102": {"listening": True, "pid": 7, "unit": None, "command": "nc"}}


def _disk_full(host: dict[str, Any]) -> None:
    host["disk"]["free_bytes"] = 4_999


def _clock_off(host: dict[str, Any]) -> None:
    host["clock"]["wall_s"] = 1_015.1


def _not_provisioned(host: dict[str, Any]) -> None:
    host["units"]["sample-api@green.service"]["load"] = "not-found"


@pytest.mark.parametrize(("wall_s", "faults"), [(994.9, 1), (995.0, 0), (1_005.0, 0), (1_015.0, 0), (1_015.1, 1)])
def test_a_clock_counts_as_off_only_beyond_the_time_that_asking_took(wall_s: float, faults: int) -> None:
    host = a_host()
    host["clock"]["wall_s"] = wall_s
    assert len(judge(hosts={"app1": host}).faults) == faults


@pytest.mark.parametrize("harm", [_port_taken, _worker_port_taken, _disk_full, _clock_off, _not_provisioned])
def test_each_harm_to_one_host_is_one_fault_that_names_it(harm: Any) -> None:
    host = a_host()
    harm(host)
    faults = judge(hosts={"app1": a_host(), "app2": host}).faults
    assert [fault.path for fault in faults] == ["app2"]
    assert all((faults[0].observed, faults[0].expected, faults[0].remedy))


def test_a_port_held_by_the_unit_of_that_color_is_free_for_it() -> None:
    host = a_host()
    host["ports"] = {"8002": {"listening": True, "pid": 7, "unit": "sample-api@green.service"}}
    assert judge(hosts={"app1": host}).faults == ()


def test_a_full_disk_matters_not_to_a_host_that_has_the_release() -> None:
    host = a_host()
    host["complete"] = True
    _disk_full(host)
    assert judge(hosts={"app1": host}).faults == ()


def test_all_faults_are_told_together() -> None:
    one, two = a_host(), a_host()
    _disk_full(one)
    _port_taken(two)
    edge = an_edge()
    edge["live"] = {"reachable": False, "green_bp": None, "error": "no socket"}
    faults = judge({"edge1": an_edge(), "edge2": edge}, {"app1": one, "app2": two}).faults
    assert [fault.path for fault in faults] == ["edge2", "app1", "app2"]


def test_edges_that_serve_different_releases_forbid_a_release() -> None:
    other = an_edge()
    other["stable"] = "green"
    other["releases"]["green"] = {"release": "0.9.0"}
    faults = judge({"edge1": an_edge(), "edge2": other}).faults
    assert "0.9.0 on green" in faults[0].observed


def test_a_candidate_left_in_flight_forbids_a_release() -> None:
    edge = an_edge()
    edge.update(candidate="green", share_bp=2_500)
    assert "2500" in judge({"edge1": an_edge(), "edge2": edge}).faults[0].observed


def left_behind(share_bp: int = 0, sha256: str = "b" * 64) -> dict[str, Any]:
    edge = an_edge()
    edge.update(candidate="green", share_bp=share_bp)
    edge["releases"]["green"] = {"release": "1.1.0", "sha256": sha256, "schema": None, "complete": True}
    return edge


def test_what_a_dead_run_left_is_offered_to_be_resumed_or_rolled_back() -> None:
    (fault,) = judge({"edge1": left_behind(), "edge2": an_edge()}).faults
    assert "-e release=1.1.0 -e resume=true" in fault.remedy
    assert "ansible-playbook turnout.ops.rollback" in fault.remedy


def test_on_that_word_the_release_goes_on_also_where_only_one_edge_knew_it() -> None:
    found = judge({"edge1": left_behind(), "edge2": an_edge()}, resume=True)
    assert found.faults == ()
    assert found.candidate == "green"
    assert any("goes on with 1.1.0" in note and "edge1" in note for note in found.notes)


def test_nothing_is_resumed_while_users_are_on_it_and_never_another_release() -> None:
    (fault,) = judge({"edge1": left_behind(share_bp=500)}, resume=True).faults
    assert "lease" in fault.remedy
    (fault,) = judge({"edge1": left_behind(sha256="e" * 64)}, resume=True).faults
    assert "resume" not in fault.remedy


def test_an_unfinished_run_of_another_is_told_and_this_runs_own_is_not() -> None:
    edge = an_edge()
    edge["unfinished"] = [
        {"run": "r0", "actor": "ann", "action": "deploy", "last": {"event": "intent", "action": "lay"}},
        {"run": "r1", "actor": "bob", "action": "deploy", "last": {}},
    ]
    notes = judge({"edge1": edge}).notes
    assert len(notes) == 1
    assert "r0" in notes[0]


def test_a_contract_migration_is_refused_while_the_release_in_service_needs_what_it_drops() -> None:
    release = manifest("1.2.0", low=2, high=2, kinds=("expand", "contract"))
    faults = judge(release=release).faults
    assert len(faults) == 1
    assert "0002_step" in faults[0].observed
    assert "1.0.0" in faults[0].observed


def test_a_contract_migration_passes_once_the_release_in_service_knows_it() -> None:
    edge = an_edge()
    edge["releases"]["blue"]["schema"] = {"min": 1, "max": 2}
    release = manifest("1.2.0", low=2, high=2, kinds=("expand", "contract"))
    assert judge({"edge1": edge}, release=release).faults == ()


@given(
    version=st.integers(0, 6),
    last_contract=st.integers(0, 6),
    kinds=st.lists(st.sampled_from(["expand", "contract"]), max_size=6),
    low=st.integers(0, 6),
    stable_max=st.integers(0, 6),
    data=st.data(),
)
def test_no_fault_means_that_both_releases_run_on_the_schema_afterwards(
    *, version: int, last_contract: int, kinds: list[str], low: int, stable_max: int, data: st.DataObject
) -> None:
    low = min(low, len(kinds))
    high = data.draw(st.integers(max(low, len(kinds)), 8))
    release = manifest(low=low, high=high, kinds=tuple(kinds))
    state = SchemaState(version, min(last_contract, version))
    stable = {"release": "1.0.0", "schema": {"min": 0, "max": stable_max}}
    if state.last_contract > stable_max:
        return  # the release in service is broken already; that is not the candidate's doing
    faults = schema_faults(release, state, stable)
    after = state_after(release, state)
    fits = runs_on(release.schema, after) and after.last_contract <= stable_max
    assert bool(faults) != fits


def test_a_command_of_a_person_in_the_color_to_lay_into_is_a_fault_and_one_elsewhere_is_none() -> None:
    command = {"id": "20261130-093612-a1b2", "actor": "ann", "shown": ["bin/manage", "shell"]}
    for color, count in (("blue", 0), ("green", 1)):
        faults = judge(hosts={"app1": a_host(), "app2": {**a_host(), "commands": [{**command, "color": color}]}}).faults
        assert len(faults) == count
    (fault,) = faults
    assert (fault.path, fault.observed) == ("app2", "a command of ann runs in green (bin/manage shell)")
    assert "turnout run --stop 20261130-093612-a1b2@app2" in fault.remedy


MEDIA = {"path": "media", "hosts": "shared_file_system"}


def with_directory(directory: dict[str, Any], *hosts: dict[str, Any], kind: str = "tarball") -> Decision:
    release = manifest()
    release = replace(release, artifact=replace(release.artifact, kind=kind))
    return decide(
        manifest=release,
        service={**SERVICE, "user": "shopkeeper", "directories": [directory]},
        edges={"edge1": an_edge(), "edge2": an_edge()},
        hosts={f"app{at}": {**a_host(), "directories": {directory["path"]: one}} for at, one in enumerate(hosts, 1)},
        asked_s=(1_000.0, 1_010.0),
        run="r1",
        limits=LIMITS,
    )


def test_a_shared_file_system_must_be_mounted_on_every_host() -> None:
    there = {"exists": True, "mount": "/var/lib/sample/media", "writable": True}
    whole = {**there, "mount": "/var/lib/sample"}
    assert with_directory(MEDIA, there, whole).faults == ()
    for mount in ("/", "/var", "/var/lib", "/var/lib/sample2"):
        (fault,) = with_directory(MEDIA, there, {**there, "mount": mount}).faults
        assert fault.path == "app2"
        assert f"/var/lib/sample/media is on this host's own disk (mounted at {mount})" in fault.observed
        assert "hosts: each" in fault.remedy
    own = {**there, "mount": "/"}
    assert with_directory({**MEDIA, "hosts": "each"}, own, own).faults == ()
    assert with_directory({**MEDIA, "hosts": None}, own).faults == ()


def test_a_directory_that_the_service_cannot_write_is_a_fault() -> None:
    there = {"exists": True, "mount": "/var/lib/sample", "writable": False}
    (fault,) = with_directory(MEDIA, there).faults
    assert "/var/lib/sample/media cannot be written by shopkeeper" in fault.observed
    assert "chown shopkeeper: /var/lib/sample/media" in fault.remedy
    absent = {"exists": False, "mount": "/var/lib/sample", "writable": None}
    assert with_directory(MEDIA, absent).faults == ()


def test_only_an_image_has_places_of_its_own_outside_the_release() -> None:
    seen = {"exists": False, "mount": "/", "writable": None}
    (fault,) = with_directory({"path": "/data", "hosts": "each"}, seen).faults
    assert (fault.path, fault.observed) == ("service.directories[0].path", "/data, and the release is files")
    assert "/var/lib/sample/data" in fault.remedy
    assert with_directory({"path": "/data", "hosts": "each"}, seen, kind="oci-archive").faults == ()
    assert with_directory({"path": "/var/lib/sample/x", "hosts": "each"}, seen).faults == ()


def test_files_that_nobody_declared_are_told_where_there_are_several_hosts() -> None:
    host = {**a_host(), "undeclared": ["uploads", "x"]}
    (note,) = judge(hosts={"app1": host, "app2": a_host()}).notes
    assert "(app1: uploads, x)" in note
    assert judge(hosts={"app1": host}).notes == ()


def test_a_host_that_cannot_run_the_commands_of_a_release_is_told_before_anything_happens() -> None:
    old = {**a_host(), "tools": {"fence": True, "steps": False}}
    assert judge(hosts={"app1": old}).faults == ()
    decision = decide(
        manifest=manifest(), service={**SERVICE, "commands": [{"name": "warm"}]}, edges={"edge1": an_edge()},
        hosts={"app1": old}, asked_s=(1_000.0, 1_010.0), run="r1", limits=LIMITS,
    )  # fmt: skip
    assert [fault.observed for fault in decision.faults] == ["no program turnout_host.steps"]
