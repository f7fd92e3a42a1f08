"""A source has two verbs, obtain and revoke; both may be repeated. Which one serves is the integration's kind. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease, Narrowing, State
from valetkey.server.errors import Denied
from valetkey.server.integrations.model import Integration
from valetkey.server.secret import Secret

LOST_AFTER_SECONDS: Final = 120
RUNS_OUT: Final = "unsupported"
"""The problem of a lease that cannot be ended there: it runs out, and not before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whom a credential is for, as people call them."""

    user: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of revoking: with a problem it is tried again, without one it is over."""

    state: State = State.ENDED
    problem: str = ""
    sessions: int = 0
    """How many open sessions were ended with it."""


class Source(Protocol):
    """Where credentials of one kind come from."""

    @property
    def ends_by_itself(self) -> bool:
        """Whether what was obtained stops working there at its end, whoever forgets it."""
        ...

    @property
    def runs_out(self) -> bool:
        """Whether there is no way to end one there sooner."""
        ...

    @property
    def lost_after_seconds(self) -> int:
        """How long after it was begun nobody is still obtaining one: what was not seen by then is taken back."""
        ...

    async def ready(self, connection: str, /) -> None:
        """Raise the refusal unless this connection is one of this source's."""
        ...

    async def obtain(self, lease: Lease, narrow: Narrowing, integration: Integration, holder: Holder, /) -> Minted:
        """Make the credential. Raises `UpstreamFailed` where it may have been made and not been seen."""
        ...

    async def shut(self, leases: Sequence[Lease], /) -> int:
        """Stop many at once from being used anew, before each is revoked; how many open sessions were ended."""
        ...

    async def revoke(self, lease: Lease, credential: Secret | None, integration: Integration, /) -> Ended:
        """End it there. `credential` is what was kept of it, None where it was never seen."""
        ...


class Sources:
    """All there are, by kind. One per process."""

    def __init__(self, by_kind: Mapping[str, Source]) -> None:
        self._by_kind = by_kind

    def of(self, integration: Integration) -> Source:
        """The source of an integration's credentials. Raises `Denied` where they cannot be narrowed."""
        found = self.known(integration)
        if found is None:
            raise Denied("The credential of this account cannot be narrowed.", reason="use_gateway")
        return found

    def known(self, integration: Integration | None) -> Source | None:
        """The same; None where there is none."""
        return None if integration is None else self._by_kind.get(kind_of(integration))


def kind_of(integration: Integration) -> str:
    """By which way its credentials are narrow; empty where there is none."""
    if integration.database is not None:
        return integration.database.server
    if integration.role is not None:
        return "role"
    return "installation" if integration.installation is not None else ""
