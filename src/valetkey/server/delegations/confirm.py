"""Recording what a person permits, and opening the runs under it. Every verb here only narrows.

1. who says so (basis), 2. narrowed under what the user may delegate and the agent's ceiling, 3. recorded with its
audit line in one transaction. Connections arrive as data, already chosen and bound to upstream ids.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.delegations import store
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Basis, Catalogue, Delegation, Grant, Kept, Mode, Task, narrowed
from valetkey.server.errors import Conflict, ConsentRequired, Denied, InvalidRequest, TooMany
from valetkey.server.ids import new_handle, new_id
from valetkey.server.principals.model import Agent, User
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac

EVIDENCE_SECONDS = 600
DAY_SECONDS = 86_400
LONGEST_PURPOSE = 500


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Evidence that a client redeems: the person's own answer in a browser, on a device, or to a backchannel request.

    Whoever makes one has to spend the answer in the same transaction, by `also` of `open_task`.
    """

    way: Literal["code", "device", "backchannel", "id_jag"]
    user: str


class Confirm:
    """The verbs that create delegations, tasks and child tasks."""

    def __init__(self, journal: Journal, mac: Mac, clock: Clock, settings: Settings, catalogue: Catalogue) -> None:
        self._journal = journal
        self._mac = mac
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
        _check_purpose(wish.purpose)
        if wish.mode is Mode.STANDING:
            self._check_standing(wish)
        grants = narrowed(allowed, wish.grants, self._catalogue)
        self._check_counted(grants)
        for agent in (wish.agent, *wish.share_with):
            _under_ceiling(agent, grants if agent is wish.agent else (), self._catalogue)
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

    async def evidence(self, delegation: Delegation, *, by: User) -> Secret:
        """A single-use proof, good for ten minutes, that the user herself wants a task opened now."""
        if by.id != delegation.user:
            raise Denied("Only the person whose delegation it is can vouch for a task.", reason="not_yours")
        handle = new_handle("ev")
        async with self._journal.change() as change:
            await store.add_evidence(
                change.tx,
                self._mac.mac("evidence", "ev", handle),
                delegation=delegation.id,
                user=by.id,
                expires_at=int(self._clock.now()) + EVIDENCE_SECONDS,
            )
            change.record(Event.EVIDENCE_ISSUED, delegation.org, delegation=delegation.id, user=by.id)
        return handle

    async def open_task(
        self,
        delegation: Delegation,
        *,
        present: User | None,
        evidence: Secret | None,
        asked: Sequence[Grant],
        seconds: int,
        purpose: str,
        answered: Answered | None = None,
        also: Callable[[Change, Task], Awaitable[None]] | None = None,
    ) -> Task:
        """Open a root task. `present` is the user when her own credential asks; an agent brings `evidence` instead.

        `answered` is an answer of hers that is redeemed; `also` runs in the same transaction, and may refuse.
        """
        now = int(self._clock.now())
        drawn = self._drawn(delegation, asked=asked, seconds=seconds, purpose=purpose, now=now)
        async with self._journal.change() as change:
            if answered is not None:
                proof = _redeemed(delegation, answered, also)
            else:
                proof = await self._proof(change.tx, delegation, present, evidence, now)
            task = replace(drawn, evidence=proof)
            await store.add_tasks(change.tx, [task])
            change.record(Event.TASK_OPENED, task.org, **_task_members(task, delegation))
            if also is not None:
                await also(change, task)
        return task

    def answered(self, delegation: Delegation, answer: Answered, *, seconds: int) -> tuple[Task, Entry]:
        """The task an answer of hers is worth, and the record of its opening.

        Whoever calls this writes both, and spends the answer, in one transaction (`store.add_tasks`).
        """
        now = int(self._clock.now())
        drawn = self._drawn(delegation, asked=(), seconds=seconds, purpose="", now=now)
        task = replace(drawn, evidence=_redeemed(delegation, answer, spends=answer))
        return task, Entry(event=Event.TASK_OPENED, org=task.org, members=_task_members(task, delegation))

    def _drawn(self, delegation: Delegation, *, asked: Sequence[Grant], seconds: int, purpose: str, now: int) -> Task:
        """A root task of which only the evidence is missing."""
        self._check_task_seconds(seconds)
        if purpose:
            _check_purpose(purpose)
        task_id = new_id("tsk")
        return Task(
            id=task_id,
            org=delegation.org,
            delegation=delegation.id,
            agent=delegation.agent,
            parent=None,
            root=task_id,
            depth=0,
            grants=narrowed(delegation.lines, asked or delegation.lines, self._catalogue),
            purpose=purpose.strip() or delegation.purpose,
            evidence="",
            created_at=now,
            expires_at=min(now + seconds, delegation.expires_at),
        )

    async def open_child(
        self,
        parent: Task,
        delegation: Delegation,
        sub_agent: Agent,
        *,
        asked: Sequence[Grant],
        seconds: int,
        received: str = "",
    ) -> Task:
        """Open a task for a sub-agent: narrower, never longer, never deeper than allowed, only whom the user named.

        `received` is the id of the token that was handed over for it: the child ends with that token.
        """
        if sub_agent.id not in delegation.share_with:
            raise Denied(
                f"{sub_agent.name} may not receive part of this delegation.",
                hint="The user names who may receive part of it when delegating (--share-with).",
                reason="not_shared",
            )
        if sub_agent.id == parent.agent:
            raise Denied("An agent does not pass a task on to itself.", reason="not_shared")
        self._check_task_seconds(seconds)
        if parent.depth + 1 > self._settings.max_depth:
            raise Denied("The chain of sub-agents is as deep as allowed.", reason="too_deep")
        grants = narrowed(parent.grants, asked, self._catalogue)
        _under_ceiling(sub_agent, grants, self._catalogue)
        now = int(self._clock.now())
        child = Task(
            id=new_id("tsk"),
            org=parent.org,
            delegation=parent.delegation,
            agent=sub_agent.id,
            parent=parent.id,
            root=parent.root,
            depth=parent.depth + 1,
            grants=grants,
            purpose=parent.purpose,
            evidence=received or "parent",
            created_at=now,
            expires_at=min(now + seconds, parent.expires_at),
        )
        async with self._journal.change() as change:
            await store.add_tasks(change.tx, [child])
            change.record(Event.TASK_OPENED, child.org, **_task_members(child, delegation))
        return child

    async def _proof(
        self, tx: AsyncConnection, d: Delegation, present: User | None, evidence: Secret | None, now: int
    ) -> str:
        if present is not None:
            if present.id != d.user:
                raise ConsentRequired(detail="a user who is not the delegation's")
            return "credential"
        if evidence is not None:
            user = await store.use_evidence(tx, self._mac.mac("evidence", "ev", evidence), delegation=d.id, now=now)
            if user != d.user:
                raise ConsentRequired("This evidence is not valid, was used, or has expired.")
            return "evidence"
        if d.mode is not Mode.STANDING:
            raise ConsentRequired("An attended delegation opens a task only when its user is there.")
        if await store.unattended_tasks_since(tx, d.id, now - DAY_SECONDS) >= d.tasks_per_day:
            raise TooMany("This standing delegation opened all the tasks it may in a day.", retry_after=3600)
        return "standing"

    def _check_task_seconds(self, seconds: int) -> None:
        if not 1 <= seconds <= self._settings.task_max_seconds:
            raise InvalidRequest(f"A task lasts between 1 and {self._settings.task_max_seconds} seconds.")

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


