"""`grant_type=refresh_token`: a fresh token for as long as the task, or a standing delegation, lives.

Every use makes a successor (OAuth 2.1 section 4.3.1). The one before stays good until its successor is used, for at
most a minute and three repetitions, each answered with the same successor: a lost answer is not a theft. After that
its use ends the family and its task. What a direct issue judges is judged again, by the same `Issue` (OA-09).
"""

import asyncio
from weakref import WeakValueDictionary

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.confirm import Confirm
from valetkey.server.delegations.model import Delegation, Mode, Task
from valetkey.server.errors import Denied, TooMany
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.grants import store
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.redeem import Redeem, spent
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

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
        confirm: Confirm,
        redeem: Redeem,
        mac: Mac,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._confirm = confirm
        self._redeem = redeem
        self._mac = mac
        self._ring = ring
        self._clock = clock
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, asked: Asked) -> Answer:
        handle = Secret(asked.form.must("refresh_token"))
        client = await self._redeem.standing_client(asked)
        mac = self._mac_of(handle)
        # NOTE: a herd of one process takes turns here, instead of at the database with all its connections.
        async with self._turns.setdefault(mac, asyncio.Lock()):
            return await self._in_turn(asked, client, handle, mac)

    async def unspent(self, handle: Secret, client: Client) -> store.RefreshToken | None:
        """The token, where this client could refresh with it now; None for everybody else. Spends and ends nothing."""
        try:
            token, task = await self._found(handle, self._mac_of(handle))
            is_spent = token.replaced_at is not None or token.used_at is not None
            if token.agreed.client != client.id or is_spent:
                return None
            await self._redeem.check_agreed(client, token.agreed)
            delegation, _ = await self._redeem.openable(token.agreed, also=(token.family,))
        except Denied:
            return None
        goes_on = task.is_live(self._clock.now()) and not await self._is_revoked(task)
        return token if goes_on or delegation.mode is Mode.STANDING else None

    async def _found(self, handle: Secret, mac: bytes) -> tuple[store.RefreshToken, Task]:
        async with self._database.read() as db:
            token = await store.by_mac(db, mac) if is_handle(handle.reveal(), "rf") else None
            ended = token is not None and await revocation.among(db, {token.family})
            task = await delegations.task(db, token.task) if token is not None else None
        now = self._clock.now()
        if token is None or task is None or ended or (now >= token.expires_at and token.replaced_at is None):
            raise spent()
        return token, task

    async def _in_turn(self, asked: Asked, client: Client, handle: Secret, mac: bytes) -> Answer:
        token, task = await self._found(handle, mac)
        if token.agreed.client != client.id:
            await self._reused(token, by=client.id)
            raise spent()
        delegation, agent, target = await self._redeem.judged(asked, token.agreed, client, also=(token.family,))
        task, successor = await self._rotated(mac, token, task, delegation)
        answer = await self._redeem.answer(asked, token.agreed, task, agent, target)
        return {**answer, "refresh_token": successor.reveal()}

    async def _rotated(
        self, mac: bytes, token: store.RefreshToken, task: Task, delegation: Delegation
    ) -> tuple[Task, Secret]:
        """The task to use and the successor: a new one for who comes first, the same for who repeats."""
        if token.replaced_at is not None or token.used_at is not None:
            return await self._repeated(mac, token)
        fresh, fresh_id = new_handle("rf"), new_id("tok")

        async def rotate(change: Change, used: Task) -> None:
            now = int(self._clock.now())
            sealed = await seal_now(change.tx, self._ring, fresh, _place(self._ring, token))
            if not await store.replace(change.tx, mac, successor=sealed, now=now):
                raise _Lost
            await store.end_predecessors(change.tx, token, now=now)
            successor = store.RefreshToken(id=fresh_id, family=token.family, agreed=token.agreed, task=used.id)
            ends = self._redeem.refresh_ends(delegation, used)
            await store.add(change.tx, self._mac_of(fresh), successor, now=now, expires_at=ends)
            change.record(
                Event.REFRESH_TOKEN_ROTATED,
                used.org,
                family=token.family,
                task=used.id,
                client=token.agreed.client,
                user=token.agreed.user,
            )

        try:
            if task.is_live(self._clock.now()) and not await self._is_revoked(task):
                async with self._journal.change() as change:
                    await rotate(change, task)
                return task, fresh
            if delegation.mode is not Mode.STANDING:
                raise spent()
            opened = await self._confirm.open_task(
                delegation,
                present=None,
                evidence=None,
                asked=(),
                seconds=self._redeem.task_seconds(delegation),
                purpose="",
                also=rotate,
            )
            return opened, fresh
        except _Lost:
            return await self._repeated(mac, token)

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

    async def _is_revoked(self, task: Task) -> bool:
        async with self._database.read() as db:
            return bool(await revocation.among(db, {task.id}))

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
