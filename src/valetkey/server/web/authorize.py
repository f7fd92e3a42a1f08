"""/oauth/authorize in a browser: hands over what arrives, sends the browser where the answer says, decides nothing."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import InvalidRequest
from valetkey.server.ids import is_handle
from valetkey.server.oauth.arriving import GoOn
from valetkey.server.oauth.authorize import Next, Question, SignIn
from valetkey.server.oauth.form import LARGEST_FORM, Form, parse_form
from valetkey.server.oauth.sent_back import Redirected
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, address_of, refused, shown

_FORM = "application/x-www-form-urlencoded"


async def opened(services: Services, visitor: Visitor, request: Request) -> Response:
    form = parse_form(_FORM, request.scope["query_string"], sender=address_of(request))
    handle = form.get("request") or ""
    if not is_handle(handle, "rq"):
        return await _arrived(services, form)
    came = await services.authorize.came_back(Secret(handle), visitor.user, visitor.session)
    return led_on(came, Secret(handle))


def led_on(came: Next, handle: Secret) -> Response:
    """Where the browser goes next."""
    match came:
        case Redirected():
            return RedirectResponse(came.location, 303)
        case SignIn():
            back = quote(f"/oauth/authorize?request={handle.reveal()}", safe="")
            level = f"&acr={quote(' '.join(came.acr), safe='')}" if came.acr else ""
            return RedirectResponse(f"/login?next={back}" + ("&again=1" if came.again else "") + level, 303)
        case Question():
            return RedirectResponse(f"/consent?request={handle.reveal()}", 303)


async def _arrived(services: Services, form: Form) -> Response:
    came = await services.arriving.arrived(form)
    if isinstance(came, GoOn):
        return RedirectResponse(f"/oauth/authorize?request={came.handle.reveal()}", 303)
    return RedirectResponse(came.location, 303)


def routes(services: Services) -> list[Route]:
    async def posted(request: Request) -> Response:
        """From the client's page, so without a token of ours and without cookies: it is kept, and nothing else."""
        try:
            received = b""
            async for chunk in request.stream():
                received += chunk
                if len(received) > LARGEST_FORM:
                    raise InvalidRequest(f"The form is larger than {LARGEST_FORM} bytes.")
            kind = request.headers.get("content-type", "")
            return await _arrived(services, parse_form(kind, received, sender=address_of(request)))
        except Exception as error:  # the one translation of this door
            nobody = Visitor(session=None, user=None, guest=Secret(""), csrf="", browser="", now=services.clock.now())
            return refused(nobody, error)

    return [
        shown(services, "/oauth/authorize", opened, open_to_all=True),
        Route("/oauth/authorize", posted, methods=["POST"]),
    ]
