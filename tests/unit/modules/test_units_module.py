"""The module `units` against a systemctl that keeps its units in files: who may act, and what it waits for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

SYSTEMCTL = """
    #!/usr/bin/python3
    # A unit is a file in the folder units: its state. `slow` in a unit's name makes its jobs take 0.6 s.
    import json, os, sys, time
    folder = {folder!r}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    with open(folder + "/log", "a") as log:
        log.write(" ".join(sys.argv[1:]) + "\\n")
    verb, unit = words[0], words[-1]
    path = folder + "/units/" + unit
    state = json.load(open(path)) if os.path.exists(path) else {{"ActiveState": "inactive", "until": 0}}
    if state["until"] and time.time() >= state["until"]:
        state = {{"ActiveState": state["then"], "until": 0}}
    if verb == "show":
        # `dies` says when it ends by itself, and `again` whether systemd has started it anew by then.
        dead = state.get("dies") is not None and time.monotonic() >= state["dies"]
        again = dead and state.get("again")
        restarts = state.get("restarts", 0) + (1 if dead else 0)
        now = "activating" if dead and not again else state["ActiveState"]
        pid = 4711 + restarts if now == "active" else 0
        since = int(1e6 * (state["dies"] if again else state.get("since", time.monotonic())))
        result = state.get("result", "success")
        print(f"ActiveState={{now}}\\nSubState=x\\nMainPID={{pid}}\\nNRestarts={{restarts}}\\nResult={{result}}")
        print(f"ActiveEnterTimestampMonotonic={{since}}")
        print("Job=" + ("7" if state["until"] else ""))
    elif verb in ("enable", "disable"):
        wanted = folder + "/system/multi-user.target.wants"
        os.makedirs(wanted, exist_ok=True)
        os.symlink("x", wanted + "/" + unit) if verb == "enable" else os.unlink(wanted + "/" + unit)
    elif verb in ("start", "stop", "restart"):
        then = "inactive" if verb == "stop" else ("failed" if "broken" in unit else "active")
        wait = 0.6 if "slow" in unit else 0.01
        now = "deactivating" if verb == "stop" else "activating"
        state = {{"ActiveState": now, "until": time.time() + wait, "then": then}}
    json.dump(state, open(path, "w"))
"""


class Systemd:
    """The host: its root, and what systemctl was told."""

    def __init__(self, folder: Path, module: ModuleType) -> None:
        self.folder, self.module = folder, module

    def unit(self, name: str, text: str = "[Service]\n") -> None:
        place = self.folder / "system" / f"{name}.service.d"
        place.mkdir(parents=True)
        (place / "turnout.conf").write_text(text)

    def do(self, state: str, *, run: str = "r1", fence: int = 1, check: bool = False, **more: Any) -> dict[str, Any]:
        given = {"service": "shop", "run": run, "fence": fence, "state": state, "steady_s": 0.2, **more}
        if state not in ("fenced", "homed"):
            given = {"color": "blue", "processes": ["api"], **given}
        answer: dict[str, Any] = self.module.perform(self.module.options_of(given), check)
        return answer

    def runs(self, name: str, for_s: float, **more: Any) -> None:
        """Let a unit have run for that long; `dies_in` lets it end by itself, `again` come back at once."""
        self.unit(name)
        state = {"ActiveState": "active", "until": 0, "since": time.monotonic() - for_s, **more}
        if "dies_in" in state:
            state["dies"] = time.monotonic() + state.pop("dies_in")
        (self.folder / f"units/{name}.service").write_text(json.dumps(state))

    def journal(self, text: str) -> None:
        """Let journalctl say this of every unit."""
        (self.folder / "journal").write_text(text)
        program = self.folder / "bin/journalctl"
        program.write_text(f'#!/bin/sh\necho "$*" >>{self.folder}/asked\ncat {self.folder}/journal\n')
        program.chmod(0o755)

    def told(self) -> list[str]:
        """Return what systemctl was told that changes something."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if not line.startswith("show")]

    def at_boot(self) -> list[str]:
        """Return what starts with the host."""
        wanted = self.folder / "system/multi-user.target.wants"
        return sorted(path.name for path in wanted.iterdir()) if wanted.exists() else []

    def recorded(self) -> tuple[int, str]:
        record = json.loads((self.folder / "root/var/lib/turnout-slots/shop/fence.json").read_text())
        return record["fence"], record["run"]


