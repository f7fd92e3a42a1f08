"""Linking an account by a pasted credential, an app's key or a role's: the API is asked about it, then it is sealed.

A personal connection belongs to whoever pasted it; only an administrator makes a shared one.
"""

import re
from collections.abc import Mapping

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store
from valetkey.server.connections.assume import Assume, check_role
from valetkey.server.connections.borrow import OpenedRole, injected
from valetkey.server.connections.installation import Installations, private_key
from valetkey.server.connections.lookup import Lookups
from valetkey.server.connections.model import AppInstallation, RoleKey
from valetkey.server.errors import Denied, InvalidRequest, NotFound
from valetkey.server.ids import new_id
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import TAGS
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

LONGEST_CREDENTIAL = 4_096
_NO_KEY = Secret("-")
_DIGITS = re.compile(r"[1-9][0-9]{0,18}")


class Link:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        lookups: Lookups,
        installations: Installations,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        assume: Assume,
    ) -> None:
        self._journal = journal
        self._lookups = lookups
        self._installations = installations
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._assume = assume

    async def paste(
        self, integration_name: str, credential: Secret, *, name: str | None, shared: bool, by: User
    ) -> ConnectionFacts:
        """Seal a pasted credential. Raises `InvalidRequest` when the API does not accept it."""
        integration = self._catalogue.get(integration_name)
        known = sorted(i.name for i in self._catalogue.values() if not i.is_registered)
        if integration is None or integration.is_registered:
            raise NotFound(f"No integration is called {integration_name}.", hint=f"Known: {', '.join(known)}.")
        if integration.role is not None:
            raise InvalidRequest(
                f"{integration.title} is connected by a role.",
                hint=f"valetkey connect {integration.name} --role-arn ARN --access-key-id ID --key-stdin",
            )
        if shared and not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        if not 1 <= len(credential.reveal()) <= LONGEST_CREDENTIAL:
            raise InvalidRequest("The credential is empty or too long.")
        borrowed = injected(integration, integration.base_url, integration.hosts, credential)
        account = await self._lookups.account(integration, borrowed)
        return await self._linked(
            integration,
            credential,
            account=account.title if account is not None else "",
            account_id=account.id if account is not None else "",
            name=name,
            owner=None if shared else by.id,
            by=by,
        )

    async def install(
        self, integration_name: str, installed: AppInstallation, key: Secret, *, name: str | None, by: User
    ) -> ConnectionFacts:
        """Seal the private key of an app that is installed there: a shared account. Only an administrator does."""
        integration = self._catalogue.get(integration_name)
        if integration is None or integration.installation is None:
            raise InvalidRequest(f"{integration_name} has no apps that are installed.")
        if not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        if not (_DIGITS.fullmatch(installed.app) and _DIGITS.fullmatch(installed.installation)):
            raise InvalidRequest("The ids of an app and of its installation are numbers.")
        private_key(key)
        base = injected(integration, integration.base_url, integration.hosts, Secret("-")).at(b"/")
        account = await self._installations.account(integration.installation, base, installed, key)
        return await self._linked(
            integration,
            key,
            account=account,
            name=name,
            owner=None,
            by=by,
            installed=installed,
        )

    async def take_on(
        self, integration_name: str, role: RoleKey, secret: Secret, *, name: str | None, by: User
    ) -> ConnectionFacts:
        """Seal the secret of an access key that may take on a role: a shared account. Only an administrator does.

        A role that trusts tokens of this server has no key, and `secret` is empty.
        """
        integration = self._catalogue.get(integration_name)
        if integration is None or integration.role is None:
            raise InvalidRequest(f"{integration_name} has no roles to take on.")
        if not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        check_role(role, secret)
        base = injected(integration, integration.role.sts, integration.hosts, Secret("-")).at(b"/")
        tags = dict.fromkeys(TAGS, "trying")
        opened = OpenedRole(base=base, org=by.org, role=role, secret=secret)
        await self._assume.prove(integration.role, opened, tags=tags, name="valetkey-trying", source=by.id)
        if role.audience:
            secret = _NO_KEY
        return await self._linked(integration, secret, account=role.arn, name=name, owner=None, by=by, role=role)

    async def _linked(
        self,
        integration: Integration,
        credential: Secret,
        *,
        account: str,
        name: str | None,
        owner: str | None,
        by: User,
        account_id: str = "",
        installed: AppInstallation | None = None,
        role: RoleKey | None = None,
    ) -> ConnectionFacts:
        connection_id = new_id("con")
        facts = ConnectionFacts(
            id=connection_id,
            org=by.org,
            owner=owner,
            integration=integration.name,
            name=name or usual_name(integration.name, account, connection_id, shared=owner is None),
            account=account,
            base_url=integration.base_url,
            powers=frozenset({"*"}),  # nobody says what a pasted credential can do
            generation=1,
        )
        async with self._journal.change() as change:
            await store.add(
                change.tx,
                facts,
                hosts=integration.hosts,
                credential=credential,
                ring=self._ring,
                now=int(self._clock.now()),
                installed=installed,
                account_id=account_id,
                role=role,
            )
            change.record(
                Event.CONNECTION_CREATED,
                by.org,
                connection=facts.id,
                integration=facts.integration,
                account=facts.account,
                owner=owner or "",
                by=by.id,
                credential="" if credential is _NO_KEY else fingerprint(credential),
            )
        return facts


def usual_name(integration: str, account: str, connection_id: str, *, shared: bool) -> str:
    """A name nobody chose: readable, and different for every connection."""
    kind = "shared" if shared else account or integration
    return f"{kind}-{connection_id[-6:]}".lower()
