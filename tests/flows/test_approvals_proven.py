"""A dangerous call is agreed to by a passkey that signs it, or by signing in anew for it; a click is not enough."""

import asyncio
import hashlib
from typing import Any

import pytest

from tests.support.authenticator import PRESENT, VERIFIED, Authenticator, decoded, encoded
from tests.support.house import House
from tests.support.http import Reply
from tests.support.people import PASSWORD, add_passkey, use_passkey, with_password
from tests.support.tab import Tab

REPOSITORY = "/repos/acme-corp/backend"


async def dangerous(house: House) -> tuple[str, str]:
    """A token, and the approval its call waits for: to delete the repository."""
    agent = await house.agent("pr-reviewer-v2", ceiling=["github:repo:read,admin@*"])
    await house.connect()
    task = await house.task(await house.delegate(agent, ask=["github:admin@acme-corp/backend"], seconds=3600))
    token = await agent.token(task["task_token"])
    return token, await deletes(house, token)


async def deletes(house: House, token: str, path: str = REPOSITORY) -> str:
    reply = await house.gateway(token, "DELETE", path)
    assert reply.code == "approval_required", reply.body
    return str(reply.json()["approval"])


async def challenged(tab: Tab, approval: str) -> tuple[str, Any]:
    await tab.get(f"/approvals/{approval}")
    csrf = tab.csrf
    asked = await tab.post(f"/approvals/{approval}/begin", {"csrf": csrf})
    assert asked.status == 200, tab.text
    return csrf, asked.json()


async def answered(tab: Tab, approval: str, csrf: str, asked: Any, made: Authenticator, **lies: Any) -> Reply:
    form = {"csrf": csrf, "answer": "approve", "step": asked["step"], "credential": made.get(asked["options"], **lies)}
    return await tab.post(f"/approvals/{approval}", form)


async def signs(tab: Tab, approval: str, made: Authenticator, **lies: Any) -> Reply:
    csrf, asked = await challenged(tab, approval)
    return await answered(tab, approval, csrf, asked, made, **lies)


async def proves_by_password(house: House, tab: Tab, approval: str) -> None:
    """Press the button on the page, sign in, come back."""
    await tab.get(f"/approvals/{approval}")
    await tab.submit(f"/approvals/{approval}/prove")
    house.clock.advance(1)
    await tab.submit("/login/password", {"email": "alice@acme.com", "password": PASSWORD})
    assert tab.at == f"/approvals/{approval}"


async def test_a_passkey_signs_the_call(house: House) -> None:
    token, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    csrf, asked = await challenged(tab, approval)
    assert [one["id"] for one in asked["options"]["allowCredentials"]] == [encoded(made.credential)]
    assert asked["options"]["userVerification"] == "required"
    assert (await answered(tab, approval, csrf, asked, made)).status == 303
    [record] = await house.events("approval.answered")
    fingerprint = "sha256:" + hashlib.sha256(made.credential).hexdigest()[:12]
    assert (record["passkey"], record["approval"], record["answer"]) == (fingerprint, approval, "approved")
    assert record["proof"] == f"passkey {fingerprint} signed this call"
    assert record["key"] == (await house.events("approval.asked"))[0]["key"]
    await house.gateway(token, "DELETE", REPOSITORY)
    assert house.github.received("DELETE", REPOSITORY) == 1


async def test_every_challenge_is_another(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    await add_passkey(house, tab)
    challenges = [decoded((await challenged(tab, approval))[1]["options"]["challenge"]) for _ in range(3)]
    assert {len(one) for one in challenges} == {32}
    assert len(set(challenges)) == 3


LIES: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"rp_id": "evil.example"},
    {"challenge": encoded(bytes(32))},
    {"type": "webauthn.create"},
    {"flags": PRESENT},
    {"flags": VERIFIED},
    {"signature": bytes(70)},
    {"user_handle": b"usr_somebodyelse"},
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: next(iter(lie)))
async def test_a_signature_with_one_lie_in_it_approves_nothing(house: House, lie: dict[str, Any]) -> None:
    token, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    refused = await signs(tab, approval, made, **lie)
    assert refused.status == 401
    assert "not known here, or did not prove itself" in tab.text
    assert "Approve once with my passkey" in tab.text
    assert await deletes(house, token) == approval
    assert await house.events("approval.answered") == []
    assert (await signs(tab, approval, made)).status == 303


async def test_a_signature_is_good_for_one_approval(house: House) -> None:
    token, first = await dangerous(house)
    second = await deletes(house, token, f"{REPOSITORY}?again=1")
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    csrf, asked = await challenged(tab, first)
    assert (await answered(tab, second, csrf, asked, made)).status == 401
    assert (await answered(tab, first, csrf, asked, made)).status == 403  # the challenge is spent
    assert await house.events("approval.answered") == []
    assert (await signs(tab, second, made)).status == 303
    assert (await house.gateway(token, "DELETE", REPOSITORY)).code == "approval_required"


