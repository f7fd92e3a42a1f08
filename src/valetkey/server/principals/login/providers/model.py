"""An identity provider as an administrator registered it, and what its claims mean here. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.principals.model import Role, checked_email
from valetkey.server.principals.sessions.model import ACR_PASSKEY

_PHISHING_RESISTANT: Final = frozenset({"phr", "phrh"})  # OpenID Connect EAP ACR Values, section 2
_MOST_AMR: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`roles` maps a group to a role; people of `domains` may be enrolled; `origin` is where one signs in."""

    id: str
    org: str
    name: str
    issuer: str
    client_id: str
    origin: str
    group_claim: str = ""
    roles: Mapping[str, Role]
    enrolls: bool = False
    domains: tuple[str, ...] = ()

    @property
    def wants(self) -> tuple[str, ...]:
        """The claims that mean something here beyond who it is and how that was proven."""
        groups = (self.group_claim,) if self.group_claim and self.roles else ()
        return (*(("email", "email_verified") if self.enrolls else ()), *groups)

    def misses(self, claims: Mapping[str, object]) -> bool:
        """Whether something it wants was not said."""
        return any(name not in claims for name in self.wants)

    def role_of(self, claims: Mapping[str, object]) -> Role | None:
        """The role the groups give; None where this provider says nothing about roles."""
        if not self.group_claim or not self.roles:
            return None
        groups = claims.get(self.group_claim, [])
        named = {groups} if isinstance(groups, str) else {g for g in groups if isinstance(g, str)} if isinstance(
            groups, list
        ) else set()  # fmt: skip
        is_administrator = any(self.roles.get(group) is Role.ADMINISTRATOR for group in named)
        return Role.ADMINISTRATOR if is_administrator else Role.MEMBER

    def enrolled_email(self, claims: Mapping[str, object]) -> str:
        """The address of somebody who may be enrolled. Raises `Denied` for everybody else."""
        email, verified = claims.get("email"), claims.get("email_verified")
        # SECURITY: the boolean true and nothing that resembles it.
        # Guarded by tests/attacks/test_sign_in.py::test_oa_24_only_a_verified_address_is_enrolled
        if verified is not True or not isinstance(email, str):
            raise Denied("Your identity provider does not vouch for an e-mail address.", reason="email_not_verified")
        try:
            address = checked_email(email)
        except InvalidRequest as error:
            raise Denied("Your identity provider's e-mail address cannot be used.", reason="email") from error
        if not self.enrolls or address.rpartition("@")[2] not in self.domains:
            raise Denied(
                "You are not a user here yet.",
                reason="not_enrolled",
                hint="Ask an administrator of your organization to invite you.",
            )
        return address


def proofs(claims: Mapping[str, object]) -> tuple[tuple[str, ...], str | None]:
    """How the person proved themselves there: `amr` (RFC 8176), and our level where `acr` names one."""
    told = claims.get("amr")
    amr = tuple(
        value for value in (told if isinstance(told, list) else ()) if isinstance(value, str) and _is_word(value)
    )[:_MOST_AMR]
    acr = claims.get("acr")
    return amr, ACR_PASSKEY if isinstance(acr, str) and acr in _PHISHING_RESISTANT else None


def _is_word(text: str) -> bool:
    return 2 <= len(text) <= 16 and text.isascii() and text.isalnum() and text.islower()


def settings_of(provider: Provider) -> dict[str, Any]:
    """What is stored beside the names."""
    return {
        "origin": provider.origin,
        "group_claim": provider.group_claim,
        "roles": {group: role.value for group, role in provider.roles.items()},
        "enrolls": provider.enrolls,
        "domains": list(provider.domains),
    }
