"""Issuing a delegated credential. Both doors, `/oauth/token` and `/v1/tokens`, call `Issue.delegated`.

1. the door has authenticated the agent and parsed; here the task token is verified and its task loaded,
2. what is asked is narrowed under the task, then judged: alive, entitled, under every ceiling,
3. the claims are fixed and the decision is recorded, durably, with `jti` and the digest of what will be signed,
4. only then is it signed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.last_used import LastUsed
from valetkey.server.db.effects import Effect
from valetkey.server.delegations.grants import grant_text
from valetkey.server.delegations.model import Grant, Task, narrowed
from valetkey.server.errors import Denied, Expired, InvalidRequest, NotAuthenticated, NotFound, Revoked
from valetkey.server.ids import new_id
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.decide import live, usable
from valetkey.server.policy.model import Authority, Deny, Reason
from valetkey.server.policy.ruled import never_allowed
from valetkey.server.principals.model import Agent
from valetkey.server.settings import Settings
from valetkey.server.tokens.doors import LAYOUT, gateway_address
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import (
    SignedIn,
    delegated_claims,
    granted_members,
    prepare,
    resource_claims,
    task_claims,
)
from valetkey.server.tokens.model import Kind
from valetkey.server.tokens.verify import Verifying
from valetkey.verify.keys import Algorithm

_REMEMBERED = 4_096

T = TypeVar("T")

ENDED = {
    Reason.REVOKED: Revoked,
    Reason.TASK_EXPIRED: Expired,
    Reason.DELEGATION_EXPIRED: Expired,
    Reason.TOKEN_EXPIRED: Expired,
}
"""Reasons whose next step differs from a plain denial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What an agent asks for: one audience, and optionally less than the task has."""

    target: str
    also: frozenset[str] = frozenset()
    """Other names of the same target (RFC 8707 section 2 lets a request repeat it)."""
    scopes: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] = ()
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    token: str
    jti: str
    audience: str
    expires_in: int
    grants: tuple[Grant, ...]
    granted: Mapping[str, Any]
    """What was granted, as members of an answer."""
    jkt: str | None = None

    @property
    def token_type(self) -> str:
        """How the token is shown (RFC 9449 section 5)."""
        return "Bearer" if self.jkt is None else "DPoP"


@dataclass(frozen=True, slots=True, kw_only=True)
class With:
    """What is done and recorded in the commit that records an issue: all of it, or nothing."""

    entries: tuple[Entry, ...] = ()
    effect: Effect | None = None


ALONE = With()


@dataclass(frozen=True, slots=True)
class _Narrowing:
    """What was asked for under this very authority, narrowed and judged, and how claims and records say it."""

    authority: Authority
    grants: tuple[Grant, ...]
    granted: Mapping[str, Any]
    texts: list[str]


class Issue:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        authorities: Authorities,
        keys: Keys,
        verifying: Verifying,
        clock: Clock,
        settings: Settings,
        catalogue: LiveCatalogue,
        last_used: LastUsed,
    ) -> None:
        self._journal = journal
        self._authorities = authorities
        self._keys = keys
        self._verifying = verifying
        self._clock = clock
        self._settings = settings
        self._catalogue = catalogue
        self._last_used = last_used
        self._gateway = {gateway_address(settings.gateway, name): i for name, i in catalogue.built_in.items()}
        self._narrowings: dict[tuple[str, Ask], _Narrowing] = {}

    async def delegated(
        self,
        agent: Agent,
        unverified_task_token: str,
        ask: Ask,
        *,
        again: Callable[[], Awaitable[object]] | None = None,
        jkt: str | None = None,
        signed_in: SignedIn | None = None,
    ) -> Issued:
        """Mint one credential for `agent` under the task its token names. The actor is the authenticated agent.

        `again` authenticates the agent once more, under the knowledge the decision is made on. `jkt` is the key this
        request proved: the credential is bound to it, and a task token that is bound needs exactly its own key.
        `signed_in` is how the person proved herself when she agreed, where that is known (RFC 9068 section 2.2.1).
        """

        async def issued(authority: Authority, seq: int) -> Issued:
            return await self.under(authority, seq, ask, jkt=jkt, signed_in=signed_in)

        return await self.acting(agent, unverified_task_token, issued, again=again, jkt=jkt)

    async def acting(
        self,
        agent: Agent,
        unverified_task_token: str,
        decided: Callable[[Authority, int], Awaitable[T]],
        *,
        again: Callable[[], Awaitable[object]] | None = None,
        jkt: str | None = None,
    ) -> T:
        """What `decided` makes of the authority of the task a token names, for the agent it belongs to.

        It is asked once more for as long as a revocation comes in between: `decided` raises `Stale` then.
        """
        try:
            holder = await self._verifying.at_exchange(unverified_task_token)
        except (NotAuthenticated, Expired) as error:
            raise InvalidRequest(
                "The task token is missing, expired or not valid.", detail=error.detail, reason="subject_token"
            ) from error
        if holder.agent != agent.id or holder.org != agent.org:
            raise InvalidRequest(
                "The task token is missing, expired or not valid.", detail="another agent's", reason="subject_token"
            )

        async def attempt() -> T:
            try:
                authority, seq = await self._authorities.of_task(holder.task)
            except NotFound as error:
                raise InvalidRequest(
                    "The task token is missing, expired or not valid.", detail=error.detail, reason="subject_token"
                ) from error
            # SECURITY: the key is the requester's, proved now; it is never copied from the task token (TX-16).
            # Guarded by tests/flows/test_dpop.py::test_tx_16_a_bound_task_token_needs_its_key_and_passes_none_on
            if holder.cnf is not None and holder.cnf != jkt:
                await self.refused(authority, "another_key", decided_under=seq)
                raise InvalidRequest(
                    "The task token is bound to a key; send a DPoP proof with that key.",
                    detail="another key",
                    reason="subject_token",
                )
            # SECURITY: whatever was known before `seq` may be older than a revocation that was already answered.
            # Guarded by tests/faults/test_fence.py::test_a_rotated_secret_is_refused_at_once_on_a_warm_node
            if self._authorities.is_revoked(holder.jti):
                await self.refused(authority, Reason.REVOKED.value, decided_under=seq)
                raise InvalidRequest(
                    "The task token is missing, expired or not valid.", detail="revoked", reason="subject_token"
                )
            if again is not None:
                await again()
            return await decided(authority, seq)

        return await self._authorities.decided(attempt)

    async def task_token_beside(
        self, authority: Authority, seq: int, *, may_act: Sequence[Agent], jkt: str | None, beside: With
    ) -> str:
        """The token of this authority's task, once what is `beside` it is done and recorded. Raises as `under` does."""
        if beside.entries:
            entry = replace(beside.entries[-1], after=beside.entries[:-1], also=beside.effect)
            must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
        return self.task_token(authority.task, authority.agent, may_act=may_act, jkt=jkt)

    def task_token(self, task: Task, agent: Agent, *, may_act: Sequence[Agent] = (), jkt: str | None = None) -> str:
        """The token that names a task to the token endpoint. It has no upstream rights.

        `may_act` are the agents the person lets it be passed on to. `jkt` is the key the agent itself proved when it
        asked; a task opened by a person is bound to none.
        """
        now = int(self._clock.now())
        claims = task_claims(
            issuer=self._settings.issuer,
            org=task.org,
            agent=(agent.subject, agent.id),
            task=task.id,
            delegation=task.delegation,
            jti=new_id("tok"),
            now=now,
            expires_at=task.expires_at,
            may_act=[(a.subject, a.id) for a in may_act],
            jkt=jkt,
        )
        return prepare(self._keys.signer("ES256"), Kind.TASK, claims).signed()

    async def under(
        self,
        authority: Authority,
        seq: int,
        ask: Ask,
        *,
        jkt: str | None = None,
        signed_in: SignedIn | None = None,
        beside: With = ALONE,
    ) -> Issued:
        """Mint one credential within this authority, if nothing changed since that number; raises `Stale` otherwise.

        Who calls this has authenticated the agent under that number. What is `beside` it happens with it or not at all.
        """
        now = self._clock.now()
        integration = self.target(ask.target, authority.user.org)
        if integration is None:
            raise await self._refused(authority, seq, ask, "unknown_target", f"{ask.target} is not an API known here.")
        if any(self.target(other, authority.user.org) is not integration for other in ask.also):
            words = "A credential has one audience: ask for one API at a time."
            raise await self._refused(authority, seq, ask, "target", words)
        ended = live(authority, now)
        if ended is not None:
            raise await self._refused(authority, seq, ask, ended.reason.value, ended.words, ended)
        try:
            narrowing = self._narrowing(authority, ask, integration.name)
            seconds = self._seconds(ask)
        except Denied as error:
            raise await self._refused(
                authority, seq, ask, str(error.members.get("reason", "denied")), error.public
            ) from error
        issued_at = int(now)
        limits = (g.not_after for g in narrowing.grants if g.not_after is not None)
        ends = [issued_at + seconds, authority.expires_at, *limits]
        expires_at = min(ends)
        if expires_at <= issued_at:
            raise await self._refused(authority, seq, ask, "task_expired", "The task has ended.")
        jti = new_id("tok")
        kind = LAYOUT[integration.layout]
        claims = (delegated_claims if kind is Kind.DELEGATED else resource_claims)(
            issuer=self._settings.issuer,
            org=authority.user.org,
            chain=[(a.subject, a.id) for a in authority.agents],
            user=(authority.user.subject, authority.user.id),
            audience=integration.audience,
            granted=narrowing.granted,
            task=authority.task.id,
            delegation=authority.delegation.id,
            jti=jti,
            now=issued_at,
            expires_at=expires_at,
            jkt=jkt,
        )
        if kind is Kind.RESOURCE and signed_in is not None:
            claims |= signed_in.claims()
        unsigned = prepare(await self._keys.ready(self._algorithm(integration)), kind, claims)
        entry = Entry(
            event=Event.TOKEN_ISSUED,
            org=authority.user.org,
            members={
                **_who(authority),
                "token": jti,
                "aud": integration.audience,
                "grants": narrowing.texts,
                "expires_at": expires_at,
                "signing_input_sha256": unsigned.digest,
                **({} if jkt is None else {"key": jkt}),
            },
            refers=jti,
            also=beside.effect,
            after=beside.entries,
        )
        must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
        self._last_used.note(authority.delegation.id, {g.connection for g in narrowing.grants})
        return Issued(
            token=unsigned.signed(),
            jti=jti,
            audience=integration.audience,
            expires_in=expires_at - issued_at,
            grants=narrowing.grants,
            granted=narrowing.granted,
            jkt=jkt,
        )

    def _narrowing(self, authority: Authority, ask: Ask, integration: str) -> _Narrowing:
        """The grants asked for, narrowed and judged; remembered for as long as this very authority is current."""
        known = self._narrowings.get((authority.task.id, ask))
        if known is not None and known.authority is authority:
            return known
        grants = self.lines(authority.task.grants, ask, integration)
        self.judge(authority, grants)
        if len(self._narrowings) >= _REMEMBERED:
            self._narrowings.clear()
        narrowing = _Narrowing(authority, grants, granted_members(grants), [grant_text(g) for g in grants])
        self._narrowings[authority.task.id, ask] = narrowing
        return narrowing

    def lines(self, held: Sequence[Grant], ask: Ask, integration: str) -> tuple[Grant, ...]:
        """What is asked for of what is held at one API. Raises `Denied` for anything more."""
        held = tuple(g for g in held if g.integration == integration)
        if not held:
            raise Denied(f"{integration} was never delegated.", reason="not_delegated_target")
        asked = ask.grants or held
        if any(g.integration != integration for g in asked):
            raise Denied("A credential is for one API.", reason="not_delegated_target")
        if ask.scopes:
            asked = tuple(replace(g, scopes=ask.scopes) for g in asked)
        return narrowed(held, asked, self._catalogue)

    def target(self, name: str, org: str | None) -> Integration | None:
        """The API an audience or a gateway address means to that organization; one trailing slash says nothing.

        Without an organization, as long as nobody has signed in, only what everybody may use is known.
        """
        found = self._gateway.get(name.removesuffix("/")) or self._catalogue.at(name)
        return found if found is not None and found.is_seen_by(org) else None

    def judge(self, authority: Authority, grants: Sequence[Grant]) -> None:
        """What a call would be judged by, as far as no call is needed: connection, entitlement, every ceiling."""
        if not grants or authority.lacks_a_ceiling:
            raise Denied("The decision could not be evaluated, so the answer is no.", reason=Reason.ERROR.value)
        for grant in grants:
            integration = self._catalogue.get(grant.integration)
            # SECURITY: only a resource server of the very organization needs no connection; all else fails closed.
            # Guarded by tests/attacks/test_resource_servers.py::test_a_line_without_a_connection_is_good_for_one_only
            if integration is None or not integration.is_registered:
                connection = usable(authority, grant.connection)
                if isinstance(connection, Deny):
                    raise Denied(connection.words, reason=connection.reason.value)
                if connection.owner is None:
                    narrowed(authority.entitlements, (grant,), self._catalogue)
            elif grant.connection or integration.org != authority.user.org:
                raise Denied(f"{grant.integration} was never delegated.", reason="not_delegated_target")
            narrowed(authority.delegation.grants, (grant,), self._catalogue)
            for ceiling in authority.ceilings:
                narrowed(ceiling, (grant.by_name(),), self._catalogue)
            if integration is not None and not integration.is_registered:
                # NOTE: rules are about operations, and a resource server of one's own has none that are known here.
                refused = never_allowed(authority, grant, integration)
                if refused is not None:
                    raise Denied(refused.words, reason=refused.reason.value)

    async def refused(
        self, authority: Authority, reason: str, *, target: str = "", by: str = "", decided_under: int | None = None
    ) -> None:
        """Record that nothing was issued under this authority. `by` is who asked, where that is not its own agent."""
        members = {**_who(authority), "reason": reason}
        members |= {"target": target[:200]} if target else {}
        members |= {"by": by} if by else {}
        entry = Entry(event=Event.TOKEN_REFUSED, org=authority.user.org, members=members)
        await self._journal.record(entry, decided_under=decided_under)

    def _seconds(self, ask: Ask) -> int:
        seconds = self._settings.token_seconds if ask.seconds is None else ask.seconds
        if not 1 <= seconds <= self._settings.token_max_seconds:
            raise Denied(
                f"A credential lasts between 1 and {self._settings.token_max_seconds} seconds.", reason="lifetime"
            )
        return seconds

    def _algorithm(self, integration: Integration) -> Algorithm:
        chosen = integration.algorithm or self._settings.algorithms.get(integration.name, "ES256")
        return "Ed25519" if chosen == "Ed25519" else "RS256" if chosen == "RS256" else "ES256"

    async def _refused(
        self, authority: Authority, seq: int, ask: Ask, reason: str, words: str, ended: Deny | None = None
    ) -> Exception:
        """Record the refusal and return what to raise."""
        await self.refused(authority, reason, target=ask.target, decided_under=seq)
        kind = ENDED.get(ended.reason, Denied) if ended is not None else Denied
        return kind(words, reason=reason)


def _who(authority: Authority) -> dict[str, Any]:
    return {
        "user": authority.user.id,
        "agent": authority.agent.id,
        "chain": [a.id for a in authority.agents],
        "task": authority.task.id,
        "delegation": authority.delegation.id,
    }
