"""/v1/notice-addresses: where a person is told that a call waits. They are named on their page."""

from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.approvals.notices.model import NoticeAddress
from valetkey.server.errors import InvalidRequest, NotFound, TooMany
from valetkey.server.services import Services


async def listed(services: Services, caller: Caller, request: Request) -> answers.NoticeAddresses:
    return {"data": [_shown(one) for one in await services.notice_addresses.of(caller.user())]}


async def test(services: Services, caller: Caller, request: Request) -> answers.NoticeAddress:
    return _shown(await services.notice_addresses.try_out(caller.user(), request.path_params["id"]))


def _shown(a: NoticeAddress) -> answers.NoticeAddress:
    return {
        "id": a.id,
        "kind": a.kind.value,
        "place": a.place,
        "is_confirmed": a.confirmed_at is not None,
        "told_at": a.told_at,
        "failures": a.failures,
        "problem": a.problem,
        "created_at": a.created_at,
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/notice-addresses",
            "GET",
            listed,
            summary="Where you are told that a call waits, and whether it works",
            answer=answers.NoticeAddresses,
        ),
        route(
            services,
            "/v1/notice-addresses/{id}/test",
            "POST",
            test,
            summary="Send a notice there that says it is one to try; the answer says how it went",
            answer=answers.NoticeAddress,
            refuses=(NotFound, InvalidRequest, TooMany),
        ),
    ]
