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
    TASK = "task+jwt"
    API = "api+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """A verified delegated credential in the agent layout."""

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
    """Names a task to the token endpoint; opens nothing upstream."""

    jti: str
    org: str
    agent: str
    task: str
    expires_at: int
    cnf: str | None = None


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


def delegated(claims: Mapping[str, Any]) -> Delegated:
    """Type verified claims. A claim of the wrong shape is not a token of ours."""
    try:
        details = claims["authorization_details"]
        grants = tuple(
            Grant(
                integration=_text(d["type"]),
                connection=_text(d["connection"]),
                scopes=frozenset(_text(a) for a in d["actions"]),
                resources=tuple(Resource(name=_text(r)) for r in d["resources"]),
            )
            for d in details
        )
        return Delegated(
            jti=_text(claims["jti"]),
            org=_text(claims["org"]),
            agent=_text(claims["uid"]),
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
