"""`grant_type=refresh_token`: a fresh token for as long as the task, or a standing delegation, lives.

Every use makes a successor (OAuth 2.1 section 4.3.1). The one before stays good until its successor is used, for at
most a minute and three repetitions, each answered with the same successor: a lost answer is not a theft. After that
its use ends the family and its task. What a direct issue judges is judged again, by the same `Issue` (OA-09).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import With
from valetkey.server.db.effects import Outcome, Together
from valetkey.server.db.engine import Database
from valetkey.server.db.gathered import Gathered
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.model import Delegation, Mode, Task
from valetkey.server.delegations.open_task import OpenTask
from valetkey.server.errors import Denied, TooMany
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.grants import store
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.redeem import Redeem, spent
from valetkey.server.policy.model import Authority
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.seal import seal
from valetkey.server.vault.store import SealedColumn, hold_sealing, renew_for

REPLAY_SECONDS = 60
MOST_REPLAYS = 3
HERD_SECONDS = 10


class Refresh:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        authorities: Authorities,
        open_task: OpenTask,
        redeem: Redeem,
        mac: Mac,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._authorities = authorities
        self._tokens: Gathered[bytes, store.RefreshToken] = Gathered(database, store.by_macs)
        self._open_task = open_task
        self._redeem = redeem
        self._mac = mac
        self._ring = ring
        self._clock = clock
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, asked: Asked) -> Answer:
        handle = Secret(asked.form.must("refresh_token"))
        mac = self._mac_of(handle)
        # NOTE: a herd of one process takes turns here, instead of at the database with all its connections.
        async with self._turns.setdefault(mac, asyncio.Lock()):
            return await self._authorities.decided(lambda: self._in_turn(asked, handle, mac))

    async def unspent(self, handle: Secret, client: Client) -> store.RefreshToken | None:
        """The token, where this client could refresh with it now; None for everybody else. Spends and ends nothing."""
        token = await self._found(handle, self._mac_of(handle))
        if token is None or not token.is_unspent or token.agreed.client != client.id:
            return None
        await self._authorities.refresh()  # nothing is recorded under the fence here, so nothing remembered is enough
        try:
            await self._redeem.check_agreed(client, token.agreed)
            bounds = await self._redeem.bounds(token.agreed, task=token.task, also=(token.family,))
        except Denied:
            return None
        return token if self._is_running(bounds) or bounds.delegation.mode is Mode.STANDING else None

    async def _found(self, handle: Secret, mac: bytes) -> store.RefreshToken | None:
        token = await self._tokens.get(mac) if is_handle(handle.reveal(), "rf") else None
        has_expired = token is not None and token.replaced_at is None and self._clock.now() >= token.expires_at
        return None if has_expired else token

    def _is_running(self, authority: Authority) -> bool:
        return authority.task.is_live(self._clock.now()) and authority.task.id not in authority.stopped

    async def _in_turn(self, asked: Asked, handle: Secret, mac: bytes) -> Answer:
        seq = self._authorities.seq  # before anything that may be remembered
        client = await self._redeem.standing_client(asked, remembered=True)
        token = await self._found(handle, mac)
        if token is None:
            raise spent()
        if not token.is_unspent or token.agreed.client != client.id:
            # What may end a family, or is answered without a decision of its own, is judged by nothing remembered.
            await self._redeem.proven_now(asked)
            client = await self._redeem.standing_client(asked)
        if token.agreed.client != client.id:
            if await self._authorities.are_standing({token.family}):
                await self._reused(token, by=client.id)
            raise spent()
        authority, target = await self._redeem.judged(
            asked, token.agreed, client, task=token.task, also=(token.family,)
        )
        try:
            if token.is_unspent and self._is_running(authority):
                fresh, beside = self._rotation(mac, token, authority.task, authority.delegation)
                answer = await self._redeem.answer(asked, token.agreed, authority, seq, target, beside=beside)
                return {**answer, "refresh_token": fresh.reveal()}
            if token.is_unspent:
                await self._redeem.proven_now(asked)
                delegation = (await self._redeem.bounds(token.agreed, task=token.task, also=(token.family,))).delegation
                task, successor = await self._reopened(mac, token, delegation)
            else:
                task, successor = await self._repeated(mac, token)
        except _Lost:
            task, successor = await self._repeated(mac, token)
        answer = await self._redeem.answer_for(asked, token.agreed, task.id, target)
        return {**answer, "refresh_token": successor.reveal()}

    def _rotation(
        self, mac: bytes, token: store.RefreshToken, task: Task, delegation: Delegation
    ) -> tuple[Secret, With]:
        """A successor, and what puts it in the token's place."""
        fresh, now = new_handle("rf"), int(self._clock.now())
        kept = store.RefreshToken(
            id=new_id("tok"),
            family=token.family,
            agreed=token.agreed,
            task=task.id,
            expires_at=self._redeem.refresh_ends(delegation, task),
            predecessor=mac,
        )
        rotating = _Rotating(
            ring=self._ring,
            place=_place(self._ring, token),
            handle=fresh,
            rotation=partial(
                store.Rotation,
                mac=mac,
                predecessor=token.predecessor,
                fresh=store.Fresh(mac=self._mac_of(fresh), token=kept, now=now),
            ),
        )
        members = {
            "family": token.family,
            "task": task.id,
            "client": token.agreed.client,
            "user": token.agreed.user,
        }
        entry = Entry(event=Event.REFRESH_TOKEN_ROTATED, org=task.org, members=members)
        return fresh, With(entries=(entry,), effect=Together(_rotate, rotating))

    async def _reopened(self, mac: bytes, token: store.RefreshToken, delegation: Delegation) -> tuple[Task, Secret]:
        """Another task, where she agreed that it may act while she is away, and the successor."""
        if delegation.mode is not Mode.STANDING:
            raise spent()
        successors: list[Secret] = []

        async def rotate(change: Change, opened: Task) -> None:
            fresh, beside = self._rotation(mac, token, opened, delegation)
            refused = await beside.effect(change.tx) if beside.effect is not None else None
            if refused is not None:
                raise refused
            change.entries += beside.entries
            successors.append(fresh)

        opened = await self._open_task.root(
            delegation,
            present=None,
            evidence=None,
            asked=(),
            seconds=self._redeem.task_seconds(delegation),
            purpose="",
            also=rotate,
        )
        return opened, successors[-1]

    async def _repeated(self, mac: bytes, token: store.RefreshToken) -> tuple[Task, Secret]:
        now = int(self._clock.now())
        successor, known = None, token
        if token.replays < MOST_REPLAYS:
            async with self._database.write() as tx:
                again = await store.replay(tx, mac, since=now - REPLAY_SECONDS, most=MOST_REPLAYS)
                known = await store.by_mac(tx, mac) or token
                if again is not None and again.successor is not None:
                    await renew_for(self._ring, tx, again.successor)
                    successor = open_sealed(self._ring, again.successor, _place(self._ring, again))
        if successor is None:
            used_up = known.used_at is None and (known.replaced_at or 0) > now - HERD_SECONDS
            # NOTE: many at the same moment are a herd of one's own, not a thief: they are told to wait, and no more.
            if used_up:
                raise TooMany("This was just replaced. Use the token that replaced it.", retry_after=1)
            await self._reused(token, by=token.agreed.client)
            raise spent()
        async with self._database.read() as db:
            after = await store.by_mac(db, self._mac_of(successor))
            task = await delegations.task(db, after.task) if after is not None else None
        if task is None:
            raise spent()
        return task, successor

    async def _reused(self, token: store.RefreshToken, *, by: str) -> None:
        """End the family and the tasks it was used for."""
        async with self._journal.change() as change:
            nodes = [token.family, *await store.tasks_of(change.tx, token.family)]
            seq = await change.touches(*nodes)
            for node in nodes:
                await revocation.mark(
                    change.tx, node, seq=seq, by=by, reason="refresh token reused", now=int(self._clock.now())
                )
            change.record(
                Event.REFRESH_TOKEN_REUSED, token.agreed.org, family=token.family, client=by, user=token.agreed.user
            )

    def _mac_of(self, handle: Secret) -> bytes:
        return self._mac.mac("refresh-token", "rf", handle)


def _place(ring: KeyRing, token: store.RefreshToken) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=token.agreed.org,
        table="refresh_tokens",
        column="successor",
        row=token.id,
        owner=token.agreed.user,
        integration=None,
        allowed_hosts=frozenset(),
        generation=1,
    )


SEALED = SealedColumn(
    rows=store.ALL,
    key=store.ALL_BY,
    blob=store.SUCCESSOR,
    place=lambda ring, row: _place(ring, store.token_of(row)),
)


class _Lost(Denied):
    """Another refresh of the same token was first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotating:
    """A successor to seal, and what puts it in its predecessor's place once it is sealed."""

    ring: KeyRing
    place: Place
    handle: Secret
    rotation: Callable[..., store.Rotation]


async def _rotate(tx: AsyncConnection, rotating: Sequence[_Rotating]) -> list[Outcome]:
    await hold_sealing(tx, rotating[0].ring)
    rotations = [one.rotation(sealed=seal(one.ring, one.handle, one.place)) for one in rotating]
    return [None if is_first else _Lost() for is_first in await store.rotate(tx, rotations)]
