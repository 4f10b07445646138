"""Commands that are steps of a release, and directories that both colors share, as a service file declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.filter import service as filters
from service_examples import small
from turnout.faults import Fault, FaultsError
from turnout.inventory_check import check
from turnout.service import Service, load
from turnout.service.layout import Layout
from turnout.service.units import drop_ins

COLLECT = {"name": "collect static files", "run": "bin/manage collectstatic --noinput", "when": "before_start"}

MANIFEST: dict[str, Any] = {
    "manifest": 1, "name": "shop", "version": "1.0.0", "commit": "a" * 40, "built_at": "2026-01-02T03:04:05Z",
    "artifact": {"kind": "tarball", "file": "shop-1.0.0.tar.zst", "sha256": "b" * 64, "bytes": 1, "unpacked_bytes": 1},
    "environment": [], "schema": {"min": 0, "max": 0}, "migrations": [],
}  # fmt: skip
ARTIFACT: dict[str, Any] = {"kind": "oci-archive", "file": "shop-1.0.0.oci.tar.zst"}
IMAGE = {
    **MANIFEST,
    "artifact": {**MANIFEST["artifact"], **ARTIFACT, "image": {"architecture": "amd64", "working_dir": "/app"}},
}


def service(**more: Any) -> Service:
    return load({**small(), **more}, base_dir=Path("/inventory"))


def faults(**more: Any) -> dict[str, Fault]:
    with pytest.raises(FaultsError) as caught:
        service(**more)
    return {fault.path: fault for fault in caught.value.faults}


def test_the_smallest_command_runs_once_within_five_minutes() -> None:
    (command,) = service(commands=[COLLECT]).public()["commands"]
    assert command == {
        **COLLECT, "hosts": "one", "timeout_s": 300, "undo": None, "may_fail": False,
    }  # fmt: skip


@pytest.mark.parametrize("when", ["before_start", "before_traffic", "after_promotion"])
def test_a_command_has_one_of_three_moments(when: str) -> None:
    whole = {**COLLECT, "when": when, "hosts": "every", "timeout_s": 5, "undo": "bin/manage undo ${PORT}"}
    assert service(commands=[{**whole, "may_fail": True}]).commands[0].when == when


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"when": "later"}, "when"),
        ({"when": None}, "when"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"run": "bin/manage x | y"}, "run"),
        ({"run": "bin/manage ${NOBODY}"}, "run"),
        ({"undo": "bin/manage ${NOBODY}"}, "undo"),
        ({"run": "bin/manage ${DATABASE_URL}"}, "run"),
        ({"hosts": "all"}, "hosts"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"may_fail": "no"}, "may_fail"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_command_is_refused_where_it_stands(wrong: dict[str, Any], where: str) -> None:
    found = faults(commands=[{**COLLECT, **wrong}], environment={"DATABASE_URL": "x"})
    assert f"service.commands[0].{where}" in found, found


def test_two_commands_have_two_names() -> None:
    assert "service.commands[1].name" in faults(commands=[COLLECT, COLLECT])


# Directories -----------------------------------------------------------------------------------------------------


def test_a_directory_of_the_release_is_bound_into_every_process_of_both_colors() -> None:
    declared = service(
        directories=[{"path": "media"}, {"path": "public/uploads"}, {"path": "/var/lib/shop/index"}],
        workers={"jobs": {"command": "bin/worker"}},
    )
    for color in ("blue", "green"):
        texts = drop_ins(declared, color)
        assert len(texts) == 2
        for text in texts.values():
            assert [line for line in text.splitlines() if line.startswith("BindPaths=")] == [
                f"BindPaths=/var/lib/shop/media:/opt/shop/{color}/media",
                f"BindPaths=/var/lib/shop/public/uploads:/opt/shop/{color}/public/uploads",
            ]


def test_in_an_image_it_lies_where_the_image_has_it() -> None:
    declared = service(directories=[{"path": "media"}, {"path": "/data"}, {"path": "/var/lib/shop/index"}])
    layout = Layout("/app", "/opt/shop/releases/1/rootfs")
    (text,) = drop_ins(declared, "blue", layout).values()
    assert [line for line in text.splitlines() if line.startswith("BindPaths=")] == [
        "BindPaths=/var/lib/shop/media:/app/media",
        "BindPaths=/var/lib/shop/data:/data",
    ]


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../media", "media/../..", "a b", "a:b", "%i", "/", "media/", "//data", "/etc", "/usr/lib/x",
     "/proc/x", "/dev", "/run/x", "/opt/shop/blue", "/home/x", "/var/lib/shop", "/var/lib/other", "/var/lib", "/home",
     "$HOME", 5],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: object) -> None:
    assert "service.directories[0].path" in faults(directories=[{"path": path}])


@pytest.mark.parametrize(
    ("one", "two"), [("media", "media"), ("media", "media/small"), ("media", "/var/lib/shop/media")]
)
def test_a_directory_is_not_inside_another(one: str, two: str) -> None:
    assert "service.directories[1].path" in faults(directories=[{"path": one}, {"path": two}])


def test_what_keeps_it_the_same_is_one_of_two_words() -> None:
    for word in ("each", "shared_file_system"):
        assert service(directories=[{"path": "media", "hosts": word}]).directories[0].hosts == word
    assert "service.directories[0].hosts" in faults(directories=[{"path": "media", "hosts": "nfs"}])


def test_migrations_see_them_and_may_read_them() -> None:
    told = filters.layout(MANIFEST, "/opt/shop/releases/x", {"name": "shop", "directories": [{"path": "media"}]})
    assert told["properties"] == {"BindReadOnlyPaths": "-/var/lib/shop/media:/opt/shop/releases/x/media"}
    told = filters.layout(IMAGE, "/opt/shop/releases/x", {"name": "shop", "directories": [{"path": "/data"}]})
    assert told["properties"]["BindReadOnlyPaths"].split() == [
        "-/etc/hosts", "-/etc/resolv.conf", "-/var/lib/shop/data:/data",
    ]  # fmt: skip
    assert filters.layout(MANIFEST, "/x") == filters.layout(MANIFEST, "/x", {"name": "shop", "directories": []})


def test_where_a_directory_lies_is_seen_and_covers() -> None:
    declared = {"name": "shop", "directories": [{"path": "media"}, {"path": "/var/lib/shop/index"}]}
    lies, index = "/var/lib/shop/media", "/var/lib/shop/index"
    seen = "/opt/shop/blue/media"
    assert filters.shared(declared, MANIFEST, "/opt/shop/blue") == [
        {"path": "media", "source": lies, "seen": seen, "covers": seen},
        {"path": index, "source": index, "seen": index, "covers": ""},
    ]
    assert filters.shared(declared, IMAGE, "/opt/shop/blue")[0] == {
        "path": "media", "source": lies, "seen": "/app/media", "covers": "/opt/shop/blue/rootfs/app/media",
    }  # fmt: skip


def test_commands_are_as_units_have_them() -> None:
    declared = {"commands": [{**COLLECT, "undo": "bin/forget ${PORT}"}, {"run": "psql -c x", "undo": None}]}
    assert filters.command_lines(declared, "/opt/shop/blue", MANIFEST) == {
        "service.commands[0].run": "/opt/shop/blue/bin/manage collectstatic --noinput",
        "service.commands[0].undo": "/opt/shop/blue/bin/forget ${PORT}",
        "service.commands[1].run": "psql -c x",
    }


ADDRESSES = {name: {"ansible_host": f"10.0.0.{at}"} for at, name in enumerate(("edge1", "app1", "app2"), 1)}


def test_on_two_hosts_it_must_be_said_what_keeps_a_directory_the_same() -> None:
    two = {"edge": ["edge1"], "api": ["app1"], "worker": ["app2"]}
    (fault,) = check(
        two, ADDRESSES, service(directories=[{"path": "media"}], workers={"jobs": {"command": "bin/worker"}})
    )
    assert fault.path == "service.directories[0].hosts"
    assert "app1, app2" in fault.observed
    for text in ("shared_file_system", "/var/lib/shop/media", "S3", "each"):
        assert text in f"{fault.expected} {fault.remedy}"
    for word in ("each", "shared_file_system"):
        assert check(two, ADDRESSES, service(directories=[{"path": "media", "hosts": word}])) == []
    one = {"edge": ["edge1"], "api": ["app1"], "worker": ["app1"]}
    assert check(one, ADDRESSES, service(directories=[{"path": "media"}])) == []
