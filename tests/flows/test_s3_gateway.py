"""Calls to S3 through the gateway: what arrives there, how it is signed, and with whose session."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.flows.test_aws_leases import AWS, Account, connected
from tests.support import aws_programs
from tests.support.aws_account import KEY_SECRET, SESSION_TOKEN
from tests.support.http import Reply

WRITE = "aws:s3:write@acme-reports"
SIGNATURE = "AWS4-HMAC-SHA256 Credential=valetkey/20270115/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"
SECRET = "canarySecretOfTheSession0123456789"


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Account]:
    async with connected(tmp_path / "data", database_url, WRITE, entitled="aws:s3:write@*") as found:
        yield found


async def ask(at: Account, method: str, path: str, *headers: tuple[str, str], body: bytes | None = None) -> Reply:
    """A call as a stock client makes it: signed with a placeholder, our credential as the session token."""
    token = await at.agent.token(at.task["task_token"], resource=AWS)
    ours = [("authorization", SIGNATURE), ("x-amz-security-token", token)]
    more: dict[str, Any] = {} if body is None else {"body": body}
    return await at.house.call(method, f"/p/aws{path}", headers=[*ours, *headers], **more)


async def test_what_arrives_is_the_call_that_was_judged_under_the_tasks_own_session(at: Account) -> None:
    hashed = ("x-amz-content-sha256", hashlib.sha256(b"a,b\n").hexdigest())
    done = await ask(at, "PUT", "/acme-reports/2027/q%201.csv", ("x-amz-meta-a", "b"), hashed, body=b"a,b\n")
    assert done.status == 200, done.body
    (call,) = at.sts.calls
    assert (call.method, call.target, call.body) == ("PUT", "/acme-reports/2027/q%201.csv", b"a,b\n")
    headers = dict(call.headers)
    assert headers["x-amz-security-token"] == SESSION_TOKEN
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ASIASESSION")
    assert "valetkey" not in headers["authorization"]
    assert headers["x-amz-content-sha256"] == hashed[1]
    assert headers["user-agent"].endswith(f"valetkey (agent report-writer; task {at.task['id']})")
    (session,) = at.sts.sessions
    assert session.said["RoleSessionName"] == at.task["id"]
    assert session.tags["valetkey:agent"] == at.agent.id
    assert [s["Resource"] for s in session.policy["Statement"]] == [
        ["arn:aws:s3:::acme-reports"],
        ["arn:aws:s3:::acme-reports/*"],
    ]
    (decided,) = await at.house.events("call.allowed")
    assert (decided["operation"], decided["resource"]) == ("PutObject", "acme-reports/2027/q 1.csv")


CALLS: list[tuple[str, str, list[tuple[str, str]], bytes | None]] = [
    ("GET", "/acme-reports/2027/q1.csv", [("range", "bytes=0-3")], None),
    ("GET", "/acme-reports?list-type=2&prefix=2027%2F&encoding-type=url", [], None),
    ("PUT", "/acme-reports/a%20b/(c)%2B%C3%A9.csv", [("content-type", "text/csv"), ("x-amz-meta-a", "b")], b"x"),
    ("PUT", "/acme-reports/copy", [("x-amz-copy-source", "/acme-reports/a%20b")], b""),
    ("POST", "/acme-reports/large?uploads", [], b""),
    ("DELETE", "/acme-reports/large?uploadId=abc-1", [], None),
    ("HEAD", "/acme-reports", [], None),
]


@pytest.mark.skipif(aws_programs.PROGRAMS.missing() is not None, reason=str(aws_programs.PROGRAMS.missing()))
async def test_what_arrives_is_signed_as_botocore_signs_it(at: Account) -> None:
    for method, path, headers, body in CALLS:
        assert (await ask(at, method, path, *headers, body=body)).status == 200, path
    asked = []
    for call in at.sts.calls:
        headers = dict(call.headers)
        names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        kept = {name: headers[name] for name in names if name not in ("host", "x-amz-date", "x-amz-security-token")}
        asked.append(
            {
                "method": call.method,
                "url": f"http://{headers['host']}{call.target}",
                "headers": kept,
                "body": call.body.decode(),
                "token": SESSION_TOKEN,
                "service": "s3",
                "region": "us-east-1",
            }
        )
    key = dict(at.sts.calls[0].headers)["authorization"].partition("Credential=")[2].partition("/")[0]
    given = {"now": at.house.clock.now(), "key": key, "secret": SECRET, "requests": asked}
    theirs = await asyncio.to_thread(aws_programs.run, "signatures.py", env={}, given=given)
    assert [dict(call.headers)["authorization"] for call in at.sts.calls] == [t["Authorization"] for t in theirs]


async def test_a_copy_reads_its_source_and_both_parts_are_judged(at: Account) -> None:
    done = await ask(at, "PUT", "/acme-reports/new", ("x-amz-copy-source", "acme-reports/old"), body=b"")
    assert done.status == 200
    (decided,) = await at.house.events("call.allowed")
    assert (decided["operation"], [also["operation"] for also in decided["also"]]) == ("CopyObject", ["GetObject"])
    assert [also["resource"] for also in decided["also"]] == ["acme-reports/old"]
    refused = await ask(at, "PUT", "/acme-reports/new", ("x-amz-copy-source", "acme-payroll/old"), body=b"")
    assert refused.status == 403
    assert b"acme-payroll/old is not among the delegated resources" in refused.body
    assert len(at.sts.calls) == 1


async def test_a_folder_is_as_far_as_it_reaches(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", None, "aws:s3:write@acme-reports/2027", entitled=WRITE) as at:
        assert (await ask(at, "GET", "/acme-reports/2027/q1.csv")).status == 200
        assert (await ask(at, "GET", "/acme-reports?list-type=2&prefix=2027%2Fq")).status == 200
        for path in ("/acme-reports/2027", "/acme-reports/20270/q1.csv", "/acme-reports/2026/q1.csv",
                     "/acme-reports?list-type=2", "/acme-reports?list-type=2&prefix=2027",
                     "/acme-reports?list-type=2&prefix=2026%2F"):  # fmt: skip
            assert (await ask(at, "GET", path)).status == 403, path
        assert len(at.sts.calls) == 2
        (session,) = at.sts.sessions
        first, below = session.policy["Statement"]
        assert first["Condition"]["StringLike"] == {"s3:prefix": ["2027/*"]}
        assert below["Resource"] == ["arn:aws:s3:::acme-reports/2027/*"]


async def test_one_session_serves_a_task_and_many_callers_wait_for_one(at: Account) -> None:
    tokens = [await at.agent.token(at.task["task_token"], resource=AWS) for _ in range(2)]
    asked = [
        at.house.call("GET", "/p/aws/acme-reports/q1.csv", headers={"x-amz-security-token": tokens[n % 2]})
        for n in range(8)
    ]
    assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
    assert len(at.sts.sessions) == 1
    other = await at.house.task(at.delegation)
    at.task = other
    assert (await ask(at, "GET", "/acme-reports/q1.csv")).status == 200
    assert len(at.sts.sessions) == 2


async def test_a_session_is_made_anew_before_it_ends(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", None, WRITE, entitled=WRITE, seconds=7_200) as at:
        at.task = await at.house.task(at.delegation, seconds=7_000)
        assert (await ask(at, "GET", "/acme-reports/q1.csv")).status == 200
        at.house.clock.advance(3_600 - 301)
        assert (await ask(at, "GET", "/acme-reports/q1.csv")).status == 200
        assert len(at.sts.sessions) == 1
        at.house.clock.advance(1)
        assert (await ask(at, "GET", "/acme-reports/q1.csv")).status == 200
        assert len(at.sts.sessions) == 2


async def test_revoking_stops_the_next_call_and_it_is_said_in_xml(at: Account) -> None:
    token = await at.agent.token(at.task["task_token"], resource=AWS)
    ours = {"x-amz-security-token": token}
    assert (await at.house.call("GET", "/p/aws/acme-reports/q1.csv", headers=ours)).status == 200
    await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
    refused = await at.house.call("GET", "/p/aws/acme-reports/q1.csv", headers=ours)
    assert refused.status in (401, 403)
    assert refused.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>')
    assert len(at.sts.calls) == 1


async def test_no_secret_of_the_session_is_in_an_answer_or_in_the_trail(at: Account) -> None:
    at.sts.replies = (403, f"<Error><CanonicalRequest>x-amz-security-token:{SESSION_TOKEN}".encode())
    reply = await ask(at, "GET", "/acme-reports/q1.csv")
    assert reply.status == 403
    seen = reply.body.decode() + str(reply.headers) + str(await at.house.events())
    assert not [secret for secret in (SESSION_TOKEN, SECRET, KEY_SECRET) if secret in seen]
    assert "redacted" in reply.body.decode()


async def test_a_body_in_aws_chunked_goes_on_plainly_with_its_checksum(at: Account) -> None:
    coding = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "4"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]
    body = b"4\r\na,b\n\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert (await ask(at, "PUT", "/acme-reports/q1.csv", *coding, body=body)).status == 200
    (call,) = at.sts.calls
    headers = dict(call.headers)
    assert (call.body, headers["x-amz-checksum-crc32"]) == (b"a,b\n", "AAAAAA==")
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"a,b\n").hexdigest()
    assert not {"content-encoding", "x-amz-trailer", "x-amz-decoded-content-length"} & set(headers)
    longer = await ask(at, "PUT", "/acme-reports/q1.csv", *coding, body=body.replace(b"4\r\na", b"5\r\na", 1))
    assert longer.status == 400
    assert b"when_required" in longer.body


async def test_a_refusal_before_the_body_ends_the_connection(at: Account) -> None:
    place = urlsplit(at.house.base)
    token = await at.agent.token(at.task["task_token"], resource=AWS)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"PUT /p/aws/acme-payroll/x HTTP/1.1\r\nhost: {place.netloc}\r\nx-amz-security-token: {token}\r\n"
    writer.write(f"{head}content-length: 4\r\nexpect: 100-continue\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"connection: close" in answer
    assert b"100 Continue" not in answer
    assert at.sts.calls == []
