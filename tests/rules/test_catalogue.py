"""What every file that describes an API keeps, ours and anybody's; and for each rule a file that breaks it, refused."""

import re
import tomllib
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from valetkey.server.integrations import catalogue
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.catalogue import load_catalogue, load_file, load_folder, parse_integration
from valetkey.server.integrations.catalogue.draft import draft, places
from valetkey.server.integrations.catalogue.lines import line_of
from valetkey.server.integrations.catalogue.scopes import DANGEROUS, RANK
from valetkey.server.integrations.catalogue.typed import Misdescribed
from valetkey.server.integrations.model import Integration, Operation

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "integrations").glob("*.toml"))
ALL: list[Integration] = [*load_catalogue().values(), *(load_file(file) for file in EXAMPLES)]
ASKED = {
    "gmail",
    "google-calendar",
    "google-drive",
    "github",
    "gitlab",
    "slack",
    "linear",
    "microsoft-graph",
    "notion",
} | {
    *("atlassian", "asana", "hubspot", "salesforce", "stripe", "discord", "dropbox", "zoom", "figma", "sentry"),
    *("pagerduty", "cloudflare", "openai", "anthropic"),
}
every = pytest.mark.parametrize("integration", ALL, ids=lambda i: i.name)

HEAD = "operation method template category access scope resource tags judged values never guards".replace(" ", "\t")
GOOD: dict[str, Any] = {
    "name": "acme",
    "title": "Acme",
    "audience": "https://api.acme.example",
    "base_url": "https://api.acme.example/v1",
    "hosts": ["api.acme.example"],
    "operations": "acme.operations.tsv",
    "injection": {"header": "authorization", "value": "Bearer {token}"},
    "token_positions": [{"header": "authorization", "scheme": "Bearer"}],
    "identify": {"path": "/me", "name": "login", "id": "id"},
    "lookups": {"thing": {"by_name": "/things/{thing_id}", "by_id": "/things/{thing_id}", "id": "id", "name": "id"}},
    "scopes": {
        "things:read": {"sentence": "read the thing", "tier": "read", "resource_kind": "thing"},
        "things:write": {
            "sentence": "change the thing",
            "tier": "write",
            "resource_kind": "thing",
            "includes": ["things:read"],
        },
        "things:share": {
            "sentence": "share the thing",
            "tier": "danger",
            "outlives": True,
            "resource_kind": "thing",
        },
    },
    "oauth": {
        "authorize_url": "https://login.acme.example/authorize",
        "token_url": "https://login.acme.example/token",
        "refresh": "rotating",
        "revocation": {"by": "rfc7009", "url": "https://login.acme.example/revoke"},
        "scopes": {
            "read": {"sentence": "read things", "tier": "read", "covers": ["things:read"]},
            "all": {"sentence": "change things", "tier": "danger", "covers": ["things:write", "things:share"]},
        },
    },
    "key": {"made_at": "https://acme.example/keys", "advice": "Make one that reads.", "pattern": "ak_[a-z]{8}"},
}
ROWS = (
    "things/get\tGET\t/things/{thing_id}\tthings\tread\tthings:read\tthing:thing_id\t\t\t\t\t",
    "things/update\tPATCH\t/things/{thing_id}\tthings\twrite\tthings:write\tthing:thing_id\t\t\t\t\t",
    "things/share\tPOST\t/things/{thing_id}/share\tthings\twrite\tthings:share\tthing:thing_id\taccess,outlives\t\t\t\t",
)


def table(*rows: str) -> str:
    return "\n".join([f"# operations: {len(rows)}", HEAD, *rows]) + "\n"


