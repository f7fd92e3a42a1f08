"""/v1/data-keys: a new key for what is sealed at rest, one small step for each call."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.services import Services


class Reseal(msgspec.Struct, forbid_unknown_fields=True):
    cursor: str = ""


async def rotate(services: Services, caller: Caller, request: Request) -> answers.DataKeyBegun:
    user = caller.administrator()
    begun = await services.data_keys.begin(org=user.org, by=user.id)
    return {"key": begun.key, "records": begun.records, "resumed": begun.resumed}


async def reseal(services: Services, caller: Caller, request: Request, body: Reseal) -> answers.DataKeyResealed:
    user = caller.administrator()
    done = await services.data_keys.reseal(after=body.cursor, org=user.org, by=user.id)
    return {
        "resealed": done.resealed,
        "cursor": done.cursor,
        "finished": done.finished,
        "unopened": list(done.unopened),
        "destroyed": list(done.destroyed),
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/data-keys/rotate",
            "POST",
            rotate,
            summary="A new key for what is sealed at rest, unless the last change has not ended",
            answer=answers.DataKeyBegun,
        ),
        route(
            services,
            "/v1/data-keys/reseal",
            "POST",
            reseal,
            summary="Seal the next records under the new key; at the end, destroy the keys nothing needs",
            body=Reseal,
            answer=answers.DataKeyResealed,
        ),
    ]
