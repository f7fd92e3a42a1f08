"""Over TLS: whoever does not prove to be the connected database hears neither a password nor a question."""

from pathlib import Path

import pytest

from tests.support.certificates import Authority, self_signed
from tests.support.encrypted import Encrypted
from tests.support.house import open_house
from tests.support.postgres import Postgres
from tests.support.question import ask, rows
from tests.support.shop import shop, stocked
from valetkey.server.clock import DrivenClock

STATEMENT = "SELECT id FROM sales.orders"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this machine trusts."""
    made, kept = Authority(), tmp_path / "root.pem"
    kept.write_bytes(made.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(kept))
    return made


async def test_a_question_and_a_login_go_to_the_one_that_proves_its_name(
    tmp_path: Path, postgres: Postgres, authority: Authority
) -> None:
    right = authority.serves(tmp_path, "127.0.0.1")
    async with shop(postgres) as there, Encrypted(there.place, right) as front:
        there.url_place, there.mode = front.place, ""
        async with stocked(tmp_path / "data", postgres, there=there) as at:
            assert len(await rows(at, STATEMENT)) == 8
            lent = await at.lent()
            assert (lent["sslmode"], lent["port"]) == ("verify-full", int(front.place.partition(":")[2]))
            await at.house.app.questions.settle()
            await at.house.app.services.rotate_database._admins.close()
            for wrong in (authority.serves(tmp_path, "other.test"), self_signed(tmp_path, "127.0.0.1")):
                front.tls, front.heard, came = wrong, 0, front.came
                assert (await ask(at, STATEMENT)).status == 502
                assert (await at.lease()).status == 502
                assert front.came > came
                assert front.heard == 0
            front.tls = right
            assert len(await rows(at, STATEMENT)) == 8
            assert (await at.revoke(lent["lease"]))["outcome"] == "done"


async def test_a_database_is_not_connected_where_its_name_is_not_proved(
    tmp_path: Path, postgres: Postgres, authority: Authority
) -> None:
    async with shop(postgres) as there, Encrypted(there.place, authority.serves(tmp_path, "other.test")) as front:
        there.url_place, there.mode = front.place, ""
        async with open_house(tmp_path / "data", clock=DrivenClock(), local=(front.place,)) as house:
            body = {"integration": "postgres", "credential": there.url, "name": "analytics"}
            reply = await house.alice.call("POST", "/v1/connections", **body)
            assert (reply.status, front.heard) == (400, 0)
            front.tls = authority.serves(tmp_path, "127.0.0.1")
            assert (await house.alice.call("POST", "/v1/connections", **body)).status == 409  # what everybody may do
