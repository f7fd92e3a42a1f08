"""What an approval is: one exact call that waits for people, its states, and who may answer. Frozen; pure.

The state table is the whole of it: what is not in it does not happen. An approval binds the bytes that will be sent,
the connection and its generation, and the rules that asked, in one SHA-256: whatever differs is another approval.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from valetkey.server.policy.model import Answerers, Ask, Authority, Call
from valetkey.server.vault.aad import length_prefixed

APPROVAL_SECONDS: Final = 600
MOST_PENDING: Final = 10
"""So many calls of one agent may wait for one person; more are refused until some are answered."""
LARGEST_BODY: Final = 256 * 1024
LONGEST_MESSAGE: Final = 500
# NOTE: what a client library writes anew at each try says nothing about the call. The kept ones are sent.
_OF_ONE_TRY: Final = frozenset({b"traceparent", b"tracestate", b"x-request-id", b"x-stainless-retry-count"})


class State(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    UNREACHED = "unreached"  # nobody who may answer could be reached
    CANCELLED = "cancelled"
    USED = "used"  # sent, once


class Step(StrEnum):
    """What can happen to one."""

    AGREE = "agree"  # by as many as are needed
    REFUSE = "refuse"
    CANCEL = "cancel"
    LAPSE = "lapse"  # its time is over
    MISS = "miss"  # its time is over, nobody saw it and nobody was told
    USE = "use"


TABLE: Final[Mapping[tuple[State, Step], State]] = {
    (State.PENDING, Step.AGREE): State.APPROVED,
    (State.PENDING, Step.REFUSE): State.DENIED,
    (State.PENDING, Step.CANCEL): State.CANCELLED,
    (State.PENDING, Step.LAPSE): State.EXPIRED,
    (State.PENDING, Step.MISS): State.UNREACHED,
    (State.APPROVED, Step.CANCEL): State.CANCELLED,
    (State.APPROVED, Step.LAPSE): State.EXPIRED,
    (State.APPROVED, Step.USE): State.USED,
}


def after(state: State, step: Step) -> State | None:
    """The next state, or None: then nothing happens."""
    return TABLE.get((state, step))


def before(step: Step) -> tuple[State, ...]:
    """The states in which this can happen."""
    return tuple(state for state, taken in TABLE if taken is step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The exact bytes that will be sent, but for the credential, which is put in at that moment."""

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body to send."""
        yield self.body

    def header(self, name: bytes) -> str:
        """The one value of a header, or nothing."""
        return next((value.decode("latin-1") for n, value in self.headers if n == name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing the call does."""

    operation: str
    access: str
    scope: str
    resource: str
    resource_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was asked, of whom, and under what. Never what the agent says of itself but its purpose, marked as such."""

    integration: str
    connection: str
    account: str
    base_url: str
    parts: tuple[Part, ...]
    asked_by: tuple[str, ...]
    policies: tuple[str, ...]  # the versions of the rules under which it was asked
    words: str
    answerers: tuple[Answerers, ...]
    danger: bool
    agents: tuple[str, ...]
    excluded: tuple[str, ...]  # who never answers what a rule's own approvers must
    nodes: tuple[str, ...]
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    id: str
    org: str
    user: str
    agent: str
    task: str
    key: str
    state: State
    facts: Facts
    message: str
    seen_at: int | None
    created_at: int
    expires_at: int
    decision: str
    told_at: int | None = None  # when somebody who may answer was first told of it

    def now(self, now: float) -> State:
        """The state as of now: what was not answered or not used in time is over, whatever the row says."""
        if now < self.expires_at or after(self.state, Step.LAPSE) is None:
            return self.state
        missed = self.state is State.PENDING and self.seen_at is None and self.told_at is None
        return State.UNREACHED if missed else State.EXPIRED

    @property
    def may_be_for_the_task(self) -> bool:
        """Whether one answer may hold for all like it until the task ends."""
        return not self.facts.danger and len(self.facts.answerers) == 1 and self.facts.answerers[0].enough == 1

    @property
    def like(self) -> str:
        """Equal for two approvals exactly when the same rules ask about the same operations on the same things."""
        parts = sorted((p.operation, p.resource, p.resource_id) for p in self.facts.parts)
        said = [
            self.facts.integration,
            self.facts.connection,
            sorted(self.facts.asked_by),
            sorted(self.facts.policies),
            parts,
        ]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How whoever answers was proven. `approval` is the one it was proven anew for, by what `passkey` names or else."""

    words: str
    approval: str = ""
    passkey: str = ""


def agreed_to(approval: Approval) -> bytes:
    """What a passkey signs to say yes: this approval of exactly this call."""
    return length_prefixed(b"valetkey approval", approval.id.encode(), bytes.fromhex(approval.key))


def may_answer(person: str, user: str, facts: Facts) -> bool:
    """Whether this person is one of those whose answer counts."""
    return any(_counts(person, user, group, facts) for group in facts.answerers)


def answerers(user: str, facts: Facts) -> frozenset[str]:
    """Everybody whose answer counts."""
    return frozenset(
        person
        for group in facts.answerers
        for person in ((user,) if group.people is None else group.people)
        if _counts(person, user, group, facts)
    )


def is_enough(agreed: frozenset[str], user: str, facts: Facts) -> bool:
    """Whether every group of answerers has as many distinct persons as it needs."""
    # SECURITY: nobody to answer is not everybody agreed: `all` of nothing is true.
    # Guarded by tests/rules/test_asking.py::test_nobody_to_ask_is_no_agreement
    return bool(facts.answerers) and all(
        sum(_counts(person, user, group, facts) for person in agreed) >= max(1, group.enough)
        for group in facts.answerers
    )


def _counts(person: str, user: str, group: Answerers, facts: Facts) -> bool:
    if group.people is None:
        return person == user
    return person in group.people and person not in facts.excluded


def facts_of(ask: Ask, calls: "tuple[Call, ...]", authority: Authority) -> Facts:
    """What is kept of a question beside the bytes."""
    connection = authority.connections[calls[0].connection]
    excluded = {authority.user.id, authority.delegation.created_by, *(a.owner for a in authority.agents)}
    return Facts(
        integration=calls[0].integration,
        connection=connection.id,
        account=connection.account,
        base_url=connection.base_url,
        parts=tuple(
            Part(
                operation=call.operation.id,
                access=call.operation.access,
                scope=call.operation.scope,
                resource=call.resource,
                resource_id="" if call.actual is None else call.actual.id,
            )
            for call in calls
        ),
        asked_by=ask.asked_by,
        policies=ask.ruled.policies,
        words=ask.words,
        answerers=ask.answerers,
        danger=ask.danger,
        agents=tuple(agent.name for agent in authority.agents),
        excluded=tuple(sorted(excluded)),
        nodes=tuple(sorted(authority.nodes)),
        purpose=authority.task.purpose,
    )


def key_of(kept: Kept, facts: Facts, generation: int) -> str:
    """The SHA-256 everything hangs on: one changed byte, target, connection or rule is another key."""
    headers = [part for name, value in kept.headers if name not in _OF_ONE_TRY for part in (name, value)]
    people = [[None if a.people is None else sorted(a.people), a.enough] for a in facts.answerers]
    rules = msgspec.json.encode([facts.asked_by, facts.policies, facts.words, people, facts.danger])
    return hashlib.sha256(
        length_prefixed(
            b"valetkey approval 1",
            facts.integration.encode(),
            facts.connection.encode(),
            str(generation).encode(),
            kept.method.encode(),
            kept.path,
            kept.query,
            length_prefixed(*headers),
            kept.body,
            rules,
        )
    ).hexdigest()
