"""`grant_type=…device_code` and `…ciba`: a client comes for the answer, not too often, and gets it once.

RFC 8628 section 3.4 and 3.5, CIBA Core section 10.1 and 11. The same client as the one that asked; what a direct issue
looks at is looked at again when the answer is redeemed (OA-27). Fetching it a second time ends what the first opened;
`reuse` says which second time is none.
"""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import With
from valetkey.server.db.effects import Outcome
from valetkey.server.db.engine import Database
from valetkey.server.delegations.model import Task
from valetkey.server.errors import Denied
from valetkey.server.ids import is_handle
from valetkey.server.oauth.decoupled import store
from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.model import DecoupledRequest, Kind, Verdict, judged
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.grants.reuse import Spent, end_opened
from valetkey.server.oauth.redeem import Redeem, check_grant, spent
from valetkey.server.secret import Secret

_SAYS = {
    Verdict.PENDING: ("The person has not answered yet.", "Ask again after the interval."),
    Verdict.SLOW_DOWN: ("This was asked too often.", "Wait five seconds longer between requests, from now on."),
    Verdict.DENIED: ("The person declined.", "Do not ask again for the same."),
    Verdict.EXPIRED: ("The request has expired.", "Start again with a new request."),
}


class Decoupled:
    """One per process and kind."""

    def __init__(
        self, kind: Kind, journal: Journal, asking: Asking, database: Database, redeem: Redeem, clock: Clock
    ) -> None:
        self._kind = kind
        self._journal = journal
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
            return With(entries=(entry,), effect=partial(_redeem, mac, request.client, task))

        if mac in self._under_way:  # the transaction would find out too; this costs less
            raise _said(Verdict.SLOW_DOWN)
        self._under_way.add(mac)
        try:
            answer = await self._redeem(asked, outcome, way="device" if is_device else "backchannel", spend=spend)
            async with self._database.write() as tx:
                await store.answer(tx, mac, now=int(self._clock.now()))
        finally:
            self._under_way.discard(mac)
        return answer

    async def _reused(self, request: DecoupledRequest) -> None:
        """End what the answer opened, once."""
        async with self._journal.change() as change:
            now = int(self._clock.now())
            ended = await end_opened(change, request.task, by=request.client, reason="answer reused", now=now)
            if ended and request.outcome is not None:
                change.record(
                    Event.REQUEST_REUSED,
                    request.outcome.org,
                    request=request.id,
                    kind=request.kind.value,
                    client=request.client,
                    user=request.outcome.user,
                    ended=ended,
                )

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
        check_grant(asked, await self._redeem.standing_client(asked))
        verdict, interval = judged(request, now)
        if verdict in (Verdict.PENDING, Verdict.SLOW_DOWN) and (now, interval) != (request.polled_at, request.interval):
            async with self._database.write() as tx:
                if not await store.poll(tx, mac, seen_at=request.polled_at, now=now, interval=interval):
                    verdict = Verdict.SLOW_DOWN
        if verdict is Verdict.READY:
            return request
        if verdict is Verdict.SPENT:
            if not Spent(request.used_at or 0, request.answered_at).is_being_answered(now):
                await self._reused(request)
            raise spent()
        raise _said(verdict)


async def _redeem(mac: bytes, client: str, task: Task, tx: AsyncConnection) -> Outcome:
    is_first = await store.redeem(tx, mac, client=client, task=task.id, now=task.created_at)
    return None if is_first else spent()


def _said(verdict: Verdict) -> Denied:
    words, hint = _SAYS[verdict]
    return Denied(words, hint=hint, reason=verdict.value)
