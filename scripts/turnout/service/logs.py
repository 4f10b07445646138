"""What must not stand in a service's logs, and where else than in the journal they lie."""

from __future__ import annotations

import re
from typing import Any

from turnout.faults import shown
from turnout.keys import Key, Part, Wrong, key
from turnout.service import values
from turnout.service.values import Environment

BUILT_IN = (
    "authorization", "aws-key", "card", "email", "iban", "jwt", "named-secret", "private-key", "url-password",
)  # fmt: skip
"""Patterns that are looked for without being asked for (plugins/module_utils/log_scan.py)."""
_NAME = Key(
    pattern=r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
    expected="a name of lower-case letters, digits and inner hyphens",
    example="member-number",
)


def _expression(text: str) -> str:
    import re2  # noqa: PLC0415 - a service without patterns of its own needs none

    options = re2.Options()
    options.log_errors = False
    try:
        re.compile(text)
        re2.compile(text, options)
    except (re.error, re2.error) as error:
        said = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise Wrong(f"an expression that cannot be read: {said}", remedy="write one that Python and RE2 read") from None
    if re.search(text, ""):
        raise Wrong("an expression that fits an empty line", remedy="say what must stand there")
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise Wrong(shown(text))
    return text


def _canary(text: str) -> str:
    if len(text) < 8 or not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise Wrong("a canary that could stand there by chance", remedy="write one of 8 or more letters and digits")
    return text


class Logs(Part):
    """What `turnout logs scan` looks at and for."""

    files: tuple[str, ...] = key(
        "log files on application hosts, `*` for any part of a name; the journal is always looked at",
        (),
        expected="a list of absolute paths",
        example="[/var/lib/shop/log/*.log]",
        item=Key(check=_path, expected="an absolute path without `..`", example="/var/lib/shop/log/app.log"),
    )
    patterns: dict[str, str] = key(
        "further expressions of what must not be in a log, by name, which RE2 and Python read",
        dict,
        names=_NAME,
        item=Key(check=_expression, expected="a regular expression", example="'M-[0-9]{8}'"),
        example="{member-number: 'M-[0-9]{8}'}",
    )
    ignore: tuple[str, ...] = key(
        "patterns that Turnout brings and that may be there",
        (),
        expected="a list of patterns",
        example="[email]",
        item=Key(choices=BUILT_IN),
    )
    secrets: tuple[str, ...] = key(
        "variables of `environment` whose values are secrets, beside those whose names say so",
        (),
        expected="a list of variables",
        example="[SMTP_LOGIN]",
    )
    canaries: Environment = key(
        "values that were planted where no log should show them (a test user's address, a field of a form), by name",
        Environment,
        names=_NAME,
        item=Key(check=_canary, expected="8 or more letters, digits, dots, dashes", example="canary-4711", hidden=True),
        read=Environment,
        example="{form: canary-4711}",
    )


def secrets_of(variables: Any, more: tuple[str, ...]) -> dict[str, str]:
    """Return what must not be in a log, by what it is called. HOLDS SECRETS.

    Values of variables whose names say that they are secrets, those of `more`, and passwords in addresses.
    """
    found: dict[str, str] = {}
    for name, value in variables.items():
        if name in more or values.secret_name(name):
            found[name] = value
        password = value.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
        if password:
            found[f"{name}'s password"] = password
    return {name: value for name, value in found.items() if len(value) >= SHORTEST_SECRET}


SHORTEST_SECRET = 6
"""Characters: what is shorter stands in every log by chance."""
