"""Sending one message to one address, out by `egress` alone, and how that went in words for its person.

Refuses to know whose turn it is, and what becomes of an address.
"""

import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from valetkey.server.approvals.notices.encrypted import PADDED_BYTES, encrypted
from valetkey.server.approvals.notices.mail import Mail
from valetkey.server.approvals.notices.model import Kind, Message, address_of, said
from valetkey.server.approvals.notices.push import Subscription, shown, subscription_of
from valetkey.server.approvals.notices.vapid import Vapid
from valetkey.server.clock import Clock
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.secret import Secret

TIMEOUT_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 65_536

Headers = list[tuple[bytes, bytes]]


class Gone(Exception):
    """There is nobody at this address any more: it is forgotten (RFC 8030 section 7.3)."""


class Send:
    """One per process. `never` are places that no notice goes to, whoever opened them for something else."""

    def __init__(self, *, egress: Egress, clock: Clock, vapid: Vapid, mail: Mail | None, never: frozenset[str]) -> None:
        self._egress = egress
        self._clock = clock
        self._vapid = vapid
        self.mail = mail
        self._never = never

    async def __call__(self, kind: Kind, address: Secret, message: Message) -> str:
        """Nothing when it arrived, else why not. Raises `Gone`."""
        try:
            match kind:
                case Kind.MAIL:
                    return await self._mail(address.reveal(), message)
                case Kind.PUSH:
                    status = await self._push(subscription_of(address.reveal()), message)
                case _:
                    url, body = said(kind, address_of(kind, address.reveal()), message)
                    status = await self._post(url, [(b"content-type", b"application/json")], body)
        except (UpstreamFailed, InvalidRequest):
            return "it does not answer, or may not be asked"
        return "" if 200 <= status < 300 else f"it answers {status}"

    async def _mail(self, to: str, message: Message) -> str:
        if self.mail is None:
            return "this server sends no mail any more"
        try:
            await self.mail.tell(to, message)
        except UpstreamFailed as error:
            return f"not sent: {error.public}"
        return ""

    async def _push(self, to: Subscription, message: Message) -> int:
        body = encrypted(
            shown(message),
            browser=to.key,
            auth=to.auth,
            ours=ec.generate_private_key(ec.SECP256R1()),
            salt=secrets.token_bytes(16),
            padded=PADDED_BYTES,
        )
        headers = [
            (b"authorization", self._vapid.header(to.url, now=self._clock.now())),
            (b"content-encoding", b"aes128gcm"),
            (b"content-type", b"application/octet-stream"),
            (b"ttl", str(max(0, message.seconds)).encode()),  # what is over by then is not shown
            (b"urgency", b"high"),
        ]
        status = await self._post(to.url, headers, body)
        if status in (404, 410):
            raise Gone
        return status

    async def prove(self, url: Url) -> None:
        """Raise `UpstreamFailed` unless notices may be sent there now."""
        # SECURITY: what administrators opened for databases is not open to whoever types an address.
        # Guarded by tests/attacks/test_notices.py::test_a_database_of_ours_is_no_address
        if url.place in self._never:
            raise UpstreamFailed(detail=f"{url.place}: not for notices")
        await self._egress.prove(url)

    async def _post(self, url: Url, headers: Headers, body: bytes) -> int:
        # SECURITY: judged again as it is sent: what was public when it was saved may lead inward by now.
        # Guarded by tests/attacks/test_notices.py::test_ss_07_a_place_that_turned_private_is_not_told
        await self.prove(url)
        length = str(len(body)).encode()
        status, _, _ = await self._egress.fetch(
            "POST",
            url,
            [*headers, (b"user-agent", b"valetkey"), (b"content-length", length)],
            max_bytes=LARGEST_ANSWER,
            timeout=TIMEOUT_SECONDS,
            body=body,
        )
        return status
