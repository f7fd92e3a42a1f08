"""Asking the decision door without being an engine, or for more than it is one for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.flows.test_engines import ISSUES, Asked, asked
from tests.support.holder import Prover
from tests.support.house import EXCHANGE, GITHUB, JWT, REAL
from tests.support.http import call
from valetkey.server.ids import new_handle


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Asked]:
    async with asked(tmp_path / "data", database_url) as found:
        yield found


async def test_whoever_is_no_engine_finds_nothing(at: Asked) -> None:
    nothing = await call(at.door, "GET", "/anything")
    for secret in ("", "x", new_handle("en").reveal(), at.agent.secret):
        told = await at.forward("GET", ISSUES, secret=secret)
        assert (
            (told.status, told.json()["detail"])
            == (nothing.status, nothing.json()["detail"])
            == (404, told.json()["detail"])
        )
    assert await at.house.events("call.allowed") == []


async def test_the_public_port_has_no_decision_door(at: Asked) -> None:
    headers = {"x-valetkey-engine": at.engine["secret"], "authorization": f"Bearer {at.token}"}
    for path in ("/forward-auth", f"/ext-authz{ISSUES}"):
        reply = await call(at.house.base, "GET", path, headers=headers)
        assert reply.status == 404
        assert REAL not in str(reply.headers)


async def test_a_call_named_twice_is_refused(at: Asked) -> None:
    more = {"x-original-uri": "/repos/acme-corp/payroll/issues", "x-original-method": "GET"}
    assert (await at.forward("GET", ISSUES, **more)).status == 403
    headers = {"authorization": f"Bearer {at.token}", "x-valetkey-engine": at.engine["secret"]}
    doubled = [
        *headers.items(),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", ISSUES),
        ("x-forwarded-uri", "/user"),
    ]
    assert (await call(at.door, "GET", "/forward-auth", headers=doubled)).status == 400
    named = headers | {"x-forwarded-uri": "/user"}
    assert (await call(at.door, "GET", f"/ext-authz{ISSUES}", headers=named)).status == 400


async def test_another_organizations_token_is_nobodys_at_an_engine(at: Asked) -> None:
    async with at.house.app.database.write() as tx:
        await tx.execute(text("UPDATE engines SET org = 'org_00000000000000000000000000'"))
    told = await at.forward("GET", ISSUES)
    assert told.status == 401
    assert REAL not in str(told.headers)


async def test_an_engine_of_one_api_gets_no_credential_of_another(at: Asked) -> None:
    slack = await at.house.alice.does(
        "POST", "/v1/engines", name="slack-edge", integration="slack", address="https://slack.acme.com"
    )
    told = await at.forward("GET", ISSUES, secret=slack["secret"])
    assert told.status == 401
    assert REAL not in str(told.headers)


async def test_dp_11_a_bound_credential_needs_its_proof_for_the_engines_address(at: Asked) -> None:
    prover = Prover(at.house)
    form = {"grant_type": EXCHANGE, "subject_token": at.task["task_token"], "subject_token_type": JWT}
    at.token = (await prover.asks(at.agent.basic, form | {"resource": GITHUB})).json()["access_token"]
    assert (await at.forward("GET", ISSUES)).status == 401
    for address, status in (("https://github.acme.com", 200), (at.house.settings.gateway + "/p/github", 401)):
        shown = prover.proof("GET", ISSUES, url=address + ISSUES, token=at.token)
        told = await at.forward("GET", ISSUES, authorization=f"DPoP {at.token}", dpop=shown)
        assert told.status == status, told.body
        again = await at.forward("GET", ISSUES, authorization=f"DPoP {at.token}", dpop=shown)
        assert again.status == 401  # a proof counts once, here as at every door
