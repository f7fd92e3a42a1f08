"""The typed methods of the API, in groups; each builds one request and returns what came. Sends through its client."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.client import answers
from valetkey.client.protocol import Request, at, get, post, send

if TYPE_CHECKING:
    from typing import Literal


class Sender(Protocol):
    """Whatever signs in, sends, and reads."""

    def call(self, request: Request) -> Any: ...
    def stream(self, request: Request) -> Iterator[bytes]: ...


class Group:
    """Methods of one kind of thing."""

    def __init__(self, sender: Sender) -> None:
        self._call = sender.call
        self._stream = sender.stream

    def _listed(self, path: str) -> list[Any]:
        rows: list[Any] = []
        cursor: str | None = None
        while True:
            page = self._call(get(path, cursor=cursor))
            rows += page["data"]
            cursor = page.get("next_cursor")
            if not page.get("has_more") or not cursor:
                return rows


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


class ResourceServers(Group):
    def create(
        self,
        name: str,
        *,
        audience: str,
        scopes: Sequence[dict[str, str]],
        title: str = "",
        layout: str = "rfc8693",
        algorithm: str = "ES256",
        service_account: str | None = None,
        agent: str | None = None,
    ) -> answers.ResourceServer:
        """Register an API of the organization's own. A scope is a mapping with name, sentence and tier."""
        request = post(
            "/v1/resource-servers",
            name=name,
            audience=audience,
            scopes=list(scopes),
            title=title,
            layout=layout,
            algorithm=algorithm,
            service_account=service_account,
            agent=agent,
        )
        server: answers.ResourceServer = self._call(request)
        return server

    def list(self) -> list[answers.ResourceServer]:
        return self._listed("/v1/resource-servers")

    def remove(self, server: str) -> answers.ResourceServer:
        removed: answers.ResourceServer = self._call(send("DELETE", at("resource-servers", server)))
        return removed


class Engines(Group):
    def create(self, name: str, *, integration: str, address: str) -> answers.Engine:
        """Let a proxy ask for decisions; `secret` in the answer is shown this once."""
        engine: answers.Engine = self._call(post("/v1/engines", name=name, integration=integration, address=address))
        return engine

    def list(self) -> list[answers.Engine]:
        return self._listed("/v1/engines")


class Policies(Group):
    def apply(self, text: str, *, after: int, why: str = "") -> answers.Policy:
        """Put a policy in force that was made from version number `after`; 0 where there was none."""
        applied: answers.Policy = self._call(post("/v1/policies", text=text, after=after, why=why))
        return applied

    def check(self, text: str) -> answers.CheckedPolicy:
        """Whether that could be applied."""
        checked: answers.CheckedPolicy = self._call(post("/v1/policies/check", text=text))
        return checked

    def list(self) -> list[answers.Policy]:
        return self._listed("/v1/policies")

    def get(self, policy: str) -> answers.Policy:
        """A version with its text, by id or by number."""
        found: answers.Policy = self._call(get(at("policies", policy)))
        return found

    def ready(self) -> answers.ReadyRules:
        """The ready rules, and whether they are off, observed or enforced."""
        found: answers.ReadyRules = self._call(get("/v1/policies/ready"))
        return found

    def choose_ready(self, mode: str, *, why: str = "") -> answers.ReadyRules:
        """Turn the ready rules off, observe them, or enforce them."""
        chosen: answers.ReadyRules = self._call(post("/v1/policies/ready", mode=mode, why=why))
        return chosen

    def explain(self, decision: str) -> answers.ExplainedDecision:
        """Why a recorded call was decided as it was."""
        said: answers.ExplainedDecision = self._call(get(at("decisions", decision)))
        return said

    def foresee(
        self, *, task: str, integration: str, method: str, path: str, body: str = "", content_type: str = ""
    ) -> answers.ForeseenDecision:
        """What would be decided of a call that was not made, under a task that acts for you."""
        call = {"task": task, "integration": integration, "method": method, "path": path}
        said: answers.ForeseenDecision = self._call(
            post("/v1/decisions/foresee", **call, body=body, content_type=content_type)
        )
        return said

    def replay(self, text: str, *, seconds: int) -> Iterator[bytes]:
        """What that policy would have decided of the recorded calls of so long; lines of JSON as they are found."""
        return self._stream(post("/v1/policies/replay", text=text, seconds=seconds))


class Integrations(Group):
    def list(self) -> list[answers.Integration]:
        return self._listed("/v1/integrations")


class Apps(Group):
    def add(self, integration: str, *, client_id: str, client_secret: str | None = None, kind: str = "") -> answers.App:
        """Register the organization's app at an API, or replace its secret; for administrators."""
        body = {"integration": integration, "client_id": client_id, "client_secret": client_secret, "kind": kind}
        app: answers.App = self._call(post("/v1/apps", **body))
        return app

    def list(self) -> list[answers.App]:
        return self._listed("/v1/apps")

    def check(self, app: str) -> answers.CheckedApp:
        """Ask the API whether it knows the app by its secret."""
        checked: answers.CheckedApp = self._call(post(at("apps", app, "check")))
        return checked

    def remove(self, app: str) -> answers.Removed:
        removed: answers.Removed = self._call(send("DELETE", at("apps", app)))
        return removed


