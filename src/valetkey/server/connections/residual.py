"""What a stored credential could do if it leaked, against what was asked for, and who stands in between. Pure.

The report is for whoever decides to connect an account: a credential of an API is nearly always wider than what was
delegated, and it is said here instead of being discovered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing.model import Refreshing
from valetkey.server.integrations.model import Integration

HeldBackBy = Literal["gateway", "api"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One of the API's, under its own name. `sentence` completes "it may …"; empty where nobody described it."""

    name: str
    sentence: str
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """`could_do` and `held_back_by` are sentences for people."""

    asked: tuple[Permission, ...]
    granted: tuple[Permission, ...]
    could_do: str
    for_how_long: str
    held_back_by: HeldBackBy
    why: str


def residual(connection: Connection, row: Refreshing | None, integration: Integration) -> Residual:
    """The report for one connection."""
    account = connection.facts.account or "the account"
    linked = connection.linked
    asked = () if linked is None else _permissions(linked.asked, integration)
    granted = () if linked is None else _permissions(linked.granted, integration)
    if connection.installed is not None:
        return Residual(
            asked=asked,
            granted=granted,
            could_do=f"The app's private key makes credentials for everything the installation on {account} may do.",
            for_how_long="Until the key is removed at the API.",
            held_back_by="api",
            why="Leases are narrowed by the API itself to single resources and permissions; calls pass the gateway.",
        )
    if connection.role is not None and connection.role.audience:
        return Residual(
            asked=asked,
            granted=granted,
            could_do=f"Nothing: no key is kept. Who has this server's signing key can take on {connection.role.arn}.",
            for_how_long="Until the role trusts this server no longer; a session already made, for an hour at most.",
            held_back_by="api",
            why="AWS holds every session to the policy put on it. The role should do no more than will be delegated.",
        )
    if connection.role is not None:
        return Residual(
            asked=asked,
            granted=granted,
            could_do=f"The access key makes sessions of the role {connection.role.arn}: everything the role may do.",
            for_how_long="Until the key is removed in AWS; a session already made, for an hour at most.",
            held_back_by="api",
            why="AWS holds every session to the policy put on it. The role should do no more than will be delegated.",
        )
    if connection.database is not None:
        return Residual(
            asked=asked,
            granted=granted,
            could_do=f"Everything the login {account} may do in its databases, roles it can make included.",
            for_how_long="Until its password is changed: valetkey connections rotate.",
            held_back_by="api",
            why="The database holds every role to the tables it was made for. The login should own no more than that.",
        )
    if granted:
        can = "; ".join(p.sentence or p.name for p in granted)
        could = f"With {account}: {can}. On everything the account reaches, not only on what was delegated."
    else:
        could = f"Everything {account} can do by itself: the API does not say what this credential was limited to."
    return Residual(
        asked=asked,
        granted=granted,
        could_do=could,
        for_how_long=_lasting(row),
        held_back_by="gateway",
        why="The API knows nothing of single delegations. Every call is judged at the gateway; no agent holds this.",
    )


def _lasting(row: Refreshing | None) -> str:
    if row is None:
        return "Until it is ended at the API: it does not expire by itself."
    if row.sealed is None:
        return "Until it expires; it cannot be renewed."
    return "The access token for a while only; the refresh token makes new ones until it is ended at the API."


def _permissions(names: Sequence[str], integration: Integration) -> tuple[Permission, ...]:
    scopes = {} if integration.oauth is None else integration.oauth.scopes
    return tuple(
        Permission(name=name, sentence=scopes[name].sentence, tier=scopes[name].tier)
        if name in scopes
        else Permission(name=name, sentence="", tier="danger")
        for name in names
    )
