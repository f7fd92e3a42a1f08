"""The door of /v1: who calls, what the body is, and every refusal as a problem. Routes behind it are thin."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

import msgspec
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from valetkey.server.api.answers import Listed
from valetkey.server.api.described import JSON, ApiRoute, Described, Refusals
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
A = TypeVar("A")  # what a handler answers
B = TypeVar("B")  # the body it takes
Q = TypeVar("Q")  # the query it takes


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


@overload
def route(
    services: Services,
    path: str,
    method: str,
    handler: Callable[[Services, Caller, Request], Awaitable[A]],
    *,
    status: int = 200,
    summary: str = "",
    answer: type[A] | None = None,
    media: str = JSON,
    scopes: tuple[str, ...] = (),
    refuses: Refusals = (),
) -> ApiRoute: ...
@overload
def route(
    services: Services,
    path: str,
    method: str,
    handler: Callable[[Services, Caller, Request, B], Awaitable[A]],
    *,
    body: type[B],
    status: int = 200,
    summary: str = "",
    answer: type[A] | None = None,
    media: str = JSON,
    scopes: tuple[str, ...] = (),
    refuses: Refusals = (),
) -> ApiRoute: ...
@overload
def route(
    services: Services,
    path: str,
    method: str,
    handler: Callable[[Services, Caller, Request, Q], Awaitable[A]],
    *,
    query: type[Q],
    status: int = 200,
    summary: str = "",
    answer: type[A] | None = None,
    scopes: tuple[str, ...] = (),
    refuses: Refusals = (),
) -> ApiRoute: ...
def route(services: Services, path: str, method: str, handler: Any, *, status: int = 200, **said: Any) -> ApiRoute:
    """A route for authenticated callers. What it takes is decoded here, and given to the handler as its last argument.

    `summary`, `answer`, `scopes` and `refuses` say in /openapi.json what it is for, gives, needs, and refuses with.
    """
    described = Described(method=method, path=path, status=status, **said)

    async def work(request: Request) -> Any:
        caller = await caller_of(services, request)
        return await handler(services, caller, request, *await _taken(request, described))

    return _described(work, described)


@overload
def open_route(
    services: Services,
    path: str,
    method: str,
    handler: Callable[[Services, Request], Awaitable[A]],
    *,
    status: int = 200,
    summary: str = "",
    answer: type[A] | None = None,
    refuses: Refusals = (),
) -> ApiRoute: ...
@overload
def open_route(
    services: Services,
    path: str,
    method: str,
    handler: Callable[[Services, Request, B], Awaitable[A]],
    *,
    body: type[B],
    status: int = 200,
    summary: str = "",
    answer: type[A] | None = None,
    refuses: Refusals = (),
) -> ApiRoute: ...
def open_route(services: Services, path: str, method: str, handler: Any, *, status: int = 200, **said: Any) -> ApiRoute:
    """A route that proves the caller itself; only /v1/login and /v1/login/cli."""
    described = Described(method=method, path=path, status=status, is_open=True, **said)

    async def work(request: Request) -> Any:
        return await handler(services, request, *await _taken(request, described))

    return _described(work, described)


def _described(work: Callable[[Request], Awaitable[Any]], described: Described) -> ApiRoute:
    async def endpoint(request: Request) -> Response:
        return await _answered(lambda: work(request), request, described.status)

    return ApiRoute(endpoint, described)


async def _taken(request: Request, described: Described) -> tuple[Any, ...]:
    """What the route declared it takes, decoded: its body or its query, or nothing."""
    if any("\x00" in str(value) for value in request.path_params.values()):
        raise NotFound("There is nothing at this address.")  # no name holds one, and not every database can ask
    if described.body is not None:
        _query_of(request, NoQuery)
        return (await body_of(request, described.body),)
    if described.query is not None:
        return (_query_of(request, described.query),)
    if described.summary:
        _query_of(request, NoQuery)
    return ()


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """An address that takes no parameters."""


def _query_of(request: Request, kind: type[T]) -> T:
    """The query as `kind`: nothing unknown, nothing twice. Raises `InvalidRequest`."""
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) != len(pairs):
        raise InvalidRequest("A parameter of the query occurs twice.")
    try:
        query = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The query cannot be read: {str(error)[:200]}.") from error
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(cast(type[msgspec.Struct], kind))}
    for name, text in given.items():
        if isinstance(number := getattr(query, fields[name]), int) and str(number) != text:  # such as 1e2
            raise InvalidRequest(f"{name} is a number, in digits.")
    return query


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
        body = msgspec.json.decode(received, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body cannot be read: {str(error)[:200]}.") from error
    # SECURITY: not every database can hold a NUL, and none of our texts needs one; JSON can only write it escaped.
    # Guarded by tests/flows/test_openapi.py::test_a_nul_in_any_text_is_refused_before_the_database_sees_it
    if b"\\u0000" in received and _holds_nul(msgspec.to_builtins(body)):
        raise InvalidRequest("The body holds a NUL.")
    return body


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(part) for item in value.items() for part in item)
        case list():
            return any(_holds_nul(part) for part in value)
        case _:
            return False


def same_org(found: T | None, caller: Caller, what: str) -> T:
    """The thing, or `NotFound`: the same for what does not exist and what is another organization's."""
    if found is None or getattr(found, "org", None) != caller.org:
        raise NotFound(f"There is no such {what}, or it is not yours.")
    return found


def listed(rows: list[T], next_cursor: str | None = None) -> Listed[T]:
    """A list, or one page of it, in the shape of every list."""
    return {"data": rows, "next_cursor": next_cursor, "has_more": next_cursor is not None}


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
    if (seconds := getattr(request.state, "retry_after", None)) is not None:
        headers["retry-after"] = str(seconds)
    return Response(msgspec.json.encode(result), status, headers=headers)