def _redeemed(delegation: Delegation, answered: Answered, spends: object) -> str:
    if answered.user != delegation.user or spends is None:
        raise ConsentRequired(detail="an answer that is not the user's, or that nothing spends")
    return answered.way


def _check_purpose(purpose: str) -> None:
    if not purpose.strip() or len(purpose) > LONGEST_PURPOSE or not purpose.isprintable():
        raise InvalidRequest("Say what it is for, in at most 500 printable characters.", hint="Use --purpose.")


def _under_ceiling(agent: Agent, grants: Sequence[Grant], catalogue: Catalogue) -> None:
    """Raises `Denied` when a grant is above what the agent can ever be given."""
    for grant in grants:
        unbound = grant.by_name()
        try:
            for ceiling in agent.ceilings:
                narrowed(parse_grants(ceiling), (unbound,), catalogue)
        except Denied as error:
            raise Denied(
                f"{grant_text(unbound)} is above the ceiling of {agent.name}.",
                hint="An administrator can raise the agent's ceiling.",
                reason="above_ceiling",
            ) from error


def _task_members(task: Task, delegation: Delegation) -> dict[str, Any]:
    members: dict[str, object] = {
        "task": task.id,
        "delegation": task.delegation,
        "user": delegation.user,
        "agent": task.agent,
        "root": task.root,
        "depth": task.depth,
        "evidence": task.evidence,
        "grants": [grant_text(g) for g in task.grants],
        "expires_at": task.expires_at,
    }
    if task.parent is not None:
        members["parent"] = task.parent
    return members
