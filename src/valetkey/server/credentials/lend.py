"""Handing out a credential that the API itself has narrowed.

1. the agent and its task are proven as for any credential (`Issue.acting`), 2. what is asked is narrowed and judged as
for any credential, a table named by its task alone is bound (`first_use`), and it is found leasable or sent to the
gateway, 3. every resource is looked up afresh: its id decides, 4. the lease is recorded, durably and under the fence,
before the API is asked, 5. what came is kept sealed, under the fence again, before it is handed out: a revocation in
between means it is given back, never given out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.connections.installation import Minted
from valetkey.server.connections.lookup import Lookups
from valetkey.server.credentials import store
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.first_use import FirstUse
from valetkey.server.credentials.issue import ENDED, Ask, Issue
from valetkey.server.credentials.lease import USE_THE_GATEWAY, Lease, Narrowing, State, narrowing
from valetkey.server.credentials.sources.model import Holder, Sources
from valetkey.server.credentials.take_back import TakeBack
from valetkey.server.db.group import Stale
from valetkey.server.delegations.grants import grant_text
from valetkey.server.delegations.model import Fit, Grant
from valetkey.server.errors import Conflict, Denied, TooMany, Unavailable, UpstreamFailed, ValetkeyError
from valetkey.server.ids import new_id
from valetkey.server.integrations.model import Integration, ResourceRef
from valetkey.server.policy.decide import live
from valetkey.server.policy.model import Authority, Reason
from valetkey.server.principals.model import Agent
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

MOST_OUT: Final = 1_000  # of one organization, at once
MOST_OUT_PER_AGENT: Final = 100
MOST_OUT_PER_CONNECTION: Final = 500
_TRIES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A credential on its way to its agent, once."""

    lease: Lease
    credential: Secret
    upstream_ends_at: int


class Lend:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        authorities: Authorities,
        issue: Issue,
        lookups: Lookups,
        first_use: FirstUse,
        sources: Sources,
        take_back: TakeBack,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._authorities = authorities
        self._issue = issue
        self._lookups = lookups
        self._first_use = first_use
        self._sources = sources
        self._take_back = take_back
        self._ring = ring
        self._clock = clock

    async def lend(self, agent: Agent, unverified_task_token: str, ask: Ask, *, jkt: str | None = None) -> Lent:
        """A narrow credential of the API for `agent`, under the task its token names. Raises the typed refusal."""

        async def decided(authority: Authority, seq: int) -> tuple[Lease, Narrowing, Integration, Holder, int]:
            lease, narrow, integration = await self._decided(authority, seq, ask)
            return lease, narrow, integration, Holder(user=authority.user.email, agent=authority.agent.name), seq

        # To decide again costs more than to ask: what is decided on old knowledge has asked the API for every resource.
        await self._authorities.refresh()
        lease, narrow, integration, holder, seq = await self._issue.acting(
            agent, unverified_task_token, decided, jkt=jkt
        )
        minted = await self._made(lease, narrow, integration, holder)
        await self._kept(lease, minted, opened_under=seq)
        return Lent(lease=lease, credential=minted.credential, upstream_ends_at=minted.expires_at)

    async def _decided(self, authority: Authority, seq: int, ask: Ask) -> tuple[Lease, Narrowing, Integration]:
        try:
            integration = self._issue.target(ask.target, authority.user.org)
            if integration is None:
                raise Denied(f"{ask.target[:200]} is not an API known here.", reason="target")
            ended = live(authority, self._clock.now())
            if ended is not None:
                raise ENDED.get(ended.reason, Denied)(ended.words, reason=ended.reason.value)
            asked = replace(ask, grants=tuple(_by_id(grant, authority) for grant in ask.grants))
            lines = self._issue.lines(authority.task.grants, asked, integration.name)
            self._issue.judge(authority, lines)
            lines = await self._first_use.bound(lines, authority, integration)
            self._issue.judge(authority, lines)
            narrow = narrowing(lines, authority, integration)
            await self._sources.of(integration).ready(lines[0].connection)
            await self._check_resources(authority, lines)
        except ValetkeyError as error:
            raise await self._refused(authority, seq, ask, error) from error
        now = int(self._clock.now())
        limits = [line.not_after for line in lines if line.not_after is not None]
        lease = Lease(
            id=new_id("lse"),
            org=authority.user.org,
            user=authority.user.id,
            agent=authority.agent.id,
            task=authority.task.id,
            delegation=authority.delegation.id,
            connection=lines[0].connection,
            integration=integration.name,
            lines=lines,
            nodes=authority.nodes,
            state=State.OPENING,
            opened_at=now,
            ends_at=min([authority.expires_at, *limits]),
        )
        entry = Entry(
            event=Event.LEASE_OPENED,
            org=lease.org,
            members={
                **_who(authority),
                "lease": lease.id,
                "connection": lease.connection,
                "integration": lease.integration,
                "grants": [grant_text(line) for line in lines],
                "permissions": sorted(narrow.permissions),
                "resource_ids": list(narrow.resource_ids),
                "ends_at": lease.ends_at,
                "known_under": seq,
            },
            refers=lease.id,
            also=_Opening(lease),
        )
        must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
        return lease, narrow, integration

    async def _check_resources(self, authority: Authority, lines: Sequence[Grant]) -> None:
        """Every resource is still what it was when it was delegated, as the API says now."""
        facts = authority.connections[lines[0].connection]
        for resource in {r for line in lines for r in line.resources}:
            if resource.is_whole:  # `narrowing` let it through: all tables of a schema
                if not await self._lookups.is_still(facts, resource):
                    raise Denied(f"{resource.name} must be confirmed again.", reason=Reason.RESOURCE_CHANGED.value)
                continue
            found = await self._lookups.resource(facts, ResourceRef(resource.kind, id=resource.id), fresh=True)
            if found is None or resource.fit(found) is not Fit.YES:
                raise Denied(f"{resource.name} must be confirmed again.", reason=Reason.RESOURCE_CHANGED.value)

    async def _made(self, lease: Lease, narrow: Narrowing, integration: Integration, holder: Holder) -> Minted:
        """The credential, or a closed lease: refused for certain, or perhaps made and never seen."""
        source = self._sources.of(integration)
        try:
            return await source.obtain(lease, narrow, integration, holder)
        except ValetkeyError as error:
            perhaps = isinstance(error, UpstreamFailed)
            async with self._journal.change() as change:
                if perhaps and not source.ends_by_itself:
                    # SECURITY: what was perhaps made and does not end by itself is taken back, not forgotten.
                    # Guarded by tests/faults/test_database_leases.py::test_a_role_that_was_made_unseen_is_dropped
                    await store.end_soon(change.tx, lease.id, problem=error.code)
                    raise
                state = State.LOST if perhaps else State.ENDED
                event = Event.LEASE_LOST if perhaps else Event.LEASE_FAILED
                if await store.close(change.tx, lease.id, state, problem=error.code):
                    change.record(event, lease.org, lease=lease.id, why=error.code)
            raise

    async def _kept(self, lease: Lease, minted: Minted, *, opened_under: int) -> None:
        """Keep what ends it, unless it has ended already: then it is ended there and nobody gets it.

        `opened_under` is the change number it was opened under. While that is still the newest, which the fence says,
        nothing was revoked since, so nothing needs to be read again; its time may be over all the same.
        """
        members = {"lease": lease.id, "credential": fingerprint(minted.credential), "ends_at": lease.ends_at}
        try:
            for _ in range(_TRIES):
                authority, seq = await self._authorities.of_task(lease.task)
                await self._take_back.check(lease, authority, is_unchanged=seq == opened_under)
                keeping = _Keeping(lease, minted, self._ring)
                entry = Entry(event=Event.LEASE_OBTAINED, org=lease.org, members=members, refers=lease.id, also=keeping)
                try:
                    must_be_recorded(entry, await self._journal.record(entry, decided_under=seq))
                    return
                except Stale:
                    await self._authorities.refresh()
            raise Unavailable(detail="revocations outran the lease")
        except BaseException:
            # SECURITY: nobody has it yet and nobody will: what is not recorded is not handed out.
            # Guarded by tests/attacks/test_leases.py::test_what_is_revoked_while_it_is_made_is_given_back
            await asyncio.shield(self._take_back.unseen(lease, minted.credential))
            raise

    async def _refused(self, authority: Authority, seq: int, ask: Ask, error: ValetkeyError) -> ValetkeyError:
        """Record the refusal and return it."""
        await self._journal.record(
            Entry(
                event=Event.LEASE_REFUSED,
                org=authority.user.org,
                members={
                    **_who(authority),
                    "target": ask.target[:200],
                    "reason": str(error.members.get("reason", error.code)),
                },
            ),
            decided_under=seq,
        )
        if error.members.get("reason") == "use_gateway":
            error.next_step = USE_THE_GATEWAY
        return error


