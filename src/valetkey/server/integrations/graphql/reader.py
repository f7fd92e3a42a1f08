"""Reads the calls of an API that speaks GraphQL at one path.

1. open the envelope, 2. read the document, 3. give its variables their values, 4. say which operations that is,
5. write the body anew. Step 2, and what of 4 needs no variables, is remembered by the whole text: clients send the same
documents again and again.
"""

import re
from collections.abc import Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.graphql import document, envelope
from valetkey.server.integrations.graphql.document import Document
from valetkey.server.integrations.graphql.judge import Asked, Unlisted, matches, understood
from valetkey.server.integrations.graphql.table import Table
from valetkey.server.integrations.links import leads_outside, marked, texts_of
from valetkey.server.integrations.reading import Reading, Reads, Said, Unknown

_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_REMEMBERED: Final = 512
_LONGEST_REMEMBERED: Final = 8192  # characters: what is remembered stays below a few dozen megabytes

Understood = tuple[Document, tuple[Asked, ...] | Unlisted, bytes, bool]
"""A document, what it may be, the head of its body, and whether its own text leads outside."""


def _said(text: str) -> tuple[str, ...]:
    """The document, and what it says once its escapes are read."""
    return (text,) if "\\" not in text else (text, _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))


class GraphQL:
    """One per integration. What it remembers never changes an answer."""

    most_bytes = 1 << 18

    def __init__(self, path: tuple[str, ...], table: Table) -> None:
        self._path = path
        self.table = table
        self._known: dict[tuple[str, str], Understood] = {}

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """The one path by its body; every other is what its path says."""
        if tuple(segments) != self._path:
            return Reads.PATH
        return Reads.BODY if method == "POST" else Reads.TARGET

    def __call__(self, said: Said) -> Reading | Unknown:
        """What the document does. `InvalidRequest` for what has two readings."""
        if said.method != "POST" or said.query:
            raise InvalidRequest(
                "A GraphQL call is a POST whose document stands in the body, and nowhere else.",
                hint=f"Send POST /{'/'.join(self._path)} without a query string.",
            )
        opened = envelope.opened(said.content_type, said.body)
        read, asked, head, leads = self._understood(opened.query, opened.operation)
        variables = read.variables(opened.variables)
        found = asked if isinstance(asked, Unlisted) else matches(asked, variables, self.table)
        if isinstance(found, Unlisted) or not found:
            return Unknown(found.why if isinstance(found, Unlisted) else "")
        writes = any(match.operation.access == "write" for match in found)
        if writes and (leads or any(map(leads_outside, texts_of(variables)))):
            found = marked(found)
        # NOTE: what was given goes out, not the defaults: they stand in the document.
        body = envelope.sealed(head, opened.variables)
        return Reading(matches=found, query=(), content_type=envelope.JSON, body=body)

    def _understood(self, text: str, operation: str) -> Understood:
        # SECURITY: by the text itself and the operation it runs, so that no two documents are ever taken for one.
        # Guarded by tests/attacks/test_graphql.py::test_two_documents_are_never_taken_for_one
        known = self._known.get((text, operation))
        if known is not None:
            return known
        read = document.read(text, operation)
        leads = any(map(leads_outside, _said(read.text)))
        found = read.without_fields(), understood(read, self.table), envelope.head_of(read.text, read.name), leads
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[text, operation] = found
        return found
