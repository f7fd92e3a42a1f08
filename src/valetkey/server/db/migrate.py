"""Bringing a database to this version's schema, and refusing one from a newer version."""

import functools
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict

_FOLDER = Path(__file__).parent / "migrations"


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


async def migrate(database: Database) -> str:
    """Upgrade to the newest revision; return it. Raises `Conflict` for a database of a newer version."""
    async with database.write() as tx:
        if await tx.run_sync(_revision) != newest():
            await refuse_newer(tx)
            await tx.run_sync(lambda connection: command.upgrade(configuration(connection), "head"))
        return await tx.run_sync(_revision) or ""


async def pending(database: Database) -> list[str]:
    """What keeps the schema from being current; empty when it is."""
    async with database.read() as connection:
        current = await connection.run_sync(_revision)
    return [] if current == newest() else [f"schema is at {current or 'nothing'}, this version needs {newest()}"]


@functools.cache
def newest() -> str | None:
    """The revision this program brings a database to."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


async def refuse_newer(connection: AsyncConnection) -> None:
    """An older program must not touch what a newer one wrote (OP-05)."""
    refuse_unknown(await connection.run_sync(_revision))


def refuse_unknown(current: str | None) -> None:
    """Raise `Conflict` for a revision this program has never heard of."""
    known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    if current is not None and current not in known:
        raise Conflict(
            "This database was written by a newer version of Valetkey.",
            hint="Start that version, or restore a backup this version made.",
        )


def _revision(connection: Any) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
