"""How verification refuses: one public sentence for every bad token, and a private reason beside it.

A caller who shows `str(error)` to the sender of the token tells nothing about why it failed; `reason` and `detail` are
for the audit trail and the log of whoever runs the verifier, and never hold a signature or a whole token.
"""

from enum import StrEnum
from typing import Final

PUBLIC_SENTENCE: Final = "The token is missing or not valid here."


class Reason(StrEnum):
    """The closed list of why a token is refused. Private: for audit, logs and test vectors."""

    SIZE = "size"
    STRUCTURE = "structure"
    ENCODING = "encoding"
    JSON = "json"
    HEADER = "header"
    TYP = "typ"
    KEY = "key"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    CLAIM = "claim"
    TIME_SHAPE = "time_shape"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    LIFETIME = "lifetime"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    LAYOUT = "layout"
    ORGANIZATION = "organization"
    BINDING = "binding"
    PROOF = "proof"


class InvalidToken(Exception):
    """The token is missing or not valid here."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(PUBLIC_SENTENCE)

    @property
    def public(self) -> str:
        """The one sentence the sender of the token may see."""
        return PUBLIC_SENTENCE


class ExpiredToken(InvalidToken):
    """The token is missing or not valid here.

    Raised only when signature, issuer and audience held: the holder may mint a new one instead of giving up.
    """


class InvalidProof(InvalidToken):
    """The proof of the sender's key is missing or not valid here.

    `detail` is one sentence a client's developer may see: it says what of the proof is wrong and nothing of the token.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.PROOF, detail)


class InvalidKey(ValueError):
    """A JSON Web Key, or a set of them, that must not be trusted."""


class KeysUnavailable(Exception):
    """The issuer's keys cannot be fetched right now, so no token can be verified."""
