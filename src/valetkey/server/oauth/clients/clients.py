"""Finding a client by its id, and proving that it is the one it says."""

from dataclasses import replace

from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated, NotFound
from valetkey.server.ids import is_id
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.model import Client, ClientKind, ClientMetadata
from valetkey.server.oauth.form import ClientProof
from valetkey.server.principals import store as principals
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.model import Agent, ServiceAccount, Status
from valetkey.server.revocation import store as revocation

_NOTHING_SAID = ClientMetadata()


class Clients:
    """One per process."""

    def __init__(self, database: Database, authenticate: Authenticate) -> None:
        self._database = database
        self._authenticate = authenticate

    async def known(self, client_id: str) -> Client:
        """The client of that id, which has proven nothing yet. Raises `NotFound` for what is unknown or has ended."""
        if not is_id(client_id, "agt"):
            raise NotFound("This client is not known here.")
        async with self._database.read() as db:
            agent = await principals.agent(db, client_id)
            ended = agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org})
            said = await store.metadata_of_agent(db, client_id)
            jwks = await principals.agent_jwks(db, client_id)
        if agent is None or ended or agent.status is not Status.ACTIVE:
            raise NotFound("This client is not known here.")
        metadata = said or ClientMetadata(auth_method="private_key_jwt" if jwks else "client_secret_basic")
        if jwks:
            metadata = replace(metadata, jwks=jwks)
        return _agents_own(agent, metadata)

    async def proven(self, proof: ClientProof, *, remembered: bool) -> Client:
        """The client that authenticated. Raises `NotAuthenticated`, one sentence for every cause.

        A client without secret or key proves nothing: it is returned as public, and few grants take it. `remembered` is
        for who asks again under the revocation fence; all others are looked up.
        """
        if proof.assertion is not None:
            return _agents_own(await self._authenticate.asserted(proof.assertion, proof.client_id), _NOTHING_SAID)
        if proof.secret is None:
            return await self._public(proof.client_id or "")
        principal = await self._authenticate.client(proof.client_id or "", proof.secret, remembered=remembered)
        if isinstance(principal, Agent):
            return _agents_own(principal, _NOTHING_SAID)
        return _service(principal)

    async def _public(self, client_id: str) -> Client:
        try:
            client = await self.known(client_id)
        except NotFound as error:
            raise NotAuthenticated(detail="unknown client") from error
        if not client.is_public:
            raise NotAuthenticated("The client did not authenticate.")
        return client


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
