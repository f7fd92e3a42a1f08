"""Recording what a person permits. Every verb here only narrows what was asked for.

1. who says so (basis), 2. narrowed under what the user may delegate and the agent's ceiling, 3. recorded with its
audit line in one transaction. Connections arrive as data, already chosen and bound to upstream ids.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.delegations import store
from valetkey.server.delegations.checks import DAY_SECONDS, check_purpose, under_ceiling
from valetkey.server.delegations.grants import grant_text
from valetkey.server.delegations.model import Basis, Catalogue, Delegation, Grant, Kept, Mode, narrowed
from valetkey.server.errors import Conflict, Denied, InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.principals.model import Agent, User
from valetkey.server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be recorded, before anything was checked but its shape."""

    user: User
    agent: Agent
    grants: tuple[Grant, ...]
    purpose: str
    seconds: int
    mode: Mode = Mode.ATTENDED
    tasks_per_day: int = 0
    share_with: tuple[Agent, ...] = ()


class Confirm:
    """The verbs that create and change delegations."""

    def __init__(self, journal: Journal, clock: Clock, settings: Settings, catalogue: Catalogue) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._catalogue = catalogue

    async def record(
        self,
        wish: Wish,
        *,
        by: User,
        shared_only: bool,
        allowed: Sequence[Grant],
        also: Callable[[Change, Delegation], Awaitable[None]] | None = None,
    ) -> Delegation:
        """Record a delegation. `allowed` is what the user may delegate; `shared_only` says no personal line is in it.

        `also` runs in the same transaction: what was agreed to and what it answers are written together or not at all.

        Only the user's own credential makes `basis: consent`; anyone else must be an administrator, over shared
        connections alone.
        """
        own = by.id == wish.user.id
        if not own and not (by.is_administrator and shared_only):
            raise not_yours()
        longest = self._longest(wish.mode)
        if not 1 <= wish.seconds <= longest:
            raise InvalidRequest(f"A delegation of this kind lasts between 1 second and {longest} seconds.")
        check_purpose(wish.purpose)
        if wish.mode is Mode.STANDING:
            self._check_standing(wish)
        grants = narrowed(allowed, wish.grants, self._catalogue)
        self._check_counted(grants)
        for agent in (wish.agent, *wish.share_with):
            under_ceiling(agent, grants if agent is wish.agent else (), self._catalogue)
        now = int(self._clock.now())
        delegation = Delegation(
            id=new_id("dlg"),
            org=wish.user.org,
            user=wish.user.id,
            agent=wish.agent.id,
            basis=Basis.CONSENT if own else Basis.ADMINISTRATOR,
            mode=wish.mode,
            purpose=wish.purpose.strip(),
            grants=grants,
            share_with=frozenset(agent.id for agent in wish.share_with),
            tasks_per_day=wish.tasks_per_day,
            created_by=by.id,
            created_at=now,
            expires_at=now + wish.seconds,
        )
        async with self._journal.change() as change:
            await store.add_delegation(change.tx, delegation)
            change.record(
                Event.DELEGATION_RECORDED,
                delegation.org,
                delegation=delegation.id,
                user=wish.user.id,
                agent=wish.agent.id,
                basis=delegation.basis.value,
                mode=delegation.mode.value,
                by=by.id,
                grants=[grant_text(g) for g in grants],
                bound=[f"{r.name}={r.id or r.owner}" for g in grants for r in g.resources],
                expires_at=delegation.expires_at,
                share_with=sorted(delegation.share_with),
            )
            if also is not None:
                await also(change, delegation)
        return delegation

    async def narrow(self, delegation: Delegation, kept: Sequence[Kept], *, expires_at: int, by: User) -> Delegation:
        """Leave less of a recorded delegation, from now on and for its open tasks too. Her own, or an administrator's
        to narrow: taking back needs nobody's agreement."""
        if by.id != delegation.user and not by.is_administrator:
            raise not_yours()
        lessened = delegation.lessened(kept, expires_at=expires_at)
        if not lessened.lines:
            raise InvalidRequest("Nothing would be left of it.", hint="End it instead.")
        async with self._journal.change() as change:
            seq = await change.touches(delegation.id)
            await _check_unchanged(change.tx, delegation)
            await store.change_delegation(change.tx, lessened)
            change.record(
                Event.DELEGATION_NARROWED,
                delegation.org,
                delegation=delegation.id,
                by=by.id,
                grants=[grant_text(g) for g in lessened.lines],
                expires_at=lessened.expires_at,
                known_under=seq,
            )
        return lessened

    async def extend(self, delegation: Delegation, seconds: int, *, by: User) -> Delegation:
        """Let it last longer, counted from now: the user's own word alone, within the longest of its kind."""
        if by.id != delegation.user or delegation.basis is not Basis.CONSENT:
            raise not_yours()
        now = int(self._clock.now())
        if not delegation.is_live(now):
            raise Conflict("This delegation has ended. Agree to a new one.")
        if not 1 <= seconds <= self._longest(delegation.mode):
            raise InvalidRequest(f"A delegation of this kind lasts at most {self._longest(delegation.mode)} seconds.")
        extended = replace(delegation, expires_at=max(delegation.expires_at, now + seconds))
        async with self._journal.change() as change:
            await change.touches(delegation.id)
            await _check_unchanged(change.tx, delegation)
            await store.change_delegation(change.tx, extended)
            change.record(
                Event.DELEGATION_EXTENDED,
                delegation.org,
                delegation=delegation.id,
                by=by.id,
                expires_at=extended.expires_at,
            )
        return extended

    def _longest(self, mode: Mode) -> int:
        """Seconds a delegation of this kind lasts at most."""
        return self._settings.standing_max_days * DAY_SECONDS if mode is Mode.STANDING else DAY_SECONDS

    def _check_counted(self, grants: Sequence[Grant]) -> None:
        for grant in grants:
            integration = self._catalogue.get(grant.integration)
            if grant.is_counted and integration is not None and integration.is_registered:
                raise InvalidRequest(
                    f"Calls to {integration.title} do not pass here, so they cannot be counted.",
                    hint="Limit the time instead.",
                )
            if grant.ask and integration is not None and integration.is_registered:
                raise InvalidRequest(
                    f"Calls to {integration.title} do not pass here, so nobody can be asked before them.",
                    hint="Delegate it without asking, or not at all.",
                )

    def _check_standing(self, wish: Wish) -> None:
        if not 1 <= wish.tasks_per_day <= 1_000:
            raise InvalidRequest("A standing delegation says how many tasks a day it may open.", hint="--tasks-per-day")
        for grant in wish.grants:
            scopes = self._catalogue[grant.integration].scopes if grant.integration in self._catalogue else {}
            if any(scope in scopes and scopes[scope].tier == "danger" for scope in grant.scopes):
                raise Denied("A standing delegation holds no dangerous scope.", reason="danger_standing")


async def _check_unchanged(tx: AsyncConnection, seen: Delegation) -> None:
    # SECURITY: what is written was worked out from what was read before; written over a narrowing in between, it would
    # give back what was taken. The lock of `touches` is held here.
    # Guarded by tests/flows/test_pages.py::test_an_older_page_gives_back_nothing_that_was_taken_meanwhile
    if await store.delegation(tx, seen.id) != seen:
        raise Conflict("This delegation was changed at the same moment.", hint="Look at it again, then repeat.")


def not_yours() -> Denied:
    """What everyone is told who speaks for somebody else."""
    return Denied(
        "Only the person whose account it is can delegate it.",
        hint="Ask them to run this, or use a connection the organization shares.",
        reason="not_yours",
    )
