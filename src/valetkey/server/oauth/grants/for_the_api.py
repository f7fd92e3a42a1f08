"""Tokens for this server's own API: to a client by itself, and to a person's command line."""

from valetkey.server.clock import Clock
from valetkey.server.errors import Denied
from valetkey.server.ids import new_id
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.model import AGENT_SCOPES, Agent
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.tokens.doors import api_audience
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import api_claims, prepare
from valetkey.server.tokens.model import Kind

CLIENT_CREDENTIALS = "client_credentials"
USER_CREDENTIAL = "urn:valetkey:params:oauth:grant-type:user-credential"
API_SECONDS = 900
USER_SCOPE = "all"


class ApiTokens:
    """One per process."""

    def __init__(self, authenticate: Authenticate, keys: Keys, clock: Clock, settings: Settings) -> None:
        self._authenticate = authenticate
        self._keys = keys
        self._clock = clock
        self._settings = settings

    async def client_credentials(self, asked: Asked) -> Answer:
        """A client by itself: an agent reads itself and opens tasks, a service account does what it was given."""
        principal = asked.client.principal if asked.client is not None else None
        if principal is None:
            raise Denied("This client can do nothing by itself.", reason="unauthorized_client")
        held = AGENT_SCOPES if isinstance(principal, Agent) else principal.scopes
        wanted = frozenset((asked.form.get("scope") or " ".join(held)).split())
        if not wanted or not wanted <= held:
            raise Denied("The client does not have these scopes.", reason="scope")
        for target in (*asked.form.repeated.get("resource", ()), *asked.form.repeated.get("audience", ())):
            if target != api_audience(self._settings.issuer):
                raise Denied("By itself a client gets a token for this server's API only.", reason="target")
        return self._token(principal.org, (principal.subject, principal.id), principal.id, wanted, asked.jkt)

    async def user_credential(self, asked: Asked) -> Answer:
        """A person's command line."""
        user, credential = await self._authenticate.user(Secret(asked.form.must("credential")))
        return self._token(user.org, (user.subject, user.id), credential, frozenset({USER_SCOPE}), asked.jkt)

    def _token(
        self, org: str, principal: tuple[str, str], credential: str, scopes: frozenset[str], jkt: str | None
    ) -> Answer:
        now = int(self._clock.now())
        claims = api_claims(
            issuer=self._settings.issuer,
            audience=api_audience(self._settings.issuer),
            org=org,
            principal=principal,
            credential=credential,
            scopes=sorted(scopes),
            jti=new_id("tok"),
            now=now,
            expires_at=now + API_SECONDS,
            jkt=jkt,
        )
        return {
            "access_token": prepare(self._keys.signer("ES256"), Kind.API, claims).signed(),
            "token_type": "Bearer" if jkt is None else "DPoP",
            "expires_in": API_SECONDS,
            "scope": " ".join(sorted(scopes)),
        }
