"""What a call does, part by part, and whether each part may be done: steps 4 and 5 of the way through the gateway.

Reads what is known and asks the API what a name means; records nothing, and lets nothing leave.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from valetkey.server.clock import Clock
from valetkey.server.connections.lookup import Lookups
from valetkey.server.credentials.authority import Authorities
from valetkey.server.errors import ConnectionRequired, Denied, Unavailable, UpstreamFailed, ValetkeyError
from valetkey.server.gateway.canonical import Target
from valetkey.server.gateway.charge import Charge
from valetkey.server.gateway.held import Held, Holdings
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.recognise import Recognised
from valetkey.server.integrations.model import Integration, Match, Operation, resource_of
from valetkey.server.memory.model import Place, Row, Spans, bits
from valetkey.server.memory.remember import Memories
from valetkey.server.memory.slots import Slots
from valetkey.server.policy.decide import decide, live, permitted, reaching, usable
from valetkey.server.policy.history import NOTHING_YET, History
from valetkey.server.policy.labels import commented_before, comments_of, labels_of
from valetkey.server.policy.model import Allow, Ask, Authority, Call, Decision, Deny, Reason, Ruled
from valetkey.server.policy.ruled import ruled, watched
from valetkey.server.tokens.model import Delegated


class Unresolved(Exception):
    """The API did not say what the call's resource is; the cause is what its caller is told."""

    def __init__(self, call: Call, cause: ValetkeyError) -> None:
        super().__init__(cause.code)
        self.call = call
        self.cause = cause


class Judge:
    """One per process."""

    def __init__(
        self,
        *,
        authorities: Authorities,
        lookups: Lookups,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        memories: Memories,
    ) -> None:
        self._authorities = authorities
        self._lookups = lookups
        self._clock = clock
        self._catalogue = catalogue
        self._memories = memories
        self._holdings = Holdings(catalogue)
        self._slots = Slots()

    async def __call__(
        self, token: Delegated | None, asked: Recognised, door: Prepared, authority: Authority
    ) -> tuple[Sequence[Call], Decision]:
        """All that the call does, or the one thing that is denied. Without a token: under all that its task has."""
        if not asked.matches:
            unknown = Deny(reason=asked.unknown, detail=asked.why)
            return (_unknown(door.integration.name, asked.target),), unknown
        calls: list[Call] = []
        decisions: list[Decision] = []
        for match in asked.matches:
            call, decision = await self._judged_one(token, match, door, authority, comments_of(calls))
            if isinstance(decision, Deny):
                return (call,), decision
            # SECURITY: one call leaves with one credential; each part was judged for the account it named.
            if calls and call.connection != calls[0].connection:
                return (call,), Deny(reason=Reason.AMBIGUOUS_CONNECTION)
            calls.append(call)
            decisions.append(decision)
        return calls, _together(decisions)

    async def _judged_one(
        self,
        token: Delegated | None,
        match: Match,
        door: Prepared,
        authority: Authority,
        commented: Sequence[str],
    ) -> tuple[Call, Decision]:
        """One part; `commented` is where the parts before it comment, which counts for this one."""
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
            comments=match.comments,
        )
        is_revoked = token is not None and self._authorities.is_revoked(token.jti)
        ended = live(authority, now) or (Deny(reason=Reason.REVOKED) if is_revoked else None)
        if ended is not None:
            return call, ended
        if token is None:
            held = Held(authority, authority.task.grants, now, Spans.of(authority))
        else:
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
                raise Unresolved(call.through(chosen), error) from None
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
        if held.asks_history(call, self._catalogue):
            history = await self._memories.history(held.spans, () if actual is None else Place.of([actual]))
        before = [*commented, *comments_of([call])[1:]]
        return call, ruled(decision, call, authority, self._catalogue, now, history.commented(before))

    def charge(
        self,
        token: Delegated,
        calls: Sequence[Call],
        decision: Decision,
        authority: Authority,
        integration: Integration,
    ) -> Charge:
        """What the call is counted on, and what it adds to what is remembered."""
        now = self._clock.now()
        if isinstance(decision, Deny):
            return Charge(spends=(), spans=Spans.of(authority), now=now, done=Row(), places=(), slots=(), members={})
        held = self._holdings.of(token, authority, now)
        places = Place.of([call.actual for call in calls if call.actual is not None])
        labels, writes = 0, 0
        for call in calls:
            labels |= bits(labels_of(call, integration))
            writes |= call.operation.access == "write"
        return Charge(
            spends=decision.spends,
            spans=held.spans,
            now=now,
            done=Row(labels=labels, calls=1, writes=writes, comments=len(comments_of(calls))),
            places=places,
            slots=self._slots.of(held.spans.all, places),
            members={},
            still=partial(self._still, token, calls, authority, decision)
            if any(held.asks_history(call, self._catalogue) for call in calls)
            else None,
            watched=partial(self._watched, calls, authority)
            if any(held.is_watched(call, self._catalogue) for call in calls)
            else None,
        )

    def _watched(self, calls: Sequence[Call], authority: Authority, history: History) -> Ruled:
        """What the ready rules would have said of it, where they are only observed."""
        return watched(calls, authority, self._catalogue, self._clock.now(), history)

    def _still(
        self, token: Delegated, calls: Sequence[Call], authority: Authority, decision: Decision, history: History
    ) -> bool:
        """Whether the whole call is decided the same on that history too."""
        now = self._clock.now()
        grants = self._holdings.of(token, authority, now).grants
        return decision == _together(
            [
                decide(call, authority, grants, self._catalogue, now, history=history.commented(before))
                for call, before in zip(calls, commented_before(calls), strict=True)
            ]
        )


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


def _together(decisions: Sequence[Decision]) -> Decision:
    """What is decided of all the parts of one call: the first denial, or everybody's questions, or allowed."""
    if len(decisions) == 1:
        return decisions[0]
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


def members_of(
    token: Delegated, target: Target, calls: Sequence[Call], authority: Authority, seq: int
) -> dict[str, Any]:
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
