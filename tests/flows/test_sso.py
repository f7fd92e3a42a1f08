"""Signing in by the company's identity provider: ours as the relying party of OpenID Connect."""

import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from sqlalchemy import text

from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.identity_provider import IdentityProvider
from tests.support.people import is_in, with_password
from tests.support.ports import free_port
from tests.support.tab import Tab
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener

CAROL = {"sub": "carol-1", "email": "carol@acme.com", "email_verified": True}
ALICE = {"sub": "alice-1", "email": "alice@acme.com", "email_verified": True}


@contextlib.asynccontextmanager
async def with_provider(
    folder: Path, database_url: str | None, **registered: Any
) -> AsyncIterator[tuple[House, IdentityProvider, Any]]:
    """A house whose organization has an identity provider, and that provider."""
    clock, port = DrivenClock(), free_port()
    provider = IdentityProvider(clock.now, base_url=f"http://127.0.0.1:{port}", person=dict(CAROL))
    async with Listener(provider, host="127.0.0.1", port=port):
        places = (f"127.0.0.1:{port}",)
        async with open_house(folder, database_url=database_url, clock=clock, local=places) as house:
            asked = {"enrolls": True, "domains": ["acme.com"]} | registered
            made = await house.alice.does(
                "POST",
                "/v1/identity-providers",
                name="Acme SSO",
                issuer=provider.base_url,
                client_id="valetkey",
                client_secret="the client's secret",
                **asked,
            )
            yield house, provider, made


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, IdentityProvider, Any]]:
    async with with_provider(tmp_path / "data", database_url) as opened:
        yield opened


async def to_provider(tab: Tab, made: Any, target: str = "/login", action: str = "/login/sso") -> str:
    """Press the provider's button; return where the browser is sent."""
    await tab.get(target)
    reply = await tab.submit(action, {"provider": made["id"]}, follow=False)
    assert reply.status == 303, tab.text
    return reply.header("location") or ""


async def sso(tab: Tab, provider: IdentityProvider, made: Any, target: str = "/login") -> Reply:
    """There and back."""
    return await tab.get(provider.authorize(await to_provider(tab, made, target)), follow=False)


async def test_somebody_new_is_enrolled_and_the_next_time_known(story: Any) -> None:
    house, provider, made = story
    tab = house.tab()
    reply = await sso(tab, provider, made, "/login?next=%2Fagents")
    assert is_in(reply)
    assert reply.header("location") == "/agents"
    await tab.get("/")
    assert "Hello, carol@acme.com" in tab.text
    provider.person["email"] = "carol.married@acme.com"
    assert is_in(await sso(house.tab(), provider, made))
    created = [e for e in await house.events("user.created") if e["by"] == made["id"]]
    assert len(created) == 1
    assert created[0]["role"] == "member"


async def test_what_we_ask_and_how_we_redeem(story: Any) -> None:
    house, provider, made = story
    address = await to_provider(house.tab(), made)
    tab = house.tab()
    address = await to_provider(tab, made)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == made["redirect_uri"] == f"{house.settings.issuer}/login/sso/{made['id']}/callback"
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert is_in(await tab.get(provider.authorize(address), follow=False))
    ((form, authorization),) = provider.redeemed
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert form["redirect_uri"] == asked["redirect_uri"]
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"valetkey:the+client%27s+secret"
    assert "client_secret" not in form


async def test_oa_12_what_one_browser_began_no_other_finishes(story: Any) -> None:
    house, provider, made = story
    mine, victim = house.tab(), house.tab()
    answer = provider.authorize(await to_provider(mine, made))
    await victim.get("/login")
    assert (await victim.get(answer, follow=False)).status == 403
    assert not provider.redeemed
    bare = house.tab()
    assert (await bare.get(provider.authorize(await to_provider(mine, made)), follow=False)).status == 403
    assert not provider.redeemed
    assert is_in(await mine.get(provider.authorize(await to_provider(mine, made)), follow=False))


async def test_an_answer_is_good_once_and_for_five_minutes(story: Any) -> None:
    house, provider, made = story
    tab = house.tab()
    answer = provider.authorize(await to_provider(tab, made))
    guest = dict(tab.cookies)
    assert is_in(await tab.get(answer, follow=False))
    replayed = house.tab()
    replayed.cookies = guest
    assert (await replayed.get(answer, follow=False)).status == 403
    late = house.tab()
    answer = provider.authorize(await to_provider(late, made))
    house.clock.advance(300)
    assert (await late.get(answer, follow=False)).status == 403
    assert len(provider.redeemed) == 1


