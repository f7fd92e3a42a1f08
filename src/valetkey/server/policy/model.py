"""Call, Authority, Decision, Reason: what a decision is made of. Frozen data; no clock, no store."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from valetkey.server.delegations.budgets.model import Measure
from valetkey.server.delegations.model import Delegation, Grant, Task
from valetkey.server.integrations.model import Operation, ResourceFacts
from valetkey.server.policy.layer import Layer
from valetkey.server.principals.model import Agent, User


class Reason(StrEnum):
    """The closed list of why. The value is the stable code; `WORDS` says it to a person."""

    ALLOWED = "allowed"
    ERROR = "evaluation_failed"
    USER_SUSPENDED = "user_suspended"
    AGENT_SUSPENDED = "agent_suspended"
    REVOKED = "revoked"
    TASK_EXPIRED = "task_expired"
    DELEGATION_EXPIRED = "delegation_expired"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, not a secret
    UNKNOWN_OPERATION = "unknown_operation"
    IN_THE_BODY = "needs_the_gateway"
    STATEMENT = "statement"
    NOT_DELEGATED = "not_delegated"
    ABOVE_CEILING = "above_ceiling"
    NOT_ENTITLED = "not_entitled"
    CONNECTION_POWER = "connection_power"
    CONNECTION_FOREIGN = "connection_foreign"
    AMBIGUOUS_CONNECTION = "ambiguous_connection"
    RESOURCE_CHANGED = "resource_changed"
    OUT_OF_CALLS = "out_of_calls"
    OUT_OF_WRITES = "out_of_writes"
    OUT_OF_BYTES = "out_of_bytes"
    UNSEEN_BYTES = "unseen_bytes"
    ASKS = "approval_required"
    SPOKEN = "websocket_needs_the_gateway"
    ASKS_SPOKEN = "websocket_cannot_wait"
    ASKS_ELSEWHERE = "approval_needs_the_gateway"
    CANNOT_BE_HELD = "too_large_to_be_approved"
    READ_ONCE = "send_it_again"
    TOO_MANY_ASKS = "too_many_approvals"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_UNREACHED = "approval_unreached"
    APPROVAL_CANCELLED = "approval_cancelled"
    APPROVAL_USED = "approval_used"
    POLICY = "denied_by_policy"
    POLICY_SILENT = "no_rule_allows"
    OWN_RULE = "denied_by_own_rule"
    PROOF_USED = "proof_used"
    LIFETIME = "lifetime"


WORDS: Mapping[Reason, str] = {
    Reason.ALLOWED: "Allowed.",
    Reason.ERROR: "The decision could not be evaluated, so the answer is no.",
    Reason.USER_SUSPENDED: "The user is suspended.",
    Reason.AGENT_SUSPENDED: "The agent, or an agent it acts for, is suspended.",
    Reason.REVOKED: "This was revoked.",
    Reason.TASK_EXPIRED: "The task has ended.",
    Reason.DELEGATION_EXPIRED: "The delegation has ended.",
    Reason.TOKEN_EXPIRED: "The credential has expired.",
    Reason.UNKNOWN_OPERATION: "This operation is not one the integration knows.",
    Reason.IN_THE_BODY: "What this call does stands in its body, which an engine does not show. Use the gateway.",
    Reason.STATEMENT: "This is not a question that is let through.",
    Reason.NOT_DELEGATED: "This was never delegated.",
    Reason.ABOVE_CEILING: "This is above the ceiling an administrator set for the agent.",
    Reason.NOT_ENTITLED: "The user is not entitled to this through the shared connection.",
    Reason.CONNECTION_POWER: "The connected account cannot do this.",
    Reason.CONNECTION_FOREIGN: "The connection is not one this user may act through.",
    Reason.AMBIGUOUS_CONNECTION: "Several connections could serve this call; the credential must name one.",
    Reason.RESOURCE_CHANGED: "Another resource now stands behind this name, or it has a new owner.",
    Reason.OUT_OF_CALLS: "The number of calls that was delegated is used up.",
    Reason.OUT_OF_WRITES: "The number of writes that was delegated is used up.",
    Reason.OUT_OF_BYTES: "The number of bytes that was delegated is used up.",
    Reason.UNSEEN_BYTES: "What is sent is counted for this, and an engine does not show it. Use the gateway.",
    Reason.ASKS: "A person has to agree to this call first.",
    Reason.ASKS_ELSEWHERE: "A person has to agree to this call first, and only the gateway can ask. Use the gateway.",
    Reason.SPOKEN: "This opens a WebSocket, and what is said on it an engine does not show. Use the gateway.",
    Reason.ASKS_SPOKEN: "A person has to agree to this first, and a WebSocket cannot be kept and opened later. "
    "Do it by a plain call, or have the grant or the rule changed so that nobody is asked.",
    Reason.CANNOT_BE_HELD: "A person has to agree to this call first, and its body is too large to be kept until then.",
    Reason.READ_ONCE: "This is allowed by now, but its body was read when it was not, and is gone. Send it again.",
    Reason.TOO_MANY_ASKS: "Too many calls of this agent wait for a person already.",
    Reason.APPROVAL_DENIED: "The person who was asked said no to this call.",
    Reason.APPROVAL_EXPIRED: "Nobody answered in time, or the answer was not used in time.",
    Reason.APPROVAL_UNREACHED: "Nobody who could agree to this call could be reached in time.",
    Reason.APPROVAL_CANCELLED: "The question about this call was taken back.",
    Reason.APPROVAL_USED: "This call was approved and sent before. It is not sent twice.",
    Reason.POLICY: "The organization's policy denies this.",
    Reason.POLICY_SILENT: "The organization has a policy, and no rule of it allows this.",
    Reason.OWN_RULE: "A rule of the user's own denies this.",
    Reason.PROOF_USED: "The proof of the key was used before.",
    Reason.LIFETIME: "The lifetime asked for is longer than allowed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFacts:
    """What the decision needs to know of a connection. `powers` holds scopes, or `*` where the API does not tell."""

    id: str
    org: str
    owner: str | None  # None: shared by the organization
    integration: str
    name: str
    account: str
    base_url: str
    powers: frozenset[str]
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Everything that bounds one task, as known at change number `seq`."""

    seq: int
    user: User
    agents: tuple[Agent, ...]  # the acting one first, then those it acts for
    delegation: Delegation
    tasks: tuple[Task, ...]  # the acting one first, the root last
    connections: Mapping[str, ConnectionFacts]
    entitlements: tuple[Grant, ...]  # the user's, over shared connections
    ceilings: tuple[tuple[Grant, ...], ...]  # every one of every agent in `agents`
    stopped: frozenset[str] = field(default_factory=frozenset)  # revoked nodes among `nodes`
    nodes: frozenset[str] = field(default_factory=frozenset)
    policy: Layer | None = None  # None: the organization has written none, and what is delegated is allowed
    own_rules: Layer | None = None  # the user's
    ready: Layer | None = None  # the ready rules, where they are enforced
    watched: Layer | None = None  # the same where they are only observed: nothing is decided by it
    governed_by: frozenset[str] = field(default_factory=frozenset)
    """Nodes of the rules: a change there makes this old, but ends nothing."""

    @property
    def task(self) -> Task:
        return self.tasks[0]

    @property
    def agent(self) -> Agent:
        return self.agents[0]

    @property
    def lacks_a_ceiling(self) -> bool:
        """Whether it was put together wrongly: nothing may be decided under it."""
        return len(self.ceilings) != sum(len(agent.ceilings) for agent in self.agents)

    @property
    def expires_at(self) -> int:
        """The earliest end of any of its parts."""
        return min(self.delegation.expires_at, *(t.expires_at for t in self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempted action, normalised. `actual` is None until resolved, or when the operation names no resource."""

    integration: str
    connection: str
    operation: Operation
    scopes_needed: frozenset[str]  # guards the operation's parameters add, on top of the operation itself
    resource: str
    actual: ResourceFacts | None
    parameters: Mapping[str, str]
    comments: int = 1  # how many it writes, where its operation writes any

    def through(self, connection: str, actual: ResourceFacts | None = None) -> "Call":
        """The same call through a connection, on what its resource was found to be."""
        return Call(
            integration=self.integration,
            connection=connection,
            operation=self.operation,
            scopes_needed=self.scopes_needed,
            resource=self.resource,
            actual=actual,
            parameters=self.parameters,
            comments=self.comments,
        )

    @property
    def judged_by(self) -> Hashable:
        """All that a decision may depend on: who judges by more says it here, or an older answer is given."""
        return self.integration, self.connection, self.operation.id, self.scopes_needed, self.actual


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a call is counted on: a child's own line, or, on the root task, the delegation's line.

    `resource` is empty for the sum over all. Of bytes as much is set aside as the call turns out to need.
    """

    task: str
    line: int
    cap: int
    measure: Measure = Measure.CALLS
    resource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What rules had to do with a decision, as it is recorded: versions, the rules that said it, what was observed."""

    policies: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()

    @staticmethod
    def of(parts: "Sequence[Ruled]") -> "Ruled":
        """All of several, each once."""
        return Ruled(
            policies=tuple(dict.fromkeys(one for part in parts for one in part.policies)),
            rules=tuple(dict.fromkeys(one for part in parts for one in part.rules)),
            observed=tuple(dict.fromkeys(one for part in parts for one in part.observed)),
        )

    def members(self) -> dict[str, list[str]]:
        """As members of a record; what is empty is left out."""
        if not (self.policies or self.rules or self.observed):
            return {}
        found = {"policies": self.policies, "rules": self.rules, "observed": self.observed}
        return {name: list(value) for name, value in found.items() if value}


UNRULED = Ruled()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    spends: tuple[Spend, ...] = ()
    ruled: Ruled = UNRULED


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    reason: Reason
    detail: str = ""
    ruled: Ruled = UNRULED

    @property
    def words(self) -> str:
        """The reason as a sentence for people."""
        return WORDS[self.reason] + (f" {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerers:
    """Who may answer, and how many different persons of them must agree."""

    people: frozenset[str] | None  # ids of users; None: the user the agent acts for, and nobody else
    enough: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A person has to answer this exact call first."""

    asked_by: tuple[str, ...]  # ids of the rules that ask; the id of the delegation where its own line asks
    words: str  # why, as a sentence for the person who answers
    answerers: tuple[Answerers, ...]  # every one of them must have agreed
    danger: bool  # demands a fresh proof of the person, and is never answered for more than this one call
    spends: tuple[Spend, ...] = ()  # what an agreed call is counted on
    ruled: Ruled = UNRULED


Decision = Allow | Ask | Deny
