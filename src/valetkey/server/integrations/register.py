"""Registering a resource server: an administrator's word, checked, recorded, and known everywhere with the change.

Name and audience are one server's for ever, also after it was removed: a grant somebody agreed to, or a token still on
its way, must never come to mean another server.
"""

from collections.abc import Collection
from dataclasses import replace
from urllib.parse import urlsplit

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.errors import Conflict, InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.integrations import store
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.integrations.registered import ResourceServer, check_audience, check_name, check_scopes
from valetkey.server.principals import store as principals


class Register:
    """One per process. `own` are the addresses of this deployment: nobody else's audience is there."""

    def __init__(self, journal: Journal, clock: Clock, catalogue: LiveCatalogue, own: Collection[str]) -> None:
        self._journal = journal
        self._clock = clock
        self._catalogue = catalogue
        self._own = {urlsplit(address).netloc.lower() for address in own}

    async def resource_server(self, wish: ResourceServer) -> ResourceServer:
        """Record it. Raises `InvalidRequest` for what cannot be one, `Conflict` for a name or audience once given."""
        check_name(wish.name, self._catalogue.built_in)
        check_audience(wish.audience)
        check_scopes(wish.scopes)
        if not 1 <= len(wish.title.strip()) <= 80 or not wish.title.isprintable():
            raise InvalidRequest("The title has 1 to 80 printable characters.")
        known = self._catalogue.at(wish.audience)
        if (known is not None and not known.is_registered) or urlsplit(wish.audience).netloc in self._own:
            raise InvalidRequest("This audience is one that this server itself stands in front of.")
        server = replace(wish, id=new_id("rsv"), title=wish.title.strip(), created_at=int(self._clock.now()))
        async with self._journal.change() as change:
            await change.touches(server.id)  # also the lock under which nobody else registers
            account = await principals.service_account(change.tx, wish.service_account or "")
            agent = await principals.agent(change.tx, wish.agent or "")
            if wish.service_account and (account is None or account.org != wish.org):
                raise InvalidRequest("There is no such service account, or it is not yours.")
            if wish.agent and (agent is None or agent.org != wish.org):
                raise InvalidRequest("There is no such agent, or it is not yours.")
            # One sentence for one's own and for another organization's.
            if await store.is_taken(change.tx, name=server.name, audience=server.audience):
                raise Conflict("This name or audience is taken, or was once.", hint="Choose another.")
            await store.add(change.tx, server)
            change.record(
                Event.RESOURCE_SERVER_REGISTERED,
                server.org,
                resource_server=server.id,
                name=server.name,
                audience=server.audience,
                layout=server.layout,
                scopes=[s.name for s in server.scopes],
                by=server.created_by,
            )
        return server
