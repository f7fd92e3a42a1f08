"""Databases that have our tables and nothing in them: the migrations are run once and copied, not run for every story.

Whoever asks about migrations themselves begins with an empty database instead.
"""

import atexit
import functools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.postgres import Postgres
from valetkey.server.db import admin
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings


def postgresql(server: Postgres) -> str:
    """The address of a fresh database of this server."""
    return server.database(template=server.template("with_tables", _filled))


def sqlite(data: Path) -> None:
    """Put one where a deployment with this data folder looks for it, unless it has one."""
    place = data / "valetkey.db"
    if not place.exists():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(_sqlite(), place)
        place.chmod(0o600)


@functools.cache
def _sqlite() -> Path:
    # Lives as long as this process, which holds the folder's object in the cache below.
    folder = Path(_folder().name)
    _migrate(Settings(data=folder))
    return folder / "valetkey.db"


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    made = tempfile.TemporaryDirectory(prefix="valetkey-tables-")
    atexit.register(made.cleanup)
    return made


def _filled(url: str) -> None:
    _migrate(Settings(database_url=Secret(url)))


def _migrate(settings: Settings) -> None:
    """In a thread of its own: whoever asks may have a loop running, and migrating runs one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(admin.migrate, settings).result()
