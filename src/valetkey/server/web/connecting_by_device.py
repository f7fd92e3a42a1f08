"""/connections/elsewhere: the code an API wants to see on another device, and looking whether it was entered.

The page asks the API only when somebody presses its button; looking at the page, or reloading it, asks nobody.
"""

import math

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.connections.by_device.model import WAITING, DeviceLinking, Waiting
from valetkey.server.errors import ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.services import Services
from valetkey.server.web.connecting import went_on
from valetkey.server.web.door import Visitor, action, refused, shown, view
from valetkey.server.web.render import page

_LINKS = [{"href": "/connections", "text": "Your connections"}]


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    user, session = visitor.signed_in()
    linking = request.query_params.get("linking", "")
    try:
        device = await services.connect_by_device.shown(linking, user=user, session=session.id)
    except ValetkeyError as error:
        return refused(visitor, error, links=_LINKS)
    return await _page(services, visitor, device)


async def look(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    linking, by_device = form.get("linking") or "", services.connect_by_device
    try:
        if form.get("decision") == "stop":
            stopped = await by_device.stop(linking, user=user, session=session.id)
            if not stopped.code:
                return RedirectResponse(stopped.back if stopped.back != "/" else "/connections", 303)
            await services.connect_codes.decline(stopped.code, user, session)
            return page("request_done.html", view(visitor, "Declined", allowed=False, is_connecting=True))
        found = await by_device.look(linking, user=user, session=session.id)
    except ValetkeyError as error:
        return refused(visitor, error, links=_LINKS)
    if isinstance(found, Waiting):
        return await _page(services, visitor, found.device, said=WAITING[found.said])
    return went_on(found)


async def _page(services: Services, visitor: Visitor, device: DeviceLinking, *, said: str = "") -> Response:
    title = services.catalogue[device.integration].title
    left = max(0, device.expires_at - visitor.now)
    facts = view(
        visitor,
        f"Connect {title}",
        api=title,
        linking=device.linking.id,
        user_code=device.user_code,
        where=device.page,
        minutes=f"{math.ceil(left / 60)} minutes" if left > 60 else f"{math.ceil(left)} seconds",
        wait_seconds=device.wait_seconds,
        wait=max(0, math.ceil(device.poll_at - visitor.now)),
        said=said,
    )
    return page("connecting_by_device.html", facts)


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/connections/elsewhere", show),
        action(services, "/connections/elsewhere", look),
    ]
