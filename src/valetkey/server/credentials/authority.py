"""What bounds a task, or any task of a delegation, loaded once and known to be current under one change number.

An entry is dropped when any of its nodes changes. A decision is made under `seq`; the commit that records it compares
that number with the newest, so an entry that is out of date can never have an effect.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections import store as connections
from valetkey.server.db import fence
from valetkey.server.db.engine import Database
from valetkey.server.db.group import Stale
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.grants import parse_grants
from valetkey.server.delegations.model import Delegation, Task
from valetkey.server.errors import NotFound, Unavailable
from valetkey.server.policy.model import Authority, ConnectionFacts
from valetkey.server.policy.versions.model import node_of_own_rules, node_of_policy
from valetkey.server.policy.versions.store import Layers, ready_mode
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User
from valetkey.server.revocation import store as revocation

_REMEMBERED = 20_000
_TRIES = 10
_ATTEMPTS = 20
T = TypeVar("T")

Learn = Callable[[AsyncConnection, int, frozenset[str]], Awaitable[None]]
"""Reads again what these changed nodes are about, as of at least that number. At the start nothing is known."""


class Authorities:
    """One per process."""

    def __init__(
        self,
        database: Database,
        layers: Layers,
        also_forget: Sequence[Callable[[frozenset[str]], None]] = (),
        also_learn: Sequence[Learn] = (),
        outrun: Callable[[frozenset[str], int], None] = lambda _nodes, _seq: None,
    ) -> None:
        self._database = database
        self._layers = layers
        self._also_forget = also_forget
        self._also_learn = also_learn
        self._outrun = outrun  # told what changed and under which number, by whomever it was learned
        self._known: dict[str, Authority] = {}
        self._by_node: dict[str, set[str]] = {}
        self._revoked_tokens: set[str] = set()
        self._standing: set[str] = set()
        self.seq = -1

    async def of_task(self, task_id: str) -> tuple[Authority, int]:
        """The authority of a task and the change number it is known under. Raises `NotFound`."""
        known = self._known.get(task_id)
        if known is not None:
            return known, self.seq
        return await self._remembered(task_id, _of_task)

    async def of_delegation(self, delegation_id: str) -> tuple[Authority, int]:
        """What bounds whatever task is opened under it, without one, and the number. Raises `NotFound`."""
        known = self._known.get(delegation_id)
        if known is not None:
            return known, self.seq
        return await self._remembered(delegation_id, _of_delegation)

    def opened(self, authority: Authority, seq: int) -> None:
        """Its task was opened and recorded under that number: it need not be read to be known."""
        if self.seq == seq:
            self._remember(authority.task.id, authority)

    async def are_standing(self, nodes: Collection[str]) -> bool:
        """Whether none of these is revoked, as known under `seq`. Only what stands is remembered."""
        if self._standing.issuperset(nodes):
            return True

        async def ask(db: AsyncConnection, _seq: int) -> bool:
            return not await revocation.among(db, nodes)

        stand, _ = await self._read(ask)
        if stand:
            if len(self._standing) >= _REMEMBERED:
                self._standing.clear()
            self._standing.update(nodes)
        return stand

    async def decided(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What is attempted on what is known here; again, when the fence says that something has changed."""
        for _ in range(_ATTEMPTS):
            try:
                return await attempt()
            except Stale:
                await self.refresh()
        raise Unavailable(detail="revocations outran the decision")

    def is_revoked(self, token: str) -> bool:
        """Whether this single token was revoked, as known under `seq`."""
        return token in self._revoked_tokens

    async def refresh(self) -> frozenset[str]:
        """Learn what changed since and drop what it touched; return the changed nodes."""
        async with self._database.read() as db:
            return await self._catch_up(db)

    def forget(self, nodes: frozenset[str]) -> None:
        """Drop what these nodes touch, at once."""
        for forget in self._also_forget:
            forget(nodes)
        for node in nodes:
            if node.startswith("tok_"):
                self._revoked_tokens.add(node)
            self._standing.discard(node)
            for known in self._by_node.pop(node, set()):
                self._known.pop(known, None)

    async def _catch_up(self, db: AsyncConnection) -> frozenset[str]:
        if self.seq < 0:
            # The number first, the facts after it, and both kept only when both were read.
            newest = await fence.newest(db)
            self._revoked_tokens |= set(await revocation.tokens(db))
            for learn in self._also_learn:
                await learn(db, newest, frozenset())
            self.seq = max(self.seq, newest)
            return frozenset()
        newest, nodes = await fence.changed_since(db, self.seq)
        if newest > self.seq:
            for learn in self._also_learn:
                await learn(db, newest, nodes)
        if newest > self.seq:  # somebody else may have caught up further meanwhile
            self.forget(nodes)
            self.seq = newest
            # SECURITY: here, not where somebody asked: a call that learns of a change must not keep it to itself.
            # Guarded by tests/faults/test_change_feed.py::test_what_one_call_learns_cuts_the_stream_of_another
            self._outrun(nodes, newest)
        return nodes

    async def _remembered(
        self, key: str, load: Callable[[AsyncConnection, str, int], Awaitable[Authority]]
    ) -> tuple[Authority, int]:
        async def governed(db: AsyncConnection, seq: int) -> Authority:
            authority = await load(db, key, seq)
            user = authority.user
            mode = await ready_mode(db, user.org)
            return replace(
                authority,
                policy=await self._layers.of_org(db, user.org),
                own_rules=await self._layers.of_user(db, user.id),
                ready=self._layers.ready.enforced(mode),
                watched=self._layers.ready.watched(mode),
                governed_by=frozenset({node_of_policy(user.org), node_of_own_rules(user.id)}),
            )

        authority, seq = await self._read(governed)
        self._remember(key, authority)
        return authority, seq

    async def _read(self, ask: Callable[[AsyncConnection, int], Awaitable[T]]) -> tuple[T, int]:
        """What is read under the number this process knows, and that number."""
        for _ in range(_TRIES):
            async with self._database.read() as db:
                seq = await fence.newest(db)
                if seq != self.seq:
                    await self._catch_up(db)
                    continue
                found = await ask(db, seq)
            # NOTE: facts are read after the number, so they are at least as new; if the number moved meanwhile, again.
            if self.seq == seq:
                return found, seq
        raise Unavailable(detail="knowledge changed faster than it could be read")

    def _remember(self, key: str, authority: Authority) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._by_node.clear()
        self._known[key] = authority
        for node in authority.nodes | authority.governed_by:
            self._by_node.setdefault(node, set()).add(key)


