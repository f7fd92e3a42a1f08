"""Every answer of /v1 that any story sees is held against what its route says of itself."""

from typing import Any

import msgspec
from starlette.routing import Match

from tests.support.http import Reply
from valetkey.server.api.described import ApiRoute
from valetkey.server.app import App
from valetkey.server.problems import STATUS


def held_to_its_word(app: App, method: str, target: str, reply: Reply) -> None:
    """Fails where a route gave, or refused with, what it does not declare."""
    if not target.startswith("/v1/"):
        return
    scope = {"type": "http", "method": method, "path": target.partition("?")[0], "root_path": "", "headers": []}
    for route in app.mount.routes:
        if isinstance(route, ApiRoute) and route.matches(scope)[0] is Match.FULL:
            _check(route, reply)
            return


def _check(route: ApiRoute, reply: Reply) -> None:
    said = route.described
    if not said.summary or not reply.is_whole:
        return
    if reply.status < 400:
        assert reply.status == said.status, (said.path, reply.status)
        if said.answer is not None:
            msgspec.convert(reply.json(), said.answer)
        return
    codes = {(STATUS.get(refusal, 500), refusal.code) for refusal in said.all_refusals}
    document: Any = reply.json()
    assert (reply.status, document["code"]) in codes, f"{said.method} {said.path} does not declare {document['code']}"
