"""A connection to a PostgreSQL server: to a proven address, under its name, encrypted and verified in full.

The same guard as for HTTP: every address of the name must be of the kind expected of it, the proven one is dialled, and
the certificate is verified for the name. Only a place the settings call local may be spoken to in the clear.
"""

import asyncio
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from valetkey.server.egress.send import Egress
from valetkey.server.egress.url import Url
from valetkey.server.egress.verifying import verifying
from valetkey.server.errors import ConnectionRequired, NotFound, UpstreamFailed
from valetkey.server.secret import Secret

CONNECT_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 20.0


class _Named(ssl.SSLContext):
    """Verifies the name that was asked for, whatever address was dialled."""

    name = ""

    def wrap_bio(self, incoming: Any, outgoing: Any, server_side: bool = False, *_: Any, **more: Any) -> Any:
        # SECURITY: the driver would verify the address it dialled, which no certificate names.
        # Guarded by tests/attacks/test_database_address.py::test_a_server_that_does_not_prove_its_name_hears_nothing
        more["server_hostname"] = self.name
        return super().wrap_bio(incoming, outgoing, server_side, **more)


class Meter(asyncio.Protocol):
    """Between a session and its driver: ends the session when it brings more than is wanted of it.

    The driver keeps a row in memory until all of it has come, and a row may be a gigabyte.
    """

    def __init__(self, session: Any, most: int) -> None:
        self.is_over = False
        self._left = most
        self._transport = session._transport
        self._driver = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        # SECURITY: before the driver has it, for what it has is in memory.
        # Guarded by tests/attacks/test_questions.py::test_a_row_of_a_hundred_megabytes_never_gets_here
        if self._left < 0:
            self.is_over = True
            self._transport.abort()
        else:
            self._driver.data_received(data)

    def eof_received(self) -> Any:
        return self._driver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._driver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        self._driver.resume_writing()


async def dial(
    egress: Egress,
    *,
    host: str,
    port: int,
    database: str,
    login: str,
    password: Secret,
    tls: bool,
    settings: Mapping[str, str] = MappingProxyType({}),
    command_seconds: float = COMMAND_SECONDS,
    statements: int = 0,
) -> Any:
    """A session there that keeps so many `statements` prepared. Raises `ConnectionRequired` when the login is refused,
    `NotFound` when there is no such database, `UpstreamFailed` for everything else."""
    url = Url(scheme="https" if tls else "http", host=host, port=port, target=b"/")
    addresses = await egress.addresses(url)
    try:
        return await asyncpg.connect(
            host=addresses[0],
            port=port,
            user=login,
            password=password.reveal(),
            database=database,
            ssl=_context(host, egress.roots) if tls else False,
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            statement_cache_size=statements,
            target_session_attrs="any",
            server_settings={
                "application_name": "valetkey",
                # SECURITY: what others put into a database is not what a name of ours means.
                "search_path": "pg_catalog, pg_temp",
                "lock_timeout": "5s",
                "statement_timeout": "15s",
                "idle_in_transaction_session_timeout": "15s",
                **settings,
            },
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError) as error:
        raise ConnectionRequired(
            "The database no longer lets the connected login in.",
            hint="Ask an administrator to connect the database again.",
            detail=f"{url.place}: {error.sqlstate}",
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise NotFound(f"There is no database {database} there any more.", detail=url.place) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        unreached = failed(url.place, error)
        unreached.is_unreached = isinstance(error, OSError | TimeoutError)
        raise unreached from None


def failed(place: str, error: Exception) -> UpstreamFailed:
    """Name the place and the kind of error: its text may hold what a statement held."""
    code = getattr(error, "sqlstate", None) or ""
    reason = "certificate" if isinstance(error, ssl.SSLCertVerificationError) else ""
    return UpstreamFailed(
        "The database did not answer properly.", detail=f"{place}: {type(error).__name__} {code}{reason}".rstrip()
    )


def _context(host: str, roots: tuple[bytes, ...]) -> ssl.SSLContext:
    context = verifying(_Named(ssl.PROTOCOL_TLS_CLIENT), roots)
    context.name = host.strip("[]")
    return context
