"""What a verified delegated credential says, with the roles named, so that nobody reads `sub` and guesses.

Two layouts exist and the JWS `typ` keeps them apart. `agent` (`delegation+jwt`): `sub` is the agent acting now, `act`
reads outward through the agents it works for to the user. `rfc8693` (`at+jwt`): `sub` is the user, `act` the agent
acting now, nested `act` the earlier ones. Reading one as the other fails. Knows nothing of signatures, keys or clocks.
Specs: docs/delegation-jwt.md, RFC 8693 section 4.1, RFC 9068 section 2.2, RFC 9396 section 2, RFC 9449 section 6.1.
"""

import re
from typing import Final, Literal, NamedTuple, TypeGuard

from valetkey.verify.errors import InvalidToken, Reason

Layout = Literal["agent", "rfc8693"]
TYP: Final[dict[Layout, str]] = {"agent": "delegation+jwt", "rfc8693": "at+jwt"}
MAX_AGENTS: Final = 8

_ACT: Final = frozenset({"sub", "uid", "act"})
_GRANT: Final = frozenset({"type", "connection", "actions", "resources"})
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749 section 3.3
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_ID: Final = "[0-9A-Za-z]{1,64}"
_IDS: Final = re.compile(f"(org_{_ID}) (tok_{_ID}) (tsk_{_ID}) (dlg_{_ID}) usr_{_ID}(?: agt_{_ID})+")


class Principal(NamedTuple):
    """Somebody: a readable name (`user:…`, `agent:…`) and the immutable id that comparisons use."""

    name: str
    uid: str


class Grant(NamedTuple):
    """One line of what is permitted: these scopes on these resources, through this connection of this integration."""

    integration: str
    connection: str | None
    scopes: frozenset[str]
    resources: frozenset[str]


# NOTE: tuples, not dataclasses: frozen all the same, and built four times as fast on the path of every first request.
class Delegated(NamedTuple):
    """A verified delegated credential: who acts, for whom, with what permission, until when, for which API.

    `chain` holds every agent from the first the user delegated to up to the one acting now, which is `agent` as well.
    `grants` decides; `scopes` holds only what is allowed on every listed resource. `cnf` is the thumbprint of the key
    the holder has to prove, or None. Times are seconds since the epoch.
    """

    layout: Layout
    issuer: str
    audience: str
    org: str
    user: Principal
    agent: Principal
    chain: tuple[Principal, ...]
    scopes: frozenset[str]
    grants: tuple[Grant, ...]
    issued_at: int
    expires_at: int
    jti: str
    task: str
    delegation: str
    cnf: str | None


def read_delegated(claims: dict[str, object], layout: Layout) -> Delegated:
    """Return what verified `claims` say in `layout`. Raises `InvalidToken` unless every role and grant is spelled out.

    Issuer, audience and times were compared before, by `jws.check_claims`.
    """
    named = _named(claims)
    user, agents = (named[-1], named[:-1]) if layout == "agent" else (named[0], named[1:])
    if not agents or not user.name.startswith("user:") or not all(a.name.startswith("agent:") for a in agents):
        raise InvalidToken(Reason.LAYOUT, f"sub and act do not name a user and agents in the {layout} layout")
    agent = agents[0]
    if claims.get("client_id") != agent.uid:
        raise InvalidToken(Reason.CLAIM, "client_id is not the agent acting now")
    # One match for all: an id has no space in it, and no other JSON value prints like an id.
    ids = _IDS.fullmatch(
        f"{claims.get('org')} {claims.get('jti')} {claims.get('task')} {claims.get('delegation')} "
        f"{user.uid} {' '.join([named.uid for named in agents])}"
    )
    if ids is None:
        raise InvalidToken(Reason.CLAIM, "an id is missing or malformed")
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if not isinstance(issued_at, int) or not isinstance(expires_at, int):
        raise InvalidToken(Reason.TIME_SHAPE, "iat is missing")
    return Delegated(
        layout=layout,
        issuer=str(claims["iss"]),
        audience=str(claims["aud"]),
        org=ids[1],
        user=user,
        agent=agent,
        chain=agents[::-1],
        scopes=_scopes(claims["scope"]) if "scope" in claims else frozenset(),
        grants=_grants(claims.get("authorization_details")),
        issued_at=issued_at,
        expires_at=expires_at,
        jti=ids[2],
        task=ids[3],
        delegation=ids[4],
        cnf=_key(claims["cnf"]) if "cnf" in claims else None,
    )


