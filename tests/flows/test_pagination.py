"""Pages of lists: complete, without gaps or repeats, and with cursors nobody can make up or carry elsewhere."""

import base64
from typing import Any

from sqlalchemy import event

from tests.support.house import House, Person
from tests.support.nodes import pause
from valetkey.client.protocol import Request
from valetkey.client.resources import Group

LISTS = ("users", "agents", "service-accounts", "connections", "delegations", "tasks")


async def filled(house: House) -> None:
    """Five and more of everything."""
    await house.connect(shared=True)
    agent = await house.agent("pr-reviewer-v2")
    for n in range(5):
        await house.alice.does("POST", "/v1/users", email=f"user{n}@acme.com")
        await house.agent(f"agent-{n}")
        await house.alice.does("POST", "/v1/service-accounts", name=f"service-{n}", scopes=["users:read"])
        await house.connect(name=f"account-{n}")
        delegation = await house.delegate(agent, "github/account-0:repo:read@acme-corp/backend") if n else None
        if delegation is not None:
            await house.task(delegation)
            await house.task(delegation)


async def pages(person: Person, path: str, limit: int) -> list[list[str]]:
    """The ids, page by page."""
    found: list[list[str]] = []
    cursor = ""
    while True:
        page = await person.does("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        found.append([row["id"] for row in page["data"]])
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            return found
        cursor = page["next_cursor"]


async def test_pages_together_are_the_whole_list_in_its_order(house: House) -> None:
    await filled(house)
    for name in LISTS:
        whole = await pages(house.alice, f"/v1/{name}", 200)
        assert len(whole) == 1
        assert len(whole[0]) >= 4, name
        for limit in (1, 2, len(whole[0])):
            cut = await pages(house.alice, f"/v1/{name}", limit)
            assert [row for page in cut for row in page] == whole[0], (name, limit)
            assert all(len(page) == limit for page in cut[:-1])
            assert cut[-1], (name, "no page is empty")
        newest_first = name in ("delegations", "tasks")
        assert whole[0] == sorted(whole[0], reverse=newest_first)


async def test_pages_hold_what_one_may_see_and_nothing_more(house: House) -> None:
    await filled(house)
    bob = await house.person("bob@acme.com")
    mine = await house.agent("bobs", owner=bob)
    assert await pages(bob, "/v1/agents", 1) == [[mine.id]]
    assert await pages(bob, "/v1/users", 1) == [[bob.id]]
    assert await pages(bob, "/v1/delegations", 1) == [[]]
    assert await pages(bob, "/v1/tasks", 1) == [[]]
    shared = await pages(bob, "/v1/connections", 1)
    assert len(shared) == len(shared[0]) == 1


async def test_oa_23_a_forged_cursor_is_400_and_reaches_no_query(house: House) -> None:
    await filled(house)
    given = {name: (await house.alice.does("GET", f"/v1/{name}?limit=1"))["next_cursor"] for name in LISTS}
    await pause(house.app)  # what it does by itself asks too
    asked: list[str] = []
    for engine in {house.app.database._reader, house.app.database._writer}:
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *seen: asked.append(str(seen[2:4])))
    for name, cursor in given.items():
        opened = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        last = opened[32:].decode()
        forged = {
            "an id": last,
            "another id": _written(opened[:32] + last[:-1].encode() + (b"0" if last[-1] != "0" else b"1")),
            "no word of ours": _written(bytes(32) + opened[32:]),
            "cut": cursor[:-2],
            "grown": cursor + "AAAA",
            "with padding": cursor + "%3D",
            "in another spelling": cursor[:-1] + chr(ord(cursor[-1]) ^ 1),
            "a query": _written(bytes(32) + b"' OR 1=1 --"),
            "no text": _written(bytes(32) + b"\xff\x00"),
            "too long": "A" * 3000,
            **{f"of {other}": elsewhere for other, elsewhere in given.items() if other != name},
        }
        for what, text in forged.items():
            reply = await house.alice.call("GET", f"/v1/{name}?cursor={text}")
            assert (reply.status, reply.code) == (400, "invalid_request"), (name, what)
            reached = [seen for seen in asked if f"FROM {name.replace('-', '_')}" in seen and "LIMIT" in seen]
            assert reached == [], (name, what)
        assert (await house.alice.call("GET", f"/v1/{name}?limit=1&cursor={cursor}")).status == 200
        asked.clear()


async def test_a_limit_out_of_its_range_is_400(house: House) -> None:
    for name in LISTS:
        for limit in ("0", "-1", "201", "1e2x", "x", "", "99999999999999999999", "%D9%A3", "true", "null"):
            reply = await house.alice.call("GET", f"/v1/{name}?limit={limit}")
            assert (reply.status, reply.code) == (400, "invalid_request"), (name, limit)


async def test_the_client_follows_pages_to_the_end(house: House) -> None:
    """The CLI's lists are the client's, and complete."""
    await filled(house)
    for n in range(60):
        await house.alice.does("POST", "/v1/users", email=f"more{n}@acme.com")
    whole = await pages(house.alice, "/v1/users", 200)

    waiting: list[Request] = []
    answers: list[Any] = []

    class Sender:
        """Answers from what was fetched before; asks for the next one by raising."""

        def call(self, request: Request) -> Any:
            waiting.append(request)
            if len(waiting) > len(answers):
                raise LookupError
            return answers[len(waiting) - 1]

        def stream(self, request: Request) -> Any:
            raise NotImplementedError

    while True:
        waiting.clear()
        try:
            rows = Group(Sender())._listed("/v1/users")
            break
        except LookupError:
            answers.append(await house.alice.does("GET", waiting[-1].path))
    assert [row["id"] for row in rows] == whole[0]
    assert len(answers) == 2


def _written(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
