"""What is read of a call that writes text at an API whose paths say what it does: where its links lead."""

import json
from collections.abc import AsyncIterator

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.recognise import Recognised, recognised
from valetkey.server.integrations.catalogue import load_integration

GITHUB = load_integration("github")
COMMENTS = b"/repos/acme/pub/issues/7/comments"
JSON = [(b"content-type", b"application/json")]
AWAY = b'{"body": "![](https://collect.example/?d=1)"}'
PLAIN = b'{"body": "see https://github.com/acme/pub/issues/1"}'


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 1_024):
        yield body[at : at + 1_024]


async def read(body: bytes | None, path: bytes = COMMENTS, method: str = "POST", **more: object) -> Recognised:
    headers = more.get("headers", JSON)
    target = canonical(method, path, b"")
    sent = None if body is None else pieces(body)
    return await recognised(GITHUB, target, headers, sent, as_it_is=bool(more.get("as_it_is")))  # type: ignore[arg-type]


def links(found: Recognised) -> str | None:
    [match] = found.matches
    return match.judged.get("links")


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("POST", COMMENTS, {"body": "LINK"}),
        ("POST", b"/repositories/7/issues/7/comments", {"body": "LINK"}),
        ("PATCH", b"/repos/acme/pub/issues/comments/9", {"body": "LINK"}),
        ("POST", b"/repos/acme/pub/issues", {"title": "x", "body": "LINK"}),
        ("PATCH", b"/repos/acme/pub/pulls/7", {"body": "LINK"}),
        ("POST", b"/repos/acme/pub/pulls/7/reviews", {"comments": [{"path": "a.py", "body": "LINK"}]}),
        ("PUT", b"/repos/acme/pub/pulls/7/reviews/8", {"body": "LINK"}),
        ("POST", b"/repos/acme/pub/releases", {"tag_name": "v1", "body": "LINK"}),
        ("POST", b"/repos/acme/pub/check-runs", {"name": "x", "output": {"images": [{"image_url": "LINK"}]}}),
        ("POST", b"/repos/acme/pub/statuses/abc", {"state": "success", "target_url": "LINK"}),
    ],
)
async def test_a_link_is_found_wherever_text_is_written(method: str, path: bytes, document: object) -> None:
    said = json.dumps(document)
    assert links(await read(said.replace("LINK", "https://collect.example/?d=1").encode(), path, method)) == "outside"
    assert links(await read(said.replace("LINK", "nothing to see").encode(), path, method)) is None


async def test_a_link_in_escapes_is_one() -> None:
    assert links(await read(b'{"body": "\\u0068ttps:\\/\\/collect.example\\/x"}')) == "outside"
    assert links(await read(b'{"body": "\\u0068ello"}')) is None


async def test_what_is_sent_is_what_came() -> None:
    for body in (AWAY, PLAIN, b' {"body":\t"1.0e2", "n": 1.50}\n'):
        found = await read(body)
        assert found.rewritten is not None
        assert found.rewritten.body == body


async def test_what_is_sent_is_called_what_it_was_read_as() -> None:
    """GitHub reads JSON whatever it is called, and so do we; then it is called so."""
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    found = await read(AWAY, headers=form)
    assert links(found) == "outside"
    assert found.rewritten is not None
    assert found.rewritten.content_type == b"application/json"


@pytest.mark.parametrize(
    "body", [b'{"body": "x", "body": "y"}', b"body=x", b'["x"]', b'{"body": "\xff"}', b"\xef\xbb\xbf{}", b'{"a": 1} 2']
)
async def test_what_has_two_readings_never_leaves(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(body)
    assert "unambiguous JSON" in refused.value.public
    assert (await read(b'{"body": "x"}')).matches


async def test_no_body_says_nothing() -> None:
    for body in (None, b""):
        assert links(await read(body)) is None


@pytest.mark.parametrize(("size", "is_read"), [(1 << 18, True), ((1 << 18) + 1, False)])
async def test_it_is_read_in_bounds(size: int, is_read: bool) -> None:
    body = b'{"body": "' + b"x" * (size - 12) + b'"}'
    assert len(body) == size
    if is_read:
        assert (await read(body)).matches
    else:
        with pytest.raises(InvalidRequest, match="longer than"):
            await read(body)


async def test_a_packed_body_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(AWAY, headers=[*JSON, (b"content-encoding", b"gzip")])
    assert "compressed" in refused.value.public


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", b"/repos/acme/pub/contents/a.md"), ("POST", b"/repos/acme/pub/git/blobs"), ("GET", COMMENTS)],
)
async def test_everything_else_streams_as_before(method: str, path: bytes) -> None:
    never = pieces(AWAY)
    found = await recognised(GITHUB, canonical(method, path, b""), JSON, never, as_it_is=False)
    assert found.rewritten is None
    assert links(found) is None
    assert await anext(never) == AWAY


async def test_text_an_engine_does_not_show_is_taken_to_lead_outside() -> None:
    assert links(await read(None, as_it_is=True)) == "outside"
    read_only = await read(None, method="GET", as_it_is=True)
    assert read_only.matches
    assert links(read_only) is None


async def test_graphql_is_read_as_ever() -> None:
    query = b'{"query": "mutation { addComment(input: {subjectId: \\"I_1\\", body: \\"https://c.example/x\\"}) { clientMutationId } }"}'  # noqa: E501
    assert links(await read(query, b"/graphql")) == "outside"


@pytest.mark.parametrize(
    ("document", "comments"),
    [
        ({"event": "APPROVE"}, 1),
        ({"body": "good", "comments": []}, 1),
        ({"comments": [{"body": "a"}, {"body": "b"}]}, 2),
        ({"body": "good", "comments": [{"body": "a"}, {"body": "b"}]}, 3),
        ({"comments": "two"}, 1),
        ({"comments": [{"body": "https://collect.example/x"}, {"body": "b"}]}, 2),
    ],
)
async def test_a_review_holds_as_many_comments_as_it_lists(document: object, comments: int) -> None:
    found = await read(json.dumps(document).encode(), b"/repos/acme/pub/pulls/7/reviews")
    assert [match.comments for match in found.matches] == [comments]
