"""The authorization server, put together from what it stands on: its grants, its endpoints, and what it says of itself.

Plain lines, in the order things depend on one another. A new grant or endpoint is one line here and one file beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import Issue
from valetkey.server.credentials.standing import Standing
from valetkey.server.db.engine import Database
from valetkey.server.delegations.open_task import OpenTask
from valetkey.server.delegations.passing import PassOn
from valetkey.server.egress import Egress
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.oauth import authorize as authorizing
from valetkey.server.oauth import id_token, introspect
from valetkey.server.oauth.arriving import Arriving
from valetkey.server.oauth.authorize import Authorize
from valetkey.server.oauth.clients.every import EveryClient
from valetkey.server.oauth.decoupled import backchannel
from valetkey.server.oauth.decoupled.answer import Answering
from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.backchannel import CIBA, Backchannel
from valetkey.server.oauth.decoupled.device import DEVICE_CODE, DeviceAuthorization
from valetkey.server.oauth.decoupled.hints import Hints
from valetkey.server.oauth.decoupled.model import Kind
from valetkey.server.oauth.decoupled.notify import Notify
from valetkey.server.oauth.decoupled.patience import Patience
from valetkey.server.oauth.door import Endpoint
from valetkey.server.oauth.grants.code import AUTHORIZATION_CODE, AuthorizationCode
from valetkey.server.oauth.grants.decoupled import Decoupled
from valetkey.server.oauth.grants.exchange import EXCHANGE, Exchange
from valetkey.server.oauth.grants.for_the_api import CLIENT_CREDENTIALS, USER_CREDENTIAL, ApiTokens
from valetkey.server.oauth.grants.id_jag import JWT_BEARER_GRANT, IdJag
from valetkey.server.oauth.grants.refresh import Refresh
from valetkey.server.oauth.id_token import IdTokens
from valetkey.server.oauth.introspect import Introspection
from valetkey.server.oauth.limits import Limits
from valetkey.server.oauth.metadata import of_outside_clients
from valetkey.server.oauth.outside import AgentsOfClients
from valetkey.server.oauth.pushed import PUSHED_PATH, Pushed
from valetkey.server.oauth.redeem import REFRESH, Redeem
from valetkey.server.oauth.request import Rules
from valetkey.server.oauth.revocation import endpoint as revoking
from valetkey.server.oauth.revocation.endpoint import Revocation
from valetkey.server.oauth.sent_back import SendBack
from valetkey.server.oauth.signed import RequestObjects
from valetkey.server.oauth.token import Offered, TokenEndpoint
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.revocation.hops import Stop
from valetkey.server.settings import Settings
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.tokens.verify import Verifying
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing
from valetkey.verify.dpop import ALGORITHMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What the authorization server stands on."""

    settings: Settings
    clock: Clock
    database: Database
    journal: Journal
    mac: Mac
    ring: KeyRing
    keys: Keys
    verifying: Verifying
    proofs: Proofs
    authenticate: Authenticate
    egress: Egress
    catalogue: LiveCatalogue
    issue: Issue
    authorities: Authorities
    open_task: OpenTask
    pass_on: PassOn
    standing: Standing
    known: EveryClient
    hops: tuple[Stop, ...]