class _Opening:
    """Writes the lease in the commit that records it, unless too many are out."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def __call__(self, tx: AsyncConnection) -> Exception | None:
        everybody, its_own, through = await store.count_out(
            tx, self._lease.org, agent=self._lease.agent, connection=self._lease.connection
        )
        # DO-08: one agent that goes wild leaves the others of its organization theirs. What cannot be ended counts:
        # where nothing is taken back any more, nothing more is given.
        if everybody >= MOST_OUT or its_own >= MOST_OUT_PER_AGENT or through >= MOST_OUT_PER_CONNECTION:
            return TooMany("Too many credentials are out.", retry_after=60, reason="leases")
        await store.add(tx, self._lease)
        return None


class _Keeping:
    """Seals the credential in the commit that says it was obtained, unless the lease has ended meanwhile."""

    def __init__(self, lease: Lease, minted: Minted, ring: KeyRing) -> None:
        self._lease = lease
        self._minted = minted
        self._ring = ring

    async def __call__(self, tx: AsyncConnection) -> Exception | None:
        kept = await store.hold(
            tx,
            self._lease,
            self._minted.kept or self._minted.credential,
            fingerprint=fingerprint(self._minted.credential),
            upstream_ends_at=self._minted.expires_at,
            ring=self._ring,
        )
        return None if kept else Conflict("This lease has ended meanwhile.")


def _by_id(grant: Grant, authority: Authority) -> Grant:
    """The line over the connection that people call so, by its id; as it is where nobody calls exactly one so."""
    found = [
        facts.id
        for facts in authority.connections.values()
        if (facts.integration, facts.name) == (grant.integration, grant.connection)
    ]
    return replace(grant, connection=found[0]) if len(found) == 1 else grant


def _who(authority: Authority) -> dict[str, Any]:
    return {
        "user": authority.user.id,
        "agent": authority.agent.id,
        "chain": [a.id for a in authority.agents],
        "task": authority.task.id,
        "delegation": authority.delegation.id,
    }
