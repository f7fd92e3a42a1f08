"""A registered resource server as a value: which audiences and names it may have, and how its things compare."""

import pytest

from valetkey.server.delegations.grants import parse_grant
from valetkey.server.delegations.model import narrowed
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.registered import (
    OwnScope,
    ResourceServer,
    check_audience,
    check_name,
    check_scopes,
    integration_of,
)

SCOPES = (OwnScope(name="files:read", sentence="read"), OwnScope(name="files:write", sentence="write", tier="write"))
SERVER = ResourceServer(
    id="rsv_1",
    org="org_1",
    name="files",
    title="Files",
    audience="https://files.acme.com",
    layout="rfc8693",
    algorithm="ES256",
    scopes=SCOPES,
    service_account="svc_1",
    agent=None,
    created_by="usr_1",
    created_at=1,
)
CATALOGUE = {"files": integration_of(SERVER)}


@pytest.mark.parametrize(
    "audience",
    [
        "https://billing.acme.com",
        "https://billing.acme.com/",
        "https://billing.acme.com:8443/v2",
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://[::1]:9000/api",
    ],
)
def test_ri_1_an_audience_is_one_absolute_address(audience: str) -> None:
    check_audience(audience)


@pytest.mark.parametrize(
    "audience",
    [
        "",
        "billing",
        "urn:billing",
        "//billing.acme.com",
        "http://billing.acme.com",
        "https://",
        "https://billing.acme.com#x",
        "https://billing.acme.com#",
        "https://billing.acme.com?a=1",
        "https://billing.acme.com?",
        "https://Billing.acme.com",
        "HTTPS://billing.acme.com",
        "https://user@billing.acme.com",
        "https://billing.acme.com:443",
        "https://billing.acme.com:0",
        "https://billing.acme.com:99999",
        "https://billing.acme.com/a/../b",
        "https://billing.acme.com//b",
        "https://billing.acme.com/a%2Fb",
        "https://billing.acme.com/ b",
        "https://bill\u0456ng.acme.com",
        "https://billing.acme.com\n",
        "https://billing.acme.com/" + "a" * 600,
        "ftp://billing.acme.com",
    ],
)
def test_ri_1_anything_with_two_readings_is_no_audience(audience: str) -> None:
    with pytest.raises(InvalidRequest):
        check_audience(audience)


@pytest.mark.parametrize("name", ["", "Files", "github", "valetkey", "a b", "9a", "a" * 33, "a/b", "a:b", "mcp"])
def test_a_name_is_plain_and_nobody_elses(name: str) -> None:
    check_name("files", {"github": CATALOGUE["files"]})
    with pytest.raises(InvalidRequest):
        check_name(name, {"github": CATALOGUE["files"]})


def test_scopes_are_some_each_once_each_said() -> None:
    check_scopes(SCOPES)
    for scopes in (
        (),
        (SCOPES[0], SCOPES[0]),
        (OwnScope(name="Read", sentence="x"),),
        (OwnScope(name="openid", sentence="x"),),
        (OwnScope(name="a@b", sentence="x"),),
        (OwnScope(name="a", sentence=" "),),
        (OwnScope(name="a", sentence="x\u202ey"),),
        (OwnScope(name="a", sentence="x" * 201),),
    ):
        with pytest.raises(InvalidRequest):
            check_scopes(scopes)


def test_a_scope_contains_itself_and_no_other() -> None:
    files = CATALOGUE["files"]
    assert files.includes("files:read", "files:read")
    assert not files.includes("files:write", "files:read")
    assert not files.includes("files:read", "files:write")
    assert not files.includes("files:read", "unknown")


def test_it_has_nothing_a_gateway_could_serve() -> None:
    files = CATALOGUE["files"]
    assert not files.operations
    assert not files.hosts
    assert not files.token_positions
    assert files.is_registered
    assert files.is_seen_by("org_1")
    assert not files.is_seen_by("org_2")


def test_names_of_a_registered_server_compare_exactly() -> None:
    """What GitHub calls the same may be two things at another server."""
    held = (parse_grant("files:files:read@Acme/Report"),)
    assert narrowed(held, held, CATALOGUE)
    with pytest.raises(Denied):
        narrowed(held, (parse_grant("files:files:read@acme/report"),), CATALOGUE)
    wild = (parse_grant("files:files:read@Acme/*"),)
    assert narrowed(wild, (parse_grant("files:files:read@Acme/other"),), CATALOGUE)
    for beyond in ("acme/other", "Acme", "Acmes/other", "*", "acme/*"):
        with pytest.raises(Denied):
            narrowed(wild, (parse_grant(f"files:files:read@{beyond}"),), CATALOGUE)
    assert narrowed((parse_grant("files:files:read@*"),), held, CATALOGUE)
