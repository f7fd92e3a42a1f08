"""Where a sealed record belongs, as bytes no other place shares.

Every field is written with its kind and its length, never joined by a delimiter, so two different places can never
encode alike. Knows nothing of ciphers. Lengths are 8 bytes, big-endian.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

_DOMAIN: Final = b"valetkey place 1"
_LARGEST: Final = 2**63 - 1


def length_prefixed(*fields: bytes) -> bytes:
    """Return the fields, each behind its length: different sequences give different bytes.

    >>> length_prefixed(b"a", b"") == length_prefixed(b"", b"a")
    False
    """
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The one cell a sealed record may be opened in, and the terms it was sealed under.

    `None` for what the record does not have (a signing key has no owner), which is not the same as an empty text.
    `generation` counts how often this cell was sealed anew; `format` is the layout of the plaintext.
    """

    deployment: str
    organization: str | None
    table: str
    column: str
    row: str
    owner: str | None
    integration: str | None
    allowed_hosts: frozenset[str]
    generation: int
    format: int = 1

    def __post_init__(self) -> None:
        # SECURITY: a text in place of the set would be taken apart into characters, and "ab" and "ba" would be alike.
        if not isinstance(self.allowed_hosts, frozenset):
            raise TypeError("allowed_hosts is a frozenset of host names")
        if not (0 <= self.generation <= _LARGEST and 0 <= self.format <= _LARGEST):
            raise ValueError("generation and format count from 0 to 2**63 - 1")

    def encode(self) -> bytes:
        """Return the bytes that stand for this place, and for no other."""
        return length_prefixed(
            _DOMAIN,
            _text(self.deployment),
            _text(self.organization),
            _text(self.table),
            _text(self.column),
            _text(self.row),
            _text(self.owner),
            _text(self.integration),
            _hosts(self.allowed_hosts),
            _number(self.generation),
            _number(self.format),
        )


def _text(value: str | None) -> bytes:
    return b"-" if value is None else b"t" + value.encode("utf-8", "surrogatepass")


def _number(value: int) -> bytes:
    return b"n" + value.to_bytes(8, "big")


def _hosts(hosts: frozenset[str]) -> bytes:
    ordered = sorted(host.encode("utf-8", "surrogatepass") for host in hosts)
    return b"h" + hashlib.sha256(length_prefixed(*ordered)).digest()
