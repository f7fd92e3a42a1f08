"""Notices go to public addresses and to their own person's; what they say cannot be made to say something else."""

import json

import pytest

from tests.flows.test_approvals import asking, held, post
from tests.flows.test_approvals_notices import arrived, receiver, told_house, wants
from tests.flows.test_rules_that_ask import ASKS, READS
from tests.support.house import House
from tests.support.upstream import Upstream
from valetkey.server.approvals.notices.model import Kind, Message, Notice, Waiting, address_of, said
from valetkey.server.egress.pool import Pool
from valetkey.server.egress.url import Url
from valetkey.server.errors import InvalidRequest

__all__ = ["receiver", "told_house"]  # fixtures

BY_EITHER = 'answered_by = ["bob@acme.com", "carol@acme.com"]\n'
PRIVATE = (
    "https://127.0.0.1/told",
    "https://10.0.0.1/told",
    "https://[::1]/told",
    "https://169.254.169.254/latest",
    "http://hooks.example/told",
    "https://localhost/told",
    "https://user@hooks.example/told",
    "ftp://hooks.example/told",
    "javascript:alert(1)",
    "",
)


@pytest.mark.parametrize("kind", list(Kind))
async def test_ss_07_a_private_address_is_refused_when_it_is_saved(house: House, kind: Kind) -> None:
    tab = await house.signed_in()
    for address in PRIVATE:
        await tab.get("/account")
        refused = await tab.submit("/account/notices", {"kind": kind.value, "address": address})
        assert refused.status == 400, address
    assert await house.events("notice-address.added") == []


async def test_ss_07_a_place_that_turned_private_is_not_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"hooks.example": ["140.82.121.6"]}
    dialled: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        return answers.get(host, ["127.0.0.1"])

    usual = house.app.egress._dial

    def dial(url: Url, addresses: tuple[str, ...], good_until: float) -> Pool:
        if url.host == "hooks.example":
            dialled.extend(addresses)
        return usual(url, addresses, good_until)

    monkeypatch.setattr(house.app.egress, "_lookup", lookup)
    tab = await house.signed_in()
    await tab.get("/account")
    await tab.submit("/account/notices", {"kind": "slack", "address": "https://hooks.example/told"})
    assert "Send a test" in tab.text
    answers["hooks.example"] = ["127.0.0.1"]
    monkeypatch.setattr(house.app.egress, "_dial", dial)
    _, _, _, token = await asking(house)
    await held(house, token)
    await house.app.notices.settle()
    await tab.get("/account")
    assert "failed once since: it does not answer, or may not be asked" in tab.text
    assert dialled == []


async def test_a_database_of_ours_is_no_address(house: House) -> None:
    house.app.egress._private |= {"10.0.0.5:5432"}  # as `private_databases` would
    house.app.send._never |= {"10.0.0.5:5432"}
    tab = await house.signed_in()
    await tab.get("/account")
    form = {"kind": "webhook", "address": "https://10.0.0.5:5432/x"}
    assert (await tab.submit("/account/notices", form)).status == 400
    house.app.send._never = frozenset()
    await tab.get("/account")
    assert (await tab.submit("/account/notices", form)).status == 200  # it is that list that refuses it


async def test_nobody_sees_tries_or_removes_anothers_address(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["140.82.121.6"]

    monkeypatch.setattr(house.app.egress, "_lookup", lookup)
    tab = await house.signed_in()
    await tab.get("/account")
    await tab.submit("/account/notices", {"kind": "slack", "address": "https://hooks.example/told"})
    [notice] = {v for f in tab.forms() if f.action == "/account/notices/try" for n, v in f.fields if n == "notice"}
    await house.person("bob@acme.com")
    bob = await house.signed_in("bob@acme.com")
    await bob.get("/account")
    assert "hooks.example" not in bob.text
    csrf = bob.csrf
    for action in ("/account/notices/try", "/account/notices/remove"):
        assert (await bob.post(action, {"csrf": csrf, "notice": notice})).status == 404
    await tab.get("/account")
    assert "hooks.example" in tab.text


async def test_who_was_suspended_meanwhile_is_not_told(told_house: House, receiver: Upstream) -> None:
    house = told_house
    bob = await house.person("bob@acme.com")
    await house.person("carol@acme.com")
    for person, path in (("bob@acme.com", "/bob"), ("carol@acme.com", "/carol")):
        receiver.answers("POST", path, status=204)
        await wants(house, "webhook", receiver.url + path, person)
    *_, token = await house.ready("github:repo:write@acme-corp/backend")
    await house.alice.does("POST", "/v1/policies", text=READS + ASKS + BY_EITHER, after=0)
    assert (await post(house, token, "first")).code == "approval_required"
    await arrived(house, receiver)
    assert (receiver.received("POST", "/bob"), receiver.received("POST", "/carol")) == (1, 1)
    assert (await post(house, token, "second")).code == "approval_required"
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    house.clock.advance(20)
    await arrived(house, receiver)
    assert (receiver.received("POST", "/bob"), receiver.received("POST", "/carol")) == (1, 2)


async def test_what_was_revoked_meanwhile_is_told_to_nobody(told_house: House, receiver: Upstream) -> None:
    house = told_house
    await wants(house, "webhook", f"{receiver.url}/told")
    _, _, task, token = await asking(house)
    await held(house, token, "first")
    await arrived(house, receiver)
    await held(house, token, "second")
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    house.clock.advance(20)
    await arrived(house, receiver)
    assert receiver.received("POST", "/told") == 1


def test_a_name_cannot_write_a_link_into_slack() -> None:
    words = Notice(waiting=[Waiting(agent="<https://evil.example|Look at it>", user="a&b@acme.com")], link="x").words
    _, body = said(
        Kind.SLACK,
        address_of(Kind.SLACK, "https://hooks.example/x"),
        Message(words=words, link="https://valetkey.example/a", count=1, seconds=60),
    )
    text = json.loads(body)["text"]
    assert "<https://evil.example" not in text
    assert text.endswith("<https://valetkey.example/a|Look at it>")


@pytest.mark.parametrize("address", ["https://ntfy.sh/", "https://ntfy.sh/a/b", "https://ntfy.sh/a%2Fb"])
def test_what_is_no_topic_is_no_address_of_ntfy(address: str) -> None:
    with pytest.raises(InvalidRequest, match="topic"):
        address_of(Kind.NTFY, address)
