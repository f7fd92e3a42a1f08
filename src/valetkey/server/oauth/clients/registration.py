"""What a client may register of itself, checked before it is kept: for owned agents, and for those who register alone.

RFC 7591 section 2, with the rules of RFC 9700. Unknown values are refused; redirect URIs are `redirects`' business.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.clients.redirects import check_redirect
from valetkey.verify.errors import InvalidKey
from valetkey.verify.json import MalformedJson
from valetkey.verify.keys import parse_jwks

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
GRANT_TYPES = (
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:openid:params:grant-type:ciba",
)
MOST_REDIRECTS = 20
LONGEST_JWKS = 16_384


def checked(metadata: ClientMetadata) -> ClientMetadata:
    """The same, once every member holds. Raises `InvalidRequest`, with the `reason` RFC 7591 section 3.2.2 maps."""
    if metadata.auth_method not in AUTH_METHODS:
        raise _refused(f"The authentication method is one of {', '.join(AUTH_METHODS)}.")
    if metadata.application_type not in ("web", "native"):
        raise _refused("The application type is web or native.")
    if len(metadata.redirect_uris) > MOST_REDIRECTS or len(set(metadata.redirect_uris)) != len(metadata.redirect_uris):
        raise _refused(f"At most {MOST_REDIRECTS} redirect URIs, none twice.")
    for uri in metadata.redirect_uris:
        check_redirect(uri, application_type=metadata.application_type)
    if not metadata.grant_types or not set(metadata.grant_types) <= set(GRANT_TYPES):
        raise _refused(f"The grant types are among {', '.join(GRANT_TYPES)}.")
    _check_keys(metadata)
    return metadata


def jwks_text(keys: Mapping[str, Any] | None) -> str:
    """A JWK Set as it is kept."""
    return "" if keys is None else msgspec.json.encode(keys).decode()


def shown_name(text: str) -> str:
    """A name somebody else chose, as it may be shown: printable, one line, no letters that turn or hide others."""
    # NOTE: what is not printable to Python covers bidirectional marks, zero-width characters and controls.
    return re.sub(r"\s+", " ", "".join(c for c in text if c.isprintable())).strip()[:80]


def _check_keys(metadata: ClientMetadata) -> None:
    if metadata.jwks and metadata.jwks_uri:
        raise _refused("Keys are given by value or by address, not both.")
    if metadata.jwks:
        try:
            keys = parse_jwks(metadata.jwks.encode()) if len(metadata.jwks) <= LONGEST_JWKS else {}
        except (InvalidKey, MalformedJson, ValueError) as error:
            raise _refused("The JWK Set cannot be read.") from error
        if not keys:
            raise _refused("The JWK Set is empty or too long.")
    if metadata.must_sign and not (metadata.jwks or metadata.jwks_uri):
        raise _refused("Requests can only be signed with keys that are registered.")


def _refused(words: str) -> InvalidRequest:
    return InvalidRequest(words, reason="client_metadata")
