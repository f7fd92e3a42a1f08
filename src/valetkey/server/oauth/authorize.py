"""The authorization endpoint as its person meets it, without its pages: judged again, each time, from what was kept.

`came_back`, as often as the browser does: every check of `arriving` again, then who is signed in and how, then what she
was asked. The answer is a value; the page that shows or sends it decides nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.delegable import delegable
from valetkey.server.db.engine import Database
from valetkey.server.delegations.consent import Given, Missing, Wanted, answering, missing
from valetkey.server.errors import Conflict, Denied, Expired, InvalidRequest, ValetkeyError
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.oauth import store
from valetkey.server.oauth.agreed import Agreed, Code
from valetkey.server.oauth.arriving import client_of
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.limits import Limits
from valetkey.server.oauth.outside import AgentFor
from valetkey.server.oauth.request import OFFLINE, AuthorizationRequest, Rules, request_of
from valetkey.server.oauth.sent_back import Redirected, SendBack
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User
from valetkey.server.principals.sessions.model import LEVELS, Session, meets
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

CODE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """She has to sign in, or to prove herself anew (`again`), and as well as one of these levels if any is named."""

    again: bool
    acr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What she is asked. `given` is what she agreed to before with this client, the newest first."""

    request: AuthorizationRequest
    wanted: Wanted
    agent: Agent
    missing: tuple[Missing, ...]
    given: tuple[Given, ...]


