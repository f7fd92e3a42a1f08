"""Looking at the trail: a page of it, or one record with what belongs to it. The API and the pages both ask here."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit import find
from valetkey.server.audit.chain import read_record, spelled_time
from valetkey.server.audit.model import AuditRecord, Event
from valetkey.server.audit.sight import DECISIONS, Seen, Viewer, Wanted, is_wanted, mark, may_see
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.ids import is_id
from valetkey.server.policy.ready import EDITION
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import ServiceAccount, User
from valetkey.server.services import Services

MOST_LOOKED_AT: Final = 10_000
"""Records looked at for one page; beyond, the page says how far it looked and how to go on."""
_CHUNK: Final = 500
_NEWEST: Final = "z"  # after every id
_CLOCKS_APART: Final = 10.0  # seconds by which the order of ids and of times may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A page, the newest first. `before` goes on after it, empty at the end; `behind` records were not looked at."""

    found: tuple[Seen, ...]
    before: str
    behind: int


async def viewer_of(services: Services, who: User | ServiceAccount) -> Viewer:
    """Who looks, with the agents they own. An account of the service sees all by its scope, which the door asked."""
    if isinstance(who, ServiceAccount) or who.is_administrator:
        return Viewer(org=who.org, sees_all=True)
    async with services.database.read() as db:
        owned = await principals.agents_of(db, who.org, owner=who.id)
    return Viewer(org=who.org, user=who.id, agents=frozenset(agent.id for agent in owned))


async def look(services: Services, viewer: Viewer, wanted: Wanted, *, before: str = "", limit: int = 50) -> Looked:
    """The newest records that are wanted and may be seen, before the id of one seen already."""
    found: dict[str, Seen] = {}
    looked_at = 0
    async with services.database.read() as db:
        wanted = await _by_id(db, viewer, wanted)
        groups = _groups(viewer, wanted)
        cursor = before or _NEWEST
        if wanted.until and (late := await find.at_time(db, _moved(wanted.until, _CLOCKS_APART))):
            cursor = min(cursor, late)
        floor = await find.at_time(db, _moved(wanted.since, -_CLOCKS_APART)) if wanted.since else ""
        is_over = bool(wanted.since) and not floor  # nothing is that late
        unnoted, behind = await find.read_unnoted(db) if groups else ([], 0)
        recent = [record for record in unnoted if record.id < cursor]
        while not is_over and len(found) <= limit and looked_at < MOST_LOOKED_AT:
            if groups:
                records, further = await find.marked(db, groups, cursor, _CHUNK)
            else:
                records, further = await find.newest(db, cursor, _CHUNK)
            looked_at += _CHUNK
            # What the index has not come to is read as it is, and takes its place among what was found.
            records += [record for record in recent if record.id >= further]
            recent = [record for record in recent if record.id < further]
            for seen in await find.seen(db, records, unnoted):
                if may_see(viewer, seen) and is_wanted(wanted, seen):
                    found[seen.id] = seen
            is_over, cursor = not further or further < floor, further
    newest = [found[one] for one in sorted(found, reverse=True)]
    if len(newest) > limit:
        return Looked(found=tuple(newest[:limit]), before=newest[limit - 1].id, behind=behind)
    return Looked(found=tuple(newest), before="" if is_over else cursor, behind=behind)


async def one(services: Services, viewer: Viewer, record_id: str) -> tuple[Seen, bytes]:
    """A record and its line. What may not be seen does not exist."""
    if is_id(record_id):
        async with services.database.read() as db:
            line = await find.line(db, record_id)
            if line is not None:
                [seen] = await find.seen(db, [read_record(line)])
                if may_see(viewer, seen):
                    return seen, line
    raise NotFound("There is no such record, or it is not yours to see.")


async def ready_choice(services: Services, viewer: Viewer, decision: AuditRecord) -> str:
    """The id of the record of what was chosen last about the ready rules before a decision that they spoke in.

    Empty where they did not, nobody had chosen, or who chose is not this viewer's to see.
    """
    policies = decision.members.get("policies")
    if not isinstance(policies, list) or not any(str(one).startswith(EDITION) for one in policies):
        return ""
    # SECURITY: looked for as by the viewer, so that it leads to nothing the trail does not show them.
    # Guarded by tests/flows/test_audit_page.py::test_a_decision_under_ready_rules_leads_to_their_choice
    wanted = Wanted(event=Event.READY_RULES_CHOSEN.value)
    found = (await look(services, viewer, wanted, before=decision.id, limit=1)).found
    return found[0].id if found else ""


def shown(seen: Seen) -> dict[str, Any]:
    """A record as JSON, the same in the API and beside the pages."""
    r = seen.record
    return {"id": r.id, "writer": r.writer, "seq": r.seq, "time": r.time, "event": r.event, **r.members}


def read_wanted(wanted: Wanted) -> Wanted:
    """What was typed, held to what can be looked for. Times may be short: `2027-01-15`, `2027-01-15T08:00`."""
    if wanted.decision and wanted.decision not in DECISIONS:
        raise InvalidRequest(f"decision is one of {', '.join(DECISIONS)}.", hint="Leave it out to see all.")
    for kind, value in wanted.marks:
        if len(value) > 128 or not value.isprintable():
            raise InvalidRequest(f"{kind} has at most 128 printable characters.", hint="Correct it and look again.")
    return replace(wanted, since=_time(wanted.since, "since"), until=_time(wanted.until, "until"))


async def _by_id(db: AsyncConnection, viewer: Viewer, wanted: Wanted) -> Wanted:
    """An e-mail address or an agent's name as the id records name; one that nobody has is looked for as it is."""
    if wanted.user and not is_id(wanted.user):
        user = await principals.user_by_email(db, viewer.org, wanted.user)
        wanted = replace(wanted, user=user.id if user is not None else wanted.user)
    if wanted.agent and not is_id(wanted.agent):
        agent = await principals.agent_by_name(db, viewer.org, wanted.agent)
        wanted = replace(wanted, agent=agent.id if agent is not None else wanted.agent)
    return wanted


def _groups(viewer: Viewer, wanted: Wanted) -> list[list[int]]:
    """Marks to find by: one of each list. What concerns the whole deployment is shown to who sees all."""
    orgs = (viewer.org, "") if viewer.sees_all else (viewer.org,)
    groups = [[mark(org, kind, value) for org in orgs] for kind, value in wanted.marks]
    if not viewer.sees_all:
        hers = [("user", viewer.user), *(("agent", agent) for agent in sorted(viewer.agents))]
        groups.append([mark(viewer.org, kind, value) for kind, value in hers])
    return groups


def _time(text: str, name: str) -> str:
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        return spelled_time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is not a time.", hint="Write it as 2027-01-15T08:00, in UTC.") from None


def _moved(time: str, seconds: float) -> str:
    return spelled_time(datetime.fromisoformat(time).timestamp() + seconds)
