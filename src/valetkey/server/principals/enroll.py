"""How principals come to be: the first administrator by a one-time code, everyone else by somebody who may.

No default password, no open door: the bootstrap code is printed once, lives ten minutes, works once, and only while
there is no organization. Every verb here writes its record in the same transaction.
"""

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, Denied, InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.principals import store
from valetkey.server.principals.cli_login import store as cli_logins
from valetkey.server.principals.invitations import store as invitations
from valetkey.server.principals.model import (
    MANAGEMENT_SCOPES,
    Agent,
    CodeMade,
    Organization,
    Role,
    ServiceAccount,
    Status,
    User,
    checked_email,
    checked_name,
)
from valetkey.server.principals.sessions import store as sessions
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac
from valetkey.verify.errors import InvalidKey
from valetkey.verify.keys import parse_jwks

CODE_SECONDS = 600
INVITATION_SECONDS = 7 * 86_400
CREDENTIAL_SECONDS = 30 * 86_400
TOLD_SECONDS = 30 * 86_400
"""So long a person's page tells of a code that was made for them."""

_INVITATION, _NEW_CODE = "invitation", "new-code"
_ANEW = "signed in anew by a one-time code"
_NO_USER = "There is no such user, or it is not yours."
_NO_CODE = "This code is not valid, was used, or has expired."


