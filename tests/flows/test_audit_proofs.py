"""Proofs over the API: they hold with the pinned key alone, on both databases, and who may have which (AUD-05)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.support.house import House, Person, open_house
from tests.support.nodes import pause
from valetkey.server.audit import checkpoint, proof, series
from valetkey.server.audit.model import Event
from valetkey.server.audit.proof import Continued, Included, InvalidProof
from valetkey.server.audit.store import Entry
from valetkey.server.audit.tree import grow, store
from valetkey.verify.keys import PublicKey

ISSUER = "http://localhost:9999"


@pytest.fixture
async def paused(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    """A deployment whose checkpoints the test has written."""
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        await pause(house.app)
        yield house


def keys(house: House) -> dict[str, PublicKey]:
    key = checkpoint.pinned(house.app.pin)
    return {key.kid: key}


async def record(house: House, count: int) -> list[str]:
    entries = [Entry(event=Event.LOGIN_FAILED, org="", members={"number": n}) for n in range(count)]
    return list(await asyncio.gather(*(house.app.journal.record(entry) for entry in entries)))


def checked(house: House, answer: dict[str, Any]) -> Included | Continued:
    return proof.check(json.dumps(answer).encode(), keys(house))


def numbers(house: House) -> list[int]:
    return [json.loads(line)["n"] for line in house.app.witness.path.read_bytes().splitlines()]


async def test_every_record_of_a_trail_of_several_tiles_is_proven(paused: House) -> None:
    ids = await record(paused, 2 * store.WIDTH + 30)
    await paused.app.witness.write()
    await paused.app.trees.keep()
    ids += await record(paused, 40)
    for one in (ids[0], ids[1], ids[255], ids[256], ids[511], ids[-41], ids[-1]):
        answer = await paused.alice.does("GET", f"/v1/audit/records/{one}/proof")
        found = checked(paused, answer)
        assert isinstance(found, Included)
        assert found.record.id == one
        assert found.checkpoint.n == numbers(paused)[-1]


async def test_a_record_no_checkpoint_covers_yet_is_covered_first(paused: House) -> None:
    await paused.app.witness.write()
    before = numbers(paused)[-1]
    [one] = await record(paused, 1)
    found = checked(paused, await paused.alice.does("GET", f"/v1/audit/records/{one}/proof"))
    assert isinstance(found, Included)
    assert found.checkpoint.n == before + 1
    again = checked(paused, await paused.alice.does("GET", f"/v1/audit/records/{one}/proof"))
    assert isinstance(again, Included)
    assert again.checkpoint.n == before + 1  # nothing is written for what is covered


async def test_checkpoints_continue_one_another(paused: House) -> None:
    await paused.app.witness.write()
    first = numbers(paused)[-1]
    for count in (1, 300, 7):
        await record(paused, count)
        await paused.app.witness.write()
    last = numbers(paused)[-1]
    for earlier, later in ((first, last), (first, 0), (last - 1, last), (last, last), (first + 1, first + 2)):
        answer = await paused.alice.does("GET", f"/v1/audit/consistency?from={earlier}&to={later}")
        found = checked(paused, answer)
        assert isinstance(found, Continued)
        assert (found.earlier.n, found.later.n) == (earlier, later or last)


@pytest.mark.parametrize(
    ("query", "status"),
    [("from=1&to=999999", 404), ("from=0", 400), ("", 400), ("from=1e0", 400), ("from=1&from=2", 400), ("to=1", 400),
     ("from=1&earlier=2", 400)],
)  # fmt: skip
async def test_what_cannot_be_compared_is_refused(paused: House, query: str, status: int) -> None:
    await paused.app.witness.write()
    assert (await paused.alice.call("GET", f"/v1/audit/consistency?{query}")).status == status


async def test_the_later_one_first_is_refused(paused: House) -> None:
    await paused.app.witness.write()
    await record(paused, 3)
    await paused.app.witness.write()
    last = numbers(paused)[-1]
    assert (await paused.alice.call("GET", f"/v1/audit/consistency?from={last}&to={last - 1}")).status == 409


async def test_a_proof_is_for_who_may_see_the_record(paused: House) -> None:
    bob = await paused.person("bob@acme.com")
    agent = await paused.agent("bobs", owner=bob)
    [made] = await paused.events("agent.created")
    address = f"/v1/audit/records/{made['id']}/proof"
    assert isinstance(checked(paused, await bob.does("GET", address)), Included)
    carol = await paused.person("carol@acme.com")
    assert (await carol.call("GET", address)).status == 404
    assert (await agent.call("GET", address)).status == 403
    for one in (bob, agent):
        assert (await one.call("GET", "/v1/audit/consistency?from=1")).status == 403


async def test_a_record_edited_in_the_database_gets_no_proof(paused: House) -> None:
    ids = await record(paused, 5)
    await paused.app.witness.write()
    address = f"/v1/audit/records/{ids[2]}/proof"
    assert (await paused.alice.call("GET", address)).status == 200
    async with paused.app.database.write() as tx:
        body = (await tx.execute(text("SELECT body FROM audit_records WHERE id = :i"), {"i": ids[2]})).scalar_one()
        edited = bytes(body).replace(b"login.failed", b"login.faking")
        await tx.execute(text("UPDATE audit_records SET body = :b WHERE id = :i"), {"b": edited, "i": ids[2]})
    reply = await paused.alice.call("GET", address)
    assert reply.status == 409
    assert "not, as it stands in the database, what was signed" in reply.json()["detail"]


async def test_an_answer_with_one_changed_digest_is_found_out(paused: House) -> None:
    ids = await record(paused, 5)
    answer = await paused.alice.does("GET", f"/v1/audit/records/{ids[2]}/proof")
    step = answer["path"][0]
    changed = answer | {"path": [("0" if step[0] != "0" else "1") + step[1:], *answer["path"][1:]]}
    with pytest.raises(InvalidProof):
        checked(paused, changed)


async def test_a_tree_that_was_changed_in_the_database_is_made_anew_at_the_next_start(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, public_url=ISSUER) as house:
        await pause(house.app)
        alice = house.alice
        ids = await record(house, 3 * store.WIDTH)
        await house.app.witness.write()
        await house.app.trees.keep()
        async with house.app.database.write() as tx:
            assert (await tx.execute(text("SELECT COUNT(*) FROM audit_tree"))).scalar_one() == 3
            await tx.execute(text("UPDATE audit_tree SET digest = :d WHERE place = 1"), {"d": b"x" * 32})
        reply = await house.alice.call("GET", f"/v1/audit/records/{ids[0]}/proof")
        assert reply.status == 409  # no proof that would not hold
    async with open_house(tmp_path / "data", database_url=database_url, public_url=ISSUER) as house:
        house.alice = await Person(house, alice.id, alice.email, alice.credential).sign_in()
        answer = await house.alice.does("GET", f"/v1/audit/records/{ids[0]}/proof")
        assert isinstance(checked(house, answer), Included)


async def test_a_long_trail_from_before_is_taken_in_by_and_by(paused: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed without trees until then, and nothing is held up; a series with trees goes on with them."""
    await record(paused, 50)
    monkeypatch.setattr(grow, "AT_ONCE", 20)
    paused.app.witness.path.unlink(missing_ok=True)
    paused.app.witness._is_known = False
    paused.app.trees._edges.clear()
    for _ in range(10):
        await paused.app.witness.write()
    formats = [json.loads(line)["v"] for line in paused.app.witness.path.read_bytes().splitlines()]
    assert formats[0] == 1
    assert formats[-1] == 2
    assert formats == sorted(formats)
    first_with = formats.index(2) + 1
    assert (await paused.alice.call("GET", "/v1/audit/consistency?from=1")).status == 409
    answer = await paused.alice.does("GET", f"/v1/audit/consistency?from={first_with}")
    assert isinstance(checked(paused, answer), Continued)
    await record(paused, 90)
    await paused.app.witness.write()
    assert json.loads(paused.app.witness.path.read_bytes().splitlines()[-1])["v"] == 2