async def test_a_signature_for_signing_in_approves_nothing(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    await tab.get(f"/approvals/{approval}")
    csrf = tab.csrf
    asked = (await tab.post("/login/passkey/begin", {"csrf": csrf})).json()
    assert (await answered(tab, approval, csrf, asked, made)).status == 403
    _, for_this = await challenged(tab, approval)
    await tab.get("/login?again=1")
    form = {"step": for_this["step"], "credential": made.get(for_this["options"])}
    assert (await tab.submit("/login/passkey", form, follow=False)).status == 400  # nor the other way round


async def test_only_the_answerers_own_passkey_signs(house: House) -> None:
    _, approval = await dangerous(house)
    await house.person("bob@acme.com")
    bobs = await add_passkey(house, await house.signed_in("bob@acme.com"))
    tab = await house.signed_in()
    await add_passkey(house, tab)
    assert (await signs(tab, approval, bobs)).status == 401
    stranger = await house.signed_in("bob@acme.com")
    await stranger.get("/account")
    assert (await stranger.post(f"/approvals/{approval}/begin", {"csrf": stranger.csrf})).status == 404


async def test_what_one_browser_began_no_other_finishes(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    _, asked = await challenged(tab, approval)
    other = await house.signed_in()
    await other.get(f"/approvals/{approval}")
    assert (await answered(other, approval, other.csrf, asked, made)).status == 403
    assert await house.events("approval.answered") == []


async def test_a_signature_twice_at_once_counts_once(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    csrf, asked = await challenged(tab, approval)
    form = {"csrf": csrf, "answer": "approve", "step": asked["step"], "credential": made.get(asked["options"])}
    tabs = [Tab(tab.base, tab.origin, dict(tab.cookies)) for _ in range(8)]
    replies = await asyncio.gather(*(one.post(f"/approvals/{approval}", form) for one in tabs))
    assert sorted(reply.status for reply in replies)[0] == 303
    assert [reply.status for reply in replies].count(303) == 1
    assert len(await house.events("approval.answered")) == 1


async def test_who_has_a_passkey_is_not_let_in_by_less(house: House) -> None:
    token, approval = await dangerous(house)
    tab = await with_password(house)
    await add_passkey(house, tab)
    await tab.get(f"/approvals/{approval}")
    assert "Prove it is me" not in tab.text
    await tab.post(f"/approvals/{approval}/prove", {"csrf": tab.csrf})
    await tab.get("/login?again=1")
    await tab.submit("/login/password", {"email": "alice@acme.com", "password": PASSWORD})
    await tab.get(f"/approvals/{approval}")
    assert (await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": tab.csrf})).status == 403
    assert "approved with your passkey" in tab.text
    assert await deletes(house, token) == approval


async def test_a_sign_in_by_passkey_is_not_a_signature(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    await use_passkey(tab, made, "/login?again=1")
    await tab.get(f"/approvals/{approval}")
    assert (await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": tab.csrf})).status == 403


async def test_who_has_none_signs_in_anew_for_this_one(house: House) -> None:
    token, approval = await dangerous(house)
    tab = await with_password(house)
    await proves_by_password(house, tab, approval)
    await tab.submit(f"/approvals/{approval}", button="Approve once")
    assert "Approved" in tab.text
    [record] = await house.events("approval.answered")
    assert record["proof"] == "signed in anew for this approval: pwd"
    assert "passkey" not in record
    await house.gateway(token, "DELETE", REPOSITORY)
    assert house.github.received("DELETE", REPOSITORY) == 1


async def test_a_sign_in_from_before_does_not_count(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await with_password(house)
    await tab.get("/login?again=1")
    await tab.submit("/login/password", {"email": "alice@acme.com", "password": PASSWORD})  # this very second
    await tab.get(f"/approvals/{approval}")
    assert "Approve once" not in tab.text
    assert (await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": tab.csrf})).status == 403
    await tab.get(f"/approvals/{approval}")
    await tab.submit(f"/approvals/{approval}/prove", follow=False)  # set out, and came back without
    await tab.get(f"/approvals/{approval}")
    assert (await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": tab.csrf})).status == 403
    assert await house.events("approval.answered") == []


async def test_one_sign_in_proves_one_approval(house: House) -> None:
    token, first = await dangerous(house)
    second = await deletes(house, token, f"{REPOSITORY}?again=1")
    tab = await with_password(house)
    await proves_by_password(house, tab, first)
    await tab.get(f"/approvals/{second}")
    assert "Approve once" not in tab.text
    assert (await tab.post(f"/approvals/{second}", {"answer": "approve", "csrf": tab.csrf})).status == 403
    await tab.submit(f"/approvals/{second}/prove", follow=False)
    await tab.get(f"/approvals/{first}")  # who set out for another is no longer proven for this one
    assert "Approve once" not in tab.text
    await proves_by_password(house, tab, second)
    assert (await tab.submit(f"/approvals/{second}", button="Approve once")).status == 200
    [record] = await house.events("approval.answered")
    assert record["approval"] == second


async def test_the_new_sign_in_is_good_for_two_minutes_in_its_own_browser(house: House) -> None:
    _, approval = await dangerous(house)
    tab, other = await with_password(house), await house.signed_in()
    await proves_by_password(house, tab, approval)
    await other.get(f"/approvals/{approval}")
    assert (await other.post(f"/approvals/{approval}", {"answer": "approve", "csrf": other.csrf})).status == 403
    house.clock.advance(121)
    await tab.get(f"/approvals/{approval}")
    assert "Approve once" not in tab.text
    await proves_by_password(house, tab, approval)
    house.clock.advance(120)
    await tab.get(f"/approvals/{approval}")
    assert "Approve once" in tab.text


async def test_what_is_over_asks_for_no_proof(house: House) -> None:
    _, approval = await dangerous(house)
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    csrf, asked = await challenged(tab, approval)
    assert (await tab.post(f"/approvals/{approval}", {"answer": "deny", "csrf": csrf})).status == 303
    assert (await answered(tab, approval, csrf, asked, made)).status == 409
    assert (await tab.post(f"/approvals/{approval}/begin", {"csrf": csrf})).status == 409
    assert (await tab.post(f"/approvals/{approval}/prove", {"csrf": csrf})).status == 409
    await tab.get(f"/approvals/{approval}")
    assert "passkey" not in tab.text
