"""How to ask an upstream what a name or an id means now, and how to read what it answers.

Responsible for the path to GET and the meaning of the JSON. Refuses to know how the question is sent, with whose
credential, and how long an answer is remembered.
"""

from dataclasses import dataclass
from typing import Any

from valetkey.server.integrations.model import ResourceFacts, ResourceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How to ask the upstream which thing a reference means: a GET, and where its JSON says id, name and owner."""

    kind: str
    by_name: str
    by_id: str
    id: str
    name: str
    owner_id: str = ""

    def segments(self, ref: ResourceRef) -> tuple[str, ...]:
        """The path to GET for `ref`, decoded, below the base path. Raises ValueError for another kind of resource."""
        if ref.kind != self.kind or (ref.name is None) == (ref.id is None):
            raise ValueError(f"not one {self.kind}: {ref}")
        template, value = (self.by_name, ref.name) if ref.name is not None else (self.by_id, ref.id)
        names = iter((value or "").split("/"))
        path = tuple(next(names, "") if part.startswith("{") else part for part in template.split("/")[1:])
        if {"", ".", ".."} & {*path} or next(names, None) is not None:
            raise ValueError(f"not the address of a {self.kind}: {ref}")
        return path

    def facts(self, document: object) -> ResourceFacts | None:
        """Read the upstream's answer; None when it does not plainly name the thing, which nobody may trust then."""
        found = [_pointed(document, p) for p in (self.id, self.name, self.owner_id or self.id)]
        if not all(found):
            return None
        return ResourceFacts(self.kind, name=found[1], id=found[0], owner_id=found[2] if self.owner_id else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """How to ask whose credential this is: a GET, and where its JSON says login and id."""

    path: str
    name: str
    id: str


def _pointed(document: Any, pointer: str) -> str:
    """The text or number at `a.b` in a document, as text; empty when it is not there."""
    for key in pointer.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    if isinstance(document, int) and not isinstance(document, bool):
        return str(document)
    return document if isinstance(document, str) else ""
