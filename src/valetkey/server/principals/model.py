"""Who can act: users decide as people, agents on their own judgement, service accounts by fixed logic.

Knows no delegation: what an agent may do for somebody is recorded elsewhere; here is only who it is and its ceiling.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from valetkey.server.errors import InvalidRequest

MANAGEMENT_SCOPES = frozenset(
    {"agents:read", "agents:write", "users:read", "users:write", "connections:read", "delegations:read",
     "revocations:write", "audit:read", "policy:write", "tokens:introspect"}
)  # fmt: skip
"""What a service account may be given. None of them opens /p, a task, or an exchange."""

AGENT_SCOPES = frozenset({"self:read", "tasks:open"})
"""All that an agent can do without a delegation."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Role(StrEnum):
    MEMBER = "member"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    id: str
    name: str
    default_ceiling: tuple[str, ...]
    unknown_client_ceiling: tuple[str, ...] = ()
    """The most a client nobody registered can ever be given; empty until an administrator sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: str
    org: str
    email: str
    role: Role
    status: Status

    @property
    def subject(self) -> str:
        return f"user:{self.email}"

    @property
    def is_administrator(self) -> bool:
        return self.role is Role.ADMINISTRATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMade:
    """A one-time code somebody else made for a person who was a user already. `by` is that somebody's address."""

    by: str
    made_at: int
    used_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """`ceiling` holds grant texts with unbound resources: the most this agent can ever be given.

    `org_ceiling` is what its organization lets clients nobody registered have now, if it is one of them.
    """

    id: str
    org: str
    name: str
    owner: str
    status: Status
    ceiling: tuple[str, ...]
    org_ceiling: tuple[str, ...] | None = None

    @property
    def subject(self) -> str:
        return f"agent:{self.name}"

    @property
    def ceilings(self) -> tuple[tuple[str, ...], ...]:
        """All that it has to stay under, each by itself."""
        return (self.ceiling,) if self.org_ceiling is None else (self.ceiling, self.org_ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    id: str
    org: str
    name: str
    status: Status
    scopes: frozenset[str]

    @property
    def subject(self) -> str:
        return f"service:{self.name}"


def checked_name(text: str) -> str:
    """A name that is plain enough to stand in a token: lower-case letters, digits, `.`, `_`, `-`."""
    if NAME.fullmatch(text) is None:
        raise InvalidRequest(
            "A name has 1 to 64 lower-case letters, digits, dots, dashes or underscores.", detail=f"name {text!r}"
        )
    return text


def checked_email(text: str) -> str:
    """An address in one canonical spelling (ASCII, lower case), or `InvalidRequest`."""
    email = unicodedata.normalize("NFC", text).strip().lower()
    if _EMAIL.fullmatch(email) is None or ".." in email:
        raise InvalidRequest("This is not an e-mail address this server can use.", detail=f"email {text!r}")
    return email