def changed(path: str, value: object) -> dict[str, Any]:
    """The good file with one fact changed; `…` as the value leaves it out."""
    document = deepcopy(GOOD)
    *way, last = path.split("/")
    place: Any = document
    for key in way:
        place = place.setdefault(key, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def apps(integration: Integration) -> list[OAuth]:
    return [] if integration.oauth is None else [integration.oauth, *integration.oauth.variants.values()]


# --- what comes with Valetkey
def test_the_apis_people_asked_for_are_there() -> None:
    assert set(load_catalogue()) >= ASKED
    assert len(load_catalogue()) >= 20


@every
def test_every_scope_has_operations_and_can_be_had(integration: Integration) -> None:
    assert not [s.name for s in integration.scopes.values() if not s.operations]
    if integration.key is not None or integration.role is not None or any(app.app_decides for app in apps(integration)):
        return
    had = frozenset().union(*(scope.covers for app in apps(integration) for scope in app.scopes.values()))
    assert set(integration.scopes) <= had


@every
def test_an_app_that_asks_for_a_scope_of_ours_gets_what_serves_it(integration: Integration) -> None:
    for app in apps(integration):
        for scope in app.scopes.values():
            for covered in scope.covers:
                assert covered in app.powers(app.asked_for({covered}))


@every
def test_there_is_a_way_to_connect_it(integration: Integration) -> None:
    assert integration.oauth is not None or integration.key is not None or integration.role is not None


@every
def test_every_operation_is_found_by_its_own_path(integration: Integration) -> None:
    for operation in integration.operations.values():
        # known by another path, by what a body says, or by its query
        if operation.tags & {"alias", "body"} or operation.category == "smart-http":
            continue
        match = integration.operations.match(operation.method, filled(operation))
        assert match is not None, operation.id
        assert match.operation.id == operation.id


@every
def test_what_is_not_described_matches_nothing(integration: Integration) -> None:
    for method, path in (("POST", ("nobody", "described", "this")), ("TRACE", ()), ("GET", ())):
        found = integration.operations.match(method, path)
        assert found is None or found.operation.template == "/"


@every
def test_every_resource_an_operation_names_can_be_looked_up(integration: Integration) -> None:
    kinds = {o.resource_kind for o in integration.operations.values()} - {"account"}
    if integration.name == "github":  # an enterprise has no lookup there, so every call about one is denied
        kinds -= {"enterprise"}
    if integration.role is not None:  # its names are looked up nowhere: they are the account's, or nothing
        kinds -= {integration.role.resource_kind}
    answered = {question.answers for question in integration.questions.values()}
    assert kinds <= set(integration.lookups) | answered


@every
def test_danger_is_never_implied(integration: Integration) -> None:
    for scope in integration.scopes.values():
        for name in scope.operations:
            operation = integration.operations[name]
            assert RANK[integration.scopes[operation.scope].tier] <= RANK[scope.tier]
            if scope.tier != "danger":
                assert not operation.tags & DANGEROUS, operation.id


@every
def test_a_credential_goes_to_the_api_and_an_apps_secret_to_its_authorization_server(integration: Integration) -> None:
    assert urlsplit(integration.base_url).netloc in integration.hosts
    for app in apps(integration):
        assert urlsplit(app.token_url).scheme == urlsplit(app.authorize_url).scheme == "https"
        if app.revocation is not None:
            own = integration.hosts | {urlsplit(app.token_url).netloc, urlsplit(app.authorize_url).netloc}
            assert urlsplit(app.revocation.url).netloc in own


def test_every_file_says_where_a_fact_could_not_be_verified_and_names_no_other_catalogue() -> None:
    for entry in resources.files(catalogue).iterdir():
        if entry.name.endswith(".toml"):
            text = entry.read_text(encoding="utf-8")
            assert text.startswith("# "), entry.name
            assert not re.search(r"nango|pipedream|composio|arctic|zapier", text, re.IGNORECASE), entry.name


def filled(operation: Operation) -> tuple[str, ...]:
    parts = []
    for part in operation.template.split("/")[1:]:
        name = part.strip("{+}")
        values = operation.values.get(name)
        parts.append(part if "{" not in part else sorted(values)[0] if values else "x7")
    return () if operation.template == "/" else tuple(parts)


# --- the good file, and one twin for each rule
def test_the_good_file_is_taken() -> None:
    integration = parse_integration(deepcopy(GOOD), table(*ROWS))
    assert integration.contains("things:write", "things/get")
    assert not integration.contains("things:write", "things/share")


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("colour", "red", "colour"),
        ("oauth/colour", "red", "oauth.colour"),
        ("oauth/revocation/colour", "red", "oauth.revocation.colour"),
        ("oauth/scopes/read/colour", "red", "oauth.scopes.read.colour"),
        ("key/colour", "red", "key.colour"),
        ("identify/colour", "red", "identify.colour"),
        ("injection/colour", "red", "injection.colour"),
        ("lookups/thing/colour", "red", "lookups.thing.colour"),
        ("scopes/things:read/colour", "red", 'scopes."things:read".colour'),
        ("name", ..., "name"),
        ("name", "Acme", "name"),
        ("name", "../acme", "name"),
        ("name", 7, "name"),
        ("title", "\x1b[31mAcme", "title"),
        ("hosts", [], "hosts"),
        ("hosts", ["other.example"], "hosts"),
        ("hosts", ["api.acme.example", "*.acme.example"], "hosts"),
        ("hosts", ["api.acme.example", "https://acme.example"], "hosts"),
        ("audience", "http://api.acme.example", "audience"),
        ("audience", "https://api.acme.example/", "audience"),
        ("base_url", "http://api.acme.example/v1", "base_url"),
        ("base_url", "http://127.0.0.1/v1", "base_url"),
        ("base_url", "https://alice@api.acme.example/v1", "base_url"),
        ("base_url", "https://api.acme.example/v1?x=1", "base_url"),
        ("base_url", "https://api.acme.example/v1/../v2", "base_url"),
        ("oauth/authorize_url", "https://login.acme.example/authorize#x", "oauth.authorize_url"),
        ("oauth/token_url", "http://login.acme.example/token", "oauth.token_url"),
        ("oauth/token_url", ..., "oauth.token_url"),
        ("oauth/device_url", "http://login.acme.example/device", "oauth.device_url"),
        ("oauth/client_authentication", "magic", "oauth.client_authentication"),
        ("oauth/pkce", "yes", "oauth.pkce"),
        ("oauth/extra", {"state": "fixed"}, "oauth.extra.state"),
        ("oauth/extra", {"redirect_uri": "https://evil.example"}, "oauth.extra.redirect_uri"),
        ("oauth/always", ["nobody-described"], "oauth.always"),
        ("oauth/scope_separator", ";", "oauth.scope_separator"),
        ("oauth/sends_iss", True, "oauth.issuer"),
        ("oauth/app_decides", True, "oauth.app_decides"),
        ("oauth/lasts_seconds", 0, "oauth.lasts_seconds"),
        ("oauth/variants", {"Bot": {}}, "oauth.variants.Bot"),
        ("oauth/variants", {"bot": {"colour": "red"}}, "oauth.variants.bot.colour"),
        ("oauth/variants", {"bot": {"refresh": "none", "refresh_kills_access": True}}, "oauth.variants.bot.refresh"),
        ("oauth/scopes/read/sentence", "Reads things.", "oauth.scopes.read.sentence"),
        ("oauth/scopes/read/sentence", "", "oauth.scopes.read.sentence"),
        ("oauth/scopes/read/sentence", "read\nthings", "oauth.scopes.read.sentence"),
        ("oauth/scopes/read/covers", ["nobody:described"], "oauth.scopes.read.covers"),
        ("oauth/scopes/read/covers", ["things:share"], "oauth.scopes.read.tier"),
        ("oauth/scopes/all/tier", "write", "oauth.scopes.all.tier"),
        ("oauth/revocation/by", "shouting", "oauth.revocation.by"),
        ("oauth/revocation/url", "https://evil.example/revoke", "oauth.revocation.url"),
        ("oauth/revocation/url", "https://login.acme.example/{token}", "oauth.revocation.url"),
        ("oauth/revocation/method", "GET", "oauth.revocation.method"),
        ("oauth/revocation", {"by": "path", "url": "https://login.acme.example/revoke"}, "oauth.revocation.url"),
        ("oauth/revocation", {"by": "path", "url": "https://login.acme.example/{id}"}, "oauth.revocation.url"),
        ("oauth/revocation", {"by": "github", "url": "https://login.acme.example/x"}, "oauth.revocation.url"),
        ("key/made_at", "http://acme.example/keys", "key.made_at"),
        ("key/advice", " ", "key.advice"),
        ("key/pattern", "[", "key.pattern"),
        ("key/pattern", "a*", "key.pattern"),
        ("injection/value", "Bearer", "injection.value"),
        ("injection/value", "{token} {token}", "injection.value"),
        ("injection/value", "{token} {token.__class__}", "injection.value"),
        ("injection/value", "Bearer {token}\r\nx: y", "injection.value"),
        ("injection/header", "Authorization", "injection.header"),
        ("injection/header", "host", "injection.header"),
        ("token_positions", [], "token_positions"),
        ("token_positions", [{"header": "authorization", "scheme": "Magic"}], "token_positions.scheme"),
        ("headers", {"authorization": "Bearer mine"}, "headers"),
        ("headers", {"x-version": "1\r\nx: y"}, "headers"),
        ("identify/path", "me", "identify.path"),
        ("identify/path", "/me?x=1", "identify.path"),
        ("identify/body", "{}", "identify"),
        ("identify/method", "DELETE", "identify.method"),
        ("lookups/thing/by_id", "//things", "lookups.thing.by_id"),
        ("lookups/thing/query", {"fields": "id&access_token=x"}, "lookups.thing.query"),
        ("lookups/thing/query", {"a b": "id"}, "lookups.thing.query"),
        ("lookups/thing/query", {"fields": 7}, "lookups.thing.query"),
        ("scopes/things:read/sentence", "may read", 'scopes."things:read".sentence'),
        ("scopes/things:read/reversible", False, 'scopes."things:read".reversible'),
        ("scopes/things:read/operations", ["things/share"], 'scopes."things:read".operations'),
        ("scopes/things:write/tier", "read", 'scopes."things:write".tier'),
        ("scopes/things:write/includes", ["things:share"], 'scopes."things:write".tier'),
        ("scopes/things:write/includes", ["nobody:described"], 'scopes."things:write".includes'),
        ("scopes/things:share/tier", "write", 'scopes."things:share".tier'),
        ("scopes/things:share/outlives", False, 'scopes."things:share".outlives'),
        ("scopes/things:share/resource_kind", "account", "operations"),
        ("scopes/things:share", ..., "operations"),
        ("aliases", [{"pattern": "/x", "stands_for": "/y", "colour": "red"}], "aliases.colour"),
        ("oauth", "yes", "oauth"),
        ("reader", "nobody", "reader"),
        ("graphql", {"path": "graphql", "table": "acme.graphql.tsv"}, "graphql.path"),
        ("graphql", {"path": "/graphql"}, "graphql.table"),
        ("graphql", {"path": "/graphql", "table": "acme.graphql.tsv", "colour": "red"}, "graphql.colour"),
    ],
)
def test_a_file_that_breaks_one_rule_is_refused_by_the_name_of_the_key(path: str, value: object, key: str) -> None:
    with pytest.raises(Misdescribed) as refused:
        parse_integration(changed(path, value), table(*ROWS))
    assert refused.value.key == key


