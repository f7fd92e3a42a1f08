"""Cross-app access: an identity provider's word that an agent acts for a person now (RFC 7523 section 2.1, ID-JAG).

In order: (1) the client has proven itself and is no public one; (2) the assertion is for it, from an issuer trusted
with people, used once; (3) its subject is one of our users, by issuer and subject alone; (4) a delegation of hers to
this agent, which exists already, holds some of what is asked: the word is evidence for a task, never a permission;
(5) the credential is for the one resource and the common scopes. There is no refresh token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import Ask, Issue
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.model import Catalogue, Delegation, Grant, Task, narrowed
from valetkey.server.delegations.open_task import Answered, OpenTask
from valetkey.server.delegations.opening import openable
from valetkey.server.errors import Denied, NotAuthenticated, NotFound, Revoked
from valetkey.server.integrations.model import Integration
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.clients.outside import Outside
from valetkey.server.oauth.details import ask_of, details_of, scopes_of
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.principals.assertion import unverified
from valetkey.server.principals.issuers.trust import Trusting
from valetkey.server.principals.model import Agent, User
from valetkey.server.settings import Settings

JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class IdJag:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        trusting: Trusting,
        outside: Outside,
        open_task: OpenTask,
        issue: Issue,
        clock: Clock,
        settings: Settings,
        catalogue: Catalogue,
    ) -> None:
        self._journal = journal
        self._database = database
        self._trusting = trusting
        self._outside = outside
        self._open_task = open_task
        self._issue = issue
        self._clock = clock
        self._settings = settings
        self._catalogue = catalogue

    async def __call__(self, asked: Asked) -> Answer:
        client = asked.client
        if client is None or (client.principal is not None and not isinstance(client.principal, Agent)):
            raise Denied("Only an agent that authenticates can do this.", reason="unauthorized_client")
        ask = ask_of(asked.form)
        assertion = asked.form.must("assertion")
        try:
            user, issuer, claims = await self._trusting.person(
                assertion, unverified(assertion), client=client.id, org=client.org
            )
        except NotAuthenticated as error:
            raise Denied("This assertion is not accepted here.", detail=error.detail, reason="grant") from error
        try:
            agent, delegation, grants = await self._permitted(client, user, ask, claims)
        except Denied as error:  # there is no task yet whose refusal it would be
            members = {
                "user": user.id,
                "client": client.id,
                "trusted_issuer": issuer.id,
                "target": ask.target[:200],
                "reason": str(error.members.get("reason", error.code)),
            }
            await self._journal.record(Entry(event=Event.TOKEN_REFUSED, org=user.org, members=members))
            raise

        async def accepted(change: Change, task: Task) -> None:
            change.record(
                Event.ID_JAG_ACCEPTED,
                user.org,
                task=task.id,
                user=user.id,
                agent=agent.id,
                trusted_issuer=issuer.id,
                client=client.id,
            )

        task = await self._open_task.root(
            delegation,
            present=None,
            evidence=None,
            asked=grants,
            seconds=self._settings.task_seconds,
            purpose="",
            answered=Answered(way="id_jag", user=user.id),
            also=accepted,
        )
        # SECURITY: the key that was proven goes into what is issued, by this grant as by every other (DP-11).
        # Guarded by tests/flows/test_id_jag.py::test_dp_11_the_key_that_is_proven_is_in_the_credential
        token = self._issue.task_token(task, agent, jkt=asked.jkt)
        issued = await self._issue.delegated(agent, token, ask_for(ask), again=asked.again, jkt=asked.jkt)
        return {
            "access_token": issued.token,
            "token_type": issued.token_type,
            "expires_in": issued.expires_in,
            **issued.granted,
        }

    async def _permitted(
        self, client: Client, user: User, ask: Ask, claims: Mapping[str, object]
    ) -> tuple[Agent, Delegation, tuple[Grant, ...]]:
        """What of her delegations to this agent is asked for."""
        _check_resource(claims, ask.target)
        agent = await self._agent(client, user)
        wanted = _wanted(claims, ask.scopes)
        integration = self._issue.target(ask.target, agent.org)
        if integration is None or any(self._issue.target(other, agent.org) is not integration for other in ask.also):
            raise Denied("Name one API that is known here.", reason="target")
        return agent, *await self._delegated(user, agent, integration, wanted, claims)

    async def _agent(self, client: Client, user: User) -> Agent:
        if isinstance(client.principal, Agent):
            return client.principal
        agent = await self._outside.agent_of(user.id, client)
        if agent is None:
            raise _nothing_agreed()
        return agent

    async def _delegated(
        self,
        user: User,
        agent: Agent,
        integration: Integration,
        wanted: frozenset[str] | None,
        claims: Mapping[str, object],
    ) -> tuple[Delegation, tuple[Grant, ...]]:
        """The newest living delegation that holds some of what is wanted, and the part it holds."""
        details = _details(claims)
        now = self._clock.now()
        async with self._database.read() as db:
            found = await delegations.delegations_of(db, org=user.org, user=user.id, agent=agent.id)
            living = []
            for delegation in found:
                try:
                    await openable(db, delegation, now=now)
                except (Revoked, Denied, NotFound):
                    continue
                living.append(delegation)
        if not living:
            raise _nothing_agreed()
        for delegation in living:
            lines = common(delegation.grants, integration, wanted)
            if lines and details:
                lines = narrowed(lines, details, self._catalogue)
            if lines:
                return delegation, lines
        raise Denied("Nothing of this was delegated to the agent.", reason="scope")


def common(held: Sequence[Grant], integration: Integration, wanted: frozenset[str] | None) -> tuple[Grant, ...]:
    """The lines for one API with only what both sides name: a scope, or one that contains it. None wants whatever is.

    An empty set wants nothing and gets nothing.
    """
    lines = tuple(line for line in held if line.integration == integration.name)
    if wanted is None:
        return lines
    kept = []
    for line in lines:
        under = {w for w in wanted if any(integration.includes(h, w) for h in line.scopes)}
        over = {h for h in line.scopes if any(integration.includes(w, h) for w in wanted)}
        if under | over:
            kept.append(replace(line, scopes=frozenset(under | over)))
    return tuple(kept)


def ask_for(ask: Ask) -> Ask:
    """What the task, which is narrow already, is asked for."""
    return Ask(target=ask.target, seconds=ask.seconds)


def _wanted(claims: Mapping[str, object], asked: frozenset[str]) -> frozenset[str] | None:
    """The scopes of the assertion and of the request, where both name some."""
    said = claims.get("scope")
    if said is None:
        return asked or None
    if not isinstance(said, str):
        raise Denied("The scope of the assertion cannot be read.", reason="grant")
    allowed = scopes_of(said)
    return allowed & asked if asked else allowed


def _check_resource(claims: Mapping[str, object], target: str) -> None:
    said = claims.get("resource")
    named = [said] if isinstance(said, str) else said
    if said is None:
        return
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise Denied("The resource of the assertion cannot be read.", reason="grant")
    if target.removesuffix("/") not in {str(each).removesuffix("/") for each in named}:
        raise Denied("The assertion is for another resource.", reason="target")


def _details(claims: Mapping[str, object]) -> tuple[Grant, ...]:
    said = claims.get("authorization_details")
    return () if said is None else details_of(msgspec.json.encode(said).decode())


def _nothing_agreed() -> Denied:
    return Denied(
        "This person delegated nothing to this agent, or it has ended.",
        hint="Ask the person to record a delegation; an assertion alone permits nothing.",
        reason="grant",
    )
