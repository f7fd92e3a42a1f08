"""All migrations together are the schema, on both databases; what a newer version wrote is not touched (OP-05)."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from valetkey.server.db import admin
from valetkey.server.db.engine import open_database
from valetkey.server.db.migrate import configuration, migrate, pending
from valetkey.server.db.one_way import refuse_downgrade
from valetkey.server.db.schema import metadata
from valetkey.server.errors import Conflict
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


pytestmark = pytest.mark.without_tables


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None) -> Settings:
    return Settings(data=tmp_path / "data", database_url=None if database_url is None else Secret(database_url))


async def test_all_migrations_equal_the_schema(settings: Settings) -> None:
    revision = await asyncio.to_thread(admin.migrate, settings)
    database = open_database(settings.database_url, settings.data)
    try:
        async with database.write() as tx:
            assert await tx.run_sync(_differences) == []
            await tx.execute(text("ALTER TABLE users ADD COLUMN nickname TEXT"))
            assert len(await tx.run_sync(_differences)) == 1  # the comparison does see what is too much
        assert await pending(database) == []
        assert await migrate(database) == revision  # and again changes nothing
    finally:
        await database.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(settings: Settings) -> None:
    await asyncio.to_thread(admin.migrate, settings)
    database = open_database(settings.database_url, settings.data)
    try:
        async with database.write() as tx:
            await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Conflict, match="newer version"):
            await migrate(database)
        async with database.read() as db:
            assert (await db.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"
    finally:
        await database.close()
    assert "9999" in (await asyncio.to_thread(admin.check, settings))[0]


async def test_no_migration_goes_back_and_the_refusal_names_the_backup(settings: Settings) -> None:
    revision = await asyncio.to_thread(admin.migrate, settings)
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions()
    assert {script.module.downgrade for script in scripts} == {refuse_downgrade}
    database = open_database(settings.database_url, settings.data)
    try:
        with pytest.raises(Conflict, match="not taken back") as refused:
            async with database.write() as tx:
                await tx.run_sync(lambda connection: command.downgrade(configuration(connection), "-1"))
        assert "valetkey db restore" in refused.value.next_step
        async with database.write() as tx:
            assert await tx.run_sync(_differences) == []
        assert await migrate(database) == revision
    finally:
        await database.close()


async def test_what_is_created_is_for_its_owner_alone(tmp_path: Path) -> None:
    """OP-04"""
    await asyncio.to_thread(admin.migrate, Settings(data=tmp_path / "data"))
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()} == {0o600}


async def test_a_second_server_process_on_one_file_is_refused(tmp_path: Path) -> None:
    first = open_database(None, tmp_path)
    with pytest.raises(Conflict, match="Another server process"):
        open_database(None, tmp_path)
    await first.close()
    await open_database(None, tmp_path).close()