def under(bounds: Authority, task: Task) -> Authority:
    """The authority of a task that is opened under a delegation within these bounds."""
    return replace(bounds, tasks=(task,), nodes=bounds.nodes | {task.id})


async def _of_task(db: AsyncConnection, task_id: str, seq: int) -> Authority:
    tasks = await delegations.lineage(db, task_id)
    if not tasks:
        raise NotFound(detail=f"no task {task_id}")
    return await _within(db, tasks[0].delegation, agents=[task.agent for task in tasks], tasks=tasks, seq=seq)


async def _of_delegation(db: AsyncConnection, delegation_id: str, seq: int) -> Authority:
    return await _within(db, delegation_id, agents=[], tasks=(), seq=seq)


async def _within(
    db: AsyncConnection, delegation_id: str, *, agents: Sequence[str], tasks: tuple[Task, ...], seq: int
) -> Authority:
    delegation = await delegations.delegation(db, delegation_id)
    user = await principals.user(db, delegation.user) if delegation is not None else None
    if delegation is None or user is None:
        raise NotFound(detail=f"no delegation {delegation_id}, or it has lost its user")
    chain = [await principals.agent(db, agent) for agent in agents or [delegation.agent]]
    known = tuple(agent for agent in chain if agent is not None)
    if len(known) != len(chain):
        raise NotFound(detail=f"delegation {delegation_id} has lost an agent")
    return await assemble(db, user=user, agents=known, delegation=delegation, tasks=tasks, seq=seq)


async def assemble(
    db: AsyncConnection,
    *,
    user: User,
    agents: tuple[Agent, ...],
    delegation: Delegation,
    tasks: tuple[Task, ...],
    seq: int,
) -> Authority:
    """Put the parts together, with the connections they name and what of all this is revoked."""
    named = frozenset(g.connection for g in delegation.grants if g.connection)
    found = {c.facts.id: c.facts for c in await connections.several(db, named)}
    shared = [c.id for c in found.values() if c.owner is None]
    owned = {node for a in agents for node in (a.id, a.owner)}
    tokens = {t.evidence for t in tasks if t.evidence.startswith("tok_")}  # the tokens that were passed on for a task
    nodes = frozenset({user.id, user.org, delegation.id, *owned, *tokens, *(t.id for t in tasks)})
    stopped = await revocation.among(db, nodes | named)
    live: Mapping[str, ConnectionFacts] = {k: v for k, v in found.items() if k not in stopped}
    return Authority(
        seq=seq,
        user=user,
        agents=agents,
        delegation=delegation,
        tasks=tasks,
        connections=live,
        entitlements=await delegations.entitlements_of(db, user.id, shared),
        ceilings=tuple(parse_grants(text) for a in agents for text in a.ceilings),
        stopped=stopped - named,
        nodes=nodes | named,
    )
