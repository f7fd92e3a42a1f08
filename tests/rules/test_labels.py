"""Labels of one call, and whether it writes where the public reads: from the operation and its resource alone."""

import tomllib
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from valetkey.server.integrations.catalogue import load_catalogue
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.history import Label
from valetkey.server.policy.labels import labels_of, writes_to_the_public
from valetkey.server.policy.model import Call

CATALOGUE = load_catalogue()
OPEN, CLOSED, UNSAID = True, False, None


def call(integration: str, operation: str, public: bool | None) -> Call:
    found = CATALOGUE[integration].operations[operation]
    actual = ResourceFacts("repository", name="acme/x", id="1", owner_id="2", public=public)
    return Call(
        integration=integration,
        connection="con_1",
        operation=found,
        scopes_needed=frozenset(),
        resource="acme/x",
        actual=None if found.resource_kind == "account" else actual,
        parameters={},
    )


@pytest.mark.parametrize(
    ("operation", "public", "labels"),
    [
        ("issues/list-for-repo", OPEN, {Label.PUBLIC, Label.UNTRUSTED}),
        ("issues/list-for-repo", CLOSED, {Label.PRIVATE}),
        ("issues/list-for-repo", UNSAID, {Label.PRIVATE, Label.UNTRUSTED}),
        ("repos/list-collaborators", OPEN, {Label.PUBLIC}),
        ("search/issues-and-pull-requests", UNSAID, {Label.PRIVATE, Label.UNTRUSTED}),
        ("query/__schema", UNSAID, {Label.PRIVATE, Label.UNTRUSTED}),
    ],
)
def test_what_a_call_brings_with_it(operation: str, public: bool | None, labels: set[Label]) -> None:
    assert labels_of(call("github", operation, public), CATALOGUE["github"]) == labels


@pytest.mark.parametrize(
    ("operation", "public", "leaves"),
    [
        ("issues/create-comment", OPEN, True),
        ("issues/create-comment", CLOSED, False),
        ("issues/create-comment", UNSAID, True),
        ("issues/list-for-repo", OPEN, False),
        ("repos/create-webhook", CLOSED, True),
        ("repos/create-deploy-key", CLOSED, True),
        ("repos/update", CLOSED, True),  # it can make it public
        ("gists/create", UNSAID, True),
        ("search/code", UNSAID, True),
    ],
)
def test_where_a_call_writes_to(operation: str, public: bool | None, leaves: bool) -> None:
    assert writes_to_the_public(call("github", operation, public)) is leaves


def test_a_workflow_file_is_a_public_place_whatever_the_repository_is() -> None:
    plain = call("github", "repos/create-or-update-file-contents", CLOSED)
    assert not writes_to_the_public(plain)
    assert writes_to_the_public(replace(plain, scopes_needed=frozenset({"workflows:write"})))


@pytest.mark.parametrize("name", ["github", "slack", "linear"])
def test_every_operation_has_a_class(name: str) -> None:
    folder = resources.files("valetkey.server.integrations.catalogue")
    described: dict[str, Any] = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))["scopes"]
    operations = CATALOGUE[name].operations.values()
    assert operations
    assert {operation.scope for operation in operations if "shows" not in described[operation.scope]} == set()


def pointed(integration: str, kind: str, document: object) -> bool | None:
    api = CATALOGUE[integration]
    how: Any = {**api.questions, **api.lookups}[kind]
    facts = how.facts(document)
    assert facts is not None
    return bool(facts.public) if facts.public is not None else None


@pytest.mark.parametrize(("said", "public"), [({"private": True}, False), ({"private": False}, True), ({}, None)])
def test_github_says_whether_a_repository_is_private(said: dict[str, bool], public: bool | None) -> None:
    assert pointed("github", "repository", {"id": 1, "full_name": "a/b", "owner": {"id": 2}, **said}) is public


@pytest.mark.parametrize(
    ("said", "public"),
    [
        ({"is_private": True, "is_ext_shared": False}, False),
        ({"is_private": True, "is_ext_shared": True}, True),
        ({"is_private": False, "is_ext_shared": False}, True),
        ({"is_private": True}, None),
        ({}, None),
    ],
)
def test_slack_says_who_else_is_in_a_channel(said: dict[str, bool], public: bool | None) -> None:
    channel = {"id": "C12345", "name": "code-review", "context_team_id": "T1", **said}
    assert pointed("slack", "channel", {"ok": True, "channel": channel}) is public


@pytest.mark.parametrize(("said", "public"), [({"private": True}, False), ({"private": False}, True), ({}, None)])
def test_linear_says_whether_a_team_is_private(said: dict[str, bool], public: bool | None) -> None:
    assert pointed("linear", "team", {"data": {"team": {"id": "1", "key": "LIN", **said}}}) is public
