"""The file in which the logins of rotated credentials stand, encrypted by Ansible Vault in the team's repository.

    rotated:
      database: {user: shop_a, password: ...}
      queue: {user: shop_a, password: ..., next: {user: shop_b, password: ...}}

Pure: text in, text out. Service files read `rotated.NAME.user` and `.password`; `next` is a rotation's own, and
`before` the name of the login that was there before the last one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from turnout.faults import Fault

_HEAD = "---\n# Written by `turnout rotate` (docs/rotation.md). Commit it: the next deploy, from anywhere, reads it.\n"


def faults_in(content: object, names: Iterable[str], path: str) -> list[Fault]:
    """Return what is wrong with the file's content, for these credentials; no value is told."""
    rotated = content.get("rotated") if isinstance(content, Mapping) else None
    found = []
    for name in names:
        one = rotated.get(name) if isinstance(rotated, Mapping) else None
        following = one.get("next", {}) if isinstance(one, Mapping) else {}
        if not _login(one) or (following and not _login(following)):
            found.append(
                Fault(
                    f"{path}: rotated.{name}",
                    "no user and password" if not one else "an entry that is not user and password",
                    "the login that is in service",
                    f"ansible-vault edit {path}, and write below rotated: "
                    f"{name}: {{user: the login in service, password: its password}}",
                )
            )
    return found


def _login(one: object) -> bool:
    return isinstance(one, Mapping) and all(isinstance(one.get(key), str) and one[key] for key in ("user", "password"))


def users(one: Mapping[str, Any]) -> list[str]:
    """Return the names of the logins that may be in service by an entry of the file: its own, and the one before."""
    before = one.get("before")
    return [str(one["user"]), *([before] if isinstance(before, str) and before else [])]


def begun(content: Mapping[str, Any], users: Mapping[str, str]) -> str:
    """Return the text with a new password for these logins (by credential) as `next`."""
    rotated = {name: dict(one) for name, one in content["rotated"].items()}
    for name, user in users.items():
        rotated[name]["next"] = {"user": user, "password": secrets.token_hex(24)}
    return _text(content, rotated)


def adopted(content: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the text with the `next` logins of these credentials in the place of the current ones.

    The login that was there before keeps its name: until the release it is what serves, and before the first rotation
    it may be none of the pair.
    """
    rotated = {name: dict(one) for name, one in content["rotated"].items()}
    for name in names:
        rotated[name] = {**rotated[name]["next"], "before": rotated[name]["user"]}
    return _text(content, rotated)


def _text(content: Mapping[str, Any], rotated: Mapping[str, Any]) -> str:
    return _HEAD + yaml.safe_dump({**content, "rotated": rotated}, sort_keys=False, allow_unicode=True)
