"""Proving who calls: handles by their MAC, agents also by a signed assertion. Says who, never what they may do.

One sentence for every failure. Agents seen lately are remembered until anything about them changes.
"""

import hashlib
import secrets

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated
from valetkey.server.ids import is_handle, is_id
from valetkey.server.principals import store
from valetkey.server.principals.assertion import JWT_BEARER, Assertions, Expected, unverified
from valetkey.server.principals.cli_login import store as cli_logins
from valetkey.server.principals.model import Agent, ServiceAccount, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac
from valetkey.verify.keys import parse_jwks

ASSERTION_TYPE = JWT_BEARER
_REMEMBERED = 4_096


class Authenticate:
    """One per process."""

    def __init__(self, database: Database, mac: Mac, clock: Clock, issuer: str) -> None:
        self._database = database
        self._mac = mac
        self._clock = clock
        self._issuer = issuer
        self.assertions = Assertions(database, clock)
        self._agents: dict[bytes, Agent] = {}
        self._seen_key = secrets.token_bytes(32)
        self._changes = 0

    def forget(self, nodes: frozenset[str]) -> None:
        """Something about these changed: look them up again."""
        self._changes += 1
        if self._agents:
            self._agents = {seen: a for seen, a in self._agents.items() if not nodes & {a.id, a.owner, a.org}}

    async def client(self, client_id: str, secret: Secret, *, remembered: bool) -> Agent | ServiceAccount:
        """The agent or service account whose secret this is. Raises `NotAuthenticated`.

        `remembered` is for who asks again under the revocation fence; all others are looked up.
        """
        text = secret.reveal()
        if text.startswith("vkag_"):
            return await self._agent(client_id, secret, remembered=remembered)
        if is_handle(text, "sa"):
            return await self._service_account(client_id, self._mac.mac("service-account-secret", "sa", secret))
        raise NotAuthenticated(detail="not a client secret")

    async def user(self, credential: Secret) -> tuple[User, str]:
        """The user of a CLI credential, and the credential's id."""
        if not is_handle(credential.reveal(), "cl"):
            raise NotAuthenticated(detail="not a CLI credential")
        mac = self._mac.mac("user-credential", "cl", credential)
        async with self._database.read() as db:
            found = await cli_logins.user_credential(db, mac, now=int(self._clock.now()))
            if found is None:
                raise NotAuthenticated(detail="unknown CLI credential")
            user = await store.user(db, found[1])
            if user is None or await revocation.among(db, {found[0], user.id, user.org}):
                raise NotAuthenticated(detail="revoked")
        _check_active(user.status)
        return user, found[0]

    async def asserted(self, assertion: str, client_id: str | None) -> Agent:
        """The agent that signed a client assertion (RFC 7523): our issuer its only audience, its jti used once."""
        named = unverified(assertion).sub
        if not is_id(named, "agt") or client_id not in (None, named):
            raise NotAuthenticated(detail="assertion names another client")
        async with self._database.read() as db:
            agent = await store.agent(db, named)
            stored = await store.agent_jwks(db, named)
            ended = agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org})
        if agent is None or stored is None or ended:
            raise NotAuthenticated(detail="no such client, or it has no key")
        _check_active(agent.status)
        expected = Expected(issuer=agent.id, audience=self._issuer)
        claims = await self.assertions.proven(assertion, parse_jwks(stored.encode()), expected, client=agent.id)
        if claims.get("sub") != agent.id:
            raise NotAuthenticated(detail="iss and sub must be the client")
        return agent

    async def _agent(self, client_id: str, secret: Secret, *, remembered: bool) -> Agent:
        # SECURITY: remembered by a keyed digest of the whole secret, which is of use to this process only.
        text = secret.reveal()
        seen = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._seen_key, digest_size=32).digest()
        agent = self._agents.get(seen) if remembered else None
        if agent is None or agent.status is not Status.ACTIVE:  # a refusal is never remembered
            if not is_handle(text, "ag"):
                raise NotAuthenticated(detail="not a client secret")
            mac = self._mac.mac("agent-secret", "ag", secret)
            changes = self._changes
            async with self._database.read() as db:
                agent = await store.agent_by_secret(db, mac)
                if agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org}):
                    raise NotAuthenticated(detail="unknown or revoked agent")
            if len(self._agents) >= _REMEMBERED:
                self._agents.clear()
            # SECURITY: what was read before a change must not be remembered after it.
            if changes == self._changes:
                self._agents[seen] = agent
        if client_id not in (agent.id, agent.name):
            raise NotAuthenticated(detail="the secret is another client's")
        _check_active(agent.status)
        return agent

    async def _service_account(self, client_id: str, mac: bytes) -> ServiceAccount:
        async with self._database.read() as db:
            account = await store.service_account_by_secret(db, mac)
            if account is None or await revocation.among(db, {account.id, account.org}):
                raise NotAuthenticated(detail="unknown or revoked service account")
        if client_id not in (account.id, account.name):
            raise NotAuthenticated(detail="the secret is another client's")
        _check_active(account.status)
        return account


def _check_active(status: Status) -> None:
    if status is not Status.ACTIVE:
        raise NotAuthenticated(detail="suspended")
