"""Reading a delegated credential for a person: whose it is and what it says. Opens no door."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from valetkey.server.delegations.model import Grant
from valetkey.server.errors import NotAuthenticated
from valetkey.server.tokens.doors import MAX_LIFETIME
from valetkey.server.tokens.model import Kind, delegated
from valetkey.verify import jws
from valetkey.verify.errors import InvalidToken
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
        claims = jws.verify(token, keys=keys, typ=Kind.DELEGATED.value)
        typed = delegated(claims)
    except (InvalidToken, NotAuthenticated) as error:
        return Explained(valid=False, reason=str(getattr(error, "reason", "claims")))
    chain, user = _roles(claims)
    try:
        jws.check_claims(
            claims,
            issuer=issuer,
            audience=typed.audience,
            now=now,
            leeway=0,
            max_lifetime=MAX_LIFETIME[Kind.DELEGATED],
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


def _roles(claims: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The agents, acting one first, and the user, read outward along `act`."""
    chain = [str(claims.get("sub", ""))]
    act: Any = claims.get("act")
    user = ""
    while isinstance(act, dict):
        user = str(act.get("sub", ""))
        chain.append(user)
        act = act.get("act")
    return tuple(chain[:-1]), user
