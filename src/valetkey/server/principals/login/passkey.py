"""Passkeys (WebAuthn level 3): resident, user verified, bound to our host, the challenge kept here and used once."""

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import InvalidRequest, NotAuthenticated
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import Passkey, challenge_of, shown_name
from valetkey.server.principals.login.password import People
from valetkey.server.principals.login.steps import Steps
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret

MOST_PASSKEYS = 20
LONGEST_CREDENTIAL = 1023  # bytes; WebAuthn section 4
LONGEST_RESPONSE = 16 * 1024
_VERIFIED = UserVerificationRequirement.REQUIRED
_REFUSED = "This passkey is not known here, or did not prove itself."

_T = TypeVar("_T")


class Passkeys:
    """One per process. `host` and `origin` are the server's own."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        steps: Steps,
        people: People,
        clock: Clock,
        *,
        host: str,
        origin: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._steps = steps
        self._people = people
        self._clock = clock
        self._host = host
        self._origin = origin

    async def begin(self, *, browser: str) -> dict[str, Any]:
        """A challenge for any passkey of this host: the step, and the options for the browser."""
        options = webauthn.generate_authentication_options(rp_id=self._host, user_verification=_VERIFIED)
        step = await self._steps.begin("passkey", browser=browser, challenge=options.challenge.hex())
        return {"step": step.reveal(), "options": msgspec.json.decode(options_to_json(options))}

    async def proven(self, handle: Secret, response: str, *, browser: str) -> User:
        """Whose passkey answered. Raises `NotAuthenticated`, one sentence for every cause; `Denied` for the step."""
        step = await self._steps.spend("passkey", handle, browser=browser)
        _, user = await self._answered(response, bytes.fromhex(step.facts["challenge"]), of=None)
        return user

    async def begin_signature(self, user: User, about: bytes, *, browser: str) -> dict[str, Any]:
        """A challenge for this user's passkeys that stands for one thing they agree to, and a nonce kept for it."""
        async with self._database.read() as db:
            known = (await store.ways(db, user.id, issuers=frozenset())).passkeys
        if not known:
            raise InvalidRequest("You have no passkey.", hint="Add one on your account page.")
        nonce = secrets.token_bytes(32)
        options = webauthn.generate_authentication_options(
            rp_id=self._host,
            challenge=challenge_of(about, nonce),
            allow_credentials=[PublicKeyCredentialDescriptor(id=passkey.credential) for passkey in known],
            user_verification=_VERIFIED,
        )
        step = await self._steps.begin("signature", browser=browser, user=user.id, nonce=nonce.hex())
        return {"step": step.reveal(), "options": msgspec.json.decode(options_to_json(options))}

    async def signed(self, user: User, about: bytes, handle: Secret, response: str, *, browser: str) -> Passkey:
        """The passkey of this user that signed this very thing. Raises like `proven`."""
        step = await self._steps.spend("signature", handle, browser=browser)
        if step.user != user.id:
            raise NotAuthenticated(_REFUSED, detail="begun by somebody else")
        # SECURITY: made again from what is being agreed to now, never taken from the step: what was signed for
        # something else is no signature of this.
        # Guarded by tests/flows/test_approvals_proven.py::test_a_signature_is_good_for_one_approval
        challenge = challenge_of(about, bytes.fromhex(step.facts["nonce"]))
        passkey, _ = await self._answered(response, challenge, of=user.id)
        return passkey

    async def begin_new(self, user: User, *, browser: str) -> dict[str, Any]:
        """A challenge to make a passkey for this user."""
        async with self._database.read() as db:
            known = (await store.ways(db, user.id, issuers=frozenset())).passkeys
        if len(known) >= MOST_PASSKEYS:
            raise InvalidRequest(f"You have {MOST_PASSKEYS} passkeys. Remove one first.")
        options = webauthn.generate_registration_options(
            rp_id=self._host,
            rp_name="Valetkey",
            user_id=user.id.encode(),
            user_name=user.email,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_VERIFIED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=passkey.credential) for passkey in known],
        )
        step = await self._steps.begin("new-passkey", browser=browser, user=user.id, challenge=options.challenge.hex())
        return {"step": step.reveal(), "options": msgspec.json.decode(options_to_json(options))}

    async def add(self, user: User, handle: Secret, response: str, *, name: str, browser: str) -> Passkey:
        """Keep the passkey that answered. Raises `InvalidRequest`; `Denied` for the step."""
        step = await self._steps.spend("new-passkey", handle, browser=browser)
        if step.user != user.id:
            raise InvalidRequest("This passkey was begun for somebody else.")
        offered = _parsed(response)
        verified = _checked(
            lambda: webauthn.verify_registration_response(
                credential=offered,
                expected_challenge=bytes.fromhex(step.facts["challenge"]),
                expected_rp_id=self._host,
                expected_origin=self._origin,
                require_user_verification=True,
            ),
            InvalidRequest,
        )
        if len(verified.credential_id) > LONGEST_CREDENTIAL:
            raise InvalidRequest("This passkey's name is too long.")
        passkey = Passkey(
            credential=verified.credential_id,
            user=user.id,
            name=shown_name(name, "Passkey"),
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            created_at=int(self._clock.now()),
        )
        async with self._journal.change() as change:
            await store.add_passkey(change.tx, passkey)
            change.record(Event.LOGIN_WAY_ADDED, user.org, user=user.id, way="passkey", again=False)
        return passkey

    async def _answered(self, response: str, challenge: bytes, *, of: str | None) -> tuple[Passkey, User]:
        """The passkey that answered a challenge of ours, and whose it is; with `of`, this person's or none."""
        offered = _parsed(response)
        credential = _credential(offered)
        async with self._database.read() as db:
            known = await store.passkey(db, credential)
        if known is None or of not in (None, known.user):
            raise NotAuthenticated(_REFUSED, detail="unknown credential, or somebody else's")
        # A resident key names its user; one that names another is not the key we stored (WebAuthn section 7.2, step 6).
        if _user_handle(offered) not in (None, known.user):
            raise NotAuthenticated(_REFUSED, detail="user handle")
        verified = _checked(
            lambda: webauthn.verify_authentication_response(
                credential=offered,
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                credential_public_key=known.public_key,
                credential_current_sign_count=known.sign_count,
                require_user_verification=True,
            ),
            NotAuthenticated,
        )
        user = await self._people.by_id(known.user)
        async with self._database.write() as tx:
            now = int(self._clock.now())
            used = user is not None and await store.use_passkey(tx, known, sign_count=verified.new_sign_count, now=now)
        if user is None or not used:
            raise NotAuthenticated(_REFUSED, detail="no such user, or the passkey changed meanwhile")
        return known, user