async def test_oa_11_an_answer_of_another_issuer_is_not_redeemed(story: Any) -> None:
    house, provider, made = story
    promised = {"authorization_response_iss_parameter_supported": True}
    for lies in (
        {"iss": "https://other.example"},
        {"iss": ""},
        {"iss": f"{provider.base_url}/"},
        {"metadata": promised, "iss": None},
        {"metadata": promised, "iss": "https://other.example"},
    ):
        provider.lies = lies
        assert (await sso(house.tab(), provider, made)).status == 403, lies
    assert not provider.redeemed
    provider.lies = {"metadata": promised}
    assert is_in(await sso(house.tab(), provider, made))


async def test_oa_11_one_providers_answer_is_not_taken_at_anothers_address(story: Any) -> None:
    house, provider, made = story
    port = free_port()
    other = IdentityProvider(house.clock.now, base_url=f"http://127.0.0.1:{port}")
    tab = house.tab()
    answer = provider.authorize(await to_provider(tab, made))
    crossed = answer.replace(made["id"], made["id"][:-8] + "00000000")
    assert (await tab.get(crossed, follow=False)).status == 403
    assert not provider.redeemed
    assert not other.redeemed


BAD: dict[str, dict[str, Any]] = {
    "iss": {"claims": {"iss": "https://other.example"}},
    "iss-slash": {"claims": {"iss": "SLASH"}},
    "aud": {"claims": {"aud": "another-client"}},
    "aud-case": {"claims": {"aud": "Valetkey"}},
    "aud-missing": {"claims": {"aud": None}},
    "aud-array-without-us": {"claims": {"aud": ["a", "b"]}},
    "aud-array-without-azp": {"claims": {"aud": ["valetkey", "b"]}},
    "azp": {"claims": {"azp": "another-client"}},
    "azp-array": {"claims": {"aud": ["valetkey", "b"], "azp": "b"}},
    "exp": {"claims": {"exp": 1_799_999_900}},
    "exp-text": {"claims": {"exp": "1900000000"}},
    "exp-true": {"claims": {"exp": True}},
    "iat-old": {"claims": {"iat": 1_799_990_000}},
    "iat-future": {"claims": {"iat": 1_800_000_100}},
    "iat-missing": {"claims": {"iat": None}},
    "nbf": {"claims": {"nbf": 1_800_000_100}},
    "nonce": {"claims": {"nonce": "another"}},
    "nonce-missing": {"claims": {"nonce": None}},
    "sub-missing": {"claims": {"sub": None}},
    "sub-empty": {"claims": {"sub": ""}},
    "sub-number": {"claims": {"sub": 7}},
    "sub-long": {"claims": {"sub": "x" * 256}},
    "key": {"key": generate_private_key(SECP256R1())},
    "alg-none": {"header": {"alg": "none"}},
    "alg-hs256": {"header": {"alg": "HS256"}},
    "typ": {"header": {"typ": "at+jwt"}},
    "kid": {"header": {"kid": "k2"}},
    "crit": {"header": {"crit": ["exp"]}},
    "jwk": {"header": {"jwk": {"kty": "EC"}}},
    "not-a-token": {"token": "x.y.z"},
    "no-token": {"body": {"access_token": "x"}},
    "token-error": {"status": 400},
    "token-redirect": {"status": 302},
    "token-huge": {"body": b'{"id_token": "' + b"x" * 300_000 + b'"}'},
    "token-twice": {"body": b'{"id_token": "a", "id_token": "b"}'},
    "token-no-json": {"body": b"<html>"},
    "private-key-published": {"jwks": {"d": "AAAA"}},
    "issuer-changed": {"metadata": {"issuer": "https://other.example"}},
    "token-endpoint-inside": {"metadata": {"token_endpoint": "http://169.254.169.254/token"}},
    "keys-inside": {"metadata": {"jwks_uri": "http://10.0.0.1/keys"}},
}


async def test_a_provider_that_misbehaves_signs_nobody_in(tmp_path: Path) -> None:
    async with with_provider(tmp_path / "data", None) as (house, provider, made):
        for name, lies in BAD.items():
            provider.lies = {}
            tab = house.tab()
            address = await to_provider(tab, made)
            provider.lies = lies
            if lies.get("claims", {}).get("iss") == "SLASH":
                provider.lies = {"claims": {"iss": f"{provider.base_url}/"}}
            reply = await tab.get(provider.authorize(address), follow=False)
            assert reply.status in (400, 401, 502), (name, reply.status)
            assert not is_in(reply), name
        provider.lies = {}
        assert not [e for e in await house.events("user.created") if e["by"] == made["id"]]
        assert is_in(await sso(house.tab(), provider, made))


async def test_a_provider_that_fails_is_called_by_its_name(story: Any) -> None:
    house, provider, made = story
    tab, body = house.tab(), {"name": "x", "client_id": "y"}
    provider.lies = {"status": 500}
    assert (await sso(tab, provider, made)).status == 502
    assert "The identity provider did not answer properly: it answered 500." in tab.text
    reply = await house.alice.call("POST", "/v1/identity-providers", issuer="https://127.0.0.1:1", **body)
    assert reply.status == 400
    assert reply.json()["detail"].startswith("The identity provider did not answer properly: it cannot be reached")
    assert b"gateway" not in reply.body


