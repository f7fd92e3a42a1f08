"""docs/if-it-leaks.md, row by row: a thief tries what leaked at every door; then what the row says stops it does."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_bootstrap import Fresh
from tests.flows.test_dpop import bound
from tests.flows.test_engines import asked
from tests.flows.test_id_jag import Provider
from tests.flows.test_id_jag import presents as presents_word
from tests.flows.test_id_tokens import minted
from tests.flows.test_leases import PEM, installed
from tests.flows.test_notices_mail import code_in, mailing, names
from tests.flows.test_registration import by_secret, initial, manages, registers
from tests.flows.test_sso import to_provider, with_provider
from tests.flows.test_web_identity import trusted
from tests.flows.test_workloads import Platform
from tests.support import tables
from tests.support.billing import AUDIENCE, billed, register
from tests.support.command_line import CommandLine
from tests.support.decoupled import elsewhere
from tests.support.holder import Prover
from tests.support.house import EXCHANGE, GITHUB, JWT, REAL, USER_CREDENTIAL, House, Robot, open_house
from tests.support.http import Reply, call
from tests.support.nodes import second_node
from tests.support.oauth import Client, a_client
from tests.support.outside import open_outside
from tests.support.people import PASSWORD, is_in, try_password, with_app, with_password
from tests.support.postgres import Postgres
from tests.support.tokens import ASSERTION_TYPE, OwnKey, unverified_claims
from valetkey.server.app import build
from valetkey.server.ids import HANDLE_PATTERN
from valetkey.server.settings import Settings
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.root import FileRoot

DOCUMENT = Path(__file__).parents[2] / "docs" / "if-it-leaks.md"
PATH = "/repos/acme-corp/backend"
READ = "github:repo:read@acme-corp/backend"
COVERED: dict[str, str] = {}


def row(*names: str) -> Callable[[Any], Any]:
    """Marks a test as that of these rows."""

    def mark(test: Any) -> Any:
        COVERED.update(dict.fromkeys(names, test.__name__))
        return test

    return mark


async def opens(house: House, stolen: str) -> set[str]:
    """The doors a thief gets through with this and nothing else."""
    found = set()
    form: dict[str, str]
    if (await house.gateway(stolen, "GET", PATH)).status == 200:
        found.add("/p")
    headers = {"authorization": f"Bearer {stolen}"}
    if (await house.call("GET", "/v1/whoami", headers=headers)).status == 200:
        found.add("/v1")
    if (await house.call("POST", "/v1/login", json={"code": stolen, "email": "thief@evil.example"})).status == 201:
        found.add("/v1/login")
    form = {"grant_type": USER_CREDENTIAL, "credential": stolen}
    if (await house.call("POST", "/oauth/token", form=form)).status == 200:
        found.add("user credential")
    for agent in (await house.alice.does("GET", "/v1/agents"))["data"] if house.alice.bearer else []:
        form = {"grant_type": "client_credentials", "client_id": agent["id"], "client_secret": stolen}
        if (await house.call("POST", "/oauth/token", form=form)).status == 200:
            found.add("client authentication")
    form = {"grant_type": EXCHANGE, "subject_token": stolen, "subject_token_type": JWT, "resource": GITHUB}
    if (await house.call("POST", "/oauth/token", form=form)).status == 200:
        found.add("exchange")
    at_the_api = [("authorization", f"Bearer {stolen}")]
    direct = await direct_call(house, at_the_api)
    if direct.status == 200:
        found.add("the API itself")
    return found


async def direct_call(house: House, headers: list[tuple[str, str]]) -> Reply:
    """A call past us, to the API."""
    return await call(house.github.base_url, "GET", PATH, headers=headers)


@row("delegated credential")
async def test_a_delegated_credential_works_at_one_gateway_address_for_minutes(house: House) -> None:
    agent, delegation, task, token = await house.ready()
    assert await opens(house, token) == {"/p"}
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll")).status == 403
    assert (await house.gateway(token, "POST", f"{PATH}/issues", json={"title": "x"})).status == 403
    claims = unverified_claims(token)
    assert 0 < claims["exp"] - claims["iat"] <= 900
    longest = await agent.exchange(task["task_token"], requested_expires_in=900)
    assert longest.json()["expires_in"] <= 600  # its task's end
    await house.alice.does("POST", "/v1/revocations", node=claims["jti"])
    assert await opens(house, token) == set()
    other = await agent.token(task["task_token"])
    assert await opens(house, other) == {"/p"}
    house.clock.advance(300)
    assert (await house.gateway(other, "GET", PATH)).code == "expired"
    assert delegation["id"] == claims["delegation"]


@row("bound credential")
async def test_a_bound_credential_works_nowhere_without_its_key(house: House) -> None:
    prover = Prover(house)
    agent, _, token = await bound(house, prover)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    for stolen in (token, api):
        assert await opens(house, stolen) == set()
    thief = Prover(house)
    assert (await thief.calls(token, "GET", f"/p/github{PATH}")).status == 401
    assert (await thief.calls(api, "GET", "/v1/whoami")).status == 401
    assert (await prover.calls(token, "GET", f"/p/github{PATH}")).status == 200
    assert (await prover.calls(api, "GET", "/v1/whoami")).status == 200


@row("proof of a key")
async def test_a_proof_is_good_for_its_one_request_once(house: House) -> None:
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    path = f"/p/github{PATH}"
    proof = prover.proof("GET", path, token=token)
    assert await opens(house, proof) == set()

    async def shown(method: str, target: str) -> int:
        headers = {"authorization": f"DPoP {token}", "dpop": proof}
        return (await house.call(method, target, headers=headers)).status

    assert await shown("DELETE", path) == 401
    assert await shown("GET", f"{path}/issues") == 401
    assert await shown("GET", path) == 200
    assert await shown("GET", path) == 401
    late = prover.proof("GET", path, token=token)
    house.clock.advance(61)
    headers = {"authorization": f"DPoP {token}", "dpop": late}
    assert (await house.call("GET", path, headers=headers)).status == 401


@row("task token")
async def test_a_task_token_alone_opens_nothing(house: House) -> None:
    agent, _, task, _ = await house.ready()
    thief = await house.agent("thief")
    stolen = task["task_token"]
    assert await opens(house, stolen) == set()
    assert (await thief.exchange(stolen)).status == 400
    twin = await thief.call("POST", "/v1/tokens", task_token=stolen, target=GITHUB)
    assert twin.status == 400
    assert (await agent.exchange(stolen)).status == 200
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    assert (await agent.exchange(stolen)).status == 400
    second = await house.task(await house.delegate(agent))
    house.clock.advance(600)
    assert (await agent.exchange(second["task_token"])).status == 400


@row("API token")
async def test_an_api_token_is_good_for_v1_and_fifteen_minutes(house: House) -> None:
    bob = await house.person("bob@acme.com")
    assert await opens(house, bob.bearer) == {"/v1"}
    house.clock.advance(899)
    assert (await bob.call("GET", "/v1/whoami")).status == 200
    house.clock.advance(1)
    assert (await bob.call("GET", "/v1/whoami")).status == 401
    await bob.sign_in()
    await house.alice.sign_in()
    agent = await house.agent("robot")
    await agent.sign_in()
    await house.alice.does("POST", f"/v1/agents/{agent.id}/rotate")
    assert (await agent.call("GET", "/v1/whoami")).status == 200  # as the row says: rotating is not suspending
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    assert (await agent.call("GET", "/v1/whoami")).status == 401
    await house.alice.does("POST", "/v1/revocations", node=unverified_claims(bob.bearer)["credential"])
    assert (await bob.call("GET", "/v1/whoami")).status == 401


@row("agent secret")
async def test_an_agents_secret_is_that_agent_until_it_is_rotated(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    standing = await house.delegate(agent, mode="standing", tasks_per_day=3)
    assert await opens(house, agent.secret) == {"client authentication"}
    assert (await agent.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 403
    assert (await agent.call("POST", "/v1/tasks", delegation=standing["id"])).status == 201
    stolen = agent.secret
    agent.secret = (await house.alice.does("POST", f"/v1/agents/{agent.id}/rotate"))["secret"]
    assert await opens(house, stolen) == set()
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    assert await opens(house, agent.secret) == set()
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    await house.alice.does("POST", "/v1/revocations", node=agent.id)
    assert await opens(house, agent.secret) == set()


async def test_a_rotated_secret_gets_no_token_on_a_node_that_has_not_heard_of_it(
    tmp_path: Path, postgres: Postgres
) -> None:
    """OA-17: a node that remembers the secret asks the database all the same."""
    url = tables.postgresql(postgres)
    async with open_house(tmp_path / "a", database_url=url) as house, second_node(house, tmp_path / "b") as other:
        agent = await house.agent("robot")
        stolen = Robot(other, agent.id, agent.name, agent.secret)
        form = {"grant_type": "client_credentials"}
        assert (await other.call("POST", "/oauth/token", headers=stolen.basic, form=form)).status == 200
        await house.alice.does("POST", f"/v1/agents/{agent.id}/rotate")
        assert (await other.call("POST", "/oauth/token", headers=stolen.basic, form=form)).status == 401
    postgres.discard(url)


@row("agent's private key", "client assertion")
async def test_an_agents_private_key_is_that_agent_and_an_assertion_is_it_once(house: House) -> None:
    key = OwnKey()
    made = await house.alice.does("POST", "/v1/agents", name="keyed", jwks=key.jwks)

    async def tried(assertion: str) -> int:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return (await house.call("POST", "/oauth/token", form=form)).status

    def fresh() -> str:
        return key.assertion(made["id"], house.settings.issuer, house.clock.now(), exp=int(house.clock.now()) + 300)

    stolen, kept = fresh(), fresh()
    assert await opens(house, stolen) == set()
    assert await tried(stolen) == 200
    assert await tried(stolen) == 401
    house.clock.advance(311)  # its five minutes, and ten seconds for clocks that differ
    assert await tried(kept) == 401
    assert await tried(fresh()) == 200
    await house.alice.does("POST", f"/v1/agents/{made['id']}/suspend")
    assert await tried(fresh()) == 401


@row("service-account secret")
async def test_a_service_accounts_secret_manages_what_its_scopes_name(house: House) -> None:
    _, delegation, task, _ = await house.ready(mode="standing", tasks_per_day=3)
    made = await house.alice.does("POST", "/v1/service-accounts", name="janitor", scopes=["agents:read"])
    thief = Robot(house, made["id"], "janitor", made["secret"])
    assert await opens(house, thief.secret) == set()
    assert (await thief.call("GET", "/v1/agents")).status == 200
    assert (await thief.call("GET", "/v1/audit")).status == 403
    assert await opens(house, thief.bearer) == {"/v1"}
    assert (await thief.exchange(task["task_token"])).json()["error"] == "unauthorized_client"
    assert (await thief.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 403
    await house.alice.does("POST", f"/v1/service-accounts/{made['id']}/rotate")
    form = {"grant_type": "client_credentials"}
    assert (await house.call("POST", "/oauth/token", headers=thief.basic, form=form)).status == 401
    await house.alice.does("POST", f"/v1/service-accounts/{made['id']}/suspend")
    assert (await thief.call("GET", "/v1/agents")).status == 401


@row("CLI credential")
async def test_a_cli_credential_is_the_user_until_it_is_revoked_or_thirty_days_old(house: House) -> None:
    bob, carol = await house.person("bob@acme.com"), await house.person("carol@acme.com")
    dave = await house.person("dave@acme.com")
    assert await opens(house, bob.credential) == {"user credential"}
    await house.alice.does("POST", "/v1/revocations", node=unverified_claims(bob.bearer)["credential"])
    assert await opens(house, bob.credential) == set()
    await house.alice.does("POST", f"/v1/users/{carol.id}/suspend")
    assert await opens(house, carol.credential) == set()
    house.clock.advance(30 * 86_400 - 1)
    form = {"grant_type": USER_CREDENTIAL, "credential": dave.credential}
    assert (await house.call("POST", "/oauth/token", form=form)).status == 200
    house.clock.advance(1)
    assert (await house.call("POST", "/oauth/token", form=form)).status == 401


@row("code for a command line")
async def test_a_code_for_a_command_line_is_worth_nothing_without_its_verifier(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    stolen = await line.code(tab)
    assert await opens(house, stolen) == set()
    assert (await line.redeem(stolen, code_verifier="t" * 43)).status == 401
    late, unused = await line.code(tab), await line.code(tab)
    house.clock.advance(60)
    assert (await line.redeem(late)).status == 401
    await tab.get("/")
    await tab.submit("/logout")
    house.clock.advance(-30)
    assert (await line.redeem(unused)).status == 401


@row("invitation")
async def test_an_invitation_is_one_login(house: House) -> None:
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com")
    assert await opens(house, invited["code"]) == {"/v1/login"}
    assert await opens(house, invited["code"]) == set()
    other = await house.alice.does("POST", "/v1/users", email="carol@acme.com")
    await house.alice.does("POST", f"/v1/users/{other['id']}/suspend")
    assert await opens(house, other["code"]) == set()
    late = await house.alice.does("POST", "/v1/users", email="dave@acme.com")
    house.clock.advance(7 * 86_400)
    await house.alice.sign_in()
    assert await opens(house, late["code"]) == set()


@row("new code")
async def test_a_new_code_is_one_login_that_its_user_notices(house: House) -> None:
    bob = await house.person("bob@acme.com")
    codes = f"/v1/users/{bob.id}/one-time-code"
    replaced = (await house.alice.does("POST", codes))["code"]
    stolen = (await house.alice.does("POST", codes))["code"]
    assert await opens(house, replaced) == set()
    assert (await bob.call("GET", "/v1/whoami")).status == 200
    assert await opens(house, stolen) == {"/v1/login"}
    assert (await bob.call("GET", "/v1/whoami")).status == 401
    assert await opens(house, stolen) == set()
    late = (await house.alice.does("POST", codes))["code"]
    house.clock.advance(600)
    assert await opens(house, late) == set()


@row("bootstrap code")
async def test_a_bootstrap_code_is_worth_nothing_once_it_was_used_replaced_or_late(tmp_path: Path) -> None:
    async with Fresh(tmp_path / "a", None) as fresh:
        old = fresh.code
    async with Fresh(tmp_path / "a", None) as fresh:
        assert (await fresh.log_in(old)).status == 401
        fresh.clock.advance(600)
        assert (await fresh.log_in(fresh.code)).status == 401
        fresh.clock.advance(-300)
        assert (await fresh.log_in(fresh.code)).status == 201
        assert (await fresh.log_in(fresh.code, email="thief@evil.example")).status == 401


@row("evidence")
async def test_evidence_is_worth_nothing_to_anyone_but_the_delegations_agent(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    thief = await house.agent("thief")

    async def given() -> str:
        return str((await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"])

    stolen = await given()
    assert await opens(house, stolen) == set()
    body = {"delegation": delegation["id"], "evidence": stolen}
    assert (await thief.call("POST", "/v1/tasks", **body)).status == 404
    assert (await agent.call("POST", "/v1/tasks", **body)).status == 201
    assert (await agent.call("POST", "/v1/tasks", **body)).status == 403
    body["evidence"] = await given()
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    assert (await agent.call("POST", "/v1/tasks", **body)).status == 403


@row("authorization request", "authorization code", "refresh token")
async def test_what_travels_while_she_consents_is_worth_nothing_to_a_thief(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab)
    handle = tab.at.rpartition("=")[2]
    code = client.told(await tab.submit("/consent", button="Allow"))["code"]
    thief = Client(house, await house.agent("thief"))
    for stolen in (handle, code):
        assert await opens(house, stolen) == set()
        assert (await thief.redeem(stolen)).json()["error"] == "invalid_grant"
    code = client.told(await client.authorize(tab))["code"]
    tokens = (await client.redeem(code)).json()
    assert await opens(house, tokens["refresh_token"]) == set()
    assert (await client.refresh(tokens["refresh_token"])).status == 200
    assert (await thief.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


@row("user code", "device code", "backchannel request", "notification token")
async def test_what_is_answered_elsewhere_is_worth_nothing_to_a_thief(house: House) -> None:
    device = await elsewhere(house)
    thief = await elsewhere(house, "thief", connect=False)
    await device.begin()
    code, user_code = device.started["device_code"], device.started["user_code"]
    assert await opens(house, code) == set()
    assert await opens(house, user_code) == set()
    await device.allowed(await house.signed_in())
    thief.started = device.started
    assert (await thief.poll()).json()["error"] == "invalid_grant"
    assert (await device.poll()).status == 200
    assert (await device.poll()).json()["error"] == "invalid_grant"
    assert (await device.typed(await house.signed_in())).status == 404

    await device.ask()
    assert await opens(house, device.started["auth_req_id"]) == set()
    await device.answered(await house.signed_in())
    thief.started = device.started
    assert (await thief.poll()).json()["error"] == "invalid_grant"
    house.clock.advance(600)
    assert (await device.poll()).json()["error"] == "expired_token"

    token = "notify-canary-0123456789"
    house.app.egress._local |= {"127.0.0.1:9"}
    pinged = await elsewhere(
        house,
        "pinged",
        connect=False,
        backchannel_token_delivery_mode="ping",
        backchannel_client_notification_endpoint="http://127.0.0.1:9/told",
    )
    assert (await pinged.ask(client_notification_token=token)).status == 200
    assert await opens(house, token) == set()
    async with house.app.database.read() as db:
        rows = (await db.exec_driver_sql("SELECT * FROM decoupled_requests")).all()
    kept = [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]
    for secret in (token, code, user_code, user_code.replace("-", ""), pinged.started["auth_req_id"]):
        assert not any(secret.encode() in value for value in kept)


@row("real API credential")
async def test_the_real_credential_never_comes_out_of_the_server(house: House) -> None:
    """It is sealed where it is kept, absent from every answer, and used no more once its connection is revoked."""
    _, _, _, token = await house.ready()
    said = [await house.gateway(token, "GET", f"{PATH}/issues"), await house.gateway(token, "GET", "/user")]
    for path in ("/v1/connections", "/v1/delegations", "/v1/audit?limit=500", "/v1/audit/export", "/v1/integrations"):
        said.append(await house.alice.call("GET", path))
    for reply in said:
        assert REAL.encode() not in reply.body
        assert REAL not in str(reply.headers)
    (link,) = (await house.alice.does("GET", "/v1/connections"))["data"]
    await house.alice.does("POST", "/v1/revocations", node=link["id"])
    used = sum(1 for seen in house.github.requests if REAL in (seen.header("authorization") or ""))
    assert (await house.gateway(token, "GET", PATH)).code == "revoked"
    assert used == sum(1 for seen in house.github.requests if REAL in (seen.header("authorization") or ""))


async def lived_in(folder: Path) -> set[str]:
    """A deployment with a story in it, stopped; returns every secret it handed out."""
    async with open_house(folder) as house:
        agent, delegation, task, token = await house.ready()
        evidence = (await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"]
        invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com")
        keeper = await house.alice.does("POST", "/v1/service-accounts", name="keeper", scopes=["audit:read"])
        await house.gateway(token, "GET", PATH)
        return {
            agent.secret,
            task["task_token"],
            token,
            evidence,
            invited["code"],
            keeper["secret"],
            house.alice.credential,
            house.alice.bearer,
            REAL,
        }


@row("database dump", "checkpoint signing key", "root key and database together", "root key file")
async def test_the_database_without_the_root_key_opens_nothing(tmp_path: Path) -> None:
    secrets = await lived_in(tmp_path / "data")
    files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"valetkey.db", "root"}
    for file in files:
        kept = file.read_bytes()
        for secret in secrets:
            assert secret.encode() not in kept, file
        assert b"PRIVATE KEY" not in kept
        assert re.search(HANDLE_PATTERN.encode(), kept) is None, file
    # The thief starts a server of their own on the dump: without a root key, or with another, it does not start at all.
    shutil.copytree(tmp_path / "data", tmp_path / "stolen", ignore=shutil.ignore_patterns("keys", "*.lock"))
    for _ in range(2):
        thief = build(Settings(data=tmp_path / "stolen"))
        with pytest.raises(RootKeyRefused):
            await thief.start()
        await thief.database.close()
        FileRoot.load_or_create(tmp_path / "stolen" / "keys" / "root")
    # The root key without the database is a key to nothing: a new, empty deployment.
    shutil.copytree(tmp_path / "data" / "keys", tmp_path / "key-only" / "keys")
    async with open_house(tmp_path / "key-only") as house:
        assert (await house.alice.does("GET", "/v1/connections"))["data"] == []
        for secret in secrets - {REAL}:
            assert await opens(house, secret) == set()
    # Both together are the deployment: that is why they are kept apart.
    async with open_house(tmp_path / "data") as house:
        assert house.app.bootstrap is None
        form = {"grant_type": "client_credentials", "client_id": "pr-reviewer-v2"}
        (secret,) = [s for s in secrets if s.startswith("vkag_")]
        assert (await house.call("POST", "/oauth/token", form=form | {"client_secret": secret})).status == 200


@row("platform token")
async def test_a_platform_token_is_its_agent_and_needs_its_name(tmp_path: Path) -> None:
    async with open_outside(tmp_path / "data") as (house, publisher):
        agent = await house.agent("reviewer")
        platform = Platform(house, publisher, "generic")
        issuer = await platform.trusted(agent)
        token = platform.token()
        assert await opens(house, token) == set()
        assert not await platform.is_agent(None, token)
        assert await platform.is_agent(agent.id, token)
        assert not await platform.is_agent(agent.id, token)
        other = platform.token()
        await house.alice.does("DELETE", f"/v1/trusted-issuers/{issuer['id']}")
        assert not await platform.is_agent(agent.id, other)


@row("word of an identity provider")
async def test_the_word_of_an_identity_provider_needs_the_client_it_is_for(tmp_path: Path) -> None:
    async with open_outside(tmp_path / "data") as (house, publisher):
        provider = Provider(house, publisher)
        await provider.trusted()
        await provider.knows(house.alice)
        agent, thief = await house.agent("reviewer"), await house.agent("thief")
        await house.connect()
        await house.delegate(agent)
        word = provider.word(agent.id)
        assert await opens(house, word) == set()
        assert (await presents_word(thief, word)).status == 400
        assert (await presents_word(agent, word)).status == 200
        assert (await presents_word(agent, word)).status == 400


@row("client secret", "initial access token", "registration access token")
async def test_what_a_client_registers_with_registers_and_opens_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", dynamic_registration="token") as house:
        token = await initial(house, uses=1)
        assert await opens(house, token) == set()
        client = (await registers(house, token)).json()
        assert (await registers(house, token)).status == 401
        for stolen in (client["client_secret"], client["registration_access_token"]):
            assert await opens(house, stolen) == set()
            assert (await registers(house, stolen)).status == 401
        proven = await by_secret(house, client["client_id"], client["client_secret"])
        assert (proven.status, proven.json()["error"]) == (400, "unauthorized_client")
        assert (await manages(house, "GET", client, client["client_secret"])).status == 401
        fresh = (await manages(house, "GET", client)).json()
        assert (await manages(house, "GET", client)).status == 401
        assert (await manages(house, "DELETE", fresh)).status == 204
        assert (await by_secret(house, client["client_id"], client["client_secret"])).status == 401


@row("audit export")
async def test_the_audit_export_holds_no_secret(house: House) -> None:
    agent, delegation, task, token = await house.ready()
    evidence = (await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"]
    await house.gateway(token, "GET", f"{PATH}/issues?q={token}")
    exported = (await house.alice.call("GET", "/v1/audit/export")).body.decode()
    assert exported.count("\n") > 8
    for secret in (agent.secret, task["task_token"], token, evidence, house.alice.credential, house.alice.bearer, REAL):
        assert secret not in exported
    assert re.search(HANDLE_PATTERN, exported) is None
    assert "eyJ" not in exported


@row("session cookie")
async def test_a_session_cookie_is_its_user_on_the_pages_until_it_is_ended(house: House) -> None:
    tab = await with_password(house)
    stolen = tab.cookies["__Host-valetkey"]
    assert await opens(house, stolen) == set()
    thief = house.tab()
    thief.cookies = {"__Host-valetkey": stolen}
    assert (await thief.get("/", follow=False)).status == 200
    house.clock.advance(601)
    await thief.get("/account")
    assert not [form for form in thief.forms() if form.action.startswith("/account")]
    await tab.get("/")
    await tab.submit("/logout")
    assert (await thief.get("/", follow=False)).status == 303


@row("guest cookie", "step of signing in")
async def test_what_a_browser_holds_before_it_signed_in_opens_nothing(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    tab, thief = house.tab(), house.tab()
    await try_password(tab)
    step, guest = dict(tab.forms()[0].fields)["step"], tab.cookies["__Host-valetkey-guest"]
    assert await opens(house, step) == await opens(house, guest) == set()
    for handle in (step, guest):
        thief.cookies = {"__Host-valetkey": handle}
        assert (await thief.get("/", follow=False)).status == 303
    house.clock.advance(30)
    thief.cookies = {}
    await thief.get("/login")
    assert (await thief.post("/login/second", {"csrf": thief.csrf, "step": step, "code": app.code()})).status == 403
    csrf = tab.csrf
    assert is_in(await tab.submit("/login/second", {"code": app.code()}, follow=False))
    house.clock.advance(30)
    thief.cookies = {"__Host-valetkey-guest": guest}
    assert (await thief.post("/login/second", {"csrf": csrf, "step": step, "code": app.code()})).status == 403


@row("recovery code", "password", "authenticator app's key")
async def test_one_of_two_proofs_is_no_sign_in(house: House) -> None:
    tab = await with_password(house)
    assert await opens(house, PASSWORD) == set()
    assert is_in(await try_password(house.tab()))
    app, codes = await with_app(house, tab)
    assert await opens(house, codes[0]) == await opens(house, app.secret.reveal().hex()) == set()
    house.clock.advance(60)
    for alone in (PASSWORD, codes[0], app.code()):
        stolen = house.tab()
        assert not is_in(await try_password(stolen, password=alone))
    await tab.get("/account")
    await tab.submit("/account/one-time/remove", {})
    house.clock.advance(60)
    assert is_in(await try_password(house.tab()))


@row("client secret at an identity provider")
async def test_our_secret_at_an_identity_provider_redeems_nothing_alone(tmp_path: Path) -> None:
    async with with_provider(tmp_path / "data", None) as (house, provider, made):
        secret = "the client's secret"
        assert await opens(house, secret) == set()
        for path in ("/v1/identity-providers", "/v1/audit/export"):
            assert secret.encode() not in (await house.alice.call("GET", path)).body
        tab = house.tab()
        await tab.get(provider.authorize(await to_provider(tab, made)))
        ((form, _),) = provider.redeemed
        assert len(form["code_verifier"]) >= 43  # without it a stolen code is worth nothing (RFC 7636)
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


@row("engine secret")
async def test_an_engines_secret_is_worth_nothing_without_somebodys_credential(tmp_path: Path) -> None:
    async with asked(tmp_path / "data") as at:
        secret = at.engine["secret"]
        assert await opens(at.house, secret) == set()
        assert (await at.forward("GET", "/repos/acme-corp/backend/issues", authorization="")).status == 401
        assert (await at.forward("GET", "/repos/acme-corp/backend/issues")).status == 200
        await at.house.alice.does("POST", "/v1/revocations", node=at.engine["id"])
        assert (await at.forward("GET", "/repos/acme-corp/backend/issues")).status == 404


@row("leased credential", "private key of an installed app")
async def test_a_leased_credential_is_as_narrow_as_its_task_and_ends_with_it(tmp_path: Path) -> None:
    async with installed(tmp_path / "data", None) as at:
        lent = await at.lent()
        stolen = lent["credential"]
        assert await opens(at.house, stolen) == set()
        assert await at.at_github(stolen, "GET", "/repos/acme-corp/backend/issues") == 200
        assert await at.at_github(stolen, "GET", "/repos/acme-corp/payroll/issues") == 404
        await at.house.alice.does("POST", "/v1/revocations", node=lent["id"])
        assert await at.at_github(stolen, "GET", "/repos/acme-corp/backend/issues") == 401
    key = PEM.splitlines()[1].encode()
    assert not [file for file in (tmp_path / "data").rglob("*") if file.is_file() and key in file.read_bytes()]


@row("mailed code")
async def test_a_mailed_code_is_worth_something_to_the_person_it_was_mailed_for_alone(tmp_path: Path) -> None:
    async with mailing(tmp_path, None) as (house, server):
        await house.person("mallory@acme.com")
        tab = await names(house)
        code = code_in(server)
        assert await opens(house, code) == set()
        [named] = (await house.alice.does("GET", "/v1/notice-addresses"))["data"]
        thief = await house.signed_in("mallory@acme.com")
        await thief.get("/account")
        tried = await thief.post("/account/notices/confirm", {"csrf": thief.csrf, "notice": named["id"], "code": code})
        assert tried.status == 404
        assert await house.events("notice-address.confirmed") == []
        await tab.submit("/account/notices/confirm", {"code": code})
        assert len(await house.events("notice-address.confirmed")) == 1
        assert await opens(house, code) == set()
        again = await names(house, "alice.two@acme.com")
        house.clock.advance(901)
        await again.post("/account/notices/confirm", {"csrf": again.csrf, "code": code_in(server)})
        await house.alice.sign_in()
        assert len(await house.events("notice-address.confirmed")) == 1


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    lines = DOCUMENT.read_text().splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ") and not line.startswith("| what |")]
    assert sorted(rows) == sorted(COVERED)
    assert HANDLE_PATTERN.replace("(?:", "(") in DOCUMENT.read_text()


@row("token for AWS")
async def test_what_aws_is_shown_opens_no_door_of_ours(tmp_path: Path) -> None:
    async with trusted(tmp_path / "data", None) as at:
        lent = await at.lent()
        token = at.sts.sessions[-1].said["WebIdentityToken"]
        assert await opens(at.house, token) == set()
        claims = unverified_claims(token)
        assert claims["aud"] == "sts.amazonaws.com"
        assert claims["exp"] - claims["iat"] == 300
        assert token not in str(lent) + str(await at.house.events())


@row("credential for a resource server of one's own", "signed introspection answer", "ID token")
async def test_what_is_for_others_opens_no_door_of_ours(house: House) -> None:
    await register(house)
    await house.connect()
    agent, _, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    headers = agent.basic | {"accept": "application/token-introspection+jwt"}
    answer = (await house.call("POST", "/oauth/introspect", headers=headers, form={"token": token})).body.decode()
    for stolen in (token, answer, minted(house, agent.id)):
        assert await opens(house, stolen) == set()
    claims = unverified_claims(token)
    assert 0 < claims["exp"] - claims["iat"] <= 900

    async def is_active() -> bool:
        asked = await house.call("POST", "/oauth/introspect", headers=agent.basic, form={"token": token})
        return bool(asked.json()["active"])

    assert await is_active()
    await house.alice.does("POST", "/v1/revocations", node=claims["jti"])
    assert not await is_active()
