"""What a record is about, who may see it, and what it is found by. Pure: one record and the one it follows go in.

An outcome names its decision and nothing else; the end of a delegation names that delegation. Whose it is then stands
in an earlier record, its `origin`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from valetkey.server.audit.model import AuditRecord, Event
from valetkey.server.ids import is_id

KINDS: Final[Mapping[str, str]] = {
    "usr_": "user",
    "agt_": "agent",
    "tsk_": "task",
    "dlg_": "delegation",
    "con_": "connection",
}
"""Whose ids a record is found by."""

_DECIDED: Final = {
    Event.CALL_ALLOWED: "allowed", Event.TOKEN_ISSUED: "allowed", Event.LEASE_OPENED: "allowed",
    Event.CALL_DENIED: "denied", Event.TOKEN_REFUSED: "denied", Event.LEASE_REFUSED: "denied",
    Event.CALL_HELD: "held",
}  # fmt: skip
DECISIONS: Final = ("allowed", "denied", "held")
OUTCOMES: Final = frozenset({Event.CALL_FINISHED.value, Event.CALL_UNKNOWN.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks: the whole organization, or one person with the agents they own."""

    org: str
    user: str = ""
    agents: frozenset[str] = frozenset()
    sees_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for; every member that is not empty must hold. Times as records write them, `until` excluded."""

    since: str = ""
    until: str = ""
    event: str = ""
    user: str = ""
    agent: str = ""
    task: str = ""
    delegation: str = ""
    connection: str = ""
    integration: str = ""
    decision: str = ""
    reason: str = ""

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """All but the times, as kind and value."""
        named = ("event", "user", "agent", "task", "delegation", "connection", "integration", "decision", "reason")
        return tuple((kind, value) for kind in named if (value := getattr(self, kind)))


@dataclass(frozen=True, slots=True)
class Seen:
    """A record with the one that says whose it is, where it does not say so itself."""

    record: AuditRecord
    origin: AuditRecord | None = None

    @property
    def id(self) -> str:
        return self.record.id

    def says(self, name: str) -> str:
        """A member that is text; the empty text where there is none."""
        value = self.record.members.get(name)
        return value if isinstance(value, str) else ""

    @property
    def person(self) -> str:
        """On whose behalf: the user the record names, or its origin does."""
        for record in (self.record, self.origin):
            if record is not None and record.org == self.record.org:
                for name in ("user", "owner"):
                    if isinstance(value := record.members.get(name), str) and value:
                        return value
        return ""


def follows(record: AuditRecord) -> tuple[str, str] | None:
    """Where it is said whose a record is: ("record", id), or the kind and id of the node it ends; None: in itself."""
    for name, kinds in (("decision", ("aud_",)), ("node", tuple(KINDS)), ("delegation", ("dlg_",))):
        value = record.members.get(name)
        if isinstance(value, str) and is_id(value) and value[:4] in kinds and "user" not in record.members:
            return ("record", value) if value[:4] == "aud_" else (KINDS[value[:4]], value)
    return None


def may_see(viewer: Viewer, seen: Seen) -> bool:
    """Whether `viewer` may see this record: the one rule of the API, the pages and the proofs.

    Who does not see the whole organization sees what was done on their behalf, and what happened to their agents
    where that names nobody else.
    """
    record = seen.record
    # SECURITY: another organization's record is nobody's here, whatever ids it names.
    # Guarded by tests/rules/test_sight.py::test_another_organizations_record_is_seen_by_nobody
    if viewer.sees_all:
        return record.org in (viewer.org, "")
    if not viewer.user or record.org != viewer.org:
        return False
    if person := seen.person:
        return person == viewer.user
    named = frozenset(value for kind, value in _named(record) if kind in ("user", "agent"))
    return bool(named & (viewer.agents | {viewer.user}))


def is_wanted(wanted: Wanted, seen: Seen) -> bool:
    """Whether the record is one of those looked for, by its own line."""
    time = seen.record.time
    if (wanted.since and time < wanted.since) or (wanted.until and time >= wanted.until):
        return False
    return set(wanted.marks) <= set(about(seen))


def about(seen: Seen) -> Iterator[tuple[str, str]]:
    """Everything the record is found by, as kind and value; some of it twice."""
    record = seen.record
    yield "event", record.event
    if decision := decision_of(record):
        yield "decision", decision
    for name in ("integration", "reason"):
        if value := seen.says(name):
            yield name, value
    yield from _named(record)
    if seen.origin is not None and seen.origin.org == record.org:
        yield from _named(seen.origin)


def decision_of(record: AuditRecord) -> str:
    """`allowed`, `denied` or `held`; empty for what decides nothing."""
    return _DECIDED.get(record.event, "")  # type: ignore[call-overload, no-any-return] # a StrEnum is its text


def mark(org: str, kind: str, value: str) -> int:
    """What the index holds instead of kind and value: 63 bits of a digest. Two may meet; the line decides.

    >>> mark("org_a", "event", "call.denied") == mark("org_b", "event", "call.denied")
    False
    """
    return int.from_bytes(sha256("\x00".join((org, kind, value)).encode()).digest()[:8], "big") >> 1


def names(record: AuditRecord, kind: str, value: str) -> bool:
    """Whether the record names this very thing."""
    return value in record.members.values() and (kind, value) in _named(record)


def _named(record: AuditRecord) -> Iterator[tuple[str, str]]:
    for value in record.members.values():
        for text in value if isinstance(value, list) else (value,):
            if not isinstance(text, str):
                continue
            if (kind := KINDS.get(text[:4])) is not None and is_id(text):
                yield kind, text
            elif ":" in text and (connection := text.partition(":")[0].partition("/")[2])[:4] == "con_":
                yield "connection", connection  # of a grant, as text
                yield "integration", text.partition("/")[0]
