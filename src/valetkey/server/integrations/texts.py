"""Reads the bodies of operations that write text people are shown (tag `text`), for where links in it lead.

Path and method say what such a call does; its body says where who reads it is led, and how many comments a review
holds. It is one unambiguous JSON object or nothing, and goes out as it came. Every other call is read as it is without
this: by the reader beside it, if the API has one, or by its path alone. Refuses to know what else a member means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.links import leads_outside, marked, texts_of
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Reader, Reading, Reads, Refused, Said, Unknown
from valetkey.verify.json import MalformedJson, parse_object

TEXT_TAG: Final = "text"
JSON: Final = "application/json"
MOST_BYTES: Final = 1 << 18


class Texts:
    """One per integration that marks operations so; `other` reads the calls whose path does not say what they do."""

    def __init__(self, operations: Operations, other: Reader | None) -> None:
        self._operations = operations
        self.other = other
        self.most_bytes = MOST_BYTES if other is None else min(MOST_BYTES, other.most_bytes)

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """What the other reader needs; else the body of what writes text."""
        needed = Reads.PATH if self.other is None else self.other.reads(method, segments)
        if needed is not Reads.PATH or method in ("GET", "HEAD", "DELETE"):
            return needed
        match = self._operations.match(method, tuple(segments))
        return Reads.LINKS if match is not None and TEXT_TAG in match.operation.tags else needed

    def __call__(self, said: Said) -> Reading | Unknown | Refused | None:
        """The operation of the path, marked where its text leads outside. `InvalidRequest` for what is no JSON."""
        if self.other is not None and self.other.reads(said.method, said.segments) is not Reads.PATH:
            return self.other(said)
        match = self._operations.match(said.method, said.segments)
        if match is None:
            return None
        members = _object(said.body) if said.body else {}
        match = replace(match, comments=_comments(members))
        leads = any(leads_outside(text) for text in texts_of(members))
        return Reading(
            matches=marked([match]) if leads else (match,),
            query=said.query,
            # SECURITY: it was read as JSON, so whoever reads it next is told to, whatever it was called.
            # Guarded by tests/rules/test_texts.py::test_what_is_sent_is_called_what_it_was_read_as
            content_type=JSON if said.body else said.content_type,
            body=said.body,
        )


def _comments(members: Mapping[str, object]) -> int:
    """How many comments one body holds: those it lists, and the one it says besides."""
    listed = members.get("comments")
    return max(1, len(listed) + bool(members.get("body"))) if isinstance(listed, list) else 1


def _object(body: bytes) -> Mapping[str, object]:
    try:
        return parse_object(body)
    except MalformedJson as error:
        raise InvalidRequest(
            "The body is not one unambiguous JSON object.",
            hint="This call writes text, which is read before it is sent: send it as application/json.",
            detail=str(error),
        ) from None