async def test_an_audience_among_several_is_taken_with_us_as_the_authorized_party(story: Any) -> None:
    house, provider, made = story
    provider.lies = {"claims": {"aud": ["other", "valetkey"], "azp": "valetkey"}}
    assert is_in(await sso(house.tab(), provider, made))
    provider.lies = {"claims": {"aud": ["valetkey"]}}
    assert is_in(await sso(house.tab(), provider, made))


async def test_a_key_that_does_not_name_its_algorithm_has_the_usual_one(story: Any) -> None:
    house, provider, made = story
    provider.lies = {"jwks": {"alg": None}}
    assert is_in(await sso(house.tab(), provider, made))
    provider.lies = {"jwks": {"alg": "ES384"}}
    assert not is_in(await sso(house.tab(), provider, made))


async def test_one_key_need_not_be_named(story: Any) -> None:
    house, provider, made = story
    provider.lies = {"header": {"kid": None}}
    assert is_in(await sso(house.tab(), provider, made))
    provider.lies = {"header": {"kid": None}, "key": generate_private_key(SECP256R1())}
    assert not is_in(await sso(house.tab(), provider, made))


async def test_an_address_alone_opens_nobodys_account(story: Any) -> None:
    house, provider, made = story
    provider.person = dict(ALICE)
    tab = house.tab()
    reply = await sso(tab, provider, made)
    assert reply.status == 409
    assert not is_in(reply)
    assert "Sign in as you did until now, then link the provider on your account page." in tab.text
    alice = await house.signed_in()
    address = await to_provider(alice, made, "/account", "/account/sso")
    reply = await alice.get(provider.authorize(address), follow=False)
    assert (reply.status, reply.header("location")) == (303, "/account")
    tab = house.tab()
    assert is_in(await sso(tab, provider, made))
    await tab.get("/")
    assert "Hello, alice@acme.com" in tab.text
    (added,) = [e for e in await house.events("login-way.added") if e["way"] == "sso"]
    assert added["user"] == house.alice.id


async def test_what_is_linked_to_one_person_cannot_be_linked_to_another(story: Any) -> None:
    house, provider, made = story
    bob = await house.person("bob@acme.com")
    assert is_in(await sso(house.tab(), provider, made))
    tab = await house.signed_in(bob.email)
    address = await to_provider(tab, made, "/account", "/account/sso")
    assert (await tab.get(provider.authorize(address), follow=False)).status == 409


async def test_a_link_is_not_made_for_who_is_signed_in_by_then(story: Any) -> None:
    house, provider, made = story
    provider.person = dict(ALICE)
    bob = await house.person("bob@acme.com")
    alice = await house.signed_in()
    answer = provider.authorize(await to_provider(alice, made, "/account", "/account/sso"))
    bobs = await house.signed_in(bob.email)
    assert (await bobs.get(answer, follow=False)).status == 403
    assert not provider.redeemed


async def test_suspended_people_and_removed_providers_sign_nobody_in(story: Any) -> None:
    house, provider, made = story
    tab = house.tab()
    assert is_in(await sso(tab, provider, made))
    (carol,) = [u for u in (await house.alice.does("GET", "/v1/users"))["data"] if u["email"] == CAROL["email"]]
    await house.alice.does("POST", f"/v1/users/{carol['id']}/suspend")
    assert (await tab.get("/", follow=False)).status == 303
    assert (await sso(house.tab(), provider, made)).status == 403
    await house.alice.does("POST", f"/v1/users/{carol['id']}/resume")
    under_way = house.tab()
    answer = provider.authorize(await to_provider(under_way, made))
    assert (await house.alice.call("DELETE", f"/v1/identity-providers/{made['id']}")).status == 200
    assert (await under_way.get(answer, follow=False)).status == 403
    fresh = house.tab()
    await fresh.get("/login")
    assert "Acme SSO" not in fresh.text
    assert len(provider.redeemed) == 2


