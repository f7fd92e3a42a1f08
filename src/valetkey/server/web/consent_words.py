"""The consent page's facts: who asks, for what, on what, until when. Pure: from a question to what a template shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from valetkey.server.connections.delegable import Delegable
from valetkey.server.delegations.consent import Given, Line, Missing
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Grant, Resource, narrowed
from valetkey.server.errors import Denied
from valetkey.server.integrations.model import Integration, Scope
from valetkey.server.oauth.authorize import Question
from valetkey.server.oauth.choices import TASKS_PER_DAY, Limits, seconds_offered, standing_offered
from valetkey.server.oauth.clients.model import ClientKind
from valetkey.server.oauth.clients.redirects import is_of_this_device, place_of
from valetkey.server.oauth.form import Form
from valetkey.server.principals.model import Agent, User

Catalogue = Mapping[str, Integration]

WHY = {
    Missing.CLIENT_CHANGED: "Its name, keys or addresses are not those you agreed to before.",
    Missing.ASKED_AGAIN: "It asked to be shown to you again.",
    Missing.IMPERSONABLE: "Any program on your device could say it is this agent, so you are asked every time.",
    Missing.DIFFERENT: "It asks for something else than you agreed to before.",
}


def consent_facts(
    question: Question,
    *,
    held: Delegable,
    owner: User | None,
    shared: Sequence[Agent],
    catalogue: Catalogue,
    limits: Limits,
    now: float,
    form: Form | None,
) -> dict[str, Any]:
    """Everything the template shows, with what she sent before put back (`form`)."""
    request, client, agent = question.request, question.request.client, question.agent
    redirect = request.redirect_uri
    ceilings = [parse_grants(text) for text in agent.ceilings]
    before = [g for given in question.given for g in given.delegation.lines]
    return {
        "client": client.name,
        "agent": agent.name,
        "is_owned": client.kind is ClientKind.AGENT,
        "host": client.host,
        "owner": owner.email if owner is not None else agent.owner,
        "place": place_of(redirect) if redirect is not None else "",
        "is_local": redirect is not None and is_of_this_device(redirect),
        "purpose": request.purpose,
        "is_told_who": request.identifies,
        "why": [WHY[m] for m in question.missing if m in WHY and question.given],
        "before": _before(question.given),
        "lines": [
            _line(number, line, held, catalogue, ceilings, before, form) for number, line in enumerate(request.lines)
        ],
        "seconds": _spans(seconds_offered(request, limits), form, "seconds"),
        "standing_seconds": _spans(standing_offered(request, limits), form, "standing_seconds"),
        "standing": form is not None and form.get("standing") is not None,
        "tasks_per_day": [(n, form is not None and form.get("tasks_per_day") == str(n)) for n in TASKS_PER_DAY],
        "shared": [(a.name, form is not None and a.name in form.every("share")) for a in shared],
    }


def _line(
    number: int,
    line: Line,
    held: Delegable,
    catalogue: Catalogue,
    ceilings: Sequence[Sequence[Grant]],
    before: Sequence[Grant],
    form: Form | None,
) -> dict[str, Any]:
    grant, integration = line.grant, catalogue[line.grant.integration]
    accounts = [c.facts for c in held.connections if c.facts.integration == grant.integration]
    accounts = [f for f in accounts if grant.connection in ("", f.name, f.id)]
    can_be_given = bool(accounts) or integration.name in held.registered
    picked = form.get(f"connection-{number}") if form is not None else None
    sent = form.get(f"resources-{number}") if form is not None else None
    scopes = [
        _scope(number, line, integration.scopes[name], integration, ceilings, before, form)
        for name in sorted(grant.scopes, key=lambda name: (_TIERS.index(integration.scopes[name].tier), name))
    ]
    return {
        "number": number,
        "integration": grant.integration,
        "title": integration.title,
        "place": integration.audience.removeprefix("https://"),
        "is_open": not grant.resources,
        "needs_account": not integration.is_registered,
        "can_be_given": can_be_given,
        "asks": form is not None and str(number) in form.every("ask"),
        "is_on": can_be_given and (form is None or str(number) in form.every("line")),
        "names": sent if sent is not None else _names(grant, integration),
        "rows": max(1, min(6, len(grant.resources))),
        "accounts": [
            {"id": f.id, "label": _account(f.account or f.name, shared=f.owner is None), "is_picked": f.id == picked}
            for f in accounts
        ],
        "wanted_account": grant.connection,
        "plain": [s for s in scopes if not s["is_danger"]],
        "danger": [s for s in scopes if s["is_danger"]],
    }


_TIERS = ("read", "write", "danger")


def _scope(
    number: int,
    line: Line,
    scope: Scope,
    integration: Integration,
    ceilings: Sequence[Sequence[Grant]],
    before: Sequence[Grant],
    form: Form | None,
) -> dict[str, Any]:
    is_danger = scope.tier == "danger"
    value = f"{number}:{scope.name}"
    within = all(
        any(
            g.integration == integration.name and any(integration.includes(wider, scope.name) for wider in g.scopes)
            for g in ceiling
        )
        for ceiling in ceilings
    )
    if form is None:
        is_ticked = line.is_asked and not is_danger
    else:
        is_ticked = value in form.every("danger" if is_danger else "scope")
    return {
        "value": value,
        "name": scope.name,
        "sentence": scope.sentence,
        "is_danger": is_danger,
        "is_write": scope.tier == "write",
        "is_reversible": scope.reversible,
        "outlives": scope.outlives,
        "is_possible": within,
        "is_ticked": is_ticked and within,
        "is_new": bool(before) and not _covered(line, scope.name, integration, before),
    }


def _covered(line: Line, scope: str, integration: Integration, before: Sequence[Grant]) -> bool:
    names = line.grant.resources or (Resource(name="*"),)
    asked = Grant(integration=integration.name, connection="", scopes=frozenset({scope}), resources=names)
    try:
        narrowed([g.by_name() for g in before], (asked,), {integration.name: integration})
    except Denied:
        return False
    return True


def _before(given: Sequence[Given]) -> list[dict[str, str]]:
    return [
        {
            "what": "; ".join(grant_text(g.by_name()) for g in one.delegation.lines),
            "until": f"{datetime.fromtimestamp(one.delegation.expires_at, UTC):%Y-%m-%d %H:%M} UTC",
        }
        for one in given[:3]
    ]


def _spans(offered: Sequence[int], form: Form | None, name: str) -> list[tuple[int, str, bool]]:
    sent = form.get(name) if form is not None else None
    chosen = sent if sent is not None else str(offered[-1]) if offered else ""
    return [(seconds, span(seconds), str(seconds) == chosen) for seconds in offered]


def span(seconds: int) -> str:
    """A length of time as one says it.

    >>> span(600), span(3_600), span(90), span(90_000)
    ('10 minutes', '1 hour', '1 minute 30 seconds', '1 day 1 hour')
    """
    words, left = [], seconds
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        number, left = divmod(left, size)
        if number:
            words.append(f"{number} {name}" + ("s" if number > 1 else ""))
    return " ".join(words[:2])


def _names(grant: Grant, integration: Integration) -> str:
    """One to a line. What a registered server's things are called only it knows: all, unless some were asked for."""
    if not grant.resources and integration.is_registered:
        return "*"
    return "\n".join(r.name for r in grant.resources)


def _account(name: str, *, shared: bool) -> str:
    return f"{name} (shared by your organization)" if shared else name
