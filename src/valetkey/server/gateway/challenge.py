"""What a refusal at the gateway tells a client to do next: where to learn who issues credentials, and which scopes.

RFC 6750 section 3, RFC 9728 section 5.1. All scopes of the operation are named at once, so that one answer is enough.
"""

from typing import Final

from valetkey.server.errors import Denied, Expired, NotAuthenticated, ValetkeyError
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.inject import Prepared
from valetkey.server.policy.model import Reason
from valetkey.server.tokens.doors import well_known

RESOURCE_METADATA: Final = "oauth-protected-resource"


def challenge(error: Exception, door: Prepared, method: str, raw_path: bytes, query: bytes) -> str | None:
    """What `WWW-Authenticate` says besides scheme and error, or None for what no other credential would mend."""
    if isinstance(error, NotAuthenticated | Expired):
        said = ""
    elif isinstance(error, Denied) and error.members.get("reason") == Reason.NOT_DELEGATED.value:
        said = 'error="insufficient_scope", '
    else:
        return None
    scopes = " ".join(sorted(_scopes_of(door, method, raw_path, query)))
    where = well_known(door.gateway, RESOURCE_METADATA)
    named = f'scope="{scopes}", ' if scopes else ""
    return f'{said}{named}resource_metadata="{where}"'


def _scopes_of(door: Prepared, method: str, raw_path: bytes, query: bytes) -> frozenset[str]:
    """The scopes the operation needs; none where the target is no operation."""
    try:
        target = canonical(method, raw_path, query, door.profile)
    except ValetkeyError:
        return frozenset()
    match = door.integration.match(target.method, target.segments, target.query)
    return frozenset({match.operation.scope}) | match.scopes_needed if match is not None else frozenset()
