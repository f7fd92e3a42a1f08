"""The catalogue as every part of the server shares it: what comes with Valetkey, and resource servers registered here.

It changes with the change feed: whoever decides under a change number knows every resource server of that number. One
that was ended is gone from it. Another organization's entry is there too, so whoever shows or resolves one for somebody
asks `is_seen_by`.
"""

from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations import store
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.registered import ResourceServer, integration_of, same_audience


class LiveCatalogue(Mapping[str, Integration]):
    """One per process."""

    def __init__(self, built_in: Mapping[str, Integration]) -> None:
        self.built_in = built_in
        self._servers: dict[str, ResourceServer] = {}
        self._all: Mapping[str, Integration] = built_in
        self._by_audience: dict[str, Integration] = {}
        self._as_of = -1
        self._replace({})

    def __getitem__(self, name: str) -> Integration:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def at(self, audience: str) -> Integration | None:
        """The entry of that audience; one trailing slash says nothing (RFC 8707)."""
        return self._by_audience.get(same_audience(audience))

    def server(self, audience: str) -> ResourceServer | None:
        """The registered resource server of exactly that audience."""
        return self._servers.get(audience)

    async def learn(self, db: AsyncConnection, newest: int, nodes: frozenset[str]) -> None:
        """Read the resource servers again when one of them changed, or nothing was read yet."""
        if newest <= self._as_of or (self._as_of >= 0 and not any(node.startswith("rsv_") for node in nodes)):
            return
        servers = await store.resource_servers(db)
        # NOTE: two who catch up at once may be overtaken: the older answer must not replace the newer.
        if newest > self._as_of:
            self._as_of = newest
            self._replace({s.audience: s for s in servers})

    def _replace(self, servers: dict[str, ResourceServer]) -> None:
        entries = [integration_of(s) for s in servers.values()]
        self._servers = servers
        # SECURITY: what comes with Valetkey is never replaced, whatever the table says.
        self._all = {**{i.name: i for i in entries}, **self.built_in}
        everything = (*entries, *self.built_in.values())
        self._by_audience = {same_audience(i.audience): i for i in everything}


async def refuse_taken(db: AsyncConnection, own: Iterable[Integration]) -> None:
    """Raise `InvalidRequest` when an administrator's file takes what a resource server was once registered with.

    SECURITY: a grant somebody agreed to would come to mean another API.
    """
    for integration in own:
        if await store.is_taken(db, name=integration.name, audience=integration.audience):
            raise InvalidRequest(
                f"{integration.name}.toml has the name or the audience of a registered resource server.",
                hint="Give the file another: neither is given away a second time.",
            )
