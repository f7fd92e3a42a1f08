"""Clients nobody registered by hand: how they are found, how they prove themselves, and the agent each becomes.

An outside client is no agent by itself. At consent it becomes one for that person: one `Agent` per user and client,
owned by the user, under the organization's ceiling for unknown clients, which is empty until an administrator sets it.
"""

import re
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, Denied, NotAuthenticated, NotFound
from valetkey.server.ids import is_handle, is_id, new_id
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.document import Descriptions, is_address
from valetkey.server.oauth.clients.model import Client, ClientKind
from valetkey.server.oauth.clients.store import Standing
from valetkey.server.principals import store as principals
from valetkey.server.principals.assertion import Assertions, Expected, Unverified
from valetkey.server.principals.keysets import KeySets
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac
from valetkey.verify.errors import InvalidKey
from valetkey.verify.keys import parse_jwks

UNKNOWN: Final = "This client is not known here."
DAY_SECONDS: Final = 86_400
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9._-]+")


def is_outside(client_id: str) -> bool:
    """Whether this is the id of a client nobody registered by hand."""
    return is_address(client_id) or is_id(client_id, "cli")


class Outside:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        clock: Clock,
        settings: Settings,
        mac: Mac,
        descriptions: Descriptions,
        keysets: KeySets,
        assertions: Assertions,
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._mac = mac
        self._descriptions = descriptions
        self._keysets = keysets
        self._assertions = assertions

    async def known(self, client_id: str) -> Client:
        """The client of that id, which has proven nothing yet. Raises `NotFound`."""
        if is_address(client_id):
            if self._settings.client_documents != "on":
                raise NotFound(UNKNOWN, detail="client documents are off")
            return await self._descriptions.client(client_id)
        async with self._database.read() as db:
            found = await store.registered(db, client_id)
        if found is None or not found.is_kept(int(self._clock.now())):
            raise NotFound(UNKNOWN)
        return found.client

    async def asserted(self, assertion: str, said: Unverified, client_id: str | None) -> Client:
        """The outside client that signed an assertion with its published key. Raises `NotAuthenticated`."""
        if said.iss != said.sub or client_id not in (None, said.sub):
            raise NotAuthenticated(detail="iss and sub must be the client")
        client = await self._proving(said.sub)
        if client.metadata.auth_method != "private_key_jwt":
            raise NotAuthenticated(detail="this client has no key")
        try:
            if client.metadata.jwks_uri:
                keys = await self._keysets.holding(client.metadata.jwks_uri, said.kid)
            else:
                keys = parse_jwks(client.metadata.jwks.encode())
        except InvalidKey as error:
            raise NotAuthenticated(detail=f"keys: {error}") from error
        expected = Expected(issuer=client.id, audience=self._settings.issuer)
        await self._assertions.proven(assertion, keys, expected, client=client.id)
        return await self._used(client)

    async def with_secret(self, client_id: str, secret: Secret) -> Client:
        """The registered client whose secret this is. Raises `NotAuthenticated`."""
        if not is_handle(secret.reveal(), "ag"):
            raise NotAuthenticated(detail="not a client secret")
        async with self._database.read() as db:
            found = await store.registered(db, client_id)
        macs = () if found is None or found.secret_mac is None else (found.secret_mac,)
        if not any(self._mac.matches("client-secret", "ag", secret, mac) for mac in macs):
            raise NotAuthenticated(detail="another client's secret, or none")
        return await self._used(await self._proving(client_id))

    async def ceiling(self, org: str) -> tuple[str, ...]:
        """The most a client nobody registered can be given in this organization; empty means not even known."""
        async with self._database.read() as db:
            return (await principals.organization(db, org)).unknown_client_ceiling

    async def agreed(self, user_id: str, client: Client) -> bool:
        """Whether the user agreed to this client as it describes itself now."""
        async with self._database.read() as db:
            standing = await store.agent_of(db, user_id, client.id)
        return standing is not None and standing.digest == client.metadata.digest

    async def agent_of(self, user_id: str, client: Client) -> Agent | None:
        """The agent this client is for that user, if she agreed to it as it is now and nobody stopped it, nor all."""
        async with self._database.read() as db:
            standing = await store.agent_of(db, user_id, client.id)
            agent = None if standing is None else await principals.agent(db, standing.agent)
            ended = agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org})
        if agent is None or ended or standing is None or agent.status is not Status.ACTIVE or not agent.org_ceiling:
            return None
        return agent if standing.digest == client.metadata.digest else None

    async def prospect(self, user: User, client: Client) -> Agent:
        """The agent this client is for that user, or would become by her consent: shown to her, not stored.

        Raises `Denied` when the organization lets unknown clients do nothing, or the agent was stopped.
        """
        if client.org not in (None, user.org):
            raise NotFound(UNKNOWN, detail="registered for another organization")
        async with self._database.read() as db:
            standing = await store.agent_of(db, user.id, client.id)
            known = None if standing is None else await principals.agent(db, standing.agent)
            ended = known is not None and await revocation.among(db, {known.id})
            ceiling = (await principals.organization(db, user.org)).unknown_client_ceiling
        _check_allowed(ceiling)
        if known is not None:
            if ended or known.status is not Status.ACTIVE:
                raise Denied("This agent was stopped.", reason="access_denied")
            return known
        return self._new(user, client, ceiling)

    async def agent_for(self, user: User, client: Client) -> Agent:
        """The one agent this client is for that user: the one she has, or a new one. Called when she consents.

        Raises `Denied` when the organization lets unknown clients do nothing, or the agent was stopped.
        """
        if client.principal is not None:
            raise ValueError("an owned agent needs no other")
        if client.org not in (None, user.org):
            raise NotFound(UNKNOWN, detail="registered for another organization")
        try:
            async with self._journal.change() as change:
                return await self._agent_for(change, user, client)
        except Conflict:  # the same person consented twice at once, and the other was first
            async with self._journal.change() as change:
                return await self._agent_for(change, user, client)

    def _new(self, user: User, client: Client, ceiling: tuple[str, ...]) -> Agent:
        agent_id = new_id("agt")
        return Agent(
            id=agent_id,
            org=user.org,
            name=_name(client, agent_id),
            owner=user.id,
            status=Status.ACTIVE,
            ceiling=ceiling,
            org_ceiling=ceiling,
        )

    async def _agent_for(self, change: Change, user: User, client: Client) -> Agent:
        now = int(self._clock.now())
        ceiling = (await principals.organization(change.tx, user.org)).unknown_client_ceiling
        _check_allowed(ceiling)
        standing = await store.agent_of(change.tx, user.id, client.id)
        if standing is not None:
            return await self._same(change, user, client, standing)
        agent = self._new(user, client, ceiling)
        await principals.add_agent(change.tx, agent, now=now)
        await store.add_agent_of(change.tx, user.id, client, agent.id, now=now)
        change.record(
            Event.AGENT_CREATED,
            user.org,
            agent=agent.id,
            name=agent.name,
            by=user.id,
            ceiling=list(agent.ceiling),
            client=client.id,
            client_digest=client.metadata.digest,
        )
        return agent

    async def _same(self, change: Change, user: User, client: Client, standing: Standing) -> Agent:
        agent = await principals.agent(change.tx, standing.agent)
        ended = agent is None or await revocation.among(change.tx, {agent.id})
        if agent is None or ended or agent.status is not Status.ACTIVE:
            raise Denied(
                "This client was stopped for you.",
                hint="Ask an administrator whether it may be used again.",
                reason="client_stopped",
            )
        if standing.digest != client.metadata.digest:
            await store.agree(change.tx, user.id, client)
            change.record(
                Event.CLIENT_CHANGED,
                user.org,
                client=client.id,
                agent=agent.id,
                by=user.id,
                client_digest=client.metadata.digest,
            )
        return agent

    async def _proving(self, client_id: str) -> Client:
        try:
            return await self.known(client_id)
        except NotFound as error:
            raise NotAuthenticated(detail=error.detail or "unknown client") from error

    async def _used(self, client: Client) -> Client:
        """Note, once a day, that a registered client is still in use."""
        if client.kind is ClientKind.DYNAMIC:
            now = int(self._clock.now())
            async with self._database.read() as db:
                found = await store.registered(db, client.id)
            if found is not None and found.last_used_at < now - DAY_SECONDS:
                days = self._settings.unused_client_days
                async with self._database.write() as tx:
                    await store.note_use(tx, client.id, now=now, expires_at=now + days * DAY_SECONDS)
        return client


def _check_allowed(ceiling: tuple[str, ...]) -> None:
    if not ceiling:
        raise Denied(
            "This organization does not let unknown clients do anything.",
            hint="An administrator can allow them: valetkey organization ceiling --unknown-clients GRANT",
            reason="unknown_clients",
        )


def _name(client: Client, agent_id: str) -> str:
    """A plain name nobody else has or had: where the client is from, and the end of its agent's id."""
    said = client.host or client.name
    plain = _NOT_PLAIN.sub("-", said.lower()).strip("-._")[:48].rstrip("-._")
    return f"{plain or 'client'}-{agent_id[-8:]}"
