"""/v1/apps: the organization's apps at APIs, by which its people connect their accounts."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.connections.apps.model import App
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.secret import Secret
from valetkey.server.services import Services

APPS = Listing("apps")


class NewApp(msgspec.Struct, forbid_unknown_fields=True):
    """`kind` is one of the integration's kinds of app; usually there is one only, without a name."""

    integration: str
    client_id: str
    client_secret: str | None = None
    kind: str = ""


def shown(services: Services, app: App) -> answers.App:
    """An app, as the API shows one: never the secret."""
    return {
        "id": app.id,
        "integration": app.integration,
        "kind": app.kind,
        "client_id": app.client_id,
        "redirect_uri": services.apps.redirect_uri(app.id),
    }


async def create(services: Services, caller: Caller, request: Request, body: NewApp) -> answers.App:
    app = await services.apps.add(
        body.integration,
        client_id=body.client_id,
        secret=Secret(body.client_secret) if body.client_secret else None,
        kind=body.kind,
        by=caller.administrator(),
    )
    return shown(services, app)


async def apps(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.App]:
    caller.may("connections:read")
    after = APPS.after(services, caller, page.cursor)
    found = sorted((app for app in await services.apps.of(caller.org) if app.id > after), key=lambda app: app.id)
    rows, cursor = APPS.cut(services, caller, found, page.limit)
    return listed([shown(services, app) for app in rows], cursor)


async def check(services: Services, caller: Caller, request: Request) -> answers.CheckedApp:
    app_id = request.path_params["id"]
    verdict = await services.apps.tried(app_id, by=caller.administrator())
    return {"id": app_id, "client": verdict, "redirect_uri": services.apps.redirect_uri(app_id)}


async def remove(services: Services, caller: Caller, request: Request) -> answers.Removed:
    app_id = request.path_params["id"]
    await services.apps.remove(app_id, by=caller.administrator())
    return {"id": app_id, "removed": True}


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/apps",
            "POST",
            create,
            status=201,
            summary="Register the organization's app at an API, or replace its secret",
            body=NewApp,
            answer=answers.App,
            refuses=(Conflict, NotFound),
        ),
        route(
            services,
            "/v1/apps",
            "GET",
            apps,
            summary="The APIs where accounts are connected by consent",
            query=Page,
            answer=answers.Listed[answers.App],
            scopes=("connections:read",),
        ),
        route(
            services,
            "/v1/apps/{id}/check",
            "POST",
            check,
            summary="Ask the API whether it knows the app by its secret",
            answer=answers.CheckedApp,
            refuses=(NotFound,),
        ),
        route(
            services,
            "/v1/apps/{id}",
            "DELETE",
            remove,
            summary="Forget an app; what was connected by it is not renewed any more",
            answer=answers.Removed,
            refuses=(NotFound,),
        ),
    ]
