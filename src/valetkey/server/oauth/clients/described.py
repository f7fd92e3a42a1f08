"""Reading what a client says of itself in JSON (RFC 7591 section 2), whoever carries it here. Pure.

Reads and bounds; what is allowed is `registration`'s, the same for everyone.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.clients.registration import GRANT_TYPES, checked

LONGEST_URI: Final = 1_024
LONGEST_NAME: Final = 80
SECRET_METHODS: Final = frozenset({"client_secret_basic", "client_secret_post"})
KEY_METHODS: Final = frozenset({"none", "private_key_jwt"})


def metadata_of(said: Mapping[str, object], *, methods: frozenset[str], usual_method: str) -> ClientMetadata:
    """What a client says of itself, checked. `methods` are the ways it may authenticate by. Raises `InvalidRequest`.

    Members this server does not act on are passed over (RFC 7591 section 2); a logo is one of them.
    """
    method = _text(said, "token_endpoint_auth_method", usual_method)
    if method not in methods:
        raise _wrong(f"token_endpoint_auth_method is none of {', '.join(sorted(methods))}")
    if "client_secret" in said or "client_secret_expires_at" in said:
        raise _wrong("a client does not bring its own secret")
    grants = _texts(said, "grant_types", ("authorization_code",))
    if unknown := [grant for grant in grants if grant not in GRANT_TYPES]:
        raise _wrong(f"{unknown[0][:80]!a} is not a grant a client can take up by itself")
    if not set(_texts(said, "response_types", ("code",))) <= {"code"}:
        raise _wrong("the only response type is code")
    uris = _texts(said, "redirect_uris", ())
    if not uris and "authorization_code" in grants:
        raise InvalidRequest("A client that asks for codes has a redirect URI.", reason="redirect_uri")
    jwks, jwks_uri = _keys(said, method)
    client_uri = _text(said, "client_uri", "")
    if client_uri and (not client_uri.startswith("https://") or len(client_uri) > LONGEST_URI):
        raise _wrong("client_uri is not an https address")
    return checked(
        ClientMetadata(
            name=_name(_text(said, "client_name", "")),
            redirect_uris=uris,
            auth_method=method,
            application_type=_text(said, "application_type", "web"),
            grant_types=grants,
            jwks=jwks,
            jwks_uri=jwks_uri,
            client_uri=client_uri,
            scope=_text(said, "scope", "")[:2_048],
            dpop_bound=_flag(said, "dpop_bound_access_tokens"),
            must_push=_flag(said, "require_pushed_authorization_requests"),
            must_sign=_flag(said, "require_signed_request_object"),
        )
    )


def _keys(said: Mapping[str, object], method: str) -> tuple[str, str]:
    """Its key set, or where that is; exactly one of them where keys are how it authenticates."""
    jwks, uri = said.get("jwks"), _text(said, "jwks_uri", "")
    if jwks is not None and not isinstance(jwks, dict):
        raise _wrong("jwks is not a key set")
    if method == "private_key_jwt" and jwks is None and not uri:
        raise _wrong("private_key_jwt needs jwks or jwks_uri")
    return "" if jwks is None else msgspec.json.encode(jwks, order="deterministic").decode(), uri


def _name(text: str) -> str:
    # SECURITY: escaping is the page's; here goes what would still mislead there: newlines, direction marks, length.
    # Guarded by tests/rules/test_client_registration.py::test_ui_03_a_name_is_one_short_printable_line
    if len(text) > LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise _wrong(f"client_name is not one line of at most {LONGEST_NAME} printable characters")
    return text


def _text(said: Mapping[str, object], name: str, usual: str) -> str:
    value = said.get(name, usual)
    if not isinstance(value, str):
        raise _wrong(f"{name} is not text")
    return value


def _texts(said: Mapping[str, object], name: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    value = said.get(name, usual)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _wrong(f"{name} is not a list of texts")
    return tuple(str(item) for item in value)


def _flag(said: Mapping[str, object], name: str) -> bool:
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(f"{name} is neither true nor false")
    return value


def _wrong(why: str) -> InvalidRequest:
    return InvalidRequest(f"This client's description cannot be used: {why}.", reason="client_metadata")
