"""Something sealed in every column that holds sealed records, and a look at whether all of it still opens."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tests.support.house import REAL, House
from tests.support.oauth import Client, a_client
from valetkey.server.app import SEALED, App
from valetkey.server.approvals import store as approved
from valetkey.server.approvals.model import Approval, Facts, Kept
from valetkey.server.approvals.model import State as Asked
from valetkey.server.approvals.notices import store as notice_addresses
from valetkey.server.approvals.notices.model import Kind as Told
from valetkey.server.approvals.notices.model import NoticeAddress
from valetkey.server.connections import store as connections
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.by_device import store as by_device
from valetkey.server.connections.by_device.model import DeviceLinking
from valetkey.server.connections.linking import store as linkings
from valetkey.server.connections.linking.model import Linking
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.refreshing.model import begun
from valetkey.server.credentials import store as leases
from valetkey.server.credentials.lease import Lease, State
from valetkey.server.db.schema import vault_keys
from valetkey.server.ids import new_handle, new_id
from valetkey.server.oauth.decoupled import store as decoupled
from valetkey.server.oauth.decoupled.model import DecoupledRequest, Kind, Status
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.login import store as login
from valetkey.server.principals.login.providers import store as providers
from valetkey.server.principals.login.providers.model import Provider
from valetkey.server.secret import Secret
from valetkey.server.vault.data_keys import DataKeys, Resealed
from valetkey.server.vault.rotate import sealed_under

CANARY = Secret("client-secret-canary")
HELD = Kept(method="POST", path=b"/x", query=b"", headers=(), body=b"held")
ABOUT = Facts(
    integration="github", connection="con_1", account="alice", base_url="https://api.github.com", parts=(), policies=(),
    asked_by=(), words="", answerers=(), danger=False, agents=(), excluded=(), nodes=(), purpose="",
)  # fmt: skip


@dataclass
class Sealed:
    """What was sealed, to be opened again on any node of the deployment."""

    user: str
    connection: str
    provider: str
    request: DecoupledRequest
    lease: Lease
    approval: Approval
    address: NoticeAddress
    linking: str
    app: str
    client: Client
    replaced: str
    successor: str

    async def opens(self, app: App) -> None:
        """Open all of it as the server itself does."""
        ring = app.data_keys._ring
        async with app.database.read() as db:
            found = await connections.with_credential(db, self.connection, ring)
            assert found is not None
            assert connections.open_credential(found, ring) == Secret(REAL)
            provider = await providers.with_secret(db, self.provider, ring=ring)
            assert provider is not None
            assert provider[1] == CANARY
            user = await principals.user(db, self.user)
            assert user is not None
            assert await login.one_time(db, user, ring=ring) is not None
            notice = await decoupled.notice_of(db, self.request, ring=ring)
            assert notice is not None
            assert notice.token == CANARY
            assert await leases.open_credential(db, self.lease, ring=ring) == CANARY
            assert await approved.kept_of(db, self.approval, ring=ring) == HELD
            assert await notice_addresses.opened(db, self.address, ring=ring) == CANARY
            device = await by_device.of_linking(db, self.linking, ring)
            assert device is not None
            assert by_device.open_code(device, ring) == CANARY
            registered = await apps.app(db, self.app, ring)
            assert registered is not None
            assert registered.secret == CANARY
            renewed = await refreshing.current(db, self.connection, ring)
            assert renewed is not None
            assert renewed[1] is not None
            assert refreshing.open_token(renewed[1], renewed[0], ring) == CANARY
        app.keys._opened.clear()
        await app.keys.reload()
        assert app.keys.signer("ES256").sign(b"x")
        assert app.keys.signer("Ed25519", "checkpoints").sign(b"x")

    async def repeats(self, house: House) -> str:
        """The successor of the replaced refresh token, asked for once more."""
        self.client.house = house
        self.client.robot.house = house
        return str((await self.client.refresh(self.replaced)).json()["refresh_token"])


async def seal_everywhere(house: House) -> Sealed:
    """Through the doors where a door is near, else through the store that seals."""
    app = house.app
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    successor = (await client.refresh(tokens["refresh_token"])).json()["refresh_token"]
    ring, mac = app.data_keys._ring, app.services.mac
    org = (await house.alice.does("GET", "/v1/whoami"))["organization"]["id"]
    provider = Provider(
        id=new_id("idp"), org=org, name="S", issuer="https://i.example", client_id="c", origin="x", roles={}
    )
    request = DecoupledRequest(
        id=new_id("req"), kind=Kind.BACKCHANNEL, client="c", user=house.alice.id, form=Form({}, {}), message="",
        status=Status.PENDING, outcome=None, interval=5, polled_at=0, origin="o", created_at=0,
        expires_at=2_000_000_000,
    )  # fmt: skip
    lease = Lease(
        id=new_id("lse"), org=org, user=house.alice.id, agent=new_id("agt"), task=new_id("tsk"), lines=(),
        delegation=new_id("dlg"), connection=new_id("con"), integration="github", nodes=frozenset(),
        state=State.OPENING, opened_at=2_000_000_000, ends_at=2_000_000_000,
    )  # fmt: skip
    approval = Approval(
        id=new_id("apr"), org=org, user=house.alice.id, agent=new_id("agt"), task=new_id("tsk"), key="k", facts=ABOUT,
        state=Asked.PENDING, message="", seen_at=None, created_at=0, expires_at=2_000_000_000, decision="",
    )  # fmt: skip
    address = NoticeAddress(
        id=new_id("ntf"), org=org, user=house.alice.id, kind=Told.SLACK, place="x", created_at=0, told_at=None,
        failures=0, problem="", confirmed_at=0,
    )  # fmt: skip
    handle = new_handle("bc")
    registered = await house.alice.does(
        "POST", "/v1/apps", integration="slack", client_id="c", client_secret=CANARY.reveal()
    )
    made = (await house.alice.does("GET", "/v1/connections"))["data"]
    async with app.database.write() as tx:
        connection = await connections.connection(tx, made[0]["id"])
        assert connection is not None
        row = begun(connection.facts.id, registered["id"], "https://x", lasts_seconds=None, now=1, chance=0)
        await refreshing.add(tx, row, connection, token=CANARY, ring=ring)
        await leases.add(tx, lease)
        await leases.hold(tx, lease, CANARY, fingerprint="", upstream_ends_at=2_000_000_000, ring=ring)
        await notice_addresses.add(tx, address, CANARY, ring=ring)
        linking = Linking(
            id=new_id("lnk"), org=org, user=house.alice.id, session="s", app=registered["id"], asked=(), connection="",
            shared=False, back="", code="", created_at=0, expires_at=2_000_000_000,
        )  # fmt: skip
        await linkings.add(tx, b"of its state", linking)
        device = DeviceLinking(
            linking=linking, integration="slack", user_code="c", page="https://x/y", token_url="https://x/z",
            wait_seconds=5, poll_at=0, expires_at=2_000_000_000,
        )  # fmt: skip
        await by_device.add(tx, device, code=CANARY, ring=ring)
        assert await approved.add(tx, approval, HELD, instead_of=None, ring=ring)
        await providers.add(tx, provider, CANARY, ring=ring, now=1)
        notice = decoupled.Notice(handle=handle, token=CANARY)
        await decoupled.add(tx, request, mac.mac("backchannel", "bc", handle), notice=notice, ring=ring)
    async with app.database.read() as db:
        user = await principals.user(db, house.alice.id)
    assert user is not None
    await app.services.login.one_time.begin(user)
    return Sealed(
        user=user.id,
        connection=made[0]["id"],
        provider=provider.id,
        request=request,
        lease=lease,
        approval=approval,
        address=address,
        linking=linking.id,
        app=registered["id"],
        client=client,
        replaced=tokens["refresh_token"],
        successor=successor,
    )


async def rotated(keys: DataKeys) -> list[Resealed]:
    """Change the data key to the end, as the command does."""
    await keys.begin(org="", by="test")
    steps: list[Resealed] = []
    while not steps or not (steps[-1].finished or (not steps[-1].cursor and any(s.unopened for s in steps))):
        steps.append(await keys.reseal(after=steps[-1].cursor if steps else "", org="", by="test"))
    return steps


async def key_states(app: App) -> dict[str, str]:
    async with app.database.read() as db:
        rows = await db.execute(select(vault_keys).order_by(vault_keys.c.generation))
        return {row.id: row.state for row in rows}


async def keys_in_use(app: App) -> dict[str, set[str]]:
    """For each column, the ids of the data keys its records name."""
    found: dict[str, set[str]] = {}
    async with app.database.read() as db:
        for column in SEALED:
            blobs: Any = (await db.execute(select(column.blob).where(column.blob.is_not(None)))).scalars()
            found[column.name] = {str(sealed_under(blob)) for blob in blobs}
    return found
