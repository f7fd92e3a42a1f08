"""What a name means at the upstream now: ids looked up with the connection's own credential.

Answers are remembered for a minute per connection generation, and never for writes. What is unknown, foreign or
unreadable is one answer, None, so that nobody learns which it was.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import Borrow, Borrowed
from valetkey.server.connections.databases.tables import Tables
from valetkey.server.connections.reachable import Reachable
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.egress import Egress
from valetkey.server.errors import ConnectionRequired, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.integrations.lookup import Account, FormLookup, Lookup, Question
from valetkey.server.integrations.model import FOLDER, Integration, ResourceFacts, ResourceRef
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
        reachable: Reachable,
        borrow: Borrow,
        catalogue: Mapping[str, Integration],
        clock: Clock,
        *,
        seconds: int,
        timeout: float,
        tables: Mapping[str, Tables],
    ) -> None:
        self._tables = tables
        self._egress = egress
        self._reachable = reachable
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
        if integration.database is not None:
            return await self._tables[facts.integration].resource(facts, ref)
        if integration.role is not None:
            return integration.role.facts(ref, account_of(facts.account))
        how = integration.questions.get(ref.kind) or integration.lookups.get(ref.kind)
        asking: Callable[[Borrowed], Awaitable[ResourceFacts | None]]
        match how:
            case None:
                return None
            case FormLookup():
                asking = partial(self._by_form, integration, how, ref, None if known is None else known[1])
            case Question():
                asking = partial(self._by_question, integration, how, ref)
            case Lookup():
                try:
                    asking = partial(self._by_path, integration, how, how.segments(ref))
                except ValueError:
                    return None
        started = self._clock.monotonic()
        borrowed = await self._borrow.borrow(facts)
        try:
            found = await asking(borrowed)
        except ConnectionRequired:
            found = await asking(await self._borrow.later(facts, borrowed))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (started, found)
        return found

    async def _by_path(
        self, integration: Integration, lookup: Lookup, segments: tuple[str, ...], borrowed: Borrowed
    ) -> ResourceFacts | None:
        document = await self._ask(integration, borrowed, segments, query=lookup.query)
        return None if document is None else lookup.facts(document)

    async def _by_question(
        self, integration: Integration, question: Question, ref: ResourceRef, borrowed: Borrowed
    ) -> ResourceFacts | None:
        document = await self._ask(integration, borrowed, _below(question.path), method="POST", body=question.body(ref))
        return None if document is None else question.facts(document)

    async def _by_form(
        self,
        integration: Integration,
        lookup: FormLookup,
        ref: ResourceRef,
        known: ResourceFacts | None,
        borrowed: Borrowed,
    ) -> ResourceFacts | None:
        """By id in one question; by name too, where the thing that had it still has it. Else through the list."""
        ask = partial(self._ask, integration, borrowed, method="POST")
        id_ = ref.id or (known.id if known is not None else "")
        if id_:
            found = lookup.facts(await ask(_below(lookup.by_id), form={lookup.argument: id_}))
            # SECURITY: a list may be old where the thing itself is not: its name is the one it has now.
            if found is not None and found.id == id_ and ref.name in (None, found.name):
                return found
        listed, cursor = lookup.listed, ""
        if ref.name is None or listed is None:
            return None
        for _ in range(listed.most_pages):
            begins = {listed.cursor: cursor} if cursor else {}
            document = await ask(_below(listed.path), form={**listed.arguments, **begins})
            found, cursor = lookup.page(document, ref.name)
            if found is not None or not cursor:
                return found
        return None

    async def account(self, integration: Integration, borrowed: Borrowed) -> Account | None:
        """Whose credential this is, as the API says; None where there is no way to ask.

        Raises `InvalidRequest` when it does not take it.
        """
        how = integration.identify
        if how is None:
            return None
        try:
            document = await self._ask(integration, borrowed, _below(how.path), method=how.method, body=how.body)
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
        if self._catalogue[facts.integration].database is not None:
            tables = self._tables[facts.integration]
            bound = [r if r.name == "*" else await tables.bound(facts, r) for r in grant.resources]
        else:
            bound = [await self._bound(facts, resource) for resource in grant.resources]
        return replace(grant, connection=facts.id, resources=tuple(bound))

    async def is_still(self, facts: ConnectionFacts, resource: Resource) -> bool:
        """Whether a schema all of whose tables were delegated is still the one it was."""
        return await self._tables[facts.integration].is_still(facts, resource)

    async def _bound(self, facts: ConnectionFacts, resource: Resource) -> Resource:
        if resource.name == "*":
            return resource
        owner, _, rest = resource.name.partition("/")
        integration = self._catalogue[facts.integration]
        name = owner if rest == "*" else resource.name
        hows = {**integration.questions, **integration.lookups}
        kinds = _kinds(integration, rest)
        refs = [hows[kind].ref(name) if kind in hows else ResourceRef(kind, name=name) for kind in kinds]
        for ref in [ref for ref in refs if ref.id is not None] or refs:
            found = await self.resource(facts, ref, fresh=True)
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
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        headers = [(b"accept", b"application/json"), (borrowed.header, borrowed.value.reveal().encode())]
        headers += [(name.encode(), value.encode()) for name, value in integration.headers.items()]
        if form is not None:
            body = urlencode(form)
        if method == "POST":
            kind = b"application/json" if form is None else b"application/x-www-form-urlencoded"
            headers += [(b"content-type", kind)] if body else []
            headers.append((b"content-length", str(len(body.encode())).encode()))
        url = borrowed.below(*segments)
        if query:
            url = replace(url, target=url.target + b"?" + urlencode(query).encode())
        fetch = partial(
            self._egress.fetch,
            method,
            url,
            headers,
            max_bytes=_MOST_BYTES,
            timeout=self._timeout,
            body=body.encode() if method == "POST" else None,
        )
        try:
            status, _, answer = await self._reachable.ask(url.place, fetch)
        except UpstreamFailed as error:
            if not error.was_sent:
                raise
            raise _unanswered(error.detail) from error
        if status in _NOT_THERE or (status == 400 and body):  # how GraphQL APIs may say that nothing is there
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
        return () if rest == "*" else (FOLDER,) if rest else (integration.role.resource_kind,)
    if "repository" in integration.lookups:
        return ("repository",) if rest not in ("", "*") else ("organization", "user")
    named = (kind for kind, how in integration.questions.items() if how.is_by_name)
    return () if rest == "*" else (*integration.lookups, *named)


def _below(path: str) -> tuple[str, ...]:
    """The segments of a fixed path."""
    return tuple(path.strip("/").split("/"))


def _unanswered(detail: str) -> UpstreamFailed:
    return UpstreamFailed("The API that the account is at did not answer properly.", detail=detail)
