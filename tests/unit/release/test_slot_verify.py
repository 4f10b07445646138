"""What a laid release would run is read by systemd and looked for, before a color or a schema is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import SlotError
from ansible_collections.turnout.ops.plugins.modules import slot
from turnout.service import load
from turnout.service.layout import Layout
from turnout.service.units import drop_ins

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here to be asked")
ID = "1.0.0-0a1b2c3d4e5f"
TEMPLATE = """[Unit]
Description=shop %p (%i)
[Service]
Type=exec
ExecStart=/bin/false
ExecCondition=+/usr/bin/test ! -e /run/turnout/%n.quiesced
User=shop
EnvironmentFile=/etc/shop/%i.env
MemoryMaxx=1G
"""


class Host:
    """A host with a laid release, and a service file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.release = root / "opt/shop/releases" / ID
        (self.release / "bin").mkdir(parents=True)
        (root / "signers").write_text("")
        (self.release / ".turnout-complete").write_text(json.dumps({"release_id": ID}))
        self.units = root / "etc/systemd/system"
        self.units.mkdir(parents=True)
        for process in ("api", "worker"):
            (self.units / f"shop-{process}@.service").write_text(TEMPLATE)
        self.service: dict[str, Any] = {
            "name": "shop", "releases": {"source": "/releases", "allowed_signers": "signers"},
            "api": {"command": "bin/api --port ${PORT}", "ports": {"blue": 8001, "green": 8002}},
            "workers": {"jobs": {"command": "bin/worker"}},
        }  # fmt: skip
        for name in ("api", "worker"):
            self.program(f"bin/{name}", "#!/bin/sh\n")

    def program(self, name: str, text: str, mode: int = 0o755) -> None:
        path = self.release / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        path.chmod(mode)

    def verify(
        self, layout: Layout | None = None, commands: Any = None, directories: Any = (), **more: Any
    ) -> dict[str, Any]:
        texts = drop_ins(load(self.service, base_dir=self.root), "green", layout)
        texts = {name: text + more.get(name.partition("@")[0], "") for name, text in texts.items()}
        given = {"state": "verified", "service": "shop", "run": "r1", "fence": 1, "release_id": ID, "color": "green",
                 "drop_ins": texts, "commands": commands or {}, "directories": directories,
                 "root": str(self.root), "keep_ids": [], "confirmed": None, "configuration_id": None}  # fmt: skip
        before = sorted(map(str, self.root.rglob("*")))
        try:
            return slot.perform(given, check=False)
        finally:
            assert sorted(map(str, self.root.rglob("*"))) == before

    def refused(self, layout: Layout | None = None, **more: Any) -> str:
        with pytest.raises(SlotError) as caught:
            self.verify(layout, **more)
        assert caught.value.fields["code"] == "unit-refused"
        assert "no migration has run" in caught.value.message()
        return str(caught.value.fields["observed"])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "root")


def test_what_systemd_would_start_passes_and_a_hosts_own_settings_stop_no_release(host: Host) -> None:
    assert host.verify() == {"changed": False, "verified": ["shop-api@green.service", "shop-worker-jobs@green.service"]}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("KillSignal=SIGFOO\n", "ignoring: SIGFOO"),
        ("NoSuch=1\n", "NoSuch"),
        ("TimeoutStartSec=soon\n", "soon"),
        ("Type=notified\n", "notified"),
        ('ExecStart=\nExecStart=/bin/true "a\n', "Unbalanced quoting"),
        ("ExecStart=\nExecStart=/bin/true %Q\n", "%Q"),
    ],
)
def test_what_systemd_refuses_is_told_in_its_own_line_with_the_key(host: Host, line: str, told: str) -> None:
    said = host.refused(**{"shop-worker-jobs": line})
    assert told in said
    assert "/etc/systemd/system/shop-worker-jobs@green.service.d/turnout.conf:" in said
    keys = {
        "KillSignal": "stop_signal", "ExecStart": "command", "TimeoutStartSec": "ready.timeout_s",
        "Type": "ready.notify",
    }  # fmt: skip
    key = keys.get(line.partition("=")[0])
    assert (f"(service.workers.jobs.{key})" if key else "(service.workers.jobs: NoSuch)") in said
    assert "shop-api" not in said


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("bin/none", "there is no program {release}/bin/none on this host (service.api.command)"),
        ("no-such-program --x", "there is no program no-such-program on this host (service.api.command)"),
        ("bin/plain", "bin/plain is not executable on this host"),
        ("bin/old", "begins with #!/usr/bin/python9 -u: there is no /usr/bin/python9 on this host"),
        ("bin/dos", "line ends are those of Windows"),
    ],
)
def test_a_program_that_cannot_be_started_is_told(host: Host, command: str, told: str) -> None:
    host.program("bin/plain", "x", 0o644)
    host.program("bin/old", "#!/usr/bin/python9 -u\n")
    host.program("bin/dos", "#!/bin/sh\r\nexit\r\n")
    host.service["api"]["command"] = command
    said = host.refused()
    assert told.format(release=host.release) in said


