"""Builds everything from Settings and mounts the doors. Plain lines, in the order things depend on one another."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from valetkey.server.api import routes as api
from valetkey.server.approvals import store as approved
from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.forget import Forget
from valetkey.server.approvals.notices import store as notice_addresses
from valetkey.server.approvals.notices.addresses import NoticeAddresses
from valetkey.server.approvals.notices.mail import open_mail
from valetkey.server.approvals.notices.notices import Notices
from valetkey.server.approvals.notices.send import Send
from valetkey.server.approvals.notices.vapid import Vapid
from valetkey.server.approvals.proving.prove import Proving
from valetkey.server.audit.at_once import AtOnce
from valetkey.server.audit.badge import Badges
from valetkey.server.audit.index.follow import Index
from valetkey.server.audit.store import Journal
from valetkey.server.audit.tree.grow import Trees
from valetkey.server.audit.tree.prove import Prove
from valetkey.server.audit.witness import Witness
from valetkey.server.clock import Clock, SystemClock
from valetkey.server.connections import store as connections
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.apps.register import Apps
from valetkey.server.connections.assume import Assume
from valetkey.server.connections.borrow import Borrow
from valetkey.server.connections.by_code.codes import ConnectCodes
from valetkey.server.connections.by_device import store as device_codes
from valetkey.server.connections.by_device.connect import ConnectByDevice
from valetkey.server.connections.databases.connect import ConnectDatabase
from valetkey.server.connections.databases.mariadb.admin import MariaAdmins
from valetkey.server.connections.databases.mariadb.connect import TryMariaDB
from valetkey.server.connections.databases.mariadb.tables import MariaTables
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.connections.databases.postgres.connect import TryPostgres
from valetkey.server.connections.databases.postgres.rotate import Rotate
from valetkey.server.connections.databases.postgres.tables import PostgresTables
from valetkey.server.connections.ending.end import EndThere
from valetkey.server.connections.installation import Installations
from valetkey.server.connections.link import Link
from valetkey.server.connections.linking.connect import Connect
from valetkey.server.connections.linking.discard import Discard
from valetkey.server.connections.linking.keep import Keep
from valetkey.server.connections.lookup import Lookups
from valetkey.server.connections.reachable import Reachable
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.refreshing.due import Due
from valetkey.server.connections.refreshing.refresh import Refresh
from valetkey.server.connections.role_sessions import RoleSessions
from valetkey.server.connections.web_identity import WebIdentity
from valetkey.server.credentials import store as leases
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.first_use import FirstUse
from valetkey.server.credentials.issue import Issue
from valetkey.server.credentials.last_used import LastUsed
from valetkey.server.credentials.lend import Lend
from valetkey.server.credentials.reconcile import Reconcile
from valetkey.server.credentials.sources.installation import InstallationSource
from valetkey.server.credentials.sources.mariadb import MariaSource
from valetkey.server.credentials.sources.model import Sources
from valetkey.server.credentials.sources.postgres import PostgresSource
from valetkey.server.credentials.sources.question import QuestionRoles
from valetkey.server.credentials.sources.role import RoleSource
from valetkey.server.credentials.standing import Standing
from valetkey.server.credentials.take_back import TakeBack
from valetkey.server.db import fence
from valetkey.server.db.deployment import deployment_id
from valetkey.server.db.engine import open_database
from valetkey.server.db.feed import Feed
from valetkey.server.db.migrate import migrate
from valetkey.server.delegations.confirm import Confirm
from valetkey.server.delegations.open_task import OpenTask
from valetkey.server.delegations.passing import PassOn
from valetkey.server.egress import Egress
from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.admit import Admit
from valetkey.server.gateway.call import Calls
from valetkey.server.gateway.crowd import Crowd
from valetkey.server.gateway.deciding import Deciding
from valetkey.server.gateway.engine import DecisionDoor
from valetkey.server.gateway.foresee import Foresee
from valetkey.server.gateway.hold import Hold
from valetkey.server.gateway.http import GatewayDoor
from valetkey.server.gateway.inject import prepared
from valetkey.server.gateway.judge import Judge
from valetkey.server.gateway.question import Questions
from valetkey.server.gateway.streams import Streams
from valetkey.server.gateway.websocket.speak import Speaking
from valetkey.server.health import Health
from valetkey.server.integrations.catalogue import load_catalogue, load_folder
from valetkey.server.integrations.catalogue.typed import Misdescribed
from valetkey.server.integrations.databases import DATABASES, MARIADB, POSTGRES
from valetkey.server.integrations.live import LiveCatalogue, refuse_taken
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.register import Register as ResourceServers
from valetkey.server.memory.remember import Memories
from valetkey.server.mount import Mount, Shut
from valetkey.server.oauth.clients.every import every_client
from valetkey.server.oauth.decoupled import store as decoupled
from valetkey.server.oauth.decoupled.patience import Patience
from valetkey.server.oauth.grants import refresh as refresh_tokens
from valetkey.server.oauth.server import AuthorizationServer, Foundation
from valetkey.server.policy.versions.apply import Policies
from valetkey.server.policy.versions.store import Layers
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.cli_login.flow import CliLogins
from valetkey.server.principals.engines.engines import Engines
from valetkey.server.principals.enroll import Enroll
from valetkey.server.principals.login import store as one_time_passwords
from valetkey.server.principals.login.login import build_login
from valetkey.server.principals.login.providers import store as identity_providers
from valetkey.server.principals.sessions.session import Sessions
from valetkey.server.restore import newest_restore
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.settings import Settings
from valetkey.server.tokens import keys as signing_keys
from valetkey.server.tokens.keys import CHECKPOINTS, Keys, algorithm_named
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.tokens.verify import Verifying
from valetkey.server.vault.data_keys import DataKeys
from valetkey.server.vault.kms.open_root import open_root
from valetkey.server.vault.kms.still import StillUnlocked
from valetkey.server.vault.store import key_rows, load_mac, load_ring
from valetkey.server.web import pages

CATCH_UP_SECONDS = 0.5

SEALED = (
    connections.SEALED,
    apps.SEALED,
    refreshing.SEALED,
    device_codes.SEALED,
    leases.SEALED,
    one_time_passwords.SEALED,
    identity_providers.SEALED,
    refresh_tokens.SEALED,
    decoupled.SEALED,
    approved.SEALED,
    notice_addresses.SEALED,
    signing_keys.SEALED,
)
"""Every column whose records are sealed under a data key."""

log = logging.getLogger("valetkey")


class App:
    """One server process. `start` before serving, `close` after."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.catalogue = LiveCatalogue(_catalogue(settings))
        self.bootstrap: Secret | None = None
        self.catch_up_seconds = CATCH_UP_SECONDS
        self._background: list[asyncio.Task[None]] = []
        self._opened = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open, migrate, load keys, claim a writer, and begin to watch. Raises rather than serving half of it."""
        try:
            await self._start()
        except BaseException:
            await self._opened.aclose()  # the next one that starts finds neither a lock nor a connection of this one
            raise

    async def _start(self) -> None:
        settings, clock = self.settings, self.clock
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database = database = open_database(settings.database_url, settings.data)
        self._opened.push_async_callback(database.close)
        await migrate(database)
        async with database.write() as tx:
            await fence.prepare(tx)
            self.deployment = await deployment_id(tx, now=int(clock.now()))
            is_new = not await key_rows(tx)
        root = await open_root(settings, deployment=self.deployment, create=is_new, clock=clock)
        async with database.write() as tx:
            ring = await load_ring(tx, root=root, deployment=self.deployment, now=clock.now())
            mac = await load_mac(tx, root=root, deployment=self.deployment)
        catalogue = self.catalogue
        async with database.read() as db:
            await refuse_taken(db, [i for name, i in catalogue.built_in.items() if name not in load_catalogue()])

        self.journal = journal = Journal(database, clock)
        self._opened.push_async_callback(journal.close)
        self.unknown = await journal.start()
        self.keys = keys = Keys(database, journal, ring, clock)
        await keys.start()
        for algorithm in set(settings.algorithms.values()):
            await keys.ensure("tokens", algorithm_named(algorithm))
        checkpoints = settings.data / f"checkpoints-{journal.writer}.ndjson"
        self.trees = trees = Trees(database, journal.recent, lambda: journal.is_awaited)
        self.witness = Witness(
            journal,
            trees,
            checkpoints,
            clock,
            deployment=self.deployment,
            signer=self._checkpoint_signer,
            restored=partial(newest_restore, journal, mac),
        )
        await self.witness.start()
        journal.attest = self.witness.attest

        self.egress = egress = Egress(
            allow_loopback_hosts=frozenset(settings.unsafe_loopback_upstreams),
            allow_private_hosts=frozenset(settings.private_databases),
        )
        await egress.open()
        self._opened.push_async_callback(egress.close)
        installations = Installations(egress, clock, timeout=float(settings.upstream_timeout_seconds))
        identity = WebIdentity(keys, settings.issuer, clock)
        assume = Assume(egress, identity, clock, timeout=float(settings.upstream_timeout_seconds))
        end_there = EndThere(
            database=database, journal=journal, egress=egress, ring=ring, clock=clock, catalogue=catalogue
        )
        self.refresh = refresh = Refresh(
            database=database,
            journal=journal,
            egress=egress,
            ring=ring,
            clock=clock,
            catalogue=catalogue,
            end_there=end_there,
            link=lambda connection: f"{settings.issuer}/connections?reconnect={connection}",
        )
        self.due = due = Due(database, refresh, clock)
        borrow = Borrow(database, ring, catalogue, installations, refresh, clock)
        reachable = Reachable(clock, timeout=float(settings.upstream_timeout_seconds))
        admins = Admins(database, ring, egress, reachable)
        self._opened.push_async_callback(admins.close)
        mariadb = MariaAdmins(database, ring, egress, reachable)
        self._opened.push_async_callback(mariadb.close)
        sessions = RoleSessions(borrow, assume, clock)
        lookups = Lookups(
            egress,
            reachable,
            borrow,
            catalogue,
            clock,
            seconds=settings.resource_cache_seconds,
            timeout=float(settings.upstream_timeout_seconds),
            tables={POSTGRES.name: PostgresTables(admins), MARIADB.name: MariaTables(mariadb)},
        )
        self.databases = databases = PostgresSource(admins, clock, self.deployment)
        self.mariadb = MariaSource(mariadb, clock, self.deployment)
        sources = Sources(
            {
                "installation": InstallationSource(borrow, installations),
                "role": RoleSource(borrow, assume),
                "postgres": databases,
                "mariadb": self.mariadb,
            }
        )
        self.data_keys = data_keys = DataKeys(journal, database, ring, root, clock, SEALED)
        authenticate = Authenticate(database, mac, clock, settings.issuer)
        self.engines = engines = Engines(database, journal, mac, clock)
        known = every_client(database, journal, authenticate, egress, mac=mac, clock=clock, settings=settings)
        self.streams = streams = Streams(
            clock, Crowd(per_api=settings.gateway_calls_per_api, per_person=settings.gateway_calls_per_person)
        )
        approvals = Approvals(database, journal, ring, clock, catalogue, base=settings.issuer)
        self.forget = forget = Forget(database, clock)
        self.vapid = vapid = Vapid(mac, contact=settings.issuer)
        self.send = send = Send(
            egress=egress,
            clock=clock,
            vapid=vapid,
            mail=await open_mail(settings, clock, self._opened),
            never=frozenset(settings.private_databases),
        )
        self.notices = notices = Notices(
            database=database,
            journal=journal,
            ring=ring,
            clock=clock,
            send=send,
            approvals=approvals,
            base=settings.issuer,
        )
        self.authorities = authorities = Authorities(
            database,
            Layers(catalogue),
            also_forget=(
                authenticate.forget,
                borrow.forget,
                sessions.forget,
                known.clients.forget,
                engines.forget,
                approvals.wake,
            ),
            also_learn=(catalogue.learn, data_keys.learn),
            outrun=streams.outrun,
        )
        await authorities.refresh()
        self.feed = Feed(database)
        verifying = Verifying(keys, clock, settings.issuer)
        proofs = Proofs(database, mac, clock)
        self.last_used = LastUsed(database, clock)
        issue = Issue(
            journal=journal,
            authorities=authorities,
            keys=keys,
            verifying=verifying,
            clock=clock,
            settings=settings,
            catalogue=catalogue,
            last_used=self.last_used,
        )
        self.take_back = take_back = TakeBack(
            database=database,
            journal=journal,
            authorities=authorities,
            issue=issue,
            catalogue=catalogue,
            sources=sources,
            ring=ring,
            clock=clock,
        )
        self.reconcile = reconcile = Reconcile(
            database=database,
            journal=journal,
            logins={POSTGRES.name: databases, MARIADB.name: self.mariadb},
            take_back=take_back,
            deployment=self.deployment,
        )
        registered = Apps(
            database=database,
            journal=journal,
            egress=egress,
            ring=ring,
            clock=clock,
            catalogue=catalogue,
            base=settings.issuer,
        )
        discard = Discard(
            database=database,
            journal=journal,
            lookups=lookups,
            ring=ring,
            clock=clock,
            catalogue=catalogue,
            end=end_there.stop,
        )
        connect = Connect(
            database=database,
            journal=journal,
            egress=egress,
            registered=registered,
            keep=Keep(database=database, journal=journal, lookups=lookups, ring=ring, clock=clock, catalogue=catalogue),
            discard=discard,
            mac=mac,
            ring=ring,
            clock=clock,
            catalogue=catalogue,
        )
        connect_codes = ConnectCodes(
            database=database,
            journal=journal,
            connect=connect,
            tries=Patience(journal, database, mac, clock),
            mac=mac,
            clock=clock,
            catalogue=catalogue,
            base=settings.issuer,
        )
        hops = (streams.stop, take_back.stop, end_there.stop)
        self.memories = memories = Memories(database, clock)
        judge = Judge(authorities=authorities, lookups=lookups, clock=clock, catalogue=catalogue, memories=memories)
        self.admit = admit = Admit(
            journal=journal,
            authorities=authorities,
            verifying=verifying,
            proofs=proofs,
            judge=judge,
            streams=streams,
            hold=Hold(database, journal, ring, clock, approvals, notices),
            approvals=approvals,
            ask_person=connect_codes.for_agent,
        )
        self.calls = Calls(
            admit=admit,
            journal=journal,
            proofs=proofs,
            borrow=borrow,
            sessions=sessions,
            clock=clock,
            egress=egress,
            reachable=reachable,
            timeout=float(settings.upstream_timeout_seconds),
        )
        self.speaking = Speaking(
            admit=admit,
            journal=journal,
            proofs=proofs,
            borrow=borrow,
            egress=egress,
            reachable=reachable,
            timeout=float(settings.upstream_timeout_seconds),
            clock=clock,
        )
        self.question_roles = QuestionRoles(admins, databases, database, self.deployment)
        self.questions = Questions(admit=admit, journal=journal, proofs=proofs, roles=self.question_roles, clock=clock)
        confirm = Confirm(journal, clock, settings, catalogue)
        open_task = OpenTask(journal, mac, clock, settings, catalogue)
        pass_on = PassOn(database, open_task, clock)
        self.oauth = oauth = AuthorizationServer(
            Foundation(
                settings=settings,
                clock=clock,
                database=database,
                journal=journal,
                mac=mac,
                ring=ring,
                keys=keys,
                verifying=verifying,
                proofs=proofs,
                authenticate=authenticate,
                egress=egress,
                catalogue=catalogue,
                issue=issue,
                authorities=authorities,
                open_task=open_task,
                pass_on=pass_on,
                standing=Standing(verifying, authorities, issue, catalogue, clock),
                known=known,
                hops=hops,
            )
        )
        enroll = Enroll(journal, database, mac, clock, _usual_ceiling(catalogue.built_in))
        self.bootstrap = await enroll.bootstrap_code()
        login = build_login(database, journal, mac, ring, egress, clock, settings)
        index = Index(database, lambda: journal.is_awaited)
        self.services = services = Services(
            settings=settings,
            clock=clock,
            database=database,
            journal=journal,
            index=index,
            foresee=Foresee(authorities, judge, streams, catalogue, gateway=settings.gateway),
            keys=keys,
            verifying=verifying,
            proofs=proofs,
            authenticate=authenticate,
            enroll=enroll,
            engines=engines,
            sessions=Sessions(journal, database, mac, clock),
            cli_logins=CliLogins(journal, database, mac, clock),
            login=login,
            mac=mac,
            confirm=confirm,
            open_task=open_task,
            pass_on=pass_on,
            issue=issue,
            policies=Policies(journal, clock, catalogue),
            lend=Lend(
                journal=journal,
                authorities=authorities,
                issue=issue,
                lookups=lookups,
                first_use=FirstUse(database, lookups),
                sources=sources,
                take_back=take_back,
                ring=ring,
                clock=clock,
            ),
            lookups=lookups,
            link=Link(journal, lookups, installations, ring, clock, catalogue, assume),
            databases=ConnectDatabase(
                journal,
                database,
                {POSTGRES.name: TryPostgres(admins), MARIADB.name: TryMariaDB(mariadb)},
                ring,
                clock,
            ),
            rotate_database=Rotate(journal, database, admins, ring),
            apps=registered,
            connect=connect,
            connect_codes=connect_codes,
            connect_by_device=ConnectByDevice(
                database=database,
                egress=egress,
                connect=connect,
                discard=discard,
                ring=ring,
                clock=clock,
                catalogue=catalogue,
            ),
            catalogue=catalogue,
            resource_servers=ResourceServers(journal, clock, catalogue, (settings.issuer, settings.gateway)),
            caught_up=authorities.refresh,
            clients=known.clients,
            outside=known.outside,
            trusting=known.trusting,
            register=known.register,
            arriving=oauth.arriving,
            authorize=oauth.authorize,
            answering=oauth.answering,
            egress=egress,
            hops=hops,
            checkpoints=checkpoints,
            prove=Prove(database, self.witness),
            badges=Badges(database, lambda: self.witness.path, keys.pin),
            looks=AtOnce(),
            data_keys=data_keys,
            approvals=approvals,
            proving=Proving(database, login, clock),
            notice_addresses=NoticeAddresses(
                database=database,
                journal=journal,
                ring=ring,
                mac=mac,
                clock=clock,
                send=send,
                notices=notices,
                base=settings.issuer,
            ),
            push_key=vapid.public,
        )
        doors = {name: prepared(integration, settings.gateway) for name, integration in catalogue.built_in.items()}
        self.mount = Mount(
            gateway=GatewayDoor(self.calls, self.questions, self.speaking, streams, doors),
            oauth=oauth,
            services=services,
            routes=[*api.routes(services), *pages.routes(services)],
        )
        is_service = settings.root_kind not in ("file", "passphrase")
        reopen = partial(open_root, settings, deployment=self.deployment, create=False, clock=clock)

        def seal() -> None:
            ring.forget()
            borrow.forget_all()
            sessions.forget_all()
            streams.cut_all()

        self.still = StillUnlocked(reopen if is_service else None, clock, seal)
        self.asgi = Shut(self.mount, self.still.sealed.is_set)
        self.deciding = deciding = Deciding(self.calls, streams, engines, doors)
        self.decisions = Shut(DecisionDoor(deciding), self.still.sealed.is_set)
        self.health = Health(database, self.witness, self._numbers, self.still.sealed.is_set)
        watches = (
            journal.watch,
            self.witness.watch,
            trees.watch,
            index.watch,
            streams.watch,
            self.feed.watch,
            self.last_used.watch,
            memories.watch,
            forget.watch,
            notices.watch,
            take_back.watch,
            reconcile.watch,
            self.question_roles.watch,
            end_there.watch,
            self.still.watch,
            due.watch,
            self._catch_up,
        )
        for watch in watches:
            self._background.append(asyncio.create_task(_kept_up(watch)))

    @property
    def pin(self) -> str:
        """The checkpoint key as an auditor pins it."""
        return self.keys.pin()

    async def close(self) -> None:
        """Finish what was begun, write a last checkpoint, release everything."""
        for task in self._background:
            task.cancel()
        for task in self._background:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.oauth.notify.close()
        await self.notices.close()
        await self.due.settle()
        await self.refresh.settle()
        await self.questions.settle()
        await self.calls.settle()
        with contextlib.suppress(Exception):  # it is for show
            await self.last_used.write()
        await self.witness.finish()
        await self._opened.aclose()

    async def _catch_up(self) -> None:
        """Learn of changes made by other nodes, and cut what they ended; correctness never waits for this."""
        while True:
            await self.feed.news(at_most=self.catch_up_seconds)
            try:
                await self.authorities.refresh()
            except Exception as error:  # the next round tries again; the fence keeps decisions right meanwhile
                log.warning("catching up failed: %s", type(error).__name__)

    def _numbers(self) -> Mapping[str, int]:
        return {
            "valetkey_open_calls": len(self.streams),
            "valetkey_change_seq": self.authorities.seq,
            "valetkey_change_feed_is_heard": int(self.feed.heard.is_set()),
            "valetkey_oauth_requests_limited": self.oauth.limits.refused,
            "valetkey_records_since_checkpoint": self.journal.since_checkpoint,
            "valetkey_calls_ended_unknown_at_start": self.unknown,
            "valetkey_sign_ins_failed": self.services.login.attempts.failed,
        }

    def _checkpoint_signer(self) -> tuple[str, Any]:
        key = self.keys.signer("Ed25519", CHECKPOINTS)
        return key.kid, key.sign


async def _kept_up(watch: Callable[[], Awaitable[None]]) -> None:
    """A watch that fails is begun again: nothing this process does by itself may end unnoticed."""
    while True:
        try:
            await watch()
            return
        except Exception as error:
            log.error("%s failed and is begun again: %s", watch.__qualname__, type(error).__name__)
            await asyncio.sleep(CATCH_UP_SECONDS)


def build(settings: Settings, clock: Clock | None = None) -> App:
    """An application that has not started yet."""
    return App(settings, clock)


def _catalogue(settings: Settings) -> Mapping[str, Integration]:
    catalogue = dict(_described(settings))
    for name in {*settings.upstreams, *settings.algorithms} - catalogue.keys():
        raise InvalidRequest(f"No integration is called {name}.", hint=f"Known: {', '.join(sorted(catalogue))}.")
    for name, base_url in settings.upstreams.items():
        catalogue[name] = catalogue[name].with_host(base_url)
    return catalogue


def _described(settings: Settings) -> Mapping[str, Integration]:
    """What comes with Valetkey, and the administrator's own files. One bad file stops the start."""
    folder = settings.integrations
    known = {**load_catalogue(), **DATABASES}
    if folder is None:
        return known
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder.", hint="integrations names the folder your files are in.")
    try:
        return load_folder(
            folder,
            known,
            own=(settings.issuer, settings.gateway),
            loopback=bool(settings.unsafe_loopback_upstreams),
        )
    except Misdescribed as wrong:
        raise InvalidRequest(
            f"{folder}/{wrong}", hint=f"valetkey integrations test {folder}/…; {wrong.instead}"
        ) from wrong


def _usual_ceiling(catalogue: Mapping[str, Integration]) -> tuple[str, ...]:
    """What a new organization lets its agents have at most: every scope that is not dangerous, on anything."""
    lines = []
    for integration in catalogue.values():
        scopes = sorted(s.name for s in integration.scopes.values() if s.tier != "danger")
        if scopes:
            lines.append(f"{integration.name}:{','.join(scopes)}@*")
    return tuple(lines)
