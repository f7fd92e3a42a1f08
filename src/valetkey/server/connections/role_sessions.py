"""Sessions of a connected role for calls the gateway signs: one per task, no wider than the task's own lines.

1. the policy is written from the task's lines and ends with the task, 2. a session that is good is used again, 3. one
is made at most once at a time: whoever comes meanwhile waits for that one, and shares its failure. In memory alone;
forgotten when the connection or the task changes. Refuses to know calls and signatures.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.connections.assume import Assume
from valetkey.server.connections.borrow import EARLIER_SECONDS, Borrow, Borrowed
from valetkey.server.connections.installation import Minted
from valetkey.server.errors import ConnectionRequired, Denied
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import EVERYTHING, TAGS, PolicyTooLong, Role, account_of
from valetkey.server.policy.model import Authority, ConnectionFacts
from valetkey.server.secret import Secret

YOUNG_SECONDS: Final = 60
"""A session that AWS refused is replaced unless it is younger: its refusal is then about the call."""
_REMEMBERED: Final = 4_096

Key = tuple[str, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSession:
    """What a call is signed with. `api` says where it goes, and holds the session token, which goes along."""

    api: Borrowed
    access_key: str
    secret: Secret
    made_at: float
    good_until: float


class RoleSessions:
    """One per process."""

    def __init__(self, borrow: Borrow, assume: Assume, clock: Clock) -> None:
        self._borrow = borrow
        self._assume = assume
        self._clock = clock
        self._known: dict[Key, RoleSession] = {}
        self._making: dict[Key, asyncio.Task[RoleSession]] = {}

    async def of(self, facts: ConnectionFacts, authority: Authority, integration: Integration) -> RoleSession:
        """The session for calls of this task. Raises `ConnectionRequired` or `UpstreamFailed` when there is none."""
        how = integration.role
        if how is None:
            raise Denied("This account is not connected by a role.", reason="use_gateway")
        policy = policy_of_task(integration, how, facts, authority)
        key = (facts.id, facts.generation, authority.task.id, policy)
        known = self._known.get(key)
        if known is not None and self._clock.now() < known.good_until:
            return known
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._made(how, key, facts, authority))
            self._making[key] = making
            making.add_done_callback(lambda done: self._is_made(key, done))
        # A caller that goes away does not take the session from those who wait for it too.
        return await asyncio.shield(making)

    def refused(self, session: RoleSession) -> None:
        """AWS refused a call: unless the session is young, the next call gets another, for it may have been ended."""
        if self._clock.now() - session.made_at >= YOUNG_SECONDS:
            self._known = {key: known for key, known in self._known.items() if known is not session}

    def forget(self, nodes: frozenset[str]) -> None:
        """Drop what is remembered of connections and tasks among these nodes."""
        self._known = {key: known for key, known in self._known.items() if key[0] not in nodes and key[2] not in nodes}

    def forget_all(self) -> None:
        """Drop every session that is remembered."""
        self._known.clear()

    def _is_made(self, key: Key, done: "asyncio.Task[RoleSession]") -> None:
        self._making.pop(key, None)
        if not done.cancelled():
            done.exception()  # everybody who waited was told

    async def _made(self, how: Role, key: Key, facts: ConnectionFacts, authority: Authority) -> RoleSession:
        opened = await self._borrow.role(facts.id)
        if opened.role.arn != facts.account or opened.api is None:
            raise ConnectionRequired(detail=f"{facts.id} changed while it was used")
        now = self._clock.now()
        minted = await self._assume.assume(
            how,
            opened,
            policy=key[3],
            name=authority.task.id,
            tags=dict(zip(TAGS, (authority.user.id, authority.agent.id, authority.task.id), strict=True)),
            source=authority.user.id,
            ends_at=authority.expires_at,
        )
        session = _read(minted, opened.api, made_at=now, ends_at=authority.expires_at)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = session
        return session


def policy_of_task(integration: Integration, how: Role, facts: ConnectionFacts, authority: Authority) -> str:
    """The task's own lines through this connection as a session policy.

    Where they do not fit into one, or speak of all there is, the policy has the same actions on all buckets of the
    account, and the gateway alone says on which. Raises `Denied` when the task has no line.
    """
    lines = [line for line in authority.task.grants if line.connection == facts.id and not line.is_empty]
    if not lines:
        raise Denied("Nothing was delegated through this connection.", reason="not_delegated")
    account, ends_at = account_of(facts.account), authority.expires_at
    try:
        return how.policy_of(
            [(_held(integration, line.scopes), [r.name for r in line.resources]) for line in lines],
            account=account,
            ends_at=ends_at,
        )
    except PolicyTooLong:
        scopes = frozenset[str]().union(*(line.scopes for line in lines))
        return how.policy_of([(_held(integration, scopes), [EVERYTHING])], account=account, ends_at=ends_at)
    except ValueError as error:
        raise Denied("The lines of this task cannot be said in AWS's words.", reason="not_delegated") from error


def _held(integration: Integration, scopes: frozenset[str]) -> frozenset[str]:
    """These scopes, and those they include."""
    return frozenset(name for name in integration.scopes if any(integration.includes(s, name) for s in scopes))


def _read(minted: Minted, api: Borrowed, *, made_at: float, ends_at: int) -> RoleSession:
    said = msgspec.json.decode(minted.credential.reveal())
    token = Secret(said["SessionToken"])
    until = minted.expires_at if minted.expires_at >= ends_at else minted.expires_at - EARLIER_SECONDS
    return RoleSession(
        api=replace(api, value=token, secret=token),
        access_key=said["AccessKeyId"],
        secret=Secret(said["SecretAccessKey"]),
        made_at=made_at,
        good_until=until,
    )
