"""Another root key, or another place for it, under the same data keys: nothing is sealed anew.

1. `made`: the new root key lies in a file of its own  2. `rewrapped`: data keys and pepper are under it, in one
recorded transaction  3. `placed`: its file has the usual name. Stopped after any of these, the same command ends it; a
server started in between with the wrong one refuses and says so. A running server keeps what it has unlocked.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock, SystemClock
from valetkey.server.db.deployment import deployment_id
from valetkey.server.db.engine import Database, open_database
from valetkey.server.db.migrate import migrate
from valetkey.server.errors import NotFound
from valetkey.server.settings import Settings
from valetkey.server.vault import store
from valetkey.server.vault.kms.open_root import open_root, root_path
from valetkey.server.vault.kms.root import HeldRoot
from valetkey.server.vault.ring import KeyState, WrappedKey
from valetkey.server.vault.rotate import rewrap, rewrap_pepper

Step = Callable[[str], None]
"""Told the name of each step that is durable now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The new root key and where it lies; `previous` is the file of the old one, which older backups need."""

    root: str
    file: Path
    previous: Path | None
    rewrapped: int


def rotate_root(
    settings: Settings, new: Settings, clock: Clock | None = None, reached: Step = lambda _step: None
) -> Rotated:
    """Rewrap under the root key `new` names. Raises `Conflict`, `NotFound`, `RootKeyRefused`."""
    return asyncio.run(_rotated(settings, replace(new, data=settings.data), clock or SystemClock(), reached))


async def _rotated(settings: Settings, new: Settings, clock: Clock, reached: Step) -> Rotated:
    if not settings.data.is_dir():
        raise NotFound(f"There is no data folder at {settings.data}.")
    database = open_database(settings.database_url, settings.data)
    try:
        await migrate(database)
        async with database.write() as tx:
            deployment = await deployment_id(tx, now=int(clock.now()))
            rows = await store.key_rows(tx)
        if not rows:
            raise NotFound("Nothing is sealed here yet.", hint="Start the server with the settings you want.")
        path = root_path(new)
        draft = path.with_name(f"{path.name}.next") if path == root_path(settings) else path
        root = await open_root(new, deployment=deployment, create=True, path=draft, clock=clock)
        reached("made")
        done = 0
        if not all(root.wrapped_here(row.wrapped) for row in rows if row.state is not KeyState.DESTROYED):
            old = await open_root(settings, deployment=deployment, create=False, clock=clock)
            done = await _rewrapped(database, clock, deployment, old=old, new=root)
        reached("rewrapped")
        previous = _placed(draft, path) if draft != path else root_path(settings)
        reached("placed")
        return Rotated(root=root.id, file=path, previous=previous if previous.exists() else None, rewrapped=done)
    finally:
        await database.close()


async def _rewrapped(database: Database, clock: Clock, deployment: str, *, old: HeldRoot, new: HeldRoot) -> int:
    journal = Journal(database, clock)
    try:
        await journal.start()
        async with journal.change() as change:
            rows = await store.hold_keys(change.tx)
            after: list[WrappedKey] = []
            for row in rows:
                after.append(rewrap(row, root=new, previous_roots=[old], deployment=deployment) or row)
            pepper = await store.carried_pepper(change.tx)
            await store.put_keys(change.tx, after)
            await store.put_pepper(change.tx, rewrap_pepper(pepper, old=old, new=new, deployment=deployment))
            change.record(Event.ROOT_KEY_ROTATED, "", root=new.id, previous=old.id)
        return sum(one != other for one, other in zip(rows, after, strict=True))
    finally:
        await journal.close()


def _placed(draft: Path, path: Path) -> Path:
    """Give the new file the usual name; the old one stays beside it. The usual name is never without a file."""
    kept = next(path.with_name(f"{path.name}.before-{n}") for n in range(1, 1000) if _is_free(path, n))
    if not kept.exists():
        os.link(path, kept)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return kept


def _is_free(path: Path, number: int) -> bool:
    """Whether that name is not taken, or was taken for this very file before we were stopped."""
    kept = path.with_name(f"{path.name}.before-{number}")
    return not kept.exists() or kept.samefile(path)
