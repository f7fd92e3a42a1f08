"""Authorization server metadata (RFC 8414): what is served, and nothing that is not."""

from collections.abc import Iterable
from typing import Any

from valetkey.server.oauth import authorize
from valetkey.server.oauth.decoupled import backchannel, device


def metadata(issuer: str, *, grant_types: Iterable[str]) -> dict[str, Any]:
    """The document at `/.well-known/oauth-authorization-server`."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": list(grant_types),
        "token_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
            "none",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "Ed25519", "RS256"],
        **authorize.metadata(issuer),
        **device.metadata(issuer),
        **backchannel.metadata(issuer),
    }
