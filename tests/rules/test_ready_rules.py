"""The ready rules as rules: how they are read, which edition they are, and which calls they are about at all."""

from dataclasses import replace

import pytest

from valetkey.server.integrations.catalogue import load_catalogue
from valetkey.server.integrations.links import leads_outside
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy import ready as shipped
from valetkey.server.policy.history import Counter, History, Label, Memory
from valetkey.server.policy.layer import Asked
from valetkey.server.policy.ready import PREFIX, ReadyMode, edition_of, ready
from valetkey.server.policy.rules import Effect

CATALOGUE = load_catalogue()
READY = ready(CATALOGUE)
BOTH = frozenset({Label.PRIVATE, Label.UNTRUSTED})


def asked(api: str, operation: str, *, labels: frozenset[Label] = BOTH, outside: bool | None = True) -> Asked:
    return Asked(
        agent="a",
        user="alice@acme.com",
        integration=CATALOGUE[api],
        operation=CATALOGUE[api].operations[operation],
        scopes_needed=frozenset(),
        actual=ResourceFacts("repository", name="acme/x", id="1", outside=outside),
        resource="acme/x",
        parameters={},
        history=History(task=Memory(labels=labels)),
        now=0,
    )


def test_every_id_is_theirs_and_no_organization_can_take_it() -> None:
    assert READY.rules
    assert all(rule.id.startswith(PREFIX) for rule in READY.rules)
    assert {rule.effect for rule in READY.rules} <= {Effect.ASK, Effect.DENY}
    assert not any(rule.answered_by for rule in READY.rules)
    assert all(rule.why for rule in READY.rules)


def test_ids_are_stable() -> None:
    """They stand in records, approvals and other people's notes: one may be added, none renamed."""
    assert [rule.id.removeprefix(PREFIX) for rule in READY.rules] == [
        "github-flow", "slack-flow", "linear-flow", "gmail-flow", "google-drive-flow", "google-calendar-flow",
        "slack-links", "linear-links", "github-links",
        "slack-other-channel", "github-comments", "slack-comments", "linear-comments",
    ]  # fmt: skip


def test_their_silence_says_nothing() -> None:
    verdict = READY.layer.judge(asked("github", "repos/get"))
    assert (verdict.effect, verdict.rules) == (Effect.ALLOW, ())


@pytest.mark.parametrize(
    ("operation", "labels", "outside", "rules"),
    [
        ("issues/create-comment", BOTH, True, ("ready/github-flow",)),
        ("issues/create-comment", BOTH, None, ("ready/github-flow",)),
        ("issues/create-comment", BOTH, False, ()),
        ("issues/create-comment", BOTH - {Label.UNTRUSTED}, True, ()),
        ("issues/create-comment", BOTH - {Label.PRIVATE}, True, ()),
        ("repos/create-webhook", BOTH, False, ("ready/github-flow",)),
        ("search/code", BOTH, None, ("ready/github-flow",)),
        ("issues/list-for-repo", BOTH, True, ()),
    ],
)
def test_what_leaves_asks_once_both_were_read(
    operation: str, labels: frozenset[Label], outside: bool | None, rules: tuple[str, ...]
) -> None:
    assert READY.layer.judge(asked("github", operation, labels=labels, outside=outside)).rules == rules


@pytest.mark.parametrize(
    ("api", "operation", "asks"),
    [
        ("gmail", "messages/send", True),
        ("gmail", "drafts/upload-send", True),
        ("gmail", "settings/create-filter", True),
        ("gmail", "settings/update-vacation", True),
        ("gmail", "drafts/create", False),
        ("gmail", "messages/batch-modify", False),
        ("gmail", "messages/get", False),
        ("google-drive", "permissions/create", True),
        ("google-drive", "files/add", True),
        ("google-drive", "files/upload-update", True),
        ("google-drive", "comments/create", True),
        ("google-drive", "files/get", False),
        ("google-calendar", "events/insert", True),
        ("google-calendar", "acl/insert", True),
        ("google-calendar", "freebusy/query", False),
    ],
)
def test_what_reaches_people_through_google_asks_once_both_were_read(api: str, operation: str, asks: bool) -> None:
    rules = (f"ready/{api}-flow",) if asks else ()
    assert READY.layer.judge(asked(api, operation, outside=None)).rules == rules
    assert READY.layer.judge(asked(api, operation, outside=None, labels=frozenset({Label.PRIVATE}))).rules == ()


