"""The main job: an AI for Alice, read-only on acme-corp/backend at GitHub, for ten minutes."""

from tests.support.house import House


async def test_an_allowed_read_reaches_the_upstream_with_the_real_credential_only(house: House) -> None:
    _, _, _, token = await house.ready()
    reply = await house.gateway(token, "GET", "/repos/acme-corp/backend/issues?per_page=2")
    assert reply.status == 200
    assert len(reply.json()) == 2
    assert token not in str(house.github.requests)


async def test_the_same_read_of_another_repository_is_denied_in_words_and_sends_nothing(house: House) -> None:
    _, _, _, token = await house.ready()
    reply = await house.gateway(token, "GET", "/repos/acme-corp/payroll/issues?per_page=2")
    assert reply.status == 403
    assert reply.code == "denied"
    assert "acme-corp/payroll" in reply.json()["detail"]
    assert house.github.received("GET", "/repos/acme-corp/payroll/issues") == 0


async def test_a_revoked_task_stops_the_very_next_call(house: House) -> None:
    _, _, task, token = await house.ready()
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    refused = await house.gateway(token, "GET", "/repos/acme-corp/backend")
    assert (refused.status, refused.code) == (403, "revoked")
