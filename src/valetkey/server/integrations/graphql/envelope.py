"""The JSON around a document: read so that it has one reading, and written anew.

Responsible for the shape of a GraphQL request over HTTP: one JSON object with `query`, `variables` and `operationName`.
Batches, uploads, stored documents and members nobody described are refused with what to send instead. Refuses to know
what a document says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from valetkey.server.errors import InvalidRequest
from valetkey.verify.json import MalformedJson, parse_object

JSON: Final = "application/json"
_TYPES: Final = frozenset({JSON, f"{JSON};charset=utf-8"})
_MEMBERS: Final = frozenset({"query", "variables", "operationName", "extensions"})
_STORED: Final = frozenset({"id", "documentId", "doc_id", "queryId", "hash", "sha256Hash", "persistedQuery"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a caller sent, undone. `operation` is empty where none is named."""

    query: str
    operation: str
    variables: Mapping[str, Any]


def opened(content_type: str, body: bytes) -> Envelope:
    """Read a body. Raises `InvalidRequest` for all but one plain request."""
    kind = content_type if content_type in _TYPES else content_type.replace(" ", "").lower()
    # SECURITY: what reads a form or parts of one finds another document than who reads JSON.
    # Guarded by tests/attacks/test_graphql.py::test_gq_01_what_is_no_plain_request_never_leaves
    if kind.startswith("multipart/"):
        raise InvalidRequest(
            "Files cannot be uploaded through the gateway: their bytes are not judged.",
            hint="Send the call as application/json, without files.",
        )
    if kind not in _TYPES:
        raise InvalidRequest("A GraphQL call is sent as application/json.", hint=f"Send Content-Type: {JSON}.")
    if body[:1] != b"{" and body.lstrip()[:1] == b"[":
        raise InvalidRequest(
            "Several documents in one call are not taken.",
            hint="Send them one by one, or as several fields of one document.",
        )
    try:
        document = parse_object(body)
    except MalformedJson as error:
        raise InvalidRequest("The body is not one unambiguous JSON object.", detail=str(error)) from None
    if document.get("extensions") or not _MEMBERS.issuperset(document):
        if document.get("extensions") or not _STORED.isdisjoint(document):
            raise InvalidRequest(
                "What a stored document does is not known here, and extensions are not read.",
                hint="Send the whole document as `query`, and turn persisted queries off.",
            )
        unknown = sorted(map(repr, document.keys() - _MEMBERS))
        raise InvalidRequest(
            f"The call has members that are not read: {', '.join(unknown)[:200]}.",
            hint="Send `query`, `variables` and `operationName`.",
        )
    query, operation, variables = document.get("query"), document.get("operationName"), document.get("variables")
    if not isinstance(query, str) or not query.strip():
        raise InvalidRequest("There is no document.", hint="Send it as `query`.")
    if operation is not None and not isinstance(operation, str):
        raise InvalidRequest("`operationName` is no text.")
    if variables is not None and not isinstance(variables, dict):
        raise InvalidRequest("`variables` is no object.")
    return Envelope(query, operation or "", variables or {})


def sealed(head: bytes, variables: Mapping[str, Any]) -> bytes:
    """The body to send: what `head_of` says of the document, and the variables it was judged with."""
    return head + msgspec.json.encode(variables) + b"}"


def head_of(text: str, operation: str) -> bytes:
    """The beginning of a body: the printed document and the operation it runs."""
    members = {"query": text, "operationName": operation} if operation else {"query": text}
    return msgspec.json.encode(members)[:-1] + b',"variables":'
