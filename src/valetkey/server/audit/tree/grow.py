"""Grows the tree of every chain up to its head, for whoever signs a checkpoint.

The right edges are in memory; each time only what was recorded since is read. What is kept in the database is believed
as far as the last checkpoint confirms it, and made anew where that does not.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from valetkey.server.audit import merkle
from valetkey.server.audit.checkpoint import Head
from valetkey.server.audit.recent import Recent
from valetkey.server.audit.tree import store
from valetkey.server.db.engine import Database

log = logging.getLogger("valetkey")

AT_ONCE: Final = 50_000
"""Records of one chain taken in for one checkpoint: a long trail from before there were trees is taken in by and by."""
KEEP_AT: Final = 64
"""So many digests are written also where somebody waits for the database."""
EVERY_SECONDS: Final = 1.0
_READ_AT_ONCE: Final = 5_000


class Trees:
    """One per process. `is_awaited` says whether somebody waits for the database to write.

    `recent` knows digests that need not be read back.
    """

    def __init__(self, database: Database, recent: Recent, is_awaited: Callable[[], bool]) -> None:
        self._database = database
        self._recent = recent
        self._is_awaited = is_awaited
        self._edges: dict[str, merkle.Edge] = {}
        self._confirmed: dict[str, int] = {}
        self._made: list[store.Tile] = []

    async def start(self, signed: Iterable[Head]) -> None:
        """Compare what is kept with what the last checkpoint signed; throw away what is not that."""
        for head in signed:
            if not head.tree:
                continue
            async with self._database.read() as db:
                there = await store.edge(db, head.writer, head.seq)
            if there.root() == head.tree:
                self._confirmed[head.writer] = head.seq
                continue
            log.warning("the tree kept of %s is not the one that was signed; it is made anew", head.writer)
            await store.forget(self._database, head.writer)

    async def grown(self, heads: Iterable[Head]) -> list[Head] | None:
        """The heads with their trees; None while one of them is not taken in yet: ask again."""
        with_trees = []
        is_whole = True
        for head in heads:
            edge = self._edges.get(head.writer)
            if edge is None:
                edge = self._edges[head.writer] = await self._begun(head.writer)
            if edge.size > head.seq:
                raise store.RecordsMissing(detail=f"{head.writer} had {edge.size} records and has {head.seq}")
            end = min(head.seq, edge.size + AT_ONCE)
            while edge.size < end:
                leaves = await self._leaves(head.writer, edge.size, min(end, edge.size + _READ_AT_ONCE))
                self._made += [
                    (head.writer, height // store.HEIGHT, place, digest)
                    for height, place, digest in edge.extend(leaves)
                    if height % store.HEIGHT == 0
                ]
            is_whole = is_whole and edge.size == head.seq
            with_trees.append(head._replace(tree=edge.root()))
        return with_trees if is_whole else None

    async def watch(self) -> None:
        """Keep what was made, for as long as the server runs."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._made and (len(self._made) >= KEEP_AT or not self._is_awaited()):
                await self.keep()

    async def keep(self) -> None:
        """Keep what was made since. What is lost by a crash is made again."""
        made, self._made = self._made, []
        try:
            await store.keep(self._database, made)
        except BaseException:
            self._made = made + self._made
            raise

    async def _leaves(self, writer: str, start: int, end: int) -> list[bytes]:
        if (digests := self._recent.between(writer, start, end)) is not None:
            return [merkle.leaf(digest) for digest in digests]
        async with self._database.read() as db:
            return await store.leaves(db, writer, start, end)

    async def _begun(self, writer: str) -> merkle.Edge:
        async with self._database.read() as db:
            size = min(await store.kept(db, writer), self._confirmed.get(writer, 0) // store.WIDTH * store.WIDTH)
            return await store.edge(db, writer, size)
