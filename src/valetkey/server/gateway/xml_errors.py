"""The same refusal as clients of S3 read one: an XML document with a code and a sentence.

The codes are those of S3 whose meaning is nearest; what asking again cannot change gets none that they ask again for.
Facts: Amazon S3 API Reference, "Error responses".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from valetkey.server.policy.model import Reason

Headers = Sequence[tuple[bytes, bytes]]

_CODES: Final[Mapping[int, str]] = {
    400: "InvalidRequest",
    401: "InvalidToken",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "OperationAborted",
    429: "SlowDown",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
}


def in_xml(status: int, headers: Headers, document: Mapping[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a refusal. A used-up number of calls is final, so it is an AccessDenied."""
    if document.get("reason") == Reason.OUT_OF_CALLS.value:
        status = 403
    code = "ExpiredToken" if document["code"] == "expired" else _CODES.get(status, "InternalError")
    said = {
        "Code": code,
        "Message": f"{document['detail']} {document['hint']}",
        "Reason": str(document.get("reason", document["code"])),
        "RequestId": str(document.get("decision", document["request_id"])),
    }
    body = "".join(f"<{name}>{escape(_printable(value))}</{name}>" for name, value in said.items())
    kept = [(name, value) for name, value in headers if name not in (b"content-type", b"retry-after") or status != 403]
    kept = [(name, value) for name, value in kept if name != b"content-type"]
    kept.append((b"content-type", b"application/xml"))
    return status, kept, f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'.encode()


def wants_problem_details(asked: Headers) -> bool:
    """Whether the caller reads problem details rather than what the API says."""
    return any(b"application/problem+json" in value.lower() for name, value in asked if name.lower() == b"accept")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
