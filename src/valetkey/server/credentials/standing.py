"""Whether a token somebody shows us is still good, asked by the same functions that issue and judge calls.

A signature says what was true when it was made. Introspection, revocation and exchange need what is true now.
"""

from dataclasses import dataclass

from valetkey.server.clock import Clock
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import Issue
from valetkey.server.delegations.model import Grant, narrowed
from valetkey.server.errors import Denied, Expired, NotAuthenticated, NotFound
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.decide import live
from valetkey.server.policy.model import Authority
from valetkey.server.tokens.doors import LAYOUT
from valetkey.server.tokens.model import Kind, Presented
from valetkey.server.tokens.verify import Verifying


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """A token that is good now, and what bounds it. `integration` is None for a task token."""

    token: Presented
    authority: Authority
    integration: Integration | None
    grants: tuple[Grant, ...]


class Standing:
    """One per process."""

    def __init__(
        self, verifying: Verifying, authorities: Authorities, issue: Issue, catalogue: LiveCatalogue, clock: Clock
    ) -> None:
        self._verifying = verifying
        self._authorities = authorities
        self._issue = issue
        self._catalogue = catalogue
        self._clock = clock

    async def good(self, unverified: str) -> Good | None:
        """The token with its authority, or None: forged, expired, revoked, or no longer within what bounds it."""
        try:
            token = await self._verifying.presented(unverified)
            return await self._good(token)
        except (NotAuthenticated, Expired, NotFound, Denied):
            return None

    async def _good(self, token: Presented) -> Good | None:
        if not token.task:
            return None
        await self._authorities.refresh()  # another node may have revoked it a moment ago
        authority, _ = await self._authorities.of_task(token.task)
        theirs = authority.agent.id == token.client and authority.user.org == token.org
        if not theirs or self._authorities.is_revoked(token.jti):
            return None
        if live(authority, self._clock.now()) is not None:
            return None
        if token.kind is Kind.TASK:
            return Good(token=token, authority=authority, integration=None, grants=authority.task.grants)
        integration = self._issue.target(token.audience, token.org)
        if integration is None or integration.audience != token.audience or LAYOUT[integration.layout] != token.kind:
            return None
        grants = narrowed(authority.task.grants, token.grants, self._catalogue)
        self._issue.judge(authority, grants)
        return Good(token=token, authority=authority, integration=integration, grants=grants)
