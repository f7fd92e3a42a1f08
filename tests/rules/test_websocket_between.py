"""Two stock protocol machines speak through ours: what each hears, byte for byte, and how it ends."""

import logging

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from valetkey.server.gateway.scrub import MARK, Scrubber
from valetkey.server.gateway.websocket.between import Between

SECRET = b"sk-very-secret-credential"


class Talk:
    """An agent, us, and an API; `settle` carries bytes until nobody has any."""

    def __init__(self, *, largest_message=1000):
        self.agent, self.api = Protocol(CLIENT), Protocol(SERVER)
        self.between = Between(Scrubber([SECRET]), largest_message=largest_message)
        self.raw_to_api = b""
        self.heard = {"agent": [], "api": []}

    def settle(self):
        moved = True
        while moved:
            up, down = self.agent.data_to_send(), self.api.data_to_send()
            for piece in up:
                self.between.from_agent(piece)
            for piece in down:
                self.between.from_api(piece)
            to_agent, to_api = self.between.to_agent(), self.between.to_api()
            self.raw_to_api += b"".join(to_api)
            self._give(self.agent, to_agent)
            self._give(self.api, to_api)
            moved = bool(up or down or to_agent or to_api)
        self.heard["agent"] += self.agent.events_received()
        self.heard["api"] += self.api.events_received()

    @staticmethod
    def _give(peer, pieces):
        for piece in pieces:
            if not peer.reader.eof:
                peer.receive_data(piece) if piece else peer.receive_eof()

    def said(self, to):
        return [(f.opcode, bytes(f.data), f.fin) for f in self.heard[to] if f.opcode is not Opcode.CLOSE]

    def closes(self):
        return self.agent.close_rcvd, self.api.close_rcvd


def test_messages_pass_both_ways_with_masks_of_our_own():
    talk = Talk()
    talk.agent.send_text("grüße".encode())
    sent = b"".join(talk.agent.writes)
    talk.api.send_binary(b"one", fin=False)
    talk.api.send_continuation(b"two", fin=True)
    talk.settle()
    assert talk.said("api") == [(Opcode.TEXT, "grüße".encode(), True)]
    assert talk.said("agent") == [(Opcode.BINARY, b"one", False), (Opcode.CONT, b"two", True)]
    assert talk.raw_to_api[1] & 0x80
    assert len(talk.raw_to_api) == len(sent)
    assert (talk.between.sent, talk.between.received) == (len("grüße".encode()), 6)
    assert talk.between.is_open


def test_a_ping_is_answered_here_and_goes_no_further():
    talk = Talk()
    talk.agent.send_ping(b"there?")
    talk.api.send_ping(b"and you?")
    talk.settle()
    assert talk.said("agent") == [(Opcode.PONG, b"there?", True)]
    assert talk.said("api") == [(Opcode.PONG, b"and you?", True)]


@pytest.mark.parametrize("cut", range(len(SECRET) + 1))
@pytest.mark.parametrize("say", ["send_text", "send_binary"])
def test_an_echoed_secret_does_not_come_down_wherever_a_frame_ends(say, cut):
    talk = Talk()
    getattr(talk.api, say)(b"it is " + SECRET[:cut], fin=False)
    talk.api.send_ping(b"")  # a control frame may stand within a message
    talk.api.send_continuation(SECRET[cut:] + b".", fin=True)
    talk.settle()
    assert b"".join(data for _, data, _ in talk.said("agent")) == b"it is " + MARK + b"."
    assert talk.between.is_open


def test_what_only_begins_like_a_secret_arrives_whole():
    talk = Talk()
    talk.api.send_text(b"it is " + SECRET[:9])
    talk.settle()
    assert talk.said("agent") == [(Opcode.TEXT, b"it is " + SECRET[:9], True)]


def test_an_echoed_secret_does_not_come_down_as_a_reason():
    talk = Talk()
    talk.api.send_close(4001, "no: " + SECRET.decode())
    talk.settle()
    assert (talk.agent.close_rcvd.code, talk.agent.close_rcvd.reason) == (4001, "no: " + MARK.decode())


