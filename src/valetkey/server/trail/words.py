"""A record in plain words: who did what, for whom, and how it was decided. Names come in; nothing is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.audit.sight import Seen, decision_of
from valetkey.server.ids import is_id
from valetkey.server.policy.model import WORDS, Reason

_DONE: Final[Mapping[str, str]] = {
    "call.allowed": "{agent}, on behalf of {user}, was allowed {operation} on {resource} at {integration}.",
    "call.denied": "{agent}, on behalf of {user}, was denied {operation} on {resource} at {integration}. {why}",
    "call.held": "{agent}, on behalf of {user}, has to wait for a person: {operation} on {resource} at {integration}.",
    "call.finished": "The call was answered with {status}; {bytes} bytes, {ended}.",
    "call.unknown": "How the call ended is unknown: the server stopped in between.",
    "token.issued": "{agent}, on behalf of {user}, got a credential for {aud}: {grants}.",
    "token.refused": "{agent}, on behalf of {user}, got no credential. {why}",
    "task.opened": "A task of {agent}, on behalf of {user}, began: {grants}.",
    "delegation.recorded": "{user} lets {agent} do this ({basis}): {grants}.",
    "delegation.narrowed": "{by} left less of a delegation: {grants}.",
    "delegation.extended": "{by} let a delegation last longer.",
    "node.revoked": "{by} ended {node}.",
    "agent.created": "{by} registered the agent {name}.",
    "connection.created": "{by} connected {account} at {integration}.",
    "user.created": "{by} created the user {user} as {role}.",
    "login.succeeded": "{user} signed in.",
    "login.failed": "Somebody failed to sign in as {user}.",
    "writer.started": "A server process began to write.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A record as a person reads it. `links` are a label, an address of a page and what is shown."""

    id: str
    time: str
    event: str
    words: str
    decision: str
    links: tuple[tuple[str, str, str], ...]


def ids_in(seen: Seen) -> set[str]:
    """The ids of users and agents that saying a record may turn into names."""
    texts = [one for value in seen.record.members.values() for one in (value if isinstance(value, list) else [value])]
    return {one for one in texts if isinstance(one, str) and one[:4] in ("usr_", "agt_") and is_id(one)}


def told(seen: Seen, names: Mapping[str, str]) -> Told:
    """Say a record; `names` turns ids into names."""
    record = seen.record
    members = {name: _text(value, names) for name, value in record.members.items()}
    members["why"] = why(seen.says("reason"))
    sentence = _DONE.get(record.event)
    words = _plain(record.event) if sentence is None else sentence.format_map(_Or(members))
    return Told(
        id=record.id,
        time=record.time.replace("T", " ").replace("Z", " UTC"),
        event=record.event,
        words=words,
        decision=decision_of(record),
        links=_links(seen, names),
    )


def why(reason: str) -> str:
    """A reason as a sentence; one this version does not know is shown as it is.

    >>> why("not_delegated"), why("something_newer"), why("")
    ('This was never delegated.', 'The reason: something_newer.', '')
    """
    if not reason:
        return ""
    return WORDS[Reason(reason)] if reason in set(Reason) else f"The reason: {reason}."


def _links(seen: Seen, names: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    pages = {"delegation": "/delegations/{}", "agent": "/agents/{}", "task": "/audit?task={}", "decision": "/audit/{}",
             "connection": "/audit?connection={}", "user": "/audit?user={}"}  # fmt: skip
    values = {name: seen.says(name) for name in pages}
    return tuple(
        (name, pages[name].format(value), names.get(value, value))
        for name, value in values.items()
        # SECURITY: only what has the form of our own ids becomes an address.
        # Guarded by tests/flows/test_audit_page.py::test_hostile_text_is_shown_and_does_nothing
        if value[3:4] == "_" and value.replace("_", "").isascii() and value.replace("_", "").isalnum()
    )


class _Or(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "something unnamed"


def _plain(event: str) -> str:
    noun, _, verb = event.partition(".")
    return f"{noun.replace('-', ' ').capitalize()}: {verb.replace('-', ' ')}."


def _text(value: object, names: Mapping[str, str]) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one, names) for one in value) or "nothing"
    return names.get(value, value) if isinstance(value, str) else str(value)
