"""Keeping what an API gave: whose account it is, what the credential can do, and where it belongs.

The same account of the same person by the same app is one connection: connecting it again replaces the credential and
what it can do, so that whatever was delegated over it goes on. Another account is another connection.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.borrow import injected
from valetkey.server.connections.by_code import store as codes
from valetkey.server.connections.by_code.model import State
from valetkey.server.connections.link import usual_name
from valetkey.server.connections.linking.model import Linking
from valetkey.server.connections.lookup import Lookups
from valetkey.server.connections.model import Connection, Linked
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.refreshing.model import begun
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, Denied, NotFound, Revoked
from valetkey.server.ids import new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.lookup import Account
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.principals.model import User
from valetkey.server.revocation import store as revocation
from valetkey.server.vault.ring import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`is_new`: False when it took the place of the same account's last credential."""

    facts: ConnectionFacts
    is_new: bool


class Keep:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        lookups: Lookups,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._journal = journal
        self._lookups = lookups
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._chance = chance

    async def check_again(self, connection: str, by: User) -> Connection:
        """The connection she wants to connect again. Raises `NotFound` where it is not hers, or has ended."""
        async with self._database.read() as db:
            return await _again(db, connection, by)

    async def __call__(self, linking: Linking, app: App, way: OAuth, granted: Granted, *, by: User) -> Kept:
        """Seal what came. Raises `Denied` when it is not the account that was to be connected again."""
        integration = self._catalogue[app.integration]
        borrowed = injected(integration, integration.base_url, integration.hosts, granted.access)
        account = await self._lookups.account(integration, borrowed) or named_by(granted)
        # RFC 6749 section 5.1: no scope in the answer means what was asked for.
        scopes = granted.scopes if granted.scopes is not None else linking.asked
        linked = Linked(app=app.id, asked=linking.asked, granted=scopes)
        powers = way.powers(scopes) if way.scopes else frozenset({"*"})
        # The minutes at the API count too: who is no administrator any more shares nothing.
        if linking.shared and not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        owner = None if linking.shared else by.id
        async with self._journal.change() as change:
            # SECURITY: the answer took its time; who ended meanwhile gets nothing connected.
            # Guarded by tests/flows/test_connecting.py::test_nothing_is_connected_for_who_was_ended_meanwhile
            if await revocation.among(change.tx, {by.id, by.org, linking.session}):
                raise Revoked("Your session has ended. Nothing was connected.")
            if linking.connection:
                found: Connection | None = await _again(change.tx, linking.connection, by)
            else:
                found = await _same(change.tx, integration, app, account, owner=owner, org=by.org)
            if found is None:
                kept = await self._added(change, integration, granted, linked, way, account, powers, owner=owner, by=by)
            elif account is None or (found.account_id or account.id, found.facts.base_url) != (
                account.id,
                integration.base_url,
            ):
                raise Denied(
                    f"This is another account than {found.facts.account}. Nothing was connected.",
                    hint="Sign in there with the same account, or connect this one as a new one.",
                    reason="another_account",
                )
            else:
                kept = await self._replaced(change, found, granted, linked, way, account, powers, by=by)
            # SECURITY: in one commit, so that whoever waits for the code never hears "expired" of what was connected.
            # Guarded by tests/flows/test_connecting_by_code.py::test_what_comes_too_late_for_the_code_is_not_kept
            if linking.code and not await codes.settle(
                change.tx, linking.code, State.LINKED, now=int(self._clock.now()), linked=kept.facts.id
            ):
                raise Denied("This took too long, or was finished already.", reason="over")
            return kept

    async def _added(
        self,
        change: Change,
        integration: Integration,
        granted: Granted,
        linked: Linked,
        way: OAuth,
        account: Account | None,
        powers: frozenset[str],
        *,
        owner: str | None,
        by: User,
    ) -> Kept:
        connection_id, title = new_id("con"), "" if account is None else account.title
        facts = ConnectionFacts(
            id=connection_id,
            org=by.org,
            owner=owner,
            integration=integration.name,
            name=usual_name(integration.name, title, connection_id, shared=owner is None),
            account=title,
            base_url=integration.base_url,
            powers=powers,
            generation=1,
        )
        await store.add(
            change.tx,
            facts,
            hosts=integration.hosts,
            credential=granted.access,
            ring=self._ring,
            now=int(self._clock.now()),
            account_id="" if account is None else account.id,
            linked=linked,
        )
        made = await store.connection(change.tx, connection_id)
        assert made is not None
        await self._renewing(change.tx, made, granted, linked, way)
        _recorded(change, Event.CONNECTION_CREATED, facts, granted, linked, by)
        return Kept(facts=facts, is_new=True)

    async def _replaced(
        self,
        change: Change,
        found: Connection,
        granted: Granted,
        linked: Linked,
        way: OAuth,
        account: Account,
        powers: frozenset[str],
        *,
        by: User,
    ) -> Kept:
        await change.touches(found.facts.id)
        facts = replace(found.facts, account=account.title, powers=powers, generation=found.facts.generation + 1)
        again = replace(
            found,
            facts=facts,
            account_id=account.id,
            linked=linked,
            credential_generation=found.credential_generation + 1,
        )
        # The rows in the order in which a renewal takes them, so that neither waits for the other in a circle.
        await self._renewing(change.tx, again, granted, linked, way)
        if not await store.link_again(change.tx, found, again, granted.access, self._ring):
            raise Conflict("This account was changed at the same moment.", hint="Connect it once more.")
        _recorded(change, Event.CONNECTION_LINKED_AGAIN, facts, granted, linked, by)
        return Kept(facts=facts, is_new=False)

    async def _renewing(
        self, tx: AsyncConnection, connection: Connection, granted: Granted, linked: Linked, way: OAuth
    ) -> None:
        row = None
        if granted.refresh is not None or granted.lasts_seconds is not None:
            row = begun(
                connection.facts.id,
                linked.app,
                way.token_url,
                lasts_seconds=granted.lasts_seconds,
                now=self._clock.now(),
                chance=self._chance(),
                generation=connection.credential_generation,
            )
        await refreshing.begin_again(tx, row, connection, token=granted.refresh, ring=self._ring)


