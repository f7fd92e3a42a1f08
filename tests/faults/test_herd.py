"""Hundreds of credentials that end in the same second, and processes that all want all of them.

A thousand over eight processes are a row of the bench.
"""

import asyncio
from collections import Counter
from pathlib import Path

from tests.support.hostile_provider import install
from tests.support.postgres import Postgres
from tests.support.storm import CONNECTIONS, PROCESSES, states, storm, workers
from tests.support.struck import accounts, recorded, strike


async def test_rt_01_all_that_end_together_are_renewed_once_each_over_all_processes(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with (
        storm(tmp_path, postgres, install) as (house, provider),
        workers(house, provider, tmp_path, PROCESSES) as started,
    ):
        said = await asyncio.gather(*(worker.told("renew") for worker in started))
        for _ in range(5):  # who was told to come again comes again
            assert all(set(one) <= {"renewed", "unavailable"} for one in said), said
            said = await asyncio.gather(*(worker.told("renew") for worker in started))
        assert said == [{"renewed": CONNECTIONS}] * PROCESSES
        assert (sum(provider.calls.values()), max(provider.calls.values())) == (CONNECTIONS, 1)
        assert sum(provider.refused.values()) == 0
        assert await states(house) == {"healthy 2": CONNECTIONS}


async def test_rt_01_holders_that_are_killed_lose_exactly_the_answers_they_were_given(
    tmp_path: Path, postgres: Postgres
) -> None:
    """Every account ends in one of two ways, and the API's books say in which.

    Renewed: the API gave one answer, refused nothing, and what is kept is what works there. Lost: the API gave its one
    answer to a process that was killed before keeping it, refused who came after with the refresh token that was spent,
    and the account says that it needs a person. There is no third way, and none is renewed twice.
    """
    async with storm(tmp_path, postgres, install) as (house, provider):
        aftermath = await strike(house, provider, tmp_path, processes=PROCESSES)
        found = await accounts(house, provider, aftermath)
        assert len(found) == CONNECTIONS
        assert [account for account in found if account.answered != 1] == []
        lost = {account.name for account in found if account.refused}
        for account in found:
            seen = (account.state, account.generation, account.problem, account.works, account.asked, account.refused)
            if account.name in lost:
                assert seen == ("needs_reconnect", 1, "lost", False, 2, 1)
                assert (account.held_by_killed, account.held_by_survivors) == (1, 1)
            else:
                assert seen == ("healthy", 2, None, True, 1, 0)
                assert account.held_by_survivors or account.held_by_killed
        # Who died before asking lost nothing, and who died with the answers in hand lost all of them.
        assert lost.isdisjoint(aftermath.before_asking.standing)
        assert lost >= set(aftermath.after_the_answer.standing)
        assert lost <= {*aftermath.after_the_answer.standing, *aftermath.at_the_api.held}
        # What everybody who lives was told, and what the audit trail knows.
        told = {"renewed": CONNECTIONS - len(lost), "connection_required": len(lost)}
        assert aftermath.outcomes == [told] * len(aftermath.survivors)
        trail = Counter(await recorded(house))
        unanswered = trail.pop(("refresh-failed", "unanswered"))
        assert trail == {("refreshed", ""): CONNECTIONS - len(lost), ("needs-reconnect", "lost"): len(lost)}
        assert unanswered >= len(lost) + len(aftermath.before_asking.standing)  # whoever took over said so
