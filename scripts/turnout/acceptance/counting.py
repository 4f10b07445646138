"""Reads of the candidate what a pack counts: by a request as A, or in its database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import requests

from turnout.acceptance.asking import NOBODY, Asker, Identity
from turnout.acceptance.deliveries import Count
from turnout.acceptance.recipe import VARIABLE, found
from turnout.acceptance.steps import Reading, Request
from turnout.acceptance.world import World
from turnout.errors import TurnoutError

_STATEMENT_MS = 10_000
_CONNECT_S = 10


class UnreadableError(Exception):
    """Raised where a value cannot be read; the text says why, without a secret."""


class Counter:
    """The way to values of the candidate."""

    def __init__(self, world: World, asker: Asker, database: str) -> None:
        self._world = world
        self._asker = asker
        self._database = _connected(database) if database else None

    @property
    def who(self) -> Identity:
        """As whom values are read."""
        return self._world.a or NOBODY

    def request(self, reading: Reading | Count, variables: Mapping[str, Any]) -> requests.PreparedRequest:
        """Return the request that reads a value."""
        return self._asker.prepared(self.who, self._world.request(Request(reading.request), variables))

    def value(self, reading: Reading | Count, variables: Mapping[str, Any]) -> Any:
        """Return a value; raises UnreadableError and SpentError."""
        answer = self._asker.again(self.request(reading, variables))
        if answer.response is None or not answer.accepted:
            raise UnreadableError(f"{reading.request}: {answer.why or f'answered {answer.status}'}")
        try:
            return found(answer.response.json(), reading.at)
        except (LookupError, ValueError):
            raise UnreadableError(f"{reading.request}: no JSON with {reading.at or 'a value'} in it") from None

    def count(self, count: Count, variables: Mapping[str, Any]) -> int:
        """Return a number, or the length of a list; raises UnreadableError and SpentError."""
        value = self._of_sql(count.sql, variables) if count.sql else self.value(count, variables)
        value = len(value) if isinstance(value, list) else value
        if isinstance(value, bool) or not isinstance(value, int):
            raise UnreadableError(f"{count.sql or count.request}: no whole number and no list")
        return value

    def close(self) -> None:
        """Close the connection to the database."""
        if self._database is not None:
            self._database.close()

    def _of_sql(self, sql: str, variables: Mapping[str, Any]) -> Any:
        from psycopg import Error  # noqa: PLC0415 - only where a database is asked

        if self._database is None:
            raise UnreadableError("there is no database: --database-from VARIABLE")
        text = re.sub(rf"\$\{{({VARIABLE})\}}", r"%(\1)s", sql.replace("%", "%%")).replace("$$", "$")
        try:
            row = self._database.execute(text, variables).fetchone()
        except Error as error:
            raise UnreadableError(f"{sql}: {str(error).splitlines()[0]}") from None
        return row[0] if row and len(row) == 1 else None


def _connected(address: str) -> Any:
    from psycopg import Error, connect  # noqa: PLC0415 - only where a database is asked

    try:
        return connect(
            address, autocommit=True, connect_timeout=_CONNECT_S,
            options=f"-c default_transaction_read_only=on -c statement_timeout={_STATEMENT_MS}",
        )  # fmt: skip
    except Error as error:
        # What libpq says of an address that it cannot read may hold parts of it.
        raise TurnoutError(
            "acceptance-database",
            observed=f"the database of --database-from cannot be reached ({type(error).__name__})",
            expected="the address of the candidate's own database, as libpq has it",
            remedy='psql "$VARIABLE" -c "SELECT 1", with the variable of --database-from',
        ) from None
