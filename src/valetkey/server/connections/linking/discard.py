"""What an API gave for a linking that is refused afterwards: nobody gets it, and it is ended there.

It is kept as a connection that belongs to no person and was revoked as it was made, so that it is ended, recorded and
tried again like any other. Refuses to know why the linking was refused.
"""

from collections.abc import Mapping, Sequence

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store as connections
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.borrow import injected
from valetkey.server.connections.linking import store
from valetkey.server.connections.linking.keep import named_by
from valetkey.server.connections.linking.model import Linking
from valetkey.server.connections.lookup import Lookups
from valetkey.server.connections.model import Connection, Linked
from valetkey.server.db.engine import Database
from valetkey.server.errors import ValetkeyError
from valetkey.server.ids import new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.lookup import Account
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.revocation import store as revocation
from valetkey.server.revocation.hops import Stop
from valetkey.server.vault.ring import KeyRing


class Discard:
    """One per process. `end` is what ends connections at their API."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        lookups: Lookups,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        end: Stop,
    ) -> None:
        self._database = database
        self._journal = journal
        self._lookups = lookups
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._end = end

    async def __call__(self, linking: Linking, app: App, way: OAuth, granted: Granted, *, reason: str) -> None:
        """Record the refusal, and end at the API what nobody is to have."""
        integration = self._catalogue[app.integration]
        account = await self._account(integration, granted)
        async with self._database.read() as db:
            others = await store.linked_by(db, app.id, org=linking.org, integration=app.integration)
        members = {
            "linking": linking.id,
            "integration": app.integration,
            "user": linking.user,
            "by": linking.user,
            "reason": reason,
            "account": "" if account is None else account.title,
            "credential": fingerprint(granted.access),
        }
        # SECURITY: an API that ends all an app was given for an account would end what others use by consent, too.
        # Guarded by tests/flows/test_linking_refused.py::test_what_others_use_of_the_same_account_is_not_ended
        if way.revocation is None or (way.revocation.of_one() is None and is_shared_grant(account, others)):
            async with self._journal.change() as change:
                change.record(Event.CONNECTION_LINK_REFUSED, linking.org, **members, outcome="left_there")
            return
        facts = ConnectionFacts(
            id=new_id("con"),
            org=linking.org,
            owner=linking.id,  # nobody
            integration=integration.name,
            name=linking.id,
            account="" if account is None else account.title,
            base_url=integration.base_url,
            powers=frozenset(),
            generation=1,
        )
        now = int(self._clock.now())
        by_refresh = way.revocation.of == "refresh" and granted.refresh is not None
        async with self._journal.change() as change:
            await connections.add(
                change.tx,
                facts,
                hosts=integration.hosts,
                credential=granted.refresh if by_refresh and granted.refresh is not None else granted.access,
                ring=self._ring,
                now=now,
                account_id="" if account is None else account.id,
                linked=Linked(app=app.id, asked=linking.asked, granted=()),
            )
            seq = await change.touches(facts.id)
            await revocation.mark(change.tx, facts.id, seq=seq, by=linking.user, reason="refused", now=now)
            change.record(
                Event.CONNECTION_LINK_REFUSED, linking.org, **members, outcome="being_ended", connection=facts.id
            )
        await self._end(frozenset({facts.id}), seq)

    async def _account(self, integration: Integration, granted: Granted) -> Account | None:
        try:
            borrowed = injected(integration, integration.base_url, integration.hosts, granted.access)
            found = await self._lookups.account(integration, borrowed)
        except ValetkeyError:
            found = None
        return found or named_by(granted)


def is_shared_grant(account: Account | None, others: Sequence[Connection]) -> bool:
    """Whether something that is alive may hang on the same grant: surely of this account, or nobody can tell.

    >>> is_shared_grant(None, [])
    False
    """
    return any(account is None or other.account_id in ("", account.id) for other in others)
