"""Refusals at the gateway: problem details that the clients of the API behind it survive.

GitHub's clients read `message` and `documentation_url`; they are added, the rest is the same problem as everywhere.
Some of them show a body as raw text unless it is called `application/json`: who asks for JSON gets that name for it.
Clients of an API that says 200 to its failures (Slack) take any other status for a fault of the network and ask again
for half an hour; what asking again cannot change is told to them as that API tells it. Google's clients show what
stands in `error`, and of a document without it nothing but the status.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from valetkey.server.errors import UpstreamFailed
from valetkey.server.problems import headers_of, problem, status_of
from valetkey.server.tokens.proofs import is_under_dpop

Headers = Sequence[tuple[bytes, bytes]]

_JSON: Final = re.compile(rb"application/(?:json|vnd\.github(?:[.+][a-z0-9.+-]*)?)")
_FINAL: Final = frozenset({400, 401, 403, 404, 409, 410, 422})
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
"""How Google calls them: google/rpc/code.proto."""
_PLAIN_JSON: Final = (b"content-type", b"application/json; charset=utf-8")


def refusal(
    error: Exception, *, request_id: str, asked: Headers = ()
) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """Status, headers and document of a refusal; `asked` are the headers of the request it answers."""
    document = problem(error, request_id=request_id)
    if isinstance(error, UpstreamFailed) and error.was_sent:  # whatever failed, here it is the API that was called
        document["detail"] = "The API behind the gateway did not answer properly."
    document["message"] = f"{document['detail']} {document['hint']}"
    document["documentation_url"] = document["type"]
    kept = headers_of(error, under_dpop=is_under_dpop(asked))
    named = [_PLAIN_JSON if name == b"content-type" and _wants_json(asked) else (name, v) for name, v in kept]
    headers = [
        *named,
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if "decision" in document:
        headers.append((b"x-decision-id", str(document["decision"]).encode()))
    return status_of(error), headers, document


def as_the_api_says_it(
    success: str, status: int, headers: Headers, document: dict[str, Any], *, asked: Headers
) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """The same refusal by 200 and the member `success`, where it is final; the real status is in the document.

    Not for who asks for problem details, and not for who proves a key, whose answer is in the headers of a 401.
    """
    is_final = status in _FINAL or (status == 429 and "retry_after" not in document)  # no waiting mends it
    if not is_final or is_under_dpop(asked) or _asks_for(asked, b"application/problem+json"):
        return status, list(headers), document
    kept = [_PLAIN_JSON if name == b"content-type" else (name, value) for name, value in headers]
    return 200, kept, {success: False, "error": document["code"], **document}


def as_google_says_it(status: int, document: dict[str, Any]) -> dict[str, Any]:
    """The same document with a member `error` as Google's APIs have it; status and all else stay."""
    reason = str(document.get("reason", document["code"]))
    error = {
        "code": status,
        "message": document["message"],
        "status": _STATUSES.get(status, "UNAVAILABLE"),
        "errors": [{"domain": "valetkey", "reason": reason, "message": document["message"]}],
    }
    return {**document, "error": error}


def _asks_for(asked: Headers, kind: bytes) -> bool:
    return any(kind in value.lower() for name, value in asked if name.lower() == b"accept")


def _wants_json(asked: Headers) -> bool:
    """Whether `Accept` names JSON or GitHub's own kind of it, and not problem details. RFC 9110 section 12.5.1."""
    values = (value for name, value in asked if name.lower() == b"accept")
    kinds = {kind.partition(b";")[0].strip().lower() for value in values for kind in value.split(b",")}
    return b"application/problem+json" not in kinds and any(_JSON.fullmatch(kind) for kind in kinds)
