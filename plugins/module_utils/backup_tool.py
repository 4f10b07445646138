# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""pgBackRest of this host, run as the system user `postgres`."""

from __future__ import annotations

import json
import subprocess

from ansible_collections.turnout.ops.plugins.module_utils.psql import system_account

LOCKED = 50  # pgBackRest's exit code when another process holds the stanza's lock


class PgBackRestError(Exception):
    """pgBackRest refused; the text says what was seen, what was expected, and the remedy."""


def must(stanza: str, repository: int | None, *words: str, stdin: bytes | None = None) -> bytes:
    """Run pgBackRest; return its output. Raises PgBackRestError with its own words."""
    argv = ["pgbackrest", f"--stanza={stanza}", "--log-level-console=off", "--log-level-stderr=error"]
    if repository is not None:
        argv.append(f"--repo={repository}")
    done = subprocess.run(
        [*argv, *words], input=stdin, capture_output=True, check=False, cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        **system_account("postgres"),  # type: ignore[call-overload]
    )  # fmt: skip
    if done.returncode == LOCKED:
        raise PgBackRestError(
            f"another backup or expiry of stanza {stanza} runs at this moment; expected: one at a time; "
            "to mend: run it again when that one has ended"
        )
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-800:]
        where = "" if repository is None else f" on repository {repository}"
        raise PgBackRestError(
            f"pgbackrest {' '.join(words)}{where} ended with code {done.returncode}: {said or 'it said nothing'}; "
            f"expected: code 0; to mend: see /var/log/pgbackrest and try: "
            f"sudo -u postgres pgbackrest --stanza={stanza} check"
        )
    return bytes(done.stdout)


def put(stanza: str, repository: int, path: str, content: bytes) -> None:
    """Store `content` in the repository at `turnout/PATH`, as it is. Raises PgBackRestError."""
    must(stanza, repository, "--raw", "repo-put", f"turnout/{path}", stdin=content)


def listing(stanza: str, repository: int, path: str) -> dict[str, dict[str, object]]:
    """Return what lies below `turnout/PATH` in the repository: name to {type, size, time}."""
    found: dict[str, dict[str, object]] = json.loads(
        must(stanza, repository, "--output=json", "repo-ls", f"turnout/{path}")
    )
    return {name: entry for name, entry in found.items() if name != "."}
