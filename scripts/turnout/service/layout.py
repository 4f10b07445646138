"""Where a laid release runs: on the host's own file system, or with an image's files as its root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Folder of an image's files below the folder of its laid release.
ROOTFS = "rootfs"


@dataclass(frozen=True)
class Layout:
    """How the processes of a laid release see their files.

    `folder` is where they begin and where relative programs are looked for. `root` is what they see as `/`, empty
    where that is the host's own; `folder` counts from there. `environment` is what the release itself brings, which
    the service file overrides.
    """

    folder: str
    root: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, str]:
        """Return what lets a unit see `root` as its root (systemd.exec(5)), empty where it needs nothing."""
        if not self.root:
            return {}
        return {
            "RootDirectory": self.root,
            "MountAPIVFS": "yes",
            "ProtectHome": "no",  # what is below /home there is the image's own
            # The names of hosts, and the servers to ask for them, are this host's and not the image's.
            "BindReadOnlyPaths": "-/etc/hosts -/etc/resolv.conf",
        }

    def as_dict(self) -> dict[str, object]:
        """Return the layout as plain values, as the modules on hosts take it."""
        return {
            "folder": self.folder,
            "root": self.root,
            "properties": self.properties,
            "environment": dict(self.environment),
        }
