"""An app: how one organization is known at one API, so that its people can connect their accounts there."""

from collections.abc import Mapping
from dataclasses import dataclass

from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.model import Integration
from valetkey.server.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """`secret` is None where the API knows public clients; `kind` is one of the integration's variants, usually none.

    `generation` counts the secrets it had.
    """

    id: str
    org: str
    integration: str
    client_id: str
    secret: Secret | None
    kind: str = ""
    generation: int = 1

    def way(self, catalogue: Mapping[str, Integration]) -> OAuth | None:
        """How the API gives out credentials to an app of this kind; None when it is no longer described."""
        integration = catalogue.get(self.integration)
        if integration is None or integration.oauth is None:
            return None
        try:
            return integration.oauth.variant(self.kind)
        except KeyError:
            return None
