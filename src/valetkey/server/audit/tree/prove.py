"""Makes proofs: of one record under the newest checkpoint, and of one checkpoint continuing another.

Each is compared with what was signed before it is handed out: whoever asks gets a proof that holds or a refusal.
"""

import asyncio
from hashlib import sha256
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit import checkpoint, merkle, proof, series
from valetkey.server.audit.checkpoint import Head
from valetkey.server.audit.model import AuditRecord
from valetkey.server.audit.tree import store
from valetkey.server.audit.witness import Witness, last_line
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, NotFound

_NOT_THE_SIGNED: Final = "Keep the database and the checkpoint files as they are, and run `valetkey audit verify`."


class Prove:
    """One per process; it knows the checkpoints of this node."""

    def __init__(self, database: Database, witness: Witness) -> None:
        self._database = database
        self._witness = witness

    async def inclusion(self, record: AuditRecord, line: bytes) -> dict[str, Any]:
        """That this record is under the newest checkpoint; one is written where none covers it yet."""
        signed = await self._newest()
        if self._head(signed, record.writer).seq < record.seq:
            await self._witness.write()
            signed = await self._newest()
        head = self._head(signed, record.writer)
        if head.seq < record.seq or not head.tree:
            raise Conflict(
                "No checkpoint that signs a tree covers this record yet.", hint="Ask again in a few seconds."
            )
        ranges = merkle.inclusion(record.seq - 1, head.seq)
        async with self._database.read() as db:
            path = await _digests(db, record.writer, ranges)
        if not merkle.holds_inclusion(merkle.leaf(sha256(line).digest()), record.seq - 1, head.seq, path, head.tree):
            raise Conflict("This record is not, as it stands in the database, what was signed.", hint=_NOT_THE_SIGNED)
        return proof.inclusion(line, path, signed)

    async def consistency(self, earlier: int, later: int) -> dict[str, Any]:
        """That checkpoint `later` of this node continues `earlier`; 0 stands for the newest."""
        after = await self._newest() if later == 0 else await self._numbered(later)
        before = await self._numbered(earlier)
        paths = {}
        for head in checkpoint.unverified_end(before)[2]:
            now = self._head(after, head.writer)
            if not head.tree or not now.tree:
                raise Conflict(
                    "One of these checkpoints is of format 1, which signs no trees.",
                    hint="Ask about later ones; `valetkey audit verify` proves all of them.",
                )
            if now.seq < head.seq:
                raise Conflict("The first checkpoint is the later one.", hint="Ask with the earlier number first.")
            async with self._database.read() as db:
                path = await _digests(db, head.writer, merkle.consistency(head.seq, now.seq))
            if not merkle.holds_consistency(head.seq, now.seq, head.tree, now.tree, path):
                raise Conflict("The records in the database are not what was signed.", hint=_NOT_THE_SIGNED)
            paths[head.writer] = path
        return proof.consistency(before, after, paths)

    async def _newest(self) -> bytes:
        line = await asyncio.to_thread(last_line, self._witness.path)
        if line is None:
            await self._witness.write()
            line = await asyncio.to_thread(last_line, self._witness.path)
        if line is None:
            raise Conflict("Nothing is signed yet.", hint="Ask again in a few seconds.")
        return line

    async def _numbered(self, n: int) -> bytes:
        line = await asyncio.to_thread(series.numbered, self._witness.path, n)
        if line is None:
            raise NotFound(f"This node has no checkpoint {n}.")
        return line

    def _head(self, line: bytes, writer: str) -> Head:
        heads = checkpoint.unverified_end(line)[2]
        return next((head for head in heads if head.writer == writer), Head(writer, 0, b""))


async def _digests(db: AsyncConnection, writer: str, ranges: list[tuple[int, int]]) -> list[bytes]:
    return [await store.ranged(db, writer, start, end) for start, end in ranges]
