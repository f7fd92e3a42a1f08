"""One token request whose client has proven itself, as every grant sees it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from valetkey.server.errors import Denied
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.form import Form
from valetkey.server.principals.model import Agent

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`client` is None only for grants whose credential is the proof. `again` proves the client once more."""

    form: Form
    client: Client | None
    again: Callable[[], Awaitable[object]] | None = None
    jkt: str | None = None  # the thumbprint of the key this request proved

    def agent(self) -> Agent:
        """The agent that proved itself. Anyone else is `unauthorized_client`."""
        principal = self.client.principal if self.client is not None else None
        if not isinstance(principal, Agent):
            raise Denied("Only an agent that authenticates can do this.", reason="unauthorized_client")
        return principal


Grant = Callable[[Asked], Awaitable[Answer]]
"""What a grant type does. Raises the typed refusal."""
