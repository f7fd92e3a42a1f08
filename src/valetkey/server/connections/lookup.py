"""What a name means at the upstream now: ids looked up with the connection's own credential.

Answers are remembered for a minute per connection generation, and never for writes. What is unknown, foreign or
unreadable is one answer, None, so that nobody learns which it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import Borrow, Borrowed
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.egress import Egress
from valetkey.server.errors import ConnectionRequired, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.integrations.lookup import Account
from valetkey.server.integrations.model import Integration, ResourceFacts, ResourceRef
from valetkey.server.integrations.role import account_of
from valetkey.server.policy.model import ConnectionFacts

_REMEMBERED = 16_384
_MOST_BYTES = 1 << 20
_NOT_THERE = frozenset({301, 302, 307, 308, 403, 404, 410, 451})


class Lookups:
    """One per process."""

    def __init__(
        self,
        egress: Egress,
        borrow: Borrow,
        catalogue: Mapping[str, Integration],
        clock: Clock,
        *,
        seconds: int,
        timeout: float,
    ) -> None:
        self._egress = egress
        self._borrow = borrow
        self._catalogue = catalogue
        self._clock = clock
        self._seconds = seconds
        self._timeout = timeout
        self._known: dict[tuple[str, int, ResourceRef], tuple[float, ResourceFacts | None]] = {}

    async def resource(self, facts: ConnectionFacts, ref: ResourceRef, *, fresh: bool) -> ResourceFacts | None:
        """What `ref` is now.

        Raises `UpstreamFailed` when the API does not answer, `ConnectionRequired` when it no longer takes the
        credential: nothing is guessed.
        """
        key = (facts.id, facts.generation, ref)
        known = self._known.get(key)
        if not fresh and known is not None and self._clock.monotonic() - known[0] < self._seconds:
            return known[1]
        integration = self._catalogue[facts.integration]
        if integration.role is not None:
            return integration.role.facts(ref, account_of(facts.account))
        lookup = integration.lookups.get(ref.kind)
        if lookup is None:
            return None
        try:
            segments = lookup.segments(ref)
        except ValueError:
            return None
        started = self._clock.monotonic()
        borrowed = await self._borrow.borrow(facts)
        try:
            document = await self._ask(integration, borrowed, segments)
        except ConnectionRequired:
            document = await self._ask(integration, await self._borrow.later(facts, borrowed), segments)
        found = None if document is None else lookup.facts(document)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (started, found)
        return found

    async def account(self, integration: Integration, borrowed: Borrowed) -> Account | None:
        """Whose credential this is, as the API says; None where there is no way to ask.

        Raises `InvalidRequest` when it does not take it.
        """
        how = integration.identify
        if how is None:
            return None
        try:
            segments = tuple(how.path.strip("/").split("/"))
            document = await self._ask(integration, borrowed, segments, method=how.method, body=how.body)
        except ConnectionRequired:
            document = None
        account = how.account(document)
        if account is None:
            raise InvalidRequest(
                f"{integration.title} does not accept this credential.", hint="Paste one that is valid now."
            )
        return account

    async def bind(self, facts: ConnectionFacts, grant: Grant) -> Grant:
        """The grant with each named resource bound to the id it has now. Raises `NotFound` where it is not there."""
        bound = [await self._bound(facts, resource) for resource in grant.resources]
        return replace(grant, connection=facts.id, resources=tuple(bound))

    async def _bound(self, facts: ConnectionFacts, resource: Resource) -> Resource:
        if resource.name == "*":
            return resource
        owner, _, rest = resource.name.partition("/")
        kinds = _kinds(self._catalogue[facts.integration], rest)
        name = owner if rest == "*" else resource.name
        for kind in kinds:
            found = await self.resource(facts, ResourceRef(kind, name=name), fresh=True)
            if found is None:
                continue
            if rest == "*":
                return replace(resource, owner=found.id, kind="repository")
            return replace(resource, name=found.name or name, id=found.id, owner=found.owner_id, kind=found.kind)
        raise NotFound(
            f"{facts.account or facts.name} cannot see {resource.name} at {facts.integration}.",
            hint="Check the spelling, and that this connection's account can read it.",
        )

    async def _ask(
        self,
        integration: Integration,
        borrowed: Borrowed,
        segments: tuple[str, ...],
        *,
        method: str = "GET",
        body: str = "",
    ) -> Any:
        headers = [(b"accept", b"application/json"), (borrowed.header, borrowed.value.reveal().encode())]
        headers += [(name.encode(), value.encode()) for name, value in integration.headers.items()]
        if method == "POST":
            headers += [(b"content-type", b"application/json")] if body else []
            headers.append((b"content-length", str(len(body.encode())).encode()))
        try:
            status, _, answer = await self._egress.fetch(
                method,
                borrowed.below(*segments),
                headers,
                max_bytes=_MOST_BYTES,
                timeout=self._timeout,
                body=body.encode() if method == "POST" else None,
            )
        except UpstreamFailed as error:
            raise _unanswered(error.detail) from error
        if status in _NOT_THERE:
            return None
        if status == 401:
            raise ConnectionRequired(
                "The API no longer accepts the connected credential.", hint="Connect the account again."
            )
        if status != 200:
            raise _unanswered(f"lookup answered {status}")
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _unanswered("lookup answered no JSON") from error


def _kinds(integration: Integration, rest: str) -> tuple[str, ...]:
    """What a name may be the name of. Only repositories have owners whose every one can be meant (`owner/*`)."""
    if integration.role is not None:
        return (integration.role.resource_kind,) if not rest else ()
    if "repository" in integration.lookups:
        return ("repository",) if rest not in ("", "*") else ("organization", "user")
    return () if rest == "*" else tuple(integration.lookups)


def _unanswered(detail: str) -> UpstreamFailed:
    return UpstreamFailed("The API that the account is at did not answer properly.", detail=detail)
