"""The arguments of a Slack call have one reading, and what is sent says that and nothing else."""

import json
import random
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.reading import Pairs, Said
from valetkey.server.integrations.slack.arguments import Arguments, read_arguments

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"


def said(body: bytes = b"", content_type: str = JSON, query: Pairs = (), method: str = "POST") -> Said:
    return Said(method=method, segments=("chat.postMessage",), query=query, content_type=content_type, body=body)


def read(body: bytes = b"", content_type: str = JSON, query: Pairs = (), method: str = "POST") -> Arguments:
    return read_arguments(said(body, content_type, query, method))


def part(name: str, value: str, head: str = "") -> str:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n{head}\r\n{value}\r\n'


def refused(body: bytes = b"", content_type: str = JSON, query: Pairs = (), method: str = "POST") -> str:
    with pytest.raises(InvalidRequest) as why:
        read(body, content_type, query, method)
    return why.value.public


@pytest.mark.parametrize(
    ("body", "content_type", "sent_type", "sent"),
    [
        (b'{"channel" : "C1", "a": "\\u00e9"} ', JSON, "application/json; charset=utf-8", '{"channel":"C1","a":"é"}'),
        (b'{"channel":"C1"}', "Application/JSON;charset=UTF-8", "application/json; charset=utf-8", '{"channel":"C1"}'),
        (b"channel=C1&text=a+b%20%3C;", FORM, FORM, "channel=C1&text=a+b+%3C%3B"),
        (b"channel=C1", f'{FORM}; charset="utf-8"', FORM, "channel=C1"),
        (
            (part("channel", "C1") + part("text", "a\r\nb", "Content-Type: text/plain\r\n") + "--xyz--\r\n").encode(),
            MULTIPART,
            "multipart/form-data; boundary=valetkey",
            ('--valetkey\r\nContent-Disposition: form-data; name="channel"\r\n\r\nC1\r\n'
            '--valetkey\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\nb\r\n--valetkey--\r\n'),
        ),
        (b"", "", "", ""),
        (b"", "text/plain", "", ""),
    ],
)  # fmt: skip
def test_each_shape_is_sent_in_its_own_shape(body: bytes, content_type: str, sent_type: str, sent: str) -> None:
    assert read(body, content_type).written() == (sent_type, sent.encode())


def test_a_boundary_of_ours_is_in_no_text() -> None:
    value = "valetkey\r\n--valetkey--"
    kind, sent = read((part("channel", "C1") + part("text", value) + "--xyz--").encode(), MULTIPART).written()
    boundary = kind.partition("boundary=")[2]
    assert boundary not in value
    assert sent.count(f"--{boundary}".encode()) == 3
    assert value.encode() in sent


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"channel":"C1","channel":"C2"}', JSON),
        (b'{"channel":"C1","\\u0063hannel":"C2"}', JSON),
        (b"channel=C1&channel=C2", FORM),
        (b"channel=C1&%63hannel=C2", FORM),
        ((part("channel", "C1") + part("channel", "C2") + "--xyz--").encode(), MULTIPART),
    ],
)
def test_an_argument_is_said_once(body: bytes, content_type: str) -> None:
    refused(body, content_type)
    assert "twice" in refused(b'{"channel":"C1"}', JSON, (("channel", "C1"),))
    assert "twice" in refused(b"", "", (("channel", "C1"), ("channel", "C1")))
    assert read(b'{"text":"hello"}', JSON, (("channel", "C1"),)).all == {"channel": "C1", "text": "hello"}


@pytest.mark.parametrize("at", ["query", "json", "form", "multipart"])
def test_a_token_is_refused_wherever_it_stands(at: str) -> None:
    for name, is_fine in (("token", False), ("tokens", True)):
        body, kind, query = {
            "query": (b"", "", ((name, "xoxp-1"),)),
            "json": (json.dumps({name: "xoxp-1"}).encode(), JSON, ()),
            "form": (f"{name}=xoxp-1".encode(), FORM, ()),
            "multipart": ((part(name, "xoxp-1") + "--xyz--").encode(), MULTIPART, ()),
        }[at]
        if is_fine:
            assert read(body, kind, query).all == {name: "xoxp-1"}
        else:
            assert "`token`" in refused(body, kind, query)


@pytest.mark.parametrize(
    "name",
    [
        "channel[]",
        "channel[0]",
        " channel",
        "channel ",
        "channel.id",
        "Channel",
        "CHANNEL",
        "_token",
        "0",
        "",
        "chännel",
        "channel\t",
        "channel\u200b",
        "x" * 65,
    ],
)
def test_a_name_that_could_be_read_as_another_is_refused(name: str) -> None:
    refused(json.dumps({name: "C2"}).encode())
    refused(f"{quote(name)}=C2".encode(), FORM)
    refused((part(name, "C2") + "--xyz--").encode(), MULTIPART)
    refused(b"", "", ((name, "C2"),))


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b'"channel=C1"', b"{}{}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}', b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":' * 20 + b"1" + b"}" * 20,
        b'{"a":1,}', b"{'a':1}", b"channel=C1", b"{", b'{"a":1}//', b'\x00{"a":1}',
    ],
)  # fmt: skip
def test_json_that_has_another_reading_is_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b"channel",
        b"channel=C1&",
        b"&channel=C1",
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%ff",
        b"a=%00",
        b"a=b c",
        b"a=\xc3\xa9",
        b"a=1\r\n",
        b"=C1",
        b"a=%ed%a0%80",
        b'{"channel":"C1"}',
    ],
)
def test_a_form_that_has_another_reading_is_refused(body: bytes) -> None:
    refused(body, FORM)


