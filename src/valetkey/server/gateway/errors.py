"""Refusals at the gateway: problem details that the clients of the API behind it survive.

GitHub's clients read `message` and `documentation_url`; they are added, the rest is the same problem as everywhere.
"""

from typing import Any

from valetkey.server.problems import headers_of, problem, status_of


def refusal(error: Exception, *, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """Status, headers and document of a refusal."""
    document = problem(error, request_id=request_id)
    document["message"] = f"{document['detail']} {document['hint']}"
    document["documentation_url"] = document["type"]
    headers = [
        *headers_of(error),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if "decision" in document:
        headers.append((b"x-decision-id", str(document["decision"]).encode()))
    return status_of(error), headers, document
