"""Fetching a small JSON object from an address somebody else chose: a client's description, a set of keys.

In order: (1) a place that failed lately is not asked again; (2) one place, and all together, are asked so often a
minute and no more; (3) the request goes through `Egress`, which proves the address it dials; (4) only a plain 200 of
a JSON type is read, bounded in bytes and seconds, never decompressed, no redirect followed; (5) the JSON is one
object without duplicate members. Refuses to know what the object means, and keeps none that came.

A host that cannot be asked now, or says that it has trouble, is `UpstreamFailed`: later it may. One that answers
something else than such an object is `InvalidRequest`: its publisher has to correct that.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.bounded import Bounded
from valetkey.server.clock import Clock
from valetkey.server.egress.send import Egress
from valetkey.server.egress.url import Url
from valetkey.server.errors import InvalidRequest, TooMany, UpstreamFailed
from valetkey.verify.json import MalformedJson, parse_object

SECONDS: Final = 5.0
FAILED_SECONDS: Final = 60.0
PER_PLACE: Final = 60  # fetches a minute
IN_ALL: Final = 600
UNSAID_SECONDS: Final = 60  # how long an answer is fresh that says nothing of it (RFC 9111 section 4.2.2)
_REMEMBERED: Final = 1024
_MINUTE: Final = 60.0
_JSON: Final = re.compile(r"application/(?:json|[a-z0-9.-]+\+json)")


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it came, and for how many seconds its sender lets it be reused."""

    members: Mapping[str, object]
    fresh_seconds: int


class Documents:
    """One per process."""

    def __init__(self, egress: Egress, clock: Clock, *, seconds: float = SECONDS) -> None:
        self._egress = egress
        self._clock = clock
        self._seconds = seconds
        self._failed: Bounded[tuple[float, InvalidRequest | UpstreamFailed]] = Bounded(_REMEMBERED)
        self._asked: Bounded[tuple[float, int]] = Bounded(_REMEMBERED)
        self._under_way: dict[str, asyncio.Task[Document]] = {}

    async def get(self, url: Url, *, most_bytes: int) -> Document:
        """The object at `url`. Raises `UpstreamFailed` or `InvalidRequest`, in a sentence for whoever named it, and
        `TooMany`."""
        until, failure = self._failed.get(url.text, (0.0, None))
        if failure is not None and self._clock.monotonic() < until:
            raise type(failure)(failure.public, detail=f"{url.place}: failed a moment ago")
        task = self._under_way.get(url.text)
        if task is None:
            self._count(url.place, PER_PLACE)
            self._count("", IN_ALL)
            task = asyncio.create_task(self._fetched(url, most_bytes))
            self._under_way[url.text] = task
            task.add_done_callback(lambda done: self._settled(url, done))
        return await asyncio.shield(task)

    def _settled(self, url: Url, done: "asyncio.Task[Document]") -> None:
        self._under_way.pop(url.text, None)
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._failed.pop(url.text, None)
        elif isinstance(error, InvalidRequest | UpstreamFailed):
            self._failed[url.text] = self._clock.monotonic() + FAILED_SECONDS, error

    def _count(self, place: str, most: int) -> None:
        now = self._clock.monotonic()
        began, count = self._asked.get(place, (now, 0))
        if now >= began + _MINUTE:
            began, count = now, 0
        if count >= most:
            raise TooMany("This address was asked too often.", retry_after=int(began + _MINUTE - now) + 1)
        self._asked[place] = began, count + 1

    async def _fetched(self, url: Url, most_bytes: int) -> Document:
        headers = [(b"accept", b"application/json"), (b"user-agent", b"valetkey")]
        try:
            status, received, body = await self._egress.fetch(
                "GET", url, headers, max_bytes=most_bytes, timeout=self._seconds
            )
        except (UpstreamFailed, InvalidRequest) as error:
            raise UpstreamFailed(
                "It could not be fetched: the host does not answer in time, answers too much, or may not be asked.",
                detail=error.detail,
            ) from error
        if status == 429 or status >= 500:
            raise UpstreamFailed(f"It could not be fetched: its host answers {status}.", detail=url.place)
        if status != 200:
            raise InvalidRequest(f"It answers {status} instead of 200.", detail=url.place)
        if (kind := _only(received, b"content-type")) is None or not _JSON.fullmatch(kind.split(";")[0].strip()):
            raise InvalidRequest("It is not served as application/json.", detail=url.place)
        if _only(received, b"content-encoding") not in (None, "identity"):
            raise InvalidRequest("It is served compressed.", detail=url.place)
        try:
            members = parse_object(body)
        except MalformedJson as error:
            raise InvalidRequest("It is not one plain JSON object.", detail=f"{url.place}: {error}") from error
        return Document(members, fresh_seconds(received))


def fresh_seconds(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """For how long an answer may be reused by its own word (RFC 9111): 0 when it says so or cannot be read.

    >>> fresh_seconds([(b"cache-control", b"public, max-age=600"), (b"age", b"100")])
    500
    >>> fresh_seconds([(b"cache-control", b"max-age=600, no-store")]), fresh_seconds([])
    (0, 60)
    """
    said = ",".join(value.decode("latin-1") for name, value in headers if name == b"cache-control").lower()
    directives = [part.strip() for part in said.split(",") if part.strip()]
    if not directives:
        return UNSAID_SECONDS
    if {d.partition("=")[0] for d in directives} & {"no-store", "no-cache", "private"}:
        return 0
    ages = [d.partition("=")[2] for d in directives if d.startswith("max-age=")]
    if not ages:
        return UNSAID_SECONDS
    spent = _only(headers, b"age") or "0"
    if len(ages) != 1 or not all(n.isascii() and n.isdigit() and len(n) < 10 for n in (ages[0], spent)):
        return 0
    return max(0, int(ages[0]) - int(spent))


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = [value.decode("latin-1").lower() for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None if not values else "more than one"