@pytest.mark.parametrize(
    "body",
    [
        part("channel", "C1"),
        "preamble\r\n" + part("channel", "C1") + "--xyz--",
        part("channel", "C1") + "--xyz--\r\nepilogue",
        part("channel", "C1").replace("\r\n", "\n") + "--xyz--",
        part("channel", "C1").replace('name="channel"', 'name="channel"; filename="a"') + "--xyz--",
        part("channel", "C1").replace('name="channel"', "name*=utf-8''channel") + "--xyz--",
        part("channel", "C1", "Content-Transfer-Encoding: base64\r\n") + "--xyz--",
        part("channel", "C1", "Content-Type: application/octet-stream\r\n") + "--xyz--",
        part("channel", "C1", 'Content-Disposition: form-data; name="text"\r\n') + "--xyz--",
        part("channel", "C1\r\n--xyzz") + "--xyz--",
        "--xyz--",
        "",
    ],
)
def test_a_multipart_body_that_has_another_reading_is_refused(body: str) -> None:
    refused(body.encode() or b"\r\n", MULTIPART)
    assert read((part("channel", "C1") + "--xyz--").encode(), MULTIPART).all == {"channel": "C1"}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; x=1",
        "application/json, text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/json;",
        "multipart/form-data; boundary=a; boundary=b",
        "application/jsonx",
        "multipart/mixed; boundary=xyz",
    ],
)
def test_a_body_of_another_type_is_refused(content_type: str) -> None:
    refused(b'{"channel":"C1"}', content_type)


def test_a_get_says_everything_in_its_query() -> None:
    assert read(b"", "", (("channel", "C1"),), "GET").all == {"channel": "C1"}
    refused(b"channel=C2", FORM, (("channel", "C1"),), "GET")


def test_what_is_written_in_json_inside_a_text_stays_a_text() -> None:
    blocks = '[{"type": "section"}]'
    assert json.loads(read(json.dumps({"blocks": blocks}).encode()).written()[1]) == {"blocks": blocks}


# --- against a slow reader that takes everything it can get
NAMES = [
    "channel",
    "channel",
    "text",
    "Channel",
    "channel[]",
    " channel",
    "channel.x",
    "token",
    "chan\\u006eel",
    "%63hannel",
]
VALUES = [
    "C1",
    "C2",
    "hello",
    "a&channel=C2",
    '","channel":"C2',
    "a;channel=C2",
    "%26channel%3DC2",
    "\r\n--xyz\r\n",
    "\x00",
    "é",
    "",
]


def everything(query: Pairs, body: bytes, content_type: str) -> Iterator[tuple[str, object]]:
    """Every pair that any lenient reader finds."""
    yield from query
    if content_type.startswith(FORM):
        for text in (body.decode("utf-8", "replace"), body.decode("utf-8", "replace").replace(";", "&")):
            yield from parse_qsl(text, keep_blank_values=True)
    elif content_type.startswith(JSON):
        found: list[tuple[str, object]] = []
        json.loads(body.decode("utf-8", "replace"), object_pairs_hook=found.extend)
        yield from found
    elif content_type.startswith("multipart"):
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        for each in message.iter_parts():
            name = each.get_param("name", header="content-disposition")
            yield str(name), each.get_payload(decode=True).decode("utf-8", "replace")


def bare(name: str) -> str:
    """As a reader that forgives folds a name."""
    return name.strip().lower().replace(".", "_").replace(" ", "_").partition("[")[0]


def random_call(dice: random.Random) -> Said:
    names = [dice.choice(NAMES) for _ in range(dice.randint(0, 3))]
    pairs = [(name, dice.choice(VALUES)) for name in names]
    query = tuple((dice.choice(NAMES[:7]), dice.choice(VALUES[:6])) for _ in range(dice.randint(0, 2) // 2))
    shape = dice.choice([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])  # the slow reader is slowest with parts
    if shape == 0:
        body = "&".join(f"{name}={quote(value) if dice.random() < 0.7 else value}" for name, value in pairs)
        return said(body.encode(), FORM, query)
    if shape == 1:
        inner = ",".join(
            f'"{name}":{json.dumps(value) if dice.random() < 0.8 else f"{chr(34)}{value}{chr(34)}"}'
            for name, value in pairs
        )
        return said(f"{{{inner}}}".encode(), JSON, query)
    body = "".join(part(name, value) for name, value in pairs) + "--xyz--" + dice.choice(["", "\r\n", "\r\nchannel=C2"])
    return said(body.encode(), MULTIPART, query)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_no_reader_finds_another_channel_in_what_is_sent_or_in_what_came(seed: int) -> None:
    dice = random.Random(seed)
    accepted = 0
    for _ in range(2_000):
        call = random_call(dice)
        try:
            found = read_arguments(call)
        except InvalidRequest:
            continue
        accepted += 1
        content_type, body = found.written()
        judged = {str(value) for name, value in found.all.items() if name == "channel"}
        for query, came, kind in ((call.query, call.body, call.content_type), (found.query, body, content_type)):
            if b";" in came and kind == FORM:
                continue  # a raw `;` is one reading less in what is sent
            pairs = [(bare(name), str(value)) for name, value in everything(query, came, kind)]
            assert {value for name, value in pairs if name == "channel"} <= judged | {""}, (call, body)
            assert not [name for name, _ in pairs if name == "token"], call
    assert accepted > 100
