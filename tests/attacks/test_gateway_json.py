"""JSON that is meant to hurt whoever parses it: DO-01, where JSON is read and where it is only passed on."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.behind import STREAMED, Behind, open_behind

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path_factory.mktemp("json")) as opened:
        yield opened


HURTFUL = {
    "deep array": b"[" * 100_000,
    "deep object": b'{"agent":' * 20_000,
    "closed deep array": b"[" * 20_000 + b"]" * 20_000,
    "deep value of a known member": b'{"agent": "x", "grants": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "long integer": b'{"seconds": ' + b"9" * 5_000 + b"}",
    "NaN": b'{"seconds": NaN}',
    "Infinity": b'{"seconds": 1e999}',
    "too large": b'{"purpose": "' + b"x" * (2 << 20) + b'"}',
    "many members": b"{" + b",".join(b'"m%d": 1' % n for n in range(10_001)) + b"}",
    "unknown member": b'{"agent": "x", "nobody": 1}',
    "lone surrogate": b'{"purpose": "\\ud800"}',
    "not UTF-8": b'{"purpose": "\xff"}',
    "nothing": b"",
    "no object": b"[]",
}


@pytest.mark.parametrize("body", HURTFUL.values(), ids=HURTFUL)
@pytest.mark.parametrize("path", ["/v1/delegations", "/v1/tasks", "/v1/revocations", "/v1/login"])
async def test_do_01_hurtful_json_is_a_malformed_request_and_nothing_worse(
    behind: Behind, path: str, body: bytes
) -> None:
    headers = {"authorization": f"Bearer {behind.house.alice.bearer}", "content-type": "application/json"}
    answer = await behind.house.call("POST", path, headers=headers, body=body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert (await behind.call()).status == 200


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"n": ' + b"9" * 5_000 + b"}"], ids=["deep", "long integer"])
async def test_do_01_the_gateway_passes_hurtful_json_both_ways_unread(behind: Behind, body: bytes) -> None:
    behind.up.answers("POST", STREAMED, body=body, headers={"Content-Type": "application/json"})
    answer = await behind.call("POST", STREAMED, body=body)
    assert (answer.status, answer.body) == (200, body)
    assert behind.calls[-1].body == body


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"id": ' + b"9" * 5_000 + b"}"], ids=["deep", "long integer"])
async def test_do_01_a_lookup_answered_with_hurtful_json_is_upstream_failed(behind: Behind, body: bytes) -> None:
    behind.house.clock.advance(61)
    behind.up.answers("GET", "/repos/acme/pub", body=body, headers={"Content-Type": "application/json"})
    answer = await behind.call()
    assert (answer.status, answer.code) == (502, "upstream_failed")
    behind.forget()
    assert (await behind.call()).status == 200
