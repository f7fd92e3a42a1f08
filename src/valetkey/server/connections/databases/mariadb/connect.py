"""A MariaDB server tried before it is connected: the login is let in, may do what it must, and gives nothing away.

1. the address is read and the login tried, 2. the server's version and the login's rights are looked at, 3. what every
account may do there without a grant is listed: refused, taken away, or kept, as the administrator says.
"""

from dataclasses import replace

from valetkey.server.connections.databases.everybody import Everybody, Open, left_open
from valetkey.server.connections.databases.mariadb import store
from valetkey.server.connections.databases.mariadb.admin import MariaAdmins
from valetkey.server.connections.databases.mariadb.model import OLDEST, parse_url
from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.egress.mariadb import Failures, Session, failed
from valetkey.server.errors import ConnectionRequired, InvalidRequest, UpstreamFailed
from valetkey.server.secret import Secret


class TryMariaDB:
    """One per process."""

    def __init__(self, admins: MariaAdmins) -> None:
        self._admins = admins

    async def tried(self, url: Secret, public: Everybody) -> tuple[DatabaseKey, Secret, list[Open]]:
        """The server's key, its password, and what was left to everybody. Raises the refusal."""
        key, password = parse_url(url.reveal())
        try:
            session = await self._admins.try_out(key, password)
        except ConnectionRequired as error:
            raise InvalidRequest(
                "The database does not let this login in.",
                hint="Check the login and its password.",
                detail=error.detail,
            ) from error
        except UpstreamFailed as error:
            raise InvalidRequest(
                f"There is no MariaDB to be had at {key.place}.",
                hint="It must be reached by TLS with a certificate for that name. A database in your own network is "
                "named in private_databases, one on this machine in unsafe_loopback_upstreams.",
                detail=error.detail,
            ) from error
        try:
            about = await _checked(session)
            found = await _everybody(session, public)
        except Failures as error:
            raise failed(key.place, error) from None
        finally:
            session.terminate()
        return replace(key, version=about.version[0] * 10_000 + about.version[1] * 100), password, found


async def _checked(session: Session) -> store.Server:
    about = await store.server(session)
    if not about.is_mariadb:
        raise InvalidRequest("This server is no MariaDB.", hint="MySQL keeps accounts in other ways and is not lent.")
    if about.version < OLDEST:
        raise InvalidRequest("This MariaDB is too old.", hint="Version 10.6 or newer is needed.")
    if about.missing:
        raise InvalidRequest(
            "This login may not make accounts, or not end their sessions.",
            hint=f"It also needs: {'; '.join(f'GRANT {one}' for one in about.missing)}.",
        )
    return about


async def _everybody(session: Session, public: Everybody) -> list[Open]:
    found = await store.everybody(session)
    if found and public == "revoke":
        if left := await store.take_away(session, found):
            raise left_open(left, "This login may not take everything away that everybody may do here.")
        return found
    if found and public == "refuse":
        raise left_open(found, "Every account may do this here without being granted it, and a lease could too.")
    return found
