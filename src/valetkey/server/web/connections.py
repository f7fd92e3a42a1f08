"""/connections: which accounts agents can be given part of, connecting one, and taking one away with its report."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.connections import store
from valetkey.server.connections.ending import store as ending
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.refreshing.model import Refreshing
from valetkey.server.connections.status import statuses
from valetkey.server.errors import InvalidRequest, NotFound, UpstreamFailed, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.revocation.hops import HopReport
from valetkey.server.revocation.revoke import revoke
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, local_path, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.wording import ago, moment


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    asked = request.query_params
    if reconnect := asked.get("reconnect"):  # the link in a refusal, wherever the agent showed it
        return RedirectResponse(f"/connections/new?{urlencode({'reconnect': reconnect})}", 303)
    return await _page(services, visitor, asked.get("next"), linked=asked.get("linked", ""))


async def paste(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    back = local_path(form.get("next"))
    try:
        await services.link.paste(
            form.must("integration"), Secret(form.get("credential") or ""), name=None, shared=False, by=user
        )
    except (InvalidRequest, NotFound, UpstreamFailed) as error:
        return await _page(services, visitor, back, problem=error)
    return RedirectResponse(back if back != "/" else "/connections", 303)


async def disconnect(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """Revoke one of one's own connections. A shared one is an administrator's, elsewhere."""
    user, _ = visitor.signed_in()
    async with services.database.read() as db:
        found = await store.connection(db, form.get("connection") or "")
    if found is None or found.facts.owner != user.id or found.facts.org != user.org:
        raise NotFound("There is no such connection, or it is not yours.")
    report = await revoke(
        found.facts.id,
        org=user.org,
        by=user.id,
        reason="disconnected",
        journal=services.journal,
        clock=services.clock,
        hops=services.hops,
    )
    return await _page(services, visitor, form.get("next"), report=report.hops)


async def _page(
    services: Services,
    visitor: Visitor,
    wanted: str | None,
    *,
    problem: ValetkeyError | None = None,
    report: tuple[HopReport, ...] = (),
    linked: str = "",
) -> Response:
    user, _ = visitor.signed_in()
    back = local_path(wanted)
    async with services.database.read() as db:
        found = await store.usable_by(db, org=user.org, user=user.id)
        status = await statuses(db, [c.facts.id for c in found])
        not_ended = await ending.not_ended(db, user.id)
        used = await store.last_used(db, [c.facts.id for c in found])
        renewed = await refreshing.rows(db, [c.facts.id for c in found])
    apps = await services.apps.of(user.org)
    rows: list[dict[str, Any]] = [
        {
            "id": c.facts.id,
            "title": services.catalogue[c.facts.integration].title,
            "account": c.facts.account or c.facts.name,
            "name": c.facts.name,
            "base_url": c.facts.base_url,
            "is_shared": c.facts.owner is None,
            "is_mine": c.facts.owner == user.id,
            "needs_reconnect": status[c.facts.id] == "needs_reconnect",
            "can_reconnect": c.linked is not None and c.linked.app in {a.id for a in apps},
            "can_do": _can_do(services, c),
            "last_used": ago(used[c.facts.id], visitor.now) if c.facts.id in used else "never",
            "health": _health(renewed.get(c.facts.id), visitor.now),
        }
        for c in found
        if status[c.facts.id] != "revoked" and c.facts.integration in services.catalogue
    ]
    by_consent = [{"name": a.integration, "title": services.catalogue[a.integration].title} for a in apps]
    integrations = [(i.name, i.title, False) for i in services.catalogue.values() if not i.is_registered]
    facts = view(
        visitor,
        "Connections",
        connections=rows,
        by_consent=by_consent,
        not_ended=[
            {"title": services.catalogue[c.facts.integration].title, "account": c.facts.account, "detail": one.detail}
            for c, one in not_ended
            if c.facts.integration in services.catalogue
        ],
        linked=next((row for row in rows if row["id"] == linked), None),
        integrations=integrations,
        back="" if back == "/" else back,
        problem=problem,
        report=[{"hop": h.hop, "outcome": h.outcome.value, "detail": h.detail} for h in report],
    )
    return page("connections.html", facts, status=200 if problem is None else 400)


def _health(row: Refreshing | None, now: float) -> str:
    """How its credential is doing, in one sentence; empty where it does not end by itself."""
    if row is None or row.state == "needs_reconnect":
        return ""
    if row.state == "waiting":
        return "The API did not renew its credential yet; it is tried again by itself."
    begins = f"Its credential is from {moment(row.refreshed_at)}"
    if row.expires_at is None:
        return f"{begins}."
    before = " and is renewed before" if row.sealed is not None and row.expires_at > now else ""
    return f"{begins}; it ends {moment(row.expires_at)}{before}."


def _can_do(services: Services, connection: Connection) -> list[str]:
    """What the API gave, in sentences that complete "it may …"; empty where nobody said."""
    oauth = services.catalogue[connection.facts.integration].oauth
    if connection.linked is None or oauth is None:
        return []
    return [oauth.scopes[name].sentence if name in oauth.scopes else name for name in connection.linked.granted]


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/connections", show),
        action(services, "/connections/paste", paste),
        action(services, "/connections/disconnect", disconnect),
    ]
