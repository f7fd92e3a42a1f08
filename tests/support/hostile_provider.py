"""An API's authorization server as bad as they come: it keeps its books, counts every call, and answers by a mood.

Refresh tokens are good for one answer. What was asked and what was given is kept, so that "exactly one call, and the
credential in use is the last one given" is one assertion. `moods` are spent one a call, in order, before `mood`.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qs

from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply
from valetkey.server.integrations.authorization import OAuth, Revocation

Mood = Literal[
    "good", "refuses", "too_many", "too_many_said", "failing", "failing_said", "hangs", "dribbles", "error_in_200",
    "no_json", "no_refresh_token", "takes_and_drops", "takes_and_fails", "unavailable_said",
]  # fmt: skip
RETRY_AFTER = 120


@dataclass
class HostileProvider:
    """`give` begins a family; `calls` counts requests by family; `refused` those with a token that is not good."""

    up: Upstream
    mood: Mood = "good"
    moods: list[Mood] = field(default_factory=list)
    lasts_seconds: int | None = 3600
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    good: dict[str, str] = field(default_factory=dict)  # refresh token -> family
    access: dict[str, str] = field(default_factory=dict)  # family -> the newest access token, which works
    live: set[str] = field(default_factory=set)
    """Every access token that was given and not ended one by one at `/revoke`, for who asks after single tokens."""
    ending: Mood = "good"
    """How `/revoke` answers: `good`, or `failing`."""
    latency: Callable[[], Awaitable[None]] | None = None
    at_call: Callable[[str], None] = lambda _family: None
    _given: Counter[str] = field(default_factory=Counter)

    @property
    def token_url(self) -> str:
        return f"{self.up.url}/token"

    def oauth(self) -> OAuth:
        """How it is described; like GitHub's it rotates, and a refresh ends the access token before."""
        return OAuth(
            authorize_url=f"{self.up.url}/authorize",
            token_url=self.token_url,
            refresh="rotating",
            refresh_kills_access=True,
        )

    def give(self, family: str) -> tuple[str, str]:
        """An access and a refresh token; the ones before are not good any more."""
        self._given[family] += 1
        number = self._given[family]
        for token in [t for t, of in self.good.items() if of == family]:
            del self.good[token]
        access, refresh = f"acc-{family}-{number}", f"ref-{family}-{number}"
        self.good[refresh] = family
        self.access[family] = access
        self.live.add(access)
        return access, refresh

    def ends_single_tokens(self) -> OAuth:
        """Described as an API whose refresh tokens may serve again, and which ends the one token it is shown."""
        self.up.answers("POST", "/revoke", script=self._end)
        revocation = Revocation(by="rfc7009", url=f"{self.up.url}/revoke", kills="token")
        return replace(self.oauth(), refresh="stable", refresh_kills_access=False, revocation=revocation)

    async def _end(self, seen: Seen, wire: Wire) -> None:
        asked = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        if self.ending == "failing":
            return await wire.say(_json({"error": "server_error"}, 503))
        assert asked["client_secret"] == "app-secret"
        self.live.discard(asked["token"])
        return await wire.say(reply(200))

    def revoke(self, family: str) -> None:
        """As if the person had ended it on the API's own page."""
        self.access.pop(family, None)
        for token in [t for t, of in self.good.items() if of == family]:
            del self.good[token]

    def accepts(self, seen: Seen) -> bool:
        """Whether the request carries an access token that works now."""
        sent = (seen.header("authorization") or b"").decode().rpartition(" ")[2]
        return sent in self.access.values()

    async def answer(self, seen: Seen, wire: Wire) -> None:
        """The token endpoint."""
        asked = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        token = asked.get("refresh_token", "")
        family = token.split("-")[1] if token.count("-") == 2 else "?"
        self.calls[family] += 1
        self.at_call(family)
        if self.latency is not None:
            await self.latency()
        mood = self.moods.pop(0) if self.moods else self.mood
        match mood:
            case "too_many" | "too_many_said":
                await wire.say(_json({"error": "slow_down"}, 429, said=mood == "too_many_said"))
            case "failing" | "failing_said":
                await wire.say(_json({"error": "server_error"}, 500, said=mood == "failing_said"))
            case "unavailable_said":
                await wire.say(_json({"error": "temporarily_unavailable"}, 503, said=True))
            case "hangs":
                await wire.peer_left()
                wire.hang_up()
            case "dribbles":
                with contextlib.suppress(ConnectionError):
                    for byte in reply(200, {"Content-Type": "application/json"}, b" " * 4096):
                        await wire.say(bytes([byte]))
                        await asyncio.sleep(0.05)
                wire.hang_up()
            case "error_in_200":
                await wire.say(_json({"error": "bad_refresh_token", "error_description": token}, 200))
            case "no_json":
                await wire.say(reply(200, {"Content-Type": "application/json"}, b'{"access_token": '))
            case "refuses":
                self.refused[family] += 1
                await wire.say(_json({"error": "invalid_grant"}, 400))
            case _ if self.good.get(token) is None or asked.get("client_secret") != "app-secret":
                self.refused[family] += 1
                await wire.say(_json({"error": "invalid_grant"}, 400))
            case "takes_and_drops":
                self.give(family)
                wire.break_off()
            case "takes_and_fails":
                self.give(family)
                await wire.say(_json({"error": "server_error"}, 502))
            case _:
                access, refresh = self.give(family)
                body: dict[str, object] = {"access_token": access, "token_type": "bearer"}
                if mood == "no_refresh_token":
                    self.good[token] = family  # it means: go on with the one there is
                else:
                    body["refresh_token"] = refresh
                if self.lasts_seconds is not None:
                    body["expires_in"] = self.lasts_seconds
                await wire.say(_json(body, 200))


def install(up: Upstream) -> HostileProvider:
    """Put one behind `POST /token`."""
    provider = HostileProvider(up)
    up.answers("POST", "/token", script=provider.answer)
    return provider


def _json(document: object, status: int, *, said: bool = False) -> bytes:
    headers = {"Content-Type": "application/json"}
    if said:
        headers["Retry-After"] = str(RETRY_AFTER)
    return reply(status, headers, json.dumps(document).encode())
