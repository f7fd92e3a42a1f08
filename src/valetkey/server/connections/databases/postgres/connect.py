"""A PostgreSQL database tried before it is connected: the login is let in and may make roles.

1. the address is read and the login tried, 2. the schema that is ours is prepared, 3. what PUBLIC may write without a
grant is listed: refused, taken away, or kept, as the administrator says.
"""

from dataclasses import replace
from typing import Any

import asyncpg

from valetkey.server.connections.databases.everybody import Everybody, Open, left_open
from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.connections.databases.postgres import everybody, store
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.connections.databases.postgres.model import OLDEST, parse_url
from valetkey.server.egress.postgres import failed
from valetkey.server.errors import ConnectionRequired, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.secret import Secret


class TryPostgres:
    """One per process."""

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    async def tried(self, url: Secret, public: Everybody) -> tuple[DatabaseKey, Secret, list[Open]]:
        """The database's key, its password, and what was left to everybody. Raises the refusal."""
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
