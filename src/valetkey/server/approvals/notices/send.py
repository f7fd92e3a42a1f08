"""Sending one message to one address, out by `egress` alone, and how that went in words for its person.

Refuses to know whose turn it is, and what becomes of an address.
"""

from typing import Final

from valetkey.server.approvals.notices.model import Kind, Message, address_of, said
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.secret import Secret

TIMEOUT_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 65_536

Headers = list[tuple[bytes, bytes]]


class Send:
    """One per process. `never` are places that no notice goes to, whoever opened them for something else."""

    def __init__(self, *, egress: Egress, never: frozenset[str]) -> None:
        self._egress = egress
        self._never = never

    async def __call__(self, kind: Kind, address: Secret, message: Message) -> str:
        """Nothing when it arrived, else why not."""
        try:
            url, body = said(kind, address_of(kind, address.reveal()), message)
            headers = [(b"content-type", b"application/json")]
            status = await self._post(url, headers, body)
        except (UpstreamFailed, InvalidRequest):
            return "it does not answer, or may not be asked"
        return "" if 200 <= status < 300 else f"it answers {status}"

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