@pytest.fixture
def systemd(load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    units = load("units")
    for name in ("units", "system", "bin", "quiesced"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin/systemctl"
    program.write_text(textwrap.dedent(SYSTEMCTL).format(folder=str(tmp_path)).lstrip())
    program.chmod(0o755)
    shutil.copytree(
        ROOT / "roles/service_host/files/turnout_host", tmp_path / "root/usr/local/lib/turnout-host/turnout_host"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(units, "ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(units, "SYSTEM_DIR", str(tmp_path / "system"))
    monkeypatch.setattr(units, "QUIESCED_DIR", str(tmp_path / "quiesced"))
    for name, target in (("etc/systemd/system", "system"), ("var/lib/prometheus/node-exporter", "figures")):
        (tmp_path / target).mkdir(exist_ok=True)
        (tmp_path / "root" / name).parent.mkdir(parents=True)
        (tmp_path / "root" / name).symlink_to(tmp_path / target)
    original = units.units_of
    monkeypatch.setattr(units, "units_of", lambda *words: original(*words, str(tmp_path / "system")))
    return Systemd(tmp_path, units)


def test_what_is_started_is_seen_running_and_what_is_stopped_is_seen_stopped(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    started = systemd.do("started")
    assert (started["changed"], started["units"]["shop-api@blue.service"]["active"]) == (True, "active")
    assert systemd.do("started")["changed"] is False
    stopped = systemd.do("stopped")
    assert (stopped["changed"], stopped["units"]["shop-api@blue.service"]["active"]) == (True, "inactive")
    assert systemd.do("stopped")["changed"] is False


def test_what_is_in_service_starts_with_the_host_and_what_was_stopped_does_not(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("started")
    assert systemd.at_boot() == []  # a candidate: not confirmed
    answer = systemd.do("started", at_boot=True)
    assert (answer["changed"], systemd.at_boot()) == (True, ["shop-api@blue.service"])
    assert answer["units"]["shop-api@blue.service"]["at_boot"] is True
    assert systemd.do("started", at_boot=True)["changed"] is False
    assert systemd.do("started")["changed"] is False
    assert systemd.at_boot() == ["shop-api@blue.service"]
    assert systemd.do("started", at_boot=True, check=True)["changed"] is False
    systemd.do("stopped")
    assert systemd.at_boot() == []
    assert systemd.do("started", at_boot=True, check=True)["changed"] is True


def test_a_unit_that_does_not_run_and_is_stopped_on_purpose_does_not_start_with_the_host(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("started", at_boot=True)
    (systemd.folder / "units/shop-api@blue.service").unlink()  # the host was started anew
    assert systemd.do("stopped", check=True)["changed"] is True
    assert systemd.do("stopped")["changed"] is True
    assert (systemd.at_boot(), systemd.do("stopped")["changed"]) == ([], False)


def test_figures_that_cannot_be_written_keep_no_process_from_running(systemd: Systemd) -> None:
    systemd.unit("shop-worker@blue")
    (systemd.folder / "root/var/lib/prometheus/node-exporter").unlink()
    (systemd.folder / "root/var/lib/prometheus/node-exporter").symlink_to("/proc/self")
    answer = systemd.do("started", processes=["worker"])
    assert not answer.get("failed"), answer
    assert answer["units"]["shop-worker@blue.service"]["active"] == "active"
    (warning,) = answer["warnings"]
    assert "node-exporter" in warning and "to mend: df -h" in warning


def test_an_answer_tells_the_newest_run_of_the_host_also_where_it_refuses(systemd: Systemd) -> None:
    newer = {"fence": 9, "run": "r9"}
    assert systemd.do("fenced", check=True)["fenced_by"] is None
    assert systemd.do("fenced", run="r9", fence=9)["fenced_by"] == newer
    refused = systemd.do("fenced", check=True)
    assert (refused["code"], refused["fenced_by"]) == ("fence", newer)


def test_the_exporter_is_told_what_ought_to_run(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.unit("shop-worker@blue")
    systemd.do("started", processes=["api", "worker"], at_boot=True)
    figures = systemd.folder / "figures/turnout-units-shop.prom"
    line = 'turnout_unit_at_boot{name="shop-worker@blue.service",service="shop",process="worker",color="blue"} 1'
    assert line in figures.read_text().splitlines()
    systemd.do("stopped", processes=["worker"])
    assert "worker" not in figures.read_text()
    assert 'name="shop-api@blue.service"' in figures.read_text()
    assert figures.stat().st_mode & 0o777 == 0o644
    assert list(figures.parent.iterdir()) == [figures]
    shutil.rmtree(figures.parent)
    assert systemd.do("stopped")["changed"] is True  # a host without an exporter


def test_a_worker_is_marked_before_it_is_told_to_take_no_new_jobs(systemd: Systemd) -> None:
    """One that ends at once would be restarted by systemd, which looks for the mark."""
    systemd.unit("shop-worker@blue", "[Service]\nX-Turnout-Quiesce=SIGUSR1\nX-Turnout-Resume=SIGUSR2\n")
    systemd.do("started", processes=["worker"])
    mark = systemd.folder / "quiesced/shop-worker@blue.service.quiesced"
    program = systemd.folder / "bin/systemctl"
    program.write_text(
        program.read_text().replace(
            'if verb == "show":',
            f'if verb == "kill" and not os.path.exists({str(mark)!r}):\n    sys.exit(1)\nif verb == "show":',
        )
    )
    assert systemd.do("quiesced", processes=["worker"])["changed"] is True
    assert mark.read_text() == "4711"
    systemd.do("stopped", processes=["worker"])
    assert not mark.exists()


def test_web_processes_are_driven_with_the_api_and_nobody_elses(systemd: Systemd) -> None:
    for name in ("shop-api@blue", "shop-web-admin@blue", "shop-web-live-events@blue", "shop-web-worker-x@blue"):
        systemd.unit(name)
    systemd.unit("shop-web-admin@green")
    answer = systemd.do("started", at_boot=True)
    assert sorted(answer["units"]) == [f"shop-{name}@blue.service" for name in ("api", "web-admin", "web-live-events")]
    assert all(unit["active"] == "active" and unit["at_boot"] for unit in answer["units"].values())
    assert {unit["active"] for unit in systemd.do("stopped")["units"].values()} == {"inactive"}


def test_a_web_process_that_ends_its_long_connections_goes_on_and_is_not_restarted(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.unit("shop-web-events@blue", "[Service]\nX-Turnout-Quiesce=SIGUSR1\n")
    systemd.do("started")
    for _ in range(2):  # a signal that is sent again ends what was opened since
        assert systemd.do("quiesced")["changed"] is True
    said = [words for words in systemd.told() if "kill" in words]
    assert said == ["kill --kill-whom=main --signal=SIGUSR1 shop-web-events@blue.service"] * 2
    assert systemd.do("started")["changed"] is False
    assert not any("restart" in words.split() for words in systemd.told())


def test_a_web_process_may_have_been_started_anew_as_the_api_may(load: Callable[[str], ModuleType]) -> None:
    unit = load("units").Unit
    names = {
        "shop-api@blue.service": True, "shop-web-admin@green.service": True, "my-web-api@blue.service": True,
        "my-web-worker@blue.service": False, "my-web-worker-jobs@blue.service": False,
        "shop-scheduler@blue.service": False,
    }  # fmt: skip
    assert {name: unit(name, "").answers_users() for name in names} == names


def test_a_unit_that_does_not_start_is_told(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.unit("shop-worker@blue")
    broken = systemd.folder / "system/shop-worker@blue-2.service.d"
    broken.mkdir()
    (broken / "turnout.conf").write_text("")
    # A unit's name says what the systemctl of this test does with it.
    (systemd.folder / "bin/systemctl").write_text(
        (systemd.folder / "bin/systemctl").read_text().replace('"broken" in unit', '"@blue-2" in unit')
    )
    answer = systemd.do("started", processes=["api", "worker"])
    assert answer["failed"]
    assert "shop-worker@blue-2.service did not start: it is failed" in answer["msg"]


@pytest.mark.parametrize(("status", "started"), [(1, True), (203, False)])
def test_a_process_that_ran_and_crashed_is_told_by_steady_and_one_that_never_ran_at_once(
    systemd: Systemd, status: int, started: bool
) -> None:
    systemd.unit("shop-api@blue")
    program = systemd.folder / "bin/systemctl"
    text = program.read_text().replace('"broken" in unit', "False").replace('else "active")', 'else "activating")')
    program.write_text(text.replace("SubState=x", f"SubState=auto-restart\\nExecMainStatus={status}"))
    assert ("failed" not in systemd.do("started")) == started
    assert systemd.do("steady")["failed"] is True


def test_a_run_that_was_overtaken_starts_and_stops_nothing(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("started", run="deploy", fence=4)
    systemd.do("fenced", run="rollback", fence=5)
    before = systemd.told()
    for state in ("stopped", "started", "steady", "quiesced", "fenced"):
        answer = systemd.do(state, run="deploy", fence=4)
        assert (answer["failed"], answer["code"]) == (True, "fence")
        assert "run deploy (fence 4) was overtaken by run rollback (fence 5)" in answer["msg"]
    assert systemd.told() == before
    assert systemd.do("stopped", run="deploy", fence=4, check=True)["code"] == "fence"


def test_a_run_is_recorded_also_where_it_finds_nothing_to_do(systemd: Systemd) -> None:
    assert systemd.do("stopped", run="r7", fence=7)["changed"] is False
    assert systemd.recorded() == (7, "r7")


def test_everything_that_changes_a_unit_is_told_to_systemd_while_the_fence_is_held(systemd: Systemd) -> None:
    """Between the look at the record and the change no newer run can be recorded."""
    systemd.unit("shop-worker@blue", "[Service]\nX-Turnout-Quiesce=SIGUSR1\nX-Turnout-Resume=SIGUSR2\n")
    lock = systemd.folder / "root/var/lib/turnout-slots/shop/fence.lock"
    program = systemd.folder / "bin/systemctl"
    program.write_text(
        program.read_text()
        .replace("4711", str(os.getpid()))  # a process that lives
        .replace(
            'if verb == "show":',
            f"""import fcntl
try:
    fcntl.flock(open({str(lock)!r}, "a"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    open(folder + "/unfenced", "a").write(verb + " ")
except BlockingIOError:
    open(folder + "/fenced", "a").write(verb + " ")
if verb == "show":""",
            1,
        )
    )
    for state in ("started", "quiesced", "started", "stopped"):
        assert systemd.do(state, processes=["worker"], at_boot=True)["changed"] is True
    assert set((systemd.folder / "unfenced").read_text().split()) == {"show"}
    fenced = set((systemd.folder / "fenced").read_text().split())
    assert fenced >= {"start", "stop", "kill", "enable", "disable", "reset-failed"}


def test_fenced_records_and_does_nothing_else(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    answer = systemd.do("fenced", run="r9", fence=9)
    assert (answer["changed"], answer["units"]) == (False, {})
    assert (systemd.recorded(), systemd.told()) == ((9, "r9"), [])


def test_the_schedulers_home_is_recorded_and_told_and_an_overtaken_run_does_not_move_it(systemd: Systemd) -> None:
    assert systemd.do("fenced")["home"] is None
    assert systemd.do("homed", home="app1", fence=2)["changed"] is True
    assert systemd.do("homed", home="app1", fence=2)["changed"] is False
    assert systemd.do("homed", home="app2", run="r0", fence=1)["code"] == "fence"
    assert systemd.do("fenced", fence=2)["home"] == {"host": "app1", "fence": 2, "run": "r1"}


def test_a_scheduler_that_a_run_starts_need_not_ask_and_one_that_it_stops_must_again(systemd: Systemd) -> None:
    systemd.unit("shop-scheduler@blue")
    mark = systemd.folder / "root/run/turnout/shop-scheduler@blue.service.home"
    systemd.do("started", processes=["scheduler"])
    assert mark.exists()
    systemd.do("stopped", processes=["scheduler"])
    assert not mark.exists()


def test_check_mode_records_nothing(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    assert systemd.do("started", check=True)["changed"] is True
    assert not (systemd.folder / "root/var/lib/turnout-slots/shop/fence.json").exists()


def test_a_run_that_is_overtaken_while_it_waits_ends_at_once(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("started")
    program = systemd.folder / "bin/systemctl"
    program.write_text(program.read_text().replace('"slow" in unit', "True").replace("0.6", "30"))
    newer = threading.Timer(0.5, lambda: systemd.do("fenced", run="r2", fence=2))
    newer.start()
    began = time.monotonic()
    answer = systemd.do("stopped")
    newer.join()
    assert answer["code"] == "fence"
    assert time.monotonic() - began < 15


def test_a_newer_run_does_not_wait_for_what_an_older_one_began(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("started")
    program = systemd.folder / "bin/systemctl"
    program.write_text(program.read_text().replace('"slow" in unit', "True").replace("0.6", "30"))
    older = threading.Thread(target=lambda: systemd.do("stopped"))
    older.start()
    while "--no-block stop shop-api@blue.service" not in systemd.told():
        time.sleep(0.02)
    began = time.monotonic()
    assert "failed" not in systemd.do("fenced", run="r2", fence=2)
    assert time.monotonic() - began < 10
    older.join(20)
    assert not older.is_alive()


def test_a_damaged_record_is_said_and_the_run_goes_on(systemd: Systemd) -> None:
    systemd.unit("shop-api@blue")
    systemd.do("fenced")
    (systemd.folder / "root/var/lib/turnout-slots/shop/fence.json").write_text("{")
    answer = systemd.do("started")
    assert answer["changed"] is True
    assert "damaged" in answer["warnings"][0]


def test_a_host_without_the_program_names_what_lays_it(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(systemd.folder / "root/usr")
    for name in ("turnout_host", "turnout_host.fence"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not (Path(folder) / "turnout_host").is_dir()])
    systemd.unit("shop-api@blue")
    answer = systemd.do("started")
    assert (answer["failed"], answer["code"]) == (True, "host-unprepared")
    assert "ansible-playbook turnout.ops.site --tags service_host" in answer["msg"]
    assert systemd.told() == []


# --- processes that have to go on running -------------------------------------------------------------------------


def test_a_candidate_counts_as_running_once_its_youngest_process_has_run_long_enough(systemd: Systemd) -> None:
    systemd.runs("shop-api@blue", 100)
    systemd.runs("shop-worker@blue", 1.6)
    began = time.monotonic()
    answer = systemd.do("running", processes=["api", "worker"], steady_s=2.2)
    assert "failed" not in answer, answer
    assert 0.5 <= time.monotonic() - began < 5
    assert (answer["changed"], systemd.told()) == (False, [])
    assert answer["youngest_s"] >= 2.2
    looked = systemd.do("running", processes=["api", "worker"], steady_s=0)
    assert looked["youngest_s"] >= 2.2


@pytest.mark.parametrize("process", ["worker", "scheduler"])
def test_a_process_that_was_restarted_since_it_was_started_ends_the_release_however_long_ago(
    systemd: Systemd, process: str
) -> None:
    systemd.runs(f"shop-{process}@blue", 900, restarts=1)
    answer = systemd.do("running", processes=[process], steady_s=45)
    assert (answer["failed"], answer["code"], answer["changed"]) == (True, "unit-ended", False)
    assert "was started again 1 time since this release started it" in answer["msg"]
    assert "to mend: a version of which it keeps running" in answer["msg"]


def test_an_api_that_waited_for_its_database_passes_once_it_has_run_long_enough(systemd: Systemd) -> None:
    systemd.runs("shop-api@blue", 900, restarts=2)
    assert "failed" not in systemd.do("running", steady_s=45)


@pytest.mark.parametrize("process", ["api", "worker", "scheduler"])
@pytest.mark.parametrize("again", [False, True], ids=["down", "started again at once"])
@pytest.mark.parametrize("result", ["success", "exit-code", "oom-kill"])
def test_a_process_of_any_kind_that_ends_while_it_is_looked_at_is_told_at_once(
    systemd: Systemd, process: str, again: bool, result: str
) -> None:
    systemd.runs(f"shop-{process}@blue", 1, dies_in=2, again=again, result=result)
    began = time.monotonic()
    answer = systemd.do("running", processes=[process], steady_s=60)
    assert (answer["failed"], answer["code"]) == (True, "unit-ended")
    assert time.monotonic() - began < 10
    assert f"shop-{process}@blue.service" in answer["msg"]
    assert again or result in answer["msg"]


def test_one_instance_of_a_worker_that_dies_is_not_hidden_by_the_others(systemd: Systemd) -> None:
    systemd.runs("shop-worker@blue", 100)
    systemd.runs("shop-worker@blue-2", 100, restarts=3)
    answer = systemd.do("running", processes=["worker"], steady_s=1)
    assert answer["code"] == "unit-ended"
    assert "shop-worker@blue-2.service" in answer["msg"] and "shop-worker@blue.service is" not in answer["msg"]


def test_a_failure_tells_the_units_last_lines_without_the_values_of_its_environment(systemd: Systemd) -> None:
    place = systemd.folder / "root/etc/shop"
    place.mkdir(parents=True)
    password = 'p\\"w$rd'  # as the file has it: escaped
    (place / "blue.env").write_text(
        f'DATABASE_URL="postgresql://app:{password}@db/shop"\nMODE="web"\nSECRET_KEY="k3y-of-the-shop"\n'
    )
    systemd.journal(
        'cannot log in as app with p"w$rd\nSECRET_KEY is k3y-of-the-shop in web\n'
        "Main process exited, code=exited, status=1/FAILURE\n"
    )
    systemd.runs("shop-worker@blue", 1, restarts=1)
    said = systemd.do("running", processes=["worker"])["msg"]
    assert "Main process exited, code=exited, status=1/FAILURE" in said
    assert "cannot log in as app with [DATABASE_URL's password]" in said
    assert "SECRET_KEY is [SECRET_KEY] in web" in said
    assert "k3y" not in said and "w$rd" not in said
    assert "--unit=shop-worker@blue.service" in (systemd.folder / "asked").read_text()


def test_nothing_is_quoted_where_what_must_be_hidden_is_not_known(systemd: Systemd) -> None:
    systemd.journal("the key is k3y-of-the-shop\n")
    systemd.runs("shop-worker@blue", 1, restarts=1)
    said = systemd.do("running", processes=["worker"])["msg"]
    assert "k3y" not in said
    assert said.endswith("see: journalctl -u shop-worker@blue.service -n 50")


def test_an_overtaken_run_does_not_go_on_waiting(systemd: Systemd) -> None:
    systemd.runs("shop-worker@blue", 1)
    newer = threading.Timer(0.5, lambda: systemd.do("fenced", run="r2", fence=2))
    newer.start()
    answer = systemd.do("running", processes=["worker"], steady_s=60)
    newer.join()
    assert answer["code"] == "fence"


# --- workers that say when they are ready --------------------------------------------------------------------------


def ready_worker(systemd: Systemd, how: dict[str, Any], **more: Any) -> None:
    """Let a worker run, as this very process, whose release says so when it is ready."""
    systemd.runs("shop-worker@blue", 1, **more)
    place = systemd.folder / "system/shop-worker@blue.service.d/turnout.conf"
    place.write_text(f"[Service]\nX-Turnout-Ready={json.dumps({'timeout_s': 3, **how})}\n")
    program = systemd.folder / "bin/systemctl"
    program.write_text(program.read_text().replace("4711", str(os.getpid())))


def test_a_worker_that_writes_its_file_is_ready_and_one_of_an_earlier_process_does_not_count(systemd: Systemd) -> None:
    file = systemd.folder / "ready"
    ready_worker(systemd, {"file": str(file)})
    file.write_text("")
    os.utime(file, (1, 1))  # older than the process
    writes = threading.Timer(1.2, lambda: file.write_text("now"))
    writes.start()
    began = time.monotonic()
    answer = systemd.do("steady", processes=["worker"])
    writes.join()
    assert "failed" not in answer, answer
    assert time.monotonic() - began >= 1.1


@pytest.mark.parametrize("how", [{"file": "/nowhere/ready"}, {"argv": ["/bin/false"]}])
def test_a_worker_that_does_not_say_in_time_that_it_is_ready_ends_the_release(
    systemd: Systemd, how: dict[str, Any]
) -> None:
    ready_worker(systemd, how)
    began = time.monotonic()
    answer = systemd.do("steady", processes=["worker"])
    assert (answer["failed"], answer["code"]) == (True, "unit-unready")
    assert "within 3 s" in answer["msg"] and "service.worker.ready.timeout_s" in answer["msg"]
    assert 3 <= time.monotonic() - began < 20
    assert "failed" not in systemd.do("started", processes=["worker"])  # a rollback waits for nobody's word


def test_a_worker_that_dies_before_it_is_ready_is_told_at_once(systemd: Systemd) -> None:
    ready_worker(systemd, {"file": "/nowhere/ready", "timeout_s": 60}, dies_in=1.5, again=True)
    began = time.monotonic()
    assert systemd.do("steady", processes=["worker"])["code"] == "unit-ended"
    assert time.monotonic() - began < 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters a process's own view of the host")
def test_a_ready_command_has_the_workers_own_files_environment_and_user(systemd: Systemd) -> None:
    """Its environment is that of the process, not of the module."""
    child = subprocess.Popen(["/bin/sleep", "60"], env={"MARK": str(systemd.folder / "mark"), "PATH": "/usr/bin:/bin"})
    try:
        ready_worker(systemd, {"argv": ["/bin/sh", "-c", 'test "$1" = "$MARK" && touch "$MARK"', "-", "${MARK}"]})
        program = systemd.folder / "bin/systemctl"
        program.write_text(program.read_text().replace(str(os.getpid()), str(child.pid)))
        assert "failed" not in systemd.do("steady", processes=["worker"])
        assert (systemd.folder / "mark").exists()
    finally:
        child.kill()
        child.wait()


def test_a_start_waits_for_the_word_of_a_worker_that_notifies_and_a_rollback_does_not(systemd: Systemd) -> None:
    systemd.unit("shop-worker@blue", '[Service]\nX-Turnout-Ready={"notify": true, "timeout_s": 60}\n')
    program = systemd.folder / "bin/systemctl"
    # It says so after 2 s; until then it is activating (start).
    program.write_text(
        program.read_text().replace('"slow" in unit', "True").replace("0.6", "2").replace("=x", "=start")
    )
    began = time.monotonic()
    assert "failed" not in systemd.do("started", processes=["worker"])
    assert time.monotonic() - began < 1.9
    assert "failed" not in systemd.do("steady", processes=["worker"])
    assert time.monotonic() - began >= 1.9


def test_a_kind_of_process_is_every_name_of_it_and_no_other_service(systemd: Systemd) -> None:
    for name in (
        "worker@blue",
        "worker-mails@blue",
        "worker-mails@blue-2",
        "worker-big-jobs@blue",
        "worker-mails@green",
    ):
        systemd.unit(f"shop-{name}")
    systemd.unit("shop-worker-api@blue")  # of a service shop-worker
    systemd.unit("shop-worker-scheduler@blue")
    started = systemd.do("started", processes=["worker"], at_boot=True)
    names = ["worker-big-jobs@blue", "worker-mails@blue", "worker-mails@blue-2", "worker@blue"]
    assert sorted(started["units"]) == sorted(f"shop-{name}.service" for name in names)
    assert systemd.do("started", processes=["api", "scheduler"])["units"] == {}
    figures = (systemd.folder / "figures/turnout-units-shop.prom").read_text()
    assert 'name="shop-worker-mails@blue-2.service",service="shop",process="worker-mails",color="blue"} 1' in figures


def test_last_lines_of_a_process_with_a_name_hide_the_values_of_its_own_service(systemd: Systemd) -> None:
    systemd.journal("key k3y-of-the-shop\n")
    for service in ("shop", "shop-worker"):
        place = systemd.folder / f"root/etc/{service}"
        place.mkdir(parents=True)
        (place / "blue.env").write_text('SECRET_KEY="k3y-of-the-shop"\n' if service == "shop" else "")
    systemd.unit("shop-worker-broken@blue")
    said = systemd.do("started", processes=["worker"])["msg"]
    assert "[SECRET_KEY]" in said
    assert "k3y-of-the-shop" not in said


# Timers ---------------------------------------------------------------------------------------------------------------

TIMER = """[Service]
X-Turnout-Drain={drain}
X-Turnout-Timer={{"on_calendar": ["daily"], "persistent": true, "random_delay_s": 0}}
"""


def test_timers_start_and_stop_with_the_scheduler_in_one_color(systemd: Systemd) -> None:
    systemd.unit("shop-scheduler@blue")
    systemd.unit("shop-timer-nightly@blue", TIMER.format(drain=1))
    answer = systemd.do("started", processes=["scheduler"], at_boot=True)
    assert answer["units"]["shop-timer-nightly@blue.timer"]["active"] == "active", answer
    assert systemd.at_boot() == ["shop-scheduler@blue.service", "shop-timer-nightly@blue.timer"]
    laid = systemd.folder / "system/shop-timer-nightly@blue.timer"
    assert "OnCalendar=daily" in laid.read_text()
    figures = (systemd.folder / "figures/turnout-units-shop.prom").read_text()
    assert 'name="shop-timer-nightly@blue.timer",service="shop",process="timer-nightly"' in figures
    assert systemd.do("started", processes=["scheduler"], at_boot=True)["changed"] is False
    assert systemd.do("stopped", processes=["scheduler"])["changed"] is True
    assert (systemd.at_boot(), laid.exists()) == ([], False)
    assert systemd.do("stopped", processes=["scheduler"])["changed"] is False


def test_a_service_of_timers_alone_needs_no_scheduler(systemd: Systemd) -> None:
    systemd.unit("shop-timer-nightly@blue", TIMER.format(drain=1))
    answer = systemd.do("steady", processes=["scheduler"])
    assert list(answer["units"]) == ["shop-timer-nightly@blue.timer"], answer


def test_a_timer_makes_up_for_what_was_due_since_the_other_color_ended(systemd: Systemd) -> None:
    systemd.unit("shop-timer-nightly@blue", TIMER.format(drain=1))
    before = time.time()
    systemd.do("stopped", processes=["scheduler"], color="green")
    time.sleep(0.3)
    systemd.do("started", processes=["scheduler"])
    stamp = systemd.folder / "root/var/lib/systemd/timers/stamp-shop-timer-nightly@blue.timer"
    assert before <= stamp.stat().st_mtime < time.time() - 0.2


def test_a_job_that_runs_at_a_switch_is_let_end_or_told(systemd: Systemd) -> None:
    systemd.unit("shop-timer-nightly@blue", TIMER.format(drain=1))
    systemd.do("started", processes=["scheduler"])
    job = systemd.folder / "units/shop-timer-nightly@blue.service"
    job.write_text(json.dumps({"ActiveState": "activating", "until": time.time() + 0.5, "then": "inactive"}))
    answer = systemd.do("stopped", processes=["scheduler"])
    assert not answer["warnings"], answer
    systemd.do("started", processes=["scheduler"])
    job.write_text(json.dumps({"ActiveState": "activating", "until": 0}))
    answer = systemd.do("stopped", processes=["scheduler"])
    assert "shop-timer-nightly@blue.service still ran 1 s" in answer["warnings"][0]
    assert "stop shop-timer-nightly@blue.service" in "\n".join(systemd.told())


def test_a_timer_that_cannot_be_read_is_told_with_what_mends_it(systemd: Systemd) -> None:
    systemd.unit("shop-timer-nightly@blue")
    answer = systemd.do("started", processes=["scheduler"])
    assert answer["failed"] and "declares no timer that can be read" in answer["msg"] and "to mend" in answer["msg"]


def test_one_kind_that_does_not_start_keeps_no_other_from_it(systemd: Systemd) -> None:
    for name in ("worker-broken@blue", "worker-mails@blue"):
        systemd.unit(f"shop-{name}")
    answer = systemd.do("started", processes=["worker"], at_boot=True)
    assert answer["failed"] and "shop-worker-broken@blue.service did not start" in answer["msg"]
    assert "start shop-worker-mails@blue.service" in " ".join(systemd.told())


def test_all_kinds_finish_at_the_same_time(systemd: Systemd) -> None:
    names = [f"shop-worker-{name}@blue" for name in ("slow", "slow-b", "slow-c")]
    for name in names:
        systemd.runs(name, 60)
    assert systemd.do("stopped", processes=["worker"])["changed"] is True
    told = [line for line in systemd.told() if "stop" in line]
    log = (systemd.folder / "log").read_text().splitlines()
    last_order = max(index for index, line in enumerate(log) if line in told)
    first_reset = min(index for index, line in enumerate(log) if line.startswith("reset-failed"))
    assert len(told) == 3 and last_order < first_reset