def _parsed(response: str) -> dict[str, Any]:
    if len(response) > LONGEST_RESPONSE:
        raise InvalidRequest("The browser's answer is too long.")
    try:
        offered = msgspec.json.decode(response.encode(), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidRequest("The browser's answer cannot be read.") from error
    return offered


def _credential(offered: dict[str, Any]) -> bytes:
    named = offered.get("rawId")
    if not isinstance(named, str) or len(named) > 2 * LONGEST_CREDENTIAL:
        raise NotAuthenticated(_REFUSED, detail="no credential id")
    return _checked(lambda: base64url_to_bytes(named), NotAuthenticated)


def _user_handle(offered: dict[str, Any]) -> str | None:
    inner = offered.get("response")
    named = inner.get("userHandle") if isinstance(inner, dict) else None
    if named is None or named == "":
        return None
    if not isinstance(named, str):
        raise NotAuthenticated(_REFUSED, detail="user handle")
    return _checked(lambda: base64url_to_bytes(named), NotAuthenticated).decode("utf-8", "replace")


def _checked(verify: Callable[[], _T], refusal: type[NotAuthenticated] | type[InvalidRequest]) -> _T:
    """What `verify` returns. What it raises about bytes a stranger sent is one refusal."""
    try:
        return verify()
    except (WebAuthnException, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        public = _REFUSED if refusal is NotAuthenticated else "The browser's answer does not prove a new passkey."
        raise refusal(public, detail=type(error).__name__) from error
