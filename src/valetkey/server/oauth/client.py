"""OAuth clients: who is at a token, PAR or device endpoint, and how they proved it.

A client is an agent or a service account. Public clients, and those described by a document of their own, join here.
"""

from dataclasses import dataclass

from valetkey.server.oauth.form import ClientProof
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.model import Agent, ServiceAccount
from valetkey.server.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """`id` as the client writes it; `principal` is None for one that becomes an agent only by somebody's consent."""

    id: str
    principal: Agent | ServiceAccount | None
    is_public: bool = False


class Clients:
    """One per process."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    async def proven(self, proof: ClientProof, *, remembered: bool) -> Client:
        """The client that authenticated. Raises `NotAuthenticated`, one sentence for every cause.

        `remembered` is for who asks again under the revocation fence; all others are looked up.
        """
        if proof.assertion is not None:
            agent = await self._authenticate.asserted(proof.assertion, proof.client_id)
            return Client(id=agent.id, principal=agent)
        secret = proof.secret or Secret("")
        principal = await self._authenticate.client(proof.client_id or "", secret, remembered=remembered)
        return Client(id=principal.id, principal=principal)
