"""Which channels a Slack call is about, and what it does there besides."""

import json
from importlib import resources
from pathlib import Path

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations import catalogue
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.lookup import FormLookup
from valetkey.server.integrations.model import ResourceFacts, ResourceRef, resource_of
from valetkey.server.integrations.reading import Pairs, Reading, Said

SLACK = load_integration("slack")
FORM = "application/x-www-form-urlencoded"
EVERYTHING = None
"""What a match is about that names nothing: only a grant on everything covers it."""
METHODS = (Path(__file__).parents[1] / "vectors" / "slack_methods.txt").read_text().splitlines()[1:]
TABLE = resources.files(catalogue) / "slack.operations.tsv"


def reading(method: str, asked: Pairs = (), *, by: str = "POST", kind: str = "", **arguments: object) -> Reading | None:
    body = json.dumps(arguments).encode() if arguments else b""
    kind = kind or ("application/json" if arguments else "")
    assert SLACK.reader is not None
    return SLACK.reader(Said(method=by, segments=(method,), query=asked, content_type=kind, body=body))


def done(
    method: str, asked: Pairs = (), *, by: str = "POST", **arguments: object
) -> list[tuple[str, ResourceRef | None]]:
    found = reading(method, asked, by=by, **arguments)
    assert found is not None
    return [(match.operation.id, resource_of(match)) for match in found.matches]


def channel(id_: str) -> ResourceRef:
    return ResourceRef("channel", id=id_)


def named(name: str) -> ResourceRef:
    return ResourceRef("channel", name=name)


def person(id_: str) -> ResourceRef:
    return ResourceRef("user", id=id_)


POST = "chat/postMessage"


@pytest.mark.parametrize(
    ("method", "arguments", "about"),
    [
        ("chat.postMessage", {"channel": "C1A", "text": "hello"}, [channel("C1A")]),
        ("chat.postMessage", {"channel": "#general"}, [named("#general")]),
        ("chat.postMessage", {"channel": "general"}, [named("#general")]),
        ("chat.postMessage", {"channel": "D1A"}, [channel("D1A")]),
        ("chat.postMessage", {"channel": "U1A"}, [person("U1A")]),
        ("chat.postMessage", {"text": "hello"}, [EVERYTHING]),
        ("chat.postMessage", {}, [EVERYTHING]),
        ("chat.postMessage", {"channel": "C1A", "channel_id": "C2A"}, [channel("C1A"), EVERYTHING]),
        ("chat.postMessage", {"channel": "C1A", "team_id": "T2A"}, [channel("C1A"), EVERYTHING]),
        ("chat.update", {"channel": "C1A", "ts": "1.2", "file_ids": ["F1"]}, [channel("C1A"), EVERYTHING]),
        ("chat.scheduleMessage", {"channel": "C1A", "post_at": 1, "text": "x"}, [channel("C1A")]),
        ("reactions.add", {"channel": "C1A", "timestamp": "1.2", "name": "x"}, [channel("C1A")]),
        ("reactions.remove", {"channel": "C1A", "file": "F1"}, [channel("C1A"), EVERYTHING]),
        ("files.completeUploadExternal", {"files": [], "channel_id": "C1A"}, [channel("C1A")]),
        ("files.completeUploadExternal", {"files": [], "channels": "C1A,C2A"}, [channel("C1A"), channel("C2A")]),
        ("files.completeUploadExternal", {"files": []}, [EVERYTHING]),
        ("conversations.open", {"users": "U1A,U2A"}, [person("U1A"), person("U2A")]),
        ("conversations.open", {"channel": "D1A"}, [channel("D1A")]),
        ("bookmarks.list", {"channel_id": "general"}, [named("#general")]),
        ("files.delete", {"file": "F1"}, [EVERYTHING]),
        ("files.list", {"channel": "C1A"}, [channel("C1A")]),
        ("files.list", {}, [EVERYTHING]),
        ("conversations.list", {}, [EVERYTHING]),
        ("search.messages", {"query": "in:#general"}, [EVERYTHING]),
        ("usergroups.update", {"usergroup": "S1", "channels": "C1A"}, [EVERYTHING]),
    ],
)
def test_what_a_call_is_about(method: str, arguments: dict[str, object], about: list[ResourceRef | None]) -> None:
    assert done(method, **arguments) == [(method.replace(".", "/", 1), thing) for thing in about]


