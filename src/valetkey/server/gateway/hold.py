"""A call that a person must see first: kept, asked about, and, once approved, sent as it was kept, once.

1. keep the exact bytes, 2. find what is known of this very call, 3. record what becomes of it in the commit that does
it: held, allowed and used up, or told what became of it. Decided again each time it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals import store
from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.model import (
    APPROVAL_SECONDS,
    MOST_PENDING,
    Approval,
    Facts,
    Kept,
    State,
    Step,
    answerers,
    facts_of,
    is_enough,
    key_of,
)
from valetkey.server.approvals.notices.notices import Notices
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.db.effects import Effect
from valetkey.server.db.engine import Database
from valetkey.server.errors import ApprovalRequired, Conflict, Denied, TooMany, ValetkeyError
from valetkey.server.gateway.charge import Charge, account
from valetkey.server.ids import new_id
from valetkey.server.policy.model import WORDS, Ask, Authority, Call, Deny, Reason
from valetkey.server.vault.ring import KeyRing

Headers = Sequence[tuple[bytes, bytes]]

_OVER: Final[Mapping[State, tuple[Reason, type[ValetkeyError], str]]] = {
    State.DENIED: (Reason.APPROVAL_DENIED, Denied, "Do not repeat it. Do what the message says, or something else."),
    State.EXPIRED: (Reason.APPROVAL_EXPIRED, Denied, "Repeat the same call to ask again."),
    State.UNREACHED: (Reason.APPROVAL_UNREACHED, Denied, "Tell the person about the link, then repeat the same call."),
    State.CANCELLED: (Reason.APPROVAL_CANCELLED, Denied, "Do not repeat it unless it is needed after all."),
    State.USED: (Reason.APPROVAL_USED, Conflict, "Go on with what the first one answered."),
}


class Changed(Exception):
    """What was known of the approval is no longer so: look again."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One call that arrived, and the question about it."""

    members: Mapping[str, Any]  # of the record
    calls: tuple[Call, ...]
    ask: Ask
    authority: Authority
    seq: int
    kept: Kept
    spending: Effect | None
    charged: Charge


