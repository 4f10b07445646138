"""Which forge it is, from the configuration."""

from __future__ import annotations

from pathlib import Path

from turnout.forge import gitea, github
from turnout.forge.model import Forge


def open_forge(
    kind: str, url: str, repository: str, token: str | None, *, limit_s: float, ca_file: Path | None = None
) -> Forge:
    """Return the forge of `kind` (github or gitea); `limit_s` bounds each request."""
    if kind == "github":
        return github.GitHub(github.client(url, token, limit_s=limit_s, ca_file=ca_file), repository)
    return gitea.Gitea(gitea.client(url, token, limit_s=limit_s, ca_file=ca_file), repository)
