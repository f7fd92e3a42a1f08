"""`Client`: the synchronous shell. Signs in by itself, renews its API token, and offers the API in typed groups."""

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from valetkey.client import answers, question, resources
from valetkey.client.credentials import Proof, from_text
from valetkey.client.errors import NotAuthenticated
from valetkey.client.http import TIMEOUT_SECONDS, Transport
from valetkey.client.protocol import Request, Response, get, post, read
from valetkey.client.proving import ProofKey
from valetkey.client.unverified import unverified_claims


class Client:
    """One principal at one server.

    `credential` is a `Proof`, or text: `vkcl_…`, `NAME:vkag_…`, `NAME:vksa_…`, or an API token.
    With a `key` every token it gets is bound to that key, and every request proves it.
    Every method raises the classes of `valetkey.client.errors`.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: Proof | str | None = None,
        key: ProofKey | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._key = key
        self._issuer = ""
        self._transport = Transport(url, timeout=timeout)
        self._proof = from_text(credential) if isinstance(credential, str) else credential
        self._token: str | None = None
        self._renew_at = 0.0
        self._one_sign_in = threading.Lock()
        self.users = resources.Users(self)
        self.agents = resources.Agents(self)
        self.service_accounts = resources.ServiceAccounts(self)
        self.resource_servers = resources.ResourceServers(self)
        self.integrations = resources.Integrations(self)
        self.connections = resources.Connections(self)
        self.delegations = resources.Delegations(self)
        self.tasks = resources.Tasks(self)
        self.tokens = resources.Tokens(self)
        self.engines = resources.Engines(self)
        self.policies = resources.Policies(self)
        self.apps = resources.Apps(self)
        self.leases = resources.Leases(self)
        self.approvals = resources.Approvals(self)
        self.notice_addresses = resources.NoticeAddresses(self)
        self.revocations = resources.Revocations(self)
        self.audit = resources.Audit(self)
        self.keys = resources.Keys(self)
        self.organization = resources.OrganizationGroup(self)
        self.trusted_issuers = resources.TrustedIssuers(self)
        self.identity_providers = resources.IdentityProviders(self)
        self.initial_access_tokens = resources.InitialAccessTokens(self)

    def __repr__(self) -> str:
        return f"Client({self.url!r}, credential={self._proof!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address, without a final slash."""
        return self._transport.url

    def log_in(self, code: str, *, email: str = "", organization: str | None = None) -> answers.Login:
        """Redeem a bootstrap or invitation code; `credential` in the answer is shown this once."""
        request = post("/v1/login", code=code, email=email or None, organization=organization)
        login: answers.Login = read(self._transport.send(request))
        return login

    def redeem_login(self, code: str, *, verifier: str, redirect_uri: str) -> answers.Login:
        """Redeem the code a browser brought back; `credential` in the answer is shown this once."""
        request = post("/v1/login/cli", code=code, code_verifier=verifier, redirect_uri=redirect_uri)
        login: answers.Login = read(self._transport.send(request))
        return login

    def issuer(self) -> str:
        """The server's own name for itself."""
        if not self._issuer:
            self._issuer = str(read(self._transport.send(get("/.well-known/oauth-authorization-server")))["issuer"])
        return self._issuer

    def who_am_i(self) -> answers.WhoAmI:
        """Who the server takes this client for."""
        found: answers.WhoAmI = self.call(get("/v1/whoami"))
        return found

    def log_out(self) -> answers.Revocation:
        """End the credential this client signed in with, at the server."""
        credential = str(unverified_claims(self._api_token()).get("credential", ""))
        return self.revocations.create(credential, reason="signed out")

    def call(self, request: Request) -> Any:
        """Send a request of `protocol` as this principal; return its JSON value."""
        token = self._api_token()
        try:
            return read(self._sent(request, token))
        except NotAuthenticated:
            # A token can die early: the keys rotated, or this machine slept. The server did nothing; ask once more.
            if not self._forget(token):
                raise
        return read(self._sent(request, self._api_token()))

    def query(
        self,
        credential: str,
        connection: str,
        statement: str,
        parameters: Sequence[Any] = (),
        *,
        rows: int | None = None,
    ) -> question.Rows:
        """Ask a database one question with a delegated credential for it (`tokens.create`, `question.AUDIENCE`).

        `parameters` are the values of `$1`, `$2`, …; at most `rows` (1,000) come. Raises `UpstreamFailed` for an answer
        that was cut off.
        """
        return question.read(self.carry(question.asking(connection, statement, parameters, rows=rows), credential))

    def stream(self, request: Request) -> Iterator[bytes]:
        """Send a request as this principal; yield the body as it comes."""
        return self.carry(request, self._api_token())

    def carry(self, request: Request, token: str) -> Iterator[bytes]:
        """Send a request with this token, proven if it is bound to the key; yield the body as it comes."""
        if not self._is_bound(token):
            return self._transport.stream(request.bearing(token))
        return self._transport.stream(self._proving(request, token))

    def close(self) -> None:
        """Let the connection go."""
        self._transport.close()

    def _api_token(self) -> str:
        with self._one_sign_in:
            if self._token is not None and time.monotonic() < self._renew_at:
                return self._token
            if self._proof is None:
                raise NotAuthenticated("Nobody is signed in.", hint="Sign in: valetkey login")
            wanted = self._proof.api_token()
            if isinstance(wanted, str):
                self._token, self._renew_at = wanted, float("inf")
                return wanted
            answer = read(self._sent(wanted))
            token, lifetime = str(answer["access_token"]), float(answer["expires_in"])
            self._token, self._renew_at = token, time.monotonic() + lifetime * 0.8
            return token

    def _sent(self, request: Request, token: str | None = None) -> Response:
        """The answer to a request that shows its token as it must be shown; asked once more with a nonce just given."""
        if self._key is None or not (token is None or self._is_bound(token)):
            return self._transport.send(request if token is None else request.bearing(token))
        for _ in range(2):
            response = self._transport.send(self._proving(request, token))
            nonce = response.headers.get("dpop-nonce")
            if not self._key.learn(self._address(request), nonce) or response.status not in (400, 401):
                break
        return response

    def _is_bound(self, token: str) -> bool:
        return self._key is not None and "cnf" in unverified_claims(token)

    def _proving(self, request: Request, token: str | None) -> Request:
        assert self._key is not None
        return request.proving(self._key.proof(request.method, self._address(request), token=token), token)

    def _address(self, request: Request) -> str:
        """Where the request goes by the server's own name for itself, which is what it compares a proof with."""
        return self.issuer() + request.path

    def _forget(self, token: str) -> bool:
        """Drop a token that was refused; whether another can be had."""
        with self._one_sign_in:
            if self._token == token:
                self._token = None
            return self._proof is not None and not isinstance(self._proof.api_token(), str)
