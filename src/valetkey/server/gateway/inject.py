"""What one integration needs at the gateway, prepared once: target profile, token positions, address rewriting."""

from dataclasses import dataclass, field
from functools import lru_cache

from valetkey.server.connections.borrow import Borrowed
from valetkey.server.gateway.canonical import Profile
from valetkey.server.gateway.rewrite import Addresses
from valetkey.server.gateway.scrub import Scrubber
from valetkey.server.integrations.model import Integration
from valetkey.server.tokens.doors import gateway_address

_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An integration, as the doors use it."""

    integration: Integration
    profile: Profile
    positions: tuple[str, ...]
    credential_headers: frozenset[bytes]
    gateway: str
    scrubbers: dict[int, tuple[Borrowed, Scrubber]] = field(default_factory=dict, compare=False, repr=False)

    def addresses(self, base_url: str) -> Addresses:
        """The rewriting between the connection's base and ours."""
        return _addresses(base_url, self.gateway)

    def scrubber(self, borrowed: Borrowed) -> Scrubber:
        """Removes the injected credential from answers, in every form it could come back in."""
        known = self.scrubbers.get(id(borrowed))
        if known is None or known[0] is not borrowed:
            if len(self.scrubbers) >= _REMEMBERED:
                self.scrubbers.clear()
            known = (borrowed, Scrubber([borrowed.secret.reveal().encode()]))
            self.scrubbers[id(borrowed)] = known
        return known[1]


@lru_cache(maxsize=256)
def _addresses(base_url: str, gateway: str) -> Addresses:
    return Addresses(base_url, gateway)


def prepared(integration: Integration, gateway: str) -> Prepared:
    """Prepare one integration for the gateway at `gateway`."""
    positions: list[str] = []
    for position in integration.token_positions:
        if position.header.lower() == "authorization":
            positions.append("basic" if position.basic else position.scheme.lower())
        else:
            positions.append(position.header.lower())
    named = {p.encode() for p in positions} - {b"basic", b"bearer", b"token"}
    return Prepared(
        integration=integration,
        profile=Profile(encoded_slash=integration.encoded_slash),
        positions=tuple(positions),
        credential_headers=frozenset({integration.injection.header.lower().encode(), *named}),
        gateway=gateway_address(gateway, integration.name),
    )
