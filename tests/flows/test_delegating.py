"""Alice delegates: what she may say yes to, whose word it is, and what is refused before anything is recorded."""

from tests.support.house import House

READ = "github:repo:read@acme-corp/backend"


async def test_alice_delegates_and_reads_back_the_sentence_she_agreed_to(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    made = await house.delegate(agent, seconds=600)
    assert made["basis"] == "consent"
    assert made["mode"] == "attended"
    assert made["status"] == "live"
    assert made["sentence"] == (
        "agent:pr-reviewer-v2, on behalf of user:alice@acme.com, may repo:read on acme-corp/backend at api.github.com "
        "for 10 m"
    )
    repository = house.github.repository("acme-corp/backend")
    assert made["bound"][0]["name"] == "acme-corp/backend"
    assert made["bound"][0]["id"] == str(repository.id)
    assert await house.alice.does("GET", f"/v1/delegations/{made['id']}") == made
    (record,) = await house.events("delegation.recorded")
    assert record["delegation"] == made["id"]
    assert record["basis"] == "consent"


async def test_a_delegation_ends_when_its_time_is_over_without_anybody_cleaning_up(house: House) -> None:
    """OA-25: by comparing clocks at use."""
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    made = await house.delegate(agent, seconds=60)
    house.clock.advance(59)
    assert (await house.alice.call("POST", "/v1/tasks", delegation=made["id"])).status == 201
    house.clock.advance(1)
    refused = await house.alice.call("POST", "/v1/tasks", delegation=made["id"])
    assert refused.status == 403
    assert (await house.alice.does("GET", f"/v1/delegations/{made['id']}"))["status"] == "expired"


async def test_nothing_is_delegated_through_an_account_nobody_connected(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    body = {"agent": agent.name, "grants": [READ], "purpose": "review"}
    refused = await house.alice.call("POST", "/v1/delegations", **body)
    assert (refused.status, refused.code) == (403, "connection_required")
    await house.connect()
    assert (await house.alice.call("POST", "/v1/delegations", **body)).status == 201


async def test_only_alice_speaks_for_her_own_account(house: House) -> None:
    """A member cannot, an administrator cannot, an agent cannot, a service account cannot."""
    agent = await house.agent("pr-reviewer-v2")
    bob = await house.person("bob@acme.com")
    carol = await house.person("carol@acme.com", role="administrator")
    await house.connect(bob, credential="ghp_bobsCredential0123456789abcdefghijkl")
    body = {"agent": agent.name, "grants": [READ], "purpose": "review", "user": "bob@acme.com"}
    assert (await bob.does("POST", "/v1/delegations", **body))["basis"] == "consent"
    for other in (carol, house.alice):
        refused = await other.call("POST", "/v1/delegations", **body)
        assert refused.status == 403
    assert (await agent.call("POST", "/v1/delegations", **body)).status == 403
    (only,) = await house.events("delegation.recorded")
    assert only["user"] == bob.id


async def test_an_administrator_delegates_for_somebody_over_shared_connections_alone(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    bob = await house.person("bob@acme.com")
    shared = await house.connect(shared=True)
    body = {"agent": agent.name, "grants": [READ], "purpose": "review", "user": "bob@acme.com"}
    without = await house.alice.call("POST", "/v1/delegations", **body)
    assert (without.status, without.code) == (403, "denied")  # nobody is entitled to anything by default
    path = f"/v1/connections/{shared['id']}/entitlements"
    await house.alice.does("POST", path, user="bob@acme.com", grants=[READ])
    made = await house.alice.does("POST", "/v1/delegations", **body)
    assert (made["basis"], made["user"]) == ("administrator", "bob@acme.com")
    assert (await bob.does("GET", f"/v1/delegations/{made['id']}"))["basis"] == "administrator"
    wider = body | {"grants": ["github:repo:read@acme-corp/payroll"]}
    assert (await house.alice.call("POST", "/v1/delegations", **wider)).status == 403
    # The administrator cannot then stand in for Bob: only he opens its tasks.
    assert (await house.alice.call("POST", "/v1/tasks", delegation=made["id"])).code == "consent_required"
    assert (await bob.call("POST", "/v1/tasks", delegation=made["id"])).status == 201


async def test_an_entitlement_is_to_a_thing_and_not_to_whatever_takes_its_name(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.person("bob@acme.com")
    shared = await house.connect(shared=True)
    path = f"/v1/connections/{shared['id']}/entitlements"
    await house.alice.does("POST", path, user="bob@acme.com", grants=[READ])
    house.github.rename("acme-corp/backend", "acme-corp/old")
    house.github.rename("acme-corp/payroll", "acme-corp/backend")
    body = {"agent": agent.name, "grants": [READ], "purpose": "review", "user": "bob@acme.com"}
    refused = await house.alice.call("POST", "/v1/delegations", **body)
    assert (refused.status, refused.code) == (403, "denied")


async def test_a_resource_the_account_cannot_see_is_the_same_as_one_that_is_not_there(house: House) -> None:
    """OA-08: what is unknown, foreign and unreadable answers alike."""
    agent = await house.agent("pr-reviewer-v2")
    bob = await house.person("bob@acme.com")
    await house.connect(bob, credential="ghp_bobsCredential0123456789abcdefghijkl")
    said = []
    for name in ("acme-corp/payroll", "acme-corp/missing"):
        body = {"agent": agent.name, "grants": [f"github:repo:read@{name}"], "purpose": "review"}
        refused = await bob.call("POST", "/v1/delegations", **body)
        said.append((refused.status, refused.json()["detail"].replace(name, "NAME")))
    assert said[0] == said[1]
    assert said[0][0] == 404


async def test_nothing_above_the_agents_ceiling_is_delegated(house: House) -> None:
    low = await house.agent("low", ceiling=["github:repo:read@acme-corp/backend"])
    await house.connect()
    body = {"agent": low.name, "grants": ["github:repo:write@acme-corp/backend"], "purpose": "review"}
    refused = await house.alice.call("POST", "/v1/delegations", **body)
    assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling")
    assert (await house.alice.call("POST", "/v1/delegations", **body | {"grants": [READ]})).status == 201
    none = await house.agent("none", ceiling=[])
    refused = await house.alice.call("POST", "/v1/delegations", **body | {"agent": none.name, "grants": [READ]})
    assert refused.status == 403


UNCLEAR: list[dict[str, object]] = [
    {"grants": []},
    {"grants": ["github:repo:read@"]},
    {"grants": ["github:@acme-corp/backend"]},
    {"grants": ["github:nonsense@acme-corp/backend"]},
    {"grants": ["nowhere:repo:read@acme-corp/backend"]},
    {"purpose": ""},
    {"purpose": "   "},
    {"purpose": "x" * 501},
    {"purpose": "review\u202eeverything"},
    {"purpose": "two\nlines"},
    {"seconds": 0},
    {"seconds": -1},
    {"seconds": 86_401},
    {"mode": "forever"},
    {"mode": "standing"},
    {"mode": "standing", "tasks_per_day": 0},
    {"mode": "standing", "tasks_per_day": 1001},
    {"mode": "standing", "tasks_per_day": 5, "seconds": 31 * 86_400},
    {"mode": "standing", "tasks_per_day": 5, "grants": ["github:pulls:merge@acme-corp/backend"]},
    {"max_calls": 0},
    {"max_calls": -1},
    {"not_after": 1},
    {"not_after": 10**15},
    {"agent": "nobody"},
    {"share_with": ["nobody"]},
    {"basis": "consent"},
    {"created_by": "usr_x"},
]


async def test_what_is_not_a_whole_clear_wish_is_refused_and_nothing_is_recorded(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2", ceiling=["github:repo:write,pulls:merge@*"])
    await house.connect()
    clear = {"agent": agent.name, "grants": [READ], "purpose": "review"}
    for changed in UNCLEAR:
        refused = await house.alice.call("POST", "/v1/delegations", **clear | changed)
        assert refused.status in (400, 403, 404), (changed, refused.body)
    assert await house.events("delegation.recorded") == []
    assert (await house.alice.call("POST", "/v1/delegations", **clear)).status == 201


async def test_with_several_accounts_one_has_to_be_named(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect(name="work")
    await house.connect(name="home", credential="ghp_bobsCredential0123456789abcdefghijkl")
    body = {"agent": agent.name, "grants": [READ], "purpose": "review"}
    unclear = await house.alice.call("POST", "/v1/delegations", **body)
    assert unclear.status == 400
    assert "home" in unclear.json()["detail"]
    named = await house.alice.does("POST", "/v1/delegations", **body | {"grants": [f"github/work{READ[6:]}"]})
    assert named["grants"] == ["github/work:repo:read@acme-corp/backend"]
