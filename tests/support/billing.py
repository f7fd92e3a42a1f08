"""A resource server of the organization's own, `billing`, and an agent that may use it for Alice."""

from typing import Any

from tests.support.house import House, Person, Robot

AUDIENCE = "https://billing.acme.com"
SCOPES = [
    {"name": "invoices:read", "sentence": "read invoices"},
    {"name": "invoices:pay", "sentence": "pay invoices", "tier": "write"},
]
GRANT = "billing:invoices:read@*"


async def register(house: House, by: Person | None = None, **more: Any) -> Any:
    """Register `billing`."""
    body = {"name": "billing", "title": "Billing", "audience": AUDIENCE, "scopes": SCOPES, **more}
    return await (by or house.alice).does("POST", "/v1/resource-servers", **body)


async def let(house: House, agent: Robot, *ceiling: str) -> None:
    """An administrator raises the agent's ceiling to these lines besides GitHub's."""
    lines = [*(ceiling or ("billing:invoices:pay,invoices:read@*",)), "github:repo:read,repo:write,issues:read@*"]
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=lines)


async def billed(house: House, *grants: str, name: str = "bookkeeper", **more: Any) -> tuple[Robot, Any, Any]:
    """An agent, a delegation over `billing`, and a task of it. `billing` is registered before."""
    agent = await house.agent(name)
    await let(house, agent)
    delegation = await house.delegate(agent, *(grants or (GRANT,)), **more)
    return agent, delegation, await house.task(delegation)
