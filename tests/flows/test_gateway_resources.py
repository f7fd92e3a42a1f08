"""A name is looked up, the thing behind it decides: renamed, replaced and transferred repositories at the gateway."""

from tests.support.house import House

READ = "/repos/acme-corp/backend/issues"


async def test_another_repository_behind_a_delegated_name_is_refused(house: House) -> None:
    _, _, _, token = await house.ready()
    assert (await house.gateway(token, "GET", READ)).status == 200
    house.github.rename("acme-corp/backend", "acme-corp/backend-old")
    house.github.rename("acme-corp/payroll", "acme-corp/backend")
    house.clock.advance(60)
    before = house.github.received("GET", READ)
    refused = await house.gateway(token, "GET", READ)
    assert (refused.status, refused.code) == (403, "denied")
    assert refused.json()["reason"] == "resource_changed"
    assert house.github.received("GET", READ) == before


async def test_the_delegated_repository_is_still_reached_by_its_id_after_a_rename(house: House) -> None:
    _, _, _, token = await house.ready()
    number = house.github.repository("acme-corp/backend").id
    other = house.github.repository("acme-corp/payroll").id
    house.github.rename("acme-corp/backend", "acme-corp/backend-old")
    house.clock.advance(60)
    assert (await house.gateway(token, "GET", f"/repositories/{number}/issues")).status == 200
    assert (await house.gateway(token, "GET", f"/repositories/{other}/issues")).status == 403


async def test_a_read_uses_an_id_for_at_most_a_minute(house: House) -> None:
    _, _, _, token = await house.ready()
    await house.gateway(token, "GET", READ)
    lookups = house.github.received("GET", "/repos/acme-corp/backend")
    house.clock.advance(59)
    assert (await house.gateway(token, "GET", READ)).status == 200
    assert house.github.received("GET", "/repos/acme-corp/backend") == lookups
    house.clock.advance(1)
    assert (await house.gateway(token, "GET", READ)).status == 200
    assert house.github.received("GET", "/repos/acme-corp/backend") == lookups + 1


async def test_a_write_looks_the_id_up_every_time(house: House) -> None:
    _, _, _, token = await house.ready("github:repo:read,issues:write@acme-corp/backend")
    lookups = house.github.received("GET", "/repos/acme-corp/backend")
    for title in ("one", "two"):
        assert (await house.gateway(token, "POST", READ, json={"title": title})).status == 201
    assert house.github.received("GET", "/repos/acme-corp/backend") == lookups + 2
    house.github.rename("acme-corp/backend", "acme-corp/backend-old")
    house.github.rename("acme-corp/payroll", "acme-corp/backend")
    refused = await house.gateway(token, "POST", READ, json={"title": "three"})
    assert (refused.status, refused.json()["reason"]) == (403, "resource_changed")
    assert house.github.received("POST", READ) == 2


async def test_a_name_is_compared_as_github_compares_it(house: House) -> None:
    _, _, _, token = await house.ready()
    assert (await house.gateway(token, "GET", "/repos/ACME-corp/BackEnd/issues")).status == 200
    assert (await house.gateway(token, "GET", "/repos/acme-corp/bac%E2%84%AAend/issues")).status in (400, 403)


async def test_what_does_not_exist_and_what_is_not_delegated_read_alike(house: House) -> None:
    _, _, _, token = await house.ready()
    there, nowhere = [
        (await house.gateway(token, "GET", f"/repos/acme-corp/{name}")).json() for name in ("payroll", "nothing")
    ]
    for document in (there, nowhere):
        del document["request_id"], document["decision"]
    assert str(there).replace("payroll", "nothing") == str(nowhere)
