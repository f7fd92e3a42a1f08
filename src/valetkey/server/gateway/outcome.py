"""How an allowed call ended, noted without holding up its answer: the same record and the same sums at every door."""

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.db.effects import Together
from valetkey.server.gateway.charge import Charge, Settled, account
from valetkey.server.gateway.streams import Stream


def note_outcome(
    journal: Journal,
    decision: str,
    org: str,
    stream: Stream,
    charged: Charge,
    *,
    status: int,
    size: int,
    sent: int,
    ended: str,
    rows: int | None = None,
) -> None:
    """`sent` and `size` are bytes up and down, `rows` those of a database; what was set aside is given back."""
    if stream.was_cut and ended != "complete":
        ended = "cut"
    members: dict[str, str | int] = {"decision": decision, "status": status, "bytes": size}
    if rows is not None:
        members["rows"] = rows
    members["ended"] = ended
    if sent:
        members["sent"] = sent
    counts = size + sent or rows or charged.held
    also = Together(account, Settled(charged, size + sent, rows or 0)) if counts else None
    journal.note(Entry(event=Event.CALL_FINISHED, org=org, members=members, refers=decision, also=also))
