"""Whether a call may go on: what every door asks before anything leaves, top to bottom.

1. verify the credential, 2. canonicalise the target, 3. recognise what it does, 4. and 5. resolve the resource of each
part and decide (`judge`), 6. record (durable before the effect, under the revocation fence).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.model import Kept
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import ENDED
from valetkey.server.db.effects import Effect, Together
from valetkey.server.db.group import Stale
from valetkey.server.delegations.budgets.model import Measure
from valetkey.server.errors import (
    ApprovalRequired,
    ConnectionRequired,
    Denied,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    ProofRefused,
    TooMany,
    Unavailable,
    ValetkeyError,
)
from valetkey.server.gateway.came import Attempt, Came, ids_of
from valetkey.server.gateway.canonical import Target, canonical
from valetkey.server.gateway.charge import Charge, Outdated, account
from valetkey.server.gateway.headers import presented_token, refuse_navigation
from valetkey.server.gateway.hold import Changed, Hold, Holding
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.judge import Judge, Unresolved, members_of
from valetkey.server.gateway.recognise import Rewritten, recognised
from valetkey.server.gateway.streams import Stream, Streams
from valetkey.server.integrations.operations import WEBSOCKET_TAG
from valetkey.server.policy.model import (
    Allow,
    Ask,
    Authority,
    Call,
    ConnectionFacts,
    Decision,
    Deny,
    Reason,
)
from valetkey.server.principals.model import Agent, User
from valetkey.server.tokens.model import Delegated
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.tokens.verify import Verifying
from valetkey.verify.dpop import Proof


class AskPerson(Protocol):
    """Put into a refusal where the person of a task connects an account again."""

    async def __call__(
        self, error: ConnectionRequired, facts: ConnectionFacts, *, user: User, agent: Agent
    ) -> None: ...


Again = Callable[[], Awaitable[None]]

_TRIES = 20
_KINDS: Final[Mapping[Reason, type[ValetkeyError]]] = {
    Reason.ASKS: ApprovalRequired,
    Reason.TOO_MANY_ASKS: TooMany,
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may go on: the record of its decision, and what it was decided on."""

    decision: str
    authority: Authority
    connection: str
    target: Target
    proof: Proof | None
    rewritten: Rewritten | None  # the body to send; None: the one that came, as it comes
    charge: Charge  # what it was counted on, and how many bytes were set aside for it
    kept: Kept | None = None  # what a person approved, or was read whole: these bytes are sent, and nothing else


