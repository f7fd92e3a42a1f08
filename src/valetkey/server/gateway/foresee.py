"""What would be decided of a call that nobody made: the same reading, the same judging, nothing recorded, nothing sent.

The API is asked what a name means, as for a real call, by the account of the person who asks. Budgets are not looked
at: what is left of them is only known in the commit that spends it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from valetkey.server.credentials.authority import Authorities
from valetkey.server.errors import NotFound
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.inject import prepared
from valetkey.server.gateway.judge import Judge, Unresolved
from valetkey.server.gateway.recognise import recognised
from valetkey.server.gateway.streams import Streams
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.model import Call, Decision
from valetkey.server.principals.model import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagined:
    """A call as a client would send it: `path` begins with `/`, below the API's address, with its query."""

    integration: str
    method: str
    path: str
    body: bytes
    content_type: str

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, in one piece."""
        yield self.body


class Foresee:
    """One per process."""

    def __init__(
        self,
        authorities: Authorities,
        judge: Judge,
        streams: Streams,
        catalogue: Mapping[str, Integration],
        *,
        gateway: str,
    ) -> None:
        self._authorities = authorities
        self._judge = judge
        self._streams = streams
        self._catalogue = catalogue
        self._gateway = gateway

    async def __call__(self, call: Imagined, task: str, user: User) -> tuple[tuple[Call, ...], Decision]:
        """Everything it would do, or the one part that would be denied; and what would be decided.

        Raises `NotFound`, `InvalidRequest`, `TooMany` or `Unavailable` as the gateway would, or what the API said when
        it was asked for a name.
        """
        # NOTE: a call is decided on what is known and decided again where its record finds that out of date. Nothing is
        # recorded here, so what is known is brought up to date first.
        await self._authorities.refresh()
        authority, _ = await self._authorities.of_task(task)
        # SECURITY: names are resolved by her account, so nobody else learns by this what is there.
        # Guarded by tests/flows/test_foresee.py::test_nobody_foresees_the_calls_of_another
        if authority.user.id != user.id:
            raise NotFound("There is no such task, or it does not act for you.")
        integration = self._catalogue.get(call.integration)
        if integration is None:
            raise NotFound("No API of that name is served here.")
        door = prepared(integration, self._gateway)
        path, _, query = call.path.partition("?")
        target = canonical(call.method, path.encode(), query.encode(), door.profile)
        headers = [(b"content-type", call.content_type.encode())] if call.content_type else []
        with self._streams.entered() as stream:
            # SECURITY: the API is asked for names, so this counts among the calls that are under way there.
            # Guarded by tests/flows/test_foresee.py::test_it_takes_a_place_among_the_calls_under_way
            self._streams.belongs(stream, api=integration.name, person=user.id)
            asked = await recognised(integration, target, headers, call.chunks() if call.body else None, as_it_is=False)
            try:
                calls, decision = await self._judge(None, asked, door, authority)
            except Unresolved as unresolved:
                raise unresolved.cause from None
        return tuple(calls), decision
