"""When a connection was last used: on its page, in the API, and of the one that was used only."""

from tests.support.house import House


async def test_the_connection_an_agent_got_something_over_was_used_and_another_was_not(house: House) -> None:
    tab = await house.signed_in()
    agent, _, task, _ = await house.ready("github:repo:read@acme-corp/backend")
    other = await house.connect(name="another")
    await house.app.last_used.write()
    now = int(house.clock.now())
    listed = {c["id"]: c["last_used_at"] for c in (await house.alice.does("GET", "/v1/connections"))["data"]}
    assert listed.pop(other["id"]) is None
    assert list(listed.values()) == [now]
    house.clock.advance(120)
    await tab.get("/connections")
    assert tab.text.count("Last used 2 minutes ago.") == 1
    assert tab.text.count("Last used never.") == 1
    assert (await agent.exchange(task["task_token"])).status == 200
    await house.app.last_used.write()
    await tab.get("/connections")
    assert tab.text.count("Last used just now.") == 1