class Enroll:
    """One per process."""

    def __init__(
        self, journal: Journal, database: Database, mac: Mac, clock: Clock, default_ceiling: tuple[str, ...]
    ) -> None:
        self._journal = journal
        self._database = database
        self._mac = mac
        self._clock = clock
        self._default_ceiling = default_ceiling

    async def bootstrap_code(self) -> Secret | None:
        """A fresh one-time code for the first administrator, replacing any earlier one; None once there is one."""
        code = new_handle("bs")
        async with self._journal.change() as change:
            if await store.has_organization(change.tx):
                return None
            await invitations.drop(change.tx, kind="bootstrap")
            await invitations.add(
                change.tx,
                self._mac.mac("invitation", "bs", code),
                kind="bootstrap",
                user=None,
                expires_at=int(self._clock.now()) + CODE_SECONDS,
            )
            change.record(Event.BOOTSTRAP_OFFERED, "")
        return code

    async def log_in(self, code: Secret, *, email: str, organization: str) -> tuple[User, Secret]:
        """Spend a bootstrap code or an invitation; return the user and a CLI credential, shown once."""
        _check_shape(code)
        credential = new_handle("cl")
        async with self._journal.change() as change:
            user = await self._spent(change, code, email=email, organization=organization)
            now = int(self._clock.now())
            credential_id = new_id("tok")
            await cli_logins.add_user_credential(
                change.tx,
                self._mac.mac("user-credential", "cl", credential),
                id=credential_id,
                user=user,
                now=now,
                expires_at=now + CREDENTIAL_SECONDS,
            )
            change.record(Event.LOGIN_SUCCEEDED, user.org, user=user.id, credential=credential_id)
        return user, credential

    async def welcome(self, code: Secret, *, email: str, organization: str) -> User:
        """Spend a bootstrap code or an invitation in a browser; the session is begun by who asked."""
        _check_shape(code)
        async with self._journal.change() as change:
            return await self._spent(change, code, email=email, organization=organization)

    async def _spent(self, change: Change, code: Secret, *, email: str, organization: str) -> User:
        """The user a one-time code is for: the first administrator, or somebody it was made for."""
        now = int(self._clock.now())
        if is_handle(code.reveal(), "bs"):
            return await self._first_administrator(change, code, email=email, organization=organization)
        mac = self._mac.mac("invitation", "in", code)
        invited = await invitations.whom(change.tx, mac)
        if invited is None:
            raise NotAuthenticated(_NO_CODE)
        # NOTE: the fence before the row, as in `new_code`: the other way round two nodes could wait for each other.
        await change.touches(invited)
        used, made_by = await invitations.use(change.tx, mac, kinds=(_INVITATION, _NEW_CODE), now=now)
        found = await store.user(change.tx, invited) if used else None
        ended = found is None or await revocation.among(change.tx, {found.id, found.org})
        if found is None or ended or found.status is not Status.ACTIVE:
            raise NotAuthenticated(_NO_CODE)
        browsers, lines = await self._end_all_before(change, found, now=now)
        maker = {} if made_by is None else {"by": made_by}
        change.record(
            Event.INVITATION_USED,
            found.org,
            user=found.id,
            sessions_ended=browsers,
            credentials_ended=lines,
            **maker,
        )
        return found

    async def _end_all_before(self, change: Change, user: User, *, now: int) -> tuple[int, int]:
        """End every browser and command line signed in as this person, and say how many they were.

        What is on a lost phone stops, and nobody takes a place over quietly: who sits there notices.
        """
        browsers = 0
        while more := await sessions.live(change.tx, org=user.org, user=user.id, now=now):
            seq = await change.touches(*(session.id for session in more))
            for session in more:
                await revocation.mark(change.tx, session.id, seq=seq, by=user.id, reason=_ANEW, now=now)
                change.record(Event.SESSION_ENDED, user.org, session=session.id, user=user.id, by=user.id)
            browsers += len(more)
        await cli_logins.spend_all_of(change.tx, user.id, now=now)
        lines = await cli_logins.live_user_credentials(change.tx, user.id, now=now)
        if lines:
            seq = await change.touches(*lines)
            for line in lines:
                await revocation.mark(change.tx, line, seq=seq, by=user.id, reason=_ANEW, now=now)
                change.record(Event.NODE_REVOKED, user.org, node=line, by=user.id, reason=_ANEW, again=False)
        return browsers, len(lines)

    async def _first_administrator(self, change: Change, code: Secret, *, email: str, organization: str) -> User:
        now = int(self._clock.now())
        mac = self._mac.mac("invitation", "bs", code)
        used, _ = await invitations.use(change.tx, mac, kinds=("bootstrap",), now=now)
        if not used or await store.has_organization(change.tx):
            raise NotAuthenticated(_NO_CODE)
        org = Organization(
            id=new_id("org"), name=organization.strip()[:80] or "main", default_ceiling=self._default_ceiling
        )
        await store.add_organization(change.tx, org, now=now)
        user = User(
            id=new_id("usr"), org=org.id, email=checked_email(email), role=Role.ADMINISTRATOR, status=Status.ACTIVE
        )
        await store.add_user(change.tx, user, now=now)
        change.record(Event.BOOTSTRAP_USED, org.id, user=user.id)
        change.record(Event.ORGANIZATION_CREATED, org.id, by=user.id)
        change.record(Event.USER_CREATED, org.id, user=user.id, by=user.id, role=user.role.value)
        return user

    async def invite(self, email: str, role: Role, *, by: User) -> tuple[User, Secret]:
        """Create a user and a one-time code for them to log in with."""
        _only_administrators(by)
        now = int(self._clock.now())
        user = User(id=new_id("usr"), org=by.org, email=checked_email(email), role=role, status=Status.ACTIVE)
        code = new_handle("in")
        async with self._journal.change() as change:
            await store.add_user(change.tx, user, now=now)
            await invitations.add(
                change.tx,
                self._mac.mac("invitation", "in", code),
                kind=_INVITATION,
                user=user.id,
                expires_at=now + INVITATION_SECONDS,
                by=by.id,
                now=now,
            )
            change.record(Event.USER_CREATED, by.org, user=user.id, by=by.id, role=role.value)
        return user, code

    async def new_code(self, user: User, *, by: User) -> tuple[Secret, int]:
        """A one-time code for somebody who is a user already, and when it ends; an unused earlier one is void.

        For a lost phone, or an invitation that expired. It signs in without the passkey and the password they have,
        which is what it is for, and therefore: it lives ten minutes; what was signed in as them before, browsers and
        command lines alike, ends the moment it is used; it proves one thing only, so a page that wants a passkey still
        wants it; their delegations and ways to sign in stay until they remove them; both the making and the using are
        recorded, and their account page says who made it and when it was used.

        Raises `Denied` for oneself and `NotFound`, with one sentence, for whoever is unknown, of another organization,
        suspended or ended.
        """
        _only_administrators(by)
        # SECURITY: a stolen sign-in must not make itself a way around its owner's second factor.
        # Guarded by tests/flows/test_new_codes.py::test_nobody_makes_a_code_for_themselves
        if user.id == by.id:
            raise Denied(
                "You cannot make a code for yourself.", reason="oneself", hint="Ask another administrator for one."
            )
        code = new_handle("in")
        now = int(self._clock.now())
        async with self._journal.change() as change:
            # SECURITY: the fence first: of two codes made at once, the earlier must be void.
            # Guarded by tests/flows/test_new_codes.py::test_of_many_made_at_once_one_is_good
            await change.touches(user.id)
            found = await store.user(change.tx, user.id)
            ended = await revocation.among(change.tx, {user.id, user.org})
            if found is None or found.org != by.org or found.status is not Status.ACTIVE or ended:
                raise NotFound(_NO_USER)
            await invitations.drop_of(change.tx, found.id)
            await invitations.add(
                change.tx,
                self._mac.mac("invitation", "in", code),
                kind=_NEW_CODE,
                user=found.id,
                expires_at=now + CODE_SECONDS,
                by=by.id,
                now=now,
            )
            change.record(Event.INVITATION_CREATED, found.org, user=found.id, by=by.id, role=found.role.value)
        return code, now + CODE_SECONDS

    async def told_of(self, user: User) -> CodeMade | None:
        """The last code somebody made for this person of late, for them to see."""
        async with self._database.read() as db:
            made = await invitations.newest(db, user.id, kind=_NEW_CODE)
        return made if made is not None and self._clock.now() - made.made_at < TOLD_SECONDS else None

    async def agent(
        self, name: str, *, by: User, ceiling: tuple[str, ...], jwks: str | None
    ) -> tuple[Agent, Secret | None]:
        """Register an agent owned by `by`: a secret, shown once, or public keys of its own."""
        if jwks is not None:
            _check_jwks(jwks)
        agent = Agent(
            id=new_id("agt"), org=by.org, name=checked_name(name), owner=by.id, status=Status.ACTIVE, ceiling=ceiling
        )
        now = int(self._clock.now())
        secret = new_handle("ag") if jwks is None else None
        async with self._journal.change() as change:
            await store.add_agent(change.tx, agent, now=now, jwks=jwks)
            if secret is not None:
                mac = self._mac.mac("agent-secret", "ag", secret)
                await store.replace_agent_secret(change.tx, agent.id, mac, now=now)
            change.record(
                Event.AGENT_CREATED, by.org, agent=agent.id, name=agent.name, by=by.id, ceiling=list(agent.ceiling)
            )
        return agent, secret

    async def rotate_agent(self, agent: Agent, *, by: User) -> Secret:
        """Replace the agent's secret; the old one stops working at once."""
        secret = new_handle("ag")
        async with self._journal.change() as change:
            mac = self._mac.mac("agent-secret", "ag", secret)
            await store.replace_agent_secret(change.tx, agent.id, mac, now=int(self._clock.now()))
            await change.touches(agent.id)
            change.record(Event.AGENT_ROTATED, agent.org, agent=agent.id, by=by.id)
        return secret

    async def set_agent_status(self, agent: Agent, status: Status, *, by: str) -> None:
        """Suspend or activate."""
        async with self._journal.change() as change:
            await store.set_agent_status(change.tx, agent.id, status)
            await change.touches(agent.id)
            event = Event.AGENT_SUSPENDED if status is Status.SUSPENDED else Event.AGENT_RESUMED
            change.record(event, agent.org, agent=agent.id, by=by)

    async def set_agent_ceiling(self, agent: Agent, ceiling: tuple[str, ...], *, by: User) -> None:
        """Replace the ceiling; whether it may be raised is decided by the caller."""
        async with self._journal.change() as change:
            await store.set_agent_ceiling(change.tx, agent.id, ceiling)
            await change.touches(agent.id)
            change.record(Event.AGENT_CEILING_CHANGED, agent.org, agent=agent.id, by=by.id, ceiling=list(ceiling))

    async def set_user_status(self, user: User, status: Status, *, by: User) -> None:
        """Suspend or activate a user; an administrator cannot suspend themselves."""
        _only_administrators(by)
        if user.id == by.id:
            raise Conflict("You cannot suspend yourself.")
        async with self._journal.change() as change:
            await store.set_user_status(change.tx, user.id, status)
            await change.touches(user.id)
            event = Event.USER_SUSPENDED if status is Status.SUSPENDED else Event.USER_RESUMED
            change.record(event, user.org, user=user.id, by=by.id)

    async def service_account(self, name: str, scopes: frozenset[str], *, by: User) -> tuple[ServiceAccount, Secret]:
        """Provision a program that manages; its scopes come from a closed list and open no upstream."""
        _only_administrators(by)
        if not scopes or not scopes <= MANAGEMENT_SCOPES:
            raise InvalidRequest(
                "A service account needs scopes from the management list.",
                hint=f"Choose among {', '.join(sorted(MANAGEMENT_SCOPES))}.",
            )
        account = ServiceAccount(
            id=new_id("svc"), org=by.org, name=checked_name(name), status=Status.ACTIVE, scopes=scopes
        )
        secret = new_handle("sa")
        now = int(self._clock.now())
        async with self._journal.change() as change:
            await store.add_service_account(change.tx, account, now=now)
            mac = self._mac.mac("service-account-secret", "sa", secret)
            await store.replace_service_account_secret(change.tx, account.id, mac, now=now)
            change.record(
                Event.SERVICE_ACCOUNT_CREATED, by.org, service_account=account.id, by=by.id, scopes=sorted(scopes)
            )
        return account, secret

    async def rotate_service_account(self, account: ServiceAccount, *, by: User) -> Secret:
        """Replace its secret; the old one stops working at once."""
        _only_administrators(by)
        secret = new_handle("sa")
        async with self._journal.change() as change:
            mac = self._mac.mac("service-account-secret", "sa", secret)
            await store.replace_service_account_secret(change.tx, account.id, mac, now=int(self._clock.now()))
            change.record(Event.SERVICE_ACCOUNT_ROTATED, account.org, service_account=account.id, by=by.id)
        return secret

    async def set_service_account_status(self, account: ServiceAccount, status: Status, *, by: User) -> None:
        """Suspend or activate."""
        _only_administrators(by)
        async with self._journal.change() as change:
            await store.set_service_account_status(change.tx, account.id, status)
            await change.touches(account.id)
            suspended = status is Status.SUSPENDED
            event = Event.SERVICE_ACCOUNT_SUSPENDED if suspended else Event.SERVICE_ACCOUNT_RESUMED
            change.record(event, account.org, service_account=account.id, by=by.id)


def _check_shape(code: Secret) -> None:
    # SECURITY: what is not even a code never reaches the store.
    # Guarded by tests/attacks/test_sign_in.py::test_do_07_what_is_no_code_never_reaches_the_store
    if not is_handle(code.reveal(), "bs") and not is_handle(code.reveal(), "in"):
        raise NotAuthenticated(_NO_CODE)


def _only_administrators(user: User) -> None:
    if not user.is_administrator:
        raise Denied("Only an administrator can do this.", reason="not_administrator")


def _check_jwks(jwks: str) -> None:
    try:
        if not parse_jwks(jwks.encode()):
            raise InvalidRequest("The key set holds no key this server knows.")
    except InvalidKey as error:
        raise InvalidRequest(f"The key set is not usable: {error}.") from error
