"""What a call leaves in the memory of its task, and whether it writes to a public place: pure, from the operation and
what its resource is.

Whether a resource is public the API says; where it does not, it counts as private when it is read and as public when
it is written to, so that rules ask rather than miss.
"""

from collections.abc import Sequence

from valetkey.server.integrations.model import Integration
from valetkey.server.policy.history import Label
from valetkey.server.policy.leaving import leaves_its_readers
from valetkey.server.policy.model import Call

COMMENTS_TAG = "comments"
"""Marks an operation that puts one more comment or message before people."""


def labels_of(call: Call, integration: Integration) -> frozenset[Label]:
    """The labels the answer to this call brings with it.

    A write brings them too: what it answers may show more than was sent.
    """
    scope = integration.scopes.get(call.operation.scope)
    shows = "outsiders" if scope is None else scope.shows
    if shows == "nothing" or "bare" in call.operation.tags:
        return frozenset()
    public = None if call.actual is None else call.actual.public
    found = {Label.PUBLIC if public else Label.PRIVATE}
    # Where only people who were let in can read, only they can have written.
    if shows == "outsiders" and public is not False:
        found.add(Label.UNTRUSTED)
    return frozenset(found)


def comments_of(calls: Sequence[Call]) -> list[str]:
    """Where parts of a call put a comment or a message: ids of their resources, one for each of them."""
    return [
        "" if call.actual is None else call.actual.id
        for call in calls
        if COMMENTS_TAG in call.operation.tags
        for _ in range(call.comments)
    ]


def commented_before(calls: Sequence[Call]) -> list[list[str]]:
    """For each part of a call, where what it writes before its own last comment comments."""
    return [[*comments_of(calls[:number]), *comments_of([call])[1:]] for number, call in enumerate(calls)]


def writes_to_the_public(call: Call) -> bool:
    """Whether what the call carries may be read by people whom nobody let in by name."""
    if leaves_its_readers(call.operation) or call.scopes_needed:
        return True
    if call.operation.access == "read":
        return False
    return call.actual is None or call.actual.public is not False
