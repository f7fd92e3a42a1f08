"""A connection to a MariaDB server: to a proven address, under its name, encrypted and verified in full.

The same guard as for PostgreSQL. The driver waits for its answers, so each session has a thread of its own: a server
that hangs holds up nobody else.
"""

import asyncio
import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pymysql
from pymysql.constants import ER

from valetkey.server.egress.send import Egress
from valetkey.server.egress.url import Url
from valetkey.server.egress.verifying import verifying
from valetkey.server.errors import ConnectionRequired, UpstreamFailed
from valetkey.server.secret import Secret

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 20
_REFUSED: Final = frozenset({ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, 4151})
"""The server's numbers for a login it does not let in; 4151 is an account that is locked."""
_BEGIN: Final = "SET SESSION lock_wait_timeout = 5, innodb_lock_wait_timeout = 5, max_statement_time = 15"
Failures: Final = (pymysql.MySQLError, OSError, TimeoutError)
"""What may come of speaking to a server."""


class _NeverInTheClear:
    """Instead of the ways to sign in that hand over the password itself."""

    def __init__(self, _connection: Any) -> None:
        pass

    def authenticate(self, _packet: Any) -> Any:
        raise pymysql.OperationalError(0, "the server asked for the password in the clear")


class Session:
    """One session. Statements go one after the other; whoever is interrupted in one ends the session."""

    def __init__(self, connection: Any, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread
        self._is_over = False

    @property
    def is_closed(self) -> bool:
        return self._is_over or not self._connection.open

    async def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement; its rows, none where it has none. Values are written in by the driver."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, statement, values)
        except asyncio.CancelledError:
            self.terminate()
            raise
        except Failures:
            raise
        except Exception as error:  # whatever the driver makes of what it cannot read, and of a session that is over
            self.terminate()
            raise pymysql.OperationalError(0, f"not to be read: {type(error).__name__}") from error

    def terminate(self) -> None:
        """End it now, whatever is under way."""
        if self._is_over:
            return
        self._is_over = True
        under = self._connection._sock
        if under is not None:
            with contextlib.suppress(OSError, ValueError):
                under.shutdown(socket.SHUT_RDWR)  # the thread may be waiting there
        self._thread.submit(self._connection._force_close)
        self._thread.shutdown(wait=False)

    def _run(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())


async def dial(egress: Egress, *, host: str, port: int, login: str, password: Secret, tls: bool) -> Session:
    """A session there. Raises `ConnectionRequired` when the login is refused, `UpstreamFailed` for everything else."""
    url = Url(scheme="https" if tls else "http", host=host, port=port, target=b"/")
    addresses = await egress.addresses(url)
    context = verifying(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), egress.roots) if tls else None
    connection = pymysql.Connection(
        # SECURITY: TLS is verified for this name; what is dialled is the proven address, below.
        # Guarded by tests/attacks/test_mariadb_address.py::test_a_server_that_does_not_prove_its_name_hears_nothing
        host=host.strip("[]"),
        port=port,
        user=login,
        password=password.reveal(),
        charset="utf8mb4",
        ssl=context,
        ssl_disabled=not tls,
        read_timeout=ANSWER_SECONDS,
        write_timeout=ANSWER_SECONDS,
        autocommit=True,
        sql_mode="STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        init_command=_BEGIN,
        auth_plugin_map={"mysql_clear_password": _NeverInTheClear, "dialog": _NeverInTheClear},
        program_name="valetkey",
        defer_connect=True,
    )
    session = Session(connection, ThreadPoolExecutor(1, thread_name_prefix="mariadb"))
    try:
        await asyncio.get_running_loop().run_in_executor(session._thread, _connect, connection, addresses[0], port)
    except Exception as error:  # whatever the driver makes of what it reads from a stranger
        session.terminate()
        if isinstance(error, pymysql.MySQLError) and number(error) in _REFUSED:
            raise ConnectionRequired(
                "The database no longer lets the connected login in.",
                hint="Ask an administrator to connect the database again.",
                detail=f"{url.place}: {number(error)}",
            ) from None
        unreached = failed(url.place, error)
        under = getattr(error, "original_exception", error)
        unreached.is_unreached = isinstance(under, OSError) and not isinstance(under, ssl.SSLError)
        raise unreached from None
    except BaseException:
        session.terminate()
        raise
    return session


def number(error: BaseException) -> int:
    """The number by which MariaDB names an error; 0 where it is none of its errors."""
    found = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
    return found if isinstance(found, int) else 0


def failed(place: str, error: BaseException) -> UpstreamFailed:
    """Name the place and the kind of error: its text may hold what a statement held."""
    under = getattr(error, "original_exception", error)
    reason = " certificate" if isinstance(under, ssl.SSLCertVerificationError) else ""
    return UpstreamFailed(
        "The database did not answer properly.", detail=f"{place}: {type(under).__name__} {number(error)}{reason}"
    )


def _connect(connection: Any, address: str, port: int) -> None:
    sock = socket.create_connection((address.strip("[]"), port), CONNECT_SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(sock)
    except BaseException:
        sock.close()
        raise
