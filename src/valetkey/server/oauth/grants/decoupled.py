"""`grant_type=…device_code` and `…ciba`: a client comes for the answer, not too often, and gets it once.

RFC 8628 section 3.4 and 3.5, CIBA Core section 10.1 and 11. The same client as the one that asked; what a direct issue
looks at is looked at again when the answer is redeemed (OA-27).
"""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry
from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import With
from valetkey.server.db.effects import Outcome
from valetkey.server.db.engine import Database
from valetkey.server.delegations.model import Task
from valetkey.server.errors import Denied
from valetkey.server.ids import is_handle
from valetkey.server.oauth.decoupled import store
from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.backchannel import CIBA
from valetkey.server.oauth.decoupled.device import DEVICE_CODE
from valetkey.server.oauth.decoupled.model import DecoupledRequest, Kind, Verdict, judged
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.redeem import Redeem, spent
from valetkey.server.secret import Secret

_SAYS = {
    Verdict.PENDING: ("The person has not answered yet.", "Ask again after the interval."),
    Verdict.SLOW_DOWN: ("This was asked too often.", "Wait five seconds longer between requests, from now on."),
    Verdict.DENIED: ("The person declined.", "Do not ask again for the same."),
    Verdict.EXPIRED: ("The request has expired.", "Start again with a new request."),
}


class Decoupled:
    """One per process and kind."""

    def __init__(self, kind: Kind, asking: Asking, database: Database, redeem: Redeem, clock: Clock) -> None:
        self._kind = kind
        self._asking = asking
        self._database = database
        self._redeem = redeem
        self._clock = clock
        self._under_way: set[bytes] = set()  # redeemed by this process at this moment

    async def __call__(self, asked: Asked) -> Answer:
        is_device = self._kind is Kind.DEVICE
        handle = Secret(asked.form.must("device_code" if is_device else "auth_req_id"))
        mac = self._asking.handle_mac(self._kind, handle)
        request = await self._polled(handle, mac, asked)
        outcome = request.outcome
        if outcome is None:
            raise spent()

        def spend(task: Task) -> With:
            members = {
                "request": request.id,
                "kind": request.kind.value,
                "task": task.id,
                "client": request.client,
                "user": outcome.user,
            }
            entry = Entry(event=Event.REQUEST_REDEEMED, org=task.org, members=members)
            return With(entries=(entry,), effect=partial(_redeem, mac, request.client, task.created_at))

        if mac in self._under_way:  # the transaction would find out too; this costs less
            raise _said(Verdict.SLOW_DOWN)
        self._under_way.add(mac)
        try:
            return await self._redeem(asked, outcome, way="device" if is_device else "backchannel", spend=spend)
        finally:
            self._under_way.discard(mac)

    async def _polled(self, handle: Secret, mac: bytes, asked: Asked) -> DecoupledRequest:
        """The request, once it can be redeemed. Every other verdict is raised."""
        now = int(self._clock.now())
        async with self._database.read() as db:
            known = is_handle(handle.reveal(), "dv" if self._kind is Kind.DEVICE else "bc")
            request = await store.by_mac(db, mac) if known else None
        # SECURITY: before anything else: whose it is, so that another client learns nothing and slows nobody down.
        # Guarded by tests/attacks/test_device_codes.py::test_another_client_learns_nothing_and_slows_nobody_down
        if (
            request is None
            or asked.client is None
            or request.client != asked.client.id
            or request.kind is not self._kind
        ):
            raise spent()
        await self._check_grant(asked)
        verdict, interval = judged(request, now)
        if verdict in (Verdict.PENDING, Verdict.SLOW_DOWN) and (now, interval) != (request.polled_at, request.interval):
            async with self._database.write() as tx:
                if not await store.poll(tx, mac, seen_at=request.polled_at, now=now, interval=interval):
                    verdict = Verdict.SLOW_DOWN
        if verdict is Verdict.READY:
            return request
        if verdict is Verdict.SPENT:
            raise spent()
        raise _said(verdict)

    async def _check_grant(self, asked: Asked) -> None:
        """A client that may not use the grant any more gets nothing of it."""
        client = await self._redeem.standing_client(asked)
        wanted = DEVICE_CODE if self._kind is Kind.DEVICE else CIBA
        if wanted not in client.metadata.grant_types:
            raise Denied("The client did not register for this grant type.", reason="unauthorized_client")


async def _redeem(mac: bytes, client: str, now: int, tx: AsyncConnection) -> Outcome:
    return None if await store.redeem(tx, mac, client=client, now=now) else spent()


def _said(verdict: Verdict) -> Denied:
    words, hint = _SAYS[verdict]
    return Denied(words, hint=hint, reason=verdict.value)
