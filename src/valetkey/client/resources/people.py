"""People, agents and whoever else signs in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from valetkey.client import answers
from valetkey.client.protocol import at, get, post, send
from valetkey.client.resources.group import Group

if TYPE_CHECKING:
    from typing import Literal


class Users(Group):
    def create(self, email: str, *, role: str = "member") -> answers.User:
        """Invite a person; `code` in the answer is shown this once."""
        user: answers.User = self._call(post("/v1/users", email=email, role=role))
        return user

    def new_code(self, user: str) -> answers.NewCode:
        """A one-time code for a person who exists; `code` in the answer is shown this once."""
        made: answers.NewCode = self._call(post(at("users", user, "one-time-code")))
        return made

    def list(self) -> list[answers.User]:
        return self._listed("/v1/users")

    def set_status(self, user: str, verb: "Literal['suspend', 'resume']") -> answers.User:
        changed: answers.User = self._call(post(at("users", user, verb)))
        return changed


class Agents(Group):
    def create(
        self, name: str, *, ceiling: Sequence[str] | None = None, jwks: dict[str, Any] | None = None
    ) -> answers.Agent:
        """Register an agent; without `jwks` the answer holds its `secret`, shown this once."""
        limits = None if ceiling is None else list(ceiling)
        agent: answers.Agent = self._call(post("/v1/agents", name=name, ceiling=limits, jwks=jwks))
        return agent

    def list(self) -> list[answers.Agent]:
        return self._listed("/v1/agents")

    def get(self, agent: str) -> answers.Agent:
        found: answers.Agent = self._call(get(at("agents", agent)))
        return found

    def set_status(self, agent: str, verb: "Literal['suspend', 'resume']") -> answers.Agent:
        changed: answers.Agent = self._call(post(at("agents", agent, verb)))
        return changed

    def rotate(self, agent: str) -> answers.NewSecret:
        fresh: answers.NewSecret = self._call(post(at("agents", agent, "rotate")))
        return fresh

    def client(self, agent: str) -> dict[str, Any]:
        """What an agent is as an OAuth client."""
        found: dict[str, Any] = self._call(get(at("agents", agent, "client")))
        return found

    def set_client(self, agent: str, **metadata: Any) -> dict[str, Any]:
        """Say it anew, in the words of RFC 7591; what is left out takes its default."""
        changed: dict[str, Any] = self._call(send("PUT", at("agents", agent, "client"), **metadata))
        return changed

    def set_ceiling(self, agent: str, ceiling: Sequence[str]) -> answers.Agent:
        changed: answers.Agent = self._call(send("PUT", at("agents", agent, "ceiling"), ceiling=list(ceiling)))
        return changed


class ServiceAccounts(Group):
    def create(self, name: str, *, scopes: Sequence[str]) -> answers.ServiceAccount:
        """Create one; `secret` in the answer is shown this once."""
        account: answers.ServiceAccount = self._call(post("/v1/service-accounts", name=name, scopes=list(scopes)))
        return account

    def list(self) -> list[answers.ServiceAccount]:
        return self._listed("/v1/service-accounts")

    def set_status(self, account: str, verb: "Literal['suspend', 'resume']") -> answers.ServiceAccount:
        changed: answers.ServiceAccount = self._call(post(at("service-accounts", account, verb)))
        return changed

    def rotate(self, account: str) -> answers.NewSecret:
        fresh: answers.NewSecret = self._call(post(at("service-accounts", account, "rotate")))
        return fresh


class Engines(Group):
    def create(self, name: str, *, integration: str, address: str) -> answers.Engine:
        """Let a proxy ask for decisions; `secret` in the answer is shown this once."""
        engine: answers.Engine = self._call(post("/v1/engines", name=name, integration=integration, address=address))
        return engine

    def list(self) -> list[answers.Engine]:
        return self._listed("/v1/engines")


class OrganizationGroup(Group):
    def get(self) -> answers.OrganizationLimits:
        found: answers.OrganizationLimits = self._call(get("/v1/organization"))
        return found

    def set_unknown_client_ceiling(self, ceiling: Sequence[str]) -> answers.OrganizationLimits:
        """The most a client nobody registered can ever be given."""
        request = send("PUT", "/v1/organization", unknown_client_ceiling=list(ceiling))
        changed: answers.OrganizationLimits = self._call(request)
        return changed


class TrustedIssuers(Group):
    def create(
        self,
        issuer: str,
        *,
        kind: str,
        jwks_uri: str | None = None,
        jwks: dict[str, Any] | None = None,
        audience: str | None = None,
        rules: Sequence[dict[str, Any]] = (),
        tenant: dict[str, str] | None = None,
        token_endpoint_audience: bool = False,
    ) -> answers.TrustedIssuer:
        request = post(
            "/v1/trusted-issuers",
            issuer=issuer,
            kind=kind,
            jwks_uri=jwks_uri,
            jwks=jwks,
            audience=audience,
            rules=list(rules) or None,
            tenant=tenant or None,
            token_endpoint_audience=token_endpoint_audience or None,
        )
        added: answers.TrustedIssuer = self._call(request)
        return added

    def list(self) -> list[answers.TrustedIssuer]:
        return self._listed("/v1/trusted-issuers")

    def remove(self, issuer: str) -> answers.TrustedIssuer:
        removed: answers.TrustedIssuer = self._call(send("DELETE", at("trusted-issuers", issuer)))
        return removed


class IdentityProviders(Group):
    def create(
        self,
        name: str,
        *,
        issuer: str,
        client_id: str,
        client_secret: str | None = None,
        group_claim: str = "",
        roles: Mapping[str, str] | None = None,
        enrolls: bool = False,
        domains: Sequence[str] = (),
    ) -> answers.IdentityProvider:
        """Register the company's own sign-in; `redirect_uri` in the answer is what to enter there."""
        request = post(
            "/v1/identity-providers",
            name=name,
            issuer=issuer,
            client_id=client_id,
            client_secret=client_secret,
            group_claim=group_claim or None,
            roles=dict(roles or {}) or None,
            enrolls=enrolls or None,
            domains=list(domains) or None,
        )
        added: answers.IdentityProvider = self._call(request)
        return added

    def list(self) -> list[answers.IdentityProvider]:
        return self._listed("/v1/identity-providers")

    def check(self, provider: str) -> answers.CheckedProvider:
        """Have the server ask the provider now, as at a sign-in."""
        checked: answers.CheckedProvider = self._call(post(at("identity-providers", provider, "check")))
        return checked

    def remove(self, provider: str) -> answers.Removed:
        removed: answers.Removed = self._call(send("DELETE", at("identity-providers", provider)))
        return removed


class InitialAccessTokens(Group):
    def create(self, *, uses: int, seconds: int) -> answers.InitialAccessToken:
        """A token for `/oauth/register`, shown this once."""
        made: answers.InitialAccessToken = self._call(post("/v1/initial-access-tokens", uses=uses, seconds=seconds))
        return made