class Connections(Group):
    def create(
        self,
        integration: str,
        *,
        credential: str,
        name: str | None = None,
        shared: bool = False,
        app_id: str | None = None,
        installation_id: str | None = None,
        role_arn: str | None = None,
        access_key_id: str | None = None,
        everybody: str | None = None,
    ) -> answers.Connection:
        """Connect an account by its token, an app or a role by its key, a database by its address. It is sealed and
        never shown again."""
        body = {"integration": integration, "credential": credential, "name": name, "shared": shared}
        body |= {"app_id": app_id, "installation_id": installation_id}
        body |= {"role_arn": role_arn, "access_key_id": access_key_id, "everybody": everybody}
        connection: answers.Connection = self._call(post("/v1/connections", **body))
        return connection

    def list(self) -> list[answers.Connection]:
        return self._listed("/v1/connections")

    def begin(
        self, integration: str, *, scopes: Sequence[str] = (), connection: str | None = None, shared: bool = False
    ) -> answers.NewConnectCode:
        """Begin to connect an account by consent: a code that leads its person on our own page."""
        body = {"integration": integration, "scopes": list(scopes), "connection": connection, "shared": shared}
        begun: answers.NewConnectCode = self._call(post("/v1/connect-codes", **body))
        return begun

    def begun(self, code: str) -> answers.ConnectCode:
        """What became of it; ask again after `interval` seconds while it is pending."""
        told: answers.ConnectCode = self._call(get(at("connect-codes", code)))
        return told

    def why(self, connection: str) -> answers.Residual:
        """What the stored credential could do if it leaked, and who stands in between."""
        report: answers.Residual = self._call(get(at("connections", connection, "why")))
        return report

    def rotate(self, connection: str) -> answers.Connection:
        """Change the password of a database's connected login."""
        changed: answers.Connection = self._call(post(at("connections", connection, "rotate")))
        return changed

    def entitle(self, connection: str, *, user: str, grants: Sequence[str]) -> answers.Entitlement:
        body = {"user": user, "grants": list(grants)}
        entitlement: answers.Entitlement = self._call(post(at("connections", connection, "entitlements"), **body))
        return entitlement


class Delegations(Group):
    def create(
        self,
        *,
        agent: str,
        grants: Sequence[str],
        seconds: int,
        purpose: str = "",
        user: str | None = None,
        standing: bool = False,
        tasks_per_day: int | None = None,
        share_with: Sequence[str] = (),
        max_calls: int | None = None,
        max_writes: int | None = None,
        max_bytes: int | None = None,
        max_calls_per_resource: int | None = None,
        max_writes_per_resource: int | None = None,
        max_bytes_per_resource: int | None = None,
        ask: Sequence[str] = (),
    ) -> answers.Delegation:
        """Record that the agent may act for the signed-in user (or, for administrators, for `user`).

        `ask` are further lines, each of whose calls waits for her approval.
        """
        request = post(
            "/v1/delegations",
            agent=agent,
            user=user,
            grants=list(grants),
            seconds=seconds,
            purpose=purpose,
            mode="standing" if standing else "attended",
            tasks_per_day=tasks_per_day,
            share_with=list(share_with) or None,
            max_calls=max_calls,
            max_writes=max_writes,
            max_bytes=max_bytes,
            max_calls_per_resource=max_calls_per_resource,
            max_writes_per_resource=max_writes_per_resource,
            max_bytes_per_resource=max_bytes_per_resource,
            ask=list(ask) or None,
        )
        delegation: answers.Delegation = self._call(request)
        return delegation

    def list(self) -> list[answers.Delegation]:
        return self._listed("/v1/delegations")

    def get(self, delegation: str) -> answers.Delegation:
        found: answers.Delegation = self._call(get(at("delegations", delegation)))
        return found

    def evidence(self, delegation: str) -> answers.Evidence:
        """A single-use proof that the user is there, with which the agent may open one task."""
        evidence: answers.Evidence = self._call(post(at("delegations", delegation, "evidence")))
        return evidence


class Tasks(Group):
    def create(
        self,
        delegation: str,
        *,
        grants: Sequence[str] = (),
        seconds: int | None = None,
        purpose: str | None = None,
        evidence: str | None = None,
    ) -> answers.Task:
        """Open a task; `task_token` in the answer is for the delegation's agent only."""
        body = {"grants": list(grants) or None, "seconds": seconds, "purpose": purpose, "evidence": evidence}
        task: answers.Task = self._call(post("/v1/tasks", delegation=delegation, **body))
        return task

    def list(self) -> list[answers.Task]:
        return self._listed("/v1/tasks")

    def create_child(self, task: str, *, agent: str, grants: Sequence[str], seconds: int | None = None) -> answers.Task:
        """As the task's agent: a narrower task for a sub-agent."""
        body = {"agent": agent, "grants": list(grants), "seconds": seconds}
        child: answers.Task = self._call(post(at("tasks", task, "children"), **body))
        return child