ASKED_BY_FORM: dict[str, Any] = {
    "by_id": "/things.info",
    "argument": "thing",
    "ids": "T[0-9]{1,9}",
    "success": "ok",
    "at": "thing",
    "id": "id",
    "name": "name",
    "listed": {"path": "/things.list", "at": "things", "cursor": "cursor", "next": "next", "most_pages": 9},
}


def test_a_lookup_by_form_is_taken_and_one_that_breaks_a_rule_is_refused() -> None:
    assert "thing" in parse_integration(changed("lookups/thing", ASKED_BY_FORM), table(*ROWS)).lookups
    for key, value, at in (
        ("ids", ".*", "lookups.thing.ids"),
        ("ids", "[", "lookups.thing.ids"),
        ("by_id", "things.info", "lookups.thing.by_id"),
        ("colour", "red", "lookups.thing.colour"),
        ("listed", {**ASKED_BY_FORM["listed"], "most_pages": 0}, "lookups.thing.listed.most_pages"),
        ("listed", {**ASKED_BY_FORM["listed"], "path": "/a?b"}, "lookups.thing.listed.path"),
        ("listed", {**ASKED_BY_FORM["listed"], "colour": "red"}, "lookups.thing.listed.colour"),
    ):
        with pytest.raises(Misdescribed) as refused:
            parse_integration(changed("lookups/thing", {**ASKED_BY_FORM, key: value}), table(*ROWS))
        assert refused.value.key == at