def _named(claims: dict[str, object]) -> tuple[Principal, ...]:
    """Everyone named, from `sub` inward through `act`."""
    named: list[Principal] = []
    node: object = claims
    while node is not None:
        if not isinstance(node, dict) or len(named) > MAX_AGENTS:
            raise InvalidToken(Reason.LAYOUT, f"act is not an object, or more than {MAX_AGENTS} agents are nested")
        # SECURITY: `act` names somebody and nothing else; a right or a time in it would be read by someone.
        # Guarded by tests/rules/test_delegated.py::test_an_act_that_says_more_than_who_is_refused
        if node is not claims and not node.keys() <= _ACT:
            raise InvalidToken(Reason.LAYOUT, "act says more than who")
        name, uid = node.get("sub"), node.get("uid")
        if not isinstance(name, str) or not isinstance(uid, str):
            raise InvalidToken(Reason.LAYOUT, "sub or uid is missing")
        if len(name) > 256 or not name.isprintable() or " " in name or name.endswith(":"):
            raise InvalidToken(Reason.LAYOUT, "a name is empty, too long, or not printable")
        if named and named[-1].uid == uid:
            raise InvalidToken(Reason.LAYOUT, "somebody acts for themselves")
        named.append(Principal(name, uid))
        if "act" in node and node["act"] is None:
            raise InvalidToken(Reason.LAYOUT, "act is null")
        node = node.get("act")
    return tuple(named)


def _scopes(scope: object) -> frozenset[str]:
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        raise InvalidToken(Reason.CLAIM, "scope is not a list of scopes parted by single spaces")
    return frozenset(scope.split(" "))


def _grants(details: object) -> tuple[Grant, ...]:
    if type(details) is not list or not details:
        raise InvalidToken(Reason.CLAIM, "authorization_details is missing or empty, so nothing is permitted")
    return tuple([_grant(detail) for detail in details])


def _grant(detail: object) -> Grant:
    # SECURITY: a member we do not know may be a condition that narrows, so it must not be passed over.
    # Guarded by tests/rules/test_delegated.py::test_a_grant_with_a_condition_we_do_not_know_is_refused
    if type(detail) is not dict or not detail.keys() <= _GRANT:
        raise InvalidToken(Reason.CLAIM, "a grant is not an object, or says something unknown")
    integration, connection = detail.get("type"), detail.get("connection")
    if not _is_text(integration) or not (_is_text(connection) or (connection is None and "connection" not in detail)):
        raise InvalidToken(Reason.CLAIM, "a grant's type or connection is not text")
    return Grant(integration, connection, _texts(detail.get("actions")), _texts(detail.get("resources")))


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and value.isprintable()


def _texts(value: object) -> frozenset[str]:
    # SECURITY: an empty list grants nothing, and no reader may take it for everything.
    # Guarded by tests/rules/test_delegated.py::test_a_grant_of_nothing_is_refused
    if type(value) is not list or not value:
        raise InvalidToken(Reason.CLAIM, "a grant's actions or resources are missing or empty")
    for item in value:
        if not _is_text(item):
            raise InvalidToken(Reason.CLAIM, "a grant's actions or resources are not text")
    return frozenset(value)


def _key(cnf: object) -> str:
    # SECURITY: another way of binding is one we would not enforce, so it is refused instead of passed over.
    # Guarded by tests/rules/test_delegated.py::test_a_binding_we_cannot_enforce_is_refused
    if not isinstance(cnf, dict) or cnf.keys() != {"jkt"}:
        raise InvalidToken(Reason.CLAIM, "cnf holds something else than jkt")
    jkt = cnf["jkt"]
    if not isinstance(jkt, str) or not _THUMBPRINT.fullmatch(jkt):
        raise InvalidToken(Reason.CLAIM, "cnf.jkt is not a SHA-256 thumbprint")
    return jkt
