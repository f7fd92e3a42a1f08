"""A policy is read strictly: nothing misspelled is taken for something else, and the sentence says what was meant."""

import pytest

from tests.support.permission import CATALOGUE
from valetkey.server.errors import InvalidRequest
from valetkey.server.policy.reading import read_policy


def refused(text: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        read_policy(text, CATALOGUE)
    return error.value


RULE = '[[rule]]\nid = "r"\neffect = "deny"\n'


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (RULE + 'agent = ["x"]', "agents"),
        (RULE + 'integration = "gitub"', "github"),
        (RULE + 'integration = "github"\nactions = ["repo:raed"]', "repo:read"),
        (RULE.replace("deny", "dney"), "deny"),
        (RULE + "when = { publik = true }", "public"),
        (RULE + 'when = { labels = { all = ["privat"] } }', "private"),
        (RULE + "when = { counts = { write = 3 } }", "writes"),
        (RULE + 'when = { labels = { all = ["private"], within = "tsk" } }', "task"),
        ("[[rules]]", "rule"),
        ('silense = "deny"', "silence"),
    ],
)
def test_a_misspelled_word_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    assert refused(text).next_step == f"Did you mean {meant}?"


@pytest.mark.parametrize("key", ["agents", "users", "actions", "resources"])
def test_an_empty_list_is_refused_rather_than_read_as_any(key: str) -> None:
    assert "not empty" in refused(RULE + f'integration = "github"\n{key} = []').public
    assert read_policy(RULE, CATALOGUE).rules


@pytest.mark.parametrize(
    "text",
    [
        RULE + RULE,
        "[[rule]]\neffect = 'deny'",
        RULE.replace('"r"', '"R r"'),
        RULE + 'actions = ["repo:read"]',
        RULE + 'resources = ["acme/x"]',
        RULE + 'integration = "github"\nresources = ["*"]',
        RULE + 'integration = "github"\nresources = ["a*/b"]',
        RULE + 'answered_by = ["alice@acme.com"]',
        RULE + "when = { counts = { writes = 0 } }",
        RULE + 'when = { hours = { from = "22:00", to = "7" } }',
        RULE + 'when = { hours = { from = "22:00", to = "22:00" } }',
        RULE + 'when = { hours = { from = "22:00", to = "07:00", zone = "Mars" } }',
        RULE + "observe = 1",
        "rule = 3",
        "[[rule",
        "x" * 600_000,
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    assert refused(text).public


@pytest.mark.parametrize(
    "cedar",
    [
        "permit (principal, action, resource);",
        '@id("a") permit (principal, action);',
        '@id("a") @other("x") permit (principal, action, resource);',
        '@id("a") @ask forbid (principal, action, resource);',
        '@id("a") permit (principal == ?principal, action, resource);',
        '@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);',
    ],
)
def test_cedar_that_says_nothing_certain_is_refused(cedar: str) -> None:
    from valetkey.server.policy.versions.model import compiled

    with pytest.raises(InvalidRequest):
        compiled(f"cedar = '''{cedar}'''", CATALOGUE, id="pol_1")
