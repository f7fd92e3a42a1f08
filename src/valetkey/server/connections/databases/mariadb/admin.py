"""The sessions of the login connected at a MariaDB server: two for each connection and process, lent in turns.

One hands out and one takes back, so that an account that is being made holds up no revocation.

The sealed credential is opened here and goes nowhere but to the host that was frozen when it was connected.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from weakref import WeakValueDictionary

import pymysql

from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.mariadb.model import SCHEME
from valetkey.server.connections.databases.model import DatabaseKey, Turn
from valetkey.server.connections.databases.words import opened
from valetkey.server.connections.model import Connection
from valetkey.server.connections.reachable import Reachable
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.egress.mariadb import Failures, Session, dial, failed
from valetkey.server.errors import Denied
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing


class MariaAdmins:
    """One per process."""

    def __init__(self, database: Database, ring: KeyRing, egress: Egress, reachable: Reachable) -> None:
        self._database = database
        self._reachable = reachable
        self._ring = ring
        self._egress = egress
        self._open: dict[Turn, tuple[int, Session]] = {}
        self._turns: WeakValueDictionary[Turn, asyncio.Lock] = WeakValueDictionary()

    async def key(self, connection_id: str) -> DatabaseKey:
        """Which server a connection is. Raises `Denied` for what is none."""
        async with self._database.read() as db:
            return _key(await connections.connection(db, connection_id))

    @contextlib.asynccontextmanager
    async def session(self, connection_id: str, *, taking_back: bool = False) -> AsyncIterator[Session]:
        """The login's session, alone for a while. Whatever goes wrong in it is `UpstreamFailed`.

        `taking_back`: never behind what is handed out, and asks also where nobody else is to ask, because the server
        did not answer.
        """
        mine = (connection_id, taking_back)
        turn = self._turns.setdefault(mine, asyncio.Lock())
        async with turn:
            place, db = await self._ready(mine)
            try:
                yield db
            except Failures as error:
                if not isinstance(error, pymysql.MySQLError) or db.is_closed:
                    self._let_go(mine)
                raise failed(place, error) from None
            finally:
                if db.is_closed:
                    self._let_go(mine)

    async def try_out(self, key: DatabaseKey, password: Secret) -> Session:
        """A session of a login that is not connected yet; the caller ends it."""
        return await self._dialled(key, password)

    async def close(self) -> None:
        """End every session."""
        for mine in list(self._open):
            self._let_go(mine)

    async def _ready(self, mine: Turn) -> tuple[str, Session]:
        connection_id, taking_back = mine
        async with self._database.read() as db:
            found = await connections.with_credential(db, connection_id, self._ring)
        key = _key(found)
        assert found is not None
        generation, known = found.credential_generation, self._open.get(mine)
        if known is not None and known[0] == generation and await _answers(known[1]):
            return key.place, known[1]
        self._let_go(mine)
        password = Secret(opened(connections.open_credential(found, self._ring)).password)
        dialled = partial(self._dialled, key, password)
        # SECURITY: who takes an account back always asks: a breaker must not hold up a revocation.
        # Guarded by tests/faults/test_mariadb_leases.py::test_a_server_that_was_away_gives_its_accounts_back
        session = await (dialled() if taking_back else self._reachable.ask(key.place, dialled, kind="database"))
        self._open[mine] = (generation, session)
        return key.place, session

    async def _dialled(self, key: DatabaseKey, password: Secret) -> Session:
        return await dial(self._egress, host=key.host, port=key.port, login=key.login, password=password, tls=key.tls)

    def _let_go(self, mine: Turn) -> None:
        known = self._open.pop(mine, None)
        if known is not None:
            known[1].terminate()


async def _answers(session: Session) -> bool:
    """Whether a session is there still: a server ends what was idle for long, or is another since it was started anew.

    Asked each time, so that no revocation finds out by failing.
    """
    try:
        if not session.is_closed:
            await session.fetch("DO 0")
    except Failures:
        return False
    return not session.is_closed


def _key(found: Connection | None) -> DatabaseKey:
    if found is None or found.database is None or found.database.server != SCHEME:
        raise Denied("This connection is no MariaDB server.", reason="use_gateway")
    return found.database
