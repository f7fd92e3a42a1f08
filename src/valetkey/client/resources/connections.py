"""Integrations, accounts that are connected, and APIs of one's own."""

from collections.abc import Sequence

from valetkey.client import answers
from valetkey.client.protocol import at, get, post, send
from valetkey.client.resources.group import Group


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
        credential: str = "",
        name: str | None = None,
        shared: bool = False,
        app_id: str | None = None,
        installation_id: str | None = None,
        role_arn: str | None = None,
        access_key_id: str | None = None,
        audience: str | None = None,
        everybody: str | None = None,
    ) -> answers.Connection:
        """Connect an account by its token, an app or a role by its key, a database by its address. It is sealed and
        never shown again. A role with an `audience` needs none: it trusts tokens of the server."""
        body = {"integration": integration, "credential": credential, "name": name, "shared": shared}
        body |= {"app_id": app_id, "installation_id": installation_id}
        body |= {"role_arn": role_arn, "access_key_id": access_key_id, "audience": audience, "everybody": everybody}
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
