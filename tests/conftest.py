"""Fixtures every story shares: a deployment on each of the two databases."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support import mariadb as mariadb_server
from tests.support import scratch, tables
from tests.support.house import House, open_house
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres, missing

scratch.choose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One throw-away PostgreSQL for the whole run."""
    if (why := missing()) is not None:
        pytest.skip(why)
    server = Postgres.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A throw-away MariaDB of this worker."""
    if reason := mariadb_server.missing():
        pytest.skip(reason)
    with mariadb_server.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database with nothing in it: None for SQLite in the data folder, else the URL of a fresh PostgreSQL database.

    On PostgreSQL it has our tables, unless the test is marked `without_tables`.
    """
    if request.param == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    bare = request.node.get_closest_marker("without_tables") is not None
    url = server.database() if bare else tables.postgresql(server)
    yield url
    server.discard(url)


@pytest.fixture
async def house(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    """A deployment with Alice as administrator; the story runs on both databases."""
    async with open_house(tmp_path / "data", database_url=database_url) as opened:
        yield opened


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long values may be drawn at random: name them by their place, so that parallel workers collect the same tests."""
    return argname if isinstance(val, str | bytes) and len(val) > 40 else None