@pytest.mark.parametrize("command", ["/bin/sh -c 'exec true'", "sh -c true", "bin/env", "bin/binary"])
def test_programs_of_the_host_scripts_and_binaries_pass(host: Host, command: str) -> None:
    (host.units / "shop-worker-jobs@.service").write_text(TEMPLATE + f"ExecSearchPath={host.release}/bin\n")
    host.service["workers"]["jobs"]["command"] = "worker"
    host.program("bin/env", "#! /usr/bin/env python9\n")  # what env finds is the environment's affair
    host.program("bin/binary", "\x7fELF")
    host.service["api"]["command"] = command
    assert host.verify()["verified"]


def test_an_images_program_is_looked_for_in_the_image_with_its_own_links(host: Host) -> None:
    root = host.release / "rootfs"
    layout = Layout("/app", "/opt/shop/green/rootfs")
    host.program("rootfs/usr/local/bin/python3", "\x7fELF")
    host.program("rootfs/app/serve", "#!/usr/local/bin/python3\n")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/python").symlink_to("/usr/local/bin/python3")
    host.service["api"]["command"] = "./serve"
    host.service["workers"]["jobs"]["command"] = "python -m worker"
    assert host.verify(layout)["verified"]
    host.service["workers"]["jobs"]["command"] = "/bin/bash -c worker"  # the host has one, the image has none
    assert "there is no program /bin/bash in the image (service.workers.jobs.command)" in host.refused(layout)


def test_a_release_that_was_not_laid_because_of_check_mode_is_not_looked_at(host: Host) -> None:
    shutil.rmtree(host.release)
    assert host.verify()["verified"] == []


def test_the_program_of_a_command_of_the_release_is_looked_for_too(host: Host) -> None:
    host.program("bin/manage", "#!/bin/sh\n")
    lines = {"service.commands[0].run": "/opt/shop/green/bin/manage collect"}
    host.verify(commands=lines)
    told = host.refused(commands={**lines, "service.commands[0].undo": "/opt/shop/green/bin/unmanage"})
    assert f"there is no program {host.release}/bin/unmanage on this host (service.commands[0].undo)" in told
    assert ".run" not in told


def test_files_of_the_release_are_not_covered_by_a_directory_that_stays(host: Host) -> None:
    media = {"path": "media", "source": "/var/lib/shop/media", "covers": "/opt/shop/green/media"}
    host.verify(directories=[media, {"path": "/var/lib/shop/x", "source": "/var/lib/shop/x", "covers": ""}])
    (host.release / "media").mkdir()
    (host.release / "media/.gitkeep").touch()
    host.verify(directories=[media])
    for name in "abcd":
        (host.release / "media" / name).touch()
    told = host.refused(directories=[media])
    assert "media of the release has a, b, c ... in it, which it would cover (service.directories)" in told
    shutil.rmtree(host.release / "media")
    (host.release / "media").touch()
    assert "media of the release has a file of that name" in host.refused(directories=[media])


def test_a_time_that_systemd_does_not_know_is_refused_with_its_key(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (host.units / "shop-timer@.service").write_text(TEMPLATE.replace("Type=exec", "Type=oneshot"))
    host.program("bin/report", "#!/bin/sh\n")
    timer = {"command": "bin/report", "on_calendar": ["Mon..Fri 02:30 Europe/Berlin", "daily"]}
    host.service["timers"] = {"nightly": timer}
    assert "shop-timer-nightly@green.service" in host.verify()["verified"]
    timer["on_calendar"] = ["daily", "Mon 25:00"]
    said = host.refused()
    assert "'Mon 25:00'" in said and "(service.timers.nightly.on_calendar)" in said
