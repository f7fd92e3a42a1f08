"""The only SQL of policies and of users' own rules; and what they compile to, kept by version, which never changes."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.bounded import Bounded
from valetkey.server.db.schema import own_rules, policies
from valetkey.server.errors import Conflict, InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.layer import Layer
from valetkey.server.policy.ready import DEFAULT, Ready, ReadyMode, ready
from valetkey.server.policy.versions.model import OwnRules, Version, compiled, kept_under

_MOST_LAYERS: Final = 4_096

log = logging.getLogger("valetkey")


class Layers:
    """What versions compile to. One per process, for one catalogue."""

    def __init__(self, catalogue: Mapping[str, Integration]) -> None:
        self._catalogue = catalogue
        self._known: Bounded[Layer] = Bounded(_MOST_LAYERS)
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """The ready rules, whatever anybody makes of them."""
        if self._ready is None:
            self._ready = ready(self._catalogue)
        return self._ready

    async def of_org(self, db: AsyncConnection, org: str) -> Layer | None:
        """The policy in force; None where none was ever applied."""
        newest = select(policies.c.id).where(policies.c.org == org).order_by(policies.c.number.desc()).limit(1)
        version = (await db.execute(newest)).scalar()
        if version is None:
            return None
        if (known := self._known.get(version)) is None:
            found = await by_id(db, org, version)
            assert found is not None
            known = self._compiled(found.text, id=found.id, number=found.number, people=found.people)
            self._known[version] = known
        return known

    async def of_user(self, db: AsyncConnection, user: str) -> Layer | None:
        """The user's own rules; None where there are none."""
        found = await own_rules_of(db, user)
        if found is None or not found.text:
            return None
        key = f"{user}.{found.number}"
        if (known := self._known.get(key)) is None:
            known = self._compiled(found.text, id=own_id(found), number=found.number, is_own=True)
            self._known[key] = known
        return known

    def _compiled(self, text: str, **facts: Any) -> Layer:
        try:
            return compiled(text, self._catalogue, **facts)
        except InvalidRequest as error:
            # SECURITY: it was understood when it was applied. What is not understood any more denies everything.
            # Guarded by tests/flows/test_policy.py::test_a_policy_that_is_not_understood_any_more_denies_everything
            log.error("policy %s is not understood any more and denies everything: %s", facts["id"], error.public)
            return Layer(id=facts["id"], number=facts["number"])


def own_id(rules: OwnRules) -> str:
    """How a record names the rules of a user: whose, and which time they were saved."""
    return f"own_{rules.user.removeprefix('usr_')}.{rules.number}"


async def add(tx: AsyncConnection, version: Version) -> None:
    """Raises `Conflict` when another version took its number."""
    row = {name: getattr(version, name) for name in Version.__dataclass_fields__ if name != "people"}
    people = msgspec.json.encode(dict(version.people)).decode()
    try:
        async with tx.begin_nested():
            await tx.execute(insert(policies).values(**row, people=people))
    except IntegrityError as error:
        raise Conflict("Somebody else applied a policy meanwhile.", hint="See valetkey policy diff.") from error


async def newest(db: AsyncConnection, org: str) -> Version | None:
    """The version in force."""
    query = select(policies).where(policies.c.org == org).order_by(policies.c.number.desc()).limit(1)
    return _version((await db.execute(query)).first())


async def by_id(db: AsyncConnection, org: str, version: str) -> Version | None:
    query = select(policies).where(policies.c.org == org, policies.c.id == version)
    return _version((await db.execute(query)).first())


async def by_number(db: AsyncConnection, org: str, number: int) -> Version | None:
    query = select(policies).where(policies.c.org == org, policies.c.number == number)
    return _version((await db.execute(query)).first())


async def versions_of(db: AsyncConnection, org: str, *, after: str, limit: int) -> list[Version]:
    """Oldest first."""
    query = select(policies).where(policies.c.org == org, policies.c.id > after).order_by(policies.c.id).limit(limit)
    return [found for row in await db.execute(query) if (found := _version(row)) is not None]


async def ready_choice(db: AsyncConnection, org: str) -> Version | None:
    """What was chosen last about the ready rules, as a version whose text is the mode; None where nobody chose."""
    return await newest(db, kept_under(org))


async def ready_mode(db: AsyncConnection, org: str) -> ReadyMode:
    """What the ready rules do there."""
    chosen = await ready_choice(db, org)
    return DEFAULT if chosen is None else ReadyMode(chosen.text)


async def own_rules_of(db: AsyncConnection, user: str) -> OwnRules | None:
    row = (await db.execute(select(own_rules).where(own_rules.c.user == user))).first()
    return None if row is None else OwnRules(user=row.user, text=row.text, number=row.number)


async def put_own_rules(tx: AsyncConnection, rules: OwnRules) -> None:
    """Instead of what was there."""
    await tx.execute(delete(own_rules).where(own_rules.c.user == rules.user))
    await tx.execute(insert(own_rules).values(user=rules.user, text=rules.text, number=rules.number))


def _version(row: Any) -> Version | None:
    if row is None:
        return None
    facts = {name: getattr(row, name) for name in Version.__dataclass_fields__}
    return Version(**facts | {"people": msgspec.json.decode(row.people)})
