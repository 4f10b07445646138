"""Programs of another Turnout on hosts: told in one line with the one command; refused only where it cannot work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from turnout import programs
from turnout.command.versions import version_in
from turnout.programs import compare, rank
from turnout.status import collect, render

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "edge": "roles/edge/files/turnout_edge",
    "host": "roles/service_host/files/turnout_host",
    "drill": "roles/drill/files/turnout_drill",
    "schedule": "roles/schedule/files/turnout_scheduled",
}
VERSIONS = st.from_regex(r"\A[0-9]{1,2}(\.[0-9]{1,2}){0,3}(rc[0-9])?\Z")


def host(newer: list[dict[str, Any]] | None = None, /, **laid: str | tuple[str | None, int] | None) -> dict[str, Any]:
    """Return what `laid` says of a host with programs of these versions (and protocols)."""
    found = {name: one if isinstance(one, tuple) else (one, 1) for name, one in laid.items()}
    return {
        "programs": {name: {"version": version, "protocol": protocol} for name, (version, protocol) in found.items()},
        "newer": newer or [],
    }


def site(edge: str | None = "0.3.0", app: str | None = "0.3.0") -> dict[str, Any]:
    edges = {name: host(edge=edge, host="0.3.0") for name in ("edge1", "edge2")}
    return {**edges, **{name: host(host=app) for name in ("app1", "app2")}}


def test_programs_of_this_version_are_not_mentioned() -> None:
    assert compare("0.3.0", site()) == programs.Compared((), ())


def test_edges_laid_before_versions_were_kept_count_as_older_and_stop_nothing() -> None:
    compared = compare("0.3.0", site(edge=None))
    assert compared.notes == (
        "edge1, edge2: programs of an older Turnout (of before 0.3.0; this is 0.3.0); "
        "ansible-playbook turnout.ops.site --tags edge brings them up",
    )
    assert compared.faults == ()


@pytest.mark.parametrize(
    ("laid", "command"),
    [
        (site(app="0.2.9"), "turnout.ops.site --tags service_host --limit app1,app2"),
        ({**site(), "app2": host(host=None)}, "turnout.ops.site --tags service_host --limit app2"),
        ({"edge1": host(edge=None, host=None)}, "turnout.ops.site --tags edge,service_host"),
        ({**site(), "edge1": host(edge="0.3.0", host=None)}, "turnout.ops.site --tags service_host"),
        ({**site(edge=None), "app1": host(host=None)}, "turnout.ops.site --tags edge,service_host"),
        ({"app1": host(host=None), "app2": host(host=None)}, "turnout.ops.site --tags service_host"),
        ({"data1": host(drill=None), **site()}, "turnout.ops.site --tags drill --limit data1"),
        ({"app1": host(schedule=None)}, "turnout.ops.schedule"),
    ],
)
def test_one_command_brings_them_up_and_it_is_the_least_that_is_true(laid: dict[str, Any], command: str) -> None:
    (note,) = compare("0.3.0", laid).notes
    assert note.endswith(f"ansible-playbook {command} brings them up")


def test_newer_programs_are_told_with_what_brings_the_controller_up_and_stop_nothing() -> None:
    compared = compare("0.9.0", site(edge="0.10.1", app="0.9.0") | {"edge1": host(edge="0.9.0", host="0.9.0")})
    assert "edge2" in compared.notes[-1]
    assert compared.notes[-1].endswith("pip install 'turnout>=0.10.1' brings this controller up")
    assert compared.faults == ()


@pytest.mark.parametrize("protocol", [programs.PROTOCOL + 1, programs.LEAST_PROTOCOL - 1])
@pytest.mark.parametrize("name", ["edge", "host"])
def test_only_a_protocol_that_is_not_spoken_is_a_fault(name: str, protocol: int) -> None:
    laid = {"app1": host(**{name: ("0.3.0", protocol)})}
    (fault,) = compare("0.3.0", laid).faults
    assert fault.path == "app1"
    assert f"speaks protocol {protocol}" in fault.observed
    assert fault.remedy.startswith(
        "pip install" if protocol > programs.PROTOCOL else "ansible-playbook turnout.ops.site"
    )


def test_records_of_a_newer_format_are_a_fault_by_name() -> None:
    record = {"path": "/var/lib/turnout-slots/shop/fence.json", "format": 2, "reads": 1}
    (fault,) = compare("0.3.0", {**site(), "app1": host([record], host="0.3.0")}).faults
    assert record["path"] in fault.observed
    assert fault.expected.startswith("format 1 or older")
    assert "turnout.ops.site --tags service_host --limit app1" in fault.remedy


def test_hosts_that_said_nothing_and_a_version_that_is_not_known_are_passed_over() -> None:
    assert compare("0.3.0", {"edge1": None, "app1": {}}) == programs.Compared((), ())
    assert compare(None, site(edge=None)) == programs.Compared((), ())


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_and_told_one_way_or_the_other(own: str, laid: str) -> None:
    compared = compare(own, {"edge1": host(edge=laid)})
    assert compared.faults == ()
    assert len(compared.notes) == (own != laid)
    if rank(laid) > rank(own):
        assert "newer Turnout" in compared.notes[0]
    elif own != laid:
        assert "older Turnout" in compared.notes[0]


@pytest.mark.parametrize(
    ("lower", "higher"), [("0.9.0", "0.10.0"), ("1.0.0rc1", "1.0.0"), ("1.0", "1.0.1"), ("0.3.0.dev1", "0.3.0")]
)
def test_the_order_of_versions_is_that_of_people(lower: str, higher: str) -> None:
    assert rank(lower) < rank(higher)
    assert rank("1.0") == rank("1.0.0")


# On hosts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def laid(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that lays programs on a host, and says what the module finds there."""

    def _laid(**files: dict[str, str]) -> dict[str, Any]:
        for name, texts in files.items():
            folder = tmp_path / "usr/local/lib" / module().PACKAGES[name]
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in texts.items():
                (folder / file).write_text(text)
        loaded = module()
        loaded.ROOT = str(tmp_path)
        return {"programs": loaded.programs(), "newer": loaded.newer_records()}

    return _laid


