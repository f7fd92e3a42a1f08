"""What becomes of a question to a database that may go on: the same six steps as any call, then rows instead of HTTP.

1 to 6. admitted: judged and recorded (`admit`), every table of it, 7. a role is made that may read these tables and
nothing else, 8. the statement as it was judged runs by that role, in a transaction that only reads, 9. rows go out as
they are taken, 10. the role ends, and the outcome is recorded. The connected login runs no statement of an agent's.
"""

from functools import partial

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.sources.question import Asker, QuestionRoles
from valetkey.server.egress.postgres import Meter
from valetkey.server.errors import InvalidRequest, UpstreamFailed, ValetkeyError
from valetkey.server.gateway.admit import Admit, Admitted
from valetkey.server.gateway.allowance import over_budget
from valetkey.server.gateway.came import Attempt
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.outcome import note_outcome
from valetkey.server.gateway.rows import MOST_BEYOND, ROOM_TO_END, RowsAnswer
from valetkey.server.gateway.streams import Stream
from valetkey.server.integrations.sql.question import question_of
from valetkey.server.tokens.proofs import Proofs

_SLACK_BYTES = 64 * 1024  # what a session says besides rows
READ_SECONDS = 120.0
"""How long an answer may take to be read. Each question under way holds a session, of which a server has few."""


class Questions:
    """One per process."""

    def __init__(self, *, admit: Admit, journal: Journal, proofs: Proofs, roles: QuestionRoles, clock: Clock) -> None:
        self._admit = admit
        self._journal = journal
        self._proofs = proofs
        self._roles = roles
        self._clock = clock

    async def handle(self, attempt: Attempt, door: Prepared, stream: Stream) -> RowsAnswer:
        """Judge one question and ask it. The caller closes the answer; `stream` lets it be cut."""
        judged = await self._admit(attempt, door, stream, address=door.gateway)
        asker, session, sent = _asker(judged), None, 0
        org = judged.authority.user.org
        finished = partial(note_outcome, self._journal, judged.decision, org, stream, judged.charge)
        try:
            stream.decided()
            # SECURITY: what was approved is what is asked, in our own print; nothing of what came now.
            # Guarded by tests/flows/test_questions.py::test_what_was_approved_is_what_is_asked
            question = question_of(_body(judged))
            sent = len(_body(judged))
            left = None if judged.charge.allowance is None else judged.charge.allowance - sent
            if left is not None and left <= 2 * ROOM_TO_END:
                sent = 0
                raise over_budget()
            room = question.bytes if left is None else min(question.bytes, left)
            session = await self._roles.open(asker)
            answer = RowsAnswer(
                session,
                question,
                room=room,
                is_budget=room != question.bytes,
                meter=Meter(session, room * MOST_BEYOND + _SLACK_BYTES),
                finished=partial(finished, sent=sent),
                gone=partial(self._roles.end, asker, session),
            )
            await answer.begin()
            # SECURITY: whoever does not read what they asked for keeps others from asking, for this long and no longer.
            # Guarded by tests/flows/test_questions_read.py::test_who_does_not_read_is_cut_off_in_the_end
            stream.ends_at = min(stream.ends_at, self._clock.now() + READ_SECONDS)
            answer.headers.append((b"x-decision-id", judged.decision.encode()))
            if judged.proof is not None and (nonce := self._proofs.offer(judged.proof)) is not None:
                answer.headers.append((b"dpop-nonce", nonce.encode()))
            return answer
        except BaseException as error:
            why = "interrupted"
            if isinstance(error, ValetkeyError):
                why = "failed" if isinstance(error, InvalidRequest | UpstreamFailed) else error.code
                if isinstance(error, UpstreamFailed) and not error.was_sent:
                    why, sent = "not_sent", 0
                error.members.setdefault("decision", judged.decision)
            finished(status=0, size=0, rows=0, ended=why, sent=sent)
            self._roles.end(asker, session)
            raise

    async def settle(self) -> None:
        """Wait until every role is dropped and every outcome written."""
        await self._roles.settle()
        await self._journal.settle()


def _asker(judged: Admitted) -> Asker:
    authority = judged.authority
    return Asker(
        decision=judged.decision,
        connection=judged.connection,
        # SECURITY: the things that were judged, by the server's own numbers; names are read by the server later.
        # Guarded by tests/attacks/test_questions.py::test_a_table_made_anew_after_the_decision_is_not_read
        tables=tuple(int(place.id) for place in judged.charge.places),
        user_name=authority.user.email,
        user_id=authority.user.id,
        agent_name=authority.agent.name,
        agent_id=authority.agent.id,
        task=authority.task.id,
    )


def _body(judged: Admitted) -> bytes:
    if judged.kept is not None:
        return judged.kept.body
    assert judged.rewritten is not None
    return judged.rewritten.body
