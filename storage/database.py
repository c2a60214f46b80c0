"""Connections to PostgreSQL, and its errors translated once into ours."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow, dict_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool, PoolTimeout

AsyncConn = psycopg.AsyncConnection[TupleRow]
Conn = psycopg.Connection[TupleRow]

API_ROLE = "streamgauge_api"
IDENTITY_ROLE = "streamgauge_identity"
SERVICE_ROLE = "streamgauge_service"
SINK_ROLE = "streamgauge_sink"
JOBS_ROLE = "streamgauge_jobs"
"""What a transaction acts as (migration 0016 says what each may). A login needs to be a member of those that its process uses."""

_CHUNK = re.compile(r"\b_hyper_\d+_\d+_chunk")


_OPEN_READ = SQL(
    "begin isolation level repeatable read, read only;"
    " select set_config('role', {}, true), set_config('app.organization', {}, true)"
)

# The lock comes before the snapshot: a statement that only locks takes none.
_OPEN_READ_RAW = SQL(
    "begin isolation level repeatable read, read only; set local role {}; lock table app.archive_gate in access share mode;"
    " select set_config('app.organization', {}, true)"
)

_OPEN_WRITE = SQL("begin; select set_config('role', {}, true), set_config('app.organization', {}, true)")
_OPEN_AS = SQL("begin; select set_config('role', {}, true)")


class StorageUnavailable(Exception):
    """The database cannot be reached or cannot write now; the work can be tried again later."""


class StorageRefused(Exception):
    """The database refused the data itself; trying again gives the same answer."""


class QueryTooSlow(Exception):
    """A read took longer than the limit and was ended."""


class StorageFault(Exception):
    """A statement of ours is wrong: a defect, not a matter of trying again."""


def translate(error: psycopg.Error) -> Exception:
    """The one place that knows what a driver's error means to us."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return QueryTooSlow("the query took too long")
    # A limit of the program, such as an index row's size, is passed by what was sent, not by the database's state.
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError | psycopg.errors.ProgramLimitExceeded):
        # Which chunk of a hypertable refused it is no business of the sender's, and is another one at the next attempt.
        message = _CHUNK.sub("chunk", error.diag.message_primary or str(error))
        return StorageRefused(message.splitlines()[0] if message else "refused by the database")
    if isinstance(error, psycopg.ProgrammingError):
        return StorageFault(f"{type(error).__name__}: {error.diag.message_primary or error}")
    message = (error.diag.message_primary or str(error)).strip()
    if isinstance(error, psycopg.errors.OutOfMemory):
        message += "; raise the server's max_locks_per_transaction (docs/operations.md)"
    return StorageUnavailable(f"{type(error).__name__}: {message}")


@contextmanager
def translated() -> Iterator[None]:
    """Raises our errors in place of the driver's."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error
    except PoolTimeout as error:
        raise StorageUnavailable("no connection to the database became free in time") from error


# Read committed, whatever the database's default is: elsewhere two writers that meet are a serialization failure every time.
_SESSION = r"-c timezone=UTC -c default_transaction_isolation=read\ committed"

WRITER_SILENT_S = 10
"""How long a writer may be silent in the middle of a transaction, while others wait for what it has locked."""
WRITER_BUFFER_BYTES = 8 * 1024 * 1024
"""Of a writer's socket: more than what is copied of a group of 20,000 events."""
LONGEST_WRITE_S = 60
"""How long its whole transaction may take, where the server can end it for that (PostgreSQL 17)."""
_WRITER = (
    f"-c idle_in_transaction_session_timeout={WRITER_SILENT_S}s"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=15000"
)


def connect(url: str, *, name: str, writer: bool = False, role: str | None = None) -> Conn:
    """A blocking connection for a worker's thread, in UTC; `name` shows in pg_stat_activity. Without a `role` it has its login's rights.

    The server ends the transaction of a `writer` that froze or whose machine is gone, so that others need not wait for it.
    """
    options = f"{_SESSION} {_WRITER}" if writer else _SESSION
    with translated():
        connection = psycopg.connect(
            url, autocommit=True, application_name=f"streamgauge {name}", options=options, connect_timeout=10
        )
        if role is not None:
            connection.execute("select set_config('role', %s, false)", (role,), prepare=False)
        if writer:
            _send_at_once(connection)
        if writer and connection.info.server_version >= 170_000:
            # A writer that freezes in a pipeline is not idle for the server, which waits for the pipeline's end.
            connection.execute(
                "select set_config('transaction_timeout', %s, false)", (str(LONGEST_WRITE_S * 1_000),), prepare=False
            )
        return connection


