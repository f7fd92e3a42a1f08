"""What the owner of an agent says of it as an OAuth client: the page and the API write it here."""

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.clients.registration import checked
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User


async def register(journal: Journal, clock: Clock, agent: Agent, metadata: ClientMetadata, *, by: User) -> None:
    """Keep it, in place of what was said before. Raises `InvalidRequest`. Whether `by` may is the door's business."""
    metadata = checked(metadata)
    async with journal.change() as change:
        has_key = await principals.agent_jwks(change.tx, agent.id) is not None
        if has_key and metadata.jwks:
            raise InvalidRequest("This agent signs with the key it was registered with.", hint="Leave jwks out.")
        if (metadata.auth_method == "private_key_jwt") != has_key and metadata.auth_method != "none":
            raise InvalidRequest("This agent authenticates with " + ("its key." if has_key else "its secret."))
        await store.put_metadata_of_agent(change.tx, agent.id, metadata, now=int(clock.now()))
        await change.touches(agent.id)
        change.record(
            Event.AGENT_CLIENT_CHANGED,
            agent.org,
            agent=agent.id,
            by=by.id,
            redirect_uris=list(metadata.redirect_uris),
            auth_method=metadata.auth_method,
            digest=metadata.digest,
        )
