"""Secrets of a new repository: drawn, and encrypted as ansible-vault does it, before anything is written to a disk."""

from __future__ import annotations

import base64
import secrets


def draw() -> str:
    """Return a new secret that fits into addresses of databases without quoting."""
    return secrets.token_hex(24)


def draw_key() -> str:
    """Return 32 new random bytes in base64, the form that Laravel's cipher needs and any framework takes."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def encrypt(plain: str, password: str) -> str:
    """Return the content of a file that `ansible-vault` opens with that password."""
    from ansible.parsing.vault import VaultLib, VaultSecret  # noqa: PLC0415 - slow to import, and only needed here

    vault = VaultLib([("default", VaultSecret(password.encode()))])
    return bytes(vault.encrypt(plain)).decode()
