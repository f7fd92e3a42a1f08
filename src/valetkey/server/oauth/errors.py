"""Refusals in the shape of RFC 6749 section 5.2, with the exact codes RFC 8693 and RFC 8707 name."""

from collections.abc import Mapping
from typing import Any

from valetkey.server import errors
from valetkey.server.errors import ValetkeyError

_BY_REASON: Mapping[str, str] = {
    "unknown_target": "invalid_target",
    "not_delegated_target": "invalid_target",
    "not_delegated": "invalid_scope",
    "above_ceiling": "invalid_scope",
    "not_entitled": "invalid_scope",
    "unsupported_grant_type": "unsupported_grant_type",
    "unauthorized_client": "unauthorized_client",
    "authorization_details": "invalid_authorization_details",
    "scope": "invalid_scope",
    "target": "invalid_target",
    "grant": "invalid_grant",
    "client_metadata": "invalid_client_metadata",
    "redirect_uri": "invalid_redirect_uri",
    "software_statement": "invalid_software_statement",
    "unsupported_response_type": "unsupported_response_type",
    "access_denied": "access_denied",
    "unknown_clients": "access_denied",
    "login_required": "login_required",
    "consent_required": "consent_required",
    "interaction_required": "interaction_required",
    "unmet_authentication_requirements": "unmet_authentication_requirements",
    "request_object": "invalid_request_object",
    "request_uri": "invalid_request_uri",
    "request_uri_not_supported": "request_uri_not_supported",
    "authorization_pending": "authorization_pending",
    "slow_down": "slow_down",
    "expired_token": "expired_token",
    "unknown_user_id": "unknown_user_id",
    "invalid_binding_message": "invalid_binding_message",
}


def oauth_error(error: Exception, *, tried_basic: bool) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """Status, extra headers and body. A bug says `server_error` and nothing of itself."""
    headers: list[tuple[bytes, bytes]] = []
    if not isinstance(error, ValetkeyError):
        return 500, headers, {"error": "server_error", "error_description": "Something went wrong here."}
    reason = str(error.members.get("reason", ""))
    status = 400
    match error:
        case errors.ProofRefused():  # 400 here, 401 at resources (RFC 9449 sections 5 and 8)
            code = error.error
            if error.nonce:
                headers.append((b"dpop-nonce", error.nonce.encode()))
        case errors.NotAuthenticated():
            code, status = "invalid_client", 401
            if tried_basic:
                headers.append((b"www-authenticate", b'Basic realm="valetkey"'))
        case errors.Unavailable():
            code, status = "temporarily_unavailable", 503
            headers.append((b"retry-after", b"2"))
        case errors.UpstreamFailed():  # nobody can say who the client is: no verdict on it, and nothing is given
            code, status = "temporarily_unavailable", 503
            headers.append((b"retry-after", str(errors.UpstreamFailed.retry_after).encode()))
        case errors.TooMany():
            code, status = "temporarily_unavailable", 429
            headers.append((b"retry-after", str(error.retry_after).encode()))
        case _:
            code = _BY_REASON.get(reason, "invalid_request")
    body = {"error": code, "error_description": _ascii(f"{error.public} {error.next_step}")}
    return status, headers, body


def _ascii(text: str) -> str:
    """Only the characters RFC 6749 allows in a description."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" if c in '"\\' else "?" for c in text)