class Admit:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        authorities: Authorities,
        verifying: Verifying,
        proofs: Proofs,
        judge: Judge,
        streams: Streams,
        hold: Hold,
        approvals: Approvals,
        ask_person: AskPerson,
    ) -> None:
        self._hold = hold
        self._approvals = approvals
        self._journal = journal
        self._authorities = authorities
        self._verifying = verifying
        self._proofs = proofs
        self._judge = judge
        self._streams = streams
        self._ask_person = ask_person

    async def __call__(
        self,
        attempt: Attempt,
        door: Prepared,
        stream: Stream,
        *,
        address: str,
        org: str | None = None,
        again: Again | None = None,
        as_it_is: bool = False,
    ) -> Admitted:
        """Steps 1 to 6, the same at every door. Raises the refusal."""
        refuse_navigation(attempt.headers)
        presented = presented_token(attempt.headers, door.positions)
        token = await self._verifying.at_gateway(presented.token, door.integration.audience)
        # SECURITY: an engine of one organization gets no credential of another's, whatever token passes through it.
        # Guarded by tests/attacks/test_engines.py::test_another_organizations_token_is_nobodys_at_an_engine
        if org is not None and token.org != org:
            raise NotAuthenticated(detail="the token is another organization's")
        proof: Proof | None = None
        if token.cnf is not None or presented.under_dpop:
            proof = self._proofs.at_resource(
                attempt.headers,
                method=attempt.method,
                url=address + attempt.raw_path.decode("latin-1"),
                token=presented.token,
                cnf=token.cnf,
                under_dpop=presented.under_dpop,
            )
        target = canonical(attempt.method, attempt.raw_path, attempt.query, door.profile)
        came = attempt.raw_path + (b"?" + attempt.query if attempt.query else b"")
        if as_it_is and target.target_bytes != came:
            raise InvalidRequest("The address is not written in its one canonical form.", hint="See docs/engines.md.")
        # SECURITY: a place comes before a body that is read whole, or many of them would fill the memory of all.
        # Guarded by tests/flows/test_gateway_crowd.py::test_a_body_is_read_only_by_who_has_a_place
        authority, _ = await self._authority(token)
        self._streams.belongs(stream, api=door.integration.name, person=authority.user.id)
        asked = await recognised(door.integration, target, attempt.headers, attempt.body, as_it_is=as_it_is)
        arrival = Came(attempt, asked, as_it_is)
        try:
            decision, authority, calls, charged, kept = await self._decided(token, arrival, door, stream, proof, again)
        except ApprovalRequired as waits:
            if "approval" not in waits.members or not attempt.patience:
                raise
            await self._waited(str(waits.members["approval"]), authority, attempt)
            arrival.is_proven = True
            decision, authority, calls, charged, kept = await self._decided(token, arrival, door, stream, proof, again)
        connection = calls[0].connection
        asked = asked.under(ids_of(calls))
        target = asked.target
        if kept is not None:
            target = replace(target, method=kept.method, path_bytes=kept.path, query_bytes=kept.query)
        return Admitted(decision, authority, connection, target, proof, asked.rewritten, charged, kept)

    async def _waited(self, approval: str, authority: Authority, attempt: Attempt) -> None:
        """Until it is answered, or its client has left: then nothing may be sent for nobody."""
        answered = asyncio.ensure_future(
            self._approvals.wait(
                approval, authority.agent.id, authority.nodes | authority.governed_by, seconds=attempt.patience
            )
        )
        left = asyncio.ensure_future(attempt.left()) if attempt.left is not None else None
        try:
            await asyncio.wait({answered, left} - {None}, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
            if not answered.done():
                raise ConnectionAbortedError("the client went away while it waited for an answer")
            await answered
        finally:
            for one in (answered, left):
                if one is not None:
                    one.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await one

    async def _decided(
        self,
        token: Delegated,
        came: Came,
        door: Prepared,
        stream: Stream,
        proof: Proof | None,
        again: Again | None,
    ) -> tuple[str, Authority, Sequence[Call], Charge, Kept | None]:
        """Decide and record, again whenever a revocation came in between. Raises the refusal, itself recorded."""
        # SECURITY: the proof is spent in the commit that records the decision, so that of two calls with one proof one
        # is refused whatever nodes they come to (DP-5).
        # Guarded by tests/attacks/test_dpop.py::test_dp_5_a_proof_counts_once_over_all_nodes
        asked = came.asked
        for _ in range(_TRIES):
            spending = self._proofs.spending(proof) if proof is not None and not came.is_proven else None
            authority, seq = await self._authority(token)
            if again is not None:
                await again()
            stream.nodes, stream.known_under = authority.nodes | {token.jti}, seq
            stream.ends_at = authority.expires_at
            failed: ValetkeyError | None = None
            decision: Decision
            try:
                calls, decision = await self._judge(token, asked, door, authority)
                if came.as_it_is and isinstance(decision, Allow) and _counts_bytes(decision):
                    decision = Deny(reason=Reason.UNSEEN_BYTES)
                # SECURITY: an engine would pass on whatever is said, unscrubbed and uncut.
                # Guarded by tests/flows/test_websocket.py::test_an_engine_is_told_to_use_the_gateway
                if came.as_it_is and not isinstance(decision, Deny) and any(map(_is_spoken, calls)):
                    decision = Deny(reason=Reason.SPOKEN)
                if came.attempt.opens:
                    decision = _at_once(decision, calls)
            except Unresolved as unresolved:
                calls, failed = (unresolved.call,), unresolved.cause
                decision = Deny(reason=Reason.ERROR)
            kept = None
            if came.is_read and isinstance(decision, Allow):
                # SECURITY: what was read to be kept is what was judged, and does not come a second time.
                # Guarded by tests/flows/test_rules_that_ask.py::test_what_rules_allow_while_it_waits_is_sent_whole
                kept = await came.kept(door, authority, calls)
                if kept is None:
                    decision = Deny(reason=Reason.READ_ONCE)
            try:
                charged = self._judge.charge(token, calls, decision, authority, door.integration)
                if isinstance(decision, Ask):
                    settled = await self._settled(token, came, door, calls, decision, authority, seq, spending, charged)
                    if not isinstance(settled, Deny):
                        return settled[0], authority, calls, charged, settled[1]
                    decision = settled
                    if settled.reason is Reason.TOO_MANY_ASKS:
                        spending = None  # the proof is spent, the call is not
                recorded = await self._recorded(token, asked.target, calls, decision, authority, seq, spending, charged)
                return recorded, authority, calls, charged, kept
            except Changed:
                came.is_proven = True
            except ProofRefused:
                with contextlib.suppress(Denied):
                    used = Deny(reason=Reason.PROOF_USED)
                    await self._recorded(token, asked.target, calls, used, authority, seq, None, charged)
                raise
            except Outdated:
                came.is_proven = True  # the proof was spent by this very call
            except Stale:
                await self._authorities.refresh()
            except Denied as denied:
                if failed is None:
                    raise
                failed.members.setdefault("decision", denied.members["decision"])
                await self.asks_person(failed, authority, calls[0].connection)
                raise failed from None
        raise Unavailable(detail="revocations outran the decision")

    async def _settled(
        self,
        token: Delegated,
        came: Came,
        door: Prepared,
        calls: Sequence[Call],
        ask: Ask,
        authority: Authority,
        seq: int,
        spending: Effect | None,
        charged: Charge,
    ) -> tuple[str, Kept] | Deny:
        """What becomes of a call that a person must see first."""
        # SECURITY: an engine sends what it has, whenever it likes: nothing can be kept for it, or approved.
        # Guarded by tests/flows/test_approvals.py::test_an_engine_is_told_to_use_the_gateway
        if came.as_it_is:
            return Deny(reason=Reason.ASKS_ELSEWHERE)
        kept = await came.kept(door, authority, calls)
        if kept is None:
            return Deny(reason=Reason.CANNOT_BE_HELD)
        members = members_of(token, came.asked.target, calls, authority, seq) | ask.ruled.members()
        return await self._hold(Holding(members, tuple(calls), ask, authority, seq, kept, spending, charged))

    async def asks_person(self, error: BaseException, authority: Authority, connection: str) -> None:
        """Where only the person can help, the refusal says where: an address that is hers alone."""
        facts = authority.connections.get(connection)
        if isinstance(error, ConnectionRequired) and facts is not None:
            await self._ask_person(error, facts, user=authority.user, agent=authority.agent)

    async def _authority(self, token: Delegated) -> tuple[Authority, int]:
        """What bounds the task of this token, and the change number it is known under."""
        try:
            authority, seq = await self._authorities.of_task(token.task)
        except NotFound as error:
            raise NotAuthenticated(detail=error.detail) from error
        if authority.agent.id != token.agent or authority.user.org != token.org:
            raise NotAuthenticated(detail="the token does not belong to its task")
        return authority, seq

    async def _recorded(
        self,
        token: Delegated,
        target: Target,
        calls: Sequence[Call],
        decision: Decision,
        authority: Authority,
        seq: int,
        spending: Effect | None,
        charged: Charge,
    ) -> str:
        """Record the decision and return the record's id; a denial is raised.

        `spending` spends the proof of the caller's key, if it gave one, in the commit that records the decision.
        """
        members = members_of(token, target, calls, authority, seq) | decision.ruled.members()
        org = authority.user.org
        if isinstance(decision, Allow):
            charged.members = members
            counting = Together(account, charged)
            also: Effect = counting if spending is None else partial(_both, spending, counting)
            entry = Entry(event=Event.CALL_ALLOWED, org=org, members=members, also=also)
            try:
                return must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
            except TooMany as refused:
                if "reason" not in refused.members:
                    raise  # the server's own limit, which has recorded nothing
                members.pop("history", None)
                members["reason"] = refused.members["reason"]
                denied = Entry(event=Event.CALL_DENIED, org=org, members=members)  # the proof is spent, the call is not
                refused.members["decision"] = await self._journal.record(denied, decided_under=seq)
                raise
        if isinstance(decision, Ask):  # settled before; fail closed
            decision = Deny(reason=Reason.ASKS, detail=decision.words)
        members["reason"] = decision.reason.value
        recorded = await self._journal.record(
            Entry(event=Event.CALL_DENIED, org=org, members=members, also=spending), decided_under=seq
        )
        kind = _KINDS.get(decision.reason) or ENDED.get(decision.reason, Denied)
        raise kind(decision.words, detail=decision.reason.value, reason=decision.reason.value, decision=recorded)


async def _both(first: Effect, second: Effect, tx: AsyncConnection) -> Exception | None:
    """One after the other; the second one only when the first did not refuse."""
    return await first(tx) or await second(tx)


def _counts_bytes(allow: Allow) -> bool:
    return any(spend.measure is Measure.BYTES for spend in allow.spends)


def _is_spoken(call: Call) -> bool:
    return WEBSOCKET_TAG in call.operation.tags


def _at_once(decision: Decision, calls: Sequence[Call]) -> Decision:
    """What is decided of a WebSocket: it cannot be kept for a person's answer, and is opened only where it may be."""
    if not all(map(_is_spoken, calls)) and not isinstance(decision, Deny):
        return Deny(reason=Reason.UNKNOWN_OPERATION)
    return Deny(reason=Reason.ASKS_SPOKEN) if isinstance(decision, Ask) else decision
