"""Changing the data key of a deployment that goes on working, one small durable step at a time.

1. `begin`: a fresh key seals from now on, the ones before only open. Every node hears of it through the change feed,
   and whoever meets a record of a key it does not know reads the keys again.
2. `reseal`, again and again: some records more are opened in their place and sealed anew.
3. When no record needs an old key, it is destroyed.

Each step is one transaction: whoever is stopped anywhere begins again with `begin`, which goes on with what it finds.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import InvalidRequest
from valetkey.server.vault import store
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.kms.root import RootKey
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey
from valetkey.server.vault.rotate import destroy, reseal, rotate
from valetkey.server.vault.store import SealedColumn

BATCH: Final = 100
_MOST_NAMED: Final = 20

log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """`key` seals now; so many records are sealed under others. `resumed` when an earlier change had not ended."""

    key: str
    records: int
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """So many records were sealed anew; go on at `cursor`, or it is `finished`.

    `unopened` names records that do not open, damaged or put there by somebody: the key they name is kept.
    """

    resealed: int
    cursor: str
    finished: bool
    unopened: tuple[str, ...]
    destroyed: tuple[str, ...] = ()


class DataKeys:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        ring: KeyRing,
        root: RootKey,
        clock: Clock,
        columns: Sequence[SealedColumn],
    ) -> None:
        self._journal = journal
        self._database = database
        self._ring = ring
        self._root = root
        self._clock = clock
        self._columns = {column.name: column for column in sorted(columns, key=lambda column: column.name)}

    async def begin(self, *, org: str, by: str) -> Begun:
        """Make a fresh key the one that seals, unless the last change has not ended. Raises `Conflict`."""
        async with self._journal.change() as change:
            rows = await store.hold_keys(change.tx)
            is_unfinished = any(row.state is KeyState.DECRYPT_ONLY for row in rows)
            if not is_unfinished:
                deployment = self._ring.deployment
                rows = list(rotate(rows, root=self._root, deployment=deployment, now=self._clock.now()))
                await store.put_keys(change.tx, rows)
                change.record(Event.DATA_KEY_ROTATED, org, key=_primary(rows).id, by=by)
        await self._announce()
        primary = _primary(rows)
        async with self._database.read() as db:
            await store.renew(self._ring, db)
            other = bytes.fromhex(primary.id)
            counts = [await store.how_many(db, c, under=None, other_than=other) for c in self._columns.values()]
        return Begun(key=primary.id, records=sum(counts), resumed=is_unfinished)

    async def reseal(self, *, after: str, org: str, by: str) -> Resealed:
        """Seal the next records anew; after the last of them, destroy the keys nothing needs. Raises `Conflict`."""
        name, key = self._place_of(after)
        for column in list(self._columns.values())[list(self._columns).index(name) :]:
            done, last, unopened = await self._batch(column, after=key if column.name == name else "")
            if last is not None:
                cursor = f"{column.name}/{last}"
                return Resealed(resealed=done, cursor=cursor, finished=False, unopened=unopened)
        return await self._finish(org=org, by=by)

    async def learn(self, db: AsyncConnection, _newest: int, nodes: frozenset[str]) -> None:
        """Another node changed the keys: know them before one of its records is met."""
        if self._ring.deployment not in nodes:
            return
        try:
            await store.renew(self._ring, db)
        except VaultError as error:
            # What is known still opens what it sealed; what is not stays closed. Other knowledge must not wait for it.
            log.error("the data keys could not be read again: %s", error.detail)

    async def _batch(self, column: SealedColumn, *, after: str) -> tuple[int, str | None, tuple[str, ...]]:
        """How many were sealed anew, the last one looked at (None at the end), and which do not open."""
        done, unopened = 0, []
        async with self._database.write() as tx:
            await store.hold_sealing(tx, self._ring)
            primary = self._ring.primary[0]
            found = await store.sealed_otherwise(tx, column, primary=primary, after=after, limit=BATCH)
            for key, blob, row in found:
                await store.renew_for(self._ring, tx, blob)
                try:
                    fresh = reseal(self._ring, blob, column.place(self._ring, row))
                except VaultError:
                    unopened.append(f"{column.name}/{key}")
                    continue
                if fresh is not None:
                    done += await store.put_blob(tx, column, key, old=blob, new=fresh)
        return done, found[-1][0] if found else None, tuple(unopened[:_MOST_NAMED])

    async def _finish(self, *, org: str, by: str) -> Resealed:
        destroyed: list[str] = []
        left = 0
        async with self._journal.change() as change:
            rows = await store.hold_keys(change.tx)
            primary = bytes.fromhex(_primary(rows).id)
            for row in [row for row in rows if row.state is KeyState.DECRYPT_ONLY]:
                references = await self._references(change.tx, row, primary)
                left += references
                if not references:
                    rows = list(destroy(rows, row.id, references=references))
                    change.record(Event.DATA_KEY_DESTROYED, org, key=row.id, by=by)
                    destroyed.append(row.id)
            if destroyed:
                await store.put_keys(change.tx, rows)
        if destroyed:
            await self._announce()
        async with self._database.read() as db:
            await store.renew(self._ring, db)
        return Resealed(resealed=0, cursor="", finished=left == 0, unopened=(), destroyed=tuple(destroyed))

    async def _announce(self) -> None:
        # NOTE: by itself, for who holds the keys must not wait for the fence, which others take before the keys.
        async with self._journal.change() as change:
            await change.touches(self._ring.deployment)

    async def _references(self, db: AsyncConnection, row: WrappedKey, primary: bytes) -> int:
        under = bytes.fromhex(row.id)
        counts = [await store.how_many(db, c, under=under, other_than=primary) for c in self._columns.values()]
        return sum(counts)

    def _place_of(self, cursor: str) -> tuple[str, str]:
        name, _, key = cursor.partition("/")
        if cursor == "":
            return next(iter(self._columns)), ""
        if name not in self._columns:
            raise InvalidRequest("This cursor is not from here.", hint="Begin without one.")
        return name, key


def _primary(rows: Sequence[WrappedKey]) -> WrappedKey:
    return next(row for row in rows if row.state is KeyState.PRIMARY)
