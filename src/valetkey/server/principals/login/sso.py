"""Signing in by the company's identity provider: authorization code, PKCE, state and nonce (OpenID Connect Core 3.1).

1. `begin` remembers a step for this browser and returns where to send it.
2. The callback's state must be this browser's step, for this provider; `iss` must be the provider's (RFC 9207).
3. The code is redeemed and the ID token believed (`providers/id_token`); what it leaves out is asked for.
4. (issuer, subject) finds the user; an e-mail address never does. Who is new may be enrolled.
5. Groups set the role, recorded when it changes.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, Denied, NotFound
from valetkey.server.ids import new_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import Identity
from valetkey.server.principals.login.providers import store as providers
from valetkey.server.principals.login.providers.discovery import Calls, Metadata
from valetkey.server.principals.login.providers.id_token import LEEWAY_SECONDS, proven_at, verified_claims
from valetkey.server.principals.login.providers.model import Provider, proofs
from valetkey.server.principals.login.steps import Step, Steps
from valetkey.server.principals.model import Role, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

LONGEST_AGE_SECONDS = 7 * 86_400
"""Asked for so that providers say when the person proved themselves (OIDC Core section 3.1.2.1, max_age)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SsoAnswer:
    """The callback's parameters, as the browser brought them."""

    state: Secret
    code: str
    iss: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SsoSignIn:
    """Who came back. `auth_time` is 0 where the provider did not say when: such a session is never fresh."""

    user: User
    amr: tuple[str, ...]
    acr: str | None
    auth_time: int
    linked: bool
    wanted: str
    again: str


