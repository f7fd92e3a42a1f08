"""The `/p/{integration}/…` door: raw ASGI in, one `Attempt`; one `Answer`, raw ASGI out. Decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec

from valetkey.server.errors import NotFound, Revoked, Unavailable, ValetkeyError
from valetkey.server.gateway.answer import Answer
from valetkey.server.gateway.call import Calls
from valetkey.server.gateway.came import Attempt, Headers
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.challenge import challenge
from valetkey.server.gateway.errors import as_google_says_it, as_the_api_says_it, refusal
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.question import Questions
from valetkey.server.gateway.rows import RowsAnswer
from valetkey.server.gateway.signed import without_signature
from valetkey.server.gateway.streams import Stream, Streams
from valetkey.server.gateway.websocket.speak import Speaking
from valetkey.server.gateway.xml_errors import in_xml, wants_problem_details
from valetkey.server.ids import new_id
from valetkey.server.integrations.operations import WEBSOCKET_TAG
from valetkey.server.listen import CutStream
from valetkey.server.problems import log, log_bug
from valetkey.server.tokens.proofs import is_under_dpop
from valetkey.server.upgraded import Upgraded

PREFIX = b"/p/"
WATCH_SECONDS = 0.25
"""How long an answer may take before its client is watched: most are over sooner, and watching costs a task."""


class GatewayDoor:
    """An ASGI application for everything below `/p/`."""

    def __init__(
        self,
        calls: Calls,
        questions: Questions,
        speaking: Speaking,
        streams: Streams,
        doors: Mapping[str, Prepared],
    ) -> None:
        self._calls = calls
        self._speaking = speaking
        self._questions = questions
        self._streams = streams
        self._doors = {name.encode(): door for name, door in doors.items()}

    def may_open(self, path: bytes, query: bytes) -> bool:
        """Whether this is the address of an operation that may be opened as a WebSocket, whoever asks."""
        name, slash, rest = path[len(PREFIX) :].partition(b"/")
        door = self._doors.get(name)
        if door is None or not door.integration.speaks:
            return False
        try:
            target = canonical("GET", slash + rest, query, door.profile)
        except ValetkeyError:
            return False
        match = door.integration.match(target.method, target.segments, target.query)
        return match is not None and WEBSOCKET_TAG in match.operation.tags

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        started = False
        upgraded: Upgraded | None = scope.get("extensions", {}).get("valetkey.upgraded")
        asked: tuple[Prepared, Attempt] | None = None
        stream = self._streams.enter()
        try:
            incoming = _Incoming(scope, receive)
            asked = door, attempt = self._attempt(scope, incoming)
            if upgraded is not None:
                await self._speaking.open(_opening(attempt), door, stream, upgraded)
                return
            carry_out = self._calls.handle if door.integration.database is None else self._questions.handle
            answer: Answer | RowsAnswer = await carry_out(attempt, door, stream)
            try:
                stream.go_on()
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                started = True
                if answer.whole is not None:
                    await send({"type": "http.response.body", "body": answer.whole})
                else:
                    with _watched(incoming, stream):
                        while (chunk := await answer.next_chunk()) is not None:
                            stream.go_on()
                            await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                answer.was_taken()
            finally:
                await answer.close()
        except asyncio.CancelledError:
            if not (stream.was_cut or stream.was_left):
                raise
            stream.task.uncancel()
            if started or (upgraded is not None and upgraded.is_open):
                raise CutStream from None
            await _refuse(
                scope, send, Revoked("This was revoked or has ended while the call was under way.", reason="revoked")
            )
        except Exception as error:
            if started or (upgraded is not None and upgraded.is_open):
                if not isinstance(error, ValetkeyError | ConnectionError):
                    log_bug(error, new_id("aud"))
                raise CutStream from error
            await _refuse(scope, send, error, asked)
        finally:
            self._streams.leave(stream)

    def _attempt(self, scope: Any, incoming: "_Incoming") -> tuple[Prepared, Attempt]:
        # SECURITY: raw_path is the bytes as they came; `path` was decoded and judges nothing (GW-03).
        name, slash, rest = scope["raw_path"][len(PREFIX) :].partition(b"/")
        door = self._doors.get(name)
        if door is None:
            raise NotFound("No API of that name is served here.")
        headers = scope["headers"]
        if door.integration.role is not None:
            headers = without_signature(headers)
        return door, Attempt(
            method=scope["method"],
            raw_path=slash + rest,
            query=scope["query_string"],
            headers=headers,
            body=incoming.body() if incoming.has_body else None,
            left=incoming.left,
        )


def _opening(attempt: Attempt) -> Attempt:
    """A WebSocket's handshake, without the header that every other call must not have."""
    return replace(attempt, opens=True, headers=[(name, v) for name, v in attempt.headers if name != b"upgrade"])


