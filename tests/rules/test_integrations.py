"""Integrations as values: read whole or not at all, pointed at another base, asked who a resource is."""

import json
from typing import Any

import pytest
from tools.github_operations import read_rules, table

from valetkey.server.integrations.catalogue import load_catalogue, load_integration, parse_integration
from valetkey.server.integrations.model import ResourceFacts, ResourceRef, same_name
from valetkey.server.integrations.operations import Alias, compile_operations, parse_operations

GITHUB = load_integration("github")
HEAD = "operation method template category access scope resource tags judged values never guards".replace(" ", "\t")
ROW = "a/read\tGET\t/a/{id}\ta\tread\ta:read\taccount\t\tid\t\t\t"
SCOPES = {"a:read": {"sentence": "read a", "tier": "read", "resource_kind": "account"}}


def document(**changed: Any) -> dict[str, Any]:
    plain = {"name": "a", "title": "A", "audience": "https://a", "base_url": "https://a", "hosts": ["a"]}
    positions = [{"header": "authorization", "scheme": "Bearer"}]
    how = {"token_positions": positions, "injection": {"header": "authorization", "value": "Bearer {token}"}}
    return {**plain, **how, "scopes": SCOPES, **changed}


def written(*rows: str, count: int | None = None) -> str:
    return "\n".join([f"# operations: {len(rows) if count is None else count}", HEAD, *rows]) + "\n"


def test_the_catalogue_has_one_audience_each() -> None:
    catalogue = load_catalogue()
    assert catalogue["github"].audience == "https://api.github.com"
    assert len({i.audience for i in catalogue.values()}) == len(catalogue)
    with pytest.raises(KeyError):
        load_integration("../github")


def test_an_operation_that_a_body_names_is_matched_by_no_path() -> None:
    linear = load_integration("linear")
    assert linear.contains("issues:write", "mutation/issueUpdate")
    for operation in linear.operations.values():
        assert linear.operations.match("POST", tuple(operation.template.split("/")[1:])) is None
    assert linear.operations.match("POST", ("graphql",)) is None


def test_a_table_is_read_whole_or_not_at_all() -> None:
    assert [o.id for o in parse_operations(written(ROW))] == ["a/read"]
    for broken in (
        written(ROW, count=2),
        written(ROW + "\tmore"),
        written(ROW.replace("\tread\t", "\tpeek\t")),
        written(ROW).replace("guards", "guard"),
        "",
    ):
        with pytest.raises(ValueError, match=r"\w"):
            parse_operations(broken)


def test_two_operations_on_one_path_are_refused() -> None:
    other = ROW.replace("a/read", "a/other").replace("{id}", "{name}")
    with pytest.raises(ValueError, match="another operation"):
        compile_operations(parse_operations(written(ROW, other)))
    with pytest.raises(ValueError, match="two operations"):
        compile_operations(parse_operations(written(ROW, ROW)))


def test_an_alias_never_takes_the_place_of_a_documented_path() -> None:
    rows = parse_operations(written(ROW, ROW.replace("a/read", "b/read").replace("/a/", "/b/")))
    operations = compile_operations(rows, [Alias("/a/{number}", "/b/{id}"), Alias("/c/{number}", "/b/{id}")])
    first, second = operations.match("GET", ("a", "7")), operations.match("GET", ("c", "7"))
    assert first is not None
    assert second is not None
    assert (first.operation.id, second.operation.id) == ("a/read", "b/read")
    assert operations.match("GET", ("c", "x")) is None


