"""Whether a call may go on: what every door asks before anything leaves, top to bottom.

1. verify the credential, 2. canonicalise the target, 3. recognise what it does, 4. resolve the resource of each part,
5. decide, 6. record (durable before the effect, under the revocation fence).
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.model import Kept
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.connections.lookup import Lookups
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
    UpstreamFailed,
    ValetkeyError,
)
from valetkey.server.gateway.canonical import Target, canonical
from valetkey.server.gateway.charge import Charge, Outdated, account
from valetkey.server.gateway.headers import outgoing, presented_token, refuse_navigation
from valetkey.server.gateway.held import Holdings
from valetkey.server.gateway.hold import Changed, Hold, Holding, body_to_keep, with_length
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.recognise import Recognised, Rewritten, recognised
from valetkey.server.gateway.streams import Stream, Streams
from valetkey.server.integrations.model import Integration, Match, Operation, resource_of
from valetkey.server.memory.model import Row, Spans, bits
from valetkey.server.memory.remember import Memories
from valetkey.server.memory.slots import Slots
from valetkey.server.policy.decide import decide, live, permitted, reaching, usable
from valetkey.server.policy.history import NOTHING_YET, History
from valetkey.server.policy.labels import labels_of
from valetkey.server.policy.model import (
    Allow,
    Ask,
    Authority,
    Call,
    ConnectionFacts,
    Decision,
    Deny,
    Reason,
    Ruled,
)
from valetkey.server.policy.ruled import looks_back, ruled
from valetkey.server.principals.model import Agent, User
from valetkey.server.tokens.model import Delegated
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.tokens.verify import Verifying
from valetkey.verify.dpop import Proof

Headers = Sequence[tuple[bytes, bytes]]


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
_WAIT: Final = re.compile(rb"(?:^|[,;\s])wait=([0-9]{1,3})(?:$|[,;\s])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call as it arrived. `raw_path` is what follows `/p/{integration}`, undecoded; nothing here is trusted."""

    method: str
    raw_path: bytes
    query: bytes
    headers: Headers
    body: AsyncIterator[bytes] | None
    left: Callable[[], Awaitable[None]] | None = None  # returns when its client has left

    @property
    def patience(self) -> int:
        """How many seconds it would wait for an answer (RFC 7240 section 4.3)."""
        found = [_WAIT.search(value) for name, value in self.headers if name.lower() == b"prefer"]
        return next((int(one[1]) for one in found if one is not None), 0)


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
    kept: Kept | None = None  # what a person approved: these bytes are sent, and nothing that came now


class _Unresolved(Exception):
    """The API did not say what the call's resource is; the cause is what its caller is told."""

    def __init__(self, call: Call, cause: ValetkeyError) -> None:
        super().__init__(cause.code)
        self.call = call
        self.cause = cause


