"""Connecting a database: the login is tried, what everybody may do there is listed, and only then is it sealed.

1. the address is read and the login tried, 2. the schema that is ours is prepared, 3. what PUBLIC may write without a
grant is listed: refused, taken away, or kept, as the administrator says, 4. the password is sealed, bound to the
database's own number.
"""

from dataclasses import replace
from typing import Any

import asyncpg

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store as connections
from valetkey.server.connections.databases import store
from valetkey.server.connections.databases.admin import Admins, Words, sealed
from valetkey.server.connections.databases.everybody import store as everybody
from valetkey.server.connections.databases.everybody.model import MOST_LISTED, Everybody, Open, left_open
from valetkey.server.connections.databases.mariadb.connect import TryMariaDB
from valetkey.server.connections.databases.mariadb.model import SCHEMES
from valetkey.server.connections.databases.model import OLDEST, DatabaseKey, parse_url
from valetkey.server.db.engine import Database
from valetkey.server.egress.postgres import failed
from valetkey.server.errors import (
    ConnectionRequired,
    Denied,
    InvalidRequest,
    NotFound,
    UpstreamFailed,
)
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


class ConnectDatabase:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        admins: Admins,
        mariadb: TryMariaDB,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._admins = admins
        self._mariadb = mariadb
        self._ring = ring
        self._clock = clock

    async def connect(
        self, integration: str, url: Secret, *, name: str | None, public: Everybody, by: User
    ) -> ConnectionFacts:
        """Connect a database as one of the organization's. `public` says what to do with the rights of everybody."""
        if not by.is_administrator:
            raise Denied("Only an administrator connects a database.", reason="not_administrator")
        tried = self._mariadb.tried if integration == MARIADB.name else self._tried
        key, password, found = await tried(url, public)
        return await self._kept(integration, key, password, name=name, by=by, found=found, public=public)

    async def _tried(self, url: Secret, public: Everybody) -> tuple[DatabaseKey, Secret, list[Open]]:
        key, password = parse_url(url.reveal())
        try:
            session = await self._admins.try_out(key, password)
        except (ConnectionRequired, NotFound) as error:
            raise InvalidRequest(
                "The database does not let this login in.",
                hint="Check the login, its password and the database's name.",
                detail=error.detail,
            ) from error
        except UpstreamFailed as error:
            raise InvalidRequest(
                f"There is no PostgreSQL to be had at {key.place}.",
                hint="It must be reached by TLS with a certificate for that name. A database in your own network is "
                "named in private_databases, one on this machine in unsafe_loopback_upstreams.",
                detail=error.detail,
            ) from error
        try:
            about = await self._checked(session)
            await store.prepare(session)
            found = await self._everybody(session, public)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise failed(key.place, error) from None
        finally:
            session.terminate()
        return replace(key, oid=about.database, version=about.version), password, found

    async def _checked(self, session: Any) -> store.Server:
        about = await store.server(session)
        if about.version < OLDEST:
            raise InvalidRequest("This PostgreSQL is too old.", hint="Version 14 or newer is needed.")
        if not about.makes_roles:
            raise InvalidRequest("This login may not make roles.", hint="ALTER ROLE … CREATEROLE, or another login.")
        return about

    async def _everybody(self, session: Any, public: Everybody) -> list[Open]:
        found = await everybody.rights(session)
        if found and public == "revoke":
            async with session.transaction():
                for one in found:
                    try:
                        async with session.transaction():
                            await everybody.take_away(session, [one])
                    except asyncpg.InsufficientPrivilegeError:
                        continue  # seen again below
            left = await everybody.rights(session)
            if left:
                raise left_open(left, "This login may not take everything away that everybody may do here.")
        elif found and public == "refuse":
            raise left_open(
                found, "Everybody may write in this database without being granted it, and a lease could too."
            )
        return found

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