def test_the_query_says_it_as_well_as_the_body() -> None:
    assert done("chat.postMessage", (("channel", "C1A"),), text="hello") == [(POST, channel("C1A"))]
    assert done("conversations.history", (("channel", "C1A"),), by="GET") == [
        ("conversations/history-by-get", channel("C1A"))
    ]


@pytest.mark.parametrize(
    "method",
    [
        "admin.users.list",
        "apps.manifest.create",
        "oauth.v2.exchange",
        "auth.revoke",
        "migration.exchange",
        "files.upload",
        "tooling.tokens.rotate",
        "rtm.connect",
        "team.accessLogs",
        "Chat.postMessage",
        "chat.postmessage",
        "nobody.knows",
        "chat.postMessage ",
        "conversations.inviteShared",
    ],
)
def test_what_is_denied_is_no_operation(method: str) -> None:
    assert reading(method, channel="C1A") is None


def test_a_write_is_no_get_and_nothing_is_a_head() -> None:
    assert reading("chat.postMessage", (("channel", "C1A"),), by="GET") is None
    assert reading("conversations.history", (("channel", "C1A"),), by="HEAD") is None
    assert reading("conversations.history", (("channel", "C1A"),), by="PUT") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " C1A",
        "C1A ",
        "c1a\n",
        "General",
        "#General",
        "@alice",
        "##a",
        "#",
        "general random",
        "C1A,C2A",
        "<#C1A>",
        "C1a",
        "T1A",
        "F1A",
        "a" * 81,
        "a\u200bb",
        "a|b",
        "../x",
    ],
)
def test_what_is_neither_an_id_nor_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        reading("chat.postMessage", channel=text)


@pytest.mark.parametrize("value", [None, 5, True, ["C1A"], {"id": "C1A"}])
def test_one_channel_is_one_text(value: object) -> None:
    with pytest.raises(InvalidRequest):
        reading("chat.postMessage", channel=value)


def test_a_list_of_channels_is_read_whole_or_not_at_all() -> None:
    for channels in ("C1A,", "C1A, C2A", ",", [], ["C1A", 5], "", ["C1A,C2A"]):
        with pytest.raises(InvalidRequest):
            reading("files.completeUploadExternal", channels=channels)


# --- everybody is called
BROADCAST = "chat/broadcast"


@pytest.mark.parametrize(
    "message",
    [
        {"text": "<!channel> look"},
        {"text": "<!here|here>"},
        {"text": "<!everyone>"},
        {"text": "<!subteam^S1>"},
        {"text": "<!CHANNEL>"},
        {"text": "< !channel>"},
        {"markdown_text": "<!channel>"},
        {"text": "@channel", "link_names": True},
        {"text": "@Here", "link_names": "1"},
        {"text": "@everyone", "parse": "full"},
        {"text": "@oncall-team wake up", "link_names": True},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "@here look"}}]},
        {"attachments": [{"blocks": '[{"type":"rich_text","elements":[{"type":"broadcast"}]}]'}]},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!here>"}}]},
        {"blocks": json.dumps([{"type": "section", "text": {"type": "mrkdwn", "text": "<!here>"}}])},
        {"blocks": '[{"type":"section","text":{"type":"mrkdwn","text":"\\u003c\\u0021here\\u003e"}}]'},
        {"blocks": [{"type": "rich_text", "elements": [{"type": "broadcast", "range": "channel"}]}]},
        {"blocks": [{"type": "rich_text", "elements": [{"type": "usergroup", "usergroup_id": "S1"}]}]},
        {"attachments": [{"fallback": "x", "pretext": "<!channel>"}]},
        {"attachments": json.dumps([{"blocks": [{"text": "<!channel>"}]}])},
    ],
)
def test_a_message_that_calls_everybody_is_something_besides(message: dict[str, object]) -> None:
    assert done("chat.postMessage", channel="C1A", **message) == [(POST, channel("C1A")), (BROADCAST, channel("C1A"))]
    assert done("chat.postMessage", **message) == [(POST, EVERYTHING), (BROADCAST, EVERYTHING)]


