"""From an answer of the person's to a task and a token: one way for codes, devices and backchannel requests.

1. everything a direct issue looks at is looked at again (user, agent, client, delegation, what is above them),
2. the answer is spent, the task opened and the refresh token kept, in one transaction with their records,
3. one API: its delegated credential, by the same `Issue` as an exchange; several: the task token to exchange.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import Ask, Issue
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.confirm import Answered, Confirm
from valetkey.server.delegations.model import Catalogue, Delegation, Mode, Task
from valetkey.server.delegations.opening import openable
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
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent
from valetkey.server.settings import Settings
from valetkey.server.tokens.mint import granted_members
from valetkey.server.vault.mac import Mac

REFRESH = "refresh_token"
STANDING_TASK_SECONDS = 3_600
IDLE_SECONDS = 7 * 86_400
JWT = "urn:ietf:params:oauth:token-type:jwt"

Spend = Callable[[Change, Task], Awaitable[None]]
"""Uses the answer up in the transaction that opens its task. Raises when it was used before."""


class Redeem:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        confirm: Confirm,
        issue: Issue,
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
        self._confirm = confirm
        self._issue = issue
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
        client = await self.standing_client(asked)
        if agreed.client != client.id:
            raise spent()
        delegation, agent, target = await self.judged(asked, agreed, client)
        refresh = new_handle("rf") if REFRESH in client.metadata.grant_types else None
        # SECURITY: who has nothing but this key to prove itself with refreshes with this key alone (RFC 9449, 5).
        # Guarded by tests/flows/test_refreshing.py::test_dp_9_a_public_clients_refresh_token_is_bound_to_its_key
        kept = replace(agreed, jkt=asked.jkt) if client.is_public and asked.jkt is not None else agreed

        async def also(change: Change, task: Task) -> None:
            await spend(change, task)
            if refresh is not None:
                token = new_id("tok")
                await store.add(
                    change.tx,
                    self._mac.mac("refresh-token", "rf", refresh),
                    store.RefreshToken(id=token, family=token, agreed=kept, task=task.id),
                    now=task.created_at,
                    expires_at=self.refresh_ends(delegation, task),
                )

        task = await self._confirm.open_task(
            delegation,
            present=None,
            evidence=None,
            asked=(),
            seconds=self.task_seconds(delegation),
            purpose="",
            answered=Answered(way=way, user=agreed.user),
            also=also,
        )
        answer = await self.answer(asked, agreed, task, agent, target)
        answer = {**answer, **await self._who_signed_in(agreed, answer["access_token"])}
        return {**answer, "refresh_token": refresh.reveal()} if refresh is not None else answer

    async def standing_client(self, asked: Asked) -> Client:
        """The client as it is registered now. One that has ended meanwhile gets nothing."""
        if asked.client is None:
            raise spent()
        try:
            return await self._clients.known(asked.client.id)
        except NotFound as error:
            raise spent() from error

    async def judged(
        self, asked: Asked, agreed: Agreed, client: Client, *, also: tuple[str, ...] = ()
    ) -> tuple[Delegation, Agent, str | None]:
        """All that is looked at before anything is opened or renewed, of a code, an answer and a refresh token alike.

        Whoever holds one and is refused is recorded, like any refusal of a token. Returns the delegation, its agent
        and the one API that is asked for.
        """
        try:
            check_grant(asked, client)
            check_key(asked, agreed)
            await self.check_agreed(client, agreed)
            if OPENID in agreed.scopes and agreed.signed_in is None:
                raise Denied("openid is for a person who signs in to agree.", reason="scope")
            delegation, agent = await self.openable(agreed, also=also)
            return delegation, agent, self.target(asked.form, agreed, client, delegation)
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

    async def check_agreed(self, client: Client, agreed: Agreed) -> None:
        """An outside client is still what she agreed to: her agent, and described as it was then."""
        # SECURITY: whoever holds a client's address may change what it says; who agreed to the old is asked again.
        # Guarded by tests/attacks/test_outside_consent.py::test_ci_7_a_client_that_changed_gets_nothing_more
        if client.principal is not None:
            return
        agent = await self._outside.agent_of(agreed.user, client)
        if agent is None or agent.id != agreed.agent:
            raise spent()

    async def openable(self, agreed: Agreed, *, also: tuple[str, ...] = ()) -> tuple[Delegation, Agent]:
        """The delegation and its agent, once nothing above them has ended. `invalid_grant` otherwise."""
        # Who agreed that it may act while she is away signs out without ending it (OpenID Connect Core section 11).
        session = None if OFFLINE in agreed.scopes else agreed.session
        nodes = also if session is None else (*also, session)
        async with self._database.read() as db:
            delegation = await delegations.delegation(db, agreed.delegation)
            if delegation is None or (delegation.user, delegation.agent) != (agreed.user, agreed.agent):
                raise spent()
            try:
                agent, _ = await openable(db, delegation, now=self._clock.now(), also=nodes)
            except (Revoked, NotFound, Denied) as error:
                raise spent() from error
        return delegation, agent

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
        self, asked: Asked, agreed: Agreed, task: Task, agent: Agent, target: str | None
    ) -> Mapping[str, Any]:
        """The token of a task: the credential of one API, or what names the task to an exchange."""
        handle = self._issue.task_token(task, agent, may_act=await self._may_act(task), jkt=asked.jkt)
        scopes = scopes_of(asked.form.get("scope")) - set(agreed.scopes)
        if target is None:
            if scopes:
                raise Denied("Narrow when exchanging the task token: it has all of the task.", reason="scope")
            return {
                "access_token": handle,
                "issued_token_type": JWT,
                "token_type": "N_A",
                "expires_in": task.expires_at - int(self._clock.now()),
                **_said(granted_members(task.grants), agreed),
            }
        ask = Ask(target=target, scopes=scopes)
        issued = await self._issue.delegated(
            agent, handle, ask, again=asked.again, jkt=asked.jkt, signed_in=agreed.signed_in
        )
        return {
            "access_token": issued.token,
            "token_type": issued.token_type,
            "expires_in": issued.expires_in,
            **_said(issued.granted, agreed),
        }

    async def _who_signed_in(self, agreed: Agreed, access_token: str) -> Mapping[str, Any]:
        """OpenID Connect Core section 3.1.3.3: an ID token, where the request was for one."""
        if OPENID not in agreed.scopes or agreed.signed_in is None:
            return {}
        async with self._database.read() as db:
            user = await principals.user(db, agreed.user)
        if user is None:
            raise spent()
        token = self._id_tokens.id_token(
            user,
            agreed.client,
            scopes=frozenset(agreed.scopes),
            signed_in=agreed.signed_in,
            nonce=agreed.nonce,
            access_token=access_token,
        )
        return {"id_token": token}

    async def _may_act(self, task: Task) -> list[Agent]:
        """The agents she lets it be passed on to."""
        async with self._database.read() as db:
            delegation = await delegations.delegation(db, task.delegation)
            named = sorted(delegation.share_with) if delegation is not None else []
            found = [await principals.agent(db, one) for one in named]
        return [agent for agent in found if agent is not None]


def check_grant(asked: Asked, client: Client) -> None:
    """RFC 6749 section 5.2: a client that is not, or no longer, registered for this grant gets nothing of it."""
    if asked.form.must("grant_type") not in client.metadata.grant_types:
        raise Denied("The client is not registered for this grant type.", reason="unauthorized_client")


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