async def test_groups_set_the_role_at_each_sign_in_and_never_remove_the_last_administrator(
    tmp_path: Path, database_url: str | None
) -> None:
    mapped = {"group_claim": "groups", "roles": {"admins": "administrator"}}
    async with with_provider(tmp_path / "data", database_url, **mapped) as (house, provider, made):
        provider.person = CAROL | {"groups": ["staff", "admins"]}
        assert is_in(await sso(house.tab(), provider, made))
        (carol,) = [u for u in (await house.alice.does("GET", "/v1/users"))["data"] if u["email"] == CAROL["email"]]
        assert carol["role"] == "administrator"
        for groups in (["staff"], "staff", None, [1, None], {"admins": True}):
            provider.person["groups"] = groups
            assert is_in(await sso(house.tab(), provider, made))
            (carol,) = [u for u in (await house.alice.does("GET", "/v1/users"))["data"] if u["email"] == CAROL["email"]]
            assert carol["role"] == "member", groups
        (changed,) = await house.events("user.role-changed")
        assert (changed["user"], changed["role"], changed["was"]) == (carol["id"], "member", "administrator")
        provider.person = dict(ALICE)
        alice = await house.signed_in()
        address = await to_provider(alice, made, "/account", "/account/sso")
        await alice.get(provider.authorize(address), follow=False)
        assert is_in(await sso(house.tab(), provider, made))
        users = (await house.alice.does("GET", "/v1/users"))["data"]
        assert [u["role"] for u in users if u["email"] == "alice@acme.com"] == ["administrator"]


async def test_how_the_person_was_proven_there_is_carried_into_the_session(story: Any) -> None:
    house, provider, made = story
    provider.person |= {"amr": ["pwd", "mfa", 7, "NO!"], "auth_time": int(house.clock.now()) - 4000}
    tab = house.tab()
    assert is_in(await sso(tab, provider, made))
    last = (await house.events("login.succeeded"))[-1]
    assert (last["amr"], last["acr"]) == (["pwd", "mfa"], "urn:valetkey:acr:two")
    await tab.get("/account")
    assert "prove that it is you" in tab.text  # it was proven more than ten minutes ago, wherever that was


@pytest.mark.parametrize(("when", "ok"), [(0, True), (-4000, False), (None, False)])
async def test_proving_oneself_again_is_believed_only_with_the_time_of_it(
    story: Any, when: int | None, ok: bool
) -> None:
    house, provider, made = story
    tab = house.tab()
    assert is_in(await sso(tab, provider, made))
    house.clock.advance(601)
    address = await to_provider(tab, made, "/login?again=1&next=%2Faccount")
    asked = parse_qs(urlsplit(address).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    provider.person["auth_time"] = None if when is None else int(house.clock.now()) + when
    reply = await tab.get(provider.authorize(address), follow=False)
    assert is_in(reply) == ok
    await tab.get("/account")
    assert ("prove that it is you" in tab.text) != ok


async def test_registering_asks_the_provider_who_it_is(story: Any) -> None:
    house, provider, _ = story
    body = {"name": "x", "client_id": "y"}
    bob = await house.person("bob@acme.com")
    for issuer, status in [
        (provider.base_url, 409),
        (f"{provider.base_url}/", 400),
        ("http://169.254.169.254", 400),
        ("http://example.com", 400),
        ("ftp://example.com", 400),
        ("https://user@example.com", 400),
        ("", 400),
    ]:
        reply = await house.alice.call("POST", "/v1/identity-providers", issuer=issuer, **body)
        assert reply.status == status, (issuer, reply.body)
    assert (await bob.call("POST", "/v1/identity-providers", issuer=provider.base_url, **body)).status == 403
    assert (await bob.call("GET", "/v1/identity-providers")).status == 403
    (shown,) = (await house.alice.does("GET", "/v1/identity-providers"))["data"]
    assert "secret" not in str(shown)
    async with house.app.database.read() as db:
        (sealed,) = (await db.execute(text("SELECT sealed FROM identity_providers"))).scalars().all()
    assert b"the client's secret" not in bytes(sealed)


async def test_enrolling_without_naming_domains_is_refused(story: Any) -> None:
    house, provider, made = story
    await house.alice.call("DELETE", f"/v1/identity-providers/{made['id']}")
    body = {"name": "x", "client_id": "y", "issuer": provider.base_url, "enrolls": True}
    for domains in ([], ["*"], ["acme"], [""]):
        assert (await house.alice.call("POST", "/v1/identity-providers", domains=domains, **body)).status == 400, (
            domains
        )


async def test_administrators_register_and_remove_on_a_page_after_a_recent_proof(story: Any) -> None:
    house, provider, made = story
    tab = await with_password(house)
    await tab.get("/admin/sign-in")
    assert made["redirect_uri"] in tab.text
    await tab.submit("/admin/sign-in/remove", {})
    form = {"name": "Acme", "issuer": provider.base_url, "client_id": "valetkey", "client_secret": "s", "domains": ""}
    await tab.submit("/admin/sign-in", form)
    assert provider.base_url in tab.text
    house.clock.advance(601)
    await tab.get("/admin/sign-in")
    reply = await tab.submit("/admin/sign-in/remove", {}, follow=False)
    assert reply.header("location") == "/login?next=%2Fadmin%2Fsign-in&again=1"
    bob = await house.person("bob@acme.com")
    assert (await (await house.signed_in(bob.email)).get("/admin/sign-in")).status == 403
