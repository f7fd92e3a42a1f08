"""The door of /v1: who calls, what the body is, and every refusal as a problem. Routes behind it are thin."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.errors import Denied, InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.ids import new_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, ServiceAccount, Status, User
from valetkey.server.problems import headers_of, problem, status_of
from valetkey.server.revocation import store as revocation
from valetkey.server.services import Services
from valetkey.server.tokens.proofs import is_under_dpop


class _StatusVerb(StringConvertor):
    """The last segment of `…/suspend` and `…/resume`, and of no other path."""

    regex = "suspend|resume"


register_url_convertor("status", _StatusVerb())

LARGEST_BODY = 256 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the door. Exactly one of the three kinds, active, with the scopes its token names.

    `jkt` is the key this request proved, the one its token is bound to; None for a bearer token.
    """

    principal: User | Agent | ServiceAccount
    scopes: frozenset[str]
    jkt: str | None = None

    @property
    def org(self) -> str:
        return self.principal.org

    def user(self) -> User:
        """The user; anyone else is refused."""
        if not isinstance(self.principal, User):
            raise Denied("Only a person can do this.", reason="not_a_user")
        return self.principal

    def agent(self) -> Agent:
        """The agent; anyone else is refused."""
        if not isinstance(self.principal, Agent):
            raise Denied("Only an agent can do this.", reason="not_an_agent")
        return self.principal

    def agent_with_tasks(self) -> Agent:
        """The agent, when its token was not narrowed to reading itself."""
        agent = self.agent()
        if "tasks:open" not in self.scopes:
            raise Denied("This token does not work on tasks.", reason="scope")
        return agent

    def administrator(self) -> User:
        """The administrator; anyone else is refused."""
        user = self.user()
        if not user.is_administrator:
            raise Denied("Only an administrator can do this.", reason="not_administrator")
        return user

    def may(self, scope: str) -> None:
        """Raise unless a user, or a service account that was given `scope`. Agents manage nothing."""
        if isinstance(self.principal, Agent):
            raise Denied("An agent cannot do this.", reason="agent")
        if isinstance(self.principal, ServiceAccount) and scope not in self.scopes & self.principal.scopes:
            raise Denied(f"This service account does not have {scope}.", reason="scope")

    @property
    def sees_all(self) -> bool:
        """Whether the whole organization is visible: administrators, and service accounts by scope."""
        return isinstance(self.principal, ServiceAccount) or (
            isinstance(self.principal, User) and self.principal.is_administrator
        )


Handler = Callable[[Services, Caller, Request], Awaitable[Any]]
OpenHandler = Callable[[Services, Request], Awaitable[Any]]


def route(services: Services, path: str, method: str, handler: Handler, *, status: int = 200) -> Route:
    """A route for authenticated callers."""

    async def endpoint(request: Request) -> Response:
        return await _answered(lambda: _authenticated(services, handler, request), request, status)

    return Route(path, endpoint, methods=[method])


def open_route(services: Services, path: str, method: str, handler: OpenHandler, *, status: int = 200) -> Route:
    """A route that proves the caller itself; only /v1/login."""

    async def endpoint(request: Request) -> Response:
        return await _answered(lambda: handler(services, request), request, status)

    return Route(path, endpoint, methods=[method])


async def _authenticated(services: Services, handler: Handler, request: Request) -> Any:
    return await handler(services, await caller_of(services, request), request)


async def caller_of(services: Services, request: Request) -> Caller:
    """Who presents the token, as known now. Raises `NotAuthenticated`, one sentence for every cause."""
    values = request.headers.getlist("authorization")
    scheme, _, token = (values[0] if len(values) == 1 else "").partition(" ")
    if scheme.lower() not in ("bearer", "dpop") or not token:
        raise NotAuthenticated("The request needs one token for this API, under the scheme Bearer or DPoP.")
    claims = await services.verifying.at_api(token)
    proof = None
    if claims.cnf is not None or scheme.lower() == "dpop":
        proof = services.proofs.at_resource(
            request.headers.raw,
            method=request.method,
            url=services.settings.issuer + request.scope["raw_path"].decode("latin-1"),
            token=token,
            cnf=claims.cnf,
            under_dpop=scheme.lower() == "dpop",
        )
    async with services.database.read() as db:
        found: User | Agent | ServiceAccount | None = None
        match claims.principal[:4]:
            case "usr_":
                found = await principals.user(db, claims.principal)
            case "agt_":
                found = await principals.agent(db, claims.principal)
            case "svc_":
                found = await principals.service_account(db, claims.principal)
        nodes = {claims.jti, claims.credential, claims.principal, claims.org}
        if isinstance(found, Agent):
            nodes.add(found.owner)
        if found is None or found.org != claims.org or await revocation.among(db, nodes):
            raise NotAuthenticated(detail="unknown or revoked principal")
    if found.status is not Status.ACTIVE:
        raise NotAuthenticated(detail="suspended")
    if proof is not None:
        await services.proofs.spend(proof)
        request.state.dpop_nonce = services.proofs.offer(proof)
    return Caller(found, claims.scopes, claims.cnf)


async def body_of(request: Request, kind: type[T]) -> T:
    """The JSON body as `kind`: bounded, typed, no unknown members. Raises `InvalidRequest`."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("The body must be application/json.")
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > LARGEST_BODY:
            raise InvalidRequest(f"The body is larger than {LARGEST_BODY} bytes.")
    try:
        return msgspec.json.decode(received, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body cannot be read: {str(error)[:200]}.") from error


def same_org(found: T | None, caller: Caller, what: str) -> T:
    """The thing, or `NotFound`: the same for what does not exist and what is another organization's."""
    if found is None or getattr(found, "org", None) != caller.org:
        raise NotFound(f"There is no such {what}, or it is not yours.")
    return found


def listed(rows: list[Any]) -> dict[str, Any]:
    """A list, in the shape of every list."""
    return {"data": rows, "next_cursor": None, "has_more": False}


async def _answered(work: Callable[[], Awaitable[Any]], request: Request, status: int) -> Response:
    request_id = new_id("aud")
    try:
        result = await work()
    except Exception as error:  # the one translation of this door
        document = problem(error, request_id=request_id)
        response = Response(msgspec.json.encode(document), status_of(error))
        for name, value in headers_of(error, under_dpop=is_under_dpop(request.headers.raw)):
            response.headers[name.decode()] = value.decode()
        if status_of(error) == 500:
            request.app.state.log_bug(error, request_id)
        return response
    if isinstance(result, Response):
        return result
    headers = {"content-type": "application/json", "cache-control": "no-store", "x-request-id": request_id}
    if (nonce := getattr(request.state, "dpop_nonce", None)) is not None:
        headers["dpop-nonce"] = nonce
    return Response(msgspec.json.encode(result), status, headers=headers)
