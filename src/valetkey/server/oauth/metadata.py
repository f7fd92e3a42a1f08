"""Discovery documents, assembled from what is served: an endpoint that is not mounted is not in them.

Endpoints come from the addresses the server has; everything else is contributed by the module that does it, as a
mapping of members: lists are united, anything else must be said the same by all. RFC 8414, OpenID Connect Discovery,
RFC 9728.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from valetkey.server.settings import Settings

ID_JAG_PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"

ENDPOINTS: Final[Mapping[str, str]] = {
    "/oauth/authorize": "authorization_endpoint",
    "/oauth/token": "token_endpoint",
    "/oauth/par": "pushed_authorization_request_endpoint",
    "/oauth/device_authorization": "device_authorization_endpoint",
    "/oauth/backchannel": "backchannel_authentication_endpoint",
    "/oauth/register": "registration_endpoint",
    "/oauth/introspect": "introspection_endpoint",
    "/oauth/revoke": "revocation_endpoint",
    "/oauth/userinfo": "userinfo_endpoint",
}

_CLIENT_AUTH: Final = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
_CLIENT_ALGORITHMS: Final = ["ES256", "Ed25519", "RS256"]
_FOLLOWS: Final[Mapping[str, Mapping[str, list[str]]]] = {
    endpoint: {
        f"{name}_auth_methods_supported": _CLIENT_AUTH,
        f"{name}_auth_signing_alg_values_supported": _CLIENT_ALGORITHMS,
    }
    for endpoint, name in (
        ("/oauth/token", "token_endpoint"),
        ("/oauth/introspect", "introspection_endpoint"),
        ("/oauth/revoke", "revocation_endpoint"),
    )
}


def assembled(issuer: str, *, served: Collection[str], contributed: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The document at the well-known addresses of the authorization server. Raises ValueError for a contradiction."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        **{name: f"{issuer}{path}" for path, name in ENDPOINTS.items() if path in served},
        "grant_types_supported": [],
        "response_types_supported": [],
    }
    for members in (*(_FOLLOWS[path] for path in _FOLLOWS if path in served), *contributed):
        for name, value in members.items():
            document[name] = _together(name, document.get(name), value)
    return document


def _together(name: str, said: Any, value: Any) -> Any:
    if said is None:
        return list(value) if isinstance(value, list) else value
    if isinstance(said, list) and isinstance(value, list):
        return [*said, *(one for one in value if one not in said)]
    if said != value:
        raise ValueError(f"two modules contradict each other about {name}")
    return said


def protected_resource(
    resource: str, issuer: str, *, name: str, scopes: Iterable[str] = (), **more: Any
) -> dict[str, Any]:
    """One document of RFC 9728. `resource` is exactly the URL clients call."""
    listed = sorted(scopes)
    return {
        "resource": resource,
        "resource_name": name,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        **({"scopes_supported": listed} if listed else {}),
        **more,
    }


def of_outside_clients(settings: Settings) -> dict[str, Any]:
    """What is offered to clients nobody registered by hand, and to identity providers: members of the document."""
    return {
        "client_id_metadata_document_supported": settings.client_documents == "on",
        "authorization_grant_profiles_supported": [ID_JAG_PROFILE],
        "token_endpoint_auth_methods_supported": ["spiffe_jwt"],
    }
