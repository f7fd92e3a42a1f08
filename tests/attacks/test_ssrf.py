"""Which addresses a name may lead to, and which is dialled in the end. SS-01, SS-02, SS-05."""

import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.upstream import Upstream, reply
from valetkey.server.clock import DrivenClock
from valetkey.server.egress import Egress, Url
from valetkey.server.egress.addresses import is_loopback, is_private, is_public
from valetkey.server.egress.resolve import KEPT_SECONDS, proven_addresses
from valetkey.server.errors import InvalidRequest, UpstreamFailed

PUBLIC = ["140.82.121.6", "1.1.1.1", "8.8.8.8", "223.255.255.254", "2606:50c0:8000::153", "2a00:1450:4001::1"]
PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:50c0::5efe:7f00:1",
    "2606:50c0::200:5efe:a00:1",
    "4000::1",
]
NOT_ADDRESSES = ["", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "1.2.3.4.5", "[::1]", " 8.8.8.8"]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_global_unicast_address_may_be_dialled(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE + NOT_ADDRESSES)
def test_every_other_address_may_not(address: str) -> None:
    """SS-01"""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_protocol_is_never_public(inner: object) -> None:
    """SS-01: NAT64, 6to4, IPv4-mapped, IPv4-compatible and ISATAP carry any IPv4 address."""
    packed = int(inner)  # type: ignore[call-overload]
    high, low = f"{packed >> 16:x}", f"{packed & 0xFFFF:x}"
    forms = [f"64:ff9b::{high}:{low}", f"2002:{high}:{low}::1", f"::ffff:{high}:{low}", f"::{high}:{low}"]
    assert not any(is_public(form) for form in [*forms, f"2606:50c0::5efe:{high}:{low}"])


def local_lookup(*answers: list[str]) -> object:
    """A name server that gives these answers in turn, then the last one forever."""
    left = list(answers)

    async def lookup(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return lookup


async def proven(answers: list[str], *, local: bool = False) -> tuple[str, ...]:
    return await proven_addresses(
        Url(host="api.test", target=b"/"),
        lookup=local_lookup(answers),  # type: ignore[arg-type]
        allowed=is_loopback if local else is_public,
    )


async def test_a_name_with_public_answers_only_is_dialled_at_them() -> None:
    assert await proven(["2606:50c0:8000::153", "140.82.121.6"]) == ("140.82.121.6", "2606:50c0:8000::153")


@pytest.mark.parametrize("private", PRIVATE)
async def test_one_private_answer_among_public_ones_refuses_the_name(private: str) -> None:
    """SS-02"""
    with pytest.raises(UpstreamFailed, match="may not be dialled"):
        await proven(["140.82.121.6", private])


async def test_a_name_without_answers_is_refused() -> None:
    with pytest.raises(UpstreamFailed):
        await proven([])


async def test_a_local_name_must_be_on_loopback_altogether() -> None:
    assert await proven(["127.0.0.1", "::1"], local=True) == ("127.0.0.1", "::1")
    for other in ("10.0.0.1", "140.82.121.6", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"):
        with pytest.raises(UpstreamFailed):
            await proven(["127.0.0.1", other], local=True)
    assert not is_loopback("localhost")


async def test_a_name_of_ones_own_network_must_be_there_altogether_and_never_at_metadata() -> None:
    async def found(answers: list[str]) -> tuple[str, ...]:
        url = Url(host="vault.internal", target=b"/")
        return await proven_addresses(url, lookup=local_lookup(answers), allowed=is_private)  # type: ignore[arg-type]

    assert await found(["10.1.2.3", "fd12::1"]) == ("10.1.2.3", "fd12::1")
    for other in ("140.82.121.6", "127.0.0.1", "169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1", "::1"):
        with pytest.raises(UpstreamFailed):
            await found(["10.1.2.3", other])


async def test_a_private_host_is_proven_only_where_it_was_configured_and_never_in_the_clear() -> None:
    egress = Egress(allow_private_hosts=frozenset({"vault.internal:443", "vault.internal:80"}), lookup=inside)
    await egress.prove(Url(host="vault.internal", target=b"/"))
    for other in (
        Url(host="vault.internal", port=8200, target=b"/"),
        Url(host="other.internal", target=b"/"),
        Url(scheme="http", host="vault.internal", port=80, target=b"/"),
    ):
        with pytest.raises(UpstreamFailed):
            await egress.prove(other)


async def inside(_host: str, _port: int) -> list[str]:
    return ["10.1.2.3"]


async def test_a_name_the_resolver_does_not_know_fails_without_saying_more() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.raises(UpstreamFailed, match="not resolved"):
        await proven_addresses(Url(host="api.test", target=b"/"), lookup=unknown, allowed=is_public)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "[fe80::1]"],
)
async def test_a_private_address_in_the_url_is_refused(host: str) -> None:
    """SS-01"""
    egress = Egress()
    await egress.open()
    with pytest.raises((UpstreamFailed, InvalidRequest)):
        await egress.fetch("GET", Url(host=host, target=b"/"), [], max_bytes=1, timeout=5)
    await egress.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "api.test.",
        "API.test",
        "a..b",
        "-a.test",
        "user@api.test",
        "api.test:80",
        "api.test/x",
        "a b",
        "",
        "ä.test",
        "[::1",
        "::1",
        "[fe80::1%25eth0]",
        "[0:0:0:0:0:0:0:1]",
        "a.0x1",
        "1.2.3",
        "%31.test",
        "a\n",
        "a" * 64 + ".test",
    ],
)
def test_a_host_that_two_parsers_could_read_differently_is_no_host(host: str) -> None:
    with pytest.raises(InvalidRequest):
        Url(host=host, target=b"/")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        up.raw_answer(reply(200, body=b"hello"))
        yield up


