"""A secret has no generic way out: every serialiser, printer and copier meets a mark or a refusal (LK)."""

import copy
import dataclasses
import inspect
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from valetkey.server.secret import Secret, SecretBytes

CANARY = "canary-5f1d0c"
BOTH = pytest.mark.parametrize("secret", [Secret(CANARY), SecretBytes(CANARY.encode())], ids=["text", "bytes"])


@dataclasses.dataclass(frozen=True)
class Account:
    name: str
    key: Any


class Row(msgspec.Struct):
    key: Any


def test_a_secret_is_read_by_asking_for_it() -> None:
    assert Secret(CANARY).reveal() == CANARY
    assert SecretBytes(CANARY.encode()).reveal() == CANARY.encode()


@BOTH
@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        pprint.pformat,
        lambda secret: f"{secret} {secret!r} {secret:>60}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: "{0} {0!r} {0._read}".format(secret),  # noqa: UP032
        lambda secret: str([secret, {"key": secret}, (secret,)]),
        lambda secret: repr(Account("github", secret)),
        lambda secret: repr(Row(secret)),
        lambda secret: repr(KeyError(secret)),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: logging.makeLogRecord({"msg": "key %s", "args": (secret,)}).getMessage(),
        lambda secret: repr(inspect.getmembers(secret, lambda member: not inspect.isclass(member)))
        .replace(repr(type(secret).__doc__), ""),
    ],
)  # fmt: skip
def test_nothing_that_prints_shows_it(secret: Any, show: Callable[[Any], str]) -> None:
    assert CANARY not in show(secret)


@BOTH
@pytest.mark.parametrize(
    "take",
    [
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda secret: pickle.dumps(secret, protocol=0),
        lambda secret: secret.__reduce__(),
        lambda secret: secret.__getstate__(),
        json.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        lambda secret: msgspec.json.encode(Row(secret)),
        lambda secret: dataclasses.asdict(Account("github", secret)),
        hash,
        list,
        bytes,
        len,
        vars,
        sorted,
        lambda secret: secret[0],
        lambda secret: CANARY[0] in secret,
        lambda secret: secret + secret,
        lambda secret: "".join([secret]),
    ],
)
def test_nothing_that_serialises_copies_or_takes_apart_gets_it(secret: Any, take: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, AttributeError)) as refusal:
        take(secret)
    assert CANARY not in str(refusal.value)


@BOTH
def test_a_secret_does_not_change(secret: Any) -> None:
    with pytest.raises(AttributeError):
        secret._read = lambda: "other"
    with pytest.raises(AttributeError):
        del secret._read
    with pytest.raises(AttributeError):
        secret.note = CANARY


def test_a_traceback_with_locals_does_not_show_it() -> None:
    def offered() -> str:
        value = Secret(CANARY)
        try:
            json.dumps({"key": value})
        except TypeError as error:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        raise AssertionError("unreachable")

    assert CANARY not in offered()


def test_the_wrong_type_is_refused_and_not_shown() -> None:
    def seen(make: Callable[[], object]) -> str:
        with pytest.raises(TypeError) as refusal:
            make()
        frames = traceback.TracebackException.from_exception(refusal.value, capture_locals=True).format()
        return "".join(frame for frame in frames if "/server/secret.py" in frame.splitlines()[0])

    raw: Any = CANARY.encode()
    assert CANARY not in seen(lambda: Secret(raw))
    text: Any = CANARY
    assert CANARY not in seen(lambda: SecretBytes(text))


def test_equal_secrets_are_equal_and_others_are_not() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert Secret(CANARY) != CANARY
    assert SecretBytes(b"k") == SecretBytes(b"k")
    assert SecretBytes(b"k") != Secret("k")


def test_text_that_is_not_unicode_compares_without_an_error_that_carries_it() -> None:
    assert Secret(CANARY + "\ud800") == Secret(CANARY + "\ud800")
    assert Secret(CANARY + "\ud800") != Secret(CANARY + "\ud801")


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret("x")
