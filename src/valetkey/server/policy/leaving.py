"""Whether what a call carries may come to people outside the organization. Pure; knows no rule and no history.

Where an API does not say who can read a place, it counts as open to everybody: rules ask rather than miss.
"""

from collections.abc import Set
from typing import Final

from valetkey.server.integrations.model import Operation, ResourceFacts

_LEAVES: Final = frozenset({"outlives", "access", "mints", "publishes", "runs", "searches"})


def may_leave(operation: Operation) -> bool:
    """Whether any call of it could: what only reads one thing carries nothing anywhere."""
    return operation.access == "write" or "searches" in operation.tags


def leaves_its_readers(operation: Operation) -> bool:
    """Whether it carries things to where the resource's own readers are not the bound: webhooks, keys, searches."""
    return bool(operation.tags & _LEAVES) and may_leave(operation)


def leaves(operation: Operation, scopes_needed: Set[str], actual: ResourceFacts | None) -> bool:
    """Whether this call does. A further scope it needs is for something beside its resource."""
    if leaves_its_readers(operation):
        return True
    if operation.access == "read":
        return False
    return bool(scopes_needed) or actual is None or actual.outside is not False
