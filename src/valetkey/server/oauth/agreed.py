"""What a person agreed to and how, as a code, a device or a backchannel answer carries it to redemption. Pure."""

from dataclasses import dataclass

from valetkey.server.tokens.mint import SignedIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """`resources` are the audiences the request named; `session` the browser it was agreed in, if that still counts.

    `jkt` is the key the answer is bound to; `nonce`, `auth_time`, `acr` and `amr` are for an ID token.
    """

    client: str
    org: str
    user: str
    agent: str
    delegation: str
    resources: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    session: str | None = None
    jkt: str | None = None
    nonce: str | None = None
    auth_time: int = 0
    acr: str = ""
    amr: tuple[str, ...] = ()

    @property
    def signed_in(self) -> SignedIn | None:
        """How she proved herself when she agreed; None where nobody saw her do it."""
        return SignedIn(auth_time=self.auth_time, acr=self.acr, amr=self.amr) if self.acr and self.auth_time else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An authorization code: what was agreed to, and what its redemption must show."""

    id: str
    agreed: Agreed
    redirect_uri: str
    named_redirect: bool
    challenge: str
