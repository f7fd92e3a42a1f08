"""From an answer of the person's to a task and a token: one way for codes, devices and backchannel requests.

1. everything a direct issue looks at is looked at again (user, agent, client, delegation, what is above them),
2. one API: its delegated credential, by the same `Issue` as an exchange; several: the task token to exchange,
3. the answer is spent, the task opened, the refresh token kept and all of it recorded in one commit, under the fence.

What is looked at may be remembered: the commit refuses what was decided on older knowledge than the newest change, and
then everything is looked at again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.authority import Authorities, under
from valetkey.server.credentials.issue import ALONE, Ask, Issue, With
from valetkey.server.db.effects import Effect, Outcome, Together, carry_out
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.model import Catalogue, Delegation, Mode, Task
from valetkey.server.delegations.open_task import Answered, OpenTask
from valetkey.server.delegations.opening import check_openable, nodes_of
from valetkey.server.errors import Denied, NotFound, Revoked
from valetkey.server.ids import new_handle, new_id
from valetkey.server.oauth.agreed import Agreed
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.clients.outside import Outside
from valetkey.server.oauth.details import scopes_of
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.grants import store
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.id_token import IdTokens
from valetkey.server.oauth.request import OFFLINE, OPENID
from valetkey.server.policy.model import Authority
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User
from valetkey.server.settings import Settings
from valetkey.server.tokens.mint import granted_members
from valetkey.server.vault.mac import Mac

REFRESH = "refresh_token"
STANDING_TASK_SECONDS = 3_600
IDLE_SECONDS = 7 * 86_400
JWT = "urn:ietf:params:oauth:token-type:jwt"

Spend = Callable[[Task], With]
"""What uses the answer up in the commit that opens its task, refusing when it was used before, and its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What is written when an answer is redeemed, once it is spent."""

    spend: Effect | None
    task: Task
    refresh: store.Fresh | None


class Redeem:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        open_task: OpenTask,
        issue: Issue,
        authorities: Authorities,
        clients: Clients,
        outside: Outside,
        id_tokens: IdTokens,
        catalogue: Catalogue,
        mac: Mac,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._journal = journal
        self._database = database
        self._open_task = open_task
        self._issue = issue
        self._authorities = authorities
        self._clients = clients
        self._outside = outside
        self._id_tokens = id_tokens
        self._catalogue = catalogue
        self._mac = mac
        self._clock = clock
        self._settings = settings

    async def __call__(
        self, asked: Asked, agreed: Agreed, *, way: Literal["code", "device", "backchannel"], spend: Spend
    ) -> Answer:
        """The body of the token answer. Raises the typed refusal; then nothing was spent."""
        return await self._authorities.decided(lambda: self._redeemed(asked, agreed, way=way, spend=spend))

    async def _redeemed(
        self, asked: Asked, agreed: Agreed, *, way: Literal["code", "device", "backchannel"], spend: Spend
    ) -> Answer:
        seq = self._authorities.seq  # before anything that may be remembered
        client = await self.standing_client(asked, remembered=True)
        if agreed.client != client.id:
            raise spent()
        bounds, target = await self.judged(asked, agreed, client)
        delegation = bounds.delegation
        answer = Answered(way=way, user=agreed.user)
        task, opened = self._open_task.answered(delegation, answer, seconds=self.task_seconds(delegation))
        handle = new_handle("rf") if REFRESH in client.metadata.grant_types else None
        refresh = None
        if handle is not None:
            # SECURITY: who has nothing but this key to prove itself with refreshes with this key alone (RFC 9449, 5).
            # Guarded by tests/flows/test_refreshing.py::test_dp_9_a_public_clients_refresh_token_is_bound_to_its_key
            kept = replace(agreed, jkt=asked.jkt) if client.is_public and asked.jkt is not None else agreed
            family, ends = new_id("tok"), self.refresh_ends(delegation, task)
            token = store.RefreshToken(id=family, family=family, agreed=kept, task=task.id, expires_at=ends)
            refresh = store.Fresh(mac=self._mac.mac("refresh-token", "rf", handle), token=token, now=task.created_at)
        spending = spend(task)
        opening = _Opening(spend=spending.effect, task=task, refresh=refresh)
        beside = With(entries=(opened, *spending.entries), effect=Together(_open, opening))
        authority = under(bounds, task)
        said = dict(await self.answer(asked, agreed, authority, seq, target, beside=beside))
        self._authorities.opened(authority, seq)
        said |= self._who_signed_in(agreed, bounds.user, said["access_token"])
        return {**said, "refresh_token": handle.reveal()} if handle is not None else said

    async def standing_client(self, asked: Asked, *, remembered: bool = False) -> Client:
        """The client as it is registered now. One that has ended meanwhile gets nothing.

        `remembered` is for who decides under the revocation fence; a refusal is made on what is looked up.
        """
        if asked.client is None:
            raise spent()
        try:
            if remembered:
                client = await self._clients.known(asked.client.id, remembered=True)
                if _may_use(asked, client):
                    return client
            return await self._clients.known(asked.client.id)
        except NotFound as error:
            raise spent() from error

    async def judged(
        self,
        asked: Asked,
        agreed: Agreed,
        client: Client,
        *,
        task: str | None = None,
        also: Collection[str] = (),
    ) -> tuple[Authority, str | None]:
        """All that is looked at before anything is opened or renewed, of a code, an answer and a refresh token alike.

        Whoever holds one and is refused is recorded, like any refusal of a token. Returns what bounds the task, or one
        yet to be opened, and the one API that is asked for.
        """
        try:
            check_grant(asked, client)
            check_key(asked, agreed)
            await self.check_agreed(client, agreed)
            if OPENID in agreed.scopes and agreed.signed_in is None:
                raise Denied("openid is for a person who signs in to agree.", reason="scope")
            bounds = await self.bounds(agreed, task=task, also=also)
            target = self.target(asked.form, agreed, client, bounds.delegation)
        except Denied as error:
            members = {
                "user": agreed.user,
                "agent": agreed.agent,
                "delegation": agreed.delegation,
                "client": client.id,
                "grant_type": asked.form.must("grant_type"),
                "reason": str(error.members.get("reason", error.code)),
            }
            await self._journal.record(Entry(event=Event.TOKEN_REFUSED, org=agreed.org, members=members))
            raise
        if asked.again is not None:
            await asked.again()
        return bounds, target

    async def proven_now(self, asked: Asked) -> None:
        """What is known is made as new as a look at the database, and the client is proven again on it."""
        await self._authorities.refresh()
        if asked.again is not None:
            await asked.again()

    async def check_agreed(self, client: Client, agreed: Agreed) -> None:
        """An outside client is still what she agreed to: her agent, and described as it was then."""
        # SECURITY: whoever holds a client's address may change what it says; who agreed to the old is asked again.
        # Guarded by tests/attacks/test_outside_consent.py::test_ci_7_a_client_that_changed_gets_nothing_more
        if client.principal is not None:
            return
        agent = await self._outside.agent_of(agreed.user, client)
        if agent is None or agent.id != agreed.agent:
            raise spent()

    async def bounds(self, agreed: Agreed, *, task: str | None = None, also: Collection[str] = ()) -> Authority:
        """What bounds the task, or one yet to be opened, once nothing above it has ended. `invalid_grant` otherwise.

        `also` are further nodes that must not be revoked.
        """
        try:
            return await self._bounds(agreed, task, also)
        except Denied:
            # What is remembered may also be older than what lets it through; a refusal is made on the newest.
            await self._authorities.refresh()
            return await self._bounds(agreed, task, also)

    async def _bounds(self, agreed: Agreed, task: str | None, also: Collection[str]) -> Authority:
        known = self._authorities
        try:
            found, _ = await (known.of_delegation(agreed.delegation) if task is None else known.of_task(task))
        except NotFound as error:
            raise spent() from error
        delegation, agent = found.delegation, found.agent
        if (delegation.id, delegation.user, delegation.agent) != (agreed.delegation, agreed.user, agreed.agent):
            raise spent()
        # Who agreed that it may act while she is away signs out without ending it (OpenID Connect Core section 11).
        session = None if OFFLINE in agreed.scopes else agreed.session
        has_ended = not found.stopped.isdisjoint(nodes_of(delegation, agent)) or not await known.are_standing(
            {*also, session} if session is not None else also
        )
        try:
            check_openable(delegation, agent, found.user, has_ended=has_ended, now=self._clock.now())
        except (Revoked, Denied) as error:
            raise spent() from error
        return found

    def target(self, form: Form, agreed: Agreed, client: Client, delegation: Delegation) -> str | None:
        """The one API the answer is for (RFC 8707 section 2.2); None means the task token, for a client that exchanges.

        A request may pick one of what was agreed to, never another.
        """
        allowed = {
            self._catalogue[g.integration].audience for g in delegation.grants if g.integration in self._catalogue
        }
        asked = form.every("resource")
        if asked:
            found = {i.audience for text in asked if (i := self._issue.target(text, agreed.org)) is not None}
            if len(set(asked)) != 1 or len(found) != 1 or not found <= allowed:
                raise Denied("Name one resource of those that were agreed to.", reason="target")
            return found.pop()
        named = [resource for resource in agreed.resources if resource in allowed]
        if len(agreed.resources) == 1 and named:
            return named[0]
        if not client.is_public and client.principal is not None:
            return None
        if len(allowed) == 1:
            return next(iter(allowed))
        raise Denied("Name one resource: only an agent that was registered here exchanges.", reason="target")

    def task_seconds(self, delegation: Delegation) -> int:
        """Attended, the task lasts as long as what was agreed to; standing, an hour, and another is opened when due."""
        longest = STANDING_TASK_SECONDS if delegation.mode is Mode.STANDING else self._settings.task_max_seconds
        left = delegation.expires_at - int(self._clock.now())
        return max(1, min(left, longest, self._settings.task_max_seconds))

    def refresh_ends(self, delegation: Delegation, task: Task) -> int:
        """A refresh token ends with what it is a handle on, or when nobody used it."""
        ends = delegation.expires_at if delegation.mode is Mode.STANDING else task.expires_at
        return min(ends, int(self._clock.now()) + IDLE_SECONDS)

    async def answer(
        self, asked: Asked, agreed: Agreed, authority: Authority, seq: int, target: str | None, *, beside: With = ALONE
    ) -> Mapping[str, Any]:
        """The token of a task: the credential of one API, or what names the task to an exchange.

        Decided under the number `seq`, and recorded together with what is `beside` it; raises `Stale`.
        """
        scopes = scopes_of(asked.form.get("scope")) - set(agreed.scopes)
        if target is None:
            if scopes:
                raise Denied("Narrow when exchanging the task token: it has all of the task.", reason="scope")
            may_act = await self._may_act(authority.delegation)
            token = await self._issue.task_token_beside(authority, seq, may_act=may_act, jkt=asked.jkt, beside=beside)
            return {
                "access_token": token,
                "issued_token_type": JWT,
                "token_type": "N_A",
                "expires_in": authority.task.expires_at - int(self._clock.now()),
                **_said(granted_members(authority.task.grants), agreed),
            }
        ask = Ask(target=target, scopes=scopes)
        issued = await self._issue.under(authority, seq, ask, jkt=asked.jkt, signed_in=agreed.signed_in, beside=beside)
        return {
            "access_token": issued.token,
            "token_type": issued.token_type,
            "expires_in": issued.expires_in,
            **_said(issued.granted, agreed),
        }

    async def answer_for(self, asked: Asked, agreed: Agreed, task: str, target: str | None) -> Mapping[str, Any]:
        """The same for a task that is open already."""

        async def attempt() -> Mapping[str, Any]:
            authority, seq = await self._authorities.of_task(task)
            if asked.again is not None:
                await asked.again()
            return await self.answer(asked, agreed, authority, seq, target)

        return await self._authorities.decided(attempt)

    def _who_signed_in(self, agreed: Agreed, user: User, access_token: str) -> Mapping[str, Any]:
        """OpenID Connect Core section 3.1.3.3: an ID token, where the request was for one."""
        if OPENID not in agreed.scopes or agreed.signed_in is None:
            return {}
        token = self._id_tokens.id_token(
            user,
            agreed.client,
            scopes=frozenset(agreed.scopes),
            signed_in=agreed.signed_in,
            nonce=agreed.nonce,
            access_token=access_token,
        )
        return {"id_token": token}

    async def _may_act(self, delegation: Delegation) -> list[Agent]:
        """The agents she lets it be passed on to."""
        if not delegation.share_with:
            return []
        async with self._database.read() as db:
            found = [await principals.agent(db, one) for one in sorted(delegation.share_with)]
        return [agent for agent in found if agent is not None]


def check_grant(asked: Asked, client: Client) -> None:
    """RFC 6749 section 5.2: a client that is not, or no longer, registered for this grant gets nothing of it."""
    if not _may_use(asked, client):
        raise Denied("The client is not registered for this grant type.", reason="unauthorized_client")


async def _open(tx: AsyncConnection, openings: Sequence[_Opening]) -> list[Outcome]:
    outcomes = await carry_out(tx, [one.spend for one in openings])
    spends = [one for one, refused in zip(openings, outcomes, strict=True) if refused is None]
    await delegations.add_tasks(tx, [one.task for one in spends])
    await store.add(tx, [one.refresh for one in spends if one.refresh is not None])
    return outcomes


def _may_use(asked: Asked, client: Client) -> bool:
    return asked.form.must("grant_type") in client.metadata.grant_types


def check_key(asked: Asked, agreed: Agreed) -> None:
    """RFC 9449 section 10: what is bound to a key is redeemed with a proof of that key."""
    if agreed.jkt is not None and asked.jkt != agreed.jkt:
        raise Denied("This was bound to another key.", reason="grant")


def spent() -> Denied:
    """One sentence for what is unknown, used, expired, somebody else's, or ended."""
    return Denied(
        "This is not valid here, was used, or has ended.",
        hint="Start again with a new authorization request.",
        reason="grant",
    )


def _said(granted: Mapping[str, Any], agreed: Agreed) -> Mapping[str, Any]:
    """What was granted, and which of the scopes about the request itself were."""
    words = [*str(granted.get("scope", "")).split(), *agreed.scopes]
    return {**granted, **({"scope": " ".join(words)} if words else {})}