def test_a_reader_nobody_wrote_or_one_whose_operations_are_missing_is_refused() -> None:
    speaking = ROWS[1].replace("thing:thing_id\t\t", "thing:thing_id\tmessage\t")
    for reader, rows, at in (("nobody", ROWS, "reader"), ("slack", (ROWS[0], speaking, ROWS[2]), "operations")):
        with pytest.raises(Misdescribed) as refused:
            parse_integration(changed("reader", reader), table(*rows))
        assert refused.value.key == at
    assert parse_integration(changed("reader", "slack"), table(*ROWS)).reader is not None


QUESTION = {
    "answers": "thing",
    "path": "/graphql",
    "by_id": "query($it: ID!) { part(id: $it) { thing { id name } } }",
    "id": "data.part.thing.id",
    "name": "data.part.thing.name",
}


def test_a_question_that_does_more_than_ask_is_refused() -> None:
    assert parse_integration(changed("questions", {"part": QUESTION}), table(*ROWS)).questions["part"]
    for kind, more, key in (
        ("part", {"by_id": "mutation($it: ID!) { part(id: $it) { thing { id name } } }"}, "questions.part.by_id"),
        ("part", {"by_id": "query($it: ID!) { part(id: 1) { thing { id name } } }"}, "questions.part.by_id"),
        ("part", {"by_name": "{ parts { thing { id name } } }"}, "questions.part.by_name"),
        ("part", {"path": "graphql"}, "questions.part.path"),
        ("part", {"colour": "red"}, "questions.part.colour"),
        ("thing", {}, "questions.thing"),
    ):
        with pytest.raises(Misdescribed) as refused:
            parse_integration(changed("questions", {kind: {**QUESTION, **more}}), table(*ROWS))
        assert refused.value.key == key


