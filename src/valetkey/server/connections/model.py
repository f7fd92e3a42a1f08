"""A connection: one user's link to an integration, or the organization's, with the real account it stands for."""

from dataclasses import dataclass

from valetkey.server.policy.model import ConnectionFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`sealed` is the credential as the vault keeps it; only `borrow` has it opened."""

    facts: ConnectionFacts
    hosts: frozenset[str]  # frozen when the connection was made
    sealed: bytes
    created_at: int
