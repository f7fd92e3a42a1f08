"""What a call does: by its path, or by the one reading of its query and body that its integration has.

Where the body says it, it is read whole, in bounds, and what goes out is what was read. Refuses to know users, and what
is allowed.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from valetkey.server.approvals.render import visible
from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.canonical import Target, asking
from valetkey.server.integrations.links import marked
from valetkey.server.integrations.model import Integration, Match
from valetkey.server.integrations.reading import Reading, Reads, Refused, Said, Unknown
from valetkey.server.policy.model import Reason

MOST_MATCHES = 50
"""A call that does more at once is refused: it could not be told to anybody who reads the record."""

_LONGEST_SAID = 160  # characters of a caller's own text in a refusal

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A body that was read, and is sent as it was understood."""

    content_type: bytes
    body: bytes

    def headers(self, kept: Headers) -> list[tuple[bytes, bytes]]:
        """The headers to send, about this body instead of the one that came."""
        others = [(name, value) for name, value in kept if name not in (b"content-length", b"content-type")]
        about = [(b"content-type", self.content_type)] if self.content_type else []
        return [*others, *about, (b"content-length", b"%d" % len(self.body))]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body to send."""
        if self.body:
            yield self.body


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a call does. No match: `unknown` says why. `rewritten` is None where the body streams through."""

    target: Target
    matches: Sequence[Match]
    rewritten: Rewritten | None = None
    unknown: Reason = Reason.UNKNOWN_OPERATION
    why: str = ""  # what of it is unknown, or why it is not let through, as a sentence, clipped and made visible
    by_id: Callable[[Sequence[str]], Reading] | None = None

    def under(self, ids: Sequence[str]) -> "Recognised":
        """What to send once it is known which thing each match is about: it is called by its id, not by its name."""
        # SECURITY: a name may mean another thing by the time the API reads it; the id is what was judged.
        # Guarded by tests/flows/test_slack.py::test_a_channel_that_was_named_is_sent_as_the_id_that_was_judged
        if self.by_id is None or not any(ids):
            return self
        return _to_send(self, self.by_id(ids), sends=self.rewritten is not None)


async def recognised(
    integration: Integration, target: Target, headers: Headers, body: AsyncIterator[bytes] | None, *, as_it_is: bool
) -> Recognised:
    """Read the call as far as it must be read. `as_it_is`: for an engine, which shows no body and sends what it has.

    Raises `InvalidRequest` for what has two readings.
    """
    is_git = integration.is_git(target.segments)
    # SECURITY: an engine sends what it asks about to its one API, never to that API's git host.
    # Guarded by tests/rules/test_git.py::test_an_engine_is_told_nothing_about_git
    if is_git and as_it_is:
        return Recognised(target, ())
    reader = None if is_git else integration.reader
    reads = Reads.PATH if reader is None else reader.reads(target.method, target.segments)
    if reader is None or reads is Reads.PATH:
        match = integration.match(target.method, target.segments, target.query)
        return Recognised(target, () if match is None else (match,))
    whole = reads in (Reads.BODY, Reads.LINKS)
    # SECURITY: an engine would be told yes to a call of which it showed nothing but the address.
    # Guarded by tests/rules/test_recognise.py::test_an_engine_is_never_told_yes_to_what_only_the_body_says
    if reads is Reads.BODY and as_it_is:
        return Recognised(target, (), unknown=Reason.IN_THE_BODY)
    # SECURITY: the address says all such a call does but where its text leads: unseen, it is taken to lead outside.
    # Guarded by tests/rules/test_texts.py::test_text_an_engine_does_not_show_is_taken_to_lead_outside
    if reads is Reads.LINKS and as_it_is:
        match = integration.match(target.method, target.segments, target.query)
        return Recognised(target, () if match is None else tuple(marked([match])))
    content_type = _content_type(headers) if whole else ""
    said = Said(
        method=target.method,
        segments=target.segments,
        query=target.query,
        content_type=content_type,
        body=await _read(body, reader.most_bytes) if whole and body is not None else b"",
        headers=tuple((name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in headers),
    )
    reading = reader(said)
    if reading is None:
        return Recognised(target, ())
    if isinstance(reading, Unknown):
        return Recognised(target, (), why=_said(reading.why))
    if isinstance(reading, Refused):
        return Recognised(target, (), unknown=Reason.STATEMENT, why=reading.why)
    if len(reading.matches) > MOST_MATCHES:
        raise InvalidRequest(
            f"The call does {len(reading.matches)} things at once.", hint=f"Send at most {MOST_MATCHES} in one call."
        )
    if as_it_is and reading.query != target.query:
        raise InvalidRequest("The address is not written in its one canonical form.", hint="See docs/engines.md.")
    read = Recognised(target, reading.matches, by_id=reading.by_id)
    return _to_send(read, reading, sends=whole and (body is not None or bool(reading.body)))


def _to_send(asked: Recognised, reading: Reading, *, sends: bool) -> Recognised:
    target = asked.target if reading.query == asked.target.query else asking(asked.target, reading.query)
    rewritten = Rewritten(reading.content_type.encode("ascii"), reading.body) if sends else None
    return replace(asked, target=target, rewritten=rewritten)


def _said(why: str) -> str:
    """What the caller wrote, as it may be told to anybody."""
    # SECURITY: it ends in a sentence of ours that a model or a person reads.
    # Guarded by tests/attacks/test_graphql.py::test_a_refusal_names_the_field_and_says_nothing_else_of_the_caller
    shown = visible(why[:_LONGEST_SAID]).replace("\n", " ")
    return f"Of this call, {shown}{'…' if len(why) > _LONGEST_SAID else ''}." if why else ""


def _content_type(headers: Headers) -> str:
    """The one content type of a body that is not compressed."""
    values = [value for name, value in headers if name.lower() == b"content-type"]
    if len(values) > 1:
        raise InvalidRequest("The body has two content types.")
    # SECURITY: the API might unpack what was judged packed, or the other way round.
    if any(name.lower() == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers):
        raise InvalidRequest("The body is compressed, and what it says is judged.", hint="Send it as it is.")
    return values[0].decode("latin-1").strip() if values else ""


async def _read(body: AsyncIterator[bytes], most: int) -> bytes:
    pieces, size = [], 0
    async for piece in body:
        size += len(piece)
        if size > most:
            raise InvalidRequest(
                f"The body is longer than {most} bytes.",
                hint="What stands in the body of this call is judged, so the whole of it is read before it is sent.",
            )
        pieces.append(piece)
    return b"".join(pieces)
