"""A client that believes /openapi.json and tries all it says, and what it says is wrong: nothing breaks, nothing lies.

Bounded: every operation by its corners and a few examples; ids found in answers are used again, so that it reaches what
it made. NUL, odd Unicode, huge numbers and values of the wrong type are among what it sends.
"""

from pathlib import Path

from tests.support.house import House
from tests.support.schemathesis_run import schemathesis


async def test_an_administrator_finds_every_answer_as_described(house: House, tmp_path: Path) -> None:
    await house.ready()
    run = await schemathesis(house.base, tmp_path, "--max-examples=3", bearer=house.alice.bearer)
    assert run.code == 0, run.said
    assert run.report["operations"]["tested"] == run.report["operations"]["total"] > 40
    made = {event["event"] for event in await house.events()}
    assert {"agent.rotated", "evidence.issued", "user.created"} <= made  # it got through the door


async def test_an_agent_finds_every_answer_as_described(house: House, tmp_path: Path) -> None:
    agent, *_ = await house.ready()
    await agent.sign_in()
    before = await house.events()
    run = await schemathesis(house.base, tmp_path, "--max-examples=3", bearer=agent.bearer, phases="fuzzing")
    assert run.code == 0, run.said
    made = {event["event"] for event in await house.events() if event not in before}
    assert not {"agent.rotated", "evidence.issued", "user.created"} & made


async def test_without_a_token_nothing_answers_and_nothing_breaks(house: House, tmp_path: Path) -> None:
    before = await house.events()
    run = await schemathesis(house.base, tmp_path, "--max-examples=3", phases="fuzzing")
    assert run.code == 0, run.said
    assert [r for r in await house.events() if r not in before and r["event"] != "login.failed"] == []


async def test_a_document_that_is_not_true_is_found_out(house: House, tmp_path: Path) -> None:
    """The same run over one address whose description promises more than it gives."""
    house.app.mount.document["components"]["schemas"]["WhoAmI"]["required"].append("shoe_size")
    only = ("--max-examples=1", "--include-path=/v1/whoami")
    run = await schemathesis(house.base, tmp_path, *only, bearer=house.alice.bearer, phases="fuzzing")
    assert run.code == 1
    assert "shoe_size" in run.said
