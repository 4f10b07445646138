"""Releases that are images: into service over files and back, drilled, rehearsed. podman makes them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from drill_bed import make_bed
from harness import APPS, Turnout
from turnout.lab.topology import host_named

FOLDER = "srv/sample"
# What the sample needs of a Debian, taken from a host of the lab: an image of 200 MB, and no registry.
NEEDED = "bin sbin lib lib64 etc/ld.so.cache usr/sbin/ldconfig usr/bin/python3* usr/bin/env usr/bin/dash usr/bin/sh usr/lib/python3 usr/lib/python3.* usr/lib/*-linux-gnu usr/lib64 etc/ssl"  # noqa: E501
LEFT_OUT = ("libLLVM*", "libperl*", "libz3*", "systemd", "perl*", "libicu*")


def publish_image(turnout: Turnout, version: str, folder: Path) -> None:
    """Make an image of the sample with podman, and publish it as a release."""
    source, _ = turnout.source_of(version)
    root, archive = folder / "root.tar", folder / f"{version}.tar"
    container = turnout.lab.container(host_named("app1"))
    without = " ".join(f"--exclude='{name}'" for name in LEFT_OUT)
    with root.open("wb") as stream:
        words = ["podman", "exec", container, "sh", "-c", f"cd / && tar -c {without} {NEEDED}"]
        subprocess.run(words, stdout=stream, check=True)
    # Its files belong to a user of the image, as they often do.
    append = ["tar", "-rf", str(root), "--owner=1000", "--group=1000", f"--transform=s,^\\.,{FOLDER},"]
    subprocess.run([*append, "-C", str(source), "."], check=True)
    image = f"localhost/turnout-test-sample:{version}"
    told = ("--change", f"WORKDIR /{FOLDER}", "--change", "ENV GREETING=hello")
    try:
        subprocess.run(["podman", "import", "--quiet", *told, str(root), image], check=True, capture_output=True)
        save = ["podman", "save", "--quiet", "--format", "oci-archive", "--output", str(archive), image]
        subprocess.run(save, check=True, capture_output=True)
    finally:
        subprocess.run(["podman", "rmi", image], check=False, capture_output=True)
    turnout.publish(version, options=("--image-archive", str(archive)))


@pytest.fixture(scope="module")
def images(turnout: Turnout, tmp_path_factory: pytest.TempPathFactory) -> Turnout:
    """Return the lab with 1.0.0, files, in service, and two images in the store."""
    turnout.ensure("1.0.0")
    for version in ("1.1.71", "1.1.72"):
        if version not in turnout.published():
            publish_image(turnout, version, tmp_path_factory.mktemp("image"))
    return turnout


def in_its_root(turnout: Turnout, host: str, unit: str) -> str:
    """Return what a process of a unit sees at its root, and its environment's names and values."""
    pid = turnout.ssh(host, f"systemctl show --value --property=MainPID {unit}").strip()
    return turnout.ssh(host, f"ls /proc/{pid}/root/{FOLDER}/bin; tr '\\0' '\\n' < /proc/{pid}/environ")


def test_an_image_goes_into_service_over_files_and_back(images: Turnout) -> None:
    turnout = images
    with turnout.load(rate=40, new_connections="0.3") as load:
        run = turnout.deploy("1.1.71")
        assert run.rc == 0, run.tail
        assert turnout.in_service() == "1.1.71"
        color = turnout.edge("edge1")["stable"]
        for host in APPS:
            for process in ("api", "worker-jobs"):
                seen = in_its_root(turnout, host, f"sample-{process}@{color}.service").split()
                assert process.partition("-")[0] in seen
                assert "GREETING=hello" in seen
                assert "TURNOUT_RELEASE=1.1.71" in seen
        # The folder of the image is nothing on the host, and no file in it belongs to a user of the host.
        owners = f"! -e /{FOLDER} && find /opt/sample/{color}/rootfs ! -user root | wc -l"
        assert turnout.ssh("app1", f"test {owners}").strip() == "0"
        # Again: nothing to do.
        run = turnout.deploy("1.1.71")
        assert run.rc == 0, run.tail
        run = turnout.rollback()
        assert run.rc == 0, run.tail
        assert turnout.in_service() == "1.0.0"
    assert load.report["failed"] == 0, load.report


def test_an_image_is_drilled_and_rehearsed_as_files_are(images: Turnout) -> None:
    """The drill starts the image's own API and worker on restored data; a rehearsal runs its commands and the API."""
    turnout = images
    turnout.ensure("1.1.71")
    assert turnout.in_service() == "1.1.71"  # what a drill starts
    make_bed(turnout)
    run = turnout.playbook("restore_drill")
    assert run.rc == 0, run.tail
    for check in ("smoke", "worker"):
        assert re.search(rf"check {check} +pass", run.out), run.tail
    run = turnout.playbook("migration_check", "-e", "release=1.1.72")
    assert run.rc == 0, run.tail
    assert "up took" in run.out, run.tail
    turnout.ensure("1.0.0")
