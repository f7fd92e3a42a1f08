"""`valetkey audit tail | export | verify | prove | check | pin`.

Verifying and checking need no server and no login: files and a pinned key.
"""

import json as json_text
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from valetkey.cli import exit_codes
from valetkey.cli.options import Json, group
from valetkey.cli.output import inert, json_line, show
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

if TYPE_CHECKING:
    from rich.progress import Progress

    from valetkey.server.audit.proof import Continued, Included
    from valetkey.server.audit.verify import Report

app = group("audit", "Read, export and verify the audit trail.")

_HEAD = frozenset({"id", "writer", "seq", "time", "event", "org"})
_POLL_SECONDS = 1.0


@app.command
def tail(
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many of the newest records.")] = 20,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on with what comes, until Ctrl-C.")] = False,
    json: Json = False,
) -> int:
    """Show the newest records, the last at the bottom; with --json one object per line.

    For example: valetkey audit tail -n 50 --follow
    """
    if not 1 <= limit <= 500:
        raise Usage("--limit is between 1 and 500.")
    with signed_in() as client:
        last = _print(reversed(client.audit.newest(limit=limit)), as_json=json)
        while follow:
            time.sleep(_POLL_SECONDS)
            fresh = [r for r in reversed(client.audit.newest(limit=500)) if str(r["id"]) > last]
            last = _print(fresh, as_json=json) or last
    return exit_codes.OK


@app.command
def export(
    file: Path,
    /,
    *,
    checkpoints: Annotated[Path | None, Parameter(help="Where to write the checkpoints that prove it.")] = None,
    json: Json = False,
) -> int:
    """Write the whole trail to a file, one record per line, and with --checkpoints what it is verified against.

    For example: valetkey audit export trail.ndjson --checkpoints checkpoints.ndjson
    """
    written: dict[str, Any] = {}
    with signed_in() as client:
        if checkpoints is not None:  # first: a checkpoint newer than the export would name records it does not hold
            written["checkpoints"] = {
                "file": str(checkpoints),
                "lines": _written(checkpoints, client.audit.checkpoints()),
            }
        written["records"] = {"file": str(file), "lines": _written(file, client.audit.export())}
    text = "\n".join(f"{part['lines']} {what} in {part['file']}" for what, part in written.items())
    return show(written, as_json=json, text=text)


@app.command
def pin(*, json: Json = False) -> int:
    """Print the key that signs checkpoints. Keep it where the server cannot change it.

    For example: valetkey audit pin > checkpoint-key.pin
    """
    with signed_in() as client:
        key = client.audit.pin()
    return show({"pin": key}, as_json=json, text=key)


@app.command
def verify(
    file: Path,
    /,
    *,
    checkpoints: Annotated[Path, Parameter(help="The checkpoint file, copied before the export was made.")],
    key: Annotated[list[str], Parameter(help="The pinned key (audit pin), or a file that holds it; repeatable.")],
    at_least: Annotated[int, Parameter(help="The number of a checkpoint you have seen before.")] = 0,
    json: Json = False,
) -> int:
    """Prove offline that nothing was edited, dropped, reordered or cut off. Exit code 1 names the first bad record.

    For example: valetkey audit verify trail.ndjson --checkpoints checkpoints.ndjson --key checkpoint-key.pin
    """
    from valetkey.server.audit.verify_files import verify_export
    from valetkey.verify import InvalidKey

    pins = _pins(key)
    with _progress() as bar:
        step = None
        if bar is not None:
            shown = bar.add_task("verifying", total=_lines_of(file))
            step = lambda records: bar.update(shown, completed=records)  # noqa: E731 - bar is not None here
        try:
            report = verify_export(file, checkpoints, pins, step, at_least=at_least)
        except InvalidKey as error:
            raise Usage(f"The pinned key cannot be used: {error}", hint="valetkey audit pin prints it.") from error
    show(_facts(report), as_json=json, text=_worded(report))
    return exit_codes.OK if report.ok else exit_codes.FAILURE