class Admit:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        authorities: Authorities,
        verifying: Verifying,
        proofs: Proofs,
        lookups: Lookups,
        streams: Streams,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        hold: Hold,
        approvals: Approvals,
        ask_person: AskPerson,
        memories: Memories,
    ) -> None:
        self._hold = hold
        self._approvals = approvals
        self._journal = journal
        self._authorities = authorities
        self._verifying = verifying
        self._proofs = proofs
        self._lookups = lookups
        self._streams = streams
        self._clock = clock
        self._catalogue = catalogue
        self._holdings = Holdings(catalogue)
        self._ask_person = ask_person
        self._slots = Slots()
        self._memories = memories

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
        arrival = _Came(attempt, asked, as_it_is)
        try:
            decision, authority, calls, charged, kept = await self._decided(token, arrival, door, stream, proof, again)
        except ApprovalRequired as waits:
            if "approval" not in waits.members or not attempt.patience:
                raise
            await self._waited(str(waits.members["approval"]), authority, attempt)
            arrival.is_proven = True
            decision, authority, calls, charged, kept = await self._decided(token, arrival, door, stream, proof, again)
        connection = calls[0].connection
        asked = asked.under(_ids(calls))
        target = asked.target
        if kept is not None:
            target = replace(target, method=kept.method, path_bytes=kept.path, query_bytes=kept.query)
        return Admitted(decision, authority, connection, target, proof, asked.rewritten, charged, kept)

    async def _waited(self, approval: str, authority: Authority, attempt: Attempt) -> None:
        """Until it is answered, or its client has left: then nothing may be sent for nobody."""
        answered = asyncio.ensure_future(
            self._approvals.wait(approval, authority.agent.id, authority.nodes, seconds=attempt.patience)
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
        came: "_Came",
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
                calls, decision = await self._judged(token, asked, door, authority)
                if came.as_it_is and isinstance(decision, Allow) and _counts_bytes(decision):
                    decision = Deny(reason=Reason.UNSEEN_BYTES)
            except _Unresolved as unresolved:
                calls, failed = (unresolved.call,), unresolved.cause
                decision = Deny(reason=Reason.ERROR)
            try:
                charged = self._charge(token, calls, decision, authority, door.integration)
                if isinstance(decision, Ask):
                    settled = await self._settled(token, came, door, calls, decision, authority, seq, spending, charged)
                    if not isinstance(settled, Deny):
                        return settled[0], authority, calls, charged, settled[1]
                    decision = settled
                    if settled.reason is Reason.TOO_MANY_ASKS:
                        spending = None  # the proof is spent, the call is not
                recorded = await self._recorded(token, asked.target, calls, decision, authority, seq, spending, charged)
                return recorded, authority, calls, charged, None
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
        came: "_Came",
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
        members = _members(token, came.asked.target, calls, authority, seq) | ask.ruled.members()
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

    async def _judged(
        self, token: Delegated, asked: Recognised, door: Prepared, authority: Authority
    ) -> tuple[Sequence[Call], Decision]:
        """All that the call does, or the one thing that is denied."""
        if not asked.matches:
            unknown = Deny(reason=asked.unknown, detail=asked.why)
            return (_unknown(door.integration.name, asked.target),), unknown
        calls: list[Call] = []
        decisions: list[Decision] = []
        for match in asked.matches:
            call, decision = await self._judged_one(token, match, door, authority)
            if isinstance(decision, Deny):
                return (call,), decision
            # SECURITY: one call leaves with one credential; each part was judged for the account it named.
            if calls and call.connection != calls[0].connection:
                return (call,), Deny(reason=Reason.AMBIGUOUS_CONNECTION)
            calls.append(call)
            decisions.append(decision)
        return calls, _together(decisions)

    async def _judged_one(
        self, token: Delegated, match: Match, door: Prepared, authority: Authority
    ) -> tuple[Call, Decision]:
        now = self._clock.now()
        integration = door.integration
        ref = resource_of(match)
        call = Call(
            integration=integration.name,
            connection="",
            operation=match.operation,
            scopes_needed=match.scopes_needed,
            resource="" if ref is None else ref.name or f"id {ref.id}",
            actual=None,
            parameters=match.judged,
        )
        ended = live(authority, now) or (
            Deny(reason=Reason.REVOKED) if self._authorities.is_revoked(token.jti) else None
        )
        if ended is not None:
            return call, ended
        held = self._holdings.of(token, authority, now)
        if match.connection:
            named = _named(match.connection, integration, authority)
            if named is None:
                return call, Deny(reason=Reason.CONNECTION_FOREIGN)
            call = call.through(named)
        chosen = held.reached.get(call.judged_by)
        if chosen is None:
            found = reaching(call, held.grants, self._catalogue, now)
            if isinstance(found, Deny):
                return call, found
            held.reach(call.judged_by, chosen := found)
        actual = None
        if ref is not None:
            facts = usable(authority, chosen)
            if isinstance(facts, Deny):
                return call.through(chosen), facts
            try:
                actual = await self._lookups.resource(facts, ref, fresh=match.operation.access == "write")
            except (UpstreamFailed, ConnectionRequired, Denied, Unavailable) as error:
                raise _Unresolved(call.through(chosen), error) from None
        call = call.through(chosen, actual)
        now = self._clock.now()  # a look-up takes its time
        known = held.allowed.get(call.judged_by) if now < held.good_until else None
        decision = known or permitted(call, authority, held.grants, self._catalogue, now)
        if isinstance(decision, Deny):
            return call, decision
        # SECURITY: what rules say depends on the hour and on what was done so far: it is asked for every call.
        # Guarded by tests/flows/test_policy.py::test_quiet_hours_begin_for_a_call_that_was_allowed_a_moment_ago
        if known is None and isinstance(decision, Allow):
            held.allow(call.judged_by, decision)
        history = NOTHING_YET
        # SECURITY: what depends on a history is judged each time, and again in the commit; no answer is remembered.
        # Guarded by tests/flows/test_memory.py::test_a_call_decided_on_an_older_history_is_decided_again
        if looks_back(authority, integration.name):
            history = await self._memories.history(Spans.of(authority), [] if actual is None else [actual])
        return call, ruled(decision, call, authority, self._catalogue, now, history)

    def _charge(
        self,
        token: Delegated,
        calls: Sequence[Call],
        decision: Decision,
        authority: Authority,
        integration: Integration,
    ) -> Charge:
        """What the call is counted on, and what it adds to what is remembered."""
        spans = Spans.of(authority)
        resources = [call.actual for call in calls if call.actual is not None]
        labels = {label for call in calls for label in labels_of(call, integration)}
        return Charge(
            spends=() if isinstance(decision, Deny) else decision.spends,
            spans=spans,
            now=self._clock.now(),
            done=Row(labels=bits(labels), calls=1, writes=int(any(call.operation.access == "write" for call in calls))),
            resources=resources,
            slots=self._slots.of(spans.all, [resource.key for resource in resources]),
            members={},
            still=partial(self._still, token, calls, authority, decision)
            if looks_back(authority, integration.name)
            else None,
        )

    def _still(
        self, token: Delegated, calls: Sequence[Call], authority: Authority, decision: Decision, history: History
    ) -> bool:
        """Whether the whole call is decided the same on that history too."""
        now = self._clock.now()
        grants = self._holdings.of(token, authority, now).grants
        return decision == _together(
            [decide(call, authority, grants, self._catalogue, now, history=history) for call in calls]
        )

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
        members = _members(token, target, calls, authority, seq) | decision.ruled.members()
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


def _done(call: Call) -> dict[str, Any]:
    """One thing that a call does, as it is recorded."""
    done = {"operation": call.operation.id, "resource": call.resource, "parameters": dict(call.parameters)}
    return done if call.actual is None else {**done, "resource_id": call.actual.id}


def _named(connection: str, integration: Integration, authority: Authority) -> str | None:
    """The one connection of this task that is called so, or has that id; who it is of is judged later."""
    facts = [one for one in authority.connections.values() if one.integration == integration.name]
    found = {one.id for one in facts if connection in (one.id, one.name)}
    return found.pop() if len(found) == 1 else None


def _unknown(integration: str, target: Target) -> Call:
    """A call no operation matches; its path may hold anything, so only a digest is kept."""
    digest = hashlib.sha256(target.path_bytes).hexdigest()
    operation = Operation(
        id="unknown",
        method=target.method,
        template="",
        category="",
        access="write",
        scope="",
        resource_kind="account",
    )
    return Call(
        integration=integration,
        connection="",
        operation=operation,
        scopes_needed=frozenset(),
        resource="",
        actual=None,
        parameters={"path_sha256": digest},
    )


class _Came:
    """One call as it came and was understood; its body is read at most once."""

    def __init__(self, attempt: Attempt, asked: Recognised, as_it_is: bool) -> None:
        self.attempt = attempt
        self.asked = asked
        self.as_it_is = as_it_is
        self.is_proven = False  # its proof was spent when it began to wait
        self._body: bytes | None = None
        self._is_read = False

    async def kept(self, door: Prepared, authority: Authority, calls: Sequence[Call]) -> Kept | None:
        """The exact bytes that will be sent; None when they are too many to be kept."""
        asked = self.asked.under(_ids(calls))
        headers = outgoing(
            self.attempt.headers,
            agent=authority.agent.name,
            task=authority.task.id,
            credential_headers=door.credential_headers,
        )
        headers = [(name, value) for name, value in headers if name != b"prefer"]
        if asked.rewritten is not None:
            return Kept(
                method=asked.target.method,
                path=asked.target.path_bytes,
                query=asked.target.query_bytes,
                headers=tuple(asked.rewritten.headers(headers)),
                body=asked.rewritten.body,
            )
        if not self._is_read:
            self._is_read = True
            self._body = await body_to_keep(self.attempt.body)
        if self._body is None:
            return None
        return Kept(
            method=asked.target.method,
            path=asked.target.path_bytes,
            query=asked.target.query_bytes,
            headers=with_length(headers, self._body, had_body=self.attempt.body is not None),
            body=self._body,
        )


def _together(decisions: Sequence[Decision]) -> Decision:
    """What is decided of all the parts of one call: the first denial, or everybody's questions, or allowed."""
    for decision in decisions:
        if isinstance(decision, Deny):
            return decision
    spends = tuple(spend for decision in decisions if not isinstance(decision, Deny) for spend in decision.spends)
    by = Ruled.of([decision.ruled for decision in decisions])
    asks = [decision for decision in decisions if isinstance(decision, Ask)]
    if not asks:
        return Allow(spends=spends, ruled=by)
    return Ask(
        asked_by=tuple(dict.fromkeys(by for ask in asks for by in ask.asked_by)),
        words=" ".join(dict.fromkeys(ask.words for ask in asks)),
        answerers=tuple(dict.fromkeys(group for ask in asks for group in ask.answerers)),
        danger=any(ask.danger for ask in asks),
        spends=spends,
        ruled=by,
    )


def _ids(calls: Sequence[Call]) -> list[str]:
    return ["" if call.actual is None else call.actual.id for call in calls]


def _members(token: Delegated, target: Target, calls: Sequence[Call], authority: Authority, seq: int) -> dict[str, Any]:
    """The call as it is recorded, whatever is decided of it."""
    call = calls[0]
    members: dict[str, Any] = {
        "user": authority.user.id,
        "agent": authority.agent.id,
        "chain": [a.id for a in authority.agents],
        "task": authority.task.id,
        "delegation": authority.delegation.id,
        "token": token.jti,
        "integration": call.integration,
        "method": target.method,
        **_done(call),
        "known_under": seq,
    }
    if call.connection:
        members["connection"] = call.connection
    if len(calls) > 1:
        members["also"] = [_done(other) for other in calls[1:]]
    return members
