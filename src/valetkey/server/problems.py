"""Every refusal as RFC 9457 problem details: one status and one document per class, the same at every HTTP door."""

import logging
from collections.abc import Mapping
from typing import Any

from valetkey.server import errors
from valetkey.verify.dpop import ALGORITHMS

log = logging.getLogger("valetkey")

DOCS = "https://valetkey.dev/problems/"

STATUS: Mapping[type[errors.ValetkeyError], int] = {
    errors.InvalidRequest: 400,
    errors.NotAuthenticated: 401,
    errors.ProofRefused: 401,
    errors.Expired: 401,
    errors.Denied: 403,
    errors.Revoked: 403,
    errors.ApprovalRequired: 403,
    errors.ConnectionRequired: 403,
    errors.ConsentRequired: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooMany: 429,
    errors.UpstreamFailed: 502,
    errors.Unavailable: 503,
}

_INTERNAL = "Something went wrong here; nothing was done."


def status_of(error: Exception) -> int:
    """The HTTP status of a refusal; 500 for what is a bug."""
    return STATUS.get(type(error), 500) if isinstance(error, errors.ValetkeyError) else 500


def problem(error: Exception, *, request_id: str) -> dict[str, Any]:
    """The document. A bug says one fixed sentence and nothing of itself."""
    status = status_of(error)
    if status == 500 or not isinstance(error, errors.ValetkeyError):
        return {
            "type": DOCS + "internal",
            "title": _INTERNAL,
            "status": 500,
            "code": "internal",
            "detail": _INTERNAL,
            "hint": errors.ValetkeyError.hint,
            "request_id": request_id,
        }
    return {
        "type": DOCS + error.code,
        "title": (type(error).__doc__ or "").strip().splitlines()[0],
        "status": status,
        "code": error.code,
        "detail": error.public,
        "hint": error.next_step,
        "request_id": request_id,
        **error.members,
    }


def headers_of(error: Exception, *, under_dpop: bool = False) -> list[tuple[bytes, bytes]]:
    """What a refusal carries besides its document; `under_dpop` when the request used that scheme (RFC 9449, 7.1)."""
    kept = [(b"content-type", b"application/problem+json; charset=utf-8"), (b"cache-control", b"no-store")]
    waiting = errors.TooMany | errors.Unavailable | errors.ApprovalRequired
    if isinstance(error, waiting) and error.retry_after is not None:
        kept.append((b"retry-after", str(error.retry_after).encode()))
    elif isinstance(error, errors.UpstreamFailed) and not error.was_sent:
        kept.append((b"retry-after", str(error.members["retry_after"]).encode()))
    if isinstance(error, errors.ProofRefused):
        kept.append((b"www-authenticate", _dpop_challenge(error.error)))
        if error.nonce:
            kept.append((b"dpop-nonce", error.nonce.encode()))
    elif isinstance(error, errors.NotAuthenticated | errors.Expired):
        bearer = b'Bearer realm="valetkey", error="invalid_token"'
        kept.append((b"www-authenticate", _dpop_challenge("invalid_token") if under_dpop else bearer))
    return kept


def _dpop_challenge(error: str) -> bytes:
    return f'DPoP realm="valetkey", error="{error}", algs="{" ".join(ALGORITHMS)}"'.encode()


def log_bug(error: Exception, request_id: str) -> None:
    """The type and where it happened; never the message, which may hold what a request held."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    log.error("bug %s: %s at %s", request_id, type(error).__name__, " > ".join(frames[-6:]))
