"""Whether a call may go on: what every door asks before anything leaves, top to bottom.

1. verify the credential, 2. canonicalise the target, 3. recognise what it does, 4. resolve the resource of each part,
5. decide, 6. record (durable before the effect, under the revocation fence).
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.connections.lookup import Lookups
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import ENDED
from valetkey.server.db.effects import Effect
from valetkey.server.db.group import Stale
from valetkey.server.delegations import store as delegations
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
from valetkey.server.gateway.headers import presented_token, refuse_navigation
from valetkey.server.gateway.held import Holdings
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.recognise import Recognised, Rewritten, recognised
from valetkey.server.gateway.streams import Stream, Streams
from valetkey.server.integrations.model import Integration, Match, Operation, resource_of
from valetkey.server.policy.decide import live, permitted, reaching, usable
from valetkey.server.policy.history import NOTHING_YET
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
    Spend,
)
from valetkey.server.policy.ruled import ruled
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
    Reason.OUT_OF_CALLS: TooMany,
    Reason.ASKS: ApprovalRequired,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call as it arrived. `raw_path` is what follows `/p/{integration}`, undecoded; nothing here is trusted."""

    method: str
    raw_path: bytes
    query: bytes
    headers: Headers
    body: AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may go on: the record of its decision, and what it was decided on."""

    decision: str
    authority: Authority
    connection: str
    target: Target
    proof: Proof | None
    rewritten: Rewritten | None  # the body to send; None: the one that came, as it comes


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
        ask_person: AskPerson,
    ) -> None:
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
        decision, authority, calls = await self._decided(token, asked, door, stream, proof, again)
        connection = calls[0].connection
        asked = asked.under(["" if call.actual is None else call.actual.id for call in calls])
        return Admitted(decision, authority, connection, asked.target, proof, asked.rewritten)

    async def _decided(
        self,
        token: Delegated,
        asked: Recognised,
        door: Prepared,
        stream: Stream,
        proof: Proof | None,
        again: Again | None,
    ) -> tuple[str, Authority, Sequence[Call]]:
        """Decide and record, again whenever a revocation came in between. Raises the refusal, itself recorded."""
        # SECURITY: the proof is spent in the commit that records the decision, so that of two calls with one proof one
        # is refused whatever nodes they come to (DP-5).
        # Guarded by tests/attacks/test_dpop.py::test_dp_5_a_proof_counts_once_over_all_nodes
        spending = self._proofs.spending(proof) if proof is not None else None
        for _ in range(_TRIES):
            authority, seq = await self._authority(token)
            if again is not None:
                await again()
            stream.nodes, stream.known_under = authority.nodes | {token.jti}, seq
            stream.ends_at = authority.expires_at
            failed: ValetkeyError | None = None
            decision: Decision
            try:
                calls, decision = await self._judged(token, asked, door, authority)
            except _Unresolved as unresolved:
                calls, failed = (unresolved.call,), unresolved.cause
                decision = Deny(reason=Reason.ERROR)
            try:
                recorded = await self._recorded(token, asked.target, calls, decision, authority, seq, spending)
                return recorded, authority, calls
            except ProofRefused:
                with contextlib.suppress(Denied):
                    used = Deny(reason=Reason.PROOF_USED)
                    await self._recorded(token, asked.target, calls, used, authority, seq, None)
                raise
            except Stale:
                await self._authorities.refresh()
            except Denied as denied:
                if failed is None:
                    raise
                failed.members.setdefault("decision", denied.members["decision"])
                await self.asks_person(failed, authority, calls[0].connection)
                raise failed from None
        raise Unavailable(detail="revocations outran the decision")

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
            return (_unknown(door.integration.name, asked.target),), Deny(reason=asked.unknown)
        calls: list[Call] = []
        spends: list[Spend] = []
        by: list[Ruled] = []
        for match in asked.matches:
            call, decision = await self._judged_one(token, match, door, authority)
            if not isinstance(decision, Allow):
                return (call,), decision
            # SECURITY: one call leaves with one credential; each part was judged for the account it named.
            if calls and call.connection != calls[0].connection:
                return (call,), Deny(reason=Reason.AMBIGUOUS_CONNECTION)
            calls.append(call)
            spends.extend(decision.spends)
            by.append(decision.ruled)
        return calls, Allow(spends=tuple(spends), ruled=Ruled.of(by))

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
        if not isinstance(decision, Allow):
            return call, decision
        # SECURITY: what rules say depends on the hour and on what was done so far: it is asked for every call.
        # Guarded by tests/flows/test_policy.py::test_quiet_hours_begin_for_a_call_that_was_allowed_a_moment_ago
        if known is None:
            held.allow(call.judged_by, decision)
        return call, ruled(decision, call, authority, self._catalogue, now, NOTHING_YET)

    async def _recorded(
        self,
        token: Delegated,
        target: Target,
        calls: Sequence[Call],
        decision: Decision,
        authority: Authority,
        seq: int,
        spending: Effect | None,
    ) -> str:
        """Record the decision and return the record's id; a denial is raised.

        `spending` spends the proof of the caller's key, if it gave one, in the commit that records the decision.
        """
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
            **decision.ruled.members(),
        }
        if call.connection:
            members["connection"] = call.connection
        if len(calls) > 1:
            members["also"] = [_done(other) for other in calls[1:]]
        org = authority.user.org
        if isinstance(decision, Allow):
            spends = [(s.task, s.line) for s in decision.spends]
            also: Effect | None = partial(_spend, spends) if spends else None
            if spending is not None:
                also = spending if also is None else partial(_both, spending, also)
            entry = Entry(event=Event.CALL_ALLOWED, org=org, members=members, also=also)
            try:
                return must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
            except TooMany:
                decision, spending = Deny(reason=Reason.OUT_OF_CALLS), None  # the proof is spent, the call is not
        if isinstance(decision, Ask):
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


async def _spend(spends: list[tuple[str, int]], tx: AsyncConnection) -> Exception | None:
    return await delegations.spend(tx, spends)


def _done(call: Call) -> dict[str, Any]:
    """One thing that a call does, as it is recorded."""
    done = {"operation": call.operation.id, "resource": call.resource, "parameters": dict(call.parameters)}
    return done if call.actual is None else {**done, "resource_id": call.actual.id}


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
