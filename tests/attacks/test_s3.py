"""Getting at another bucket, another operation or more power by the spelling of a call to S3."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.test_aws_leases import Account, connected
from tests.flows.test_s3_gateway import SIGNATURE, WRITE, ask
from tests.support.aws_account import KEY_SECRET
from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.s3_headers import copied_from


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Account]:
    async with connected(tmp_path / "data", None, WRITE, entitled="aws:s3:write@*") as found:
        yield found


FORBIDDEN = [
    "/acme-payroll/x",
    "/ACME-REPORTS/x",
    "/acme-reports%2F..%2Facme-payroll/x",
    "/acme-reports/../acme-payroll/x",
    "/acme-reports/%2E%2E/acme-payroll/x",
    "/acme-reports/..%2Facme-payroll/x",
    "/acme-reports//x",
    "//acme-payroll/x",
    "/./acme-payroll/x",
    "/acme-reports/x/",
    "/acme-reports/",
    "/",
    "/acme-reports/x;acl",
    "/acme%2Dpayroll/x",
    "/acme-payroll%00/x",
    "/acme-reports%5Cacme-payroll/x",
    "/acme-reports%252Fx",
    "/acme-reports/x%0D%0A",
    "/acme-reports\\acme-payroll/x",
    "/acme-reports/x?acl",
    "/acme-reports/x?ACL",
    "/acme-reports/x?acl=",
    "/acme-reports/x?%61cl",
    "/acme-reports/x?tagging",
    "/acme-reports/x?retention",
    "/acme-reports/x?legal-hold",
    "/acme-reports/x?versionId=1",
    "/acme-reports/x?torrent",
    "/acme-reports/x?attributes",
    "/acme-reports?acl",
    "/acme-reports?policy",
    "/acme-reports?versions",
    "/acme-reports?uploads",
    "/acme-reports?versioning",
    "/acme-reports?logging",
    "/acme-reports?replication",
    "/acme-reports?list-type=2&list-type=2",
    "/acme-reports?list-type=2&acl",
    "/acme-reports?list-type=1",
    "/acme-reports",
    "/acme-reports?lifecycle",
    "/acme-reports?website",
    "/acme-reports/x?X-Amz-Security-Token=a",
    "/acme-reports/x?X-Amz-Signature=a",
    "/acme-reports/x?AWSAccessKeyId=a",
    "/acme-reports/x?response-content-type=text/html",
    "/acme-reports/x?uploadId=a&partNumber=1",
    "/acme-reports/x?x-id=GetObjectAcl",
    "/acme-payroll.s3.amazonaws.com/x",
    "/arn:aws:s3:::acme-payroll/x",
    "/acme-reports.acme-payroll/x",
]


def test_there_are_at_least_forty_of_them() -> None:
    assert len(FORBIDDEN) >= 40


async def test_no_spelling_reaches_what_was_not_delegated(at: Account) -> None:
    assert (await ask(at, "GET", "/acme-reports/x")).status == 200
    for path in FORBIDDEN:
        refused = await ask(at, "GET", path)
        assert refused.status in (400, 403, 404), path
        assert KEY_SECRET not in refused.body.decode()
    assert len(at.sts.calls) == 1


@pytest.mark.parametrize(
    "header",
    [
        ("x-amz-acl", "public-read"),
        ("X-Amz-ACL", "public-read"),
        ("x_amz_acl", "public-read"),
        ("x-amz-grant-read", "uri=http://acs.amazonaws.com/groups/global/AllUsers"),
        ("x-amz-grant-full-control", 'id="1"'),
        ("x-amz-tagging", "a=b"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-website-redirect-location", "https://evil.example"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-bypass-governance-retention", "true"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-customer-key", "a"),
        ("x-amz-storage-class", "DEEP_ARCHIVE"),
        ("x-amz-request-payer", "requester"),
        ("x-amz-mfa", "1 2"),
        ("x-amz-write-offset-bytes", "0"),
        ("x-amz-what-comes-next-year", "1"),
    ],
)
async def test_a_header_that_changes_more_is_refused_and_nothing_is_sent(at: Account, header: tuple[str, str]) -> None:
    refused = await ask(at, "PUT", "/acme-reports/x", header, body=b"x")
    assert refused.status == 400
    assert header[0].lower().replace("_", "-").encode() in refused.body
    assert at.sts.calls == []
    assert (await ask(at, "PUT", "/acme-reports/x", ("x-amz-meta-acl", "public-read"), body=b"x")).status == 200


@pytest.mark.parametrize(
    "source",
    ["acme-reports", "/acme-reports/", "//acme-reports/x", "acme-reports/../acme-payroll/x", "acme-reports/%2E%2E/x",
     "acme-reports%2Fx", "acme-reports/x?versionId=1", "acme-reports//x", "acme-reports/x+y", "acme-reports/%00",
     "acme-reports/%ff", "arn:aws:s3:::acme-reports/x?a", "acme-reports/x%0a", "acme-reports/%61", "",
     "acme-reports/x y",
     "acme-reports/%252E"],
)  # fmt: skip
def test_a_source_with_two_readings_is_no_source(source: str) -> None:
    with pytest.raises(InvalidRequest):
        copied_from(source)


async def test_two_sources_or_two_credentials_are_refused(at: Account) -> None:
    twice = (("x-amz-copy-source", "acme-reports/a"), ("x-amz-copy-source", "acme-payroll/a"))
    assert (await ask(at, "PUT", "/acme-reports/x", *twice, body=b"")).status == 400
    assert (await ask(at, "GET", "/acme-reports/x", ("authorization", "Bearer a"))).status == 400
    assert (await ask(at, "DELETE", "/acme-reports/x", ("x-amz-copy-source", "acme-reports/a"))).status == 400
    assert at.sts.calls == []


async def test_a_signature_alone_opens_nothing(at: Account) -> None:
    refused = await at.house.call("GET", "/p/aws/acme-reports/x", headers={"authorization": SIGNATURE})
    assert refused.status == 401
    assert b"<Code>InvalidToken</Code>" in refused.body
    assert at.sts.calls == []


async def test_an_engine_is_told_nothing_for_a_signed_call(at: Account) -> None:
    facts = (await at.house.app.authorities.of_task(at.task["id"]))[0].connections[at.connection["id"]]
    with pytest.raises(Exception, match="an engine cannot sign"):
        await at.house.app.calls._borrow.borrow(facts)
