"""The kinds of token we sign, as typed values. Raw claims never leave this folder.

`cnf` is the thumbprint of the key the holder has to prove at the door (RFC 9449 section 6.1), None for a bearer token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import NotAuthenticated


class Kind(StrEnum):
    """The JWS `typ` of each kind: what keeps one from passing as another."""

    DELEGATED = "delegation+jwt"
    RESOURCE = "at+jwt"  # RFC 9068: the delegated credential in the layout of RFC 8693
    TASK = "task+jwt"
    API = "api+jwt"
    INTROSPECTION = "token-introspection+jwt"  # RFC 9701
    ID = "JWT"  # OpenID Connect Core section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """A verified delegated credential. The layouts say the same: `agent` is the agent acting now."""

    jti: str
    org: str
    agent: str
    task: str
    delegation: str
    audience: str
    grants: tuple[Grant, ...]
    expires_at: int
    cnf: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskToken:
    """Names a task to the token endpoint; opens nothing upstream. `may_act`: ids of agents it may be passed on to."""

    jti: str
    org: str
    agent: str
    task: str
    expires_at: int
    cnf: str | None = None
    may_act: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """Opens /v1 for one principal, with the scopes it names."""

    jti: str
    org: str
    principal: str
    subject: str
    credential: str
    scopes: frozenset[str]
    expires_at: int
    cnf: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A token of ours of any kind that somebody asks about. It opens nothing; `members` are what it says.

    `client` is the agent (or, for an API token, the principal) it was issued to; `task` is empty for an API token.
    """

    kind: Kind
    jti: str
    org: str
    client: str
    task: str
    audience: str
    grants: tuple[Grant, ...]
    may_act: frozenset[str]
    expires_at: int
    members: Mapping[str, Any]


def presented(kind: Kind, claims: Mapping[str, Any]) -> Presented:
    """Type verified claims of a token of that kind."""
    grants: tuple[Grant, ...] = ()
    task, may_act = "", frozenset[str]()
    if kind in (Kind.DELEGATED, Kind.RESOURCE):
        credential = delegated(claims, kind)
        grants, task = credential.grants, credential.task
    elif kind is Kind.TASK:
        holder = task_token(claims)
        task, may_act = holder.task, holder.may_act
    else:
        api_token(claims)
    return Presented(
        kind=kind,
        jti=str(claims["jti"]),
        org=str(claims["org"]),
        client=str(claims["client_id"]),
        task=task,
        audience=str(claims["aud"]),
        grants=grants,
        may_act=may_act,
        expires_at=int(claims["exp"]),
        members=claims,
    )


def delegated(claims: Mapping[str, Any], kind: Kind = Kind.DELEGATED) -> Delegated:
    """Type verified claims of that layout. A claim of the wrong shape is not a token of ours."""
    try:
        acting = claims if kind is Kind.DELEGATED else claims["act"]
        if acting["uid"] != claims["client_id"]:
            raise ValueError("client_id is not the agent acting now")
        details = claims["authorization_details"]
        grants = tuple(
            Grant(
                integration=_text(d["type"]),
                connection=_text(d.get("connection", "")),
                scopes=frozenset(_text(a) for a in d["actions"]),
                resources=tuple(Resource(name=_text(r)) for r in d["resources"]),
            )
            for d in details
        )
        return Delegated(
            jti=_text(claims["jti"]),
            org=_text(claims["org"]),
            agent=_text(claims["client_id"]),
            task=_text(claims["task"]),
            delegation=_text(claims["delegation"]),
            audience=_text(claims["aud"]),
            grants=grants,
            expires_at=int(claims["exp"]),
            cnf=_key(claims),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotAuthenticated(detail=f"claims: {error!r}") from error


def task_token(claims: Mapping[str, Any]) -> TaskToken:
    """Type verified claims of a task token."""
    try:
        return TaskToken(
            jti=_text(claims["jti"]),
            org=_text(claims["org"]),
            agent=_text(claims["uid"]),
            task=_text(claims["task"]),
            expires_at=int(claims["exp"]),
            cnf=_key(claims),
            may_act=frozenset(_text(one["uid"]) for one in claims.get("may_act", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotAuthenticated(detail=f"claims: {error!r}") from error


def api_token(claims: Mapping[str, Any]) -> ApiToken:
    """Type verified claims of a token for /v1."""
    try:
        return ApiToken(
            jti=_text(claims["jti"]),
            org=_text(claims["org"]),
            principal=_text(claims["uid"]),
            subject=_text(claims["sub"]),
            credential=_text(claims["credential"]),
            scopes=frozenset(_text(claims["scope"]).split()),
            expires_at=int(claims["exp"]),
            cnf=_key(claims),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotAuthenticated(detail=f"claims: {error!r}") from error


def _key(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the key the holder has to prove. A binding of another kind is one nobody here would enforce."""
    if "cnf" not in claims:
        return None
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or cnf.keys() != {"jkt"}:
        raise ValueError("cnf holds something else than jkt")
    return _text(cnf["jkt"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
