"""What holds for every delegation and every task: a purpose in words, and the ceiling of the agent. Pure."""

from collections.abc import Sequence
from typing import Final

from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Catalogue, Grant, narrowed
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.principals.model import Agent

DAY_SECONDS: Final = 86_400
LONGEST_PURPOSE: Final = 500


def check_purpose(purpose: str) -> None:
    """Raises `InvalidRequest` for one that nobody could read."""
    if not purpose.strip() or len(purpose) > LONGEST_PURPOSE or not purpose.isprintable():
        raise InvalidRequest("Say what it is for, in at most 500 printable characters.", hint="Use --purpose.")


def under_ceiling(agent: Agent, grants: Sequence[Grant], catalogue: Catalogue) -> None:
    """Raises `Denied` when a grant is above what the agent can ever be given."""
    for grant in grants:
        unbound = grant.by_name()
        try:
            for ceiling in agent.ceilings:
                narrowed(parse_grants(ceiling), (unbound,), catalogue)
        except Denied as error:
            raise Denied(
                f"{grant_text(unbound)} is above the ceiling of {agent.name}.",
                hint="An administrator can raise the agent's ceiling.",
                reason="above_ceiling",
            ) from error
