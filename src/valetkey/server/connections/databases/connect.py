"""Connecting a database: it is tried as its kind is, and only then is its login sealed.

1. the address is read, the login tried, and what everybody may do there listed (`postgres/connect`, `mariadb/connect`),
2. the password is sealed, bound to what the server calls itself.
"""

from collections.abc import Mapping
from typing import Protocol

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.everybody import MOST_LISTED, Everybody, Open
from valetkey.server.connections.databases.mariadb.model import SCHEMES
from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.connections.databases.words import Words, sealed
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied
from valetkey.server.ids import new_id
from valetkey.server.integrations.databases import MARIADB, POSTGRES
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing


def kind_of(url: Secret) -> str:
    """Which kind of database an address is of: by its scheme, PostgreSQL where it says nothing that is known.

    >>> kind_of(Secret("mysql://a:b@db.acme.com")), kind_of(Secret("postgresql://a:b@db.acme.com/sales"))
    ('mariadb', 'postgres')
    """
    return MARIADB.name if url.reveal().partition(":")[0] in SCHEMES else POSTGRES.name


class Kind(Protocol):
    """One kind of database."""

    async def tried(self, url: Secret, public: Everybody, /) -> tuple[DatabaseKey, Secret, list[Open]]:
        """The database's key, its password, and what was left to everybody. Raises the refusal."""
        ...


class ConnectDatabase:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        kinds: Mapping[str, Kind],
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._kinds = kinds
        self._ring = ring
        self._clock = clock

    async def connect(
        self, integration: str, url: Secret, *, name: str | None, public: Everybody, by: User
    ) -> ConnectionFacts:
        """Connect a database as one of the organization's. `public` says what to do with the rights of everybody."""
        if not by.is_administrator:
            raise Denied("Only an administrator connects a database.", reason="not_administrator")
        key, password, found = await self._kinds[integration].tried(url, public)
        return await self._kept(integration, key, password, name=name, by=by, found=found, public=public)

    async def _kept(
        self,
        integration: str,
        key: DatabaseKey,
        password: Secret,
        *,
        name: str | None,
        by: User,
        found: list[Open],
        public: Everybody,
    ) -> ConnectionFacts:
        connection_id = new_id("con")
        facts = ConnectionFacts(
            id=connection_id,
            org=by.org,
            owner=None,
            integration=integration,
            name=name or key.database.lower() or integration,
            account=f"{key.login}@{key.place}" + (f"/{key.database}" if key.database else ""),
            base_url=key.address,
            powers=frozenset({"*"}),
            generation=1,
        )
        async with self._journal.change() as change:
            await connections.add(
                change.tx,
                facts,
                hosts=frozenset({key.place}),
                credential=sealed(Words(password=password.reveal())),
                ring=self._ring,
                now=int(self._clock.now()),
                database=key,
            )
            change.record(
                Event.CONNECTION_CREATED,
                by.org,
                connection=facts.id,
                integration=facts.integration,
                account=facts.account,
                owner="",
                by=by.id,
                credential=fingerprint(password),
                everybody=public,
                open_to_everybody=[one.what for one in found][:MOST_LISTED],
            )
        return facts
