"""The image of all hosts: Debian with systemd, sshd and the services' packages installed but not enabled.

It is made by mmdebstrap from the machine's own apt sources (no container registry), and named by the hash of
its recipe, so that a changed recipe makes a new image and an unchanged one is never built twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.lab.files import write_private
from turnout.lab.machine import APT_INSTALL
from turnout.lab.podman import Podman

SUITES = ("trixie", "bookworm")
DEFAULT_SUITE = "trixie"
LABEL = "turnout.lab.image"
REPOSITORY = "localhost/turnout-lab"

PACKAGES = (
    # a host
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "python3-apt",
    "sudo",
    "iproute2",
    "iputils-ping",
    "openssh-server",
    "ca-certificates",
    "procps",
    "curl",
    "acl",
    "cron",
    "logrotate",
    "rsync",
    "socat",
    "umoci",
    "zstd",
    # what the roles set up
    "haproxy",
    "mtail",
    "nftables",
    "postgresql",
    "redis-server",
    "pgbackrest",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "prometheus-postgres-exporter",
    "prometheus-redis-exporter",
    "python3-psycopg2",
    # what the sample service imports
    "python3-aiohttp",
    "python3-psycopg",
    "python3-psycopg-pool",
    "python3-redis",
)
_RECIPE = Path(__file__).parent / "recipe"
RECIPE_FILES = ("build.sh", "setup.sh", "customize.sh")
_DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEFAULT_MIRROR = "http://deb.debian.org/debian"
_DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
# The machine's apt settings that decide whether a mirror is reached and believed at all.
_KEPT_APT_OPTION = re.compile(
    r"Acquire::(?:Check-Valid-Until|Check-Date|https?::(?:Proxy(?:::.*)?|CAInfo|Verify-Peer))", re.IGNORECASE
)


@dataclass(frozen=True)
class Mirror:
    """Where Debian's packages come from: base addresses of the archive and of its security updates."""

    archive: str
    security: str


def packages_of(suite: str) -> tuple[str, ...]:
    """Return what is installed in an image of `suite`; raises `TurnoutError` for an unknown one."""
    if suite not in SUITES:
        raise TurnoutError(
            "lab-suite",
            observed=f"there is no recipe for Debian {suite!r}",
            expected=f"one of {', '.join(SUITES)}",
            remedy=f"turnout lab up --suite {DEFAULT_SUITE}",
        )
    return PACKAGES


def recipe_hash(suite: str, files: Mapping[str, str] | None = None) -> str:
    """Return the twelve hex digits that name the recipe: suite, packages and the text of its scripts."""
    texts = files if files is not None else {n: (_RECIPE / n).read_text(encoding="utf-8") for n in RECIPE_FILES}
    digest = hashlib.sha256()
    for part in (
        suite,
        *packages_of(suite),
        *(piece for name in sorted(texts) for piece in (name, texts[name])),
    ):
        digest.update(len(part).to_bytes(8, "big") + part.encode())
    return digest.hexdigest()[:12]


def reference(suite: str) -> str:
    """Return the image's name in podman."""
    return f"{REPOSITORY}:{suite}-{recipe_hash(suite)}"


def ensure(podman: Podman, suite: str, say: Callable[[str], None], *, rebuild: bool = False) -> str:
    """Build the image of `suite` where it is not there yet and return its reference.

    `say` gets a line a step. Raises `TurnoutError` with the last lines of a build that failed.
    """
    image = reference(suite)
    if rebuild and podman.succeeds("image", "exists", image):
        podman.run("untag", image)
    if podman.succeeds("image", "exists", image):
        say(f"image {image} is there")
        return image
    say(f"image {image} is not there: building it (about a minute)")
    _build(podman, suite, image, say)
    return image


def prune(podman: Podman) -> list[str]:
    """Remove images of older recipes that no host uses; returns their names."""
    keep = {reference(suite) for suite in SUITES}
    removed = []
    for entry in podman.json("images", "--filter", f"label={LABEL}", "--format", "json"):
        names = entry.get("Names") or []
        if keep.intersection(names):
            continue
        if podman.succeeds("rmi", entry["Id"]):
            removed.append(names[0] if names else entry["Id"][:12])
    return removed


