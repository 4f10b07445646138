"""An application that others wrote, as an image, by docs/release.md ("Images"): Distribution, Debian's docker-registry.

A server in Go that keeps blobs in files. Its image is made of Debian's packages, with podman and without a registry.
The tests with `released` run without the lab; those with `images` release it there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from foreign_bed import HOSTS, Team, own_hosts, run
from harness import refused

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from ports import free_port

BIN = Path(sys.executable).parent
PACKAGES = ("docker-registry", "libc6", "busybox-static")
WORKDIR = "srv/images"
DATA = "/var/lib/images/blobs"
CONFIG: dict[str, Any] = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": DATA}, "delete": {"enabled": True}},
    # Without it SIGTERM ends the server with the requests at hand.
    "http": {"draintimeout": "30s", "headers": {}},
}
COMMAND = f"/usr/bin/env REGISTRY_HTTP_ADDR=0.0.0.0:${{PORT}} /usr/bin/docker-registry serve /{WORKDIR}/config.yml"
NAMES = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
RATE, HISTORY_S = 15.0, 10
MIX = "get:/v2/=4,get:/v2/_catalog=2"


def packages(place: Path) -> Path:
    """Return a folder in which Debian's packages are unpacked."""
    root, debs = place / "root", place / "debs"
    debs.mkdir(parents=True)
    run(["apt-get", "download", "-q", *PACKAGES], cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, root])
    for name in ("usr/bin/env", "bin/sh"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to("/bin/busybox")
    return root


def image(root: Path, place: Path, version: str, files: Mapping[str, str]) -> Path:
    """Make an image of the folder and the team's own files; return its archive."""
    tar, archive = place / "root.tar", place / f"{version}.tar"
    for name, text in files.items():
        path = root / WORKDIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # Its files belong to a user of the image, as they often do.
    run(["tar", "-cf", tar, "--owner=1000", "--group=1000", "-C", root, "."])
    name = f"localhost/turnout-test-images:{version}"
    told = ("--change", f"WORKDIR /{WORKDIR}", "--change", "ENV OTEL_TRACES_EXPORTER=none")
    try:
        run(["podman", "import", "--quiet", *told, tar, name])
        run(["podman", "save", "--quiet", "--format", "oci-archive", "--output", archive, name])
    finally:
        subprocess.run(["podman", "rmi", name], check=False, capture_output=True)
        tar.unlink()
    return archive


def config(version: str, **http: Any) -> dict[str, str]:
    """Return the team's file, whose answers name the release."""
    told = {"headers": {"X-Release": [version]}}
    return {"config.yml": yaml.safe_dump({**CONFIG, "http": {**CONFIG["http"], **told, **http}})}


# Without the lab ----------------------------------------------------------------------------------------------------


class Released:
    """A release of an image, unpacked as a host unpacks it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        archive = image(packages(place), place, "1.0.0", config("1.0.0"))
        source, out, key = place / "source", place / "dist", place / "release.key"
        source.mkdir()
        (source / "README").write_text("What the image is made from.\n")
        for line in (("init", "-q"), ("add", "."), ("commit", "-qm", "1.0.0")):
            run(["git", "-C", source, *line], env={**os.environ, **NAMES})
        signers = place / "allowed_signers"
        run([
            BIN / "turnout", "release", "keygen", "--key", key, "--principal", "ci@example.org",
            "--allowed-signers", signers,
        ])  # fmt: skip
        words = ("--name", "images", "--version", "1.0.0", "--key", key, "--out", out, "--image-archive", archive)
        run([BIN / "turnout", "release", "build", source, *words])
        self.manifest: dict[str, Any] = yaml.safe_load((out / "images-1.0.0.release.yml").read_text())
        layout, bundle = place / "layout", place / "bundle"
        layout.mkdir()
        run(["tar", "-xf", out / self.manifest["artifact"]["file"], "-C", layout])
        (tag,) = run(["umoci", "ls", "--layout", layout]).split()
        run(["umoci", "unpack", "--image", f"{layout}:{tag}", bundle])
        self.rootfs = bundle / "rootfs"
        (self.rootfs / DATA.lstrip("/")).mkdir(parents=True)

    def start(self, port: int) -> subprocess.Popen[bytes]:
        """Start the API as the service file has it, with the image's files as its root."""
        words = COMMAND.replace("${PORT}", str(port)).split()
        environment = self.manifest["artifact"]["image"]["environment"]
        return subprocess.Popen(["/usr/sbin/chroot", self.rootfs, *words], env=environment)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Return a release of the image."""
    return Released(tmp_path_factory.mktemp("image"))


def test_its_release_says_what_the_image_says(released: Released) -> None:
    said = released.manifest["artifact"]
    assert said["kind"] == "oci-archive"
    assert said["image"]["working_dir"] == f"/{WORKDIR}"
    assert said["image"]["environment"]["OTEL_TRACES_EXPORTER"] == "none"
    assert (released.rootfs / WORKDIR / "config.yml").is_file()


def test_a_request_at_hand_is_answered_when_the_api_is_told_to_end(released: Released) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    begun, codes = threading.Event(), list[int]()

    def body() -> Iterator[bytes]:
        for _ in range(6):
            yield b"x" * 1000
            begun.set()
            time.sleep(0.5)

    with released.start(port) as process:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                assert process.poll() is None
                try:
                    answer = requests.get(f"{url}/v2/", timeout=5)
                    break
                except requests.ConnectionError:
                    time.sleep(0.2)
            assert (answer.status_code, answer.headers["X-Release"]) == (200, "1.0.0")
            place = requests.post(f"{url}/v2/shop/blobs/uploads/", timeout=60).headers["Location"]
            headers = {"Content-Type": "application/octet-stream"}
            sends = threading.Thread(
                target=lambda: codes.append(requests.patch(place, data=body(), headers=headers, timeout=60).status_code)
            )
            sends.start()
            assert begun.wait(60)
            process.terminate()
            assert process.wait(timeout=40) in (0, -15)
            sends.join()
            assert codes == [202]
        finally:
            process.kill()


# On the lab ---------------------------------------------------------------------------------------------------------


class Images(Team):
    """The image's team."""

    def __init__(self, machines: Any, place: Path) -> None:
        super().__init__(machines, place, "images")
        self.root, self.source = packages(place), place / "source"
        hosts = {group: HOSTS[group] for group in ("edge", "api", "monitoring")}
        self.begin("", "--api-command", COMMAND, "--health", "/v2/", hosts=hosts)
        # Blobs differ by host here, and nobody reads another's; with a bucket there is no such directory.
        self.change_service(directories=[{"path": DATA, "hosts": "each"}])
        self.source.mkdir()
        (self.source / "turnout-release.yml").write_text("name: images\n")

    def release(self, version: str, files: Mapping[str, str]) -> None:
        """Make an image with these files of the team's own, and publish it as a release."""
        archive = image(self.root, self.place, version, files)
        self.publish(self.source, version, "--image-archive", str(archive))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Return the image's team with hosts that are set up, and 1.0.0 in service."""
    place = tmp_path_factory.mktemp("images")
    with own_hosts("image", place, nth=5) as machines:
        team = Images(machines, place)
        team.release("1.0.0", config("1.0.0"))
        team.first_release("1.0.0")
        yield team


def test_it_is_released_under_load_and_taken_back_by_hand(images: Images) -> None:
    team = images
    team.release("1.1.0", config("1.1.0"))
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        run = team.deploy("1.1.0")
        assert "api-availability" in run.out
        assert team.stable()["release"] == "1.1.0"
        team.playbook("rollback")
        assert team.stable()["release"] == "1.0.0"
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    assert set(report["releases"]) == {"1.0.0", "1.1.0"}


def test_a_release_that_does_not_start_goes_back_by_itself_and_costs_no_request(images: Images) -> None:
    team = images
    team.release("1.2.0", {"config.yml": "version: 0.1\n"})
    before = team.stable()
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        refused(team.deploy("1.2.0", good=False), "images-api")
        assert team.stable() == before
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    assert set(report["releases"]) == {before["release"]}


def test_a_bad_variable_goes_back_by_itself_and_costs_no_request(images: Images) -> None:
    team = images
    before = team.stable()
    team.change_service(environment={"REGISTRY_HTTP_PREFIX": "/elsewhere/"})  # so that the question finds nothing
    try:
        with team.load(RATE, MIX, host="localhost") as load:
            time.sleep(HISTORY_S)
            run = team.deploy(before["release"], good=False)
            refused(run, "health")
            assert "differs in: environment.REGISTRY_HTTP_PREFIX" in run.out
            assert team.stable() == before
            time.sleep(2)
    finally:
        team.change_service(environment={"REGISTRY_HTTP_PREFIX": None})
    assert load.report["failed"] == 0, (load.report["failures"], load.report["samples"])