def test_a_graphql_file_that_breaks_a_rule_is_refused() -> None:
    document = changed("graphql", {"path": "/graphql", "table": "acme.graphql.tsv"})
    call = "call\tquery/part\tread\tthings:read\tthing\tid>part\t\t\t"
    assert "query/part" in parse_integration(document, table(*ROWS), calls=call).operations
    for wrong, key in ((call.replace("things:read", "things:nobody"), "operations"), (call + "\tx", "graphql.table")):
        with pytest.raises(Misdescribed) as refused:
            parse_integration(document, table(*ROWS), calls=wrong)
        assert key in refused.value.key
    with pytest.raises(Misdescribed, match="already"):
        parse_integration({**document, "reader": "x"}, table(*ROWS), calls=call)


def test_a_table_that_breaks_a_rule_is_refused() -> None:
    for rows in (
        (*ROWS, ROWS[0]),
        (ROWS[0].replace("GET", "get\tx"),),
        (ROWS[0].replace("{thing_id}", "{thing_id"),),
        (ROWS[1].replace("things:write", "things:read"), ROWS[0]),
        (ROWS[0].replace("\t\t\t\t\t", "\tmints\t\t\t\t"),),
    ):
        with pytest.raises(Misdescribed):
            parse_integration(deepcopy(GOOD), table(*rows))


def test_plain_http_is_for_this_machine_and_only_where_it_was_allowed() -> None:
    here = changed("base_url", "http://127.0.0.1:4100") | {"hosts": ["127.0.0.1:4100"]}
    assert parse_integration(here, table(*ROWS), loopback=True).base_url == "http://127.0.0.1:4100"
    for document, loopback in ((here, False), (changed("base_url", "http://api.acme.example/v1"), True)):
        with pytest.raises(Misdescribed):
            parse_integration(document, table(*ROWS), loopback=loopback)


# --- a folder of an administrator's own
def written(folder: Path, name: str = "acme", **facts: str) -> Path:
    text = (EXAMPLES[0].parent / "oidc.toml").read_text()
    for old, new in {'"oidc"': f'"{name}"', **facts}.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "oidc.operations.tsv").write_text((EXAMPLES[0].parent / "oidc.operations.tsv").read_text())
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


def test_a_folder_adds_to_what_is_there(tmp_path: Path) -> None:
    written(tmp_path)
    found = load_folder(tmp_path, load_catalogue())
    assert set(found) == {*load_catalogue(), "acme"}


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        ("github", {}, "github is taken"),
        (
            "acme",
            {'audience = "https://reports.acme.example"': 'audience = "https://api.github.com"'},
            "api.github.com is taken",
        ),
        (
            "acme",
            {'audience = "https://reports.acme.example"': 'audience = "https://gateway.example/x"'},
            "this server's own",
        ),
        ("acme", {'"acme"': '"other"'}, "its file acme.toml"),
        ("acme", {"oidc.operations.tsv": "../../secret.tsv"}, "no table beside"),
        ("acme", {"oidc.operations.tsv": "none.tsv"}, "cannot be read"),
        ("acme", {"[injection]": "[injection"}, "no TOML"),
    ],
)
def test_a_folder_with_one_bad_file_is_refused_whole(
    tmp_path: Path, name: str, facts: dict[str, str], why: str
) -> None:
    written(tmp_path, name, **facts)
    with pytest.raises(Misdescribed, match=re.escape(why)) as refused:
        load_folder(tmp_path, load_catalogue(), own=("https://gateway.example",))
    assert refused.value.key.startswith(f"{name}.toml")


def test_two_files_of_a_folder_cannot_share_an_audience(tmp_path: Path) -> None:
    written(tmp_path, "a-acme")
    written(tmp_path, "b-acme")
    with pytest.raises(Misdescribed, match=r"b-acme\.toml: audience.* is taken"):
        load_folder(tmp_path, load_catalogue())


