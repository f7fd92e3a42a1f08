"""Which agent a client is to a person. An owned agent is itself; an outside client becomes one when she agrees."""

from collections.abc import Awaitable, Callable

from valetkey.server.oauth.clients.model import Client
from valetkey.server.principals.model import Agent, User

AgentFor = Callable[[User, Client], Awaitable[Agent | None]]
"""The agent this client is to this person, or None where she may have none of it."""


async def owned_agent(user: User, client: Client) -> Agent | None:
    """The agent whose client this is, for people of its organization."""
    agent = client.principal
    return agent if isinstance(agent, Agent) and agent.org == user.org else None
