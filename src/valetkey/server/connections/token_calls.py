"""Asking an API for a credential: one request, one of three meanings, bounded in bytes and seconds.

What the API says is read by `integrations/token_endpoint`; here it is sent, and what is no answer is told apart by
whether the API may have acted on it.
"""

import email.utils
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from valetkey.server.connections.apps.model import App
from valetkey.server.egress import Egress
from valetkey.server.egress.url import parsed
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.token_endpoint import Granted, Refused, UnreadableAnswer, read_answer, token_request

MOST_BYTES: Final = 1 << 17
_ERROR: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """`may_have_acted`: the API could have used the refresh token or the code up. `retry_after`: seconds, or 0."""

    problem: str
    may_have_acted: bool
    retry_after: int = 0


async def ask(
    egress: Egress, oauth: OAuth, app: App, parameters: Mapping[str, str], *, now: float, timeout: float
) -> Granted | Refused | NoAnswer:
    """Spend a refresh token or a code for a credential (RFC 6749 sections 4.1.3 and 6)."""
    request = token_request(oauth, parameters, client_id=app.client_id, client_secret=app.secret)
    try:
        status, headers, body = await egress.fetch(
            "POST",
            parsed(request.url),
            list(request.headers),
            body=request.body.reveal().encode(),
            max_bytes=MOST_BYTES,
            timeout=timeout,
        )
    except (UpstreamFailed, InvalidRequest):
        return NoAnswer(problem="no_answer", may_have_acted=True)
    after = retry_after(headers, now=now)
    if status == 429:
        return NoAnswer(problem="too_many", may_have_acted=False, retry_after=after)
    try:
        return read_answer(oauth, status, body)
    except UnreadableAnswer:
        problem = "failing" if status >= 500 else "unreadable"
        return NoAnswer(problem=problem, may_have_acted=True, retry_after=after if status >= 500 else 0)


def retry_after(headers: Sequence[tuple[bytes, bytes]], *, now: float) -> int:
    """Seconds until one may ask again (RFC 9110 section 10.2.3); 0 when it is not said, or cannot be read.

    >>> retry_after([(b"retry-after", b"120")], now=0)
    120
    >>> retry_after([(b"retry-after", b"Thu, 01 Jan 1970 00:01:00 GMT")], now=0), retry_after([], now=0)
    (60, 0)
    """
    said = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"]
    if len(said) != 1:
        return 0
    if said[0].isascii() and said[0].isdigit():
        return int(said[0]) if len(said[0]) < 10 else 0
    try:
        at = email.utils.parsedate_to_datetime(said[0])
    except ValueError:
        return 0
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now))


def named(error: str) -> str:
    """An error as the API names it, if that is a name: what goes into records says nothing of anybody."""
    return error if _ERROR.fullmatch(error) else "refused"