class Sso:
    """One per process. `base` is our own address."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        steps: Steps,
        calls: Calls,
        ring: KeyRing,
        clock: Clock,
        *,
        base: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._steps = steps
        self._calls = calls
        self._ring = ring
        self._clock = clock
        self._base = base

    def callback(self, provider_id: str) -> str:
        """A redirect address of its own for every provider, so that answers cannot be mixed up (OA-11)."""
        return f"{self._base}/login/sso/{provider_id}/callback"

    async def begin(
        self, provider_id: str, *, browser: str, wanted: str, again: str = "", link: User | None = None
    ) -> str:
        """Where to send the browser. `link` adds the identity to somebody signed in; `again` proves her once more."""
        async with self._database.read() as db:
            provider = await providers.provider(db, provider_id)
        if provider is None or (link is not None and link.org != provider.org):
            raise NotFound("There is no such identity provider.")
        metadata = await self._calls.metadata(provider.issuer)
        if metadata.origin != provider.origin:
            raise Denied(
                "The identity provider moved its sign-in page to another host.",
                reason="provider_moved",
                hint="An administrator has to register it anew.",
            )
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        now = int(self._clock.now())
        state = await self._steps.begin(
            "sso",
            browser=browser,
            user=None if link is None else link.id,
            provider=provider.id,
            verifier=verifier,
            nonce=nonce,
            wanted=wanted,
            again=again,
            began_at=now,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.callback(provider.id),
            "scope": "openid email profile",
            "state": state.reveal(),
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "max_age": "0" if again else str(LONGEST_AGE_SECONDS),
        } | ({"prompt": "login"} if again else {})
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{joint}{urlencode(asked)}"

    async def finish(self, provider_id: str, answer: SsoAnswer, *, browser: str, present: User | None) -> SsoSignIn:
        """Who came back. `present` is who the browser is signed in as. Raises `Denied`, `NotAuthenticated`."""
        step = await self._steps.spend("sso", answer.state, browser=browser)
        async with self._database.read() as db:
            found = await providers.with_secret(db, provider_id, ring=self._ring)
        if found is None or step.facts["provider"] != provider_id:
            raise Denied("This answer is for another identity provider.", reason="mix_up")
        provider, secret = found
        metadata = await self._calls.metadata(provider.issuer)
        # SECURITY: before the code is redeemed anywhere: another provider's answer may carry its own code (RFC 9207).
        # Guarded by tests/flows/test_sso.py::test_oa_11_an_answer_of_another_issuer_is_not_redeemed
        if (answer.iss is not None and answer.iss != provider.issuer) or (answer.iss is None and metadata.promises_iss):
            raise Denied("This answer is not from the identity provider that was asked.", reason="mix_up")
        if answer.error or not answer.code:
            raise Denied(
                "The identity provider did not sign you in.",
                reason="refused_there",
                hint="Try again from the sign-in page.",
            )
        redeemed = await self._calls.redeem(
            metadata,
            client_id=provider.client_id,
            secret=secret,
            code=answer.code,
            verifier=Secret(step.facts["verifier"]),
            callback=self.callback(provider.id),
        )
        now = self._clock.now()
        proven = verified_claims(
            redeemed.id_token,
            keys=await self._calls.keys(metadata),
            issuer=provider.issuer,
            client_id=provider.client_id,
            nonce=step.facts["nonce"],
            now=now,
        )
        claims = await self._completed(proven, provider, metadata, redeemed.access_token)
        return await self._signed_in(provider, claims, step, present=present, now=now)

    async def _completed(
        self, claims: Mapping[str, object], provider: Provider, metadata: Metadata, access_token: Secret | None
    ) -> Mapping[str, object]:
        """The ID token's claims, and what a strict provider says only when it is asked (OIDC Core section 5.4).

        What the ID token says stands: it is signed, and for us.
        """
        if metadata.userinfo_endpoint is None or access_token is None or not provider.misses(claims):
            return claims
        told = await self._calls.userinfo(metadata.userinfo_endpoint, access_token, subject=str(claims["sub"]))
        return {name: told[name] for name in provider.wants if name in told} | dict(claims)

    async def _signed_in(
        self, provider: Provider, claims: Mapping[str, object], step: Step, *, present: User | None, now: float
    ) -> SsoSignIn:
        when = proven_at(claims, now)
        again = str(step.facts["again"])
        if again and (when is None or when < step.facts["began_at"] - LEEWAY_SECONDS):
            raise Denied(
                "The identity provider did not ask you to prove yourself again.",
                reason="not_fresh",
                hint="Use another way to sign in.",
            )
        subject = str(claims["sub"])
        if step.user is not None:
            user = await self._linked(provider, subject, step.user, present)
        else:
            user = await self._known(provider, subject, claims)
        amr, acr = proofs(claims)
        return SsoSignIn(
            user=user,
            amr=amr,
            acr=acr,
            auth_time=min(when or 0, int(now)),
            linked=step.user is not None,
            wanted=str(step.facts["wanted"]),
            again=again,
        )

    async def _linked(self, provider: Provider, subject: str, wanted: str, present: User | None) -> User:
        """Add the identity to who asked for it, who must still be the one signed in."""
        if present is None or present.id != wanted:
            raise Denied("Somebody else is signed in now. Nothing was linked.", reason="another_user")
        now = int(self._clock.now())
        identity = Identity(issuer=provider.issuer, subject=subject, user=present.id, created_at=now)
        async with self._journal.change() as change:
            await store.link(change.tx, identity)
            change.record(
                Event.LOGIN_WAY_ADDED,
                present.org,
                user=present.id,
                way="sso",
                again=False,
                identity_provider=provider.id,
            )
        return present

    async def _known(self, provider: Provider, subject: str, claims: Mapping[str, object]) -> User:
        async with self._journal.change() as change:
            user_id = await store.linked(change.tx, provider.issuer, subject)
            if user_id is None:
                return await self._enrolled(change, provider, subject, claims)
            user = await principals.user(change.tx, user_id)
            ended = user is None or await revocation.among(change.tx, {user.id, user.org})
            if user is None or ended or user.status is not Status.ACTIVE or user.org != provider.org:
                raise Denied("You cannot sign in here.", reason="not_active", hint="Ask an administrator.")
            return await _with_role(change, user, provider, claims)

    async def _enrolled(self, change: Change, provider: Provider, subject: str, claims: Mapping[str, object]) -> User:
        email = provider.enrolled_email(claims)
        if await principals.user_by_email(change.tx, provider.org, email) is not None:
            # SECURITY: an address is not an identity: who has it there need not be who has it here.
            # Guarded by tests/flows/test_sso.py::test_an_address_alone_opens_nobodys_account
            raise Conflict(
                f"There is an account for {email} already, and it is not linked to this identity provider.",
                hint="Sign in as you did until now, then link the provider on your account page.",
            )
        now = int(self._clock.now())
        role = provider.role_of(claims) or Role.MEMBER
        user = User(id=new_id("usr"), org=provider.org, email=email, role=role, status=Status.ACTIVE)
        await principals.add_user(change.tx, user, now=now)
        await store.link(change.tx, Identity(issuer=provider.issuer, subject=subject, user=user.id, created_at=now))
        change.record(Event.USER_CREATED, user.org, user=user.id, by=provider.id, role=role.value)
        return user


async def _with_role(change: Change, user: User, provider: Provider, claims: Mapping[str, object]) -> User:
    """The user with the role the groups give now. The last administrator stays one."""
    role = provider.role_of(claims)
    if role is None or role is user.role:
        return user
    await change.touches(user.id)
    if user.is_administrator and await principals.active_administrators(change.tx, user.org) <= {user.id}:
        return user
    await principals.set_user_role(change.tx, user.id, role)
    change.record(Event.USER_ROLE_CHANGED, user.org, user=user.id, role=role.value, was=user.role.value, by=provider.id)
    return replace(user, role=role)