def _send_at_once(connection: Conn) -> None:
    """Lets the kernel take a group's rows in one go, as far as it allows (net.core.wmem_max).

    With the usual buffer the server would wait after every piece of it, until this thread has Python's lock again.
    """
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WRITER_BUFFER_BYTES)


class Database:
    """A pool of connections for the API. Reads act as the API's role and for one organization, or see nothing."""

    def __init__(self, url: str, *, size: int = 8, statement_timeout_s: float = 15.0) -> None:
        self._pool: AsyncConnectionPool[AsyncConn] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=5.0,
            kwargs={
                "autocommit": True,
                "application_name": "streamgauge api",
                "options": f"{_SESSION} -c statement_timeout={int(statement_timeout_s * 1000)}",
                "connect_timeout": 5,
            },
        )
        self.url = url

    async def open(self) -> None:
        """Connects; raises StorageUnavailable where that fails."""
        with translated():
            await self._pool.open(wait=True, timeout=10.0)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def read(self, organization: UUID) -> AsyncIterator[AsyncConn]:
        """One read-only snapshot of one organization's rows, under the API's role."""
        with translated():
            async with self._pool.connection() as connection:
                # One round trip opens the transaction; the pool commits it, or rolls it back after an error.
                await connection.execute(_OPEN_READ.format(API_ROLE, str(organization)), prepare=False)
                yield connection

    @asynccontextmanager
    async def read_raw(self, organization: UUID) -> AsyncIterator[AsyncConn]:
        """The same for who reads raw events, of the archive too: until it ends, none is dropped from the raw tables."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(_OPEN_READ_RAW.format(Identifier(API_ROLE), str(organization)), prepare=False)
                yield connection

    @asynccontextmanager
    async def snapshot(self, organization: UUID, *, statement_s: float, silent_s: float) -> AsyncIterator[AsyncConn]:
        """The same for a read that lasts, over a connection of its own: the pool's are for those that are over soon.

        A statement of it may take `statement_s` seconds; the server ends it where it is not asked anything for `silent_s`, so that the
        snapshot of a process that froze does not keep rows from being vacuumed.
        """
        options = f"{_SESSION} -c statement_timeout={int(statement_s * 1000)}"
        with translated():
            connection = await psycopg.AsyncConnection.connect(
                self.url,
                autocommit=True,
                application_name="streamgauge export",
                options=f"{options} -c idle_in_transaction_session_timeout={int(silent_s * 1000)}",
                connect_timeout=5,
            )
            try:
                await connection.execute(_OPEN_READ.format(API_ROLE, str(organization)), prepare=False)
                yield connection
            finally:
                # Nothing was written, so there is nothing to commit; a statement under way ends with its connection.
                await connection.close()

    @asynccontextmanager
    async def write(self, organization: UUID) -> AsyncIterator[AsyncConn]:
        """A transaction that changes one organization's rows, under the API's role: others it neither sees nor makes."""
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(_OPEN_WRITE.format(API_ROLE, str(organization)), prepare=False)
                yield connection

    def identity(self) -> AbstractAsyncContextManager[AsyncConn]:
        """A transaction that knows people, keys and organizations, of all organizations; it sees no event and no figure."""
        return self._acting(IDENTITY_ROLE)

    def service(self) -> AbstractAsyncContextManager[AsyncConn]:
        """A transaction that knows how far the log, the feed and the jobs are; it sees no event, no figure and no account."""
        return self._acting(SERVICE_ROLE)

    def jobs(self) -> AbstractAsyncContextManager[AsyncConn]:
        """A transaction for housekeeping: it deletes what is over, of all organizations, and reads nobody's account."""
        return self._acting(JOBS_ROLE)

    @asynccontextmanager
    async def _acting(self, role: str) -> AsyncIterator[AsyncConn]:
        with translated():
            async with self._pool.connection() as connection:
                await connection.execute(_OPEN_AS.format(role), prepare=False)
                yield connection

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[AsyncConn]:
        """A transaction with the login's own rights, for whoever looks after a database; no part of the service needs it."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                yield connection

    async def rows(self, organization: UUID, query: Any, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of one query as dictionaries."""
        async with self.read(organization) as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()

    async def ping(self) -> None:
        """Answers, or raises StorageUnavailable."""
        with translated():
            async with self._pool.connection(timeout=2.0) as connection:
                await connection.execute("select 1")
