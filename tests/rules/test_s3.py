"""Which operation a call to S3 is, query and all."""

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.reading import Pairs, Reading, Said


def read(method: str, path: str, *query: tuple[str, str]) -> Reading | None:
    reader = load_integration("aws").reader
    assert reader is not None
    segments = tuple(path.split("/"))
    return reader(Said(method=method, segments=segments, query=query, content_type="", body=b""))


@pytest.mark.parametrize(
    ("method", "path", "query", "operation"),
    [
        ("GET", "acme-reports/2027/q1.csv", (), "GetObject"),
        ("HEAD", "acme-reports/q1.csv", (), "GetObject"),
        ("GET", "acme-reports/q1.csv", (("x-id", "GetObject"),), "GetObject"),
        ("PUT", "acme-reports/q1.csv", (("x-id", "PutObject"),), "PutObject"),
        ("DELETE", "acme-reports/q1.csv", (), "DeleteObject"),
        ("GET", "acme-reports", (("list-type", "2"),), "ListObjectsV2"),
        ("GET", "acme-reports", (("prefix", "2027/"), ("list-type", "2"), ("max-keys", "10")), "ListObjectsV2"),
    ],
)
def test_objects_are_read_written_and_listed(method: str, path: str, query: Pairs, operation: str) -> None:
    reading = read(method, path, *query)
    assert reading is not None
    assert [match.operation.id for match in reading.matches] == [operation]
    assert reading.matches[0].fields["bucket"] == "acme-reports"
    assert reading.query == query


@pytest.mark.parametrize(
    "name",
    ["acl", "policy", "tagging", "versionId", "uploadId", "partNumber", "torrent", "retention", "legal-hold",
     "attributes", "versioning", "versions", "lifecycle", "replication", "delete", "restore", "select", "ACL", "",
     "response-content-type", "X-Amz-Signature", "X-Amz-Security-Token"],
)  # fmt: skip
def test_a_sub_resource_is_another_operation_and_denied(name: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
        assert read(method, "acme-reports/q1.csv", (name, "")) is None
        assert read(method, "acme-reports", (name, "")) is None
    assert read("GET", "acme-reports", ("list-type", "2"), (name, "")) is None


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "acme-reports", ()),
        ("GET", "acme-reports", (("list-type", "1"),)),
        ("GET", "acme-reports", (("list-type", "2"), ("max-keys", "-1"))),
        ("GET", "acme-reports/q1.csv", (("list-type", "2"),)),
        ("GET", "acme-reports/q1.csv", (("x-id", "GetObjectAcl"),)),
        ("PUT", "acme-reports/q1.csv", (("x-id", "GetObject"),)),
        ("HEAD", "acme-reports", (("list-type", "2"),)),
        ("PUT", "acme-reports", ()),
        ("DELETE", "acme-reports", ()),
        ("POST", "acme-reports/q1.csv", ()),
        ("GET", "", ()),
    ],
)
def test_what_is_not_exactly_one_of_them_is_nothing(method: str, path: str, query: Pairs) -> None:
    assert read(method, path, *query) is None


def test_a_name_said_twice_has_two_readings() -> None:
    with pytest.raises(InvalidRequest):
        read("GET", "acme-reports", ("list-type", "2"), ("prefix", "a/"), ("prefix", "b/"))
