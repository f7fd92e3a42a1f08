"""The practice GitHub behaves like GitHub where the demo leans on it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from valetkey.cli.practice_github import PracticeGitHub
from valetkey.cli.practice_server import listening


@pytest.fixture
async def github() -> AsyncIterator[PracticeGitHub]:
    app = PracticeGitHub()
    app.add_user("alice", token="ghp_alice")
    app.add_user("bob", token="ghp_bob")
    app.add_repository("acme-corp/backend", writers={"alice"}, readers={"bob"}, issues=35)
    app.add_repository("acme-corp/payroll", writers={"alice"}, issues=2)
    async with listening(app) as app.base_url:
        yield app


async def asked(github, method, path, *, token="ghp_alice", body=b"", scheme="Bearer"):
    """Return status, headers and document of one call over a real socket."""
    host, port = github.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: {scheme} {token}\r\n" if token else ""
    writer.write(head.encode() + b"\r\n" + body)
    lines, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status_line, *fields = lines.decode().split("\r\n")
    return int(status_line.split()[1]), dict(field.split(": ", 1) for field in fields), json.loads(content)


async def test_a_token_belongs_to_one_person(github):
    assert (await asked(github, "GET", "/user"))[2]["login"] == "alice"
    assert (await asked(github, "GET", "/user", token="ghp_bob", scheme="token"))[2]["login"] == "bob"


@pytest.mark.parametrize(("token", "scheme"), [("ghp_nobody", "Bearer"), ("", ""), ("ghp_alice", "Basic")])
async def test_an_unknown_token_belongs_to_nobody(github, token, scheme):
    status, _, document = await asked(github, "GET", "/user", token=token, scheme=scheme)
    assert status == 401
    assert document["message"] in ("Bad credentials", "Requires authentication")


async def test_the_second_page_is_addressed_by_the_repositorys_id(github):
    number = github.repository("acme-corp/backend").id
    _, headers, first = await asked(github, "GET", "/repos/acme-corp/backend/issues")
    assert len(first) == 30
    links = dict(reversed(link.split("; ")) for link in headers["link"].split(", "))
    assert links['rel="next"'] == f"<{github.base_url}/repositories/{number}/issues?page=2>"
    assert 'rel="prev"' not in links
    _, headers, second = await asked(github, "GET", f"/repositories/{number}/issues?page=2")
    assert len(second) == 5
    assert 'rel="next"' not in headers["link"]
    assert 'rel="prev"' in headers["link"]


async def test_a_writer_opens_an_issue(github):
    body = b'{"title": "Broken", "body": "Since today"}'
    status, headers, issue = await asked(github, "POST", "/repos/acme-corp/backend/issues", body=body)
    assert status == 201
    assert headers["location"] == issue["url"] == f"{github.base_url}/repos/acme-corp/backend/issues/37"
    assert (await asked(github, "GET", "/repos/acme-corp/backend/issues/37"))[2]["body"] == "Since today"
    assert github.received("POST", "/repos/acme-corp/backend/issues") == 1


@pytest.mark.parametrize(
    ("token", "body", "expected"),
    [
        ("ghp_bob", b'{"title": "Broken"}', 403),
        ("ghp_alice", b"{}", 422),
        ("ghp_alice", b"nonsense", 400),
    ],
)
async def test_an_issue_is_not_opened(github, token, body, expected):
    before = len(github.repository("acme-corp/backend").issues)
    assert (await asked(github, "POST", "/repos/acme-corp/backend/issues", token=token, body=body))[0] == expected
    assert len(github.repository("acme-corp/backend").issues) == before


@pytest.mark.parametrize("path", ["", "/issues", "/pulls", "/contents/README.md"])
async def test_who_may_not_read_is_told_it_does_not_exist(github, path):
    number = github.repository("acme-corp/payroll").id
    for place in ("/repos/acme-corp/payroll", f"/repositories/{number}", "/repos/acme-corp/never-was"):
        status, _, document = await asked(github, "GET", place + path, token="ghp_bob")
        assert (status, document["message"]) == (404, "Not Found")
    assert (await asked(github, "GET", "/repos/acme-corp/payroll" + path))[0] == 200


async def test_a_name_ignores_case_and_an_id_never_changes(github):
    number = github.repository("acme-corp/backend").id
    assert (await asked(github, "GET", "/repos/ACME-Corp/BackEnd"))[2]["id"] == number
    github.rename("acme-corp/backend", "acme-corp/core")
    assert (await asked(github, "GET", f"/repositories/{number}"))[2]["full_name"] == "acme-corp/core"


async def test_an_old_name_leads_to_the_repository_until_another_takes_it(github):
    backend, payroll = github.repository("acme-corp/backend").id, github.repository("acme-corp/payroll").id
    github.rename("acme-corp/backend", "acme-corp/backend-old")
    status, headers, _ = await asked(github, "GET", "/repos/acme-corp/backend/issues?page=2")
    assert (status, headers["location"]) == (301, f"{github.base_url}/repositories/{backend}/issues?page=2")
    github.rename("acme-corp/payroll", "acme-corp/backend")
    status, _, document = await asked(github, "GET", "/repos/acme-corp/backend")
    assert (status, document["id"]) == (200, payroll)


async def test_a_taken_name_is_not_given_twice(github):
    with pytest.raises(ValueError, match="is taken"):
        github.rename("acme-corp/payroll", "acme-corp/backend")


async def test_a_listed_pull_request_is_completed_by_its_own_address(github):
    _, _, listed = await asked(github, "GET", "/repos/acme-corp/backend/pulls")
    assert "mergeable" not in listed[0]
    _, _, whole = await asked(github, "GET", listed[0]["url"].removeprefix(github.base_url))
    assert whole["mergeable"] is True


async def test_contents_are_files_or_folders(github):
    _, _, folder = await asked(github, "GET", "/repos/acme-corp/backend/contents")
    assert [(entry["name"], entry["type"]) for entry in folder] == [("README.md", "file"), ("src", "dir")]
    _, _, file = await asked(github, "GET", "/repos/acme-corp/backend/contents/src/main.py")
    assert file["encoding"] == "base64"
    assert (await asked(github, "GET", "/repos/acme-corp/backend/contents/nothing"))[0] == 404


async def test_every_request_is_kept_as_it_came(github):
    await asked(github, "GET", "/repos/acme%2dcorp/backend/issues?page=1&a=%20b")
    assert github.requests[-1].target == "/repos/acme%2dcorp/backend/issues?page=1&a=%20b"
    assert github.requests[-1].header("Authorization") == "Bearer ghp_alice"
    assert github.received("GET", "/repos/acme%2dcorp/backend/issues") == 1
