"""Clients named by the address of their description: CI-1 to CI-9, SS-01 to SS-05, and hosts that mean harm."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House
from tests.support.outside import PATH, Publisher, is_known, open_outside
from tests.support.seen import Seen
from tests.support.tokens import OwnKey
from tests.support.upstream import Upstream, Wire, reply
from valetkey.server.clock import DrivenClock
from valetkey.server.egress import Documents, Egress
from valetkey.server.egress.document import FAILED_SECONDS, IN_ALL, PER_PLACE
from valetkey.server.errors import InvalidRequest, TooMany, UpstreamFailed
from valetkey.server.oauth.clients.document import LONGEST_FRESH, MOST_BYTES, Descriptions, address_of


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as opened:
        yield opened


async def test_a_client_is_known_by_the_address_of_its_description(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes()
    assert is_known(await publisher.names_itself(house))
    client = await house.app.services.clients.known(publisher.client_id)
    assert (client.name, client.host, client.principal) == ("Reviewer", publisher.client_id.split("/")[2], None)
    asked = publisher.host.last
    assert asked.header("Accept") == b"application/json"
    assert asked.header("Authorization") is None
    assert asked.header("Cookie") is None


@pytest.mark.parametrize(
    "client_id",
    [
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/?x=1",
        "https://app.example.com/c#f",
        "https://app.example.com/c#",
        "https://user@app.example.com/c",
        "https://user:pw@app.example.com/c",
        "https://app.example.com/a/../c",
        "https://app.example.com/./c",
        "https://app.example.com/a/%2e%2e/c",
        "https://app.example.com/a/%2E./c",
        "https://APP.example.com/c",
        "https://app.example.com./c",
        "https://app.example.com:443/c",
        "https://app.example.com:0/c",
        "https://app.example.com:99999/c",
        "https://app.example.com:/c",
        "HTTPS://app.example.com/c",
        "http://app.example.com/c",
        "ftp://app.example.com/c",
        "https:app.example.com/c",
        "https:///c",
        "https://0x7f.1/c",
        "https://127.1/c",
        "https://app.example.com\\@evil.example/c",
        "https://äpp.example.com/c",
        "https://app.example.com/ä",
        "https://app.example.com/c c",
        "https://app.example.com/c\n",
        "https://app.example.com/" + "c" * 500,
    ],
)
def test_ci_1_an_address_that_is_not_one_canonical_https_address_is_no_client(client_id: str) -> None:
    for on_loopback in (False, True):
        with pytest.raises(InvalidRequest):
            address_of(client_id, on_loopback=on_loopback)


@pytest.mark.parametrize(
    "client_id",
    [
        "https://app.example.com/c",
        "https://app.example.com:8443/c.json",
        "https://app.example.com/a/b?v=2",
        "https://app.example.com/c/",
        "https://1.1.1.1/c",
    ],
)
def test_ci_1_a_canonical_address_is_a_client(client_id: str) -> None:
    assert address_of(client_id, on_loopback=False).text == client_id


@pytest.mark.parametrize(
    "client_id",
    ["http://127.0.0.1:8000/c", "http://localhost:8000/c", "http://[::1]:8000/c", "https://localhost:8000/c"],
)
def test_ci_3_loopback_is_for_a_server_on_loopback(client_id: str) -> None:
    assert address_of(client_id, on_loopback=True).text == client_id
    with pytest.raises(InvalidRequest):
        address_of(client_id, on_loopback=False)


async def test_ci_3_loopback_that_nobody_configured_is_not_asked(house: House) -> None:
    async with Upstream() as host:
        publisher = Publisher(host)
        publisher.publishes()
        assert not is_known(await publisher.names_itself(house))
        assert host.connections == 0


WRONG: dict[str, dict[str, Any]] = {
    "names another address": {"client_id": "https://app.example.com/client.json"},
    "names no address": {"client_id": None},
    "differs by a slash": {"client_id": "{id}/"},
    "names itself in other letters": {"client_id": "{ID}"},
    "names a list": {"client_id": ["{id}"]},
    "authenticates by a shared secret": {"token_endpoint_auth_method": "client_secret_basic"},
    "posts a shared secret": {"token_endpoint_auth_method": "client_secret_post"},
    "signs with a shared secret": {"token_endpoint_auth_method": "client_secret_jwt"},
    "authenticates by TLS": {"token_endpoint_auth_method": "tls_client_auth"},
    "brings a secret": {"client_secret": "s3cret"},
    "brings a secret's end": {"client_secret_expires_at": 0},
    "signs without a key": {"token_endpoint_auth_method": "private_key_jwt"},
    "has no redirect": {"redirect_uris": None},
    "has an empty list of redirects": {"redirect_uris": []},
    "redirects in the clear": {"redirect_uris": ["http://app.example.com/back"]},
    "redirects anywhere": {"redirect_uris": ["https://*.example.com/back"]},
    "redirects with a fragment": {"redirect_uris": ["https://app.example.com/back#x"]},
    "redirects to a script": {"redirect_uris": ["javascript:alert(1)"]},
    "redirects to a private scheme on the web": {"redirect_uris": ["com.example.app:/back"]},
    "redirects are text": {"redirect_uris": "https://app.example.com/back"},
    "has another type": {"application_type": "desktop"},
    "wants tokens at once": {"response_types": ["token"]},
    "has a name that turns the text": {"client_name": "Review\u202eer"},
    "has a name of two lines": {"client_name": "Reviewer\nverified by us"},
    "has a number for a name": {"client_name": 7},
    "has a long name": {"client_name": "x" * 81},
    "has a key set that is none": {"jwks": {"keys": []}, "token_endpoint_auth_method": "private_key_jwt"},
    "has its keys twice": {"jwks": OwnKey().jwks, "jwks_uri": "https://app.example.com/k"},
    "has its keys in the clear": {
        "jwks_uri": "http://app.example.com/k",
        "token_endpoint_auth_method": "private_key_jwt",
    },
}


async def test_ci_1_ci_5_one_changed_fact_and_a_description_makes_no_client(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    for what, changed in WRONG.items():
        named = changed.get("client_id")
        if isinstance(named, str):
            named = named.replace("{id}", publisher.client_id).replace("{ID}", publisher.client_id.upper())
            changed = changed | {"client_id": named}
        publisher.publishes(**changed)
        assert not is_known(await publisher.names_itself(house)), what
    publisher.publishes()
    assert is_known(await publisher.names_itself(house))


async def test_ci_5_private_key_jwt_is_proven_by_the_published_key(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    uri = publisher.publishes_keys()
    for keys in ({"jwks_uri": uri}, {"jwks": publisher.key.jwks}):
        publisher.publishes(token_endpoint_auth_method="private_key_jwt", **keys)
        assert is_known(await publisher.asserts(house))
        assert not is_known(await publisher.names_itself(house))  # naming itself is not enough any more
        stranger = OwnKey(publisher.key.kid)
        issuer, now = house.settings.issuer, house.clock.now()
        forged = stranger.assertion(publisher.client_id, issuer, now)
        assert not is_known(await publisher.asserts(house, forged))
        for changed in (
            {"aud": [issuer]},
            {"aud": f"{issuer}/oauth/token"},
            {"aud": issuer.upper()},
            {"aud": issuer + "/"},
            {"iss": issuer},
            {"sub": "https://app.example.com/other"},
            {"exp": int(now) + 3600},
            {"exp": str(int(now) + 60)},
            {"jti": "x"},
        ):
            assertion = publisher.key.assertion(publisher.client_id, issuer, now, **changed)
            assert not is_known(await publisher.asserts(house, assertion)), changed
        once = publisher.key.assertion(publisher.client_id, issuer, now)
        assert is_known(await publisher.asserts(house, once))
        assert not is_known(await publisher.asserts(house, once))


async def test_ci_5_a_public_description_is_not_proven_by_keys(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes(jwks=publisher.key.jwks)
    assert not is_known(await publisher.asserts(house))


Script = Any


async def slowly(seen: Seen, wire: Wire) -> None:
    """The head at once, the body never."""
    await wire.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{")
    await wire.peer_left()


def plain(body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> bytes:
    """A whole answer."""
    return reply(status, {"Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}, body)


def hostile(publisher: Publisher, client_id: str) -> dict[str, Script]:
    """Answers that must not make a client, though each but the first holds a right description in some way."""
    right = json.dumps(publisher.described(client_id=client_id)).encode()
    padded = json.dumps(publisher.described(client_id=client_id, padding="x" * MOST_BYTES)).encode()
    twice = right[:-1] + b', "client_id": ' + json.dumps(client_id).encode() + b"}"
    disguised = right[:-1] + b', "client_\\u0069d": "https://evil.example/c"}'
    return {
        "a redirect": plain(b"", status=302, Location=publisher.host.url + "/other.json"),
        "a redirect with the description": plain(right, status=301, Location=publisher.host.url + "/other.json"),
        "created": plain(right, status=201),
        "partial": plain(right, status=206),
        "not found": plain(right, status=404),
        "an error": plain(right, status=500),
        "another type": plain(right, kind="text/html"),
        "a type that only begins right": plain(right, kind="application/jsonp"),
        "no type": reply(200, {}, right),
        "two types": reply(200, [("Content-Type", "application/json"), ("Content-Type", "text/html")], right),
        "compressed": plain(gzip.compress(right), Content_Encoding="gzip"),
        "a bomb": plain(gzip.compress(b" " * 1_000_000 + right), Content_Encoding="gzip"),
        "too large": plain(padded),
        "a member twice": plain(twice),
        "a member twice by escape": plain(disguised),
        "two objects": plain(right + right),
        "a list": plain(b"[" + right + b"]"),
        "deeply nested": plain(right[:-1] + b', "x": ' + b"[" * 500 + b"]" * 500 + b"}"),
        "not a number": plain(right[:-1] + b', "x": NaN}'),
        "broken text": plain(right[:-1] + b', "x": "\xff"}'),
        "nothing": plain(b""),
        "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
        "two lengths": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(right), right),
    }


CANNOT_BE_ASKED = {"an error", "too large", "no HTTP", "two lengths"}
"""Whose publisher cannot have meant it: another time it may be right. All others say something wrong."""


async def test_ci_2_ss_03_ss_04_only_a_plain_small_answer_makes_a_client(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    address = f"{publisher.host.url}/other.json"
    publisher.host.answers("GET", "/other.json", json=publisher.described(client_id=address))
    for number, what in enumerate(hostile(publisher, "")):
        path = f"/c{number}.json"
        client_id = publisher.host.url + path
        publisher.host.answers("GET", path, script=hostile(publisher, client_id)[what])
        answer = await publisher.names_itself(house, client_id)
        assert not is_known(answer), what
        assert answer.status == (503 if what in CANNOT_BE_ASKED else 401), what
        assert publisher.host.received("GET", path) == 1
        publisher.host.answers("GET", path, json=publisher.described(client_id=client_id))
        house.clock.advance(FAILED_SECONDS)
        assert is_known(await publisher.names_itself(house, client_id)), what
    assert publisher.host.received("GET", "/other.json") == 0


async def test_ci_4_errors_are_not_kept_as_clients_and_not_asked_for_at_once(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.host.answers("GET", PATH, 500)
    assert not is_known(await publisher.names_itself(house))
    publisher.publishes()
    assert not is_known(await publisher.names_itself(house))  # a moment ago it failed: nobody is asked
    assert publisher.fetched == 1
    house.clock.advance(FAILED_SECONDS)
    assert is_known(await publisher.names_itself(house))
    assert publisher.fetched == 2


async def test_ci_4_a_description_lives_as_long_as_its_host_says_and_at_most_a_day(
    outside: tuple[House, Publisher],
) -> None:
    house, publisher = outside
    for said, seconds in (
        ({"Cache-Control": "max-age=600"}, 600),
        ({"Cache-Control": "max-age=600", "Age": "100"}, 500),
        ({"Cache-Control": "max-age=99999999"}, LONGEST_FRESH),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "max-age=600, private"}, 0),
        ({"Cache-Control": "no-cache"}, 0),
        ({"Cache-Control": "max-age=0"}, 0),
        ({"Cache-Control": "max-age=soon"}, 0),
        ({"Cache-Control": "max-age=600, max-age=1"}, 0),
        ({}, 60),
    ):
        house.clock.advance(2 * LONGEST_FRESH)
        publisher.publishes(headers=said)
        before = publisher.fetched
        assert is_known(await publisher.names_itself(house))
        house.clock.advance(max(seconds - 1, 0))
        assert is_known(await publisher.names_itself(house))
        assert publisher.fetched == before + (1 if seconds else 2), said
        house.clock.advance(1)
        assert is_known(await publisher.names_itself(house))
        assert publisher.fetched == before + (2 if seconds else 3), said


async def test_ci_4_a_description_that_turned_bad_is_nobody(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes(headers={"Cache-Control": "max-age=600"})
    assert is_known(await publisher.names_itself(house))
    publisher.publishes(client_id="https://evil.example/c")
    assert is_known(await publisher.names_itself(house))
    house.clock.advance(600)
    assert not is_known(await publisher.names_itself(house))


async def test_ss_04_a_place_is_asked_so_often_and_no_more(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    for number in range(PER_PLACE):
        await publisher.names_itself(house, f"{publisher.host.url}/none-{number}.json")
    publisher.publishes()
    asked = len(publisher.host.seen)
    reply = await publisher.names_itself(house)
    assert (reply.status, reply.header("retry-after") is not None) == (429, True)
    assert len(publisher.host.seen) == asked == PER_PLACE
    house.clock.advance(60)
    assert is_known(await publisher.names_itself(house))


async def test_many_at_once_ask_the_host_once(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes(headers={"Cache-Control": "max-age=600"})
    replies = await asyncio.gather(*(publisher.names_itself(house) for _ in range(10)))
    assert all(is_known(reply) for reply in replies)
    assert publisher.fetched == 1


async def test_turned_off_no_address_is_a_client(tmp_path: Path) -> None:
    async with open_outside(tmp_path / "data", client_documents="off") as (house, publisher):
        publisher.publishes()
        assert not is_known(await publisher.names_itself(house))
        assert publisher.host.connections == 0


async def descriptions(lookup: Any, clock: DrivenClock, **how: Any) -> Descriptions:
    egress = Egress(lookup=lookup, **how)
    await egress.open()
    return Descriptions(Documents(egress, clock), clock, on_loopback=True)


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["140.82.121.6", "::1"], ["64:ff9b::7f00:1"], ["fd00::1"]],
)
async def test_ss_01_ss_02_ci_3_a_name_that_leads_inside_is_not_asked(answers: list[str]) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return answers

    with pytest.raises(UpstreamFailed, match=r"may not be dialled"):
        await (await descriptions(lookup, DrivenClock())).client("https://app.example.com/client.json")


@pytest.mark.parametrize(
    "client_id",
    ["https://10.0.0.1/c", "https://169.254.169.254/latest", "https://[fd00::1]/c", "https://192.168.0.1:8443/c"],
)
async def test_ss_01_an_inner_address_in_the_client_id_is_not_asked(client_id: str) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise AssertionError("an address needs no lookup")

    with pytest.raises(UpstreamFailed):
        await (await descriptions(lookup, DrivenClock())).client(client_id)


async def test_ss_05_a_proxy_in_the_environment_is_not_used_for_descriptions(
    outside: tuple[House, Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, publisher = outside
    publisher.publishes()
    async with Upstream() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        assert is_known(await publisher.names_itself(house))
        assert proxy.connections == 0


async def test_ss_04_all_places_together_are_asked_so_often_and_no_more() -> None:
    clock = DrivenClock()

    async def lookup(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    found = await descriptions(lookup, clock)
    for number in range(IN_ALL):
        with pytest.raises(UpstreamFailed):
            await found.client(f"https://a{number}.example.com/c")
    with pytest.raises(TooMany):
        await found.client("https://last.example.com/c")


async def test_ss_04_a_slow_host_is_given_up(tmp_path: Path) -> None:
    """The limit is the fetch's own; here it is short, and the host never ends its answer."""
    async with Upstream() as host:
        host.answers("GET", PATH, script=slowly)
        clock = DrivenClock()
        egress = Egress(allow_loopback_hosts=frozenset({f"{host.host}:{host.port}"}))
        await egress.open()
        found = Descriptions(Documents(egress, clock, seconds=0.05), clock, on_loopback=True)
        with pytest.raises(UpstreamFailed, match="Timeout"):
            await found.client(host.url + PATH)
        await egress.close()
