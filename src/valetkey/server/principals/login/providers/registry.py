"""Registering an identity provider: it is asked who it is before anything is stored, and asked again at every use."""

import re
from collections.abc import Mapping

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.principals.login.model import shown_name
from valetkey.server.principals.login.providers import store
from valetkey.server.principals.login.providers.discovery import Calls
from valetkey.server.principals.login.providers.model import Provider
from valetkey.server.principals.model import Role, User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_CLAIM = re.compile(r"[A-Za-z0-9_:/.\-]{1,128}")
MOST_PROVIDERS = 10
_NONE = "There is no such identity provider, or it is not yours."


class Registry:
    """One per process."""

    def __init__(self, database: Database, journal: Journal, calls: Calls, ring: KeyRing, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._calls = calls
        self._ring = ring
        self._clock = clock

    async def add(
        self,
        *,
        by: User,
        name: str,
        issuer: str,
        client_id: str,
        secret: Secret | None,
        group_claim: str = "",
        roles: Mapping[str, str] = {},
        enrolls: bool = False,
        domains: tuple[str, ...] = (),
    ) -> Provider:
        """Register one. Raises `InvalidRequest` for what cannot be used or does not answer properly."""
        _only_administrators(by)
        client = client_id.strip()
        if not 1 <= len(client) <= 255 or not client.isascii() or not client.isprintable():
            raise InvalidRequest("The client id is 1 to 255 printable characters.")
        allowed = tuple(sorted({domain.strip().lower() for domain in domains if domain.strip()}))
        if any(_DOMAIN.fullmatch(domain) is None for domain in allowed):
            raise InvalidRequest("A domain is written like acme.com.")
        if enrolls and not allowed:
            raise InvalidRequest("Name the e-mail domains whose people may be enrolled.")
        if group_claim and _CLAIM.fullmatch(group_claim) is None:
            raise InvalidRequest("This is not the name of a claim.")
        if len(issuer) > 255:
            raise InvalidRequest("The issuer is at most 255 characters long.")
        try:
            metadata = await self._calls.metadata(issuer)
        except UpstreamFailed as error:  # what she typed is what is wrong, or she tries again when it is up
            raise InvalidRequest(
                error.public, detail=error.detail, hint="Check the issuer's address, character by character."
            ) from error
        provider = Provider(
            id=new_id("idp"),
            org=by.org,
            name=shown_name(name, "SSO"),
            issuer=issuer,
            client_id=client,
            origin=metadata.origin,
            group_claim=group_claim,
            roles=_roles(roles),
            enrolls=enrolls,
            domains=allowed,
        )
        async with self._journal.change() as change:
            if len(await store.of_org(change.tx, by.org)) >= MOST_PROVIDERS:
                raise InvalidRequest(f"An organization has at most {MOST_PROVIDERS} identity providers.")
            await store.add(change.tx, provider, secret, ring=self._ring, now=int(self._clock.now()))
            change.record(
                Event.IDENTITY_PROVIDER_ADDED,
                by.org,
                identity_provider=provider.id,
                issuer=issuer,
                enrolls=enrolls,
                domains=list(allowed),
                by=by.id,
            )
        return provider

    async def of(self, user: User) -> list[Provider]:
        """Those of the user's organization."""
        async with self._database.read() as db:
            return await store.of_org(db, user.org)

    async def offered(self) -> list[Provider]:
        """Those the sign-in page shows."""
        async with self._database.read() as db:
            return await store.all_of_them(db)

    async def problem_of(self, provider_id: str, *, by: User) -> tuple[Provider, str]:
        """Ask a provider who it is and for its keys, as at a sign-in: what is wrong, or nothing."""
        _only_administrators(by)
        async with self._database.read() as db:
            provider = await store.provider(db, provider_id)
        if provider is None or provider.org != by.org:
            raise NotFound(_NONE)
        try:
            await self._calls.keys(await self._calls.metadata(provider.issuer))
        except (UpstreamFailed, InvalidRequest) as error:
            return provider, error.public
        return provider, ""

    async def remove(self, provider_id: str, *, by: User) -> None:
        """Nobody signs in by it any more. Sessions begun by it go on until they end."""
        _only_administrators(by)
        async with self._journal.change() as change:
            gone = await store.remove(change.tx, by.org, provider_id)
            if gone is None:
                raise NotFound(_NONE)
            await change.touches(by.org)
            change.record(
                Event.IDENTITY_PROVIDER_REMOVED, by.org, identity_provider=gone.id, issuer=gone.issuer, by=by.id
            )


def _roles(roles: Mapping[str, str]) -> dict[str, Role]:
    if len(roles) > 100 or any(not 1 <= len(group) <= 200 for group in roles):
        raise InvalidRequest("At most 100 groups, each named by 1 to 200 characters.")
    try:
        return {group: Role(role) for group, role in roles.items()}
    except ValueError as error:
        raise InvalidRequest("A group is given the role member or administrator.") from error


def _only_administrators(user: User) -> None:
    if not user.is_administrator:
        raise Denied("Only an administrator can do this.", reason="not_administrator")
