"""A role for one question: it may read the tables of that question and nothing else, and is dropped after it.

Made as the roles of leases are, under a name of its own kind, so that whoever sweeps leases leaves it alone. It ends
three times: at the end of the question; by VALID UNTIL, whatever becomes of this process; and in a sweep that drops
what has outlived that. Its password is known to this process alone, and to nobody once its one session is open.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.model import STATEMENT_SECONDS
from valetkey.server.connections.databases.postgres import groups, store
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.connections.databases.postgres.model import (
    NewRole,
    Wanted,
    group_of,
    question_prefix,
    question_role,
    verifier,
)
from valetkey.server.connections.databases.steps import Step, onward
from valetkey.server.credentials.sources.postgres import PostgresSource
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, Unavailable, ValetkeyError
from valetkey.server.integrations.databases import POSTGRES
from valetkey.server.secret import Secret

AT_ONCE: Final = 20
"""Questions under way at one database, on each node: a server has a hundred sessions for everybody, unless told."""
LETS_IN_SECONDS: Final = 120
SWEEP_SECONDS: Final = 60.0
_READS: Final = frozenset({"SELECT"})
_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "intervalstyle": "iso_8601",
        "bytea_output": "hex",
        "extra_float_digits": "1",
    }
)
log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks what: `decision` is the record that allows it, `tables` are the server's own numbers."""

    decision: str
    connection: str
    tables: tuple[int, ...]
    user_name: str
    user_id: str
    agent_name: str
    agent_id: str
    task: str


class QuestionRoles:
    """One per process. `step` is told the name of each step before it is taken."""

    def __init__(self, admins: Admins, source: PostgresSource, database: Database, deployment: str) -> None:
        self._admins = admins
        self._source = source
        self._database = database
        self._deployment = deployment
        self._under_way: defaultdict[str, set[str]] = defaultdict(set)
        self._ending: set[asyncio.Task[None]] = set()
        self.step: Step = onward

    async def open(self, asker: Asker) -> Any:
        """A session of a role made for this question. Whatever comes of it, `end` is to be called once."""
        under_way = self._under_way[asker.connection]
        if len(under_way) >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} questions are under way at this database.", retry_after=1)
        under_way.add(asker.decision)
        key = await self._admins.key(asker.connection)
        password = Secret(secrets.token_urlsafe(32))
        wanted = [
            Wanted(
                group=group_of(self._deployment, database=key.oid, scope="read", kind="table", oid=oid),
                rights=_READS,
                table=oid,
            )
            for oid in asker.tables
        ]
        role = NewRole(
            name=question_role(self._deployment, asker.decision),
            lease=asker.decision,
            verifier=verifier(password, secrets.token_bytes(16)),
            groups=tuple(sorted({one.group for one in wanted})),
            reads_only=True,
            seconds=LETS_IN_SECONDS,
            user_name=asker.user_name,
            user_id=asker.user_id,
            agent_name=asker.agent_name,
            agent_id=asker.agent_id,
            task=asker.task,
        )
        await self.step("role")
        async with self._admins.session(asker.connection) as db:
            now = await groups.standing(db, wanted, asker.tables)
            if not now.there.issuperset(asker.tables):
                raise Denied("A table of this question is gone since it was judged.", reason="resource_changed")
            if not now.has_groups:
                await groups.keep(db, wanted)
            await store.make_role(db, role, about=now.server)
        await self.step("asks")
        return await self._admins.as_role(
            asker.connection,
            role.name,
            password,
            settings={**_SETTINGS, "application_name": f"valetkey {asker.decision}"},
            command_seconds=STATEMENT_SECONDS + 10.0,
        )

    def end(self, asker: Asker, session: Any | None) -> None:
        """The question is over, or was cut: its session ends now, and the role behind it as soon as may be."""
        if session is not None:
            session.terminate()
        if asker.decision not in self._under_way[asker.connection]:
            return  # there was no place for it
        ending = asyncio.create_task(self._dropped(asker))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def settle(self) -> None:
        """Wait until what has ended is dropped."""
        await asyncio.gather(*self._ending)

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Drop the roles of questions that nobody ended, in every connected database; how many were."""
        async with self._database.read() as db:
            found = await connections.databases(db)
        dropped = 0
        for connection in found:
            if connection.facts.integration != POSTGRES.name:
                continue  # no questions are asked there
            try:
                async with self._admins.session(connection.facts.id, taking_back=True) as db:
                    names = await store.outlived(db, question_prefix(self._deployment))
                for name in names:
                    dropped += not (await self._source.drop(connection.facts.id, name)).problem
            except ValetkeyError as error:
                log.warning("questions at %s could not be swept: %s", connection.facts.id, error.code)
        return dropped

    async def _dropped(self, asker: Asker) -> None:
        """What fails here is found by the sweep."""
        try:
            # SECURITY: the server goes on with a statement whose session was left, until it is told to end it.
            # Guarded by tests/flows/test_questions.py::test_a_revocation_ends_a_running_statement_in_the_database_too
            await self._source.drop(asker.connection, question_role(self._deployment, asker.decision))
        except Exception as error:
            log.warning("the role of a question could not be dropped: %s", type(error).__name__)
        finally:
            self._under_way[asker.connection].discard(asker.decision)