def test_a_close_is_handed_on_and_answered():
    talk = Talk()
    talk.agent.send_close(1000, "done")
    talk.settle()
    assert (talk.api.close_rcvd.code, talk.api.close_rcvd.reason) == (1000, "done")
    assert talk.agent.close_rcvd.code == 1000
    assert not talk.between.is_open


def test_a_close_without_a_code_stays_without_one():
    talk = Talk()
    talk.api.send_close()
    talk.settle()
    assert [close.code for close in talk.closes()] == [1005, 1005]


@pytest.mark.parametrize("speaker", ["agent", "api"])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b"\xff")], 1007),
        ([Frame(Opcode.TEXT, b"\xc3", fin=False), Frame(Opcode.CONT, b"x")], 1007),
        ([Frame(Opcode.TEXT, b"\xc3")], 1007),
        ([Frame(Opcode.BINARY, b"x" * 1001)], 1009),
        ([Frame(Opcode.BINARY, b"x" * 600, fin=False), Frame(Opcode.CONT, b"x" * 600)], 1009),
        ([Frame(Opcode.CONT, b"x")], 1002),
        ([Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.TEXT, b"x")], 1002),
        ([Frame(Opcode.CLOSE, b"\x03")], 1002),
        ([Frame(Opcode.CLOSE, b"\x03\xed")], 1002),  # 1005 is never said
    ],
)
def test_who_breaks_the_protocol_is_told_so_and_the_other_side_is_closed(speaker, frames, code):
    talk = Talk()
    side, other = (talk.agent, talk.api) if speaker == "agent" else (talk.api, talk.agent)
    side.writes += [frame.serialize(mask=speaker == "agent") for frame in frames]
    talk.settle()
    assert side.close_rcvd.code == code
    assert other.close_rcvd.code == 1011
    assert not talk.between.is_open


@pytest.mark.parametrize("speaker", ["agent", "api"])
def test_a_wrong_mask_is_a_bad_frame(speaker):
    talk = Talk()
    side = talk.agent if speaker == "agent" else talk.api
    side.writes.append(Frame(Opcode.TEXT, b"x").serialize(mask=speaker != "agent"))
    talk.settle()
    assert side.close_rcvd.code == 1002


@pytest.mark.parametrize("first_byte", [0xC1, 0x83, 0x8B, 0x09])  # compressed, opcodes nobody knows, a ping in pieces
def test_what_was_not_agreed_to_is_a_bad_frame(first_byte):
    talk = Talk()
    talk.api.writes.append(bytes([first_byte, 1]) + b"x")
    talk.settle()
    assert talk.api.close_rcvd.code == 1002
    assert talk.agent.close_rcvd.code == 1011
    assert not talk.said("agent")


def test_text_that_is_utf8_only_over_frames_passes():
    talk = Talk()
    talk.agent.send_text(b"\xc3", fin=False)
    talk.agent.send_continuation(b"\xbc", fin=True)
    talk.settle()
    assert b"".join(data for _, data, _ in talk.said("api")) == "ü".encode()


def test_ending_it_tells_both_sides_even_within_a_message():
    talk = Talk()
    talk.api.send_text(b"half", fin=False)
    talk.settle()
    talk.between.end(1008, "What allowed this was revoked.")
    talk.between.end(1001, "a second time changes nothing")
    talk.settle()
    assert {(close.code, close.reason) for close in talk.closes()} == {(1008, "What allowed this was revoked.")}


def test_who_breaks_off_ends_the_other_side():
    talk = Talk()
    talk.between.from_api(b"")
    talk.settle()
    assert talk.agent.close_rcvd.code == 1001


def test_no_logger_hears_what_is_said(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.server", "websockets.client"):
        caplog.set_level(logging.DEBUG, logger=name)
    between = Between(Scrubber([SECRET]), largest_message=100)
    between.from_agent(Frame(Opcode.TEXT, b"a private word").serialize(mask=True))
    between.from_api(Frame(Opcode.TEXT, SECRET).serialize(mask=False))
    between.from_api(Frame(Opcode.CLOSE, b"\x03").serialize(mask=False))
    assert between.to_agent()
    assert between.to_api()
    assert not caplog.records