@pytest.mark.parametrize(
    "message",
    [
        {"text": "hello <@U1A>, see <#C1A> & <https://acme.example|here>"},
        {"text": "<!date^1392734382^{date}|today>"},
        {"text": "&lt;!channel&gt;"},
        {"text": "write to @channel"},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "@here", "verbatim": True}}]},
        {"blocks": [{"type": "section", "text": {"type": "plain_text", "text": "@here"}}]},
        {"blocks": [{"type": ["broadcast"]}]},
        {"text": "write to @channel", "link_names": False, "parse": "none"},
        {"blocks": '[{"type":"section","text":{"type":"mrkdwn","text":"hello"}}]'},
    ],
)
def test_a_message_that_calls_nobody_is_one_thing(message: dict[str, object]) -> None:
    assert done("chat.postMessage", channel="C1A", **message) == [(POST, channel("C1A"))]


@pytest.mark.parametrize(
    "message",
    [
        {"text": "<https://acme.slack.com/files/U1/F0SECRET/s.pdf| >"},
        {"text": "https://ACME.slack.com/archives/C0OTHER/p1700000000000100", "unfurl_links": True},
        {"text": "https://files.slack.com/files-pri/T1-F0SECRET/s.pdf"},
        {"blocks": [{"type": "image", "slack_file": {"id": "F0SECRET"}, "alt_text": "x"}]},
        {"blocks": '[{"type":"file","external_id":"x","source":"remote"}]'},
        {"attachments": [{"fallback": "x", "text": "https://slack-files.com/T1-F0SECRET-1"}]},
    ],
)
def test_what_shows_another_thing_asks_for_the_account(message: dict[str, object]) -> None:
    assert done("chat.postMessage", channel="C1A", **message) == [(POST, channel("C1A")), (POST, EVERYTHING)]
    link = {"title": "t", "type": "link"}
    assert done("bookmarks.add", channel_id="C1A", **link, link="https://acme.slack.com/files/U1/F1/s.pdf")[1:] == [
        ("bookmarks/add", EVERYTHING)
    ]
    for text in ("https://slack.com/help", "https://acme.example/files/1", "slack the files"):
        assert done("chat.postMessage", channel="C1A", text=text) == [(POST, channel("C1A"))]


def test_what_is_asked_by_json_is_sent_as_a_form() -> None:
    found = reading("files.list", channel="C1A", count=5, show_files_hidden_by_limit=True)
    assert found is not None
    assert (found.content_type, found.body, found.query) == (
        "application/x-www-form-urlencoded",
        b"channel=C1A&count=5&show_files_hidden_by_limit=true",
        (),
    )
    with pytest.raises(InvalidRequest, match="no text, number or list"):
        reading("files.list", channel="C1A", types={"a": 1})
    said = reading("chat.postMessage", channel="C1A", text="hello")
    assert said is not None
    assert said.content_type.startswith("application/json")


def test_what_stands_beside_json_is_sent_in_it() -> None:
    found = reading("canvases.create", (("channel_id", "C1A"),), document_content={"type": "markdown", "markdown": "x"})
    assert found is not None
    assert found.query == ()
    assert json.loads(found.body)["channel_id"] == "C1A"


def test_a_mention_in_two_pieces_is_found_in_the_first() -> None:
    for piece in ("look <", "look <!chan", "look <!channel>"):
        assert (BROADCAST, channel("C1A")) in done("chat.appendStream", channel="C1A", ts="1.2", markdown_text=piece)
    for piece in ("look", "nel> look", "a > b", "<@U1A>"):
        assert done("chat.appendStream", channel="C1A", ts="1.2", markdown_text=piece) == [
            ("chat/appendStream", channel("C1A"))
        ]
    assert done("chat.postMessage", channel="C1A", text="a < b") == [(POST, channel("C1A"))]


@pytest.mark.parametrize("blocks", ["[", "[] []", '[],"x":1', '[{"type":"a","type":"broadcast"}]', "hello"])
def test_blocks_nobody_can_read_are_refused(blocks: str) -> None:
    with pytest.raises(InvalidRequest):
        reading("chat.postMessage", channel="C1A", blocks=blocks)