async def opened(**how: object) -> Egress:
    egress = Egress(**how)  # type: ignore[arg-type]
    await egress.open()
    return egress


async def ask(egress: Egress, *, host: str, port: int) -> bytes:
    url = Url(scheme="http", host=host, port=port, target=b"/")
    return (await egress.fetch("GET", url, [], max_bytes=100, timeout=5))[2]


async def test_a_configured_local_place_is_reached_and_keeps_its_name(upstream: Upstream) -> None:
    """SS-02: the checked address is dialled, Host is the name."""
    local = frozenset({f"practice.test:{upstream.port}"})
    egress = await opened(allow_loopback_hosts=local, lookup=local_lookup(["127.0.0.1"]))

    assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"

    assert upstream.last.header("Host") == f"practice.test:{upstream.port}".encode()
    await egress.close()


@pytest.mark.parametrize(
    "local",
    [frozenset(), frozenset({"practice.test:1"}), frozenset({"practice.test"}), frozenset({"x.practice.test:{port}"})],
)
async def test_a_local_place_that_was_not_configured_exactly_is_not_reached(
    upstream: Upstream, local: frozenset[str]
) -> None:
    local = frozenset(place.replace("{port}", str(upstream.port)) for place in local)
    egress = await opened(allow_loopback_hosts=local, lookup=local_lookup(["127.0.0.1"]))

    with pytest.raises(UpstreamFailed):
        await ask(egress, host="practice.test", port=upstream.port)
    with pytest.raises(UpstreamFailed):
        await egress.fetch(
            "GET", Url(host="practice.test", port=upstream.port, target=b"/"), [], max_bytes=9, timeout=5
        )

    assert upstream.connections == 0
    await egress.close()


async def test_plain_http_to_a_public_name_is_refused() -> None:
    egress = await opened(lookup=local_lookup(["140.82.121.6"]))
    with pytest.raises(UpstreamFailed, match="plain http"):
        await ask(egress, host="api.test", port=80)
    await egress.close()


async def test_a_name_that_rebinds_to_loopback_is_refused(upstream: Upstream) -> None:
    """SS-02: whatever the name says later, it is asked again after at most a minute and judged again."""
    clock = DrivenClock()
    local = frozenset({f"practice.test:{upstream.port}"})
    lookup = local_lookup(["127.0.0.1"], ["10.0.0.1"])
    egress = await opened(allow_loopback_hosts=local, lookup=lookup, clock=clock)
    assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"

    clock.advance(KEPT_SECONDS - 1)
    assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"
    clock.advance(1)
    with pytest.raises(UpstreamFailed, match="may not be dialled"):
        await ask(egress, host="practice.test", port=upstream.port)

    assert len(upstream.seen) == 2
    await egress.close()


async def test_an_unchanged_answer_keeps_the_connections(upstream: Upstream) -> None:
    clock = DrivenClock()
    local = frozenset({f"practice.test:{upstream.port}"})
    egress = await opened(allow_loopback_hosts=local, lookup=local_lookup(["127.0.0.1"]), clock=clock)
    for _ in range(3):
        assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"
        clock.advance(KEPT_SECONDS + 1)

    assert upstream.connections == 1
    await egress.close()


async def test_another_proven_address_is_tried_when_one_does_not_answer(upstream: Upstream) -> None:
    local = frozenset({f"practice.test:{upstream.port}"})
    egress = await opened(allow_loopback_hosts=local, lookup=local_lookup(["127.0.0.9", "127.0.0.1"]))

    assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"

    await egress.close()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_a_proxy_in_the_environment_is_not_used(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SS-05"""
    async with Upstream() as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
        egress = await opened(
            allow_loopback_hosts=frozenset({f"practice.test:{upstream.port}"}), lookup=local_lookup(["127.0.0.1"])
        )

        assert await ask(egress, host="practice.test", port=upstream.port) == b"hello"

        assert proxy.connections == 0
        await egress.close()