def _build(podman: Podman, suite: str, image: str, say: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise TurnoutError(
            "lab-programs",
            observed="this machine lacks mmdebstrap",
            expected="the program that makes the image",
            remedy=f"make setup, or: {APT_INSTALL} mmdebstrap",
        )
    if not _DEBIAN_KEYRING.exists():
        raise TurnoutError(
            "lab-keyring",
            observed=f"{_DEBIAN_KEYRING} is not there",
            expected="Debian's archive keys, to verify the packages with",
            remedy=f"{APT_INSTALL} debian-archive-keyring",
        )
    # In files, since a proxy's address may hold a password and a command line is seen by everybody.
    folder = podman.conf.parent
    write_private(folder / "apt.sources", sources_text(suite, _mirror()) + "\n")
    write_private(folder / "apt.options", "\n".join(kept_apt_options(_apt_config_dump())) + "\n")
    variables = {
        "SUITE": suite,
        "IMAGE": image,
        "LABEL": f"{suite}-{recipe_hash(suite)}",
        "PACKAGES": ",".join(packages_of(suite)),
        "SOURCES": str(folder / "apt.sources"),
        "APT_OPTIONS": str(folder / "apt.options"),
        "RECIPE": str(_RECIPE),
        "CONTAINERS_CONF": str(podman.conf),
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    command = [
        *podman.root_prefix,
        "env",
        *(f"{name}={value}" for name, value in variables.items()),
        "sh",
        str(_RECIPE / "build.sh"),
    ]
    tail: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - asked for two lines above
        for line in process.stdout:
            tail.append(line.rstrip())
            if line.strip() and not line.startswith(("I: running --", "sha256:")):
                say(line.removeprefix("I: ").rstrip())
    if process.returncode != 0:
        raise TurnoutError(
            "lab-image",
            observed="building the image failed; its last lines:\n    " + "\n    ".join(tail),
            expected=f"Debian {suite} with all packages of the recipe",
            remedy="mend what the lines above name (a mirror: TURNOUT_LAB_MIRROR=http://deb.debian.org/debian),"
            " then: turnout lab image",
        )


def sources_text(suite: str, mirror: Mirror) -> str:
    """Return the apt sources of `suite` from `mirror`, in the one-line format."""
    option = f"[signed-by={_DEBIAN_KEYRING}]"
    return "\n".join(
        (
            f"deb {option} {mirror.archive} {suite} main",
            f"deb {option} {mirror.archive} {suite}-updates main",
            f"deb {option} {mirror.security} {suite}-security main",
        )
    )


def _mirror() -> Mirror:
    chosen = os.environ.get("TURNOUT_LAB_MIRROR")
    if chosen:
        return Mirror(chosen, os.environ.get("TURNOUT_LAB_SECURITY_MIRROR", _DEFAULT_SECURITY))
    release = _os_release(Path("/etc/os-release"))
    if release.get("ID") != "debian":
        return Mirror(_DEFAULT_MIRROR, _DEFAULT_SECURITY)
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    texts = [path.read_text(encoding="utf-8") for path in files if path.exists()]
    return mirror_in("\n\n".join(texts), release.get("VERSION_CODENAME", "stable"))


def mirror_in(sources: str, codename: str) -> Mirror:
    """Find the machine's own Debian mirror in its apt sources, of either format; else deb.debian.org."""
    archive = security = None
    for suite, uri in _entries(sources):
        if not uri.startswith(("http://", "https://")):
            continue
        if suite in (codename, "stable"):
            archive = archive or uri
        elif suite in (f"{codename}-security", "stable-security"):
            security = security or uri
    return Mirror((archive or _DEFAULT_MIRROR).rstrip("/"), (security or _DEFAULT_SECURITY).rstrip("/"))


def _entries(sources: str) -> list[tuple[str, str]]:
    """Return (suite, address) of every binary source, from one-line entries and deb822 paragraphs alike."""
    found = []
    for paragraph in re.split(r"\n\s*\n", sources):
        lines = [line for line in paragraph.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        fields: dict[str, str] = {}
        for line in lines:
            one_line = re.match(r"deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", line)
            if one_line:
                found.append((one_line.group(2), one_line.group(1)))
            elif ":" in line and not line[0].isspace():
                key, value = line.split(":", 1)
                fields[key.strip().lower()] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            uris = fields.get("uris", "").split()
            found += [(suite, uri) for suite in fields.get("suites", "").split() for uri in uris]
    return found


def kept_apt_options(dump: str) -> list[str]:
    """Return the settings in `apt-config dump` that a mirror may need: proxies, authorities, date checks."""
    lines = (line.strip() for line in dump.splitlines())
    kept = [line for line in lines if _KEPT_APT_OPTION.match(line) and not line.endswith('"";')]
    return [*kept, 'Acquire::Languages "none";']


def _apt_config_dump() -> str:
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
