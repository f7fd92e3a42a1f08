"""`POST /oauth/token`: who the client is, which grant, and a token back. Parses and answers; decides nothing itself.

Grants: client credentials (a token for /v1), a user's CLI credential (the same), and token exchange (RFC 8693), which
is the way from a task to a delegated credential.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import Ask, Issue, Issued
from valetkey.server.delegations.grants import check_resource_name
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.oauth.form import ClientProof, Form
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.model import AGENT_SCOPES, Agent, ServiceAccount
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.tokens.doors import api_audience
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import api_claims, prepare
from valetkey.server.tokens.model import Kind

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
USER_CREDENTIAL = "urn:valetkey:params:oauth:grant-type:user-credential"
CLIENT_CREDENTIALS = "client_credentials"
GRANT_TYPES = (CLIENT_CREDENTIALS, EXCHANGE, USER_CREDENTIAL)

JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
API_SECONDS = 900

USER_SCOPE = "all"


class TokenEndpoint:
    """One per process."""

    def __init__(
        self, *, authenticate: Authenticate, issue: Issue, keys: Keys, clock: Clock, settings: Settings
    ) -> None:
        self._authenticate = authenticate
        self._issue = issue
        self._keys = keys
        self._clock = clock
        self._settings = settings

    async def answer(self, form: Form, proof: ClientProof | None) -> Mapping[str, Any]:
        """The body of a successful answer. Raises the typed refusal otherwise."""
        grant = form.must("grant_type")
        if grant == USER_CREDENTIAL:
            user, credential = await self._authenticate.user(Secret(form.must("credential")))
            return self._api_token(user.org, (user.subject, user.id), credential, frozenset({USER_SCOPE}))
        if grant not in GRANT_TYPES:
            raise InvalidRequest(
                "This grant type is not served here.", hint="See the metadata.", reason="unsupported_grant_type"
            )
        assert proof is not None
        # SECURITY: only an exchange is recorded under the fence; a token for /v1 would outlive a rotated secret.
        # Guarded by tests/flows/test_if_it_leaks.py::test_an_agents_secret_is_that_agent_until_it_is_rotated
        client = await self._client(proof, remembered=grant == EXCHANGE)
        if grant == EXCHANGE:
            return await self._exchange(client, form, proof)
        return self._client_credentials(client, form)

    async def _client(self, proof: ClientProof, *, remembered: bool) -> Agent | ServiceAccount:
        if proof.assertion is not None:
            return await self._authenticate.asserted(proof.assertion, proof.client_id)
        return await self._authenticate.client(proof.client_id or "", proof.secret or Secret(""), remembered=remembered)

    def _client_credentials(self, client: Agent | ServiceAccount, form: Form) -> Mapping[str, Any]:
        held = AGENT_SCOPES if isinstance(client, Agent) else client.scopes
        asked = frozenset((form.get("scope") or " ".join(held)).split())
        if not asked or not asked <= held:
            raise Denied("The client does not have these scopes.", reason="scope")
        for target in (*form.repeated.get("resource", ()), *form.repeated.get("audience", ())):
            if target != api_audience(self._settings.issuer):
                raise Denied("By itself a client gets a token for this server's API only.", reason="target")
        return self._api_token(client.org, (client.subject, client.id), client.id, asked)

    async def _exchange(self, client: Agent | ServiceAccount, form: Form, proof: ClientProof) -> Mapping[str, Any]:
        if isinstance(client, ServiceAccount):
            raise Denied("A service account never acts for a person.", reason="unauthorized_client")
        if form.get("actor_token") is not None or form.get("actor_token_type") is not None:
            raise InvalidRequest("The actor is the authenticated client; send no actor_token.")
        if form.must("subject_token_type") != JWT:
            raise InvalidRequest(f"The subject_token_type must be {JWT}: a task token.", reason="subject_token")
        if form.get("requested_token_type") not in (None, ACCESS_TOKEN, JWT):
            raise InvalidRequest("The requested_token_type is not one this server issues.")
        # An assertion is used once and names a key, not a secret; a secret may have been replaced meanwhile.
        again = partial(self._client, proof, remembered=True) if proof.secret is not None else None
        issued = await self._issue.delegated(client, form.must("subject_token"), ask_of(form), again=again)
        return answer_of(issued)

    def _api_token(
        self, org: str, principal: tuple[str, str], credential: str, scopes: frozenset[str]
    ) -> Mapping[str, Any]:
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
        )
        return {
            "access_token": prepare(self._keys.signer("ES256"), Kind.API, claims).signed(),
            "token_type": "Bearer",
            "expires_in": API_SECONDS,
            "scope": " ".join(sorted(scopes)),
        }


def ask_of(form: Form) -> Ask:
    """What a token exchange asks for. Exactly one target: a delegated credential has one audience."""
    targets = {*form.repeated.get("resource", ()), *form.repeated.get("audience", ())}
    if len(targets) != 1:
        raise Denied("Name exactly one resource or audience.", reason="target")
    seconds = form.get("requested_expires_in")
    if seconds is not None and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 6):
        raise InvalidRequest("requested_expires_in is a number of seconds.")
    return Ask(
        target=targets.pop(),
        scopes=scopes_of(form.get("scope")),
        grants=details_of(form.get("authorization_details")),
        seconds=None if seconds is None else int(seconds),
    )


def scopes_of(text: str | None) -> frozenset[str]:
    """The scopes of a parameter: bounded, none twice. Absent means what the task has."""
    if text is None:
        return frozenset()
    scopes = text.split(" ")
    if len(text) > 4096 or len(set(scopes)) != len(scopes) or "" in scopes:
        raise Denied("The scope parameter is malformed.", reason="scope")
    return frozenset(scopes)


class _Detail(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    actions: list[str]
    resources: list[str]
    connection: str = ""


_details = msgspec.json.Decoder(list[_Detail])


def details_of(text: str | None) -> tuple[Grant, ...]:
    """RFC 9396 authorization details as grants; an unknown member or an empty list is refused, never ignored."""
    if text is None:
        return ()
    try:
        details = _details.decode(text) if len(text) <= 16_384 else []
        grants = tuple(_grant(d) for d in details)
    except (msgspec.MsgspecError, InvalidRequest, RecursionError) as error:
        raise Denied(
            "The authorization_details cannot be read.", detail=str(error), reason="authorization_details"
        ) from error
    if not grants:
        raise Denied("The authorization_details are empty or too long.", reason="authorization_details")
    return grants


def _grant(detail: _Detail) -> Grant:
    for name in detail.resources:
        check_resource_name(name, name)
    if not detail.actions or not detail.resources:
        raise InvalidRequest("actions and resources must not be empty")
    return Grant(
        integration=detail.type,
        connection=detail.connection,
        scopes=frozenset(detail.actions),
        resources=tuple(Resource(name=name) for name in detail.resources),
    )


def answer_of(issued: Issued) -> Mapping[str, Any]:
    """The answer of RFC 8693 section 2.2.1."""
    return {
        "access_token": issued.token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        **issued.granted,
    }
