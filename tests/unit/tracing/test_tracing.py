"""One request in the journals of all hosts: which ids are looked for, and what is shown of what was found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import Places, SlotError
from ansible_collections.turnout.ops.plugins.modules import trace as module
from hypothesis import given
from hypothesis import strategies as st
from turnout import tracing
from turnout.errors import TurnoutError

ROOT = Path(__file__).parents[3]
UUID, BARE = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = "0af7651916cd43dd8448eb211c80319c"
EDGE_LINE = (
    f'192.0.2.1:5 [30/Nov] public sample-blue/app1 0/0/0/9/9 201 200 ---- {{blue|other}} {{{UUID}|{TRACE}}} "POST"'
)


@pytest.mark.parametrize(
    "given",
    [UUID, UUID.upper(), BARE, f" {UUID}\n", f"00-{BARE}-00f067aa0ba902b7-01", f"cc-{BARE}-00f067aa0ba902b7-01-x"],
)
def test_an_id_is_known_in_every_form_that_somebody_may_have_of_it(given: str) -> None:
    assert tracing.forms(given) == [UUID, BARE]


@given(st.text(max_size=80))
def test_what_is_no_id_is_refused_and_never_reaches_a_host(text: str) -> None:
    try:
        found = tracing.forms(text)
    except TurnoutError as error:
        assert (error.code, "X-Request-ID" in error.expected) == ("trace-id", True)
    else:
        assert all(set(one) <= set("0123456789abcdef-") for one in found)


@pytest.mark.parametrize("wrong", ["", "x", BARE[:-1], f"{BARE}0", "(.*)", f"{UUID}|.", f"{UUID} {UUID}"])
def test_these_are_no_ids(wrong: str) -> None:
    with pytest.raises(TurnoutError):
        tracing.forms(wrong)


def test_the_edges_line_tells_the_other_id_whichever_was_asked_for() -> None:
    told = [{"found": [{"text": EDGE_LINE}]}, {"found": []}, {"unreachable": True}, {}]
    for asked in (UUID, TRACE):
        assert set(tracing.further(told, tracing.forms(asked))) == {UUID, BARE, *tracing.forms(TRACE)}
    assert tracing.further([], tracing.forms(UUID)) == [UUID, BARE]


def line(at: float, unit: str, text: str) -> dict[str, Any]:
    return {"at": at, "unit": unit, "text": text}


HOSTS: dict[str, dict[str, Any]] = {
    "app1": {"found": [line(100.25, "sample-worker@blue.service", "job done [x]")], "begins": 5.0, "more": True},
    "app2": {"unreachable": True, "msg": "Failed to connect"},
    "app3": {"msg": "error[trace-slow]: the journal could not be read\nwithin 60 s", "failed": True},
}
EDGES: dict[str, dict[str, Any]] = {
    "edge1": {"found": [line(100.0, "haproxy.service", EDGE_LINE)], "begins": 7.0, "more": False},
    "app1": {"found": [], "begins": None, "more": False},  # an edge and an application host in one
}


def test_lines_stand_in_the_order_of_their_time_and_hosts_without_an_answer_are_named() -> None:
    shown = tracing.render(tracing.collect(EDGES, HOSTS, UUID))
    assert shown.index("haproxy") < shown.index("sample-worker@blue")
    assert "+0.000 s" in shown
    assert "+0.250 s" in shown
    assert "job done [x]" in shown
    assert "NOT looked at: app2: no answer" in shown
    assert "NOT looked at: app3: error[trace-slow]: the journal could not be read within 60 s" in shown
    assert "more lines than are shown: app1" in shown


def test_nothing_found_says_how_far_each_journal_reaches() -> None:
    empty = {host: {**told, "found": []} if "found" in told else told for host, told in {**EDGES, **HOSTS}.items()}
    error = tracing.missing(tracing.collect({"edge1": empty.pop("edge1")}, empty, UUID), 24)
    assert error.code == "trace-not-found"
    for words in (UUID, "24 h", "edge1 since 1970-01-01 00:00:07", "app2: no answer", "app3: error[trace-slow]"):
        assert words in error.observed
    assert "hours=72" in error.remedy


# -- the module --------------------------------------------------------------------------------------------------------


def fake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], code: int = 0, says: str = ""
) -> Path:
    """Let a program stand where journalctl is, which says what journald would; return the file of its words."""
    words = folder / "words"
    (folder / "entries").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    program = folder / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{words}\ncat {folder}/entries\necho "{says}" >&2\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return words


def entry(text: Any, unit: str = "sample-api@blue.service", at: float = 10.5) -> dict[str, Any]:
    return {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "_SYSTEMD_UNIT": unit, "MESSAGE": text}


PARAMS: dict[str, Any] = {"ids": [UUID], "units": ["sample-*.service"], "hours": 2.0, "lines": 3, "limit_s": 9}


def places(folder: Path, *, laid: bool = True) -> Places:
    root = folder / "root"
    (root / "etc" / "sample").mkdir(parents=True)
    (root / "etc" / "sample" / "blue.env").write_text('DATABASE_URL="postgresql://app:s3cret-word@db/x"\n')
    if laid:
        (root / "usr/local/lib").mkdir(parents=True)
        (root / "usr/local/lib/turnout-host").symlink_to(ROOT / "roles/service_host/files")
    return Places(root, "")


@pytest.fixture(autouse=True)
def own_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test find turnout_host where it laid it, or not."""
    monkeypatch.setattr(
        sys, "path", [one for one in sys.path if "turnout-host" not in one and "service_host" not in one]
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "turnout_host"]:
        monkeypatch.delitem(sys.modules, name)