def test_no_history_is_read_for_what_they_are_not_about() -> None:
    github, gmail = CATALOGUE["github"], CATALOGUE["gmail"]
    reads, writes = github.operations["issues/list-for-repo"], github.operations["issues/create-comment"]
    assert not READY.layer.may_speak("a", github, reads, frozenset())
    assert not READY.layer.looks_back("a", github, reads, frozenset())
    assert READY.layer.may_speak("a", github, writes, frozenset())
    assert READY.layer.looks_back("a", github, writes, frozenset())
    assert READY.layer.looks_back("a", github, reads, frozenset({"workflows:write"}))
    for operation in ("drafts/create", "messages/modify", "messages/list"):
        assert not READY.layer.may_speak("a", gmail, gmail.operations[operation], frozenset())


@pytest.mark.parametrize("api", ["github", "slack", "linear"])
def test_what_is_counted_as_a_comment_is_what_the_rule_asks_about(api: str) -> None:
    [rule] = [rule for rule in READY.rules if rule.id == f"ready/{api}-comments"]
    assert set(rule.actions) == {one.id for one in CATALOGUE[api].operations.values() if "comments" in one.tags}


@pytest.mark.parametrize(("before", "effect"), [(0, Effect.ALLOW), (1, Effect.ASK)])
def test_a_comment_sees_those_before_it_in_its_own_call(before: int, effect: Effect) -> None:
    """Nineteen were written. The next one may be; the one after it in the same call is the twenty-first."""
    question = asked("linear", "mutation/commentCreate", labels=frozenset())
    nineteen = History(task=Memory(counts={(Counter.COMMENTS, ""): 19}))
    verdict = READY.layer.judge(replace(question, history=nineteen.commented(["team_1"] * before)))
    assert verdict.effect is effect
    assert nineteen.commented(["team_1"]).task.count(Counter.COMMENTS, "team_1") == 1


def test_each_mode_has_one_layer_or_none() -> None:
    modes = {mode: (READY.enforced(mode) is not None, READY.watched(mode) is not None) for mode in ReadyMode}
    assert modes == {
        ReadyMode.OFF: (False, False), ReadyMode.OBSERVE: (False, True), ReadyMode.ENFORCE: (True, False),
    }  # fmt: skip


def test_a_set_that_is_not_understood_denies_where_it_is_enforced() -> None:
    broken = ready({"slack": CATALOGUE["slack"]})
    layer = broken.enforced(ReadyMode.ENFORCE)
    assert layer is not None
    assert layer.judge(asked("github", "repos/get")).effect is Effect.DENY
    assert broken.watched(ReadyMode.OBSERVE) is None


def test_another_text_is_another_edition() -> None:
    assert READY.id == edition_of(shipped.text()) != edition_of(shipped.text() + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "https://collect.example/?d=1", "![](https://collect.example/x)", "<http://collect.example|here>",
        "![](//collect.example/x)", "www.collect.example", "collect.example/x", "HTTPS:\\\\collect.example\\x",
        "![](https&#58;//collect.example)", "https\\://collect.example", "h\u200bttps://collect.example",
        "https://github.com.collect.example/x", "https://github.com@collect.example/x",
        "https://github.com\\@collect.example", "https://github.com/x?u=https://collect.example/", "ftp:/x",
        "collect\u3002example/x", "\uff48ttps://collect.example",
    ],
)  # fmt: skip
def test_an_address_elsewhere_is_found(text: str) -> None:
    assert leads_outside(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "35 issues are open.", "see #12 and acme-corp/backend", "https://github.com/acme-corp/backend/pull/1",
        "<https://linear.app/acme/issue/LIN-1|LIN-1>", "src/main.py", "main.py:12", "e.g. this, i.e. that", "1.5 / 2",
        "C1ENG", "1700000000.000100", ":tada:", "10:30",
    ],
)  # fmt: skip
def test_plain_words_and_our_own_pages_are_none(text: str) -> None:
    assert not leads_outside(text)
