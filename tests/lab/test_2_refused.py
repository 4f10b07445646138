"""Releases that must not happen: each ends with a reason and an exit code, nothing changed and no request failed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import ROOT, SOON, Turnout, refused

SERVICE_FILE = ROOT / "inventories" / "lab" / "group_vars" / "all" / "service.yml"


def artifact(turnout: Turnout, version: str) -> Path:
    return Path(turnout.source) / f"sample-{version}.tar.zst"


@pytest.fixture
def other_key(turnout: Turnout, tmp_path: Path) -> Path:
    """Return a signing key that the lab does not trust."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


# --- what the controller finds by itself ---------------------------------------------------------------------------


def test_unknown_release(untouched: Turnout) -> None:
    refused(untouched.deploy("9.9.9"), "release-unknown", "9.9.9", "1.1.0")


def test_no_release_named(untouched: Turnout) -> None:
    refused(untouched.playbook("deploy"), "-e release=")


def test_wrong_checksum(untouched: Turnout) -> None:
    untouched.publish("2.0.1")
    file = artifact(untouched, "2.0.1")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    refused(untouched.deploy("2.0.1"), "artifact-wrong", "sha256")


def test_truncated_artifact(untouched: Turnout) -> None:
    untouched.publish("2.0.2")
    file = artifact(untouched, "2.0.2")
    file.write_bytes(file.read_bytes()[:-1000])
    refused(untouched.deploy("2.0.2"), "bytes")


def test_missing_signature(untouched: Turnout) -> None:
    untouched.publish("2.0.3")
    (Path(untouched.source) / "sample-2.0.3.release.yml.sig").unlink()
    refused(untouched.deploy("2.0.3"), "signature")


def test_signature_of_a_key_that_is_not_trusted(untouched: Turnout, other_key: Path) -> None:
    manifest = untouched.build("2.0.4", options=("--key", str(other_key)))
    untouched.turnout("release", "publish", str(manifest), "--to", untouched.source)
    refused(untouched.deploy("2.0.4"), "sign")


def test_manifest_changed_after_it_was_signed(untouched: Turnout) -> None:
    untouched.publish("2.0.5")
    manifest = Path(untouched.source) / "sample-2.0.5.release.yml"
    manifest.write_text(manifest.read_text().replace("TASK_REMINDER_HOUR", "TASK_REMINDER_HOURS"))
    refused(untouched.deploy("2.0.5"), "signature")


def test_missing_environment_key(untouched: Turnout) -> None:
    untouched.publish("2.0.6", options=("--env-key", "PUSH_TOKEN"))
    refused(untouched.deploy("2.0.6"), "PUSH_TOKEN", "service.environment")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"api": {"ports": {"blue": "eight", "green": 8002}}}, ["service.api.ports.blue", "whole number"]),
        ({"api": {"ports": {"blue": 8002, "green": 8002}}}, ["service.api.ports"]),
        # A cell of the table, on two lines.
        ({"worker": {"command": "bin/worker"}}, ["service.worker", "workers: {jobs: {command:", "bin/worker}}"]),
        ({"releases": None}, ["service.releases"]),
        ({"steps": [{"share_bp": 5000}, {"share_bp": 2500}]}, ["service.steps"]),
        ({"name": "Sample Service"}, ["service.name"]),
    ],
    ids=["wrong type", "port clash", "unknown key", "missing key", "steps that do not grow", "bad name"],
)
def test_malformed_service_file(
    untouched: Turnout, tmp_path: Path, change: dict[str, object], words: list[str]
) -> None:
    service = yaml.safe_load(SERVICE_FILE.read_text())["service"]
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(service.get(key), dict):
            service[key] = {**service[key], **value}
        else:
            service[key] = value
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"service": service}))
    refused(untouched.deploy("1.1.0", "-e", f"@{file}"), "service-invalid", *words)


# --- what hosts and edges say before anything is touched --------------------------------------------------------------


def test_port_taken(untouched: Turnout) -> None:
    # The metrics port of the idle color's worker: its API's port is held by the release that stays warm.
    port = {"blue": 9102, "green": 9101}[untouched.edge("edge1")["stable"]]
    untouched.ssh("app2", f"systemd-run --unit=squatter --collect python3 -m http.server {port}")
    try:
        refused(untouched.deploy("1.1.0"), "app2", str(port), "squatter")
    finally:
        untouched.ssh("app2", "systemctl stop squatter")


@pytest.fixture
def small_disk(untouched: Turnout) -> Iterator[None]:
    """Give app2 a disk for releases that holds what is laid already, and has no room for one release more."""
    place, disk = "/opt/sample/releases", "/run/small-disk"
    untouched.ssh(
        "app2",
        f"mkdir -p {disk} && mount -t tmpfs -o size=200m tmpfs {disk} && cp -a {place}/. {disk}/ &&"
        f" fallocate -l $(($(df --output=avail -B1 {disk} | tail -1) - 65536)) {disk}/.filler &&"
        f" mount --bind {disk} {place}",
    )
    yield
    untouched.ssh("app2", f"umount {place} && umount {disk} && rmdir {disk}")


@pytest.mark.usefixtures("small_disk")
def test_disk_full_on_one_host(untouched: Turnout) -> None:
    untouched.publish("2.0.7")  # laid nowhere yet
    refused(untouched.deploy("2.0.7"), "app2", "MB free")


@pytest.mark.usefixtures("small_disk")
def test_disk_that_fills_while_the_release_is_laid(untouched: Turnout) -> None:
    untouched.publish("2.0.7")
    run = untouched.deploy("2.0.7", "-e", "preflight_disk_reserve_bytes=-10000000000")
    refused(run, "app2", "disk")


def test_unreachable_host(untouched: Turnout) -> None:
    untouched.ssh(
        "app2", "systemctl stop ssh.socket ssh.service; pkill -f '^sshd(-session)?: root' || true", check=False
    )
    try:
        refused(untouched.deploy("1.1.0"), "app2", "could not be reached")
    finally:
        subprocess.run(["podman", "exec", f"{untouched.lab.name}-app2", "systemctl", "start", "ssh"], check=True)


# --- what the candidate itself does wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "fault", "words"),
    [
        # crash-at-start: test_1_release.py has it, since the way back must stay as warm as it was.
        ("3.0.2", "never-healthy", ["/api/health/", "503"]),
        ("3.0.3", "unhealthy-on=app2", ["app2", "/api/health/"]),
        ("3.0.4", "failing-migration", ["bin/migrate up"]),
        ("3.0.5", "incompatible-migration", ["contract", "1.0.0"]),
        ("3.0.6", "bad-smoke", ["/api/tasks/"]),
    ],
)
def test_a_candidate_with_a_fault(untouched: Turnout, version: str, fault: str, words: list[str]) -> None:
    untouched.publish(version, fault)
    refused(untouched.deploy(version, *untouched.with_service(api=SOON)), *words)


# --- other people ----------------------------------------------------------------------------------------------------


def test_deploy_while_the_locks_holder_is_dead(untouched: Turnout) -> None:
    for edge in ("edge1", "edge2"):
        untouched.ssh(edge, "turnout-edge lock take --run dead --owner ann@laptop --purpose deploy --ttl-s 600")
    try:
        refused(untouched.deploy("1.1.0"), "ann@laptop", "ansible-playbook turnout.ops.unlock")
        run = untouched.playbook("unlock")
        assert run.rc != 0, "a fresh lock must not be given away without a word"
    finally:
        run = untouched.playbook("unlock", "-e", "break_glass=its holder is gone")
    assert run.rc == 0, run.tail