def test_values_of_the_environment_are_not_shown_and_lines_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "x" * 5000
    secret, odd = entry(f"{UUID} s3cret-word \x1b[31m"), entry(list(b"\xff bytes"))
    words = fake(tmp_path, monkeypatch, [secret, odd, entry(long, "haproxy.service"), entry("4th")])
    told = module.look(PARAMS, places(tmp_path))
    texts = [one["text"] for one in told["found"]]
    assert texts[0] == f"{UUID} [DATABASE_URL's password] [31m"
    assert texts[1].endswith(" bytes")
    assert len(texts[2]) == 600
    assert (told["more"], told["begins"]) == (True, 10.5)
    first = words.read_text().splitlines()[0]
    assert f"--grep={UUID}" in first
    assert "--unit=sample-*.service" in first


def test_an_environment_that_cannot_be_read_hides_the_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, [entry(f"{UUID} s3cret-word", "sample-api@green.service")])
    (one,) = module.look(PARAMS, places(tmp_path))["found"]
    assert one["text"] == module.HIDDEN


def test_without_the_programs_that_know_what_is_secret_nothing_of_the_application_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, [entry(f"{UUID} s3cret-word")])
    with pytest.raises(SlotError) as told:
        module.look(PARAMS, places(tmp_path, laid=False))
    assert "--tags service_host" in told.value.message()


def test_an_id_that_is_a_pattern_never_reaches_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = fake(tmp_path, monkeypatch, [])
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        module.look({**PARAMS, "ids": [".*"]}, places(tmp_path))
    assert not words.exists()


def test_a_journal_without_such_a_line_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, [], code=1)
    assert module.look(PARAMS, places(tmp_path)) == {"found": [], "more": False, "begins": None}


def test_a_host_on_which_no_such_unit_ever_ran_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, [], 1, "Failed to add filter for units: No data available")
    assert module.look(PARAMS, places(tmp_path)) == {"found": [], "more": False, "begins": None}


def test_a_journal_that_cannot_be_read_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, [], 1, "Failed to open files: Permission denied")
    with pytest.raises(ValueError, match="Permission denied"):
        module.look(PARAMS, places(tmp_path))
