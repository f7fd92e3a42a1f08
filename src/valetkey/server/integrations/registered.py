"""A resource server of somebody's own as a value, and as an entry of the catalogue. Frozen; pure.

It verifies the credentials itself, so there is nothing to connect, nothing to inject and no operation to recognise: a
scope contains one pretended operation of its own name, which is what makes one scope comparable with another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Injection, Integration, Layout, Scope, Tier
from valetkey.server.integrations.operations import compile_operations

MOST_SCOPES = 100
LONGEST_AUDIENCE = 512
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SCOPE: Final = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?|\[::1\](?::[1-9][0-9]{0,4})?")
_USUAL_PORTS: Final = {"https": ":443", "http": ":80"}
_RESERVED: Final = frozenset({"valetkey", "openid", "mcp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScope:
    """One scope: `sentence` completes "you may …"."""

    name: str
    sentence: str
    tier: Tier = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceServer:
    """`service_account` may introspect for it; `agent` is the agent as which it acts itself. Both may be absent."""

    id: str
    org: str
    name: str
    title: str
    audience: str
    layout: Layout
    algorithm: str
    scopes: tuple[OwnScope, ...]
    service_account: str | None
    agent: str | None
    created_by: str
    created_at: int

    def is_spoken_for_by(self, client: str) -> bool:
        """Whether that client may ask what a credential for this server says."""
        return client in (self.service_account, self.agent)


def integration_of(server: ResourceServer) -> Integration:
    """The server as the catalogue knows it."""
    return Integration(
        name=server.name,
        title=server.title,
        audience=server.audience,
        base_url=server.audience,
        hosts=frozenset(),
        scopes={s.name: _scope(s) for s in server.scopes},
        operations=compile_operations(()),
        token_positions=(),
        injection=Injection(header="", value=""),
        org=server.org,
        layout=server.layout,
        algorithm=server.algorithm,
    )


def _scope(scope: OwnScope) -> Scope:
    return Scope(
        name=scope.name,
        sentence=scope.sentence,
        tier=scope.tier,
        reversible=scope.tier == "read",
        outlives=False,
        resource_kind="",
        operations=frozenset({scope.name}),
    )


def check_name(name: str, built_in: Mapping[str, Integration]) -> None:
    """Raises `InvalidRequest` unless the name can stand in a grant and is no integration's."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest("A resource server's name has 1 to 32 lower-case letters, digits, dashes or underscores.")
    if name in built_in or name in _RESERVED:
        raise InvalidRequest(f"{name} is the name of something else here.", hint="Choose another name.")


def check_audience(audience: str) -> None:
    """Raises `InvalidRequest` unless it is one absolute https URI (or http on loopback) with one spelling.

    RFC 8707 section 2: absolute, without a fragment; without a query, which a request would have to repeat.
    """
    try:
        parts = urlsplit(audience)
        scheme, netloc, host, _ = parts.scheme, parts.netloc, parts.hostname or "", parts.port
    except ValueError as error:
        raise _no_audience() from error
    plain = audience.isascii() and len(audience) <= LONGEST_AUDIENCE and audience == f"{scheme}://{netloc}{parts.path}"
    spelled = _HOST.fullmatch(netloc) is not None and not netloc.endswith(_USUAL_PORTS.get(scheme, ""))
    path = _PATH.fullmatch(parts.path) is not None and not {".", ".."} & {*parts.path.split("/")}
    if not plain or not spelled or not path or (scheme != "https" and not (scheme == "http" and host in LOOPBACK)):
        raise _no_audience()


def _no_audience() -> InvalidRequest:
    return InvalidRequest(
        "The audience is an absolute https address (http only on loopback), lower-case, without query or fragment.",
        hint="For example https://billing.acme.com",
    )


def check_scopes(scopes: tuple[OwnScope, ...]) -> None:
    """Raises `InvalidRequest` unless there are some, each named once and said in one printable sentence."""
    if not 1 <= len(scopes) <= MOST_SCOPES or len({s.name for s in scopes}) != len(scopes):
        raise InvalidRequest(f"A resource server has between 1 and {MOST_SCOPES} scopes, each named once.")
    for scope in scopes:
        if _SCOPE.fullmatch(scope.name) is None or scope.name in _RESERVED:
            raise InvalidRequest(f"{scope.name[:64]!r} is not a scope's name.", hint="For example invoices:read")
        if not 1 <= len(scope.sentence.strip()) <= 200 or not scope.sentence.isprintable():
            raise InvalidRequest(f"Say in one sentence what {scope.name} allows, in at most 200 printable characters.")


def same_audience(audience: str) -> str:
    """What two spellings of one audience share: one trailing slash says nothing.

    >>> same_audience("https://billing.acme.com/") == same_audience("https://billing.acme.com")
    True
    """
    return audience.removesuffix("/")