Next = Redirected | SignIn | Question


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A kept request, read again."""

    mac: bytes
    kept: store.Kept
    request: AuthorizationRequest


class Authorize:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        clients: Clients,
        agent_for: AgentFor,
        rules: Rules,
        mac: Mac,
        clock: Clock,
        limits: Limits,
        back: SendBack,
    ) -> None:
        self._journal = journal
        self._database = database
        self._clients = clients
        self._agent_for = agent_for
        self._rules = rules
        self._mac = mac
        self._clock = clock
        self._limits = limits
        self._back = back

    async def came_back(self, handle: Secret, user: User | None, session: Session | None) -> Next:
        """What comes next for this request in this browser."""
        if user is not None:
            self._limits.seen(user.id)
        opened = await self._opened(handle)
        try:
            return await self._next(opened, user, session)
        except _Shown as shown:
            raise shown.refusal from shown
        except ValetkeyError as error:
            return self._back.refused(error, opened.request.redirect_uri or "", opened.kept.form)

    async def answered(self, change: Any, handle: Secret, session: Session, wanted: Wanted, delegation: str) -> None:
        """Note, in the transaction that records it, what she agreed to and with which client. Once."""
        now = int(self._clock.now())
        await store.add_consent(
            change.tx, delegation=delegation, client=wanted.client, digest=wanted.digest, asked=wanted.asked, now=now
        )
        mac = self._mac.mac("authorization-request", "rq", handle)
        if not await store.answer_request(change.tx, mac, session=session.id, delegation=delegation, now=now):
            raise Conflict("This request was answered already.", hint="Go back to the agent and start again.")

    async def declined(self, handle: Secret, user: User, session: Session) -> Redirected:
        """She said no: the request is over, and the client is told so."""
        opened = await self._opened(handle)
        async with self._journal.change() as change:
            now = int(self._clock.now())
            if not await store.finish_request(change.tx, opened.mac, session=session.id, now=now):
                raise _gone()
            change.record(Event.CONSENT_DECLINED, user.org, user=user.id, client=opened.kept.client)
        error = Denied("The person declined.", reason="access_denied")
        return self._back.refused(error, opened.request.redirect_uri or "", opened.kept.form)

    async def check_sharing(self, request: AuthorizationRequest, user: User) -> None:
        """Whom it would share with are agents of her organization, or nothing is asked of her at all."""
        async with self._database.read() as db:
            found = [await principals.agent_by_name(db, user.org, name) for name in request.share_with]
        if None in found:
            raise InvalidRequest("share_with names an agent that is not known here.")

    async def _opened(self, handle: Secret) -> _Opened:
        mac = self._mac.mac("authorization-request", "rq", handle)
        async with self._database.read() as db:
            kept = await store.request(db, mac) if is_handle(handle.reveal(), "rq") else None
        # A pushed request is opened by its client's link, which says whose it is.
        if kept is None or kept.kind == "pushed" or kept.used_at is not None or self._clock.now() >= kept.expires_at:
            raise _gone()
        client = await client_of(self._clients, kept.form)
        request = request_of(kept.form, client, self._rules, org=client.org)
        return _Opened(mac=mac, kept=kept, request=request)

    async def _next(self, opened: _Opened, user: User | None, session: Session | None) -> Next:
        client, is_silent = opened.request.client, "none" in opened.request.prompt
        # SECURITY: unasked, a client learns nothing of somebody of another organization, not even that she is there.
        # Guarded by tests/attacks/test_authorizing.py::test_unasked_a_stranger_is_as_good_as_nobody
        is_strange = is_silent and user is not None and client.org not in (None, user.org)
        if user is None or session is None or is_strange:
            if is_silent:
                raise Denied("Nobody is signed in.", reason="login_required")
            return SignIn(again=False, acr=opened.request.acr_values)
        if (again := self._proves_herself(opened, session)) is not None:
            return again
        async with self._database.write() as tx:
            if not await store.claim_request(tx, opened.mac, session=session.id):
                raise _Shown(_foreign())
        try:
            agent, request = await self._for_her(opened, user)
        except (Denied, InvalidRequest) as error:
            # SECURITY: nor does a client nobody registered learn of her organization: its APIs, its agents, its rules.
            # Guarded by tests/attacks/test_outside_consent.py::test_unasked_nobody_learns_what_her_organization_has
            if is_silent and client.org is None:
                raise _to_be_asked() from error
            raise
        opened, wanted = replace(opened, request=request), request.wanted(user=user.id, agent=agent.id)
        given, fitting, lacking = await self._given(opened, wanted, user)
        if fitting is not None:
            return await self._coded(opened, session, fitting)
        if is_silent:
            raise _to_be_asked()
        return Question(request=request, wanted=wanted, agent=agent, missing=lacking, given=given)

    async def _for_her(self, opened: _Opened, user: User) -> tuple[Agent, AuthorizationRequest]:
        """The agent the client is to her, and the request as her organization reads it."""
        client = opened.request.client
        agent = await self._agent_for(user, client) if client.org in (None, user.org) else None
        if agent is None or agent.org != user.org:
            raise Denied("This agent is not of your organization.", reason="access_denied")
        request = request_of(opened.kept.form, client, self._rules, org=user.org)
        await self.check_sharing(request, user)
        return agent, request

    def _proves_herself(self, opened: _Opened, session: Session) -> SignIn | None:
        """RFC 9470 section 5, OpenID Connect Core section 3.1.2.1: how lately, and how well."""
        request, since = opened.request, opened.kept.created_at
        if request.prompt & {"login", "select_account"} or request.max_age == 0:
            is_fresh = session.auth_time >= since
        else:
            is_fresh = request.max_age is None or session.auth_time >= since - request.max_age
        if request.acr_values and not set(request.acr_values) & set(LEVELS):
            raise Denied("None of the acr_values is known here.", reason="unmet_authentication_requirements")
        if is_fresh and meets(session.acr, request.acr_values):
            return None
        if "none" in request.prompt:
            raise Denied("She has to sign in again.", reason="login_required")
        return SignIn(again=True, acr=request.acr_values)

    async def _given(
        self, opened: _Opened, wanted: Wanted, user: User
    ) -> tuple[tuple[Given, ...], Given | None, tuple[Missing, ...]]:
        now = int(self._clock.now())
        async with self._database.read() as db:
            held = await delegable(db, user, self._rules.catalogue)
            found = await store.given(db, user=wanted.user, client=wanted.client, now=now)
            ended = await revocation.among(db, {g.delegation.id for g in found})
        connected = {c.facts.id: c.facts.integration for c in held.connections} | {n: n for n in held.registered}
        live = tuple(g for g in found if g.delegation.id not in ended)
        answer = next((g for g in live if g.delegation.id == opened.kept.answer), None)
        if answer is not None:
            answer = replace(answer, is_answer=True)
            lacking = missing(wanted, answer, connected, now=now)
            return live, answer if not lacking else None, lacking
        fitting = answering(wanted, live, connected, now=now)
        newest = live[0] if live else None
        return live, fitting, missing(wanted, newest, connected, now=now)

    async def _coded(self, opened: _Opened, session: Session, given: Given) -> Redirected:
        """The code, bound to client, redirect URI, challenge, resources, session and key (OAuth 2.1 section 4.1.2)."""
        request, delegation, now = opened.request, given.delegation, int(self._clock.now())
        kept = request.scopes - ({OFFLINE} if delegation.mode != "standing" else set())
        code = Code(
            id=new_id("tok"),
            agreed=Agreed(
                client=request.client.id,
                org=delegation.org,
                user=delegation.user,
                agent=delegation.agent,
                delegation=delegation.id,
                resources=request.resources,
                scopes=tuple(sorted(kept)),
                session=session.id,
                jkt=request.jkt,
                nonce=request.nonce,
                auth_time=session.auth_time,
                acr=session.acr,
                amr=session.amr,
            ),
            redirect_uri=request.redirect_uri or "",
            named_redirect=request.named_redirect,
            challenge=request.challenge or "",
        )
        handle = new_handle("co")
        async with self._journal.change() as change:
            if not await store.finish_request(change.tx, opened.mac, session=session.id, now=now):
                raise _Shown(_gone())
            mac = self._mac.mac("authorization-code", "co", handle)
            await store.add_code(change.tx, mac, code, now=now, expires_at=now + CODE_SECONDS)
            change.record(
                Event.CODE_ISSUED,
                delegation.org,
                code=code.id,
                user=delegation.user,
                agent=delegation.agent,
                delegation=delegation.id,
                client=request.client.id,
                session=session.id,
            )
        state = {"state": request.state} if request.state is not None else {}
        return self._back.sent(request.redirect_uri or "", {"code": handle.reveal()} | state)


class _Shown(Exception):
    """Carries a refusal for the person alone: the client is told nothing."""

    def __init__(self, refusal: ValetkeyError) -> None:
        super().__init__(refusal.public)
        self.refusal = refusal


def _to_be_asked() -> Denied:
    return Denied("She has to be asked.", reason="consent_required")


def _gone() -> Expired:
    return Expired(
        "This request was answered already, or it has expired.", hint="Go back to the agent and start again."
    )


def _foreign() -> Expired:
    return Expired(
        "This request was opened in another browser, or before you signed in anew.",
        hint="Go back to the agent and start again.",
    )


def metadata() -> dict[str, Any]:
    """What is served here (RFC 8414 section 2, RFC 9126 section 5, RFC 9101 section 10.5, RFC 9207 section 3)."""
    return {
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "require_pushed_authorization_requests": False,
        "request_parameter_supported": True,
        "request_uri_parameter_supported": False,
        "require_signed_request_object": False,
        "request_object_signing_alg_values_supported": ["ES256", "Ed25519", "RS256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "token_endpoint_auth_methods_supported": ["none"],
        "acr_values_supported": list(LEVELS),
    }
