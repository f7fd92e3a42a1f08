"""Which headers of a call to S3 go on, and which change what it does: those are read here, or refused with the reason.

Everything that is not listed stays behind, and of S3's own (`x-amz-…`) nothing unknown is left out in silence. Pure.
Facts: Amazon S3 API Reference, "Common request headers" and each operation's request headers.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.reading import Pairs

COPY_SOURCE: Final = "x-amz-copy-source"

_USUAL: Final = (
    "accept cache-control content-disposition content-encoding content-language content-length content-md5 "
    "content-type expires if-match if-modified-since if-none-match if-unmodified-since range user-agent"
)
_OF_S3: Final = (
    "x-amz-checksum-algorithm x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme "
    "x-amz-checksum-mode x-amz-checksum-sha1 x-amz-checksum-sha256 x-amz-checksum-type x-amz-copy-source "
    "x-amz-copy-source-if-match x-amz-copy-source-if-modified-since x-amz-copy-source-if-none-match "
    "x-amz-copy-source-if-unmodified-since x-amz-copy-source-range x-amz-expected-bucket-owner "
    "x-amz-metadata-directive x-amz-mp-object-size x-amz-optional-object-attributes x-amz-sdk-checksum-algorithm "
    "x-amz-server-side-encryption x-amz-source-expected-bucket-owner x-amz-storage-class x-amz-tagging-directive"
)
_ABOUT_SIGNING: Final = (
    "x-amz-content-sha256 x-amz-date x-amz-decoded-content-length x-amz-security-token x-amz-trailer "
    "x-amz-user-agent x-amzn-trace-id"
)
_ONLY: Final[Mapping[str, re.Pattern[str]]] = {
    "x-amz-server-side-encryption": re.compile(r"AES256"),
    "x-amz-storage-class": re.compile(r"STANDARD"),
    "x-amz-tagging-directive": re.compile(r"COPY"),
    "x-amz-metadata-directive": re.compile(r"COPY|REPLACE"),
}
_REASONS: Final = (
    ("x-amz-acl", "changes who may reach the object"),
    ("x-amz-grant-", "changes who may reach the object"),
    ("x-amz-tagging", "sets tags, which permissions may depend on"),
    ("x-amz-object-lock-", "locks the object beyond the end of the task"),
    ("x-amz-bypass-governance-retention", "goes past what protects an object from deletion"),
    ("x-amz-website-redirect-location", "sends visitors of the bucket elsewhere"),
    ("x-amz-server-side-encryption", "encrypts the object under a key that is not the bucket's own"),
    ("x-amz-copy-source-server-side-encryption", "reads the source under a key of the caller's own"),
    ("x-amz-request-payer", "puts the cost of the call on somebody else"),
    ("x-amz-mfa", "uses a person's second factor"),
    ("x-amz-storage-class", "moves the object to another storage class"),
)

PASSED: Final = frozenset(f"{_USUAL} {_OF_S3}".split())
"""What may go on to S3, besides metadata (`x-amz-meta-…`) and what the signer writes."""
METADATA: Final = "x-amz-meta-"
_LEFT: Final = frozenset(_ABOUT_SIGNING.split())
_METADATA_NAME: Final = re.compile(r"x-amz-meta-[a-z0-9-]{1,100}")
_VISIBLE: Final = re.compile(r"[\x20-\x7e\t]*")
_SOURCE: Final = re.compile(r"(?:[A-Za-z0-9._~!$'()*,:@/-]|%[0-9A-F]{2})+")
_HIDING: Final = re.compile(r"%(?:2[DEF5]|00|5C|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9A])")


def check_headers(headers: Pairs) -> Mapping[str, str]:
    """The headers that go on to S3, each once. Raises `InvalidRequest` for what changes more than is judged."""
    found: dict[str, str] = {}
    for name, value in headers:
        # SECURITY: a header nobody here has read may change what the call does, so it is refused, not left out.
        # Guarded by tests/attacks/test_s3.py::test_a_header_that_changes_more_is_refused_and_nothing_is_sent
        dashed = name.replace("_", "-")
        is_metadata = name.startswith(METADATA)
        if dashed.startswith(("x-amz-", "x-amzn-")) and name not in _LEFT:
            only = _ONLY.get(name)
            known = is_metadata and _METADATA_NAME.fullmatch(name) is not None
            if not (known or name in PASSED) or (only is not None and only.fullmatch(value.strip()) is None):
                raise _refused(dashed)
        if name not in PASSED and not is_metadata:
            continue
        if name in found:
            raise InvalidRequest(f"The header {name} occurs twice.", hint="Say it once.")
        if _VISIBLE.fullmatch(value) is None:
            raise InvalidRequest(f"The header {name} has characters other than visible ASCII.", hint="Encode them.")
        found[name] = value.strip()
    return found


def copied_from(value: str) -> tuple[str, str]:
    """Bucket and key that a copy reads. Raises `InvalidRequest` for what could be read otherwise.

    >>> copied_from("/acme-reports/2027/a%20b.csv")
    ('acme-reports', '2027/a b.csv')
    """
    if "?" in value:
        raise InvalidRequest("A copy of an older version is not delegated.", hint="Copy the object as it is now.")
    path = value.removeprefix("/")
    if _SOURCE.fullmatch(path) is None or _HIDING.search(path) is not None:
        raise _unclear()
    try:
        bucket, *parts = unquote_to_bytes(path).decode("utf-8").split("/")
    except UnicodeDecodeError:
        raise _unclear() from None
    if not parts or not all(part.strip(". ") for part in (bucket, *parts)) or not "".join(parts).isprintable():
        raise _unclear()
    return bucket, "/".join(parts)


def copy_source(bucket: str, key: str) -> str:
    """The header as it is sent: written anew from what was judged.

    >>> copy_source("acme-reports", "2027/a b.csv")
    'acme-reports/2027/a%20b.csv'
    """
    return quote(f"{bucket}/{key}", safe="/-_.~")


def _refused(name: str) -> InvalidRequest:
    why = next((why for begin, why in _REASONS if name.startswith(begin)), "is not known here")
    return InvalidRequest(f"{name[:60]} {why}; no delegation includes that.", hint=f"Leave {name[:60]} out.")


def _unclear() -> InvalidRequest:
    return InvalidRequest(
        f"{COPY_SOURCE} can be read in two ways.", hint="Write it as BUCKET/KEY, percent-encoded as in an address."
    )
