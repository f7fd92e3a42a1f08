"""Claims for each kind of token, and the two halves of signing: what will be signed, then the signature.

They are apart because the decision record carries the digest of what will be signed and is durable before the
signature exists. Layout: design of the delegated credential, docs/delegation-jwt.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from valetkey.server.delegations.model import Grant, common_scopes
from valetkey.server.tokens.keys import SigningKey
from valetkey.server.tokens.model import Kind
from valetkey.verify import jws

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A token that lacks only its signature."""

    key: SigningKey
    signing_input: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the signing input, in hexadecimal: what the audit keeps of it."""
        return hashlib.sha256(self.signing_input).hexdigest()

    def signed(self) -> str:
        """The token."""
        return jws.compact(self.signing_input, self.key.sign(self.signing_input))


def prepare(key: SigningKey, kind: Kind, claims: Mapping[str, Any]) -> Unsigned:
    """Fix what will be signed."""
    return Unsigned(key, jws.signing_input(key.alg, key.kid, kind.value, _encode(claims)))


def delegated_claims(
    *,
    issuer: str,
    org: str,
    chain: Sequence[tuple[str, str]],
    user: tuple[str, str],
    audience: str,
    granted: Mapping[str, Any],
    task: str,
    delegation: str,
    jti: str,
    now: int,
    expires_at: int,
    jkt: str | None = None,
) -> dict[str, Any]:
    """The agent layout: `sub` is the acting agent, `act` reads outward to the user. Pairs are (name, id).

    `granted` is what `granted_members` says of the grants.
    """
    act: dict[str, Any] = {"sub": user[0], "uid": user[1]}
    for name, uid in reversed(chain[1:]):
        act = {"sub": name, "uid": uid, "act": act}
    return {
        "iss": issuer,
        "org": org,
        "sub": chain[0][0],
        "act": act,
        "exp": expires_at,
        "aud": audience,
        "iat": now,
        "jti": jti,
        "uid": chain[0][1],
        "client_id": chain[0][1],
        "task": task,
        "delegation": delegation,
        **granted,
        **bound_to(jkt),
    }


def bound_to(jkt: str | None) -> dict[str, Any]:
    """The claim that binds a token to the key of this thumbprint; nothing where the request proved none."""
    return {} if jkt is None else {"cnf": {"jkt": jkt}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """How and when the person proved themselves. `amr` as RFC 8176 spells it."""

    auth_time: int
    acr: str
    amr: tuple[str, ...]

    def claims(self) -> dict[str, Any]:
        """The members of RFC 9068 section 2.2.1 and OpenID Connect Core section 2."""
        return {"auth_time": self.auth_time, "acr": self.acr, "amr": list(self.amr)}


def resource_claims(
    *,
    issuer: str,
    org: str,
    chain: Sequence[tuple[str, str]],
    user: tuple[str, str],
    audience: str,
    granted: Mapping[str, Any],
    task: str,
    delegation: str,
    jti: str,
    now: int,
    expires_at: int,
    jkt: str | None = None,
) -> dict[str, Any]:
    """The layout of RFC 8693 section 4.1 and RFC 9068: `sub` is the user, `act` the agent acting now, then earlier."""
    act: dict[str, Any] | None = None
    for name, uid in reversed(chain):
        act = {"sub": name, "uid": uid} | ({"act": act} if act is not None else {})
    return {
        "iss": issuer,
        "org": org,
        "sub": user[0],
        "uid": user[1],
        "act": act,
        "exp": expires_at,
        "aud": audience,
        "iat": now,
        "jti": jti,
        "client_id": chain[0][1],
        "task": task,
        "delegation": delegation,
        **bound_to(jkt),
        **granted,
    }


def granted_members(grants: Sequence[Grant]) -> dict[str, Any]:
    """What was granted, as claims and as members of the answer (RFC 9396 section 7, RFC 6749 section 5.1)."""
    members: dict[str, Any] = {"authorization_details": [detail(g) for g in grants]}
    scopes = common_scopes(grants)
    return members | ({"scope": " ".join(sorted(scopes))} if scopes else {})


def detail(grant: Grant) -> dict[str, Any]:
    """One grant as an RFC 9396 authorization detail."""
    return {
        "type": grant.integration,
        **({"connection": grant.connection} if grant.connection else {}),
        "actions": sorted(grant.scopes),
        "resources": [r.name for r in grant.resources],
    }


def task_claims(
    *,
    issuer: str,
    org: str,
    agent: tuple[str, str],
    task: str,
    delegation: str,
    jti: str,
    now: int,
    expires_at: int,
    jkt: str | None = None,
    may_act: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """A task token: our issuer is the audience; it has no upstream rights.

    `may_act` (RFC 8693 section 4.4) names the agents the person lets it be passed on to. There may be several, so it
    is a list; nobody but this server reads it.
    """
    may = [{"iss": issuer, "sub": name, "uid": uid} for name, uid in may_act]
    return {
        **({"may_act": may} if may else {}),
        "iss": issuer,
        "aud": issuer,
        "org": org,
        "sub": agent[0],
        "uid": agent[1],
        "client_id": agent[1],
        "task": task,
        "delegation": delegation,
        "jti": jti,
        "iat": now,
        "exp": expires_at,
        **bound_to(jkt),
    }


def api_claims(
    *,
    issuer: str,
    audience: str,
    org: str,
    principal: tuple[str, str],
    credential: str,
    scopes: Sequence[str],
    jti: str,
    now: int,
    expires_at: int,
    jkt: str | None = None,
) -> dict[str, Any]:
    """A token for /v1."""
    return {
        "iss": issuer,
        "aud": audience,
        "org": org,
        "sub": principal[0],
        "uid": principal[1],
        "client_id": principal[1],
        "credential": credential,
        "scope": " ".join(sorted(scopes)),
        "jti": jti,
        "iat": now,
        "exp": expires_at,
        **bound_to(jkt),
    }
