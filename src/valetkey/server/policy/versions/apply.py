"""Applying a policy, and saving rules of one's own: under the fence, so that nothing is decided by the old one after.

1. the text is read and compiled, 2. under the fence it is held against the version it was made from, 3. version, audit
record and change number are one commit. Whoever decided on the version before is sent back by the fence.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.errors import Conflict, InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.checking import problems_of
from valetkey.server.policy.ready import DEFAULT, Ready, ReadyMode, ready
from valetkey.server.policy.versions import store
from valetkey.server.policy.versions.model import (
    OwnRules,
    Version,
    compiled,
    digest_of,
    kept_under,
    node_of_own_rules,
    node_of_policy,
    people_named,
)
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import User


class Policies:
    """One per process."""

    def __init__(self, journal: Journal, clock: Clock, catalogue: Mapping[str, Integration]) -> None:
        self._journal = journal
        self._clock = clock
        self._catalogue = catalogue

    async def checked(self, text: str) -> list[str]:
        """The names of its rules. Raises `InvalidRequest` for what could not be applied."""
        layer = compiled(text, self._catalogue, id="")
        problems = await asyncio.to_thread(problems_of, text, self._catalogue)
        if problems:
            raise InvalidRequest(f"The Cedar of this policy does not hold: {problems[0]}", hint="valetkey policy check")
        return list(dict.fromkeys(clause.id for clause in layer.clauses))

    async def apply(self, org: str, text: str, *, after: int, why: str, by: str) -> Version:
        """Put a policy in force. `after` is the number of the version it was made from; 0 where there was none.

        Raises `Conflict` when another one is in force by now, `InvalidRequest` for a text that is not understood.
        """
        await self.checked(text)
        async with self._journal.change() as change:
            await change.touches(node_of_policy(org))
            current = await store.newest(change.tx, org)
            number = 0 if current is None else current.number
            if number != after:
                raise Conflict(
                    f"Version {number} is in force, and this was made from version {after}.",
                    hint="Look at it: valetkey policy diff. Then apply again.",
                )
            known = {u.email: u.id for u in await principals.everyone(change.tx) if u.org == org}
            named = people_named(text, self._catalogue)
            if strangers := sorted(named - known.keys()):
                raise InvalidRequest(f"Nobody here is called {strangers[0]}.", hint="answered_by names users.")
            version = Version(
                id=new_id("pol"),
                org=org,
                number=number + 1,
                text=text,
                digest=digest_of(text),
                people={email: known[email] for email in sorted(named)},
                why=why,
                applied_by=by,
                applied_at=int(self._clock.now()),
            )
            await store.add(change.tx, version)
            change.record(
                Event.POLICY_APPLIED,
                org,
                refers=version.id,
                policy=version.id,
                number=version.number,
                digest=version.digest,
                by=by,
                **({"why": why} if why else {}),
            )
        return version

    @cached_property
    def ready(self) -> Ready:
        """The ready rules as they are shipped."""
        return ready(self._catalogue)

    async def choose_ready(self, org: str, mode: ReadyMode, *, why: str, by: str) -> None:
        """What the ready rules do from the next call on. Choosing what is chosen already changes nothing."""
        async with self._journal.change() as change:
            await change.touches(node_of_policy(org))
            chosen = await store.ready_choice(change.tx, org)
            if chosen is not None and chosen.text == mode:
                return
            version = Version(
                id=new_id("pol"),
                org=kept_under(org),
                number=1 if chosen is None else chosen.number + 1,
                text=mode.value,
                digest=digest_of(mode.value),
                people={},
                why=why,
                applied_by=by,
                applied_at=int(self._clock.now()),
            )
            await store.add(change.tx, version)
            change.record(
                Event.READY_RULES_CHOSEN,
                org,
                refers=version.id,
                mode=mode.value,
                was=DEFAULT.value if chosen is None else chosen.text,
                edition=self.ready.id,
                by=by,
                **({"why": why} if why else {}),
            )

    async def save_own(self, user: User, text: str, *, after: int) -> OwnRules:
        """A user's own rules instead of what they were; `after` is the number they were made from."""
        compiled(text, self._catalogue, id="", is_own=True)
        async with self._journal.change() as change:
            await change.touches(node_of_own_rules(user.id))
            current = await store.own_rules_of(change.tx, user.id)
            number = 0 if current is None else current.number
            if number != after:
                raise Conflict("Your rules were changed elsewhere meanwhile.", hint="Look at them and try again.")
            rules = OwnRules(user=user.id, text=text, number=number + 1)
            await store.put_own_rules(change.tx, rules)
            change.record(
                Event.OWN_RULES_CHANGED,
                user.org,
                refers=store.own_id(rules),
                user=user.id,
                rules=store.own_id(rules),
                digest=digest_of(text),
            )
        return rules
