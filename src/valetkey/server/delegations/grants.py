"""Grant text, the same everywhere: `integration[/connection]:scope[,scope]@resource[,resource]`.

Split at the first `:` and the first `@`; `*` only as a whole last segment.

>>> parse_grant("github:repo:read,issues:write@acme-corp/backend").scopes == {"repo:read", "issues:write"}
True
"""

import re
from collections.abc import Iterable, Mapping

from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import InvalidRequest

_INTEGRATION = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_CONNECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
_RESOURCE = re.compile(r"[A-Za-z0-9_.#@-]+(?:/[A-Za-z0-9_.#@-]+)*")
_DATABASES = frozenset({"postgres", "mariadb"})
"""Whose resources are `schema.table` and `schema.*`."""
LONGEST_GRANT = 4096
EXAMPLE = "github:repo:read@acme-corp/backend"


def parse_grant(text: str) -> Grant:
    """Parse one line. The connection is a name or an id as written; the caller binds it. Raises `InvalidRequest`."""
    head, colon, rest = text.partition(":")
    scope_text, at, resource_text = rest.partition("@")
    integration, slash, connection = head.partition("/")
    if not colon or not at or len(text) > LONGEST_GRANT:
        raise _malformed(text, "it has no scope or no resource")
    if _INTEGRATION.fullmatch(integration) is None or (slash and _CONNECTION.fullmatch(connection) is None):
        raise _malformed(text, f"{head!r} is not an integration, or integration/connection")
    scopes, resources = scope_text.split(","), resource_text.split(",")
    for scope in scopes:
        if _SCOPE.fullmatch(scope) is None:
            raise _malformed(text, f"{scope!r} is not a scope")
    for resource in resources:
        check_resource_name(resource, text, dotted=integration in _DATABASES)
    if len(set(scopes)) != len(scopes) or len(set(resources)) != len(resources):
        raise _malformed(text, "it names something twice")
    return Grant(
        integration=integration,
        connection=connection,
        scopes=frozenset(scopes),
        resources=tuple(Resource(name=name) for name in resources),
    )


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """Parse several lines."""
    return tuple(parse_grant(text) for text in texts)


def check_resource_name(name: str, text: str, *, dotted: bool = False) -> None:
    """`*`, `owner/*` (or, `dotted`, `schema.*`), or plain segments; no dot segments, no wildcard anywhere else."""
    stem = "" if name == "*" else name.removesuffix(".*" if dotted else "/*")
    if name == "*":
        return
    if _RESOURCE.fullmatch(stem) is None or any(part in (".", "..") for part in stem.split("/")):
        raise _malformed(text, f"{name!r} is not a resource")


def grant_text(grant: Grant, names: Mapping[str, str] | None = None) -> str:
    """The line as text; `names` maps connection ids to what a person calls them."""
    connection = (names or {}).get(grant.connection, grant.connection)
    head = grant.integration + (f"/{connection}" if connection else "")
    return f"{head}:{','.join(sorted(grant.scopes))}@{','.join(r.name for r in grant.resources)}"


def _malformed(text: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"The grant {text[:120]!r} cannot be read: {why}.", hint=f"Write it like {EXAMPLE}")
