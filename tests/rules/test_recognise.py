"""What a call does, when its path does not say: how far it is read, and what is sent then."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.recognise import Recognised, recognised
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.model import Match
from valetkey.server.integrations.reading import Reading, Reads, Said
from valetkey.server.policy.model import Reason

GITHUB = load_integration("github")
ISSUES = GITHUB.operations.match("GET", ("repos", "acme", "pub", "issues"))
assert ISSUES is not None
TEXT = [(b"content-type", b"text/plain")]


@dataclass
class Shouts:
    """Reads `/shout` by its body, which is sent in capitals; `/ask` by its query; leaves the other paths alone."""

    most_bytes: int = 8
    times: int = 1

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        return {("shout",): Reads.BODY, ("ask",): Reads.TARGET}.get(tuple(segments), Reads.PATH)

    def __call__(self, said: Said) -> Reading | None:
        if said.body == b"nothing":
            return None
        matches: list[Match] = [ISSUES] * self.times  # type: ignore[list-item]
        query = tuple(sorted(said.query))
        return Reading(matches=matches, query=query, content_type=said.content_type, body=said.body.upper())


async def read(
    path: bytes,
    body: Sequence[bytes] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = TEXT,
    *,
    query: bytes = b"",
    as_it_is: bool = False,
    **reader: int,
) -> Recognised:
    target = canonical("POST", path, query)
    return await recognised(
        replace(GITHUB, reader=Shouts(**reader)),
        target,
        headers,
        None if body is None else pieces(body),
        as_it_is=as_it_is,
    )


async def pieces(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece


async def test_what_is_sent_is_what_was_read() -> None:
    found = await read(b"/shout", [b"he", b"llo"], query=b"b=2&a=1")
    assert found.target.target_bytes == b"/shout?a=1&b=2"
    assert found.rewritten is not None
    assert [piece async for piece in found.rewritten.chunks()] == [b"HELLO"]
    came = [(b"content-type", b"x/y"), (b"accept", b"*/*"), (b"content-length", b"99")]
    assert found.rewritten.headers(came) == [
        (b"accept", b"*/*"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
    ]


async def test_a_body_that_is_not_judged_is_left_to_stream() -> None:
    never = pieces([b"x" * 100])
    for path in (b"/ask", b"/repos/acme/pub/issues"):
        target = canonical("POST", path, b"")
        found = await recognised(replace(GITHUB, reader=Shouts()), target, [], never, as_it_is=False)
        assert (len(found.matches), found.rewritten) == (1, None)
    assert await anext(never) == b"x" * 100


@pytest.mark.parametrize(("body", "is_read"), [([b"1234", b"5678"], True), ([b"1234", b"5678", b"9"], False)])
async def test_a_body_is_read_in_bounds(body: list[bytes], is_read: bool) -> None:
    if is_read:
        assert (await read(b"/shout", body)).rewritten is not None
    else:
        with pytest.raises(InvalidRequest, match="longer than 8 bytes"):
            await read(b"/shout", body)


async def test_what_has_two_readings_is_refused() -> None:
    for more in ([(b"Content-Type", b"text/html")], [(b"content-encoding", b"gzip")]):
        with pytest.raises(InvalidRequest):
            await read(b"/shout", [b"hello"], [*TEXT, *more])
    assert (await read(b"/shout", [b"hello"], [*TEXT, (b"content-encoding", b"identity")])).matches


async def test_what_is_no_operation_is_none() -> None:
    assert not (await read(b"/shout", [b"nothing"])).matches
    assert (await read(b"/shout", [b"nothin"])).matches


async def test_a_call_that_does_too_much_at_once_is_refused() -> None:
    assert len((await read(b"/shout", [b"x"], times=50)).matches) == 50
    with pytest.raises(InvalidRequest, match="51 things"):
        await read(b"/shout", [b"x"], times=51)


async def test_an_engine_is_never_told_yes_to_what_only_the_body_says() -> None:
    found = await read(b"/shout", None, [], as_it_is=True)
    assert (list(found.matches), found.unknown) == ([], Reason.IN_THE_BODY)
    assert (await read(b"/shout", None, [])).matches


async def test_an_engine_sends_the_query_that_was_judged() -> None:
    assert (await read(b"/ask", None, [], query=b"a=1&b=2", as_it_is=True)).matches
    with pytest.raises(InvalidRequest, match="canonical form"):
        await read(b"/ask", None, [], query=b"b=2&a=1", as_it_is=True)
