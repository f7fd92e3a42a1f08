"""What pages and management routes need, as one frozen value; `app` fills it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.notices.addresses import NoticeAddresses
from valetkey.server.approvals.proving.prove import Proving
from valetkey.server.audit.at_once import AtOnce
from valetkey.server.audit.badge import Badges
from valetkey.server.audit.index.follow import Index
from valetkey.server.audit.store import Journal
from valetkey.server.audit.tree.prove import Prove
from valetkey.server.clock import Clock
from valetkey.server.connections.apps.register import Apps
from valetkey.server.connections.by_code.codes import ConnectCodes
from valetkey.server.connections.by_device.connect import ConnectByDevice
from valetkey.server.connections.databases.connect import ConnectDatabase
from valetkey.server.connections.databases.postgres.rotate import Rotate
from valetkey.server.connections.link import Link
from valetkey.server.connections.linking.connect import Connect
from valetkey.server.connections.lookup import Lookups
from valetkey.server.credentials.issue import Issue
from valetkey.server.credentials.lend import Lend
from valetkey.server.db.engine import Database
from valetkey.server.delegations.confirm import Confirm
from valetkey.server.delegations.open_task import OpenTask
from valetkey.server.delegations.passing import PassOn
from valetkey.server.egress import Egress
from valetkey.server.gateway.foresee import Foresee
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.integrations.register import Register as ResourceServers
from valetkey.server.oauth.arriving import Arriving
from valetkey.server.oauth.authorize import Authorize
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.outside import Outside
from valetkey.server.oauth.clients.register import Register
from valetkey.server.oauth.decoupled.answer import Answering
from valetkey.server.policy.versions.apply import Policies
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.cli_login.flow import CliLogins
from valetkey.server.principals.engines.engines import Engines
from valetkey.server.principals.enroll import Enroll
from valetkey.server.principals.issuers.trust import Trusting
from valetkey.server.principals.login.login import Login
from valetkey.server.principals.sessions.session import Sessions
from valetkey.server.revocation.hops import Stop
from valetkey.server.settings import Settings
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.tokens.verify import Verifying
from valetkey.server.vault.data_keys import DataKeys
from valetkey.server.vault.mac import Mac


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    settings: Settings
    clock: Clock
    database: Database
    journal: Journal
    index: Index
    foresee: Foresee
    keys: Keys
    verifying: Verifying
    proofs: Proofs
    authenticate: Authenticate
    enroll: Enroll
    engines: Engines
    sessions: Sessions
    cli_logins: CliLogins
    login: Login
    mac: Mac
    confirm: Confirm
    open_task: OpenTask
    issue: Issue
    policies: Policies
    lend: Lend
    lookups: Lookups
    link: Link
    databases: ConnectDatabase
    rotate_database: Rotate
    apps: Apps
    connect: Connect
    connect_codes: ConnectCodes
    connect_by_device: ConnectByDevice
    pass_on: PassOn
    catalogue: LiveCatalogue
    resource_servers: ResourceServers
    caught_up: Callable[[], Awaitable[object]]
    clients: Clients
    outside: Outside
    trusting: Trusting
    register: Register
    arriving: Arriving
    authorize: Authorize
    answering: Answering
    egress: Egress
    hops: tuple[Stop, ...]
    checkpoints: Path
    prove: Prove
    badges: Badges
    looks: AtOnce
    data_keys: DataKeys
    approvals: Approvals
    proving: Proving
    notice_addresses: NoticeAddresses
    push_key: str
