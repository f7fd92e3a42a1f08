"""Token exchange (RFC 8693): from a task, or from a credential that was handed on, to a delegated credential.

The actor is the authenticated client, always. Its own task token is exchanged as it is. Another agent's token is
exchanged by who may act for it: that opens a child task, by the one function that opens any, and the credential is
issued under the child. So whatever direct issue checks is checked here, and what is handed on ends with what it
came from.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import Ask, Issue, Issued
from valetkey.server.credentials.standing import Good, Standing
from valetkey.server.db.engine import Database
from valetkey.server.delegations.passing import PassOn
from valetkey.server.errors import Denied, Expired, InvalidRequest, NotAuthenticated, NotFound, Revoked
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.oauth.details import ask_of
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.principals.model import Agent, ServiceAccount
from valetkey.server.revocation import store as revocation
from valetkey.server.tokens.model import Kind
from valetkey.server.tokens.verify import Verifying

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
_SUBJECTS: Final = {JWT: (Kind.TASK,), ACCESS_TOKEN: (Kind.DELEGATED, Kind.RESOURCE)}


class Exchange:
    """One per process."""

    def __init__(
        self,
        issue: Issue,
        verifying: Verifying,
        standing: Standing,
        pass_on: PassOn,
        database: Database,
        catalogue: LiveCatalogue,
        clock: Clock,
    ) -> None:
        self._issue = issue
        self._verifying = verifying
        self._standing = standing
        self._pass_on = pass_on
        self._database = database
        self._catalogue = catalogue
        self._clock = clock

    async def __call__(self, asked: Asked) -> Answer:
        form = asked.form
        if asked.client is not None and isinstance(asked.client.principal, ServiceAccount):
            raise Denied("A service account never acts for a person.", reason="unauthorized_client")
        agent = asked.agent()
        await self._check_actor(form, agent)
        kinds = _SUBJECTS.get(form.must("subject_token_type"))
        if kinds is None:
            raise InvalidRequest(
                f"The subject_token_type must be {JWT} for a task token or {ACCESS_TOKEN} for a delegated credential.",
                reason="subject_token",
            )
        if form.get("requested_token_type") not in (None, ACCESS_TOKEN, JWT):
            raise InvalidRequest("The requested_token_type is not one this server issues.")
        subject, ask = form.must("subject_token"), ask_of(form)
        if kinds == (Kind.TASK,) and await self._is_its_own(subject, agent):
            return answer_of(await self._issue.delegated(agent, subject, ask, again=asked.again, jkt=asked.jkt))
        child, ask = await self._handed_on(agent, subject, kinds, ask)
        return answer_of(await self._issue.delegated(agent, child, ask, again=asked.again, jkt=asked.jkt))

    async def _is_its_own(self, subject: str, agent: Agent) -> bool:
        """Whether it may go straight to issue, which verifies it once more; what cannot be read is refused there."""
        try:
            holder = await self._verifying.at_exchange(subject)
        except (NotAuthenticated, Expired):
            return True
        return holder.agent == agent.id

    async def _handed_on(self, agent: Agent, subject: str, kinds: tuple[Kind, ...], ask: Ask) -> tuple[str, Ask]:
        """A child task for the agent under the token it was handed, as a task token, and what to ask of it."""
        good = await self._standing.good(subject)
        if good is None or good.token.kind not in kinds:
            raise _refused(kinds, "forged, expired, revoked, or of another kind")
        try:
            return await self._passed_on(agent, good, kinds, ask)
        except (Denied, InvalidRequest) as error:
            # There is no child yet whose refusal it would be: it stands with the run that was handed on.
            reason = str(error.members.get("reason", error.code))
            await self._issue.refused(good.authority, reason, target=ask.target, by=agent.id)
            raise

    async def _passed_on(self, agent: Agent, good: Good, kinds: tuple[Kind, ...], ask: Ask) -> tuple[str, Ask]:
        if not self._may_exchange(agent, good):
            raise _refused(kinds, "not for this client")
        integration = self._issue.target(ask.target, agent.org)
        if integration is None:
            raise Denied(f"{ask.target[:200]} is not an API known here.", reason="unknown_target")
        if good.integration is not None and integration is not good.integration:
            raise Denied("A credential is exchanged for one to the same API.", reason="target")
        lines = self._issue.lines(good.grants, ask, integration.name)
        try:
            passed = await self._pass_on.part(
                good.authority.task.id,
                acting=good.authority.agent.id,
                to=agent,
                asked=lines,
                seconds=good.token.expires_at - int(self._clock.now()),
                received=good.token.jti,
            )
        except (NotFound, Revoked) as error:
            raise _refused(kinds, error.public) from error
        return self._issue.task_token(passed.task, agent), replace(ask, grants=(), scopes=frozenset())

    def _may_exchange(self, agent: Agent, good: Good) -> bool:
        token = good.token
        if token.org != agent.org or token.client == agent.id:
            return False  # another organization's; or the same actor twice in a row
        if token.kind is Kind.TASK:
            return agent.id in token.may_act
        if agent.id not in good.authority.delegation.share_with:
            return False
        # We are the door to what is behind the gateway. A resource server's own agent may exchange what it was sent.
        server = self._catalogue.server(token.audience)
        return server is None or server.agent == agent.id

    async def _check_actor(self, form: Form, agent: Agent) -> None:
        """An actor_token is not needed, and where there is one it names the client that authenticated."""
        actor, kind = form.get("actor_token"), form.get("actor_token_type")
        if (actor is None) != (kind is None):
            raise InvalidRequest("An actor_token comes with its actor_token_type, and neither alone.")
        if actor is None:
            return
        try:
            if kind not in (ACCESS_TOKEN, JWT):
                raise NotAuthenticated(detail="a type that names no actor")
            shown = await self._verifying.at_api(actor)
            async with self._database.read() as db:
                ended = await revocation.among(db, {shown.jti, shown.credential, shown.principal, shown.org})
            if ended or shown.principal != agent.id:
                raise NotAuthenticated(detail="revoked, or names another")
        except (NotAuthenticated, Expired) as error:
            raise InvalidRequest(
                "The actor_token is not a token of the client that authenticated.",
                hint="Leave it out: the actor is the authenticated client.",
                detail=error.detail,
                reason="actor_token",
            ) from error


def _refused(kinds: tuple[Kind, ...], detail: str) -> InvalidRequest:
    """One sentence for every cause, and for a task token the one that issue has: nobody learns what is there."""
    what = "task token" if kinds == (Kind.TASK,) else "delegated credential"
    return InvalidRequest(f"The {what} is missing, expired or not valid.", detail=detail, reason="subject_token")


def answer_of(issued: Issued) -> Mapping[str, Any]:
    """The answer of RFC 8693 section 2.2.1."""
    return {
        "access_token": issued.token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": issued.token_type,
        "expires_in": issued.expires_in,
        **issued.granted,
    }
