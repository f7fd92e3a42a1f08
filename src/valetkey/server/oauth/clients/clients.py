"""Finding a client by its id, and proving that it is the one it says."""

from dataclasses import replace

from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated, NotFound
from valetkey.server.ids import is_id
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.model import Client, ClientKind, ClientMetadata
from valetkey.server.oauth.clients.outside import Outside, is_outside
from valetkey.server.oauth.clients.registration import GRANT_TYPES
from valetkey.server.oauth.form import ClientProof
from valetkey.server.principals import store as principals
from valetkey.server.principals.assertion import unverified
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.issuers.trust import Trusting
from valetkey.server.principals.model import Agent, ServiceAccount, Status
from valetkey.server.revocation import store as revocation

_REMEMBERED = 4_096
_NOTHING_SAID = ClientMetadata()


class Clients:
    """One per process."""

    def __init__(self, database: Database, authenticate: Authenticate, outside: Outside, trusting: Trusting) -> None:
        self._database = database
        self._authenticate = authenticate
        self._outside = outside
        self._trusting = trusting
        self._bound: dict[str, bool] = {}
        self._known: dict[str, Client] = {}
        self._changes = 0

    def forget(self, nodes: frozenset[str]) -> None:
        """Something about these changed: read what they registered again."""
        self._changes += 1
        for node in nodes & self._bound.keys():
            del self._bound[node]
        if self._known:
            self._known = {
                known: c for known, c in self._known.items() if c.principal is None or not nodes & _nodes(c.principal)
            }

    async def must_prove_a_key(self, client: Client) -> bool:
        """Whether the client registered that every token of its is bound to a key (RFC 9449 section 5.2)."""
        if client.metadata.dpop_bound or not isinstance(client.principal, Agent):
            return client.metadata.dpop_bound
        known = self._bound.get(client.id)
        if known is None:
            changes = self._changes
            async with self._database.read() as db:
                said = await store.metadata_of_agent(db, client.id)
            known = said is not None and said.dpop_bound
            if len(self._bound) >= _REMEMBERED:
                self._bound.clear()
            if changes == self._changes:  # what was read before a change must not be remembered after it
                self._bound[client.id] = known
        return known

    async def is_its(self, client: Client, holder: str) -> bool:
        """Whether what names this holder was issued to the client: to itself, or to an agent that it is for somebody.

        Tokens of an outside client name the agent.
        """
        if holder == client.id or client.principal is not None:
            return holder == client.id
        async with self._database.read() as db:
            return await store.client_of(db, holder) == client.id

    async def known(self, client_id: str, *, remembered: bool = False) -> Client:
        """The client of that id, which has proven nothing yet. Raises `NotFound` for what is unknown or has ended.

        `remembered` is for who decides under the revocation fence; all others, and clients from outside, are looked up.
        """
        if is_outside(client_id):
            return await self._outside.known(client_id)
        if not is_id(client_id, "agt"):
            raise NotFound("This client is not known here.")
        if remembered and (seen := self._known.get(client_id)) is not None:
            return seen
        changes = self._changes
        async with self._database.read() as db:
            agent = await principals.agent(db, client_id)
            ended = agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org})
            said = await store.metadata_of_agent(db, client_id)
            jwks = await principals.agent_jwks(db, client_id)
        if agent is None or ended or agent.status is not Status.ACTIVE:
            raise NotFound("This client is not known here.")
        # NOTE: an agent its owner registered may use every grant a person answers; what it gets is what she agrees to.
        method = "private_key_jwt" if jwks else "client_secret_basic"
        metadata = said or ClientMetadata(auth_method=method, grant_types=GRANT_TYPES)
        if jwks:
            metadata = replace(metadata, jwks=jwks)
        client = _agents_own(agent, metadata)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if changes == self._changes:  # as for `_bound`
            self._known[client_id] = client
        return client

    async def proven(self, proof: ClientProof, *, remembered: bool) -> Client:
        """The client that authenticated. Raises `NotAuthenticated`, one sentence for every cause.

        A client without secret or key proves nothing: it is returned as public, and few grants take it. `remembered` is
        for who asks again under the revocation fence; all others are looked up.
        """
        if proof.assertion is not None:
            return await self._asserted(proof.assertion, proof)
        if proof.secret is None:
            return await self._public(proof.client_id or "")
        if is_outside(proof.client_id or ""):
            return await self._outside.with_secret(proof.client_id or "", proof.secret)
        principal = await self._authenticate.client(proof.client_id or "", proof.secret, remembered=remembered)
        if isinstance(principal, Agent):
            return _agents_own(principal, _NOTHING_SAID)
        return _service(principal)

    async def _asserted(self, assertion: str, proof: ClientProof) -> Client:
        """Who signed: an agent with its own key, an outside client with its published one, or a platform."""
        said = unverified(assertion)
        if proof.is_spiffe or (said.iss is not None and said.iss != said.sub):
            return _agents_own(
                await self._trusting.workload(assertion, said, proof.client_id, spiffe=proof.is_spiffe),
                ClientMetadata(auth_method="private_key_jwt"),
            )
        if is_outside(said.sub):
            return await self._outside.asserted(assertion, said, proof.client_id)
        agent = await self._authenticate.asserted(assertion, proof.client_id)
        return _agents_own(agent, ClientMetadata(auth_method="private_key_jwt"))

    async def _public(self, client_id: str) -> Client:
        try:
            client = await self.known(client_id)
        except NotFound as error:
            raise NotAuthenticated(detail="unknown client") from error
        if not client.is_public:
            raise NotAuthenticated("The client did not authenticate.")
        return client


def _nodes(principal: Agent | ServiceAccount) -> set[str]:
    owner = {principal.owner} if isinstance(principal, Agent) else set()
    return {principal.id, principal.org, *owner}


def _agents_own(agent: Agent, metadata: ClientMetadata) -> Client:
    return Client(
        id=agent.id, kind=ClientKind.AGENT, name=agent.name, principal=agent, metadata=metadata, org=agent.org
    )


def _service(account: ServiceAccount) -> Client:
    return Client(
        id=account.id,
        kind=ClientKind.SERVICE_ACCOUNT,
        name=account.name,
        principal=account,
        metadata=_NOTHING_SAID,
        org=account.org,
    )
