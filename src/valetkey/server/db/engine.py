"""One database, SQLite or PostgreSQL, seen the same way: `read()` and `write()` give a connection in a transaction.

SQLite: one server process per file (a lock file says so), one writer connection that alone checkpoints, WAL with
synchronous=FULL, readers that cannot write. PostgreSQL: a small pool; every node is the same.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from valetkey.server.db.sqlite_writer import SqliteWriter, writer_of
from valetkey.server.errors import Conflict, Unavailable
from valetkey.server.secret import Secret

SQLITE_BUSY_MILLISECONDS = 5_000


class Database:
    """Opened once per process; `close()` releases the file lock."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, *, lock: int | None = None) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._single_writer = asyncio.Lock() if lock is not None else None
        self._kept: AsyncConnection | None = None
        self.is_sqlite = lock is not None
        self.own_sessions: set[int] = set()  # PostgreSQL's numbers of the connections of this process
        if writer.dialect.name == "postgresql":
            event.listen(writer.sync_engine, "connect", self._session_began)
            event.listen(writer.sync_engine, "close", self._session_ended)

    def _session_began(self, connection: Any, record: Any) -> None:
        record.info["session"] = connection.driver_connection.get_server_pid()
        self.own_sessions.add(record.info["session"])

    def _session_ended(self, _connection: object, record: Any) -> None:
        self.own_sessions.discard(record.info.get("session", 0))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot to read from."""
        with _unavailable():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block, durably, or not at all."""
        if self._single_writer is None:
            with _unavailable():
                async with self._writer.begin() as connection:
                    yield connection
            return
        async with self._single_writer:
            with _unavailable():
                # SQLite's one writer stays out of its pool: taking and returning it costs as much as a small commit.
                # To SQLAlchemy it is one transaction without end; the real ones begin and end here.
                if self._kept is None:
                    self._kept = await self._writer.connect()
                    await self._kept.begin()
                writer = writer_of(self._kept)
                assert writer is not None
                try:
                    await writer.begin()
                    yield self._kept
                    await writer.commit()
                except BaseException:  # cancelled perhaps in the middle of a commit: begin the next one afresh
                    await self._let_go()  # which rolls back
                    raise

    async def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await asyncio.shield(kept.close())

    async def hold(self) -> AsyncConnection:
        """A connection to keep: session locks live as long as it does. The caller closes it."""
        connection = await self._writer.connect()
        return await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        await self._let_go()
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _unavailable:  # noqa: N801 - reads as a clause
    """Turn a database that cannot answer into `Unavailable`: whatever needed it is refused."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError | InterfaceError | PoolTimeout | OSError | sqlite3.OperationalError) or (
            # Without a statement it is connecting that failed: PostgreSQL has many codes for "not now".
            isinstance(error, DBAPIError) and (error.connection_invalidated or error.statement is None)
        ):
            raise Unavailable(detail=f"database: {type(error).__name__}: {error}") from error


def open_sqlite(path: Path) -> Database:
    """Open (or create) the file. Raises `Conflict` when another server process has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_suffix(path.suffix + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Conflict(
            f"Another server process already uses {path.name}.",
            hint="SQLite serves one process. Stop the other one, or use PostgreSQL (VALETKEY_DATABASE_URL).",
        ) from error
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    url = f"sqlite+aiosqlite:///{path}"
    busy_seconds = SQLITE_BUSY_MILLISECONDS / 1000
    writer = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,  # an error's text goes into details; what was to be stored does not belong there
        connect_args={"async_creator_fn": lambda *_, **__: SqliteWriter(path, busy_seconds=busy_seconds)},
    )
    reader = create_async_engine(url, pool_size=4, max_overflow=0, hide_parameters=True)
    event.listen(writer.sync_engine, "connect", _prepare_writer)
    event.listen(reader.sync_engine, "connect", _prepare_reader)
    event.listen(reader.sync_engine, "begin", _begin_deferred)
    return Database(writer, reader, lock=lock)


def open_postgresql(url: Secret, *, connections: int = 10) -> Database:
    """Open a pool. The URL is `postgresql://user:password@host:port/name`.

    A server holds two of the connections for good: the claim on its audit writer, and the one that listens.
    """
    address = make_url(url.reveal()).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(
        address,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=10,
        pool_pre_ping=True,
        # SECURITY: a snapshot taken before waiting for the fence would show the number of before. Whatever the
        # database's default is, each statement sees what was committed when it began.
        # Guarded by tests/faults/test_fence.py::test_the_fence_holds_whatever_isolation_the_database_defaults_to
        isolation_level="READ COMMITTED",
        connect_args={"timeout": 5, "command_timeout": 10, "server_settings": {"application_name": "valetkey"}},
    )
    return Database(engine, engine)


def open_database(url: Secret | None, data: Path) -> Database:
    """PostgreSQL where a URL is given, else SQLite in the data folder."""
    if url is None:
        return open_sqlite(data / "valetkey.db")
    if url.reveal().startswith("sqlite:///"):
        return open_sqlite(Path(url.reveal().removeprefix("sqlite:///")))
    return open_postgresql(url)


def _prepare_writer(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are ours: SqliteWriter.begin
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=1000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("query_only=ON", "wal_autocheckpoint=0", f"busy_timeout={SQLITE_BUSY_MILLISECONDS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_deferred(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")
