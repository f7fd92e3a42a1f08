"""How a call to Amazon S3 is read, path style: query and headers make another operation of the same path.

`GET /bucket/key` is an object, `GET /bucket/key?acl` its access list; `PUT` with `x-amz-copy-source` reads another
object, which is judged as a part of its own. A query name or a header of S3's that is not known here is no operation,
or refused with the reason. What is said twice has two readings. Refuses to know bodies and signatures.
Facts: Amazon S3 API Reference, the request syntax of each operation.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Match, ResourceRef
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Pairs, Reading, Reads, Said
from valetkey.server.integrations.role import OBJECT
from valetkey.server.integrations.s3_headers import COPY_SOURCE, check_headers, copied_from

_ANY: Final = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_UPLOAD: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,1024}")
_LISTING: Final[Mapping[str, re.Pattern[str]]] = {
    "list-type": re.compile(r"2"),
    "prefix": _ANY,
    "delimiter": _ANY,
    "start-after": _ANY,
    "continuation-token": _ANY,
    "encoding-type": re.compile(r"url"),
    "max-keys": re.compile(r"[0-9]{1,4}"),
    "fetch-owner": re.compile(r"true|false"),
}
_SAYS: Final[Mapping[str, re.Pattern[str]]] = {
    "uploads": re.compile(r""),
    "location": re.compile(r""),
    "uploadId": _UPLOAD,
    "partNumber": _NUMBER,
    "max-parts": _NUMBER,
    "part-number-marker": _NUMBER,
    **_LISTING,
}
# Which operation of an object: by method and by what the query must say; what else it may say comes last.
_OF_OBJECTS: Final[Sequence[tuple[str, frozenset[str], str, frozenset[str]]]] = (
    ("GET", frozenset(), "GetObject", frozenset()),
    ("HEAD", frozenset(), "GetObject", frozenset()),
    ("PUT", frozenset(), "PutObject", frozenset()),
    ("DELETE", frozenset(), "DeleteObject", frozenset()),
    ("POST", frozenset({"uploads"}), "CreateMultipartUpload", frozenset()),
    ("PUT", frozenset({"partNumber", "uploadId"}), "UploadPart", frozenset()),
    ("POST", frozenset({"uploadId"}), "CompleteMultipartUpload", frozenset()),
    ("DELETE", frozenset({"uploadId"}), "AbortMultipartUpload", frozenset()),
    ("GET", frozenset({"uploadId"}), "ListParts", frozenset({"max-parts", "part-number-marker"})),
)
_OF_BUCKETS: Final[Sequence[tuple[str, frozenset[str], str, frozenset[str]]]] = (
    ("GET", frozenset({"list-type"}), "ListObjectsV2", frozenset(_LISTING)),
    ("GET", frozenset({"location"}), "GetBucketLocation", frozenset()),
    ("HEAD", frozenset(), "HeadBucket", frozenset()),
)
_COPYING: Final[Mapping[str, str]] = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_ALSO_CALLED: Final[Mapping[str, str]] = {"HeadObject": "GetObject"}


class S3:
    """One per integration."""

    most_bytes: Final = 0

    def __init__(self, operations: Operations) -> None:
        named = {one[2] for one in (*_OF_OBJECTS, *_OF_BUCKETS)} | set(_COPYING.values())
        if missing := sorted(named - set(operations)):
            raise ValueError(f"the reader s3 needs the operations {', '.join(missing)}")
        self._operations = operations

    def reads(self, method: str, segments: Sequence[str]) -> Reads:  # noqa: ARG002 - every call has a query
        """Always query and headers, never the body: objects stream through."""
        return Reads.TARGET

    def __call__(self, said: Said) -> Reading | None:
        names = [name for name, _ in said.query]
        if len(set(names)) != len(names):
            raise InvalidRequest("The query says one name twice.", hint="Say each name once.")
        if not said.segments:
            return None
        operation = _operation(said.method, said.segments, said.query)
        if operation is None:
            return None
        headers = check_headers(said.headers)
        copied = headers.get(COPY_SOURCE)
        if copied is None:
            return Reading(matches=(self._match(operation, said),), query=said.query)
        # SECURITY: a copy reads another object, perhaps of another bucket: both parts must be allowed.
        # Guarded by tests/flows/test_s3_gateway.py::test_a_copy_reads_its_source_and_both_parts_are_judged
        if operation not in _COPYING:
            raise InvalidRequest(f"{COPY_SOURCE} belongs to a copy alone.", hint="Leave the header out.")
        bucket, key = copied_from(copied)
        source = Match(
            self._operations["GetObject"],
            {"bucket": bucket, "key": key},
            ResourceRef(OBJECT, name=f"{bucket}/{key}"),
        )
        return Reading(matches=(self._match(_COPYING[operation], said), source), query=said.query)

    def _match(self, operation: str, said: Said) -> Match:
        bucket, *parts = said.segments
        key = "/".join(parts)
        fields = {"bucket": bucket, "key": key} if parts else {"bucket": bucket}
        if operation == "ListObjectsV2":
            # What is listed lies in the folder the prefix names; a later start is no other place.
            key = dict(said.query).get("prefix", "")
            fields["prefix"] = key
        name = f"{bucket}/{key}" if key else bucket
        return Match(self._operations[operation], fields, ResourceRef(OBJECT if key else "bucket", name=name))


def _operation(method: str, segments: Sequence[str], query: Pairs) -> str | None:
    """Which operation this is, before its headers are read; None for what is none."""
    said = {name: value for name, value in query if name != "x-id"}
    if any(name not in _SAYS or _SAYS[name].fullmatch(value) is None for name, value in said.items()):
        return None
    for of, must, operation, may in _OF_OBJECTS if segments[1:] else _OF_BUCKETS:
        # SECURITY: what the query says is exactly what makes the operation: with another name, it is another one.
        # Guarded by tests/rules/test_s3.py::test_a_sub_resource_is_another_operation_and_denied
        if method == of and must <= said.keys() <= must | may:
            called = [_ALSO_CALLED.get(value, value) for name, value in query if name == "x-id"]
            return operation if all(c in (operation, _COPYING.get(operation)) for c in called) else None
    return None