async def _again(db: AsyncConnection, connection: str, by: User) -> Connection:
    found = await store.connection(db, connection)
    mine = found is not None and found.facts.org == by.org and found.facts.owner in (by.id, None)
    may = mine and found is not None and (found.facts.owner == by.id or by.is_administrator)
    if not may or found is None or await revocation.among(db, {found.facts.id}):
        raise NotFound("There is no such connection, it is not yours, or it has ended.")
    return found


async def _same(
    db: AsyncConnection, integration: Integration, app: App, account: Account | None, *, owner: str | None, org: str
) -> Connection | None:
    """The connection of that very account by that app, alive and at the same place."""
    if account is None or not account.id:
        return None
    own = await store.usable_by(db, org=org, user=owner or "", integration=integration.name)
    gone = await revocation.among(db, {c.facts.id for c in own})
    for found in own:
        is_of_it = found.linked is not None and found.linked.app == app.id and found.account_id == account.id
        is_there = found.facts.owner == owner and found.facts.base_url == integration.base_url
        if is_of_it and is_there and found.facts.id not in gone:
            return found
    return None


def named_by(granted: Granted) -> Account | None:
    """Whose account it is, where the token's answer says so and there is no other way to ask."""
    if not granted.account_id:
        return None
    return Account(name=granted.account or granted.account_id, id=granted.account_id, workspace=granted.workspace)


def _recorded(change: Change, event: Event, facts: ConnectionFacts, granted: Granted, linked: Linked, by: User) -> None:
    change.record(
        event,
        facts.org,
        connection=facts.id,
        integration=facts.integration,
        account=facts.account,
        owner=facts.owner or "",
        by=by.id,
        app=linked.app,
        permissions=list(linked.granted),
        credential=fingerprint(granted.access),
    )
