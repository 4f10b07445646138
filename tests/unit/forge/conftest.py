"""The server that stands for a forge, one for each test."""

from __future__ import annotations

from forge_server import forge

__all__ = ["forge"]
