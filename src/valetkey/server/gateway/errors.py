"""Refusals at the gateway: problem details that the clients of the API behind it survive.

GitHub's clients read `message` and `documentation_url`; they are added, the rest is the same problem as everywhere.
Some of them show a body as raw text unless it is called `application/json`: who asks for JSON gets that name for it.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from valetkey.server.errors import UpstreamFailed
from valetkey.server.problems import headers_of, problem, status_of
from valetkey.server.tokens.proofs import is_under_dpop

Headers = Sequence[tuple[bytes, bytes]]

_JSON: Final = re.compile(rb"application/(?:json|vnd\.github(?:[.+][a-z0-9.+-]*)?)")
_PLAIN_JSON: Final = (b"content-type", b"application/json; charset=utf-8")


def refusal(
    error: Exception, *, request_id: str, asked: Headers = ()
) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """Status, headers and document of a refusal; `asked` are the headers of the request it answers."""
    document = problem(error, request_id=request_id)
    if isinstance(error, UpstreamFailed):  # whatever of it failed, here it is the API that was called
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


def _wants_json(asked: Headers) -> bool:
    """Whether `Accept` names JSON or GitHub's own kind of it, and not problem details. RFC 9110 section 12.5.1."""
    values = (value for name, value in asked if name.lower() == b"accept")
    kinds = {kind.partition(b";")[0].strip().lower() for value in values for kind in value.split(b",")}
    return b"application/problem+json" not in kinds and any(_JSON.fullmatch(kind) for kind in kinds)