class AuthorizationServer:
    """One per process. `authorize` and `answering` are for the pages; `forms` and `metadata` for the mount."""

    def __init__(self, on: Foundation) -> None:
        settings, clock, database, journal = on.settings, on.clock, on.database, on.journal
        clients, mac, issue, open_task = on.known.clients, on.mac, on.issue, on.open_task
        agent_for = AgentsOfClients(on.known.outside)
        rules = Rules(catalogue=on.catalogue, target=issue.target)
        objects = RequestObjects(clock, settings.issuer)
        self.limits = Limits(
            clock,
            failures_per_minute=settings.oauth_failures_per_minute,
            begun_per_minute=settings.oauth_begun_per_minute,
        )
        back = SendBack(settings.issuer)
        self.arriving = Arriving(
            database=database,
            clients=clients,
            objects=objects,
            rules=rules,
            mac=mac,
            clock=clock,
            limits=self.limits,
            back=back,
        )
        self.authorize = Authorize(
            journal=journal,
            database=database,
            clients=clients,
            agent_for=agent_for,
            rules=rules,
            mac=mac,
            clock=clock,
            limits=self.limits,
            back=back,
        )
        redeem = Redeem(
            journal=journal,
            database=database,
            open_task=open_task,
            issue=issue,
            authorities=on.authorities,
            clients=clients,
            outside=on.known.outside,
            id_tokens=IdTokens(on.keys, clock, settings),
            catalogue=on.catalogue,
            mac=mac,
            clock=clock,
            settings=settings,
        )
        refresh = Refresh(
            journal=journal,
            database=database,
            authorities=on.authorities,
            open_task=open_task,
            redeem=redeem,
            mac=mac,
            ring=on.ring,
            clock=clock,
        )
        patience = Patience(journal, database, mac, clock)
        self.notify = Notify(database, clients, on.egress, on.ring)
        asking = Asking(
            journal=journal,
            database=database,
            clients=clients,
            objects=objects,
            rules=rules,
            limits=self.limits,
            mac=mac,
            ring=on.ring,
            clock=clock,
        )
        self.answering = Answering(
            journal=journal,
            database=database,
            clients=clients,
            agent_for=agent_for,
            asking=asking,
            patience=patience,
            notify=self.notify,
            rules=rules,
            clock=clock,
        )
        id_jag = IdJag(
            journal=journal,
            database=database,
            trusting=on.known.trusting,
            outside=on.known.outside,
            open_task=open_task,
            issue=issue,
            clock=clock,
            settings=settings,
            catalogue=on.catalogue,
        )
        own = ApiTokens(on.authenticate, on.keys, clock, settings)
        exchange = Exchange(issue, on.verifying, on.standing, on.pass_on, database, on.catalogue, clock)
        offered = {
            CLIENT_CREDENTIALS: Offered(own.client_credentials),
            EXCHANGE: Offered(exchange, is_fenced=True),
            USER_CREDENTIAL: Offered(own.user_credential, is_open=True),
            JWT_BEARER_GRANT: Offered(id_jag),
            AUTHORIZATION_CODE: Offered(
                AuthorizationCode(journal, database, redeem, mac, clock), to_public=True, is_fenced=True
            ),
            REFRESH: Offered(refresh, to_public=True, is_fenced=True),
            DEVICE_CODE: Offered(Decoupled(Kind.DEVICE, journal, asking, database, redeem, clock), to_public=True),
            CIBA: Offered(Decoupled(Kind.BACKCHANNEL, journal, asking, database, redeem, clock)),
        }
        hints = Hints(database, on.keys, settings.issuer)
        self.forms: Mapping[str, Endpoint] = {
            "/oauth/token": TokenEndpoint(clients, offered, proofs=on.proofs, issuer=settings.issuer),
            PUSHED_PATH: Pushed(clients, self.arriving, proofs=on.proofs, issuer=settings.issuer),
            "/oauth/device_authorization": DeviceAuthorization(asking, settings.issuer),
            "/oauth/backchannel": Backchannel(asking, hints, agent_for, patience),
            "/oauth/introspect": Introspection(clients, on.standing, on.catalogue, refresh, on.keys, clock, settings),
            "/oauth/revoke": Revocation(clients, on.verifying, database, journal, mac, clock, on.hops),
        }
        self.metadata: Sequence[Mapping[str, Any]] = [
            {"grant_types_supported": list(offered)},
            {"dpop_signing_alg_values_supported": list(ALGORITHMS)},
            introspect.METADATA,
            revoking.METADATA,
            authorizing.metadata(),
            id_token.METADATA,
            # SECURITY: what is registered is its organization's business, and this document is for everybody.
            {"authorization_details_types_supported": sorted(on.catalogue.built_in)},
            backchannel.metadata(),
            of_outside_clients(settings),
        ]
