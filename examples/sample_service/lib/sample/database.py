"""The connection pool, and how long a statement may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

# What a caller may see when PostgreSQL is away, restarting or overloaded. OperationalError
# includes statement time-outs and lost connections.
UNAVAILABLE = (psycopg.OperationalError, PoolTimeout, OSError)

CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_MS = 10_000


class Database:
    """A small pool of autocommit connections: one statement is one transaction.

    Every write of this service is one statement (with common table expressions where it
    touches several tables), so that it costs one round trip and cannot be half done.
    """

    def __init__(self, dsn: str, *, application: str, size: int) -> None:
        self._pool = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=3.0,
            max_idle=300,
            reconnect_timeout=20,
            open=False,
            kwargs={
                "autocommit": True,
                "application_name": application,
                "connect_timeout": CONNECT_TIMEOUT_S,
                # Beside those of the address, not in their place.
                "options": f"{conninfo_to_dict(dsn).get('options', '')} -c statement_timeout={STATEMENT_TIMEOUT_MS}",
            },
        )

    async def open(self) -> None:
        """Start connecting in the background; PostgreSQL need not be there yet."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close(timeout=2)

    async def row(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...] | None:
        """Run one statement; its first row, or None."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(sql, values)
            return await cursor.fetchone()

    async def rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; all its rows."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(sql, values)
            return await cursor.fetchall()

    async def run(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Run one statement that returns nothing of interest."""
        async with self._pool.connection() as connection:
            await connection.execute(sql, values)