class Tokens(Group):
    def create(
        self,
        task_token: str,
        *,
        target: str,
        scope: str | None = None,
        grants: Sequence[str] = (),
        seconds: int | None = None,
    ) -> answers.Token:
        """As the agent: a delegated credential for one API, named by its audience or its address at the gateway."""
        body = {"target": target, "scope": scope, "grants": list(grants) or None, "seconds": seconds}
        token: answers.Token = self._call(post("/v1/tokens", task_token=task_token, **body))
        return token

    def explain(self, token: str) -> answers.Explanation:
        explanation: answers.Explanation = self._call(post("/v1/tokens/explain", token=token))
        return explanation


class Leases(Group):
    def create(
        self, task_token: str, *, target: str, scope: str | None = None, grants: Sequence[str] = ()
    ) -> answers.Lent:
        """As the agent: a real credential that the API narrows itself. It is taken back when the task ends."""
        body = {"target": target, "scope": scope, "grants": list(grants) or None}
        lent: answers.Lent = self._call(post("/v1/leases", task_token=task_token, **body))
        return lent

    def list(self) -> list[answers.Lease]:
        return self._listed("/v1/leases")


class Revocations(Group):
    def create(self, node: str, *, reason: str | None = None) -> answers.Revocation:
        """End anything by its id, with everything under it."""
        report: answers.Revocation = self._call(post("/v1/revocations", node=node, reason=reason))
        return report


class Audit(Group):
    def newest(self, *, limit: int = 50, cursor: str | None = None) -> list[dict[str, Any]]:
        """The newest records first."""
        rows: list[dict[str, Any]] = self._call(get("/v1/audit", limit=limit, cursor=cursor))["data"]
        return rows

    def export(self) -> Iterator[bytes]:
        """Every line, as bytes in whatever pieces they come."""
        return self._stream(get("/v1/audit/export"))

    def checkpoints(self) -> Iterator[bytes]:
        return self._stream(get("/v1/audit/checkpoints"))

    def prove(self, record: str) -> answers.InclusionProof:
        """That a record is under the newest signed checkpoint, as a proof that stands alone."""
        proof: answers.InclusionProof = self._call(get(at("audit", "records", record, "proof")))
        return proof

    def consistency(self, earlier: int, later: int = 0) -> answers.ConsistencyProof:
        """That checkpoint `later`, 0 for the newest, continues `earlier`, as a proof that stands alone."""
        proof: answers.ConsistencyProof = self._call(get("/v1/audit/consistency", **{"from": earlier}, to=later))
        return proof

    def pin(self) -> str:
        """The checkpoint key, in the form people pin."""
        return str(self._call(get("/v1/audit/key"))["pin"])


class Keys(Group):
    def list(self) -> list[answers.SigningKey]:
        return self._listed("/v1/keys")

    def rotate(self, *, algorithm: str = "ES256") -> answers.SigningKey:
        key: answers.SigningKey = self._call(post("/v1/keys/rotate", algorithm=algorithm))
        return key

    def rotate_data(self) -> answers.DataKeyBegun:
        """A new key for what is sealed at rest, or the change that had not ended."""
        begun: answers.DataKeyBegun = self._call(post("/v1/data-keys/rotate"))
        return begun

    def reseal(self, *, cursor: str = "") -> answers.DataKeyResealed:
        """One step of that change; go on at the cursor until it is finished."""
        done: answers.DataKeyResealed = self._call(post("/v1/data-keys/reseal", cursor=cursor))
        return done


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


class NoticeAddresses(Group):
    def list(self) -> "list[answers.NoticeAddress]":
        """Where you are told that a call waits for you."""
        found: list[answers.NoticeAddress] = self._call(get("/v1/notice-addresses"))["data"]
        return found

    def test(self, address: str) -> answers.NoticeAddress:
        """Send a notice there that says nothing waits; the answer says how it went."""
        tried: answers.NoticeAddress = self._call(post(at("notice-addresses", address, "test")))
        return tried


class Approvals(Group):
    def list(self) -> answers.Approvals:
        """What waits for you, and what you answered for whole tasks."""
        found: answers.Approvals = self._call(get("/v1/approvals"))
        return found

    def get(self, approval: str) -> answers.Approval:
        """One of them; as its agent, what became of it."""
        found: answers.Approval = self._call(get(at("approvals", approval)))
        return found

    def answer(
        self, approval: str, answer: "Literal['approve', 'approve-like-this', 'deny']", *, message: str = ""
    ) -> answers.Approval:
        """As a person: say yes once, yes until the task ends, or no with a message to the agent."""
        body = {"answer": answer, **({"message": message} if message else {})}
        answered: answers.Approval = self._call(post(at("approvals", approval, "answer"), **body))
        return answered

    def cancel(self, approval: str) -> answers.Approval:
        cancelled: answers.Approval = self._call(post(at("approvals", approval, "cancel")))
        return cancelled

    def end_standing(self, answer: str) -> answers.Approvals:
        """Take back an answer that holds until a task ends."""
        left: answers.Approvals = self._call(post(at("standing-answers", answer, "end")))
        return left
