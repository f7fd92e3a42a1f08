"""How a call to Amazon S3 is read, path style: what stands in the query makes another operation of the same path.

`GET /bucket/key` is an object, `GET /bucket/key?acl` its access list: a query name that is not known here, or a value
that is not, makes a call no operation, and it is denied. A name said twice has two readings. Refuses to know bodies,
headers and signatures.
Facts: Amazon S3 API Reference, the request syntax of each operation.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Reading, Reads, Said

_ANY: Final = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")
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


class S3:
    """One per integration."""

    most_bytes: Final = 0

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def reads(self, method: str, segments: Sequence[str]) -> Reads:  # noqa: ARG002 - every call has a query
        """Always the query, never the body: objects stream through."""
        return Reads.TARGET

    def __call__(self, said: Said) -> Reading | None:
        names = [name for name, _ in said.query]
        if len(set(names)) != len(names):
            raise InvalidRequest("The query says one name twice.", hint="Say each name once.")
        match = self._operations.match(said.method, said.segments)
        if match is None:
            return None
        known = {"x-id": re.compile(match.operation.id)}  # some clients say which operation they mean
        if match.operation.id == "ListObjectsV2":
            # SECURITY: without it the same path is the older listing; with another name, `?policy` or `?versions`.
            # Guarded by tests/rules/test_s3.py::test_a_sub_resource_is_another_operation_and_denied
            if said.method != "GET" or "list-type" not in names:
                return None
            known.update(_LISTING)
        if any(name not in known or known[name].fullmatch(value) is None for name, value in said.query):
            return None
        return Reading(matches=(match,), query=said.query)
