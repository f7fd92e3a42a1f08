"""Permissions in the words people read: one line of a delegation as its API, account, sentences and resources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from valetkey.server.delegations.model import Catalogue, Grant
from valetkey.server.policy.model import ConnectionFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeWords:
    name: str
    sentence: str  # completes "may …"
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWords:
    """`number` is the line's place in its delegation."""

    number: int
    integration: str
    title: str
    account: str
    shared: bool
    scopes: tuple[ScopeWords, ...]
    resources: tuple[str, ...]
    limits: tuple[str, ...]  # each in words
    not_after: int | None
    ask: bool


def words_of(
    grants: Sequence[Grant], catalogue: Catalogue, connections: Mapping[str, ConnectionFacts]
) -> list[LineWords]:
    """The lines that grant something, as words."""
    return [
        _words(number, grant, catalogue, connections.get(grant.connection))
        for number, grant in enumerate(grants)
        if not grant.is_empty
    ]


def _words(number: int, grant: Grant, catalogue: Catalogue, connection: ConnectionFacts | None) -> LineWords:
    integration = catalogue.get(grant.integration)
    known = integration.scopes if integration is not None else {}
    return LineWords(
        number=number,
        integration=grant.integration,
        title=integration.title if integration is not None else grant.integration,
        account=connection.account if connection is not None else "",
        shared=connection is not None and connection.owner is None,
        scopes=tuple(
            ScopeWords(
                name=name,
                sentence=known[name].sentence if name in known else name,
                tier=known[name].tier if name in known else "danger",
            )
            for name in sorted(grant.scopes)
        ),
        resources=tuple(r.name for r in grant.resources),
        limits=tuple(grant.words),
        not_after=grant.not_after,
        ask=grant.ask,
    )


def moment(at: int) -> str:
    """A time as people read it, in UTC.

    >>> moment(1_800_000_000)
    '15 Jan 2027, 08:00 UTC'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y, %H:%M UTC")


def ago(at: int, now: float) -> str:
    """How long ago, roughly.

    >>> ago(0, 30), ago(0, 7_300), ago(0, 200_000)
    ('just now', '2 hours ago', '2 days ago')
    """
    passed = int(now) - at
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if passed >= size:
            count = passed // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
