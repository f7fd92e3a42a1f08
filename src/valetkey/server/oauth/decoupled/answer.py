"""The person's side: which request a code means, what waits for her, what she is asked, and her answer.

A device request belongs to whoever typed its code first; nobody else sees it again. What she agreed to is kept with the
request, in the transaction that records the delegation; its client comes for it by asking.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.delegable import delegable
from valetkey.server.db.engine import Database
from valetkey.server.delegations.consent import missing
from valetkey.server.delegations.model import Delegation, Mode
from valetkey.server.errors import Conflict, Expired, NotFound, ValetkeyError
from valetkey.server.ids import is_id
from valetkey.server.oauth import store as agreements
from valetkey.server.oauth.agreed import Agreed
from valetkey.server.oauth.authorize import Question
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.decoupled import store
from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.model import OPEN, DecoupledRequest, Kind, Status
from valetkey.server.oauth.decoupled.notify import Notify
from valetkey.server.oauth.decoupled.patience import Patience
from valetkey.server.oauth.outside import AgentFor
from valetkey.server.oauth.request import EVERYWHERE, OFFLINE, Rules, request_of
from valetkey.server.principals.model import User
from valetkey.server.principals.sessions.model import Session
from valetkey.server.principals.user_codes import typed
from valetkey.server.revocation import store as revocation


class Answering:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        clients: Clients,
        agent_for: AgentFor,
        asking: Asking,
        patience: Patience,
        notify: Notify,
        rules: Rules,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._clients = clients
        self._agent_for = agent_for
        self._asking = asking
        self._patience = patience
        self._notify = notify
        self._rules = rules
        self._clock = clock

    async def by_code(self, text: str, user: User, session: Session, *, address: str) -> DecoupledRequest:
        """The request a person's code means, hers from now on. Raises `NotFound` for all others, `TooMany`."""
        counted = await self._patience.try_code(user, session=session.id, address=address)
        code, now = typed(text), int(self._clock.now())
        async with self._database.read() as db:
            found = None if code is None else await store.by_user_code(db, self._asking.code_mac(code))
        if found is None or not found.is_open(now) or not await self._is_for(found, user):
            raise _no_such_code()
        async with self._database.write() as tx:
            if not await store.claim(tx, found.id, user=user.id, now=now):
                raise _no_such_code()
        await self._patience.give_back(counted)
        return found

    async def waiting(self, user: User) -> list[tuple[DecoupledRequest, Question]]:
        """What waits for her answer, the newest first. A request whose client has ended waits for nothing."""
        async with self._database.read() as db:
            found = await store.open_for(db, user.id, now=int(self._clock.now()))
        asked = []
        for request in found:
            if request.kind is Kind.DEVICE and request.status is not Status.CONFIRMED:
                continue
            try:
                asked.append((request, await self._question(request, user)))
            except ValetkeyError:
                continue
        return asked

    async def question(self, request_id: str, user: User) -> tuple[DecoupledRequest, Question]:
        """What she is asked. Raises `Expired` for what is over or somebody else's."""
        async with self._database.read() as db:
            request = await store.by_id(db, request_id) if is_id(request_id, "req") else None
        if request is None or request.user != user.id or not request.is_open(self._clock.now()):
            raise _over()
        return request, await self._question(request, user)

    async def confirm(self, request_id: str, user: User) -> None:
        """She said that the device is hers (RFC 8628 section 5.4)."""
        request, _ = await self.question(request_id, user)
        async with self._journal.change() as change:
            await self._move(change.tx, request, user, to=Status.CONFIRMED, among=(Status.PENDING,))
            change.record(Event.REQUEST_CONFIRMED, user.org, request=request.id, client=request.client, user=user.id)

    async def approve(
        self, change: Change, request: DecoupledRequest, question: Question, session: Session, delegation: Delegation
    ) -> None:
        """Keep what she agreed to, in the transaction that records it."""
        wanted, asked = question.wanted, question.request
        scopes = asked.scopes - ({OFFLINE} if delegation.mode is not Mode.STANDING else set())
        outcome = Agreed(
            client=request.client,
            org=delegation.org,
            user=delegation.user,
            agent=delegation.agent,
            delegation=delegation.id,
            resources=asked.resources,
            scopes=tuple(sorted(scopes)),
            session=session.id,
            jkt=asked.jkt,
            auth_time=session.auth_time,
            acr=session.acr,
            amr=session.amr,
        )
        now = int(self._clock.now())
        await agreements.add_consent(
            change.tx, delegation=delegation.id, client=wanted.client, digest=wanted.digest, asked=wanted.asked, now=now
        )
        among = (Status.CONFIRMED,) if request.kind is Kind.DEVICE else (Status.PENDING,)
        moved = await store.move(
            change.tx, request.id, user=delegation.user, to=Status.APPROVED, now=now, among=among, outcome=outcome
        )
        if not moved:
            raise Conflict("This request was answered already, or it has expired.", hint="Start again on the device.")
        change.record(
            Event.REQUEST_APPROVED,
            delegation.org,
            request=request.id,
            kind=request.kind.value,
            client=request.client,
            user=delegation.user,
            agent=delegation.agent,
            delegation=delegation.id,
            session=session.id,
        )

    async def decline(self, request_id: str, user: User) -> None:
        """She said no; its client waits before it asks her again."""
        async with self._database.read() as db:
            request = await store.by_id(db, request_id) if is_id(request_id, "req") else None
        if request is None or request.user != user.id:
            raise _over()
        async with self._journal.change() as change:
            await self._move(change.tx, request, user, to=Status.DENIED, among=OPEN)
            if request.kind is Kind.BACKCHANNEL:
                await self._patience.declined(change.tx, user=user.id, client=request.client)
            change.record(Event.CONSENT_DECLINED, user.org, user=user.id, client=request.client, request=request.id)
        self._notify.soon(request)

    def answered(self, request: DecoupledRequest) -> None:
        """Her answer is durable: tell a client that wants to be told."""
        self._notify.soon(request)

    async def _move(
        self, tx: AsyncConnection, request: DecoupledRequest, user: User, *, to: Status, among: tuple[Status, ...]
    ) -> None:
        now = int(self._clock.now())
        if not await store.move(tx, request.id, user=user.id, to=to, now=now, among=among):
            raise _over()

    async def _is_for(self, request: DecoupledRequest, user: User) -> bool:
        if request.user not in (None, user.id):
            return False
        try:
            await self._question(request, user)
        except ValetkeyError:
            return False
        return True

    async def _question(self, request: DecoupledRequest, user: User) -> Question:
        """The same question as on any consent page, read anew from what was kept."""
        client = await self._clients.known(request.client)
        asked = request_of(request.form, client, self._rules, EVERYWHERE, org=user.org)
        agent = await self._agent_for(user, client)
        if agent is None or agent.org != user.org:
            raise _over()
        wanted, now = asked.wanted(user=user.id, agent=agent.id), int(self._clock.now())
        async with self._database.read() as db:
            held = await delegable(db, user, self._rules.catalogue)
            given = await agreements.given(db, user=user.id, client=client.id, now=now)
            ended = await revocation.among(db, {g.delegation.id for g in given})
        connected = {c.facts.id: c.facts.integration for c in held.connections}
        # NOTE: she is asked every time, whatever she agreed to before: who started it elsewhere, only she can tell.
        return Question(
            request=asked,
            wanted=wanted,
            agent=agent,
            missing=missing(wanted, None, connected, now=now),
            given=tuple(g for g in given if g.delegation.id not in ended),
        )


def _no_such_code() -> NotFound:
    return NotFound(
        "This code is not valid, or it has expired.",
        hint="Compare it with the one on the device, or start again there.",
    )


def _over() -> Expired:
    return Expired("This request was answered already, or it has expired.", hint="Start again where you began.")