def module() -> ModuleType:
    """Return the module `laid`, each time anew."""
    import importlib  # noqa: PLC0415

    name = "ansible_collections.turnout.ops.plugins.modules.laid"
    sys.modules.pop(name, None)
    return importlib.import_module(name)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_role_lays_says_the_version_of_galaxy_yml(name: str, laid: Callable[..., dict[str, Any]]) -> None:
    from ansible_collections.turnout.ops.plugins.filter.program import versioned  # noqa: PLC0415

    files = {path.name: path.read_text() for path in (ROOT / PACKAGES[name]).glob("*.py")}
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    found = laid(**{name: versioned(files)})["programs"][name]
    assert found == {"version": version, "protocol": 1}
    assert {file: text for file, text in versioned(files).items() if file != "version.py"} == {
        file: text for file, text in files.items() if file != "version.py"
    }


@pytest.mark.parametrize("role", ["edge", "service_host", "drill", "schedule"])
def test_every_role_that_lays_a_program_lays_its_version(role: str) -> None:
    variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())
    laid = [value for name, value in variables.items() if name.endswith("_program_files")]
    assert laid
    assert all("turnout.ops.versioned" in value for value in laid)


def test_the_protocol_is_the_one_that_the_programs_speak() -> None:
    for name in programs.SPEAKING:
        text = (ROOT / PACKAGES[name] / "version.py").read_text()
        assert re.search(rf"^PROTOCOL = {programs.PROTOCOL}$", text, re.MULTILINE), name


def test_a_program_of_before_versions_were_kept_has_none(laid: Callable[..., dict[str, Any]]) -> None:
    assert laid(edge={"cli.py": ""})["programs"] == {"edge": {"version": None, "protocol": 1}}


