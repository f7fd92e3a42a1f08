"""A connection: one user's link to an integration, or the organization's, with the real account it stands for."""

from dataclasses import dataclass

from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.errors import InvalidRequest
from valetkey.server.policy.model import ConnectionFacts


def checked_name(name: str | None) -> str | None:
    """What a person calls a connection; None where they leave that to us. Raises `InvalidRequest` for anything odd."""
    if name is not None and not (name.isascii() and 1 <= len(name) <= 64 and name.replace("-", "a").isalnum()):
        raise InvalidRequest("A connection's name has letters, digits and dashes.")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class AppInstallation:
    """An app and one installation of it, by the API's own ids: digits."""

    app: str
    installation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKey:
    """A role, and who may take it on: an access key by its id, whose secret is what is sealed, or, where there is an
    `audience`, this server by tokens of its own for it; then nothing is kept that is worth anything."""

    arn: str
    access_key: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """By which app an account was connected, what was asked of the API and what it gave, in the API's own words."""

    app: str
    asked: tuple[str, ...]
    granted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`sealed` is the credential as the vault keeps it; only `borrow` has it opened.

    Of an installed app it is the app's private key, which is never sent: it makes the credentials that are.
    Of a role it is the secret of an access key: only signatures made with it are sent.
    `credential_generation` counts the credentials; the generation in `facts` counts the terms, which a renewed
    credential leaves as they are.
    """

    facts: ConnectionFacts
    hosts: frozenset[str]  # frozen when the connection was made
    sealed: bytes
    credential_generation: int
    created_at: int
    installed: AppInstallation | None = None
    account_id: str = ""  # the API's own and immutable; empty where it was not asked
    linked: Linked | None = None
    role: RoleKey | None = None
    database: DatabaseKey | None = None
