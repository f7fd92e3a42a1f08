"""A handshake is one reading or none; nobody agrees to what was not offered."""

import pytest

from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.gateway.websocket.handshake import accept, agreed, agreeing, asking, new_key, opening

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    b"upgrade": b"websocket",
    b"connection": b"keep-alive, Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY,
    b"sec-websocket-protocol": b"chat, superchat",
}
ANSWER = {b"upgrade": b"WebSocket", b"connection": b"Upgrade", b"sec-websocket-accept": accept(KEY)}


def but(good, *added, **changed):
    """The good headers, with one changed or left out (None), or some added beside them."""
    names = {name.replace("_", "-").encode(): value for name, value in changed.items()}
    return [(name, value) for name, value in (good | names).items() if value is not None] + list(added)


def test_a_good_handshake_is_read_and_answered():
    read = opening("GET", "1.1", but(GOOD, (b"sec-websocket-extensions", b"permessage-deflate")))
    assert (read.key, read.subprotocols) == (KEY, (b"chat", b"superchat"))
    assert dict(agreeing(read, b"chat"))[b"Sec-WebSocket-Accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not [name for name, _ in agreeing(read, None) if name == b"Sec-WebSocket-Protocol"]


@pytest.mark.parametrize(
    "headers",
    [
        but(GOOD, upgrade=None),
        but(GOOD, upgrade=b"h2c"),
        but(GOOD, upgrade=b"websocket, h2c"),
        but(GOOD, (b"upgrade", b"websocket")),
        but(GOOD, connection=b"keep-alive"),
        but(GOOD, sec_websocket_version=b"8"),
        but(GOOD, (b"sec-websocket-version", b"13")),
        but(GOOD, sec_websocket_key=None),
        but(GOOD, sec_websocket_key=b"dGhlIHNhbXBsZQ=="),
        but(GOOD, sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZR=="),  # not how base64 writes these bytes
        but(GOOD, (b"sec-websocket-key", KEY)),
        but(GOOD, sec_websocket_protocol=b"chat, chat"),
        but(GOOD, sec_websocket_protocol=b"chat,,superchat"),
        but(GOOD, (b"origin", b"https://example.com")),
        but(GOOD, (b"content-length", b"0")),
        but(GOOD, (b"transfer-encoding", b"chunked")),
    ],
)
def test_a_handshake_with_one_wrong_fact_is_refused(headers):
    with pytest.raises(InvalidRequest, match="not opened"):
        opening("GET", "1.1", headers)


@pytest.mark.parametrize(("method", "version"), [("POST", "1.1"), ("HEAD", "1.1"), ("GET", "1.0")])
def test_only_get_over_http_1_1_opens_one(method, version):
    with pytest.raises(InvalidRequest, match="not opened"):
        opening(method, version, but(GOOD))


def test_no_extension_is_asked_for_and_only_what_was_offered_is_agreed():
    assert b"sec-websocket-extensions" not in [name.lower() for name, _ in asking(new_key(bytes(16)), (b"chat",))]
    assert agreed(but(ANSWER), key=KEY, subprotocols=()) is None
    assert agreed(but(ANSWER, sec_websocket_protocol=b"chat"), key=KEY, subprotocols=(b"chat",)) == b"chat"


@pytest.mark.parametrize(
    "headers",
    [
        but(ANSWER, upgrade=b"h2c"),
        but(ANSWER, connection=b"close"),
        but(ANSWER, sec_websocket_accept=accept(KEY.swapcase())),
        but(ANSWER, (b"sec-websocket-accept", accept(KEY))),
        but(ANSWER, (b"sec-websocket-extensions", b"permessage-deflate")),
        but(ANSWER, (b"sec-websocket-protocol", b"superchat")),
        but(ANSWER, (b"sec-websocket-protocol", b"chat"), (b"sec-websocket-protocol", b"chat")),
        but(ANSWER, (b"content-length", b"5")),
    ],
)
def test_an_answer_with_one_wrong_fact_is_not_believed(headers):
    with pytest.raises(UpstreamFailed):
        agreed(headers, key=KEY, subprotocols=(b"chat",))
