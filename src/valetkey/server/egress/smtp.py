"""Handing a message to the operator's mail server: to a proven address, under its name, encrypted and verified in full.

The same guard as for HTTP: every address of the name must be of the kind the settings expect, and the proven one is
dialled. STARTTLS or TLS from the first byte; a server that offers neither, or whose certificate is not good for its
name, hears no password and no message (RFC 3207, RFC 8314).
"""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final

from valetkey.server.egress.send import Egress
from valetkey.server.egress.url import Url
from valetkey.server.errors import UpstreamFailed
from valetkey.server.secret import Secret

SILENCE_SECONDS: Final = 10.0
MOST_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where it is and how one signs in there. `name` is what we call ourselves; `login` may be empty."""

    host: str
    port: int
    starttls: bool
    name: str
    login: str
    password: Secret | None


class _Session(smtplib.SMTP):
    """Dials the address that was proven, and verifies the name it was proven for."""

    def __init__(self, server: MailServer, address: str, tls: ssl.SSLContext) -> None:
        super().__init__(local_hostname=server.name, timeout=SILENCE_SECONDS)  # dials nothing yet
        self._address = address
        self._tls = tls
        self._is_implicit = not server.starttls
        # SECURITY: what the certificate must name, whatever address is dialled; `starttls` verifies this name too.
        # Guarded by tests/attacks/test_mail.py::test_a_server_that_does_not_prove_its_name_hears_nothing
        self._host = server.host.strip("[]")

    def _get_socket(self, _host: Any, port: Any, timeout: Any) -> Any:
        dialled = socket.create_connection((self._address, port), timeout)
        return self._tls.wrap_socket(dialled, server_hostname=self._host) if self._is_implicit else dialled


class Smtp:
    """One per process. Two threads at most: a mail server that hangs holds up mail and nothing else."""

    def __init__(self, server: MailServer, egress: Egress) -> None:
        self._server = server
        self._egress = egress
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="mail")

    async def send(self, message: EmailMessage) -> None:
        """Hand it over. Raises `UpstreamFailed`, whose public sentence says why and never what the server said."""
        await self._with(lambda session: session.send_message(message))

    async def check(self) -> None:
        """Sign in and leave. Raises `UpstreamFailed`."""
        await self._with(lambda session: session.noop())

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _with(self, work: Callable[[smtplib.SMTP], Any]) -> None:
        server = self._server
        url = Url(host=server.host, port=server.port, target=b"/")
        addresses = await self._egress.addresses(url)
        context = _context(self._egress.roots)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _session, server, addresses[0], context, work)


def _session(server: MailServer, address: str, tls: ssl.SSLContext, work: Callable[[smtplib.SMTP], Any]) -> None:
    session = _Session(server, address, tls)
    place = f"{server.host}:{server.port}"
    try:
        code, _ = session.connect(server.host.strip("[]"), server.port)
        if code != 220:
            raise _failed(place, "The mail server does not greet as one.", str(code))
        if server.starttls:
            session.starttls(context=tls)
        if server.login and server.password is not None:
            session.login(server.login, server.password.reveal())
        work(session)
        with contextlib.suppress(smtplib.SMTPException, OSError):  # what was taken was taken
            session.quit()
    except smtplib.SMTPNotSupportedError as error:
        raise _failed(place, "The mail server offers no STARTTLS, or no login.", "not supported") from error
    except smtplib.SMTPAuthenticationError as error:
        raise _failed(place, "The mail server does not take the login.", str(error.smtp_code)) from None
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        raise _failed(place, "The mail server does not take the message.", type(error).__name__) from None
    except ssl.SSLError as error:
        raise _failed(place, "The mail server does not prove its name.", type(error).__name__) from error
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise _failed(place, "The mail server does not answer.", type(error).__name__) from None
    finally:
        session.close()


def _failed(place: str, words: str, detail: str) -> UpstreamFailed:
    return UpstreamFailed(words, detail=f"{place}: {detail}")


def _context(roots: tuple[bytes, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for root in roots:
        context.load_verify_locations(cadata=root.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