@app.command
def prove(
    record: Annotated[str, Parameter(help="A record (aud_…), proven to be under the newest checkpoint.")] = "",
    /,
    *,
    out: Annotated[Path, Parameter(help="The file to write the proof to.")],
    earlier: Annotated[int, Parameter(name="--from", help="Or: a checkpoint's number, proven to be continued.")] = 0,
    later: Annotated[int, Parameter(name="--to", help="By which checkpoint; the newest, if left out.")] = 0,
    json: Json = False,
) -> int:
    """Write a proof that stands alone: of one record, or that one checkpoint continues another.

    For example: valetkey audit prove aud_… --out record.proof
    """
    if bool(record) == bool(earlier) or (later and not earlier):
        raise Usage("Name a record, or a checkpoint by --from.", hint="valetkey audit tail shows records.")
    with signed_in() as client:
        proof = client.audit.prove(record) if record else client.audit.consistency(earlier, later)
    _written(out, [json_text.dumps(proof, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"])
    return show({"file": str(out), "kind": proof["kind"]}, as_json=json, text=f"A proof of {proof['kind']} in {out}")


@app.command
def check(
    file: Path,
    /,
    *,
    key: Annotated[list[str], Parameter(name=["--pin", "--key"], help="The pinned key, or its file; repeatable.")],
    json: Json = False,
) -> int:
    """Check a proof offline: no server, no database, nothing trusted but the pinned key. Exit code 1: it does not hold.

    For example: valetkey audit check record.proof --pin checkpoint-key.pin
    """
    from valetkey.server.audit import proof
    from valetkey.server.audit.verify_files import pinned_keys
    from valetkey.verify import InvalidKey

    try:
        keys = pinned_keys(_pins(key))
    except InvalidKey as error:
        raise Usage(f"The pinned key cannot be used: {error}", hint="valetkey audit pin prints it.") from error
    with file.open("rb") as opened:
        text = opened.read(proof.MAX_PROOF + 1)
    try:
        facts, words = _proven(proof.check(text, keys))
    except proof.InvalidProof as error:
        facts, words = {"ok": False, "reason": str(error)}, f"The proof does not hold: {inert(str(error))}."
    show(facts, as_json=json, text=words)
    return exit_codes.OK if facts["ok"] else exit_codes.FAILURE


def _proven(found: "Included | Continued") -> tuple[dict[str, Any], str]:
    from valetkey.server.audit.proof import Included

    if isinstance(found, Included):
        record, signed = found
        facts = {"id": record.id, "writer": record.writer, "seq": record.seq, "event": record.event}
        where = f"record {record.seq} of {record.writer}, {record.event} at {record.time}"
        return (
            {"ok": True, "kind": "inclusion", **facts, "time": record.time, "checkpoint": signed.n},
            f"The proof holds: {inert(where)} is under checkpoint {signed.n} of {signed.deployment}, {signed.time}.",
        )
    earlier, later = found
    return (
        {"ok": True, "kind": "consistency", "earlier": earlier.n, "later": later.n},
        f"The proof holds: checkpoint {later.n} of {later.time} continues checkpoint {earlier.n} of {earlier.time}.",
    )


def _pins(given: Sequence[str]) -> list[str]:
    return [Path(pin).read_text().strip() if Path(pin).is_file() else pin for pin in given]


def _facts(report: "Report") -> dict[str, Any]:
    found = {
        name: None if value is None else value._asdict()
        for name, value in (("first_bad", report.first_bad), ("bad_checkpoint", report.bad_checkpoint))
    }
    return {**report._asdict(), **found}


def _worded(report: "Report") -> str:
    counts = f"{report.records} records of {report.writers} writers, {report.checkpoints} checkpoints"
    bad = report.first_bad
    if report.ok:
        rest = f"; {report.uncovered} records came after the last checkpoint" if report.uncovered else ""
        return f"The trail holds: {counts}{rest}."
    if bad is None:
        return f"The trail does not hold: {counts}."
    where = f"\n  record {inert(bad.id)}" if bad.id else ""
    return f"The trail does not hold ({counts}).\n  {inert(bad.reason)}{where}"


def _print(records: Iterable[dict[str, Any]], *, as_json: bool) -> str:
    last = ""
    for record in records:
        last = str(record["id"])
        if as_json:
            print(json_line(record), flush=True)
            continue
        rest = " ".join(f"{k}={_value(v)}" for k, v in record.items() if k not in _HEAD)
        print(inert(f"{record['time']} {record['event']} {rest}"), flush=True)
    return last


def _value(value: object) -> str:
    return value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False)


def _written(path: Path, chunks: Iterable[bytes]) -> int:
    """Write beside it, then put it in place: a broken export never looks like a whole one."""
    fresh = path.with_name(path.name + ".part")
    lines = 0
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            lines += chunk.count(b"\n")
            file.write(chunk)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    return lines


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _progress() -> "AbstractContextManager[Progress | None]":
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)
