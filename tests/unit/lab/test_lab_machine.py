"""What is chosen on which machine, and what podman is told."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.errors import TurnoutError
from turnout.lab import machine
from turnout.lab.machine import Machine, choose, containers_conf, parse_version

LAPTOP = Machine(
    user_id=1000,
    sudo=True,
    cgroups="v2",
    first_process="systemd",
    runtimes=frozenset({"crun", "runc"}),
    netavark=True,
    podman=(5, 4, 2),
    nofile_hard=1048576,
    nproc_hard=None,
    memory_controller=True,
    inotify_instances=8192,
)
BUILD_MACHINE = replace(
    LAPTOP,
    user_id=0,
    sudo=False,
    cgroups="hybrid",
    first_process="sh",
    podman=(4, 3, 1),
    nofile_hard=20000,
    nproc_hard=96365,
)


def test_a_usual_machine_gets_crun_the_systemd_manager_and_sudo() -> None:
    chosen = choose(LAPTOP)
    assert (chosen.runtime, chosen.cgroup_manager, chosen.with_sudo) == ("crun", "systemd", True)


def test_old_cgroups_without_systemd_get_runc_and_cgroupfs() -> None:
    chosen = choose(BUILD_MACHINE)
    assert (chosen.runtime, chosen.cgroup_manager, chosen.with_sudo) == ("runc", "cgroupfs", False)


def test_new_cgroups_without_systemd_as_first_process_get_cgroupfs() -> None:
    assert choose(replace(LAPTOP, first_process="tini")).cgroup_manager == "cgroupfs"


def test_runc_does_where_crun_is_missing() -> None:
    assert choose(replace(LAPTOP, runtimes=frozenset({"runc"}))).runtime == "runc"


def test_limits_stay_within_the_hard_limits_of_the_machine() -> None:
    chosen = choose(BUILD_MACHINE)
    assert (chosen.nofile, chosen.nproc) == (20000, machine.MOST_PROCESSES)
    assert choose(LAPTOP).nofile == machine.MOST_FILES


@pytest.mark.parametrize(
    ("lacking", "code", "remedy"),
    [
        ({"podman": None}, "lab-programs", "podman"),
        ({"netavark": False}, "lab-programs", "netavark"),
        ({"runtimes": frozenset()}, "lab-programs", "runc"),
        ({"podman": (3, 4, 4)}, "lab-podman-old", "newer"),
        ({"sudo": False}, "lab-needs-root", "root"),
        ({"nofile_hard": 4096}, "lab-file-limit", "prlimit"),
        ({"cgroups": "v1", "runtimes": frozenset({"crun"})}, "lab-runtime", "runc"),
    ],
)
def test_what_is_missing_is_named_with_what_mends_it(lacking: dict[str, object], code: str, remedy: str) -> None:
    with pytest.raises(TurnoutError) as caught:
        choose(replace(LAPTOP, **lacking))  # type: ignore[arg-type]
    assert caught.value.code == code
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(("allowed", "raised"), [(128, True), (1024, False), (None, False)])
def test_too_few_inotify_instances_are_raised(allowed: int | None, raised: bool) -> None:
    assert choose(replace(LAPTOP, inotify_instances=allowed)).raise_inotify is raised


def test_the_configuration_says_what_was_chosen() -> None:
    told = tomllib.loads(containers_conf(choose(BUILD_MACHINE)))
    assert told["engine"]["runtime"] == "runc"
    assert told["engine"]["cgroup_manager"] == "cgroupfs"
    assert told["containers"]["default_ulimits"] == ["nofile=20000:20000", "nproc=30000:30000"]
    assert told["network"]["network_backend"] == "netavark"


def test_the_choice_is_shown_with_its_grounds() -> None:
    text = "\n".join(choose(BUILD_MACHINE).lines(BUILD_MACHINE))
    for word in ("4.3.1", "runc", "hybrid", "cgroupfs", "20000", "96365"):
        assert word in text


@given(
    nofile=st.none() | st.integers(1, 2**31),
    nproc=st.none() | st.integers(1, 2**31),
    cgroups=st.sampled_from(["v1", "v2", "hybrid"]),
    runtimes=st.sampled_from([{"crun"}, {"runc"}, {"crun", "runc"}]),
)
def test_whatever_the_machine_the_choice_fits_it_or_names_what_is_missing(
    nofile: int | None, nproc: int | None, cgroups: str, runtimes: set[str]
) -> None:
    seen = replace(LAPTOP, nofile_hard=nofile, nproc_hard=nproc, cgroups=cgroups, runtimes=frozenset(runtimes))
    try:
        chosen = choose(seen)
    except TurnoutError as error:
        assert error.code in ("lab-file-limit", "lab-runtime")
        return
    assert chosen.runtime in runtimes
    assert machine.LEAST_FILES <= chosen.nofile <= (nofile or machine.MOST_FILES)
    assert chosen.nproc <= (nproc or machine.MOST_PROCESSES)
    assert chosen.runtime == "runc" or cgroups == "v2"


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "hybrid"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", "v1"),
    ],
)
def test_the_kind_of_cgroups_is_read_from_the_mounts(mounts: str, kind: str) -> None:
    assert machine.cgroups_in(mounts) == kind


@pytest.mark.parametrize(
    ("answer", "version"),
    [("podman version 4.3.1", (4, 3, 1)), ("podman version 5.4.2-dev\n", (5, 4, 2)), ("", None), ("x", None)],
)
def test_a_version_is_read_from_a_programs_answer(answer: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(answer) == version
