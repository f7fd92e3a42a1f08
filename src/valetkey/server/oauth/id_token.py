"""ID tokens (OpenID Connect Core): who signed in, for the client that asked. They open no door here or anywhere.

`sub` is the user's immutable id, never an address or a name that could be given to somebody else.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from valetkey.server.clock import Clock
from valetkey.server.oauth.request import OPENID
from valetkey.server.principals.model import User
from valetkey.server.settings import Settings
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import SignedIn, prepare
from valetkey.server.tokens.model import Kind

EMAIL: Final = "email"
ID_TOKEN_SECONDS: Final = 300
METADATA: Final[Mapping[str, list[str]]] = {
    "scopes_supported": [OPENID, "offline_access"],
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["ES256"],
    "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "at_hash"],
}
"""Members of the discovery documents. No request is for `email` yet, so nothing says that one may be."""


class IdTokens:
    """One per process."""

    def __init__(self, keys: Keys, clock: Clock, settings: Settings) -> None:
        self._keys = keys
        self._clock = clock
        self._settings = settings

    def id_token(
        self,
        user: User,
        client_id: str,
        *,
        scopes: frozenset[str],
        signed_in: SignedIn,
        nonce: str | None = None,
        access_token: str | None = None,
    ) -> str:
        """Say to one client who signed in, and how. `nonce` is the request's own, byte for byte."""
        if OPENID not in scopes:
            raise ValueError("an ID token is only for a request with openid")
        now = int(self._clock.now())
        claims: dict[str, Any] = {
            "iss": self._settings.issuer,
            "sub": user.id,
            "aud": client_id,
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
            **signed_in.claims(),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if access_token is not None:
            claims["at_hash"] = at_hash(access_token)
        if EMAIL in scopes:
            claims["email"] = user.email
        return prepare(self._keys.signer("ES256"), Kind.ID, claims).signed()


def at_hash(access_token: str) -> str:
    """The left half of the token's SHA-256, in base64url (OpenID Connect Core section 3.1.3.6).

    >>> at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y")
    '77QmUPtjPfzWtF2AnpK9RQ'
    """
    half = hashlib.sha256(access_token.encode("ascii")).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()
