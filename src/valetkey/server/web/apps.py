"""/admin/apps: the organization's apps at APIs, for administrators."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Denied, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.principals.login.model import FRESH_SECONDS
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, fresh, shown, view
from valetkey.server.web.render import page

_PATH = "/admin/apps"


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    return await _page(services, visitor)


async def add(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back=_PATH)) is not None:
        return elsewhere
    secret = form.get("client_secret")
    integration, _, kind = (form.get("integration") or "").partition("/")
    try:
        await services.apps.add(
            integration,
            client_id=(form.get("client_id") or "").strip(),
            secret=None if secret is None else Secret(secret.strip()),
            kind=kind,
            by=user,
        )
    except ValetkeyError as error:
        if isinstance(error, Denied):
            raise
        return await _page(services, visitor, error)
    return RedirectResponse(_PATH, 303)


async def remove(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back=_PATH)) is not None:
        return elsewhere
    await services.apps.remove(form.get("app") or "", by=user)
    return RedirectResponse(_PATH, 303)


async def _page(services: Services, visitor: Visitor, error: ValetkeyError | None = None) -> Response:
    user, _ = visitor.signed_in()
    if not user.is_administrator:
        raise Denied("Only an administrator can do this.", reason="not_administrator")
    apps = [
        {
            "id": app.id,
            "title": services.catalogue[app.integration].title,
            "kind": app.kind,
            "client_id": app.client_id,
            "redirect_uri": services.apps.redirect_uri(app.id),
        }
        for app in await services.apps.of(user.org)
    ]
    kinds = [
        (f"{i.name}/{kind}" if kind else i.name, f"{i.title} ({kind})" if kind else i.title)
        for i in services.catalogue.values()
        if i.oauth is not None
        for kind in ("", *sorted(i.oauth.variants))
    ]
    facts = view(visitor, "Apps of your organization", apps=apps, kinds=kinds, problem=error)
    return page("admin_apps.html", facts, status=200 if error is None else 400)


def routes(services: Services) -> list[Route]:
    return [
        shown(services, _PATH, show),
        action(services, _PATH, add),
        action(services, f"{_PATH}/remove", remove),
    ]