# --- a draft from what a server says of itself
METADATA: dict[str, object] = {
    "issuer": "https://id.acme.example",
    "authorization_endpoint": "https://id.acme.example/authorize",
    "token_endpoint": "https://id.acme.example/token",
    "revocation_endpoint": "https://id.acme.example/revoke",
    "code_challenge_methods_supported": ["S256"],
    "scopes_supported": ["openid", "tickets:read", 'x"]\n[evil]', 7],
    "authorization_response_iss_parameter_supported": True,
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
}


def test_a_draft_is_a_file_but_for_what_only_a_person_knows() -> None:
    text = draft("https://id.acme.example", METADATA, places("https://id.acme.example")[0])
    document = tomllib.loads(text)
    oauth = document["oauth"]
    assert oauth["token_url"] == "https://id.acme.example/token"
    assert (oauth["client_authentication"], oauth["sends_iss"], "pkce" in oauth) == ("post", True, False)
    assert set(oauth["scopes"]) == {"openid", "tickets:read"}
    with pytest.raises(Misdescribed, match="audience"):
        parse_integration(document, table())


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://other.example"},
        {"issuer": "https://id.acme.example/"},
        {"token_endpoint": None},
        {"token_endpoint": "http://id.acme.example/token"},
        {"token_endpoint": 'https://id.acme.example/"\n[evil]'},
    ],
)
def test_metadata_that_cannot_be_believed_makes_no_draft(wrong: dict[str, object]) -> None:
    with pytest.raises(Misdescribed):
        draft("https://id.acme.example", {**METADATA, **wrong}, "x")


def test_the_line_of_a_key_is_found_through_quotes_and_tables() -> None:
    text = '# x\nname = "a"\n[oauth.scopes."x:y"]\nsentence = "s"\n[[aliases]]\npattern = "p"\n'
    assert [line_of(text, key) for key in ("name", 'oauth.scopes."x:y".sentence', "aliases.pattern", "title")] == [
        2,
        4,
        6,
        0,
    ]
    assert line_of(text, 'oauth.scopes."x:y".tier') == 3


# --- a role, and for each rule of it a file that breaks it
ROLE: dict[str, Any] = {
    "sts": "https://api.acme.example/",
    "region": "us-east-1",
    "resource_kind": "bucket",
    "allowed": [
        {"scope": scope, "actions": ["s3:GetObject"], "resource": "arn:aws:s3:::{name}/*"}
        for scope in ("things:read", "things:write", "things:share")
    ],
}


def allowed(**facts: object) -> list[dict[str, Any]]:
    return [{**ROLE["allowed"][0], **facts}, *ROLE["allowed"][1:]]


def test_a_file_with_a_role_is_taken() -> None:
    role = parse_integration({**deepcopy(GOOD), "role": deepcopy(ROLE)}, table(*ROWS)).role
    assert role is not None
    assert role.actions_of({"things:read"}) == {"s3:GetObject"}


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        ({"sts": "https://sts.elsewhere.example/"}, "role.sts"),
        ({"sts": "http://api.acme.example/"}, "role.sts"),
        ({"region": "us-east-1/../x"}, "role.region"),
        ({"resource_kind": "thing"}, "role.resource_kind"),
        ({"colour": "red"}, "role.colour"),
        ({"allowed": []}, "role.allowed"),
        ({"allowed": ROLE["allowed"][1:]}, "role.allowed"),
        ({"allowed": allowed(actions=[])}, "role.allowed.actions"),
        ({"allowed": allowed(actions=["s3:*"])}, "role.allowed.actions"),
        ({"allowed": allowed(actions=["*"])}, "role.allowed.actions"),
        ({"allowed": allowed(resource="*")}, "role.allowed.resource"),
        ({"allowed": allowed(resource="arn:aws:s3:::{name}*")}, "role.allowed.resource"),
        ({"allowed": allowed(resource="arn:aws:s3:::acme/*")}, "role.allowed.resource"),
        ({"allowed": allowed(scope="things:steal")}, "role.allowed.scope"),
    ],
)
def test_a_role_that_would_say_more_is_refused(facts: dict[str, Any], key: str) -> None:
    with pytest.raises(Misdescribed) as refused:
        parse_integration({**deepcopy(GOOD), "role": {**deepcopy(ROLE), **facts}}, table(*ROWS))
    assert refused.value.key == key