def test_records_that_a_newer_program_wrote_are_named(tmp_path: Path, laid: Callable[..., dict[str, Any]]) -> None:
    records = {
        "var/lib/turnout-slots/shop/fence.json": {"format": 2, "fence": 3, "run": "r"},
        "var/lib/turnout-homes/shop.json": {"host": "app1", "fence": 3, "run": "r"},
        "var/lib/turnout-homes/other.json": {"format": 9},
    }
    for path, record in records.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(record))
    (tmp_path / "var/lib/turnout-homes/torn.json").write_text('{"format": 7')
    found = laid(host={"atomic.py": (ROOT / PACKAGES["host"] / "atomic.py").read_text()})
    assert {(Path(entry["path"]).name, entry["format"], entry["reads"]) for entry in found["newer"]} == {
        ("other.json", 9, 1),
        ("fence.json", 2, 1),
    }


def test_the_module_answers_json_where_nothing_is_laid() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "plugins/modules/laid.py"], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) == {"changed", "programs", "newer"}


def test_the_version_of_a_collection_that_galaxy_installed_is_in_its_manifest(tmp_path: Path) -> None:
    assert version_in(tmp_path) is None
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "0.4.0"}}')
    assert version_in(tmp_path) == "0.4.0"
    (tmp_path / "galaxy.yml").write_text("version: 0.3.0\n")
    assert version_in(tmp_path) == "0.3.0"


# In a run -----------------------------------------------------------------------------------------------------------


def test_the_status_has_a_row_for_the_programs() -> None:
    facts = {"service": "sample", "stable": "blue", "agree": True, "live": {"reachable": True}}
    told = {"own": "0.3.0", "hosts": {"edge1": {"edge": {}}}, "notes": ["edge1: programs of an older Turnout"]}
    status = collect({"edge1": facts}, {}, told)
    assert "programs    edge1: programs of an older Turnout" in render(status)
    assert status["programs"] == told
    assert "programs    all of Turnout 0.3.0" in render(collect({"edge1": facts}, {}, {**told, "notes": []}))
    assert "programs    none seen" in render(collect({}, {}, {"own": "0.3.0", "hosts": {"edge1": {}}, "notes": []}))
    newer = {**facts, "newer": [{"path": "/var/lib/turnout/state.json", "format": 2}]}
    assert "state.json is of format 2" in render(collect({"edge1": newer}, {}, {**told, "notes": []}))


def play(tmp_path: Path, laid: dict[str, Any], *, refuses: bool) -> subprocess.CompletedProcess[str]:
    """Run the tasks of a run on a host that answers so."""
    tasks = yaml.safe_load((ROOT / "roles/run/tasks/programs.yml").read_text())[1:]
    variables = {
        "run_laid_on": ["edge1", "app1"], "run_refuses_programs": refuses, "run_tells_programs": True,
    }  # fmt: skip
    tasks.insert(0, {"ansible.builtin.set_fact": {"run_laid": laid}})
    book = [{"hosts": "edge1", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}]
    (tmp_path / "book.yml").write_text(yaml.safe_dump(book))
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "edge1,app1,", tmp_path / "book.yml"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip


def test_a_run_tells_and_goes_on_and_a_deploy_is_refused_only_by_what_it_cannot_work_with(tmp_path: Path) -> None:
    done = play(tmp_path, host(edge=None), refuses=True)
    assert done.returncode == 0, done.stdout
    assert "turnout.ops.site --tags edge brings them up" in done.stdout
    done = play(tmp_path, host(edge=("9.0.0", 99)), refuses=False)
    assert done.returncode == 0, done.stdout
    assert "speaks protocol 99" in done.stdout
    done = play(tmp_path, host(edge=("9.0.0", 99)), refuses=True)
    assert done.returncode != 0
    assert "error[programs]" in done.stdout