class _Incoming:
    """What still comes from the client: its body, then the news that it left."""

    def __init__(self, scope: Any, receive: Any) -> None:
        self._receive = receive
        self.has_body = any(key in (b"content-length", b"transfer-encoding") for key, _ in scope["headers"])
        self.is_read = not self.has_body

    async def body(self) -> AsyncIterator[bytes]:
        while not self.is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client went away in the middle of its request")
            self.is_read = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


@contextmanager
def _watched(incoming: _Incoming, stream: Stream) -> Iterator[None]:
    """End the call when its client leaves: nobody would read on, and an upstream must not talk to nobody for ever."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    watch: asyncio.Task[None] | None = None

    async def leave() -> None:
        await incoming.left()
        stream.was_left = True
        stream.task.cancel()

    def begin() -> None:
        nonlocal timer, watch
        if incoming.is_read:
            watch = asyncio.create_task(leave())
        else:  # its body is still being read, and that notices by itself
            timer = loop.call_later(WATCH_SECONDS, begin)

    timer = loop.call_later(WATCH_SECONDS, begin)
    try:
        yield
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()


def _scheme(asked: Headers) -> bytes:
    return b'DPoP realm="valetkey"' if is_under_dpop(asked) else b'Bearer realm="valetkey"'


async def _refuse(scope: Any, send: Any, error: Exception, asked: tuple[Prepared, Attempt] | None = None) -> None:
    request_id = new_id("aud")
    status, headers, document = refusal(error, request_id=request_id, asked=scope["headers"])
    if asked is not None:
        door, attempt = asked
        told = challenge(error, door, attempt.method, attempt.raw_path, attempt.query)
        if told is not None:
            begun = dict(headers).get(b"www-authenticate", _scheme(scope["headers"]))
            headers = [(name, value) for name, value in headers if name != b"www-authenticate"]
            headers.append((b"www-authenticate", begun + b", " + told.encode()))
        if status == 401 and door.integration.git is not None and attempt.raw_path.startswith(b"/git/"):
            headers.append((b"www-authenticate", b'Basic realm="valetkey"'))  # git shows no credential unasked
    if status == 500 and not isinstance(error, ConnectionError):  # a client that went away is nobody's bug
        log_bug(error, request_id)
    elif isinstance(error, Unavailable):
        log.warning("unavailable %s: %s", request_id, type(error.__cause__ or error).__name__)
    if asked is not None and (success := asked[0].integration.success):
        status, headers, document = as_the_api_says_it(success, status, headers, document, asked=scope["headers"])
    if asked is not None and asked[0].integration.refusals == "google":
        document = as_google_says_it(status, document)
    body = msgspec.json.encode(document)
    if asked is not None and asked[0].integration.role is not None and not wants_problem_details(scope["headers"]):
        status, headers, body = in_xml(status, headers, document)
    if any(name == b"expect" for name, _ in scope["headers"]):
        # SECURITY: who waited to be told to go on does not send its body, and what it sends next on this connection
        # would be read as that body. RFC 9110 section 10.1.1.
        # Guarded by tests/flows/test_s3_gateway.py::test_a_refusal_before_the_body_ends_the_connection
        headers.append((b"connection", b"close"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
