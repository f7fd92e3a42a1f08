"""/audit: the trail as a person may see it, looked through by filters in the address; and one record by itself.

Every page has a `.json` twin with the facts of /v1. The badge says what this very page checked, and no more.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.audit import find
from valetkey.server.audit.model import Event
from valetkey.server.audit.sight import DECISIONS, Seen, Viewer, Wanted
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.ids import is_id
from valetkey.server.principals import store as principals
from valetkey.server.services import Services
from valetkey.server.trail.look import Looked, look, one, read_wanted, ready_choice, shown, viewer_of
from valetkey.server.trail.words import ids_in, told
from valetkey.server.web.door import Visitor, view
from valetkey.server.web.door import shown as page_of
from valetkey.server.web.render import page, security_headers

_FIELDS = ("since", "until", "event", "user", "agent", "task", "delegation", "connection", "integration", "decision",
           "reason")  # fmt: skip
_PAGE = 50
_RULES = (Event.POLICY_APPLIED, Event.OWN_RULES_CHANGED)
_APPROVAL = (Event.APPROVAL_ASKED, Event.APPROVAL_AGREED, Event.APPROVAL_ANSWERED, Event.APPROVAL_CANCELLED)


async def trail(services: Services, visitor: Visitor, request: Request) -> Response:
    viewer, asked, looked = await _looked(services, visitor, request)
    names = await _names(services, viewer, looked.found)
    rows = [(told(seen, names), _pretty(seen)) for seen in looked.found]
    older = urlencode(asked | {"before": looked.before}) if looked.before else ""
    facts = view(
        visitor, "Audit", rows=rows, asked={name: asked.get(name, "") for name in _FIELDS}, older=older,
        again=urlencode(asked), is_newest=not request.query_params.get("before"), behind=looked.behind,
        sees_all=viewer.sees_all, decisions=DECISIONS,
        events=[event.value for event in Event], badge=await services.badges.now(),
    )  # fmt: skip
    return page("audit.html", facts, script=True)


async def trail_json(services: Services, visitor: Visitor, request: Request) -> Response:
    _, _, looked = await _looked(services, visitor, request)
    data = [shown(seen) for seen in looked.found]
    return _json({"data": data, "before": looked.before or None, "has_more": bool(looked.before)})


async def record(services: Services, visitor: Visitor, request: Request) -> Response:
    viewer, seen, line = await _one(services, visitor, request)
    related = await _related(services, viewer, seen)
    names = await _names(services, viewer, [seen, *[other for _, other in related]])
    facts = view(
        visitor, "Record", row=told(seen, names), seen=seen, line=line.decode(), facts=_facts(seen),
        related=[(label, told(other, names)) for label, other in related], badge=await services.badges.now(),
    )  # fmt: skip
    return page("audit_record.html", facts)


async def record_json(services: Services, visitor: Visitor, request: Request) -> Response:
    _, seen, _ = await _one(services, visitor, request)
    return _json(shown(seen))


async def _looked(services: Services, visitor: Visitor, request: Request) -> tuple[Viewer, dict[str, str], Looked]:
    user, _ = visitor.signed_in()
    pairs = request.query_params.multi_items()
    asked = {name: value.strip() for name, value in pairs if value.strip()}
    if len({name for name, _ in pairs}) != len(pairs) or not set(asked) <= {*_FIELDS, "before"}:
        raise InvalidRequest("The address asks for something the trail cannot be looked through by.",
                             hint="Begin again at /audit.")  # fmt: skip
    before = asked.pop("before", "")
    if before and not is_id(before):
        raise InvalidRequest("The page before this one is not known.", hint="Begin again at /audit.")
    viewer = await viewer_of(services, user)
    with services.looks.one(user.id):
        return viewer, asked, await look(services, viewer, read_wanted(Wanted(**asked)), before=before, limit=_PAGE)


async def _one(services: Services, visitor: Visitor, request: Request) -> tuple[Viewer, Seen, bytes]:
    user, _ = visitor.signed_in()
    viewer = await viewer_of(services, user)
    seen, line = await one(services, viewer, request.path_params["id"])
    return viewer, seen, line


async def _related(services: Services, viewer: Viewer, seen: Seen) -> Sequence[tuple[str, Seen]]:
    """The records this one stands on or was followed by, each asked for as if by its own address."""
    ids: list[tuple[str, str]] = [("Decision", seen.says("decision"))]
    async with services.database.read() as db:
        if (ended := await find.outcome(db, seen.id)) is not None:
            ids.append(("Outcome", ended.id))
        if seen.record.event != Event.TOKEN_ISSUED and (token := seen.says("token")):
            ids.append(("Credential issued", await find.issue_of(db, token)))
        policies = seen.record.members.get("policies")
        for policy in policies if isinstance(policies, list) else ():
            ids += [("Rules", other) for other in await find.referring(db, str(policy), _RULES)]
        if approval := seen.says("approval"):
            ids += [("Approval", other) for other in await find.referring(db, approval, _APPROVAL)]
    ids.append(("Choice of the ready rules", await ready_choice(services, viewer, seen.record)))
    for label, event in (("Task opened", Event.TASK_OPENED), ("Consent", Event.DELEGATION_RECORDED)):
        kind = "task" if event is Event.TASK_OPENED else "delegation"
        if (value := seen.says(kind)) and seen.record.event != event:
            found = await look(services, viewer, Wanted(**{kind: value, "event": event.value}), limit=1)
            ids += [(label, other.id) for other in found.found]
    related = []
    for label, other in ids:
        if other and other != seen.id:
            with suppress(NotFound):  # rules are the administrators' to see, a call is hers
                related.append((label, (await one(services, viewer, other))[0]))
    return related


async def _names(services: Services, viewer: Viewer, shown_here: Sequence[Seen]) -> dict[str, str]:
    """What those are called who stand in these records."""
    ids = {one for seen in shown_here for one in ids_in(seen)}
    async with services.database.read() as db:
        return await principals.names_of(db, viewer.org, ids)


def _facts(seen: Seen) -> list[tuple[str, str]]:
    return [(name, _written(value)) for name, value in seen.record.members.items()]


def _written(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _pretty(seen: Seen) -> str:
    return msgspec.json.format(msgspec.json.encode(shown(seen)), indent=1).decode()


def _json(found: Any) -> Response:
    headers = security_headers() | {"content-type": "application/json"}
    return Response(msgspec.json.encode(found), headers=headers)


def routes(services: Services) -> list[Route]:
    return [
        page_of(services, "/audit", trail),
        page_of(services, "/audit.json", trail_json),
        page_of(services, "/audit/{id}.json", record_json),
        page_of(services, "/audit/{id}", record),
    ]