class Hold:
    """One per process."""

    def __init__(
        self, database: Database, journal: Journal, ring: KeyRing, clock: Clock, approvals: Approvals, notices: Notices
    ) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._approvals = approvals
        self._notices = notices

    async def __call__(self, held: Holding) -> tuple[str, Kept] | Deny:
        """The record that allows it, and the bytes to send; or a refusal still to be recorded. Raises the others."""
        facts = facts_of(held.ask, held.calls, held.authority)
        connection = held.authority.connections[held.calls[0].connection]
        fresh = self._fresh(held, facts, key_of(held.kept, facts, connection.generation))
        async with self._database.read() as db:
            known = await store.current(db, fresh.task, fresh.key)
            like = await store.standing(db, fresh.task, fresh.like) if fresh.may_be_for_the_task else None
        now = self._clock.now()
        state = None if known is None else known.now(now)
        if known is None or state is None or self._is_past(known, now):
            # SECURITY: it is worth as much as who gave it is now, and who may answer now.
            # Guarded by tests/flows/test_rules_that_ask.py::test_an_answer_for_the_task_is_worth_as_much_as_who_gave_it
            if like is not None and is_enough(await self._approvals.active({like.user}), fresh.user, facts):
                return await self._allowed(held, held.kept, {"answer": like.id}, None)
            return await self._asked(held, fresh, None if known is None else known.id)
        match state:
            case State.PENDING:
                return await self._held(held, known, {})
            case State.APPROVED:
                return await self._used(held, known)
            case _:
                raise await self._told(held, known, state)

    def _fresh(self, held: Holding, facts: Facts, key: str) -> Approval:
        now = int(self._clock.now())
        authority = held.authority
        return Approval(
            id=new_id("apr"),
            org=authority.user.org,
            user=authority.user.id,
            agent=authority.agent.id,
            task=authority.task.id,
            key=key,
            state=State.PENDING,
            facts=facts,
            message="",
            seen_at=None,
            created_at=now,
            expires_at=min(now + APPROVAL_SECONDS, authority.expires_at),
            decision="",
        )

    def _is_past(self, known: Approval, now: float) -> bool:
        """Whether what became of it was told, so that the same call may be asked about anew."""
        if known.state in (State.PENDING, State.APPROVED):
            return False
        return known.state in (State.EXPIRED, State.UNREACHED) or now >= known.expires_at

    async def _asked(self, held: Holding, fresh: Approval, instead_of: str | None) -> Deny:
        everybody = await self._approvals.active(answerers(fresh.user, fresh.facts))
        if not is_enough(everybody, fresh.user, fresh.facts):
            raise await self._unanswerable(held, fresh)
        asked = Entry(
            event=Event.APPROVAL_ASKED,
            org=fresh.org,
            refers=fresh.id,
            members={
                "approval": fresh.id,
                "key": fresh.key,
                "task": fresh.task,
                "user": fresh.user,
                "agent": fresh.agent,
                "asked_by": list(fresh.facts.asked_by),
                "danger": fresh.facts.danger,
                "expires_at": fresh.expires_at,
            },
        )

        async def add(tx: AsyncConnection) -> Exception | None:
            if await store.pending_between(tx, fresh.user, fresh.agent, now=fresh.created_at) >= MOST_PENDING:
                return TooMany(detail="pending approvals")
            if not await store.add(tx, fresh, held.kept, instead_of=instead_of, ring=self._ring):
                return Changed()
            await self._notices.owe(tx, fresh, everybody)
            return None

        try:
            return await self._held(held, fresh, {"add": add, "after": (asked,)})
        except TooMany:
            return Deny(reason=Reason.TOO_MANY_ASKS)
        except ApprovalRequired:
            self._notices.soon()  # it is recorded that it waits
            raise

    async def _held(self, held: Holding, approval: Approval, more: Mapping[str, Any]) -> Deny:
        """Record that it waits, and say so."""
        recorded = await self._journal.record(
            Entry(
                event=Event.CALL_HELD,
                org=approval.org,
                members={**held.members, "approval": approval.id, "reason": Reason.ASKS.value},
                also=_all(held.spending, more.get("add")),
                after=more.get("after", ()),
            ),
            decided_under=held.seq,
        )
        link = self._approvals.link(approval.id)
        raise ApprovalRequired(
            WORDS[Reason.ASKS],
            hint=f"Tell the person about {link}, wait, then repeat the same call. Prefer: wait=30 waits here.",
            reason=Reason.ASKS.value,
            decision=recorded,
            approval=approval.id,
            link=link,
            expires_at=approval.expires_at,
            outcome=State.PENDING.value,
        )

    async def _used(self, held: Holding, approval: Approval) -> tuple[str, Kept] | Deny:
        """Spend it in the commit that records the decision, and send what was kept."""
        async with self._database.read() as db:
            agreed = await store.agreed(db, approval.id)
        # SECURITY: who agreed must still be somebody, under the rules as they are now.
        # Guarded by tests/flows/test_approvals.py::test_an_approval_of_somebody_suspended_since_is_none
        if not is_enough(await self._approvals.active(agreed), approval.user, approval.facts):
            return Deny(reason=Reason.ERROR, detail="Whoever approved it may no longer do so.")
        kept = await self._approvals.kept(approval)
        return await self._allowed(held, kept, {"approval": approval.id, "approved_by": sorted(agreed)}, approval)

    async def _allowed(
        self, held: Holding, kept: Kept, members: Mapping[str, Any], approval: Approval | None
    ) -> tuple[str, Kept] | Deny:
        entry_id, org = new_id("aud"), held.authority.user.org
        held.charged.members = said = {**held.members, **members}
        count: Effect = partial(_count, held.charged)
        if approval is not None:
            count = partial(_use, approval.id, int(self._clock.now()), entry_id, held.charged)
        entry = Entry(event=Event.CALL_ALLOWED, org=org, members=said, also=_all(held.spending, count), id=entry_id)
        try:
            return must_be_recorded(entry, await self._journal.record(entry, decided_under=held.seq)), kept
        except TooMany as refused:
            if "reason" not in refused.members:
                raise  # the server's own limit, which has recorded nothing
            said = {**held.members, **members, "reason": refused.members["reason"]}
            denied = Entry(event=Event.CALL_DENIED, org=org, members=said)  # the proof is spent, the call is not
            refused.members["decision"] = await self._journal.record(denied, decided_under=held.seq)
            raise

    async def _unanswerable(self, held: Holding, fresh: Approval) -> ValetkeyError:
        """Record that nobody can agree to it, now and not in ten minutes, and say so: it is not even asked."""
        reason = Reason.APPROVAL_UNREACHED
        recorded = await self._journal.record(
            Entry(
                event=Event.CALL_DENIED,
                org=fresh.org,
                members={**held.members, "reason": reason.value},
                also=_all(held.spending),
            ),
            decided_under=held.seq,
        )
        return Denied(
            "Nobody who could agree to this call is there.",
            hint="Tell the person: the rule that asks names too few people who may answer and are active.",
            reason=reason.value,
            decision=recorded,
            outcome=State.UNREACHED.value,
        )

    async def _told(self, held: Holding, approval: Approval, state: State) -> ValetkeyError:
        """Record that it is refused for what became of it, and say that; what lapsed is told once."""
        reason, kind, hint = _OVER[state]
        close = None
        if approval.state is not state:
            step = Step.MISS if state is State.UNREACHED else Step.LAPSE
            close = partial(_close, approval.id, step, int(self._clock.now()))
        recorded = await self._journal.record(
            Entry(
                event=Event.CALL_DENIED,
                org=approval.org,
                members={**held.members, "approval": approval.id, "reason": reason.value},
                also=_all(held.spending, close),
            ),
            decided_under=held.seq,
        )
        message = {"message_from_person": approval.message} if approval.message else {}
        sent = {"first_decision": approval.decision} if approval.decision else {}
        return kind(
            WORDS[reason],
            hint=hint,
            reason=reason.value,
            decision=recorded,
            approval=approval.id,
            link=self._approvals.link(approval.id),
            outcome=state.value,
            **message,
            **sent,
        )


def _all(*effects: Effect | None) -> Effect | None:
    """One after the other, as long as none refuses; the proof first, so that what it spends is known."""
    found = [effect for effect in effects if effect is not None]

    async def run(tx: AsyncConnection) -> Exception | None:
        for effect in found:
            if (refused := await effect(tx)) is not None:
                return refused
        return None

    return run if found else None


async def _use(approval_id: str, now: int, decision: str, charged: Charge, tx: AsyncConnection) -> Exception | None:
    if not await store.move(tx, approval_id, Step.USE, now=now, decision=decision):
        return Changed()
    refused = await _count(charged, tx)
    if refused is not None:
        await store.unuse(tx, approval_id)
    return refused


async def _count(charged: Charge, tx: AsyncConnection) -> Exception | None:
    [refused] = await account(tx, [charged])
    return refused


async def _close(approval_id: str, step: Step, now: int, tx: AsyncConnection) -> Exception | None:
    return None if await store.move(tx, approval_id, step, now=now) else Changed()
