"""Which agent a client is to a person. An owned agent is itself; an outside client becomes one when she agrees."""

from collections.abc import Awaitable, Callable

from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.clients.outside import Outside
from valetkey.server.principals.model import Agent, User

AgentFor = Callable[[User, Client], Awaitable[Agent | None]]
"""The agent this client is to this person, or None where she may have none of it."""


class AgentsOfClients:
    """One per process."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def __call__(self, user: User, client: Client) -> Agent | None:
        """The agent, for people of its organization; of an outside client the one it is, or would become."""
        if client.principal is None:
            return await self._outside.prospect(user, client)
        agent = client.principal
        return agent if isinstance(agent, Agent) and agent.org == user.org else None
