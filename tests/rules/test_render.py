"""AP-01: what a person is shown comes from the bytes, hides nothing, and says what cannot be shown."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest

from tests.rules.test_asking import FACTS
from valetkey.server.approvals.model import Kept
from valetkey.server.approvals.render import LONGEST_TEXT, Shown, render
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.model import Integration


def shown(body: bytes, kind: str = "application/json", **more: Any) -> Shown:
    kept = Kept(
        method="POST", path=b"/repos/a/b%20c", query=b"", headers=((b"content-type", kind.encode()),), body=body
    )
    return render(replace(kept, **more), FACTS, None)


def pairs(seen: Shown) -> dict[str, str]:
    return {row.name: row.value for row in seen.rows}


def test_json_is_every_leaf_by_its_place() -> None:
    seen = shown(b'{"title": "hello", "labels": ["a", "b"], "draft": false, "meta": {}}')
    assert pairs(seen) == {"title": "hello", "labels[0]": "a", "labels[1]": "b", "draft": "false", "meta": "{}"}
    assert (seen.method, seen.host, seen.path, seen.kind) == ("POST", "api.github.com", "/repos/a/b c", "JSON")
    assert seen.is_whole


def test_forms_and_queries_are_decoded() -> None:
    seen = shown(b"text=hi+there&x=%C3%A9", "application/x-www-form-urlencoded", query=b"a=1%202")
    assert pairs(seen) == {"text": "hi there", "x": "é"}
    assert [(r.name, r.value) for r in seen.query] == [("a", "1 2")]
    assert seen.is_whole


def test_graphql_is_its_document_and_variables() -> None:
    seen = shown(b'{"query": "mutation { x }", "variables": {"id": "1"}}')
    assert (seen.kind, seen.text, pairs(seen)) == ("GraphQL", "mutation { x }", {"variables.id": "1"})
    assert seen.is_whole


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1, "a": 2}', "application/json"),
        (b'{"a": ', "application/json"),
        (b"\xff\xfe", "text/plain"),
        (b"PK\x03\x04", "application/zip"),
        (b"x" * (LONGEST_TEXT + 1), "text/plain"),
        (b"[" + b"1," * 400 + b"1]", "application/json"),
        ('{"to": "p\u0430ypal"}'.encode(), "application/json"),
        (b"{}", ""),
    ],
)
def test_what_cannot_be_read_whole_is_not_whole(body: bytes, kind: str) -> None:
    assert not shown(body, kind).is_whole
    packed = shown(b"{}", headers=((b"content-type", b"application/json"), (b"content-encoding", b"gzip")))
    assert not packed.is_whole


def test_nothing_hides_or_reorders() -> None:
    seen = shown('{"a": "safe\u202eevil\u200b\\u0007"}'.encode())
    assert pairs(seen) == {"a": "safe⟨U+202E⟩evil⟨U+200B⟩⟨U+0007⟩"}


GMAIL = load_integration("gmail")


def mailed(mail: str, *, integration: Integration | None = GMAIL) -> Shown:
    raw = urlsafe_b64encode(mail.encode()).decode().rstrip("=")
    body = json.dumps({"message": {"raw": raw}}).encode()
    headers = ((b"content-type", b"application/json"),)
    kept = Kept(method="POST", path=b"/gmail/v1/users/me/drafts/send", query=b"", headers=headers, body=body)
    return render(kept, FACTS, integration)


MAIL = "To: bob@acme.com\r\nSubject: Lunch\r\n\r\nAt noon?\n"


def test_a_mail_is_shown_as_it_will_be_sent() -> None:
    seen = mailed(MAIL)
    assert pairs(seen)["message.raw, read"] == "To: bob@acme.com\nSubject: Lunch\n\nAt noon?\n"
    assert seen.is_whole
    assert list(pairs(mailed(MAIL, integration=None))) == ["message.raw"]


@pytest.mark.parametrize(
    "mail",
    [
        "Content-Transfer-Encoding: base64\r\n\r\nQXQgbm9vbj8=",
        "content-transfer-encoding:quoted-printable\r\n\r\nAt=20noon",
        "Content-Transfer-Encoding:\r\n base64\r\n\r\nQXQ=",
        "Subject: =?utf-8?B?THVuY2g=?=\r\n\r\nx",
        "To: bob@p\u0430ypal.com\r\n\r\nx",
        "x" * LONGEST_TEXT,
    ],
)
def test_a_mail_that_hides_its_words_is_not_whole(mail: str) -> None:
    assert not mailed(mail).is_whole
    assert mailed("Content-Transfer-Encoding: 7bit\r\n\r\nAt noon?").is_whole


def test_what_is_called_raw_and_is_no_mail_is_not_whole() -> None:
    body = b'{"raw": "not base64!"}'
    kept = Kept(method="POST", path=b"/x", query=b"", headers=((b"content-type", b"application/json"),), body=body)
    assert not render(kept, FACTS, GMAIL).is_whole


def test_a_mail_hides_nothing_that_reorders_it() -> None:
    assert "⟨U+202E⟩" in pairs(mailed("To: a\u202eb@acme.com\r\n\r\nx\rFrom: eve"))["message.raw, read"]
    assert "⟨U+000D⟩" in pairs(mailed("To: a@acme.com\r\n\r\nx\rFrom: eve"))["message.raw, read"]
