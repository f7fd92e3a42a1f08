"""Authorization server metadata (RFC 8414): what is served, and nothing that is not."""

from collections.abc import Iterable
from typing import Any

from valetkey.server.settings import Settings

ID_JAG_PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"


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
            "spiffe_jwt",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "Ed25519", "RS256"],
        "response_types_supported": [],
    }


def of_outside_clients(settings: Settings) -> dict[str, Any]:
    """What is offered to clients nobody registered by hand, and to identity providers: members of the document."""
    members: dict[str, Any] = {
        "client_id_metadata_document_supported": settings.client_documents == "on",
        "authorization_grant_profiles_supported": [ID_JAG_PROFILE],
    }
    if settings.dynamic_registration != "off":
        members["registration_endpoint"] = f"{settings.issuer}/oauth/register"
    return members