async def test_no_checkpoint_is_signed_over_a_gap(paused: House) -> None:
    """A record is gone from the middle; its twin, with every record there, is signed."""
    await record(paused, 20)
    await paused.app.witness.write()
    before = numbers(paused)
    async with paused.app.database.write() as tx:
        await tx.execute(text("DELETE FROM audit_records WHERE seq = 9"))
    paused.app.trees._edges.clear()  # as in a server that just started
    with pytest.raises(store.RecordsMissing):
        await paused.app.witness.write()
    assert paused.app.witness.failure == "RecordsMissing"
    assert numbers(paused) == before


async def test_signing_reads_what_is_new_and_a_proof_never_the_whole_trail(paused: House) -> None:
    ids = await record(paused, 4 * store.WIDTH)
    await paused.app.witness.write()
    await paused.app.trees.keep()
    await record(paused, 10)
    read: list[int] = []
    leaves = store.leaves

    async def counted(*given: Any) -> list[bytes]:
        found = await leaves(*given)
        read.append(len(found))
        return found

    store.leaves = counted
    try:
        await paused.app.witness.write()
        assert sum(read) == 0  # what this process recorded is known to it
        await record(paused, 10)
        paused.app.journal.recent.between("w1", 0, 0)
        paused.app.journal.recent.add("other", 1, [b""])
        await paused.app.witness.write()
        assert sum(read) == 10  # and what another one recorded is read once
        read.clear()
        await paused.alice.does("GET", f"/v1/audit/records/{ids[0]}/proof")
        assert sum(read) < 2 * store.WIDTH
    finally:
        store.leaves = leaves


async def test_a_tree_is_read_by_its_key(paused: House) -> None:
    asked: list[str] = []
    event.listen(paused.app.database._reader.sync_engine, "before_cursor_execute", lambda *seen: asked.append(seen[2]))
    if not paused.app.database.is_sqlite:
        pytest.skip("plans are compared on SQLite")
    await record(paused, store.WIDTH)
    await paused.app.witness.write()
    await paused.app.trees.keep()
    asked.clear()
    await paused.app.witness.write()
    async with paused.app.database.read() as db:
        await store.edge(db, "w1", store.WIDTH + 1)
        for statement in {one for one in asked if "audit_tree" in one or "audit_records" in one}:
            filled = statement.replace("?", "1")
            plan = [row.detail for row in await db.exec_driver_sql(f"EXPLAIN QUERY PLAN {filled}")]
            assert not any("SCAN audit_records" in step or "SCAN audit_tree" in step for step in plan), (
                statement,
                plan,
            )


def test_a_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "series"
    assert series.numbered(path, 1) is None
    lines = [b'{"v":1,"n":%d,"x":"%s"}' % (n, b"y" * (n * 7 % 50)) for n in range(1, 120)]
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b'{"v":1,"n":120,"x":"cut')
    for n, line in enumerate(lines, 1):
        assert series.numbered(path, n) == line
    for n in (0, 120, 121, 10**9):
        assert series.numbered(path, n) is None
