"""The sessions of the connected login: two for each database and process, opened when needed and lent in turns.

One hands out and one takes back, so that a login that is being made, however long the server takes, holds up no
revocation.

The sealed credential is opened here and goes nowhere but to the host that was frozen when it was connected. A database
that was renamed is found again by its number, to take roles back; nothing is given out from it until it is connected
again under its name.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import asyncpg

from valetkey.server.bounded import Bounded
from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.model import DatabaseKey, Turn
from valetkey.server.connections.databases.postgres import store
from valetkey.server.connections.databases.words import Words, opened
from valetkey.server.connections.model import Connection
from valetkey.server.connections.reachable import Reachable
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.egress.postgres import dial, failed
from valetkey.server.errors import ConnectionRequired, Denied, NotFound
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

_SERVER: Final = "postgresql"
_ALWAYS_THERE: Final = ("postgres", "template1")
_MOST_KEYS: Final = 1_024
_STATEMENTS: Final = 32
"""How many of our own statements a session keeps prepared: each is one round trip then, instead of two."""


class Admins:
    """One per process."""

    def __init__(self, database: Database, ring: KeyRing, egress: Egress, reachable: Reachable) -> None:
        self._database = database
        self._reachable = reachable
        self._ring = ring
        self._egress = egress
        self._keys: Bounded[DatabaseKey] = Bounded(_MOST_KEYS)
        self._open: dict[Turn, tuple[int, Any]] = {}
        self._turns: WeakValueDictionary[Turn, asyncio.Lock] = WeakValueDictionary()

    async def key(self, connection_id: str) -> DatabaseKey:
        """Which database a connection is. Raises `Denied` for what is none."""
        known = self._keys.get(connection_id)  # frozen when it was connected: only its password may become another
        if known is not None:
            return known
        async with self._database.read() as db:
            found = _key(await connections.connection(db, connection_id))
        self._keys[connection_id] = found
        return found

    @contextlib.asynccontextmanager
    async def session(self, connection_id: str, *, taking_back: bool = False) -> AsyncIterator[Any]:
        """The login's session, alone for a while. Whatever goes wrong in it is `UpstreamFailed`.

        `taking_back`: never behind what is handed out, whatever failed before, and also where the database has another
        name now.
        """
        mine = (connection_id, taking_back)
        turn = self._turns.setdefault(mine, asyncio.Lock())
        async with turn:
            place, db = await self._ready(mine)
            try:
                yield db
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                if not isinstance(error, asyncpg.PostgresError) or db.is_closed():
                    await self._let_go(mine)
                raise failed(place, error) from None
            except BaseException:
                if db.is_closed() or db.is_in_transaction():
                    await self._let_go(mine)
                raise
            finally:
                if mine not in self._open:
                    db.terminate()  # good for this errand only

    @contextlib.asynccontextmanager
    async def beside(self, connection_id: str, database: str) -> AsyncIterator[Any]:
        """A session of the same login in another database of the same server, for one errand."""
        async with self._database.read() as db:
            found = await connections.with_credential(db, connection_id, self._ring)
        key = _key(found)
        assert found is not None
        words = opened(connections.open_credential(found, self._ring))
        session = await self._dialled(replace(key, database=database), words)
        try:
            yield session
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise failed(key.place, error) from None
        finally:
            session.terminate()

    async def as_role(self, connection_id: str, role: str, password: Secret, **how: Any) -> Any:
        """A session of a role that was made there; the caller ends it. `how` is what `dial` takes besides."""
        key = await self.key(connection_id)
        dial_as = partial(self._one, replace(key, login=role), password.reveal(), **how)
        return await self._reachable.ask(key.place, dial_as, kind="database")

    async def try_out(self, key: DatabaseKey, password: Secret) -> Any:
        """A session of a login that is not connected yet; the caller ends it."""
        return await self._dialled(key, Words(password.reveal()))

    async def close(self) -> None:
        """End every session."""
        for mine in list(self._open):
            await self._let_go(mine)

    async def _ready(self, mine: Turn) -> tuple[str, Any]:
        connection_id, taking_back = mine
        async with self._database.read() as db:
            found = await connections.with_credential(db, connection_id, self._ring)
        key = _key(found)
        assert found is not None
        generation = found.credential_generation
        known = self._open.get(mine)
        if known is not None and known[0] == generation and not known[1].is_closed():
            return key.place, known[1]
        await self._let_go(mine)
        words = opened(connections.open_credential(found, self._ring))
        try:
            # SECURITY: who takes a role back always asks: a breaker must not hold up a revocation.
            # Guarded by tests/flows/test_questions.py::test_a_database_that_cannot_be_reached_is_not_asked_by_everybody
            dialled = partial(self._dialled, key, words)
            session = await (dialled() if taking_back else self._reachable.ask(key.place, dialled, kind="database"))
        except NotFound:
            if not taking_back:
                raise ConnectionRequired(
                    f"There is no database {key.database} there any more.", hint="Connect it again under its name."
                ) from None
            session = await self._found_again(key, words)
        # SECURITY: the number decides: another database under the same name is another database.
        # Guarded by tests/attacks/test_database_address.py::test_another_database_of_the_same_name_gives_nothing
        is_it = await _is_numbered(key, session)
        if not is_it and not taking_back:
            session.terminate()
            raise ConnectionRequired(
                f"Another database is called {key.database} now.", hint="Connect it again, if it is meant."
            )
        if is_it:
            self._open[mine] = (generation, session)
        return key.place, session

    async def _found_again(self, key: DatabaseKey, words: Words) -> Any:
        for beside in _ALWAYS_THERE:
            try:
                session = await self._dialled(replace(key, database=beside), words)
            except NotFound:
                continue
            async with _kept_if_it_answers(key, session):
                name = await store.database_named(session, key.oid)
            if name is None:
                return session  # the database is gone, its roles are the server's
            session.terminate()
            return await self._dialled(replace(key, database=name), words)
        raise ConnectionRequired("No database of this server lets the connected login in.")

    async def _dialled(self, key: DatabaseKey, words: Words) -> Any:
        try:
            return await self._one(key, words.password, statements=_STATEMENTS)
        except ConnectionRequired:
            if words.next is None:
                raise
            return await self._one(key, words.next, statements=_STATEMENTS)

    async def _one(self, key: DatabaseKey, password: str, **how: Any) -> Any:
        return await dial(
            self._egress,
            host=key.host,
            port=key.port,
            database=key.database,
            login=key.login,
            password=Secret(password),
            tls=key.tls,
            **how,
        )

    async def _let_go(self, mine: Turn) -> None:
        known = self._open.pop(mine, None)
        if known is not None:
            known[1].terminate()


@contextlib.asynccontextmanager
async def _kept_if_it_answers(key: DatabaseKey, session: Any) -> AsyncIterator[None]:
    """A session that is looked at for the first time: ended unless it answers, and what it fails with has a type."""
    try:
        yield
    except BaseException as error:
        session.terminate()
        # SECURITY: untyped, the failure of one database would end the sweep that takes back from all others.
        # Guarded by tests/faults/test_database_turns.py::test_a_database_that_says_nothing_of_itself_is_tried_again
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError | TimeoutError):
            raise failed(key.place, error) from None
        raise


async def _is_numbered(key: DatabaseKey, session: Any) -> bool:
    async with _kept_if_it_answers(key, session):
        return (await store.server(session)).database == key.oid


def _key(found: Connection | None) -> DatabaseKey:
    """Which database a connection is. Raises `Denied` for what is none of PostgreSQL's."""
    if found is None or found.database is None:
        raise Denied("This connection is no database.", reason="use_gateway")
    # SECURITY: a password is spoken to the kind of server that it was connected for.
    # Guarded by tests/attacks/test_mariadb_address.py::test_a_connection_to_the_one_kind_is_never_used_as_the_other
    if found.database.server != _SERVER:
        raise Denied("This connection is no PostgreSQL.", hint="What you asked for is done at PostgreSQL alone.")
    return found.database