def test_every_method_that_says_something_is_asked_whom_it_calls() -> None:
    for method in ("chat.postEphemeral", "chat.update", "chat.scheduleMessage", "chat.meMessage", "chat.startStream"):
        assert (BROADCAST, channel("C1A")) in done(method, channel="C1A", text="<!channel>")
    shared = done("files.completeUploadExternal", channel_id="C1A", initial_comment="<!channel>")
    assert (BROADCAST, channel("C1A")) in shared


# --- under the id that was judged
def test_a_name_is_sent_as_the_id_it_was_judged_by() -> None:
    found = reading("chat.postMessage", channel="#general", text="hello")
    assert found is not None
    assert found.by_id is not None
    assert json.loads(found.by_id(["C1A"]).body) == {"channel": "C1A", "text": "hello"}
    assert json.loads(found.by_id([""]).body) == {"channel": "#general", "text": "hello"}
    several = reading("files.completeUploadExternal", files=[], channels=["general", "C2A"])
    assert several is not None
    assert several.by_id is not None
    assert json.loads(several.by_id(["C1A", "C2A"]).body) == {"files": [], "channels": ["C1A", "C2A"]}
    in_query = reading("conversations.history", (("channel", "general"),), by="GET")
    assert in_query is not None
    assert in_query.by_id is not None
    assert in_query.by_id(["C1A"]).query == (("channel", "C1A"),)


# --- the table
def test_every_method_slacks_own_sdks_know_is_described_or_named_among_the_denied() -> None:
    text = TABLE.read_text(encoding="utf-8")
    denied = [
        word for line in text.splitlines() if line.startswith("# denied") for word in line.partition(": ")[2].split()
    ]
    described = {operation.template[1:] for operation in SLACK.operations.values()}
    assert len(METHODS) > 350
    for method in METHODS:
        is_denied = method in denied or any(method.startswith(d[:-1]) for d in denied if d.endswith(".*"))
        assert (method in described) != is_denied, method
    assert described <= set(METHODS)


def test_what_outlives_the_task_or_calls_everybody_is_a_danger_of_its_own() -> None:
    for scope in ("chat:schedule", "chat:broadcast", "channels:admin", "reminders:write"):
        assert SLACK.scopes[scope].tier == "danger"
    for operation in ("chat/scheduleMessage", "chat/broadcast"):
        assert not SLACK.contains("chat:write", operation)


# --- what a name or an id is
def lookup() -> FormLookup:
    found = SLACK.lookups["channel"]
    assert isinstance(found, FormLookup)
    return found


def test_an_id_is_an_id_and_a_name_has_its_sign() -> None:
    assert lookup().ref("C0123") == ResourceRef("channel", id="C0123")
    assert lookup().ref("engineering") == lookup().ref("#engineering") == ResourceRef("channel", name="#engineering")


def test_an_answer_that_is_no_success_names_nothing() -> None:
    thing = {"id": "C1A", "name": "general", "context_team_id": "T1"}
    facts = ResourceFacts("channel", name="#general", id="C1A", owner_id="T1")
    assert lookup().facts({"ok": True, "channel": thing}) == facts
    for other in ({"ok": False, "channel": thing}, {"channel": thing}, {"ok": 1, "channel": thing}, [], {"ok": True}):
        assert lookup().facts(other) is None
    assert lookup().facts({"ok": True, "channel": {**thing, "id": "U1A"}}) is None


def test_a_page_has_a_name_exactly_or_says_where_the_next_one_begins() -> None:
    page = {"ok": True, "channels": [{"id": "C1A", "name": "general"}], "response_metadata": {"next_cursor": "x"}}
    assert lookup().page(page, "#general") == (ResourceFacts("channel", name="#general", id="C1A"), "x")
    assert lookup().page(page, "#genera") == (None, "x")
    assert lookup().page({**page, "ok": False}, "#general") == (None, "")


def test_what_has_no_name_is_known_by_its_id() -> None:
    for name in ("", "général", "a,b"):
        facts = lookup().facts({"ok": True, "channel": {"id": "D1A", "name": name}})
        assert facts == ResourceFacts("channel", name="D1A", id="D1A")
