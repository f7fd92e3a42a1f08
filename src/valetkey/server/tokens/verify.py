"""Verifying what we signed, at the door it was signed for. The cryptography only; permission is decided elsewhere."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from valetkey.server.clock import Clock
from valetkey.server.errors import Expired, NotAuthenticated
from valetkey.server.tokens.doors import MAX_LIFETIME, OPENS, Door, api_audience
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.model import (
    ApiToken,
    Delegated,
    Kind,
    Presented,
    TaskToken,
    api_token,
    delegated,
    presented,
    task_token,
)
from valetkey.verify import jws
from valetkey.verify.errors import ExpiredToken, InvalidToken, Reason

_REMEMBERED = 16_384
_ASKED_ABOUT = (Kind.DELEGATED, Kind.RESOURCE, Kind.TASK, Kind.API)

T = TypeVar("T", Delegated, TaskToken, ApiToken)


class Verifying:
    """One per process. A token seen before costs a look-up and a comparison of clocks, nothing else."""

    def __init__(self, keys: Keys, clock: Clock, issuer: str) -> None:
        self._keys = keys
        self._clock = clock
        self._issuer = issuer
        self._known: dict[tuple[Door, str, str], Delegated | TaskToken | ApiToken] = {}

    async def at_gateway(self, token: str, audience: str) -> Delegated:
        """A delegated credential of that audience. Raises `NotAuthenticated` or `Expired`."""
        return await self._verified(Door.GATEWAY, token, audience, delegated)

    async def at_exchange(self, token: str) -> TaskToken:
        """A task token."""
        return await self._verified(Door.EXCHANGE, token, self._issuer, task_token)

    async def at_api(self, token: str) -> ApiToken:
        """A token for /v1."""
        return await self._verified(Door.API, token, api_audience(self._issuer), api_token)

    async def presented(self, token: str) -> Presented:
        """A token of ours of any kind, for whoever asks about it. Raises `NotAuthenticated` or `Expired`."""
        for kind in _ASKED_ABOUT:
            try:
                claims = jws.verify(token, keys=self._keys.public, typ=kind.value)
            except InvalidToken as error:
                if error.reason is Reason.TYP:
                    continue
                if error.reason is not Reason.KEY:
                    raise NotAuthenticated(detail=str(error.reason)) from error
                claims = await self._again(token, kind.value)
            mine = {Kind.TASK: self._issuer, Kind.API: api_audience(self._issuer)}
            audience = mine.get(kind) or str(claims.get("aud") or "-")
            self._check(claims, audience, kind)
            return presented(kind, claims)
        raise NotAuthenticated(detail="no kind of token of ours")

    def _check(self, claims: Mapping[str, Any], audience: str, kind: Kind) -> None:
        try:
            jws.check_claims(
                claims,
                issuer=self._issuer,
                audience=audience,
                now=self._clock.now(),
                leeway=0,
                max_lifetime=MAX_LIFETIME[kind],
            )
        except ExpiredToken as error:
            raise Expired("The credential has expired.") from error
        except InvalidToken as error:
            raise NotAuthenticated(detail=str(error.reason)) from error

    async def _verified(self, door: Door, token: str, audience: str, typed: Callable[[Mapping[str, Any]], T]) -> T:
        known = self._known.get((door, audience, token))
        if known is not None:
            if self._clock.now() >= known.expires_at:
                raise Expired("The credential has expired.")
            return known  # type: ignore[return-value] # the door is part of the key, and fixes the type
        kind = OPENS[door]
        try:
            claims = jws.verify(token, keys=self._keys.public, typ=kind.value)
        except InvalidToken as error:
            if error.reason is not Reason.KEY:
                raise NotAuthenticated(detail=str(error.reason)) from error
            claims = await self._again(token, kind.value)
        self._check(claims, audience, kind)
        value = typed(claims)
        if len(self._known) >= _REMEMBERED:
            self._forget()
        self._known[door, audience, token] = value
        return value

    async def _again(self, token: str, typ: str) -> dict[str, object]:
        """The kid is unknown: another node may have rotated."""
        await self._keys.reload_if_due()
        try:
            return jws.verify(token, keys=self._keys.public, typ=typ)
        except InvalidToken as error:
            raise NotAuthenticated(detail=str(error.reason)) from error

    def _forget(self) -> None:
        now = self._clock.now()
        alive = {key: value for key, value in self._known.items() if value.expires_at > now}
        self._known = alive if len(alive) < _REMEMBERED // 2 else dict(list(alive.items())[-_REMEMBERED // 2 :])
