"""Telling a client that its person has answered (CIBA section 10.2, ping): one small request, out by `egress` alone.

It says which request, never what was answered: the client comes and asks. What cannot be delivered after a few tries is
not: polling goes on working.
"""

import asyncio
import logging
from typing import Final

import msgspec

from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.egress.url import parsed
from valetkey.server.errors import InvalidRequest, NotFound, UpstreamFailed, ValetkeyError
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.decoupled import store
from valetkey.server.oauth.decoupled.model import DecoupledRequest, Kind
from valetkey.server.vault.ring import KeyRing

TIMEOUT_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 4_096
PAUSES: Final = (0.0, 1.0, 5.0)
_MOST_AT_ONCE: Final = 64

log = logging.getLogger("valetkey")


class Notify:
    """One per process. `settle` waits for what is under way."""

    def __init__(self, database: Database, clients: Clients, egress: Egress, ring: KeyRing) -> None:
        self._database = database
        self._clients = clients
        self._egress = egress
        self._ring = ring
        self._under_way: set[asyncio.Task[None]] = set()

    def soon(self, request: DecoupledRequest) -> None:
        """Tell its client, without holding up the person."""
        if request.kind is not Kind.BACKCHANNEL or len(self._under_way) >= _MOST_AT_ONCE:
            return
        task = asyncio.create_task(self._tell(request))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Tell nobody any more."""
        for task in set(self._under_way):
            task.cancel()
        await self.settle()

    async def _tell(self, request: DecoupledRequest) -> None:
        for pause in PAUSES:
            await asyncio.sleep(pause)
            try:
                if await self._told(request):
                    return
            except ValetkeyError as error:
                log.warning("a client was not notified: %s", error.code)
            except Exception as error:  # nothing else is told of it: polling goes on
                log.warning("a client was not notified: %s", type(error).__name__)
                return

    async def _told(self, request: DecoupledRequest) -> bool:
        """Whether there is nothing more to do: it was delivered, or there is nobody to tell."""
        async with self._database.read() as db:
            notice = await store.notice_of(db, request, ring=self._ring)
        if notice is None:
            return True
        try:
            client = await self._clients.known(request.client)
        except NotFound:
            return True
        if client.metadata.delivery != "ping":
            return True
        # SECURITY: judged again as it is sent: what was public when it was registered may lead inward by now.
        # Guarded by tests/attacks/test_device_codes.py::test_ss_07_a_place_that_turned_private_is_not_told
        url = parsed(client.metadata.notification_endpoint)
        body = msgspec.json.encode({"auth_req_id": notice.handle.reveal()})
        headers = [
            (b"authorization", f"Bearer {notice.token.reveal()}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        status, _, _ = await self._egress.fetch(
            "POST", url, headers, max_bytes=LARGEST_ANSWER, timeout=TIMEOUT_SECONDS, body=body
        )
        return 200 <= status < 500  # section 10.2: 204 or 200; a refusal is an answer, a redirect is not followed


async def check_delivery(egress: Egress, metadata: ClientMetadata) -> None:
    """How a client wants to be told, before it is kept (CIBA section 4): poll, or ping at public https (SS-07)."""
    endpoint = metadata.notification_endpoint
    if metadata.delivery not in ("poll", "ping"):
        raise _refused("The delivery mode is poll or ping.")
    if (metadata.delivery == "ping") != bool(endpoint):
        raise _refused("A notification endpoint belongs to the delivery mode ping, and to no other.")
    if not endpoint:
        return
    try:
        await egress.prove(parsed(endpoint))
    except (InvalidRequest, UpstreamFailed) as error:
        raise _refused(
            "The notification endpoint is not a public https address, or nobody knows its name.", error.detail
        ) from error


def _refused(words: str, detail: str = "") -> InvalidRequest:
    return InvalidRequest(words, detail=detail, reason="client_metadata")
