"""Reading a delegated credential for a person: whose it is and what it says. Opens no door."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from valetkey.server.delegations.model import Grant
from valetkey.server.errors import NotAuthenticated
from valetkey.server.tokens.doors import MAX_LIFETIME
from valetkey.server.tokens.model import Kind, delegated
from valetkey.verify import jws
from valetkey.verify.errors import InvalidToken, Reason
from valetkey.verify.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a token says. `claims` is None when its signature does not hold: then nothing it says is repeated."""

    valid: bool
    reason: str
    claims: Mapping[str, Any] | None = None
    chain: tuple[str, ...] = ()
    user: str = ""
    grants: tuple[Grant, ...] = ()
    expires_at: int = 0


def explained(token: str, keys: Mapping[str, PublicKey], *, issuer: str, now: float) -> Explained:
    """Explain a delegated credential; an expired one still says what it was."""
    try:
        kind, claims = of_either_layout(token, keys)
        typed = delegated(claims, kind)
    except (InvalidToken, NotAuthenticated) as error:
        return Explained(valid=False, reason=str(getattr(error, "reason", "claims")))
    chain, user = _roles(kind, claims)
    try:
        jws.check_claims(
            claims,
            issuer=issuer,
            audience=typed.audience,
            now=now,
            leeway=0,
            max_lifetime=MAX_LIFETIME[kind],
        )
        reason = ""
    except InvalidToken as error:
        reason = str(error.reason)
    return Explained(
        valid=not reason,
        reason=reason,
        claims=claims,
        chain=chain,
        user=user,
        grants=typed.grants,
        expires_at=typed.expires_at,
    )


def of_either_layout(token: str, keys: Mapping[str, PublicKey]) -> tuple[Kind, Mapping[str, Any]]:
    """The layout of a delegated credential, which its `typ` fixes, and its claims. Raises `InvalidToken`."""
    try:
        return Kind.DELEGATED, jws.verify(token, keys=keys, typ=Kind.DELEGATED.value)
    except InvalidToken as error:
        if error.reason is not Reason.TYP:
            raise
    return Kind.RESOURCE, jws.verify(token, keys=keys, typ=Kind.RESOURCE.value)


def _roles(kind: Kind, claims: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The agents, acting one first, and the user: `sub`, then along `act`; which end the user is says the layout."""
    named = [str(claims.get("sub", ""))]
    act: Any = claims.get("act")
    while isinstance(act, dict):
        named.append(str(act.get("sub", "")))
        act = act.get("act")
    if kind is Kind.RESOURCE:
        return tuple(named[1:]), named[0]
    return tuple(named[:-1]), named[-1]
