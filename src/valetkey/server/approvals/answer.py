"""People's side of an approval: who sees it, and the one answer each gives. And who waits for an answer.

Every answer is one conditional step of the state table, in the transaction that records it; of many at the same moment
one counts. Refuses to know HTTP, and whether the call may go on: that is decided again when it is sent.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from valetkey.server.approvals import store
from valetkey.server.approvals.model import LONGEST_MESSAGE, Approval, Kept, Proof, State, Step, is_enough, may_answer
from valetkey.server.approvals.render import Shown, forgotten, render
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.delegations.model import Catalogue
from valetkey.server.errors import Conflict, Denied, InvalidRequest, NotFound, TooMany
from valetkey.server.ids import new_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.vault.ring import KeyRing

MOST_WAITING = 256
MOST_WAITING_PER_AGENT = 4
LONGEST_WAIT_SECONDS = 30


@dataclass(eq=False, slots=True)
class _Waiter:
    nodes: frozenset[str]
    woken: asyncio.Event


class Approvals:
    """One per process."""

    def __init__(
        self, database: Database, journal: Journal, ring: KeyRing, clock: Clock, catalogue: Catalogue, *, base: str
    ) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._base = base
        self._waiters: set[_Waiter] = set()
        self._agents: Counter[str] = Counter()

    def link(self, approval_id: str) -> str:
        """Where a person finds it. Looking answers nothing."""
        return f"{self._base}/approvals/{approval_id}"

    async def listed(self, person: User, *, all_of_them: bool = False) -> list[Approval]:
        """What waits for this person, the newest first; with `all_of_them` also what is over."""
        now = int(self._clock.now())
        async with self._database.read() as db:
            found = await store.about(db, person.org, person.id, open_at=None if all_of_them else now)
            mine = [a for a in found if may_answer(person.id, a.user, a.facts)]
            ended = await revocation.among(db, {node for a in mine for node in a.facts.nodes})
        mine = [a for a in mine if all_of_them or not ended & set(a.facts.nodes)]
        await self._note_seen([a.id for a in mine if a.seen_at is None and a.now(now) is State.PENDING])
        return mine

    async def of(self, person: User, approval_id: str) -> Approval:
        """One that this person may answer. Raises `NotFound`."""
        async with self._database.read() as db:
            found = await store.by_id(db, approval_id)
        if found is None or found.org != person.org or not may_answer(person.id, found.user, found.facts):
            raise NotFound("There is no such approval, or it is not yours to answer.")
        if found.seen_at is None and found.now(self._clock.now()) is State.PENDING:
            await self._note_seen([found.id])
        return found

    async def of_agent(self, agent: Agent, approval_id: str) -> Approval:
        """One this agent waits for: what became of it, nothing it can answer. Raises `NotFound`."""
        async with self._database.read() as db:
            found = await store.by_id(db, approval_id)
        if found is None or found.agent != agent.id:
            raise NotFound("There is no such approval, or it is not yours.")
        return found

    async def shown(self, approval: Approval) -> Shown:
        """What will be sent, in words, from the kept bytes alone."""
        async with self._database.read() as db:
            kept = await store.kept_of(db, approval, ring=self._ring)
        integration = self._catalogue.get(approval.facts.integration)
        return forgotten(approval.facts, integration) if kept is None else render(kept, approval.facts, integration)

    async def kept(self, approval: Approval) -> Kept:
        """The exact bytes to send."""
        async with self._database.read() as db:
            kept = await store.kept_of(db, approval, ring=self._ring)
        if kept is None:
            raise over()
        return kept

    async def needs_proof(self, approval: Approval) -> bool:
        """Whether a click is not enough: it is dangerous, or cannot be shown whole."""
        return approval.facts.danger or not (await self.shown(approval)).is_whole

    async def past(self, approval: Approval) -> list[Approval]:
        """Answers to the same operations on the same things before, the newest first."""
        async with self._database.read() as db:
            found = await store.of_user(db, approval.user, limit=500)
        return [a for a in found if a.id != approval.id and a.like == approval.like][:5]

    async def approve(self, person: User, approval_id: str, *, proof: Proof, for_the_task: bool) -> State:
        """Say yes, once or for all like it until the task ends."""
        found = await self.of(person, approval_id)
        if for_the_task and not found.may_be_for_the_task:
            raise Denied("This one is only ever approved by itself.", reason="danger", hint="Approve it once, or deny.")
        # SECURITY: what is dangerous, or what nobody could read, is not approved by a click that anybody at the
        # screen could make. Guarded by tests/flows/test_approvals.py::test_a_dangerous_call_needs_a_fresh_proof
        if proof.approval != found.id and await self.needs_proof(found):
            raise Denied(
                "This one needs a fresh proof that it is you, made for it alone.",
                hint=f"Open {self.link(found.id)} and prove it there.",
                reason="not_fresh",
            )
        now = int(self._clock.now())
        async with self._journal.change() as change:
            await change.touches(found.id)
            if await revocation.among(change.tx, {*found.facts.nodes, person.id}):
                raise Conflict("The task has ended, so there is nothing left to approve.", hint="Nothing was sent.")
            agreed = await store.agree(change.tx, found.id, person.id, proof=proof.words, now=now)
            said = {"approval": found.id, "by": person.id, "proof": proof.words, "key": found.key, "task": found.task}
            if proof.passkey:
                said["passkey"] = proof.passkey
            if not is_enough(agreed, found.user, found.facts):
                if not await store.is_pending(change.tx, found.id, now=now):
                    raise over()
                change.record(Event.APPROVAL_AGREED, found.org, refers=found.id, **said, agreed=len(agreed))
                state = State.PENDING
            elif await store.move(change.tx, found.id, Step.AGREE, now=now):
                change.record(
                    Event.APPROVAL_ANSWERED,
                    found.org,
                    refers=found.id,
                    **said,
                    answer="approved",
                    people=sorted(agreed),
                )
                state = State.APPROVED
            else:
                raise over()
            if for_the_task and state is State.APPROVED:
                words = words_of(found)
                given = store.Standing(
                    id=new_id("apr"),
                    org=found.org,
                    user=person.id,
                    task=found.task,
                    like=found.like,
                    words=words,
                    created_at=now,
                )
                await store.add_standing(change.tx, given)
                change.record(
                    Event.STANDING_ANSWER_GIVEN, found.org, answer=given.id, by=person.id, task=found.task, words=words
                )
        self.wake(frozenset({found.id}))
        return state

    async def deny(self, person: User, approval_id: str, message: str) -> None:
        """Say no, with a word to the agent."""
        message = message.strip()
        if len(message) > LONGEST_MESSAGE or not message.isprintable():
            raise InvalidRequest(f"A message to the agent has at most {LONGEST_MESSAGE} printable characters.")
        found = await self.of(person, approval_id)
        async with self._journal.change() as change:
            await change.touches(found.id)
            if not await store.move(change.tx, found.id, Step.REFUSE, now=int(self._clock.now()), message=message):
                raise over()
            said = {"approval": found.id, "by": person.id, "key": found.key, "task": found.task}
            change.record(Event.APPROVAL_ANSWERED, found.org, refers=found.id, **said, answer="denied", message=message)
        self.wake(frozenset({found.id}))

    async def cancel(self, approval: Approval, *, by: str) -> None:
        """Take the question back: by its agent, or by who approved it, as long as nothing was sent."""
        async with self._journal.change() as change:
            await change.touches(approval.id)
            if not await store.move(change.tx, approval.id, Step.CANCEL, now=int(self._clock.now())):
                raise over()
            change.record(
                Event.APPROVAL_CANCELLED,
                approval.org,
                refers=approval.id,
                approval=approval.id,
                by=by,
                task=approval.task,
            )
        self.wake(frozenset({approval.id}))

    async def standing(self, person: User) -> list[store.Standing]:
        """What this person answered for whole tasks, as long as those live."""
        async with self._database.read() as db:
            found = await store.standing_of(db, person.id)
            ended = await revocation.among(db, {s.task for s in found})
        return [s for s in found if s.task not in ended]

    async def end_standing(self, person: User, standing_id: str) -> None:
        """Take such an answer back: the next call like it asks again."""
        async with self._journal.change() as change:
            found = await store.standing_by_id(change.tx, standing_id)
            if found is None or found.user != person.id:
                raise NotFound("There is no such answer, or it is not yours.")
            # SECURITY: its task is touched, so that whoever decided on the answer before decides again.
            # Guarded by tests/flows/test_approvals.py::test_an_answer_for_the_task_can_be_taken_back
            await change.touches(found.task)
            await store.end_standing(change.tx, found.id, now=int(self._clock.now()))
            change.record(Event.STANDING_ANSWER_ENDED, found.org, answer=found.id, by=person.id, task=found.task)

    async def active(self, people: Collection[str]) -> frozenset[str]:
        """Which of these people are still active and not revoked."""
        async with self._database.read() as db:
            found = [await principals.user(db, one) for one in people]
            ended = await revocation.among(db, people)
        return frozenset(u.id for u in found if u is not None and u.status is Status.ACTIVE) - ended

    async def wait(self, approval_id: str, agent: str, nodes: frozenset[str], *, seconds: float) -> None:
        """Return when it was answered, something it hangs on ended, or after so long. Raises `TooMany`."""
        if len(self._waiters) >= MOST_WAITING or self._agents[agent] >= MOST_WAITING_PER_AGENT:
            raise TooMany("Too many calls wait for an answer here.", retry_after=5)
        waiter = _Waiter(nodes | {approval_id}, asyncio.Event())
        self._waiters.add(waiter)
        self._agents[agent] += 1
        try:
            async with self._database.read() as db:  # it may have been answered before anybody waited
                found = await store.by_id(db, approval_id)
            if found is not None and found.now(self._clock.now()) is State.PENDING:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.woken.wait(), min(seconds, LONGEST_WAIT_SECONDS))
        finally:
            self._waiters.discard(waiter)
            self._agents[agent] -= 1
            if not self._agents[agent]:
                del self._agents[agent]

    def wake(self, nodes: frozenset[str]) -> None:
        """Facts about these nodes changed."""
        for waiter in self._waiters:
            if waiter.nodes & nodes:
                waiter.woken.set()

    async def _note_seen(self, ids: list[str]) -> None:
        if ids:
            async with self._database.write() as tx:
                await store.seen(tx, ids, now=int(self._clock.now()))


def words_of(approval: Approval) -> str:
    """What one answer for the task lets the agent do, in words."""
    parts = "; ".join(f"{p.operation} on {p.resource or 'no resource of its own'}" for p in approval.facts.parts)
    return f"{approval.facts.agents[0]} may call {parts} at {approval.facts.integration} until its task ends"


def over() -> Conflict:
    """It cannot be answered any more."""
    return Conflict(
        "This was answered, or its time is over.", hint="Look at it again: it says what became of it.", reason="over"
    )
