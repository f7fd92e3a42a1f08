"""AP-01: what a person is shown comes from the bytes, hides nothing, and says what cannot be shown."""

from dataclasses import replace
from typing import Any

import pytest

from tests.rules.test_asking import FACTS
from valetkey.server.approvals.model import Kept
from valetkey.server.approvals.render import LONGEST_TEXT, Shown, render


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
