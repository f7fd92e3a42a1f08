"""`POST /oauth/introspect` (RFC 7662): what a token says and whether it is good now, for whoever may know.

That is the client it was issued to, and who speaks for the resource server it is for: a service account with
`tokens:introspect`, or that server's own agent. Everybody else, and every token that is not good, is told exactly
`{"active": false}`. Of a refresh token its own client learns whether it is good, and until when.
Who accepts `application/token-introspection+jwt` gets the answer signed (RFC 9701).
"""

from collections.abc import Mapping
from typing import Any, Final, NotRequired, TypedDict

from valetkey.server.clock import Clock
from valetkey.server.credentials.standing import Good, Standing
from valetkey.server.errors import Denied, NotAuthenticated
from valetkey.server.ids import is_handle
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.described import BESIDES, OF_CLIENTS, AboutAToken, DescribedEndpoint
from valetkey.server.oauth.door import Typed
from valetkey.server.oauth.form import Form, Headers, client_proof
from valetkey.server.oauth.grants.refresh import Refresh
from valetkey.server.principals.model import ServiceAccount
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import prepare
from valetkey.server.tokens.model import Kind

SCOPE: Final = "tokens:introspect"
SIGNED: Final = "application/token-introspection+jwt"
INACTIVE: Final[Mapping[str, Any]] = {"active": False}
METADATA: Final[Mapping[str, list[str]]] = {"introspection_signing_alg_values_supported": ["ES256"]}


class Introspection:
    """One per process."""

    def __init__(
        self,
        clients: Clients,
        standing: Standing,
        catalogue: LiveCatalogue,
        refresh: Refresh,
        keys: Keys,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._clients = clients
        self._refresh = refresh
        self._standing = standing
        self._catalogue = catalogue
        self._keys = keys
        self._clock = clock
        self._settings = settings

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any] | Typed:
        """The answer, signed when that is what the caller accepts. `token_type_hint` changes nothing."""
        caller = await self._clients.proven(client_proof(headers, form), remembered=False)
        if caller.is_public:
            raise NotAuthenticated("The client did not authenticate.")
        if isinstance(caller.principal, ServiceAccount) and SCOPE not in caller.principal.scopes:
            raise Denied(f"This service account does not have {SCOPE}.", reason="unauthorized_client")
        answer = await self._answer(caller, form.must("token"))
        return self._signed(caller, answer) if wants_signed(headers) else answer

    async def _answer(self, caller: Client, token: str) -> Mapping[str, Any]:
        if is_handle(token, "rf"):
            # SECURITY: for its own client alone, and asking is no use: it neither spends the token nor ends its family.
            # Guarded by tests/flows/test_introspection.py::test_a_refresh_token_is_known_to_its_own_client_alone
            held = await self._refresh.unspent(Secret(token), caller)
            return INACTIVE if held is None else {"active": True, "client_id": caller.id, "exp": held.expires_at}
        good = await self._standing.good(token)
        return members_of(good) if good is not None and await self._may_know(caller, good) else INACTIVE

    async def _may_know(self, caller: Client, good: Good) -> bool:
        principal = caller.principal
        if principal is None:  # an outside client is an agent in every organization where somebody agreed to it
            return await self._clients.is_its(caller, good.token.client)
        if principal.org != good.token.org:
            return False
        if principal.id == good.token.client:
            return True
        # SECURITY: by the audience the token was signed for, never by one the caller names.
        # Guarded by tests/attacks/test_introspection.py::test_oa_15_a_server_learns_of_its_own_audience_alone
        server = self._catalogue.server(good.token.audience) if good.integration is not None else None
        return server is not None and server.org == principal.org and server.is_spoken_for_by(principal.id)

    def _signed(self, caller: Client, answer: Mapping[str, Any]) -> Typed:
        claims = {
            "iss": self._settings.issuer,
            "aud": caller.id,
            "iat": int(self._clock.now()),
            "token_introspection": answer,
        }
        token = prepare(self._keys.signer("ES256"), Kind.INTROSPECTION, claims).signed()
        return Typed(token.encode(), SIGNED)


def members_of(good: Good) -> Mapping[str, Any]:
    """What the token says, in the layout of its audience. RFC 7662 section 2.2, RFC 9449 section 6.2."""
    said = dict(good.token.members)
    said.pop("may_act", None)
    is_bound = isinstance(said.get("cnf"), dict) and "jkt" in said["cnf"]
    kind = "N_A" if good.integration is None else "DPoP" if is_bound else "Bearer"
    return {"active": True, "token_type": kind, **said}


def wants_signed(headers: Headers) -> bool:
    """Whether `Accept` names the signed form itself; a wildcard asks for JSON. RFC 9110 section 12.5.1.

    >>> wants_signed([(b"accept", b"application/token-introspection+jwt")]), wants_signed([(b"accept", b"*/*")])
    (True, False)
    """
    weights: dict[str, float] = {}
    for value in (value.decode("latin-1") for name, value in headers if name == b"accept"):
        for one in value.lower().split(","):
            kind, *parameters = (part.strip() for part in one.split(";"))
            quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            weights[kind] = float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0
    signed = weights.get(SIGNED, 0.0)
    return signed > 0 and signed >= weights.get("application/json", 0.0)


class IntrospectionAnswer(TypedDict):
    """RFC 7662 section 2.2, with the claims of the token itself; of one that is not good, `active` alone."""

    active: bool
    token_type: NotRequired[str]


DESCRIBED = DescribedEndpoint(
    path="/oauth/introspect",
    summary="What a token says, and whether it is good now",
    form=AboutAToken,
    answer=IntrospectionAnswer,
    errors={400: ("invalid_request", *OF_CLIENTS), **BESIDES},
)