def test_a_description_with_a_word_nobody_knows_is_refused() -> None:
    assert parse_integration(document(), written(ROW)).contains("a:read", "a/read")
    wrong_kind = {"a:read": {**SCOPES["a:read"], "resource_kind": "repository"}}
    lost_include = {"a:read": {**SCOPES["a:read"], "includes": ["b:read"]}}
    for broken in (
        document(host=["a"]),
        document(scopes={}),
        document(scopes=wrong_kind),
        document(scopes=lost_include),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            parse_integration(broken, written(ROW))
    with pytest.raises(ValueError, match="guards ask"):
        parse_integration(document(), written(ROW + "id:x/:lost:write"))


def test_an_empty_scope_is_part_of_nothing_but_itself() -> None:
    empty = {"sentence": "do nothing", "tier": "read", "resource_kind": "account"}
    integration = parse_integration(document(scopes={**SCOPES, "none": empty}), written(ROW))
    assert integration.includes("none", "none")
    assert not integration.includes("a:read", "none")


def test_names_compare_as_the_upstream_compares_them() -> None:
    assert same_name("Acme-Corp/Backend", "acme-corp/backend")
    assert not same_name("acme/backend", "acme/backend2")
    assert not same_name("acme/bac\u212aend", "acme/backend")  # KELVIN SIGN
    assert not same_name("acme/ba\u017fe", "acme/base")  # LONG S
    assert not same_name("ABC", "abc", kind="gist")


@pytest.mark.parametrize(
    ("base", "host", "path"),
    [
        ("https://Git.Acme.com/api/v3/", "git.acme.com", "/api/v3"),
        ("http://127.0.0.1:4100", "127.0.0.1:4100", ""),
        ("http://[::1]:4100", "[::1]:4100", ""),
    ],
)
def test_an_integration_can_be_pointed_at_another_base(base: str, host: str, path: str) -> None:
    moved = GITHUB.with_host(base)
    assert moved.hosts == {host}
    assert moved.base_path == path
    assert moved.audience == GITHUB.audience
    assert GITHUB.with_host(base, audience="https://other").audience == "https://other"
    assert GITHUB.hosts == {"api.github.com", "github.com"}
    usual = (("https://api.github.com", ""), ("https://github.com", "/git"))
    assert moved.known_at[:2] == GITHUB.known_at == usual
    assert len(moved.known_at) == (4 if base.startswith("https") else 2)


@pytest.mark.parametrize(
    "base",
    [
        *("ftp://a", "https://", "https://u:p@a", "https://a?x", "https://a#x", "https://a//b", "https://a/../b", "a"),
        *(" https://a", "https://a:x", "https://a:0", "https://a/%2e", "https://a\n", "https://\u0430.com"),
    ],
)
def test_a_poor_base_address_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        GITHUB.with_host(base)


def test_a_repository_is_looked_up_by_name_and_by_id() -> None:
    lookup = GITHUB.lookups["repository"]
    assert lookup.segments(ResourceRef("repository", name="acme/backend")) == ("repos", "acme", "backend")
    assert lookup.segments(ResourceRef("repository", id="5")) == ("repositories", "5")
    answer = {"id": 5, "full_name": "acme/backend", "owner": {"id": 9}}
    assert lookup.facts(answer) == ResourceFacts("repository", name="acme/backend", id="5", owner_id="9")
    assert GITHUB.lookups["organization"].segments(ResourceRef("organization", id="9")) == ("organizations", "9")
    assert GITHUB.operations.match("GET", ("repositories", "5")) is not None


@pytest.mark.parametrize(
    "ref",
    [
        *(ResourceRef("repository", name=name) for name in ("acme", "acme/", "a/b/c", "../backend", "")),
        *(ResourceRef("repository"), ResourceRef("repository", name="a/b", id="5"), ResourceRef("gist", id="5")),
    ],
)
def test_a_lookup_of_something_else_is_refused(ref: ResourceRef) -> None:
    with pytest.raises(ValueError, match="repository"):
        GITHUB.lookups["repository"].segments(ref)


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], {}, {"id": 5}, {"id": 5, "full_name": "a/b"}, {"id": True, "full_name": "a/b", "owner": {"id": 9}}),
        *({"id": 5, "full_name": "a/b", "owner": None}, {"id": 5, "full_name": "", "owner": {"id": 9}}),
    ],
)
def test_an_answer_that_does_not_name_the_thing_is_no_fact(answer: object) -> None:
    assert GITHUB.lookups["repository"].facts(answer) is None


def test_addresses_are_known_by_key_and_header() -> None:
    assert GITHUB.addresses.is_key("url")
    assert GITHUB.addresses.is_key("comments_url")
    assert not GITHUB.addresses.is_key("body")
    assert GITHUB.addresses.headers == {"link", "location"}


def test_an_operation_without_a_rule_stops_the_tool_that_writes_the_table() -> None:
    about = {"operationId": "a/new", "responses": {}, "x-github": {"category": "a", "subcategory": None}}
    described = {"paths": {"/repos/{owner}/{repo}/new": {"get": about}}}
    assert "a/new\tGET" in table(described, read_rules("GET  R/new  repo:read"), "test")
    with pytest.raises(SystemExit, match="no rule: GET"):
        table(described, read_rules("GET  R/old  repo:read"), "test")
    with pytest.raises(SystemExit, match="nothing needs"):
        table(described, read_rules("GET  R/new  repo:read\nGET  R/old  repo:read"), "test")


def test_a_question_is_one_of_two_fixed_documents_with_what_the_call_named() -> None:
    team = load_integration("linear").questions["team"]
    number = "11111111-1111-4111-8111-111111111111"
    for ref, begins in (
        (ResourceRef("team", name="LIN"), "query($it: String!) { teams("),
        (ResourceRef("team", id="LIN"), "query($it: String!) { teams("),
        (ResourceRef("team", id=number), "query($it: String!) { team("),
        (ResourceRef("team", name=number), "query($it: String!) { team("),
        (ResourceRef("team", name='") { id } viewer { email'), "query($it: String!) { teams("),
    ):
        body = json.loads(team.body(ref))
        assert body["query"].startswith(begins)
        assert body["variables"] == {"it": ref.name or ref.id}
        assert body["query"] in (team.by_id, team.by_name)


def test_an_answer_that_does_not_plainly_name_one_resource_names_none() -> None:
    team = load_integration("linear").questions["team"]
    lin = {"id": "1", "key": "LIN"}
    assert team.facts({"data": {"team": lin}}) == ResourceFacts("team", name="LIN", id="1", outside=False)
    assert team.facts({"data": {"teams": {"nodes": [lin]}}}) == ResourceFacts("team", name="LIN", id="1", outside=False)
    for answer in (
        None,
        [],
        {"data": None},
        {"data": {"team": lin}, "errors": [{"message": "x"}]},
        {"data": {"team": {"id": "1"}}},
        {"data": {"team": {"id": ["1"], "key": "LIN"}}},
        {"data": {"teams": {"nodes": []}}},
        {"data": {"teams": {"nodes": [lin, lin]}}},
        {"data": {"team": lin, "teams": {"nodes": [{"id": "2", "key": "OPS"}]}}},
    ):
        assert team.facts(answer) is None, answer
