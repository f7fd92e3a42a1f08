"""Believing an issuer: which one an assertion names, its keys, and the agent or person its words mean.

One sentence for every failure, as at every proof. Only administrators add and remove issuers, each with its record.
"""

from collections.abc import Mapping
from dataclasses import replace

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.principals import store as principals
from valetkey.server.principals.assertion import Assertions, Expected, Unverified
from valetkey.server.principals.issuers import store
from valetkey.server.principals.issuers.model import (
    LONGEST_SECONDS,
    IssuerKind,
    TrustedIssuer,
    checked,
    is_meant,
    trust_domain,
)
from valetkey.server.principals.keysets import Keys, KeySets, Reader, place_of
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.verify.errors import InvalidKey
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import parse_jwks

ID_JAG_TYP = "oauth-id-jag+jwt"
ID_JAG_SECONDS = 300


class Trusting:
    """One per process."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        keysets: KeySets,
        assertions: Assertions,
        issuer: str,
        *,
        on_loopback: bool,
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._keysets = keysets
        self._assertions = assertions
        self._issuer = issuer
        self._on_loopback = on_loopback

    async def add(self, issuer: TrustedIssuer, *, by: User) -> TrustedIssuer:
        """Trust an issuer from now on. Raises `InvalidRequest`, or `Conflict` when it is trusted already."""
        issuer = checked(replace(issuer, created_by=by.id, created_at=int(self._clock.now())))
        if issuer.jwks_uri is not None:
            place_of(issuer.jwks_uri, on_loopback=self._on_loopback)
        if issuer.jwks is not None:
            try:
                self._read(issuer, issuer.jwks)
            except InvalidKey as error:
                raise InvalidRequest(f"The key set is not usable: {error}.") from error
        async with self._journal.change() as change:
            if await store.named(change.tx, issuer.org, issuer.issuer):
                raise Conflict("This issuer is trusted already.", hint="Remove it first to change what it means.")
            for rule in issuer.trust.rules:
                agent = await principals.agent(change.tx, rule.agent)
                if agent is None or agent.org != issuer.org:
                    raise NotFound("There is no such agent, or it is not yours.")
            await store.add(change.tx, issuer)
            change.record(
                Event.TRUSTED_ISSUER_ADDED,
                issuer.org,
                trusted_issuer=issuer.id,
                issuer=issuer.issuer,
                kind=issuer.kind.value,
                audience=issuer.trust.audience,
                agents=sorted({rule.agent for rule in issuer.trust.rules}),
                by=by.id,
            )
        return issuer

    async def remove(self, issuer_id: str, *, by: User) -> TrustedIssuer:
        """Trust it no more: its next assertion proves nothing."""
        async with self._journal.change() as change:
            issuer = await store.remove(change.tx, by.org, issuer_id)
            if issuer is None:
                raise NotFound("There is no such trusted issuer, or it is not yours.")
            change.record(
                Event.TRUSTED_ISSUER_REMOVED,
                issuer.org,
                trusted_issuer=issuer.id,
                issuer=issuer.issuer,
                by=by.id,
            )
        return issuer

    async def workload(self, assertion: str, said: Unverified, client_id: str | None, *, spiffe: bool) -> Agent:
        """The agent a platform's token stands for. The workload says which agent it is; a rule has to agree."""
        name = trust_domain(said.sub) if spiffe else said.iss
        if name is None or client_id is None:
            raise NotAuthenticated(detail="no issuer, or the workload does not say which agent it is")
        async with self._database.read() as db:
            agent = await principals.agent(db, client_id)
            ended = agent is None or await revocation.among(db, {agent.id, agent.owner, agent.org})
            trusted = [] if agent is None else await store.named(db, agent.org, name)
        if agent is None or ended or agent.status is not Status.ACTIVE or len(trusted) != 1:
            raise NotAuthenticated(detail="no such agent, or nobody trusted says so")
        issuer = trusted[0]
        if issuer.kind is IssuerKind.IDP or (issuer.kind is IssuerKind.SPIFFE) is not spiffe:
            raise NotAuthenticated(detail="another kind of issuer")
        claims = await self._verified(assertion, said, issuer)
        if not is_meant(issuer, agent.id, claims):
            raise NotAuthenticated(detail="no rule makes this workload that agent")
        return agent

    async def person(
        self, assertion: str, said: Unverified, *, client: str, org: str | None
    ) -> tuple[User, TrustedIssuer, Mapping[str, object]]:
        """Whom an identity provider's ID-JAG for this client speaks of, by issuer and subject alone; and its claims."""
        if said.iss is None or said.typ != ID_JAG_TYP:
            raise NotAuthenticated(detail="not an ID-JAG")
        async with self._database.read() as db:
            user_id = await store.user_at(db, said.iss, said.sub)
            user = None if user_id is None else await principals.user(db, user_id)
            ended = user is None or await revocation.among(db, {user.id, user.org})
            trusted = [] if user is None else await store.named(db, user.org, said.iss)
        if user is None or ended or user.status is not Status.ACTIVE or org not in (None, user.org):
            raise NotAuthenticated(detail="no such person")
        if len(trusted) != 1 or trusted[0].kind is not IssuerKind.IDP:
            raise NotAuthenticated(detail="this issuer is not trusted with people")
        issuer = trusted[0]
        keys = await self._keys(issuer, said.kid)
        expected = Expected(
            issuer=issuer.issuer,
            audience=issuer.trust.audience,
            typs=frozenset({ID_JAG_TYP}),
            longest_seconds=ID_JAG_SECONDS,
            needs_iat=True,
            says={**issuer.trust.tenant, "sub": said.sub, "client_id": client},
        )
        return user, issuer, await self._assertions.proven(assertion, keys, expected, client=issuer.id)

    async def _verified(self, assertion: str, said: Unverified, issuer: TrustedIssuer) -> Mapping[str, object]:
        keys = await self._keys(issuer, said.kid)
        usual = Expected(
            issuer=issuer.issuer,
            audience=issuer.trust.audience,
            typs=frozenset({"", "JWT", "JOSE"}),
            longest_seconds=LONGEST_SECONDS,
            may_list=issuer.kind.renews_a_file,
            issuer_is_optional=issuer.kind is IssuerKind.SPIFFE,
            tolerates_thumbprint=issuer.kind is IssuerKind.GITHUB,
            once=not issuer.kind.renews_a_file,
            says=issuer.trust.tenant,
        )
        try:
            return await self._assertions.proven(assertion, keys, usual, client=issuer.id)
        except NotAuthenticated:
            if not issuer.trust.at_token_endpoint:
                raise
            other = replace(usual, audience=f"{self._issuer}/oauth/token")
            return await self._assertions.proven(assertion, keys, other, client=issuer.id)

    async def _keys(self, issuer: TrustedIssuer, kid: str) -> Keys:
        try:
            if issuer.jwks_uri is not None:
                return await self._keysets.holding(issuer.jwks_uri, kid, reader=_reader(issuer.kind))
            return self._read(issuer, issuer.jwks or "")
        except InvalidKey as error:
            raise NotAuthenticated(detail=f"keys: {error}") from error

    def _read(self, issuer: TrustedIssuer, text: str) -> Keys:
        try:
            members = parse_object(text.encode())
        except MalformedJson as error:
            raise InvalidKey(str(error)) from error
        return _reader(issuer.kind)(members)


def _reader(kind: IssuerKind) -> Reader:
    return of_bundle if kind is IssuerKind.SPIFFE else parse_jwks


def of_bundle(members: Mapping[str, object]) -> Keys:
    """The signing keys of a SPIFFE trust bundle: they are marked `jwt-svid`, and their `alg` may be left out."""
    listed = members.get("keys")
    if not isinstance(listed, list):
        raise InvalidKey("keys is missing")
    usable = []
    for key in listed:
        if isinstance(key, dict) and key.get("use") == "jwt-svid":
            shape = (key.get("kty"), key.get("crv"))
            alg = "ES256" if shape == ("EC", "P-256") else "RS256" if shape == ("RSA", None) else None
            usable.append({"alg": alg, **key, "use": "sig"})
    return parse_jwks({"keys": usable})
