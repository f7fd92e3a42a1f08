"""Notices by e-mail: plain text, from the operator's own mail server, to addresses their persons confirmed.

No name in it can add a header or a line: what is not printable is replaced, and addresses are plain ASCII.
"""

import re
import secrets
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from valetkey.server.approvals.notices.model import Message
from valetkey.server.clock import Clock
from valetkey.server.egress import Egress
from valetkey.server.egress.smtp import MailServer, Smtp
from valetkey.server.egress.url import Url, is_name
from valetkey.server.errors import InvalidRequest
from valetkey.server.settings import Settings

_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_FOOT: Final = "Opening the link answers nothing. You named this address under Account, Notices; remove it there."


def mailbox(text: str) -> str:
    """An address that mail may go to. Raises `InvalidRequest`.

    >>> mailbox("alice@Acme.com")
    'alice@acme.com'
    """
    local, at, domain = text.rpartition("@")
    domain = domain.lower()
    # SECURITY: no quoting, no comment, no line break, no second recipient: nothing a header could be made of.
    # Guarded by tests/attacks/test_mail.py::test_an_address_cannot_write_a_header
    if not at or len(text) > 254 or len(local) > 64 or not _LOCAL.fullmatch(local) or local.startswith("-"):
        raise InvalidRequest("This is not an e-mail address.", hint="Write name@example.com.")
    if not is_name(domain) or "." not in domain:
        raise InvalidRequest("This is not an e-mail address.", hint="Write name@example.com.")
    return f"{local}@{domain}"


class Mail:
    """One per process, where the settings name a mail server."""

    def __init__(self, smtp: Smtp, *, sender: str, clock: Clock) -> None:
        self._smtp = smtp
        self._sender = sender
        self._clock = clock

    async def tell(self, to: str, message: Message) -> None:
        """That something waits. Raises `UpstreamFailed`."""
        match message.count:
            case 0:
                subject = "Notices from Valetkey arrive here"
            case 1:
                subject = "A call waits for your answer"
            case _:
                subject = f"{message.count} calls wait for your answer"
        await self._send(to, subject, [message.words, message.link, _FOOT])

    async def ask(self, to: str, code: str, page: str) -> None:
        """Whether the address is theirs: the code is typed on their page. Raises `UpstreamFailed`."""
        words = f"Somebody wants to be told at this address when a call waits for them. If it is you, type {code} at:"
        foot = "If it is not you, do nothing: no more is sent here."
        await self._send(to, "Is this your address?", [words, page, foot])

    async def _send(self, to: str, subject: str, parts: list[str]) -> None:
        domain = self._sender.rpartition("@")[2]
        mail = EmailMessage(policy=SMTP)
        mail["From"] = f"Valetkey <{self._sender}>"
        mail["To"] = mailbox(to)
        mail["Subject"] = subject
        mail["Date"] = format_datetime(datetime.fromtimestamp(self._clock.now(), UTC))
        mail["Message-ID"] = f"<{secrets.token_hex(16)}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: nobody's absence answers it
        mail.set_content("\n\n".join(_plain(part) for part in parts), cte="quoted-printable")
        await self._smtp.send(mail)


async def open_mail(settings: Settings, clock: Clock, opened: AsyncExitStack) -> Mail | None:
    """The mail server the settings name, by a way out of its own; None where they name none."""
    found = await open_smtp(settings, clock, opened)
    return None if found is None else Mail(found, sender=settings.smtp_from, clock=clock)


async def open_smtp(settings: Settings, clock: Clock, opened: AsyncExitStack) -> Smtp | None:
    """The same, for who only wants to know whether it answers."""
    if not settings.smtp:
        return None
    host, _, port = settings.smtp.rpartition(":")
    place = frozenset({Url(host=host, port=int(port), target=b"/").place})
    roots = () if settings.smtp_ca is None else (settings.smtp_ca.read_bytes(),)
    # NOTE: of this place alone the settings say where it may be; addresses that people name stay public.
    egress = Egress(
        allow_loopback_hosts=place if settings.smtp_network == "loopback" else frozenset(),
        allow_private_hosts=place if settings.smtp_network == "private" else frozenset(),
        extra_roots=roots,
        clock=clock,
    )
    await egress.open()
    opened.push_async_callback(egress.close)
    server = MailServer(
        host=host,
        port=int(port),
        starttls=settings.smtp_tls == "starttls",
        name=settings.smtp_from.rpartition("@")[2],
        login=settings.smtp_login,
        password=settings.smtp_password,
    )
    smtp = Smtp(server, egress)
    opened.push_async_callback(smtp.close)
    return smtp


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
